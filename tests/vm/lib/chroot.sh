# Running a command in another root, with /proc and /dev/shm where the machine lets us mount them.
# Nothing here may depend on it: in a container without CAP_SYS_ADMIN it does not.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

can_mount() {
    if [ -z "${CAN_MOUNT-}" ]; then
        CAN_MOUNT=no
        if unshare --mount --propagation private mount -t tmpfs none /mnt 2>/dev/null; then
            CAN_MOUNT=yes
        fi
    fi
    [ "$CAN_MOUNT" = yes ]
}

# in_root ROOT COMMAND...: as root in there, in a clean environment.
in_root() {
    local root=$1 environment name
    shift
    environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
        LANG=C.UTF-8 TERM="${TERM:-dumb}" DEBIAN_FRONTEND=noninteractive
        CARGO_HOME=/var/cache/cargo)
    while IFS= read -r name; do
        case $name in
            *_proxy|*_PROXY|CARGO_HTTP_*|CARGO_NET_*|CARGO_REGISTR*|CARGO_SOURCE_*|CARGO_TERM_*)
                environment+=("$name=${!name}") ;;
        esac
    done < <(compgen -e)
    if can_mount; then
        # shellcheck disable=SC2016
        unshare --mount --propagation private sh -c '
            root=$1; shift
            mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc" ||
                true
            mount -t tmpfs -o mode=1777 shm "$root/dev/shm" 2>/dev/null || true
            exec chroot "$root" "$@"' in_root "$root" env -i "${environment[@]}" "$@"
    else
        # objtool looks there for where its stack is, to tell an overflow from another crash, and
        # does not run without an answer.
        mkdir -p "$root/proc/self"
        echo '7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]' >"$root/proc/self/maps"
        chroot "$root" env -i "${environment[@]}" "$@"
    fi
}

# connect ROOT: name service, certificates and proxies of this machine, for downloads in there.
connect() {
    local root=$1 file config
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        if [ -s "$file" ] && [ -d "$root${file%/*}" ]; then
            cp --remove-destination -L "$file" "$root$file"
        fi
    done
    # Certificates were copied above; paths of this machine mean nothing in there.
    host_apt_settings | grep -viE '::(CA(Info|Path)|Ssl(Cert|Key))' \
        >"$root/etc/apt/apt.conf.d/50host" || true
    mkdir -p "$root/var/cache/cargo"
    config=${CARGO_HOME:-${HOME:-/root}/.cargo}
    : >"$root/var/cache/cargo/config.toml"
    for file in "$config/config.toml" "$config/config"; do
        if [ -f "$file" ]; then
            cargo_registries "$file" >"$root/var/cache/cargo/config.toml"
            break
        fi
    done
}

# cargo_registries FILE: of a cargo configuration, what says where crates come from. The rest, as
# linkers and wrappers, is about this machine.
cargo_registries() {
    awk '
        /^[ \t]*\[/ { kept = /^[ \t]*\[+ *(source|registries|registry|net|http)[].]/; table = 1 }
        kept || !table && /^[ \t]*(source|registries|registry|net|http)\./' "$1"
}

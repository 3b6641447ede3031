# The machine all this runs on: may we, can we, and what has to be installed first.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# What of the environment a privileged child needs to see.
passed_environment() {
    local name
    printf 'HOME=%s\0ABUSE_CACHE=%s\0' "${HOME:-/root}" "$CACHE"
    while IFS= read -r name; do
        case $name in
            CARGO_*|*_proxy|*_PROXY|ABUSE_VM_*|TERM|CI|LANG)
                printf '%s=%s\0' "$name" "${!name}" ;;
        esac
    done < <(compgen -e)
}

# as_root COMMAND...: directly, or by sudo.
as_root() {
    local environment
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
        return
    fi
    command -v sudo >/dev/null ||
        die "not root, and sudo is not installed: the build root needs chroot(8). Run this as root, or install sudo and allow $(id -un) to use it"
    if [ -t 0 ] || [ -t 2 ]; then
        sudo -v || die "sudo: refused for $(id -un). Run this as root, or allow $(id -un) to use sudo"
    else
        sudo -n true 2>/dev/null ||
            die "sudo: wants a password and there is no terminal to ask on. Run this as root, or from a terminal"
    fi
    mapfile -d '' environment < <(passed_environment)
    sudo env "${environment[@]}" "$@"
}

check_architecture() {
    local machine
    machine=$(uname -m)
    [ "$machine" = x86_64 ] ||
        die "this machine is $machine: the driver, its kernel packages and the guest are for amd64 (x86_64) only. Use an amd64 machine"
    command -v apt-get >/dev/null ||
        die "apt-get is not here: the build root and the guest are made from Debian packages. Use Debian 12 or 13"
}

# check_space DIRECTORY MIB WHAT
check_space() {
    local directory=$1 need=$2 what=$3 free
    mkdir -p "$directory" 2>/dev/null ||
        die "$directory: cannot be made. Set ABUSE_CACHE to a directory you may write to"
    free=$(df -Pm "$directory" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$need" ] ||
        die "$directory: $free MiB free, $need MiB needed for $what. Make room there, or set $4 to a directory with more"
}

# The programs wanted on the machine itself, and the package of each.
HOST_PROGRAMS=(
    mmdebstrap:mmdebstrap qemu-system-x86_64:qemu-system-x86 mke2fs:e2fsprogs cpio:cpio
    rsync:rsync flock:util-linux xz:xz-utils
)

missing_host_packages() {
    local entry
    for entry in "${HOST_PROGRAMS[@]}"; do
        command -v "${entry%%:*}" >/dev/null || printf '%s\n' "${entry#*:}"
    done
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
    [ -d /etc/ssl/certs ] && [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

host_packages() {
    local missing
    PATH=$PATH:/usr/sbin:/sbin
    mapfile -t missing < <(missing_host_packages)
    [ "${#missing[@]}" -gt 0 ] || return 0
    check_mirror
    say "host packages: installing ${missing[*]}"
    locked host-packages step host-packages 60 install_host_packages "${missing[@]}"
}

install_host_packages() {
    export DEBIAN_FRONTEND=noninteractive
    local options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300)
    # Package lists may be missing altogether, or name versions that are gone.
    apt-get "${options[@]}" install "$@" || {
        apt-get -o DPkg::Lock::Timeout=300 update
        apt-get "${options[@]}" install "$@"
    }
}

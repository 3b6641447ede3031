# The guest's root file system: an ext4 image made without mounting anything.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

GUEST_KEY=$(printf '%s\n' 1 "$SUITE" "$ROOT_IMAGE_SIZE" "${GUEST_PACKAGES[@]}" | digest)

# guest_image PACKAGE...: sets GUEST_IMAGE; with more packages it is an image of its own.
use_guest() {
    if [ "$#" -eq 0 ]; then
        GUEST_IMAGE=$CACHE/guest-$GUEST_KEY/root.img
    else
        GUEST_MORE_KEY=$GUEST_KEY-$(printf '%s\n' "$@" | sort -u | digest)
        GUEST_IMAGE=$CACHE/more-$GUEST_MORE_KEY/root.img
    fi
}

guest() {
    layer guest "$GUEST_KEY" 80 make_guest
    if [ "$#" -gt 0 ]; then
        use_guest "$@"
        MORE_PACKAGES=("$@")
        layer more "$GUEST_MORE_KEY" 60 make_more_guest
    fi
}

make_guest() {
    make_root "$1/root" "${GUEST_PACKAGES[@]}"
    # What the tests expect of any machine.
    echo abuse-guest >"$1/root/etc/hostname"
    echo '127.0.0.1 localhost abuse-guest' >"$1/root/etc/hosts"
    : >"$1/root/etc/fstab"
    mkdir -p "$1/root/share" "$1/root/srv" "$1/root/usr/lib/modules"
    make_image "$1"
}

make_more_guest() {
    cp -a --reflink=auto "$CACHE/guest-$GUEST_KEY/root" "$1/root"
    connect "$1/root"
    local install=(apt-get -y --no-install-recommends -o APT::Sandbox::User=root install)
    in_root "$1/root" "${install[@]}" "${MORE_PACKAGES[@]}" || {
        in_root "$1/root" apt-get update
        in_root "$1/root" "${install[@]}" "${MORE_PACKAGES[@]}"
    }
    make_image "$1"
    rm -rf "$1/root"
}

make_image() {
    rm -rf "$1"/root/var/cache/apt/archives/*.deb
    mke2fs -q -t ext4 -m 0 -L abuse-root -E lazy_itable_init=1,lazy_journal_init=1 \
        -d "$1/root" "$1/root.img" "$ROOT_IMAGE_SIZE"
}

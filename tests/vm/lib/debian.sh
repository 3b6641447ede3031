# Making a Debian root directory.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# make_root DIRECTORY PACKAGE...: Debian $SUITE with the kernel's suite beside it.
make_root() {
    local directory=$1 mirror settings list hook
    shift
    mirror=$(host_mirror)
    settings=$directory.apt.part
    host_apt_settings >"$settings"
    list=$(IFS=,; printf '%s' "$*")
    local options=(
        --variant=apt --mode=root --include="$list" --skip=cleanup/apt/lists
        --aptopt='Acquire::Languages "none"'
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*'
        --dpkgopt='force-unsafe-io'
    )
    if [ -s "$settings" ]; then
        options+=(--aptopt="$settings")
    fi
    if [ -n "$mirror" ]; then
        mmdebstrap "${options[@]}" "$SUITE" "$directory" \
            "deb $mirror $SUITE main" "deb $mirror $KERNEL_SUITE main"
    else
        # No Debian archive in this machine's sources: mmdebstrap knows one, its line is repeated
        # for the kernel's suite.
        # shellcheck disable=SC2016
        hook='cd "$1/etc/apt"
            sed -n "s/^\(deb .*\) $SUITE main.*/\1 $KERNEL_SUITE main/p" sources.list >more
            cat more >>sources.list
            rm more'
        export SUITE KERNEL_SUITE
        mmdebstrap "${options[@]}" --setup-hook="$hook" "$SUITE" "$directory"
    fi
    rm -f "$settings"
}

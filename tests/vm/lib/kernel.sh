# The kernel: a tree the module can be built against, and what the guest boots.
#
# Debian's header packages carry nothing for Rust, so the source package of the same version is
# configured like the stock kernel and prepared; the symbol versions come from the headers. The
# debug kernel is compiled whole, of the same source: lib/debug.sh.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# flavour NAME: Debian's name of what --kernel calls stock or cloud. own-RELEASE is that very
# release, for the machine that runs it.
flavour() {
    case $1 in
        stock) echo amd64 ;;
        cloud) echo cloud-amd64 ;;
        # Compiled here, of the source that the stock kernel of this moment is made from.
        debug) echo amd64 ;;
        own-*-cloud-amd64) echo cloud-amd64 ;;
        own-*) echo amd64 ;;
        *) die "--kernel $1: not a kernel of this project. Use stock, cloud or debug" ;;
    esac
}

# use_kernel NAME: sets KERNEL, its place in the build root and, where it is built, its release.
use_kernel() {
    KERNEL=$1
    FLAVOUR=$(flavour "$KERNEL")
    KERNEL_KEY=$(
        printf '%s\n' 1 "$SERIES" "$FLAVOUR" "$KERNEL_CC"
        [ "$KERNEL" != debug ] || grep CONFIG_ "$DEBUG_CONFIG"
    )
    KERNEL_KEY=$(digest <<<"$KERNEL_KEY")
    KERNEL_IN_ROOT=/kernel/$KERNEL-$KERNEL_KEY
    KERNEL_DIR=$BUILD_ROOT$KERNEL_IN_ROOT
    BOOT=boot-$(printf '%s\n' 1 "${FAST_MODULES[@]}" | digest)
    # Of the debug kernel nothing is left to make it from anew.
    [ "$KERNEL" != debug ] || BOOT="boot-whole"
    BOOT_DIR=$KERNEL_DIR/$BOOT
    RELEASE=
    if [ -e "$KERNEL_DIR/release" ]; then
        RELEASE=$(<"$KERNEL_DIR/release")
    fi
}

# kernel NAME [tree]: everything of it, or only what modules are built against. Steps that are
# done stay done when a later one fails.
kernel() {
    KERNEL_PARTS=(kernel_tree)
    KERNEL_PACKAGES=(headers)
    if [ "${2-}" != tree ]; then
        KERNEL_PARTS+=(kernel_boot)
        KERNEL_PACKAGES+=(base binary modules)
    fi
    if [ "$1" = debug ]; then
        # What modules are built against is not there before the whole is.
        KERNEL_PARTS=(debug_kernel)
        KERNEL_PACKAGES=()
    fi
    use_kernel "$1"
    if ! kernel_is_there; then
        locked "kernel-$KERNEL" build_kernel
        use_kernel "$1"
    fi
    touch "$KERNEL_DIR"
}

kernel_is_there() {
    [ -e "$KERNEL_DIR/prepare.done" ] &&
        { [ "${KERNEL_PARTS[*]}" = kernel_tree ] || [ -e "$BOOT_DIR.done" ]; }
}

build_kernel() {
    ! kernel_is_there || return 0
    # Other clones may use other kernels of this name: only what nobody used for long goes away.
    find "$BUILD_ROOT/kernel" -mindepth 1 -maxdepth 1 -name "$KERNEL-*" -mtime +14 \
        ! -path "$KERNEL_DIR" -exec rm -rf {} +
    mkdir -p "$KERNEL_DIR"
    kernel_step find 10 find_kernel
    if [ ! -s "$KERNEL_DIR/release" ]; then
        rm "$KERNEL_DIR/find.done"
        die "$(cat "$KERNEL_DIR/refused")"
    fi
    RELEASE=$(<"$KERNEL_DIR/release")
    if [ "$KERNEL" = debug ]; then
        check_space "$CACHE" "$DEBUG_MIB" "the debug kernel while it is compiled" ABUSE_CACHE
        RELEASE=${RELEASE%%[-+]*}-debug
        printf '%s\n' "$RELEASE" >"$KERNEL_DIR/release"
    fi
    say "kernel: $RELEASE, Debian's package $(<"$KERNEL_DIR/version")"
    kernel_step fetch 15 fetch_kernel
    # At once: each is mostly one processor's work for half of the time.
    together "${KERNEL_PARTS[@]}"
    rm -rf "$KERNEL_DIR/headers" "$KERNEL_DIR"/debs/linux-{source,headers}*
}

# kernel_step NAME SECONDS FUNCTION
kernel_step() {
    [ ! -e "$KERNEL_DIR/$1.done" ] || return 0
    step "kernel-$KERNEL-${1%%-*}" "$2" "$3"
    touch "$KERNEL_DIR/$1.done"
}

# Which release to take is decided once, and recorded.
find_kernel() {
    local names release version offered numbers="${SERIES/./\\.}\.[0-9]+(\+[^-]+)?"
    case $KERNEL in
        own-*)
            numbers=${KERNEL#own-}
            numbers=${numbers%"-$FLAVOUR"}
            numbers=${numbers//[.+]/\\&} ;;
    esac
    connect "$BUILD_ROOT"
    in_root "$BUILD_ROOT" apt-get update
    names=$(in_root "$BUILD_ROOT" apt-cache pkgnames linux-headers-)
    while read -r release; do
        version=$(in_root "$BUILD_ROOT" apt-cache show --no-all-versions "linux-headers-$release" |
            awk '$1 == "Version:" { print $2; exit }')
        if in_root "$BUILD_ROOT" apt-cache madison "linux-source-$SERIES" |
                awk '{ print $3 }' | grep -qxF "$version"; then
            printf '%s\n' "$version" >"$KERNEL_DIR/version"
            printf '%s\n' "$release" >"$KERNEL_DIR/release"
            return 0
        fi
    done < <(sed -nE "s/^linux-headers-($numbers-$FLAVOUR)$/\1/p" \
        <<<"$names" | sort -rV)
    offered=$(sed -nE "s/^linux-headers-([0-9]+\.[0-9]+)\.[0-9]+(\+[^-]+)?-$FLAVOUR$/\1/p" \
        <<<"$names" | sort -uV |
        while read -r release; do
            if in_root "$BUILD_ROOT" apt-cache madison "linux-source-$release" </dev/null |
                    grep -qF " $KERNEL_SUITE/"; then
                echo "$release"
            fi
        done | paste -sd' ')
    case $KERNEL in
        own-*)
            printf '%s\n' "kernel ${KERNEL#own-}, which this machine runs: its packages are no longer in $KERNEL_SUITE. Upgrade to the newest $SERIES there, boot it, and run make again" \
                >"$KERNEL_DIR/refused"
            return ;;
    esac
    printf '%s\n' "kernel series $SERIES ($FLAVOUR): no longer in $KERNEL_SUITE. On offer there: ${offered:-none}. Set SERIES in tests/vm/config.sh to one of them" \
        >"$KERNEL_DIR/refused"
}

fetch_kernel() {
    local version part names
    version=$(<"$KERNEL_DIR/version")
    names=("linux-source-$SERIES=$version")
    for part in "${KERNEL_PACKAGES[@]}"; do
        names+=("linux-$part-$RELEASE=$version")
    done
    rm -rf "$KERNEL_DIR/debs"
    mkdir "$KERNEL_DIR/debs"
    # shellcheck disable=SC2016
    in_root "$BUILD_ROOT" sh -c 'cd "$1"; shift; apt-get download -o APT::Sandbox::User=root "$@"' \
        fetch "$KERNEL_IN_ROOT/debs" "${names[@]}"
}

# unpack_deb NAME DIRECTORY
unpack_deb() {
    local deb
    deb=$(basename "$KERNEL_DIR"/debs/"$1"_*.deb)
    mkdir -p "$2"
    in_root "$BUILD_ROOT" dpkg-deb -x "$KERNEL_IN_ROOT/debs/$deb" "${2#"$BUILD_ROOT"}"
}

kernel_tree() {
    kernel_step unpack 20 unpack_kernel_source
    kernel_step prepare 130 prepare_kernel_tree
}

unpack_kernel_source() {
    rm -rf "$KERNEL_DIR/headers"
    unpack_deb "linux-headers-$RELEASE" "$KERNEL_DIR/headers"
    # Of the drivers only the headers and the configuration are wanted, of the documentation
    # nothing.
    unpack_linux 'drivers/*.c' 'sound/*.c' 'net/*.c' 'drivers/gpu/*.h' 'drivers/net/*.h' \
        'arch/[a-wyz]*/boot' tools/testing tools/perf 'Documentation/*.rst' \
        'Documentation/*.yaml'
}

# unpack_linux PATTERN...: the kernel's source without these.
unpack_linux() {
    local tree=$KERNEL_DIR/tree without=() pattern
    for pattern in "$@"; do without+=("--exclude=linux-source-$SERIES/$pattern"); done
    rm -rf "$tree"
    mkdir "$tree"
    dpkg-deb --fsys-tarfile "$KERNEL_DIR/debs/linux-source-$SERIES"_*.deb |
        tar -xO --wildcards "./usr/src/linux-source-$SERIES.tar.*" |
        xz -dc | tar -C "$tree" --strip-components=1 -x "${without[@]}"
}

kernel_make() {
    local compilers=(CC="$KERNEL_CC" HOSTCC="$KERNEL_CC")
    # Rust and KASAN go together with one compiler only.
    [ "$KERNEL" != debug ] || compilers=(LLVM=1)
    in_root "$BUILD_ROOT" make -C "$KERNEL_IN_ROOT/tree" -j "$(nproc)" "${compilers[@]}" "$@"
}

prepare_kernel_tree() {
    local headers=$KERNEL_DIR/headers/usr/src/linux-headers-$RELEASE tree=$KERNEL_DIR/tree
    local version=${RELEASE%%[-+]*} wanted have
    grep -q '^CONFIG_RUST=y' "$headers/.config" || {
        echo "kernel $RELEASE: built without CONFIG_RUST" >&2
        return 1
    }
    wanted=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"/\1/p' "$headers/.config")
    have=$(in_root "$BUILD_ROOT" rustc --version)
    [ "$wanted" = "$have" ] || {
        echo "kernel $RELEASE: built with '$wanted', the build root has '$have'" >&2
        return 1
    }
    cp "$headers/.config" "$headers/Module.symvers" "$tree/"
    in_root "$BUILD_ROOT" sh -c "cd $KERNEL_IN_ROOT/tree && scripts/config \
        --set-str LOCALVERSION '${RELEASE#"$version"}' --disable LOCALVERSION_AUTO \
        --set-str SYSTEM_TRUSTED_KEYS '' --set-str SYSTEM_REVOCATION_KEYS '' \
        --set-str MODULE_SIG_KEY ''"
    kernel_make olddefconfig
    kernel_make prepare modules_prepare
    [ "$(kernel_make -s kernelrelease)" = "$RELEASE" ] || {
        echo "kernel $RELEASE: the prepared tree calls itself $(kernel_make -s kernelrelease)" >&2
        return 1
    }
    # What only the preparation needed.
    rm -rf "$tree"/{sound,samples,crypto,virt} "$tree"/fs/*/*.c "$tree"/drivers/*/*/*.h
}

kernel_boot() {
    kernel_step "$BOOT" 25 make_boot_files
}

# vmlinuz, the modules that mount the root file system, and an image for /usr/lib/modules.
make_boot_files() {
    local boot=$BOOT_DIR file files modules
    rm -rf "$KERNEL_DIR"/boot-*
    unpack_deb "linux-base-$RELEASE" "$boot/root"
    unpack_deb "linux-binary-$RELEASE" "$boot/root"
    unpack_deb "linux-modules-$RELEASE" "$boot/root"
    ln -s usr/lib "$boot/root/lib"
    modules=$boot/root/usr/lib/modules
    in_root "$BUILD_ROOT" depmod -b "$KERNEL_IN_ROOT/$BOOT/root" "$RELEASE"
    mapfile -t files < <(module_files "${FAST_MODULES[@]}" | grep '\.xz$')
    in_root "$BUILD_ROOT" xz -d -T0 "${files[@]}"
    in_root "$BUILD_ROOT" depmod -b "$KERNEL_IN_ROOT/$BOOT/root" "$RELEASE"
    mkdir "$boot/early"
    touch "$boot/early/order"
    while read -r file; do
        cp "$BUILD_ROOT$file" "$boot/early/"
        basename "$file" >>"$boot/early/order"
    done < <(module_files virtio_blk ext4)
    mv "$modules/$RELEASE/vmlinuz" "$boot/vmlinuz"
    make_modules_image "$modules"
    rm -rf "$boot/root"
}

# make_modules_image DIRECTORY: what the guest mounts at /usr/lib/modules.
make_modules_image() {
    mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$1" -L abuse-modules "$BOOT_DIR/modules.img" \
        "$(($(du -sm "$1" | cut -f1) * 11 / 10 + 32))M"
}

# module_files NAME...: the files of these modules and of what they need, in order of loading.
module_files() {
    local name
    for name in "$@"; do
        in_root "$BUILD_ROOT" modprobe -d "$KERNEL_IN_ROOT/$BOOT/root" -S "$RELEASE" \
            --show-depends "$name" 2>/dev/null | awk '$1 == "insmod" { print $2 }' || true
    done | awk '!seen[$0]++'
}

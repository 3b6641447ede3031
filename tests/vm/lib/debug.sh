# The debug kernel: the stock kernel's source, compiled with every detector there is a use for.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

DEBUG_CONFIG=$VM/debug.config

# KASAN would report only once. The ACPI interpreter takes half a minute for each device's interrupt
# lines, which virtio, with MSI, does not use. And the slab allocator keeps, for each processor and
# size, the addresses of the last sixty objects that it gave out, in which kmemleak would find what
# is lost; a slab whose consistency is checked does not, and the driver's memory is all of kmalloc's.
DEBUG_SLABS='slab_debug=F,kmalloc-*'
DEBUG_CMDLINE="kasan_multi_shot pci=noacpi $DEBUG_SLABS"

# The steps of it, each kept when a later one fails.
debug_kernel() {
    kernel_step unpack 30 unpack_debug_source
    kernel_step configure 30 configure_debug_kernel
    kernel_step compile 1800 compile_debug_kernel
    kernel_step "$BOOT" 15 install_debug_kernel
    kernel_step prepare 5 trim_debug_tree
}

unpack_debug_source() {
    unpack_linux 'Documentation/*.rst' 'drivers/gpu/*.[ch]' tools/testing tools/perf
}

configure_debug_kernel() {
    local tree=$KERNEL_DIR/tree wanted missing=
    kernel_make tinyconfig
    cat "$DEBUG_CONFIG" >>"$tree/.config"
    kernel_make olddefconfig
    while IFS= read -r wanted; do
        case $wanted in
            CONFIG_*) grep -qxF -- "$wanted" "$tree/.config" || missing+=" $wanted" ;;
            '# CONFIG_'*' is not set')
                ! grep -q "^${wanted:2:-11}=" "$tree/.config" || missing+=" ${wanted:2:-11}=n" ;;
        esac
    done <"$DEBUG_CONFIG"
    [ -z "$missing" ] || {
        echo "$DEBUG_CONFIG: what this kernel's Kconfig does not let be:$missing" >&2
        return 1
    }
}

# As politely as it can be: it takes every processor for minutes.
compile_debug_kernel() {
    renice -n 5 "$BASHPID" >/dev/null || true
    kernel_make bzImage modules
    [ "$(kernel_make -s kernelrelease)" = "$RELEASE" ] || {
        echo "the debug kernel calls itself $(kernel_make -s kernelrelease), not $RELEASE" >&2
        return 1
    }
}

install_debug_kernel() {
    local boot=$BOOT_DIR modules
    rm -rf "$KERNEL_DIR"/boot-*/
    mkdir -p "$boot/root/usr" "$boot/early"
    ln -s usr/lib "$boot/root/lib"
    kernel_make INSTALL_MOD_PATH="$KERNEL_IN_ROOT/$BOOT/root/usr" modules_install
    modules=$boot/root/usr/lib/modules
    rm -f "$modules/$RELEASE/build" "$modules/$RELEASE/source"
    # Whatever mounts the root file system is built in.
    touch "$boot/early/order"
    cp "$KERNEL_DIR/tree/arch/x86/boot/bzImage" "$boot/vmlinuz"
    make_modules_image "$modules"
    rm -rf "$boot/root"
}

# What modules are built against stays; its objects and the image with all symbols go.
trim_debug_tree() {
    local tree=$KERNEL_DIR/tree
    find "$tree" \( -path "$tree/scripts" -o -path "$tree/tools" \) -prune -o \
        -type f \( -name '*.o' -o -name '*.a' -o -name '*.ko' -o -name '.*.cmd' \) -print0 |
        xargs -0 rm -f
    rm -rf "$tree"/{vmlinux*,.tmp_vmlinux*,sound,samples,virt}
    find "$tree"/{drivers,net,fs,crypto} -name '*.c' -delete
}

# What the guest and its build root are made of. Sourced by everything in tests/vm.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# The kernel series: the newest 7.2.y on the mirror is taken. A newer series is this one line.
SERIES=7.2

# Debian's suites: the first gives user space, the second the kernel.
SUITE=trixie
KERNEL_SUITE=trixie-backports

# The compiler the kernel packages were built with.
KERNEL_CC=gcc-14

# The build root: what compiles the module, the crates and the C clients, and checks them.
BUILD_PACKAGES=(
    ca-certificates rustc rust-src rust-clippy rustfmt cargo bindgen
    gcc-14 gcc gcc-multilib libc6-dev clang lld llvm libclang-dev
    make bc bison flex libelf-dev libssl-dev dwarves kmod cpio xz-utils
    python3 busybox-static shellcheck
)

# The guest: what `make demo` and `make test` use. Anything else comes by --package.
GUEST_PACKAGES=(
    systemd udev kmod procps psmisc sysvinit-utils util-linux mount
    fio dbench e2fsprogs xfsprogs btrfs-progs f2fs-tools dosfstools fdisk parted
    dmsetup cryptsetup-bin lvm2 mdadm libaio1t64 trace-cmd
    python3 bsdextrautils xz-utils busybox-static
)

# What the unit tests want besides, where they have to run in the guest.
UNIT_PACKAGES=(gcc libc6-dev)

# Kernel modules stored uncompressed in the guest, as unpacking xz under emulation is slow.
# The others are there too, compressed: modprobe finds them all.
FAST_MODULES=(
    virtio_blk virtio_scsi virtio_balloon virtio_rng 9p 9pnet_virtio
    ext4 xfs btrfs f2fs vfat nls_ascii nls_cp437 nls_utf8 overlay
    dm-mod dm-crypt dm-flakey dm-log-writes dm-delay dm-snapshot dm-thin-pool
    raid0 raid1 raid456 md-mod loop null_blk brd nbd ublk_drv scsi_debug target_core_user
    xts aesni-intel sha256 sha256_generic algif_skcipher cbc essiv
)

# Free space that a cold start needs, in MiB: in the cache, and for one guest's own writes.
CACHE_MIB=7000
DEBUG_MIB=9000
GUEST_MIB=1500

# The guest's root file system, sparse: /srv in it is the scratch space of the tests.
ROOT_IMAGE_SIZE=16G

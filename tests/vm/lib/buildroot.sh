# The build root: trixie with the kernel's own compilers, in which everything is compiled.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

BUILD_ROOT_KEY=$(printf '%s\n' 1 "$SUITE" "$KERNEL_SUITE" "${BUILD_PACKAGES[@]}" | digest)
BUILD_ROOT=$CACHE/buildroot-$BUILD_ROOT_KEY

build_root() {
    layer buildroot "$BUILD_ROOT_KEY" 70 make_build_root
}

make_build_root() {
    make_root "$1" "${BUILD_PACKAGES[@]}"
    # Where no device nodes can be mounted, plain ones have to do; POSIX shared memory is files.
    mkdir -p "$1/dev/shm" "$1/kernel" "$1/work"
    chmod 1777 "$1/dev/shm"
    [ -e "$1/dev/null" ] || mknod -m 666 "$1/dev/null" c 1 3
    [ -e "$1/dev/zero" ] || mknod -m 666 "$1/dev/zero" c 1 5
    [ -e "$1/dev/urandom" ] || mknod -m 666 "$1/dev/urandom" c 1 9
}

# Building for the kernel this machine runs, so that the module can be installed on it.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

OWN=${ABUSE_RELEASE:-$(uname -r)}

# own_config NAME: whether the running kernel was built with CONFIG_NAME=y.
own_config() {
    local file
    for file in "/boot/config-$OWN" "/lib/modules/$OWN/config" "/lib/modules/$OWN/build/.config"; do
        if [ -r "$file" ]; then
            grep -q "^CONFIG_$1=y" "$file"
            return
        fi
    done
    if [ -r /proc/config.gz ]; then
        zcat /proc/config.gz | grep -q "^CONFIG_$1=y"
        return
    fi
    return 1
}

# the_own_kernel: sets OWN_WAY to how a module for it can be built, or says what is missing.
the_own_kernel() {
    local build=/lib/modules/$OWN/build
    if [[ $OWN =~ ^${SERIES/./\\.}\.[0-9]+(\+[a-z0-9]+)?-(cloud-)?amd64$ ]]; then
        # Debian's headers have nothing for Rust: prepare the tree of that very release.
        OWN_WAY=prepared
        build_root
        kernel "own-$OWN" tree
    elif [ -e "$build/rust/libkernel.rmeta" ]; then
        OWN_WAY=headers
        build_root
    elif own_config RUST; then
        OWN_WAY=none
        OWN_REASON="kernel $OWN has CONFIG_RUST, but $build/rust/libkernel.rmeta is not there. Install its headers with the Rust metadata, or run Debian's $SERIES kernel of $KERNEL_SUITE"
        build_root
    else
        OWN_WAY=none
        OWN_REASON="kernel $OWN, which this machine runs, was built without CONFIG_RUST. Boot one that has it, as linux-image-amd64 from $KERNEL_SUITE; or stay and use make demo, make test and make shell, which bring their own"
        build_root
    fi
}

own_build() {
    copy_tree
    build_programs
    rm -f "$WORK/out/own.ko"
    case $OWN_WAY in
        prepared)
            build_module
            cp "$WORK/out/abuse-$KERNEL.ko" "$WORK/out/own.ko" ;;
        headers)
            work_step module-own 20 compile_own_module ;;
    esac
    own_results
    [ "$OWN_WAY" != none ] || die "module: not built: $OWN_REASON. The tools are in target/out"
}

# With the machine's own compilers: they have to be those of its kernel.
compile_own_module() {
    copy_driver module-own
    make -C "/lib/modules/$OWN/build" M="$WORK/module-own/driver" modules
    cp "$WORK/module-own/driver/abuse.ko" "$WORK/out/own.ko"
}

# What `make install` takes, where a person finds it.
own_results() {
    local results=$REPO/target/out
    mkdir -p "$results"
    rm -rf "${results:?}"/{bin,share,abuse.ko}
    cp -r "$WORK/out/bin" "$WORK/out/share" "$results/"
    [ ! -e "$WORK/out/own.ko" ] || cp "$WORK/out/own.ko" "$results/abuse.ko"
    printf '%s\n' "$OWN" >"$results/release"
    chown -R --reference="$REPO" "$REPO/target"
    say "built: target/out"
}

# The project itself, compiled in the build root: module, crates, C clients.
#
# The tree is copied into the build root, as mounting it there is not possible everywhere. Each
# clone has its own place, named by its path.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

WORK_ID=$(printf '%s' "$REPO" | digest)
WORK_IN_ROOT=/work/$WORK_ID
WORK=$BUILD_ROOT$WORK_IN_ROOT

# What the compiler leaves behind must neither come from the clone nor be swept away here.
BUILD_LEFTOVERS=(--exclude=/target --exclude=.git '--exclude=*.o' '--exclude=*.ko'
    '--exclude=*.mod' '--exclude=*.mod.c' '--exclude=.*.cmd' '--exclude=.*.d'
    '--exclude=*.rmeta' '--exclude=*.rlib' '--exclude=Module.symvers' '--exclude=modules.order')

copy_tree() {
    local place
    # Places of clones that are gone.
    for place in "$BUILD_ROOT"/work/*/; do
        if [ -e "$place/origin" ] && [ ! -d "$(<"$place/origin")" ]; then
            rm -rf "$place"
        fi
    done
    mkdir -p "$WORK/src" "$WORK/out/bin"
    printf '%s\n' "$REPO" >"$WORK/origin"
    rsync -a --delete --chown=0:0 "${BUILD_LEFTOVERS[@]}" "$REPO/" "$WORK/src/"
}

# work_step: a step whose log is this clone's own.
work_step() {
    LOGS=$LOGS/$WORK_ID step "$@"
}

# in_work COMMAND...: in the build root's copy of the tree.
in_work() {
    # shellcheck disable=SC2016
    in_root "$BUILD_ROOT" env CARGO_TARGET_DIR="$WORK_IN_ROOT/target" \
        sh -c 'cd "$1" && shift && exec "$@"' in_work "$WORK_IN_ROOT/src" "$@"
}

# unchanged NAME FILE...: whether these are as they were when done_with NAME was last said.
unchanged() {
    local name=$1
    shift
    STATE=$(cd "$REPO" && find "$@" -path ./target -prune -o -type f -printf '%p %T@ %s\n' \
        2>/dev/null | LC_ALL=C sort | digest)
    [ -e "$WORK/$name.state" ] && [ "$(<"$WORK/$name.state")" = "$STATE" ]
}

done_with() {
    printf '%s\n' "$STATE" >"$WORK/$1.state"
}

build_programs() {
    local sources=(Cargo.toml Cargo.lock .cargo abuse abusectl supervisor tests)
    if unchanged programs "${sources[@]}"; then
        return 0
    fi
    connect "$BUILD_ROOT"
    work_step programs 150 compile_programs
    done_with programs
}

compile_programs() {
    rm -rf "$WORK/out/bin.part"
    mkdir "$WORK/out/bin.part"
    in_work cargo build --release --locked --workspace --lib --bins --examples
    find "$WORK/target/release" -maxdepth 1 -type f -perm -100 ! -name '*.so' \
        -exec cp {} "$WORK/out/bin.part/" \;
    copy_examples
    compile_c_clients
    find "$WORK/out/bin.part" -type f -printf "$WORK_IN_ROOT/out/bin.part/%f\n" |
        in_root "$BUILD_ROOT" xargs -r strip --strip-debug
    rm -rf "$WORK/out/bin"
    mv "$WORK/out/bin.part" "$WORK/out/bin"
    make_manuals
}

# The examples in Rust, as NAME-rust: the same ones are there in C.
copy_examples() {
    local example
    for example in "$WORK"/src/abuse/examples/*.rs; do
        [ -e "$example" ] || continue
        example=$(basename "$example" .rs)
        cp "$WORK/target/release/examples/$example" "$WORK/out/bin.part/$example-rust"
    done
}

# Manual pages and completions, which the tools know how to write.
make_manuals() {
    local tool share=$WORK/out/share
    rm -rf "$share"
    mkdir -p "$share"/man/man{5,8} "$share/bash-completion/completions" \
        "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
    for tool in abusectl abuse-supervisor; do
        [ -e "$WORK/out/bin/$tool" ] || continue
        in_root "$BUILD_ROOT" "$WORK_IN_ROOT/out/bin/$tool" man \
            "${share#"$BUILD_ROOT"}/man/man8" || true
        complete_in "$tool" bash "$share/bash-completion/completions/$tool"
        complete_in "$tool" zsh "$share/zsh/site-functions/_$tool"
        complete_in "$tool" fish "$share/fish/vendor_completions.d/$tool.fish"
    done
    find "$share/man/man8" -name '*.5' -exec mv {} "$share/man/man5/" \;
}

complete_in() {
    in_root "$BUILD_ROOT" "$WORK_IN_ROOT/out/bin/$1" completions "$2" >"$3" || rm -f "$3"
}

# Every C file of tests/clients and abuse/examples is a program: NAME, and NAME-32 for 32 bits. They
# see of this project what make install puts on a machine: the header.
compile_c_clients() {
    local source name include=$WORK_IN_ROOT/out/include
    install -D -m 644 "$WORK/src/abuse/uapi/abuse.h" "$WORK/out/include/abuse.h"
    for source in "$WORK"/src/tests/clients/*.c "$WORK"/src/abuse/examples/*.c; do
        [ -e "$source" ] || continue
        name=$(basename "$source" .c)
        in_work gcc -O2 -Wall -Wextra -Werror -I"$include" -o "$WORK_IN_ROOT/out/bin.part/$name" \
            "${source#"$WORK/src/"}" -pthread
        in_work gcc -m32 -static -O2 -Wall -Wextra -Werror -I"$include" \
            -o "$WORK_IN_ROOT/out/bin.part/$name-32" "${source#"$WORK/src/"}" -pthread
    done
}

# build_module: for the kernel in use; each has its own copy of the sources.
build_module() {
    if unchanged "module-$KERNEL-$KERNEL_KEY" abuse; then
        return 0
    fi
    work_step "module-$KERNEL" 15 compile_module
    done_with "module-$KERNEL-$KERNEL_KEY"
}

compile_module() {
    copy_driver "module-$KERNEL"
    kernel_make M="$WORK_IN_ROOT/module-$KERNEL/driver" modules
    cp "$WORK/module-$KERNEL/driver/abuse.ko" "$WORK/out/abuse-$KERNEL.ko.part"
    in_root "$BUILD_ROOT" strip --strip-debug "$WORK_IN_ROOT/out/abuse-$KERNEL.ko.part"
    mv "$WORK/out/abuse-$KERNEL.ko.part" "$WORK/out/abuse-$KERNEL.ko"
}

copy_driver() {
    mkdir -p "$WORK/$1"
    rsync -a --delete --chown=0:0 "${BUILD_LEFTOVERS[@]}" "$REPO/abuse/" "$WORK/$1/"
}

# build_breaker NAME: one of the modules that break something on purpose.
build_breaker() {
    BREAKER=$1
    work_step "$1-$KERNEL" 10 compile_breaker
}

compile_breaker() {
    rsync -a --chown=0:0 "$VM/$BREAKER/" "$WORK/$BREAKER-$KERNEL/"
    kernel_make M="$WORK_IN_ROOT/$BREAKER-$KERNEL" modules
}

# The guest's initrd: its first process, what mounts the root file system, and everything that
# changes with an edit.
pack_programs() {
    local stage=$WORK/out/pack.part directory name
    rm -rf "$stage"
    mkdir -p "$stage"/{bin,proc,sys,dev,root,abuse/bin,abuse/early}
    cp "$BUILD_ROOT/usr/bin/busybox" "$stage/bin/"
    cp "$BUILD_ROOT/usr/bin/busybox" "$stage/abuse/early/"
    for name in cat cp ip ln mkdir mkfifo modprobe mount sleep; do
        ln -s busybox "$stage/abuse/early/$name"
    done
    cp "$VM/guest/initrd" "$stage/init"
    cp "$VM/guest/init" "$stage/abuse/init"
    chmod 755 "$stage/init" "$stage/abuse/init"
    cp -r "$BOOT_DIR/early" "$stage/modules"
    find "$WORK/out/bin" -type f -exec cp -p {} "$stage/abuse/bin/" \;
    if [ -e "$WORK/out/abuse-$KERNEL.ko" ]; then
        cp "$WORK/out/abuse-$KERNEL.ko" "$stage/abuse/abuse.ko"
    fi
    install -D -m 644 "$VM/guest/systemd" "$stage/abuse/src/guest/systemd"
    for directory in udev abuse/uapi abuse/examples; do
        if [ -d "$REPO/$directory" ]; then
            mkdir -p "$stage/abuse/src/$directory"
            cp -r "$REPO/$directory/." "$stage/abuse/src/$directory/"
        fi
    done
    (cd "$stage" && find . | cpio --quiet -o -H newc -R 0:0) >"$WORK/out/$KERNEL.cpio.part"
    mv "$WORK/out/$KERNEL.cpio.part" "$WORK/out/$KERNEL.cpio"
    rm -rf "$stage"
}

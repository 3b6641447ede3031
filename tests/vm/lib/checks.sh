# What is checked without a guest, each in the build root with the compilers of the kernel's suite.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# The names that `tests/vm/build check NAME` knows, in the order that finds trouble soonest.
CHECKS=(format scripts clippy driver-clippy docs units)

check() {
    case $1 in
        format) work_step check-format 5 check_format ;;
        scripts) work_step check-scripts 10 check_scripts ;;
        clippy) work_step check-clippy 40 check_clippy ;;
        driver-clippy) work_step check-driver-clippy 20 check_driver_clippy ;;
        docs) work_step check-docs 30 check_docs ;;
        units)
            can_mount || guest "${UNIT_PACKAGES[@]}"
            work_step check-units 90 check_units ;;
        *) die "check $1: there are ${CHECKS[*]}" ;;
    esac
}

# rustfmt looks for its stack in /proc, which the build root has not everywhere: it runs from
# there with the build root's own libraries instead.
build_rustfmt() {
    "$BUILD_ROOT/lib64/ld-linux-x86-64.so.2" \
        --library-path "$BUILD_ROOT/usr/lib/x86_64-linux-gnu:$BUILD_ROOT/lib/x86_64-linux-gnu" \
        "$BUILD_ROOT/usr/bin/rustfmt" "$@"
}

check_format() {
    local status=0
    (
        cd "$WORK/src"
        find . -path ./target -prune -o -path ./abuse/driver -prune -o -name '*.rs' -print0 |
            xargs -0 -r bash -c 'build_rustfmt --check --edition 2021 "$@"' check_format
    ) || status=1
    if [ -d "$WORK/src/abuse/driver" ]; then
        find "$WORK/src/abuse/driver" -name '*.rs' -print0 |
            xargs -0 -r bash -c 'build_rustfmt --check --config-path "$0" "$@"' \
                "$KERNEL_DIR/tree/.rustfmt.toml" || status=1
    fi
    return "$status"
}
export BUILD_ROOT
export -f build_rustfmt

# Every shell script of the tree, known by its first line or its name.
check_scripts() {
    # shellcheck disable=SC2016
    in_work sh -c '
        find .ci tests -type f 2>/dev/null |
            while read -r file; do
                case $file in
                    *.sh) echo "$file" ;;
                    *) head -n 1 "$file" | grep -qE "^#!.*[/ ](ba|da|)sh( |$)" && echo "$file" ;;
                esac
            done | xargs -r shellcheck -x --severity=warning --source-path=SCRIPTDIR'
}

# clippy-driver by its name: cargo-clippy looks for itself in /proc.
check_clippy() {
    in_work env RUSTC_WORKSPACE_WRAPPER=clippy-driver \
        CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__ \
        cargo check --workspace --all-targets --locked
}

check_driver_clippy() {
    rm -rf "$WORK/clippy-$KERNEL"
    copy_driver "clippy-$KERNEL"
    kernel_make M="$WORK_IN_ROOT/clippy-$KERNEL/driver" CLIPPY=1 KRUSTFLAGS=-Dwarnings \
        KCFLAGS=-Werror modules
}

check_docs() {
    in_work env RUSTDOCFLAGS='-D warnings -D missing_docs' \
        cargo doc --workspace --no-deps --locked
}

# Packages whose tests look at nothing but their own memory: they need no /proc, and much time.
PURE=(abuse-ledger-tests abuse-register)

# Where the build root has no /proc, the tests that look at processes run in the guest; the pure
# ones, and those in the documentation, which cargo compiles as it runs them, stay.
check_units() {
    if can_mount; then
        in_work cargo test --workspace --locked --no-fail-fast
    else
        in_work cargo test --locked --no-fail-fast "${PURE[@]/#/--package=}"
        in_work cargo test --workspace "${PURE[@]/#/--exclude=}" --locked --lib --bins --tests \
            --examples --no-run
        in_work cargo test --workspace "${PURE[@]/#/--exclude=}" --locked --lib --bins --tests \
                --examples --no-run --message-format=json 2>/dev/null |
            sed -nE '/"profile":[{][^}]*"test":true/s/.*"manifest_path":"([^"]*)\/Cargo.toml".*"executable":"([^"]+)".*/\1 \2/p' \
                >"$WORK/test-programs"
        units_in_guest
        in_work cargo test --workspace "${PURE[@]/#/--exclude=}" --locked --no-fail-fast --doc
    fi
}

# The tree's place in the build root is at the same path in the guest, as tests know it by name.
units_in_guest() {
    # shellcheck disable=SC2016
    "$VM/run" --as-built --kernel "$KERNEL" --no-module "${UNIT_PACKAGES[@]/#/--package=}" --cpus "$(nproc)" --share "$WORK" -- sh -c '
        mkdir -p "$1"
        mount --bind /share "$1"
        status=0
        while read -r directory program; do
            echo "     Running $program"
            (cd "$directory" && "$program" </dev/null) || status=1
        done <"$1/test-programs"
        exit "$status"' units "$WORK_IN_ROOT"
}

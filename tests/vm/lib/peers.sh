# The other drivers' servers, for `make bench`: each from its own package, compiled in the build root.
#
# One that cannot be had says why in NAME.missing, and the bench passes that on; it is tried again
# the next time.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

PEERS_IN_ROOT=/peers
PEERS=$BUILD_ROOT$PEERS_IN_ROOT

# Of ublk's servers in Rust, the one that its tables were made with.
RUBLK=0.2.15

# peers: what is not there yet is built.
peers() {
    mkdir -p "$PEERS/bin"
    locked peers peers_at_once
}

peers_at_once() {
    connect "$BUILD_ROOT"
    peer kublk "$(<"$KERNEL_DIR/version")" 60 make_kublk &
    peer rublk "$RUBLK" 180 make_rublk &
    wait
}

# peer NAME VERSION SECONDS FUNCTION
peer() {
    local name=$1 version=$2 log=$LOGS/peer-$1.log
    if [ -x "$PEERS/bin/$name" ] && [ "$(<"$PEERS/$name.version")" = "$version" ]; then
        return 0
    fi
    rm -f "$PEERS/$name.missing"
    if (step "peer-$name" "$3" "$4") 2>"$PEERS/$name.trouble"; then
        printf '%s\n' "$version" >"$PEERS/$name.version"
        rm -f "$PEERS/$name.trouble"
    else
        rm -f "$PEERS/bin/$name"
        grep -aiE -m1 'error|^E:|no such|cannot' "$log" >"$PEERS/$name.missing" 2>/dev/null ||
            echo "it could not be built: see $log" >"$PEERS/$name.missing"
        say "peer $name: cannot be had: $(<"$PEERS/$name.missing")"
    fi
}

# kublk is a test program of the kernel's source package, and uses that kernel's own headers.
make_kublk() {
    local place=$PEERS/kublk version
    version=$(<"$KERNEL_DIR/version")
    rm -rf "$place"
    mkdir -p "$place"
    in_root "$BUILD_ROOT" sh -c "cd $PEERS_IN_ROOT/kublk &&
        apt-get -o APT::Sandbox::User=root download \
            linux-source-$SERIES=$version linux-libc-dev=$version liburing-dev &&
        dpkg -x linux-libc-dev_*.deb . && dpkg -x liburing-dev_*.deb ."
    dpkg-deb --fsys-tarfile "$place"/linux-source-*.deb |
        tar -xO --wildcards "./usr/src/linux-source-$SERIES.tar.*" |
        xz -dc | tar -C "$place" --strip-components=1 -x --wildcards \
            '*/tools/testing/selftests/ublk'
    rm "$place"/*.deb
    in_root "$BUILD_ROOT" sh -c "cd $PEERS_IN_ROOT/kublk/tools/testing/selftests/ublk &&
        gcc -O3 -w -D_GNU_SOURCE -I $PEERS_IN_ROOT/kublk/usr/include \
            -I $PEERS_IN_ROOT/kublk/usr/include/x86_64-linux-gnu \
            -o $PEERS_IN_ROOT/bin/kublk kublk.c null.c file_backed.c common.c stripe.c fault_inject.c batch.c \
            $PEERS_IN_ROOT/kublk/usr/lib/x86_64-linux-gnu/liburing.a -lpthread -lm"
    test -x "$PEERS/bin/kublk"
}

make_rublk() {
    in_root "$BUILD_ROOT" cargo install --quiet --locked --version "$RUBLK" \
        --root "$PEERS_IN_ROOT/rublk" --target-dir "$PEERS_IN_ROOT/rublk-target" rublk
    cp "$PEERS/rublk/bin/rublk" "$PEERS/bin/rublk"
    rm -rf "$PEERS/rublk-target"
}

# KVM where it really runs a kernel, emulation elsewhere, without a word.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# use_accelerator: sets ACCELERATOR, from a probe that is made once per boot of this machine.
use_accelerator() {
    local known verdict probe
    EMULATED=(-accel "tcg,thread=multi" -cpu max)
    ACCELERATOR=("${EMULATED[@]}")
    [ -w /dev/kvm ] && [ -r /dev/kvm ] || return 0
    probe=$(printf '%s\n' "$(id -u)" "$(</proc/sys/kernel/random/boot_id)" \
        "$(qemu-system-x86_64 --version)" | digest)
    known=${TMPDIR:-/var/tmp}/abuse-kvm-$(id -u)
    if [ -O "$known" ] && read -r verdict <"$known" && [ "${verdict% *}" = "$probe" ]; then
        verdict=${verdict#* }
    else
        verdict=no
        if probe_kvm; then verdict=yes; fi
        rm -f "$known"
        printf '%s %s\n' "$probe" "$verdict" >"$known"
    fi
    if [ "$verdict" = yes ]; then
        ACCELERATOR=(-accel kvm -cpu host)
    fi
}

# use_counter DIRECTORY: emulation whose clock goes by instructions, so that a run is the same
# however busy this machine is. Without erms and fsrm a copy is made of instructions that are worth
# counting, not of one for each byte; and nothing lies at a random place.
use_counter() {
    local plugin=$WORK/target/release/libabuse_count.so
    [ -e "$plugin" ] || die "--count: $plugin is not built. Run tests/vm/build first"
    ACCELERATOR=(-accel "tcg,thread=single" -cpu "max,-erms,-fsrm" -icount "shift=0,sleep=off"
        -plugin "${plugin//,/,,},dir=$(realpath "$1")")
    COUNTED_CMDLINE='nokaslr norandmaps transparent_hugepage=never'
}

# Boots the kernel as far as its first process.
probe_kvm() {
    local output
    output=$(timeout -k 1 10 qemu-system-x86_64 -accel kvm -cpu host -m 512 -nodefaults \
        -no-user-config -display none -no-reboot -serial stdio \
        -kernel "$BOOT_DIR/vmlinuz" -initrd "$WORK/out/$KERNEL.cpio" \
        -append 'console=ttyS0 quiet panic=-1 abuse.probe' </dev/null 2>/dev/null) || true
    grep -qF 'abuse-vm: probe passed' <<<"$output"
}

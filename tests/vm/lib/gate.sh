# The gate on the guest's kernel log: a line that says something broke fails the run.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

GATE='WARNING: |BUG: |kernel BUG at|Oops: |Oops\b.*\[#[0-9]+\]'
GATE+='|general protection fault|Kernel panic|INFO: possible|possible recursive locking'
GATE+='|possible circular locking|inconsistent lock state|DEBUG_LOCKS_WARN_ON'
GATE+='|INFO: task .* blocked for more than|INFO: rcu.* (stall|self-detected)|rcu: INFO: '
GATE+='|KASAN: |KCSAN: |KFENCE: |UBSAN: |kmemleak: [1-9][0-9]* new|soft lockup|hard LOCKUP'
GATE+='|refcount_t: |(list_add|list_del) corruption|Poison overwritten|Redzone overwritten'
GATE+='|scheduling while atomic|sleeping function called|unregister_netdevice: waiting'

# gate LOG ALLOWED: prints the lines that should not be there; fails when there is one. ALLOWED is
# a regular expression, or empty.
gate() {
    local found
    found=$(sed -n '/abuse-vm: ready/,$p' "$1" | grep -aE "$GATE" |
        if [ -n "$2" ]; then grep -avE "$2"; else cat; fi || true)
    [ -n "$found" ] || return 0
    printf '%s\n' "$found"
    return 1
}

# log_since_begin LOG: what the guest's kernel said since the command began.
log_since_begin() {
    if grep -aqF 'abuse-vm: begin' "$1"; then
        sed -n '/abuse-vm: begin/,$p' "$1"
    else
        tail -n 60 "$1"
    fi
}

# Long steps: a sign of life every few seconds, the full output in a log, its end on failure.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# step NAME SECONDS COMMAND...: runs COMMAND, which may be a function, with its output in a log.
# SECONDS is about how long it takes on two cores.
step() {
    local name=$1 about=$2 log start next pid status=0
    shift 2
    log=$LOGS/$name.log
    mkdir -p "$LOGS"
    start=$SECONDS
    next=2
    # Its own process group, so that an interrupted run takes everything with it.
    set -m
    (set -eu -o pipefail; "$@") >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    STEP_PIDS+=("$pid")
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        if [ $((SECONDS - start)) -ge "$next" ]; then
            say "$name: $(duration $((SECONDS - start))) of about $(duration "$about")"
            next=$((SECONDS - start + 8))
        fi
    done
    wait "$pid" || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 50 "$log" | sed 's/^/    /' >&2
        die "$name: failed (status $status); the whole log is $log"
    fi
    [ "$next" -eq 2 ] || say "$name: done in $(duration $((SECONDS - start)))"
}

duration() {
    if [ "$1" -ge 90 ]; then
        printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
    else
        printf '%d s' "$1"
    fi
}

# An interrupted run ends what it began: steps by their process group, and its own branches.
STEP_PIDS=()
BRANCH_PIDS=()
stop_steps() {
    local pid
    for pid in "${STEP_PIDS[@]}"; do
        kill -TERM -- "-$pid" 2>/dev/null || true
    done
    for pid in "${BRANCH_PIDS[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
}
trap stop_steps EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# together COMMAND...: several commands at once, given as single words; fails when one fails.
together() {
    local command pid status=0
    for command in "$@"; do
        (
            STEP_PIDS=()
            BRANCH_PIDS=()
            trap stop_steps EXIT
            trap 'exit 143' TERM
            "$command"
        ) &
        BRANCH_PIDS+=("$!")
    done
    for pid in "${BRANCH_PIDS[@]}"; do
        wait "$pid" || status=$?
    done
    BRANCH_PIDS=()
    [ "$status" -eq 0 ] || exit "$status"
}

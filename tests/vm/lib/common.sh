# Names, messages, locks and cached layers: what every part of tests/vm stands on.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

VM=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
REPO=$(cd "$VM/../.." && pwd -P)
CACHE=${ABUSE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/abuse}
LOGS=$CACHE/logs

# shellcheck source=tests/vm/config.sh
. "$VM/config.sh"

# say TEXT: one line for the person who waits. On stderr: stdout belongs to the guest's command.
say() {
    [ -n "${ABUSE_VM_QUIET-}" ] || printf '%s\n' "$*" >&2
}

# die TEXT...: one message that names the object, the cause and the next step. Status 125 is
# never that of a command in the guest.
die() {
    printf '%s: %s\n' "${ME:-tests/vm}" "$*" >&2
    exit 125
}

# digest: a short name for whatever comes in on stdin.
digest() {
    sha256sum | cut -c1-12
}

# locked NAME COMMAND...: one process at a time; says so when it has to wait.
locked() {
    local name=$1 fd status=0
    shift
    exec {fd}>"$CACHE/$name.lock"
    if ! flock -n "$fd"; then
        say "$name: waiting for another run that is building it"
        flock "$fd"
    fi
    "$@"
    exec {fd}>&-
    return "$status"
}

# layer NAME KEY SECONDS FUNCTION: sees that $CACHE/NAME-KEY is there. FUNCTION gets an empty
# directory to fill, which gets its name only when it is complete; older layers of the same name
# that nobody used for two weeks go away.
layer() {
    local name=$1 key=$2 seconds=$3 function=$4
    local path=$CACHE/$name-$key
    if [ ! -d "$path" ]; then
        locked "$name" build_layer "$name" "$path" "$seconds" "$function"
    fi
    touch "$path"
}

build_layer() {
    local name=$1 path=$2 seconds=$3 function=$4
    [ ! -d "$path" ] || return 0
    rm -rf --one-file-system "$CACHE/$name"-*.part
    find "$CACHE" -maxdepth 1 -name "$name-*" -mtime +14 -exec rm -rf --one-file-system {} +
    mkdir "$path.part"
    step "$name" "$seconds" "$function" "$path.part"
    mv "$path.part" "$path"
}

# Lines of results, as everything that make test runs prints them, and counting them.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

PASSED=0
FAILED=0
SKIPPED=0
FAILURES=()

# seconds SINCE: of EPOCHREALTIME, as 1.2
seconds() {
    local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# count LINE: "ok NAME ...", "FAILED NAME: ..." or "skipped NAME: ..." is one result, unless it says
# that it stands for more of them: "(676 tests, 3 failed, 2 skipped)". Other lines are none.
count() {
    local word=${1%% *} all bad
    case $word in ok|FAILED|skipped) ;; *) return 0 ;; esac
    if [[ $1 =~ \(([0-9]+)\ tests,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped\) ]]; then
        all=${BASH_REMATCH[1]} bad=${BASH_REMATCH[2]}
        PASSED=$((PASSED + all - bad))
        FAILED=$((FAILED + bad))
        SKIPPED=$((SKIPPED + BASH_REMATCH[3]))
        # Something else went wrong, as what was not compiled.
        [ "$word" = ok ] || [ "$bad" -gt 0 ] || FAILED=$((FAILED + 1))
    else
        case $word in
            ok) PASSED=$((PASSED + 1)) ;;
            FAILED) FAILED=$((FAILED + 1)) ;;
            skipped) SKIPPED=$((SKIPPED + 1)) ;;
        esac
    fi
    [ "$word" != FAILED ] || FAILURES+=("$(sed -E 's/^FAILED ([^ :]*).*/\1/' <<<"$1")")
}

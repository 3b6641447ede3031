# Times as people write them. Sourced by what runs for long.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash

# seconds_of DURATION: 90, 90s, 30m or 2h as seconds.
seconds_of() {
    [[ $1 =~ ^([1-9][0-9]{0,6})([smh]?)$ ]] || {
        echo "DURATION=$1: write it as 90s, 30m or 2h" >&2
        return 1
    }
    case ${BASH_REMATCH[2]} in
        m) echo $((BASH_REMATCH[1] * 60)) ;;
        h) echo $((BASH_REMATCH[1] * 3600)) ;;
        *) echo "${BASH_REMATCH[1]}" ;;
    esac
}

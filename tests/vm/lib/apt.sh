# Where packages come from: the machine's own apt configuration decides.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034

# The archive this machine's apt uses for Debian, or nothing. apt itself reads the sources, in
# either format.
host_mirror() {
    local uri
    # shellcheck disable=SC2016
    uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
            'Identifier: Packages' 2>/dev/null |
        awk '$3 == "main" && $2 ~ /^(bookworm|trixie|forky|sid|stable|testing|unstable)$/ {
            print $1; exit }')
    case $uri in
        mirror+file:*)
            uri=${uri#mirror+file:}
            uri=$(awk '!/^#/ && NF { print $1; exit }' "/${uri##/}" 2>/dev/null || true) ;;
        http:*|https:*|file:*|copy:*) ;;
        *) uri= ;;
    esac
    printf '%s' "$uri"
}

# Proxies, time-outs and checks of this machine's apt, as lines of apt.conf.
host_apt_settings() {
    apt-config dump 2>/dev/null |
        grep -E '^Acquire::((http|https|ftp)::|Check-|Retries|ForceIPv|Max-)' |
        grep -viE '::(Proxy-Auto-Detect|ProxyAutoDetect)|^[^ ]+ "";$' || true
    local detect proxy
    eval "$(apt-config shell detect Acquire::http::Proxy-Auto-Detect 2>/dev/null)"
    if [ -n "${detect-}" ] && [ -x "$detect" ]; then
        proxy=$("$detect" "$(host_mirror)" 2>/dev/null | head -n 1 || true)
        case $proxy in
            http*) printf 'Acquire::http::Proxy "%s";\n' "$proxy" ;;
        esac
    fi
}

# One message when the archive cannot be reached, before anything is built.
check_mirror() {
    local mirror helper=/usr/lib/apt/apt-helper target reason
    mirror=$(host_mirror)
    [ -n "$mirror" ] && [ -x "$helper" ] || return 0
    target=$(mktemp)
    if ! reason=$("$helper" -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
            -o Acquire::Retries=2 download-file \
            "${mirror%/}/dists/$KERNEL_SUITE/InRelease" "$target" 2>&1); then
        rm -f "$target"
        reason=$(grep -m1 '^E:' <<<"$reason" || tail -n1 <<<"$reason")
        die "package archive ${mirror%/}: $KERNEL_SUITE cannot be read (${reason#E: }). Check the network and the proxy; the archive is the one in this machine's apt sources"
    fi
    rm -f "$target"
}

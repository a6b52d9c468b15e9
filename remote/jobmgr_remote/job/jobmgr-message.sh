#!/usr/bin/env bash
# jobmgr-message [-s SEVERITY] TEXT...    leave a message in job.status, for the controller to read.
#
# SEVERITY is DEBUG, INFO (default), WARNING, ERROR or CRITICAL. If every TEXT is the name of an event of the suite
# ($JOBMGR_EVENTS), each is announced as that event. Only for use inside a job.
# The line and its escapes are those of job.status (docs/protocol.md). Forks nothing on the job's own node.

fail() {
    printf '%s\n' "jobmgr-message: $1" >&2
    exit "$2"
}

# Set escaped to $1 as it stands in job.status, at most $2 bytes (a bit less, where a character would be cut).
escape() {
    local text=$1 i c
    escaped=$text
    if [[ $text == *[\\[:cntrl:]]* ]]; then
        escaped=
        for ((i = 0; i < ${#text} && ${#escaped} < $2; i++)); do
            c=${text:i:1}
            case $c in
                \\) c=$'\\\\' ;;
                $'\n') c='\n' ;;
                $'\r') c='\r' ;;
                [[:cntrl:]]) printf -v c '\\x%02x' "'$c" ;;
            esac
            ((${#escaped} + ${#c} > $2)) && break
            escaped+=$c
        done
    fi
    if ((${#escaped} > $2)); then
        i=$2
        while ((i > 0)) && [[ ${escaped:i:1} == [$'\x80'-$'\xbf'] ]]; do ((i--)); done
        escaped=${escaped:0:i}
    fi
}

# Append one message, as one write.
record() {
    escape "$2" 3800 # with the rest of the line below 4 KiB, which is what bash writes in one piece
    printf 'JOBMGR_MESSAGE=%s|%s|%s\n' "$now" "$1" "$escaped" >> "$file" || fail "cannot write $file" 74
}

export LC_ALL=C TZ=UTC0
severity=INFO
while [[ ${1-} == -* ]]; do
    case $1 in
        -s | --severity)
            (($# > 1)) || fail "$1 needs a severity" 2
            severity=$2
            shift 2
            ;;
        --severity=*)
            severity=${1#*=}
            shift
            ;;
        --)
            shift
            break
            ;;
        -h | --help)
            printf '%s\n' "usage: jobmgr-message [-s DEBUG|INFO|WARNING|ERROR|CRITICAL] TEXT..."
            exit 0
            ;;
        *) fail "unknown option $1 (a text that begins with a dash goes behind --)" 2 ;;
    esac
done
case $severity in
    DEBUG | INFO | WARNING | ERROR | CRITICAL) ;;
    *) fail "unknown severity $severity (known: DEBUG INFO WARNING ERROR CRITICAL)" 2 ;;
esac
(($#)) || fail "nothing to say" 2
[[ -n ${JOBMGR_LOG_DIR-} && -n ${JOBMGR_TOKEN-} ]] || fail "not inside a job (JOBMGR_LOG_DIR is not set)" 2

file=$JOBMGR_LOG_DIR/job.status${JOBMGR_INDEX:+.$JOBMGR_INDEX}
hostname=
IFS= read -r hostname < /proc/sys/kernel/hostname
if [[ -n ${JOBMGR_HOSTNAME-} && $hostname != "$JOBMGR_HOSTNAME" ]]; then
    # Network file systems do not append atomically between nodes: each other node has a file of its own.
    file=$JOBMGR_LOG_DIR/job.status.${hostname//[!A-Za-z0-9_.-]/_}
    if [[ ! -e $file ]]; then
        umask 077
        printf 'JOBMGR_%s\n' STATUS_VERSION=1 "TOKEN=$JOBMGR_TOKEN" > "$file.$$" || fail "cannot write $file" 74
        ln "$file.$$" "$file" 2> /dev/null # a link refuses to replace what another process has just made
        rm -f "$file.$$"
    fi
fi
printf -v now '%(%Y-%m-%dT%H:%M:%SZ)T' -1

events=1
for word in "$@"; do
    # A blank would match between two names.
    [[ $word != *[[:space:]]* && -n $word && " ${JOBMGR_EVENTS-} " == *" $word "* ]] || events=
done
if [[ -n $events ]]; then
    for word in "$@"; do record EVENT "$word"; done
else
    record "$severity" "$*"
fi

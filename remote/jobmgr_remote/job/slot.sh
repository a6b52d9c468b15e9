#!/usr/bin/env bash
# A slot: runs the background jobs of this user on this machine, one after the other, and ends when none is left.
#
# Started by spool.py as `bash slot.sh SPOOL NUMBER START [ENTRY]`, in a session of its own, as a child subreaper, with a
# clean environment, stdio on /dev/null, cwd /. START is this process's start time as the kernel tells it (clock ticks);
# ENTRY is meant to be its first job, so that a thousand slots that start together need not look for one.
#
# Files (all below SPOOL; spool.py describes them): queue/ENTRY is a job that waits, taken/ENTRY says which slot has it,
# slots/NUMBER.PID.last is the handshake at the end, .retire asks this slot to end early, .orphans lists the
# processes that earlier jobs of this slot have left behind. Needs bash 4.2; forks nothing but the jobs, and one rm
# for many of them.

shopt -s nullglob
umask 077
unset JOBMGR_SERVICE

# Finished entries are removed when there are so many, or when nothing is left to do.
SWEEP_AT=100

declare -A left=()

# Take an entry, against all other slots: whoever creates the file has it.
# Globals: SPOOL START. Arguments: ENTRY. Returns: 0 if it is ours now.
take() {
    local result=1
    set -o noclobber
    ! { echo "$$ $START" >"$SPOOL/taken/$1"; } 2>/dev/null || result=0
    set +o noclobber
    return "$result"
}

# Write down which processes earlier jobs have left to this slot (it is their subreaper), so that nobody takes them for
# processes of the next job: one line `PID START PGID SID TOKEN` each, TOKEN being that of the job that left them.
# Globals: ME left previous. Arguments: none. Returns: 0.
note_orphans() {
    local child children='' stat fields key
    local -A now=()
    { read -r children <"/proc/$$/task/$$/children"; } 2>/dev/null
    [[ -n $children || ${#left[@]} -gt 0 ]] || return 0
    for child in $children; do
        { read -r stat <"/proc/$child/stat"; } 2>/dev/null || continue
        read -r -a fields <<<"${stat##*) }"
        key=$child:${fields[19]}
        now[$key]=${left[$key]-"$child ${fields[19]} ${fields[2]} ${fields[3]} $previous"}
    done
    left=()
    for key in "${!now[@]}"; do left[$key]=${now[$key]}; done
    printf '%s\n' "${left[@]}" >"$ME.orphans"
}

# Run the job of an entry that is ours, to its end. The job is a process group of its own (so that `kill 0` in
# a script reaches its own job alone) and carries its token in its environment from the first moment.
# Globals: SPOOL previous. Arguments: ENTRY. Returns: 0.
run_entry() {
    local run_dir='' job='' token='' login='' logs
    {
        IFS= read -r run_dir
        IFS= read -r job
        IFS= read -r token
        IFS= read -r login
    } 2>/dev/null <"$SPOOL/queue/$1" || return 0
    logs=$run_dir/log/job/$job
    [[ -f $logs/job ]] || return 0
    note_orphans
    previous=$token
    set -o monitor
    {
        # shellcheck disable=SC1090
        [[ -z $login ]] || . "$login"
        export JOBMGR_TOKEN=$token
        exec "$BASH" "$logs/job"
    } </dev/null >>"$logs/job.out" 2>>"$logs/job.err" &
    # With monitor mode on, wait would return as soon as the job is stopped.
    set +o monitor
    wait "$!"
}

# Remove the entries that are done. The queue's side goes first: an entry that is taken but not queued is run by nobody.
# Globals: SPOOL finished. Arguments: none. Returns: 0.
sweep() {
    ((${#finished[@]})) || return 0
    rm -f -- "${finished[@]/#/$SPOOL/queue/}" "${finished[@]/#/$SPOOL/taken/}"
    finished=()
}

# Take one entry and run it, unless another slot is faster.
# Globals: SPOOL ME finished. Arguments: ENTRY.
# Returns: 0 if it was run, 1 if it is not to be had, 2 if this slot shall end.
try_entry() {
    [[ ! -e $SPOOL/taken/$1 && -e $SPOOL/queue/$1 ]] || return 1
    [[ ! -e $ME.retire ]] || return 2
    take "$1" || return 1
    run_entry "$1"
    # Where a job is killed, its entry goes with it.
    [[ ! -e $SPOOL/queue/$1 ]] || finished+=("$1")
    ((${#finished[@]} < SWEEP_AT)) || sweep
}

# One walk through the queue as it is now. Entries are taken in the order of their names, so those that wait are the
# last ones, and the first of them is found by halving. After a word from spool.py that there is more to do
# (Arguments: all) each entry is looked at: a name may have come in late.
# Globals: SPOOL ME finished. Arguments: "" or all.
# Returns: 0 if a job was run, 1 if there was none, 2 if this slot shall end.
walk() {
    local -a paths=("$SPOOL"/queue/*)
    local low=0 high=${#paths[@]} middle path result=1
    if [[ -z $1 ]]; then
        # What other slots have finished since may be gone by now; that tells nothing.
        while ((high > 0)) && [[ ! -e ${paths[high - 1]} ]]; do high=$((high - 1)); done
        ((high > 0)) && [[ ! -e $SPOOL/taken/${paths[high - 1]##*/} ]] || return 1
    fi
    while [[ -z $1 ]] && ((low < high)); do
        middle=$(((low + high) / 2))
        if [[ -e $SPOOL/taken/${paths[middle]##*/} ]]; then low=$((middle + 1)); else high=$middle; fi
    done
    for path in "${paths[@]:low}"; do
        try_entry "${path##*/}"
        case $? in
            0) result=0 ;;
            2) return 2 ;;
        esac
    done
    return "$result"
}

# Say that this slot ends. spool.py creates the same file, with content, to say that there is more to do.
# Globals: ME. Arguments: none. Returns: 0 if we were first.
close_door() {
    local result=1
    set -o noclobber
    ! { : >"$ME.last"; } 2>/dev/null || result=0
    set +o noclobber
    return "$result"
}

main() {
    local all=
    SPOOL=$1 START=$3
    ME=$SPOOL/slots/$2.$$
    finished=()
    previous=-
    [[ -z ${4-} ]] || try_entry "$4"
    while :; do
        if [[ ! -e $ME.retire ]] && walk "$all"; then continue; fi
        sweep
        # A spool that has gone or cannot be written to ends the slot too; a later call starts one again.
        ! close_door || return 0
        [[ -e $ME.last ]] && rm -f -- "$ME.last" || return 0
        all=all
    done
}

main "$@"
exit

# shellcheck shell=bash disable=SC1090,SC1091,SC2153,SC2154,SC2317
# (variables come from the job file, handlers are called by traps)
#
# The job wrapper: sourced as the last line of a job file, never run by itself.
#
# It claims the job's token, runs the user's scripts in a background subshell (so that traps fire at once),
# and appends to job.status what happened. The formats are those of docs/protocol.md.
#
# Runs on bash 4.2. It forks the user's subshell and nothing else, unless something is out of the ordinary.
# Nothing here changes TZ, the umask or the working directory that the user's scripts see.
#
# From the job file: the exported JOBMGR_* variables, the function jobmgr_environment and
#   jobmgr_instance jobmgr_hostname   identity of the host that submitted, to be reused if this is that host
#   jobmgr_clock_ticks                ticks per second of the times in /proc/PID/stat
#   jobmgr_native_variable            name of the batch system's job id variable; empty: the id is the process id
#   jobmgr_place_variable             name of the variable with the cluster, where ids are ID;CLUSTER; else not set
#   jobmgr_index_variable             name of the batch system's array index variable, or empty
#   jobmgr_vacation_signals           names of signals by which the system vacates a job, between blanks
#   jobmgr_time_limit                 seconds, or empty; only where no batch system enforces it
#   jobmgr_grace jobmgr_retry         seconds between TERM and KILL; seconds to try to write the last lines
#   jobmgr_default_work_dir           1 if the work directory may be removed when it is empty
#   jobmgr_platform_init jobmgr_init jobmgr_pre jobmgr_script jobmgr_script_file jobmgr_post jobmgr_err jobmgr_exit

# An inherited SHELLOPTS or POSIXLY_CORRECT must not change what follows.
set +aefuC
set +o posix

jobmgr_service=${JOBMGR_SERVICE-}
unset JOBMGR_SERVICE JOBMGR_SLOT
jobmgr_token=$JOBMGR_TOKEN
jobmgr_run_dir=$JOBMGR_SUITE_DIR
jobmgr_log_dir=$JOBMGR_LOG_DIR
jobmgr_lib=${BASH_SOURCE[0]%/*}
jobmgr_scripts=$jobmgr_lib/scripts-${BASH_SOURCE[0]##*/wrapper-}
jobmgr_pid=$$
jobmgr_pending=
jobmgr_head=
jobmgr_extra_name=
jobmgr_child=
jobmgr_forking=
jobmgr_last=
jobmgr_early=
jobmgr_traps=0
jobmgr_cause=
jobmgr_soft=
jobmgr_timer=
jobmgr_timer_fd=
jobmgr_hurry=
jobmgr_closed=
jobmgr_stat=()
jobmgr_found=()
jobmgr_signals=(HUP INT QUIT TERM XCPU XFSZ USR1 USR2 PIPE ALRM VTALRM PROF IO PWR)

# Set jobmgr_time to the time of now: UTC with Z, with milliseconds where bash knows them.
# Done by arithmetic, because bash 4.2 formats local time only and TZ is the user's.
jobmgr_set_time() {
    local seconds fraction='' days doe yoe doy mp month
    if ((BASH_VERSINFO[0] >= 5)); then
        seconds=${EPOCHREALTIME//[!0-9]/} # its decimal point is the locale's
        fraction=.${seconds:${#seconds}-6:3}
        seconds=${seconds:0:${#seconds}-6}
    else
        printf -v seconds '%(%s)T' -1
    fi
    days=$((seconds / 86400 + 719468))
    doe=$((days % 146097))
    yoe=$(((doe - doe / 1460 + doe / 36524 - doe / 146096) / 365))
    doy=$((doe - (365 * yoe + yoe / 4 - yoe / 100)))
    mp=$(((5 * doy + 2) / 153))
    month=$((mp < 10 ? mp + 3 : mp - 9))
    printf -v jobmgr_time '%04d-%02d-%02dT%02d:%02d:%02d%sZ' \
        $((yoe + 400 * (days / 146097) + (month <= 2))) $month $((doy - (153 * mp + 2) / 5 + 1)) \
        $((seconds / 3600 % 24)) $((seconds / 60 % 60)) $((seconds % 60)) "$fraction"
}

# Set jobmgr_uptime to hundredths of a second of a clock that never jumps.
jobmgr_set_uptime() {
    local text=0.00
    IFS=' ' read -r text _ < /proc/uptime
    jobmgr_uptime=$((10#${text/./}))
}

# Set jobmgr_stat to the fields of /proc/$1/stat from the third (state) on; fails if there is no such process.
jobmgr_read_stat() {
    local text=
    IFS= read -r -d '' text 2> /dev/null < "/proc/$1/stat"
    [[ -n $text ]] || return 1
    # shellcheck disable=SC2206 # numbers and one letter
    jobmgr_stat=(${text##*) })
}

# Set jobmgr_native, jobmgr_index, jobmgr_start, jobmgr_hostname and jobmgr_instance: who and where this wrapper is.
jobmgr_identify() {
    local hostname='' boot=- one=- namespace
    jobmgr_native=
    jobmgr_index=
    [[ -z $jobmgr_native_variable ]] || jobmgr_native=${!jobmgr_native_variable-}
    [[ -z $jobmgr_index_variable ]] || jobmgr_index=${!jobmgr_index_variable-}
    [[ $jobmgr_index =~ ^[0-9]+$ ]] || jobmgr_index= # Grid Engine says "undefined" outside of an array
    [[ $jobmgr_index_variable != LSB_JOBINDEX || $jobmgr_index != 0 ]] || jobmgr_index=
    [[ -z ${jobmgr_place_variable-} || -z $jobmgr_native ]] || jobmgr_native+=";${!jobmgr_place_variable-}"
    jobmgr_native=${jobmgr_native//[![:graph:]]/}
    jobmgr_restartable=$jobmgr_native
    jobmgr_native=${jobmgr_native:-$jobmgr_pid}
    jobmgr_read_stat "$jobmgr_pid" && jobmgr_start=${jobmgr_stat[19]}
    jobmgr_start=${jobmgr_start:-0}
    # Not $HOSTNAME: batch systems carry that over from the machine that submitted.
    IFS= read -r hostname < /proc/sys/kernel/hostname
    IFS= read -r boot < /proc/sys/kernel/random/boot_id
    jobmgr_read_stat 1 && one=${jobmgr_stat[19]}
    if [[ $hostname != "$jobmgr_hostname" || $jobmgr_instance != "$boot":*:"$one" ]]; then
        jobmgr_hostname=$hostname
        namespace=$(readlink /proc/self/ns/pid)
        namespace=${namespace//[!0-9]/}
        jobmgr_instance=$boot:${namespace:--}:$one # the same text as the host side's instance()
    fi
}

# Become the one start of this token, or exit without a word. Sets jobmgr_attempt and jobmgr_status_file.
jobmgr_claim() {
    local folder=$jobmgr_run_dir/.service/jobs/$jobmgr_token created='' first='' line mask=''
    local claim=$folder/claim${jobmgr_index:+.$jobmgr_index}
    jobmgr_status_file=$jobmgr_log_dir/job.status${jobmgr_index:+.$jobmgr_index}
    jobmgr_attempt=1
    [[ ! -e $folder/killed ]] || exit 0
    # Nobody but a revocation makes the plain claim of a job array.
    [[ -z $jobmgr_index || ! -e $folder/claim ]] || exit 0
    if [[ $JOBMGR_RUNNER != background ]]; then # a slot's umask is 077; that of a queue may be any
        mask=$(umask)
        umask 077
    fi
    set -C
    { created=1 && printf '%s\n' "$jobmgr_native $jobmgr_pid $jobmgr_start $jobmgr_instance $jobmgr_hostname"; } \
        2> /dev/null > "$claim"
    set +C
    [[ -z $mask ]] || umask "$mask"
    [[ -z $created ]] || return 0
    if [[ ! -e $claim ]]; then
        printf '%s\n' "jobmgr: cannot write $claim, the job is not started" >&2
        exit 75
    fi
    # The same native id again is a restart by the batch system. A process id proves nothing of the kind.
    IFS=' ' read -r first _ < "$claim"
    [[ -n $jobmgr_restartable && $first == "$jobmgr_native" ]] || exit 0
    while IFS= read -r line; do
        [[ $line != JOBMGR_EXIT=SUCCEEDED* ]] || exit 0
        [[ $line != JOBMGR_ATTEMPT=* ]] || jobmgr_attempt=$((jobmgr_attempt + 1))
    done 2> /dev/null < "$jobmgr_status_file"
}

# Append $1 (whole lines) and all that could not be written before to the status file, in one write.
jobmgr_write() {
    local line=''
    local -a lines
    jobmgr_pending+=$1
    # A torn line that somebody left on a full disk must not swallow what follows: an empty line says so.
    if [[ -f $jobmgr_status_file ]]; then
        mapfile lines 2> /dev/null < "$jobmgr_status_file"
        ((${#lines[@]} == 0)) || line=${lines[${#lines[@]} - 1]}
        [[ $line != *$'\n' ]] || line=
    fi
    [[ -z $line ]] || line=$'\n\n'
    if printf '%s%s' "$line" "$jobmgr_pending" 2> /dev/null >> "$jobmgr_status_file"; then
        jobmgr_pending=
    else
        return 1
    fi
}

# Write the lines that open an attempt.
jobmgr_open_status() {
    jobmgr_set_time
    jobmgr_set_uptime
    jobmgr_began=$jobmgr_uptime
    printf -v jobmgr_head 'JOBMGR_%s\n' "STATUS_VERSION=1" "TOKEN=$jobmgr_token" "RUNNER=$JOBMGR_RUNNER"
    printf -v jobmgr_opening 'JOBMGR_%s\n' "ATTEMPT=$jobmgr_attempt" "PID=$jobmgr_pid" \
        "START_IDENTITY=$jobmgr_start" "INSTANCE=$jobmgr_instance" "HOSTNAME=$jobmgr_hostname" \
        "NATIVE_ID=$jobmgr_native" "START_TIME=$jobmgr_time"
    if [[ -n $jobmgr_index && ! -e $jobmgr_status_file ]]; then
        (umask 077 && printf '%s' "$jobmgr_head" > "$jobmgr_status_file")
    fi
    jobmgr_write "$jobmgr_opening"
}

# Write the lines that close the attempt, with exit record $1. A full disk is waited for, then the lines go to the
# rescue folder of the home directory.
jobmgr_close_status() {
    local ticks='' lines deadline cpu
    # shellcheck disable=SC2064
    trap 'jobmgr_hurry=1' "${jobmgr_signals[@]}"
    jobmgr_read_stat "$jobmgr_pid" && ticks=$((jobmgr_stat[13] + jobmgr_stat[14]))
    jobmgr_set_uptime
    jobmgr_set_time
    cpu=$((${ticks:-0} * 100 / jobmgr_clock_ticks))
    jobmgr_set_peak
    printf -v lines 'JOBMGR_ELAPSED=%d.%02d\nJOBMGR_CPU=%d.%02d\n%sJOBMGR_EXIT_TIME=%s\nJOBMGR_EXIT=%s\n' \
        $(((jobmgr_uptime - jobmgr_began) / 100)) $(((jobmgr_uptime - jobmgr_began) % 100)) \
        $((cpu / 100)) $((cpu % 100)) "${jobmgr_peak:+JOBMGR_MAX_RSS=$jobmgr_peak$'\n'}" "$jobmgr_time" "$1"
    deadline=$((SECONDS + jobmgr_retry))
    jobmgr_closed=1
    jobmgr_write "$lines" && return 0
    printf '%s\n' "jobmgr: cannot write $jobmgr_status_file, trying again for $jobmgr_retry s" >&2
    while ((SECONDS < deadline)) && [[ -z $jobmgr_hurry ]]; do
        sleep 5 &
        wait $!
        jobmgr_write '' && return 0
    done
    (
        umask 077
        cd ~ || exit
        mkdir -p .jobmgr/rescue || exit
        printf '%s' "$jobmgr_head$jobmgr_opening$lines" > ".jobmgr/rescue/$jobmgr_token.$jobmgr_pid" &&
            mv -f ".jobmgr/rescue/$jobmgr_token.$jobmgr_pid" ".jobmgr/rescue/$jobmgr_token${jobmgr_index:+.$jobmgr_index}"
    )
}

# Set jobmgr_peak to the peak memory in bytes, where this job has a control group of its own; else to nothing.
jobmgr_set_peak() {
    local line folder='' name=job_${jobmgr_native%%;*}
    jobmgr_peak=
    [[ -n $jobmgr_restartable ]] || return 0
    while IFS= read -r line; do
        [[ $line != 0::*/"$name"/* ]] || folder=${line#0::}
    done 2> /dev/null < /proc/self/cgroup
    [[ -n $folder ]] || return 0
    IFS= read -r jobmgr_peak 2> /dev/null < "/sys/fs/cgroup${folder%%/"$name"/*}/$name/memory.peak"
    [[ $jobmgr_peak =~ ^[0-9]+$ ]] || jobmgr_peak=
}

# Set jobmgr_found to the live processes of the job: the child with its group and descendants, and what carries the
# token in its environment (in a job array the token is that of all elements, so the index has to be there too). Never the wrapper, what called it, its timer, or what jobmgr itself has started from inside
# the job to outlive it (JOBMGR_SERVICE).
jobmgr_find() {
    local folder pid word token element grown=1 delimiter=''
    # A newer bash leaves out the NULs, and reads a whole environment ten times faster than variable by variable.
    ((BASH_VERSINFO[0] < 5)) || delimiter=$'\n'
    local -a parents=() mine=() others=()
    for folder in /proc/[0-9]*; do
        pid=${folder#/proc/}
        jobmgr_read_stat "$pid" || continue
        [[ ${jobmgr_stat[0]} != [ZXx] ]] || continue
        parents[pid]=${jobmgr_stat[1]}
        [[ $pid != "$jobmgr_child" && ${jobmgr_stat[2]} != "$jobmgr_child" ]] || mine[pid]=1
    done
    pid=$jobmgr_pid
    while ((pid > 0)) && [[ -z ${others[pid]-} ]]; do
        others[pid]=1
        pid=${parents[pid]-0}
    done
    for pid in "${!parents[@]}"; do
        [[ -z ${others[pid]-} && ${parents[pid]} != "$jobmgr_pid" && -O /proc/$pid ]] || continue
        token=
        element=
        while IFS= read -r -d "$delimiter" word || [[ -n $word ]]; do
            [[ $word != *"JOBMGR_TOKEN=$jobmgr_token"* ]] || token=1
            [[ $word$'\n' != *"JOBMGR_INDEX=$jobmgr_index"[!0-9]* ]] || element=1
            [[ $word != *JOBMGR_SERVICE=?* || -n $jobmgr_service ]] || others[pid]=1
        done 2> /dev/null < "/proc/$pid/environ"
        [[ -z $token || ( -n $jobmgr_index && -z $element ) ]] || mine[pid]=1
        [[ -z ${others[pid]-} ]] || unset "mine[pid]"
    done
    while ((grown)); do
        grown=0
        for pid in "${!parents[@]}"; do
            [[ -n ${mine[${parents[pid]}]-} && -z ${mine[pid]-} && -z ${others[pid]-} ]] || continue
            mine[pid]=1
            grown=1
        done
    done
    jobmgr_found=("${!mine[@]}")
}

# Send signal $1 to every process of the job.
jobmgr_forward() {
    [[ $1 == KILL ]] || jobmgr_await_child || :
    jobmgr_find
    ((${#jobmgr_found[@]})) || return 0
    kill -s "$1" -- "${jobmgr_found[@]}" 2> /dev/null
    [[ $1 == KILL ]] || kill -s CONT -- "${jobmgr_found[@]}" 2> /dev/null
}

# Have ALRM sent to this shell in $1 seconds. The waiting process reads from a pipe that only this shell holds
# open, so it ends with this shell, however that ends.
jobmgr_start_timer() {
    jobmgr_stop_timer
    jobmgr_timer=$2
    exec {jobmgr_timer_fd}> >(
        trap '' "${jobmgr_signals[@]}"
        exec > /dev/null 2>&1
        IFS= read -r -t "$1"
        (($? > 128)) && jobmgr_read_stat "$jobmgr_pid" && [[ ${jobmgr_stat[19]} == "$jobmgr_start" ]] &&
            kill -s ALRM "$jobmgr_pid"
    )
    jobmgr_last=$!
}

jobmgr_stop_timer() {
    [[ -z $jobmgr_timer_fd ]] || exec {jobmgr_timer_fd}>&-
    jobmgr_timer_fd=
    jobmgr_timer=
}

# Whether jobs-kill is at work on this job. It ends the processes of all jobs of a call together, and waits for this
# shell; were each of a thousand wrappers to look through /proc too, nobody would get anywhere. A batch system's
# job may run on another node than that call, and sweeps its own.
jobmgr_is_being_killed() {
    [[ -z $jobmgr_restartable && -e $jobmgr_run_dir/.service/jobs/$jobmgr_token/killed ]]
}

# Wait until the child runs its own part. For some milliseconds after the fork it still has the handlers of this
# shell, and a signal that comes then is forgotten. Its first step leads it out of the root directory; a script that
# goes back there is waited for in vain, but no longer than its first seconds. Fails if there was nothing to wait for.
jobmgr_await_child() {
    local deadline=$((SECONDS + 2)) young=
    [[ -n $jobmgr_child ]] && ((SECONDS <= jobmgr_forked + 2)) || return 1
    while [[ /proc/$jobmgr_child/cwd -ef / ]] && ((SECONDS < deadline)); do
        young=1
    done
    [[ -n $young ]]
}

# Handler of every trapped signal: pass it on, remember why the job ends, and see to it that it does end.
jobmgr_on_signal() {
    jobmgr_traps=$((jobmgr_traps + 1))
    # Between the fork and the next command: a timer that is started here would take the child's place in $!.
    [[ -n $jobmgr_child || -z $jobmgr_forking || $! == "$jobmgr_last" ]] || jobmgr_child=$!
    if [[ $1 == ALRM && $jobmgr_timer == grace ]]; then
        jobmgr_stop_timer
        jobmgr_kill_all
    elif [[ $1 == ALRM && $jobmgr_timer == limit ]]; then
        jobmgr_cause="ABORTED/time limit ${jobmgr_time_limit}s"
        jobmgr_start_timer "$jobmgr_grace" grace
        jobmgr_forward TERM
    elif [[ " $jobmgr_vacation_signals " == *" $1 "* ]]; then
        jobmgr_cause=${jobmgr_cause:-VACATED/$1}
        [[ $jobmgr_timer == grace ]] || jobmgr_start_timer "$jobmgr_grace" grace
        jobmgr_forward "$1"
    elif [[ $1 == USR[12] ]]; then
        # Often a warning that the script knows how to take; what comes of it decides.
        jobmgr_soft=$1
        jobmgr_forward "$1"
    elif jobmgr_is_being_killed; then
        jobmgr_cause=${jobmgr_cause:-SIGNAL/$1}
        ! jobmgr_await_child || kill -s TERM "$jobmgr_child" 2> /dev/null
    else
        jobmgr_cause=${jobmgr_cause:-SIGNAL/$1}
        [[ $jobmgr_timer == grace ]] || jobmgr_start_timer "$jobmgr_grace" grace
        jobmgr_forward "$1"
    fi
}

# KILL until nothing new turns up.
jobmgr_kill_all() {
    local round
    for ((round = 0; round < 50; round++)); do
        jobmgr_forward KILL
        ((${#jobmgr_found[@]})) || return 0
    done
}

# Wait for the child, through any number of signals; set jobmgr_code to its exit code.
jobmgr_wait() {
    local before code
    jobmgr_code=
    while :; do
        before=$jobmgr_traps
        wait "$jobmgr_child" 2> /dev/null
        code=$?
        # 127 after an answer: the answer was the child's, and bash has forgotten it.
        [[ $code == 127 && -n $jobmgr_code ]] || jobmgr_code=$code
        ((before == jobmgr_traps)) && break
        # A child that ends in the very moment of a signal is reaped, and bash may forget to take note: it would wait
        # for it for ever. How it ended is lost then, but for the signal.
        [[ ! -e /proc/$jobmgr_child && $'\n'$(jobs -pr)$'\n' == *$'\n'"$jobmgr_child"$'\n'* ]] && break
    done
}

# End what the child has left running: TERM, grace, KILL.
jobmgr_sweep() {
    local deadline=$((SECONDS + jobmgr_grace))
    ! jobmgr_is_being_killed || return 0
    jobmgr_find
    ((${#jobmgr_found[@]})) || return 0
    jobmgr_forward TERM # also after another signal, which background commands of bash ignore (INT, QUIT)
    while ((SECONDS < deadline)); do
        sleep 0.1 || sleep 1
        jobmgr_find
        ((${#jobmgr_found[@]})) || return 0
    done
    jobmgr_kill_all
}

# Take one more script as a child of this shell, after the job itself: $1 names it for humans.
jobmgr_wait_extra() {
    jobmgr_final=$jobmgr_code
    jobmgr_wait
    ((jobmgr_code == 0)) || printf '%s\n' "jobmgr: $1 ended with exit code $jobmgr_code" >&2
    jobmgr_code=$jobmgr_final
}

# Set jobmgr_record, the exit record, and jobmgr_code, the exit code that this shell will end with.
jobmgr_judge() {
    if [[ -n $jobmgr_soft && -z $jobmgr_cause ]] && ((jobmgr_code > 128)) &&
        [[ $(kill -l "$jobmgr_code") == "$jobmgr_soft" ]]; then
        jobmgr_cause=SIGNAL/$jobmgr_soft
    fi
    jobmgr_record=$jobmgr_cause
    case $jobmgr_cause in
        '')
            jobmgr_record=SUCCEEDED
            ((jobmgr_code == 0)) || jobmgr_record=FAILED/$jobmgr_code
            ;;
        ABORTED/*) jobmgr_code=124 ;;
        */TERM) jobmgr_code=143 ;; # the usual one: a thousand jobs that are killed need not fork for its number
        *) jobmgr_code=$((128 + $(kill -l "${jobmgr_cause#*/}"))) ;;
    esac
}

jobmgr_remove_empty_work_dir() {
    local -a left
    [[ -n $jobmgr_default_work_dir && -d $JOBMGR_WORK_DIR ]] || return 0
    shopt -s nullglob dotglob
    left=("$JOBMGR_WORK_DIR"/*)
    shopt -u nullglob dotglob
    ((${#left[@]})) || rmdir -- "$JOBMGR_WORK_DIR" 2> /dev/null
}

# EXIT trap: this shell ends in a way that nobody foresaw.
jobmgr_on_exit() {
    trap - EXIT
    [[ -z $jobmgr_closed ]] || return 0
    [[ -z $jobmgr_child ]] || jobmgr_sweep
    jobmgr_close_status "${jobmgr_cause:-ABORTED/the job wrapper was ended}"
}

# --- the job ---------------------------------------------------------------------------------------------------------

# What comes before the job is claimed is remembered: until then this may be a copy, with no right to anything.
for jobmgr_name in "${jobmgr_signals[@]}"; do
    # shellcheck disable=SC2064 # the name of now is meant
    trap "jobmgr_early=\${jobmgr_early:-$jobmgr_name}" "$jobmgr_name"
done
jobmgr_identify
jobmgr_claim
for jobmgr_name in "${jobmgr_signals[@]}"; do
    # shellcheck disable=SC2064 # the name of now is meant
    trap "jobmgr_on_signal $jobmgr_name" "$jobmgr_name"
done
trap jobmgr_on_exit EXIT
export JOBMGR_HOSTNAME=$jobmgr_hostname JOBMGR_ATTEMPT=$jobmgr_attempt
[[ -z $jobmgr_index ]] || export JOBMGR_INDEX=$jobmgr_index
jobmgr_open_status
[[ -z $jobmgr_early ]] || jobmgr_on_signal "$jobmgr_early"
cd /
if [[ ! -d $JOBMGR_WORK_DIR ]]; then
    (umask 077 && mkdir -p -- "$JOBMGR_WORK_DIR")
fi
if [[ -z $jobmgr_cause && ( ! -d $JOBMGR_WORK_DIR || ! -x $JOBMGR_WORK_DIR ) ]]; then
    jobmgr_close_status "ABORTED/cannot use the work directory"
    exit 73
fi
[[ -z $jobmgr_time_limit || -n $jobmgr_cause ]] || jobmgr_start_timer "$jobmgr_time_limit" limit

# A process group of its own (-m) gives the subshell default signals: without it bash would have it ignore INT and
# QUIT, for good.
jobmgr_forked=$SECONDS
jobmgr_last=$!
jobmgr_forking=1
set -m
(
    [[ -z $jobmgr_cause ]] || exit
    set +m
    jobmgr_stop_timer
    . "$jobmgr_scripts"
) < /dev/null &
jobmgr_child=${jobmgr_child:-$!}
jobmgr_forking=
set +m
[[ -z $jobmgr_cause ]] || jobmgr_forward TERM # a signal came before there was anybody to pass it on to
jobmgr_wait
if [[ -n $jobmgr_restartable && -z $jobmgr_cause ]] && ((jobmgr_code > 128)); then
    # A batch system signals every process of a job, and this shell perhaps a moment after the child.
    sleep 0.2 || sleep 1
fi
[[ -z $jobmgr_cause && -z $jobmgr_restartable ]] || jobmgr_sweep
[[ $jobmgr_timer != grace ]] || jobmgr_stop_timer

jobmgr_judge
if [[ $jobmgr_record == SUCCEEDED ]]; then
    [[ -z $jobmgr_exit ]] || jobmgr_extra_name=exit_script
elif [[ -n $jobmgr_err ]]; then
    jobmgr_extra_name=err_script
fi
if [[ -n $jobmgr_extra_name ]]; then
    export JOBMGR_EXIT=$jobmgr_record
    [[ -z $jobmgr_time_limit ]] || jobmgr_start_timer "$jobmgr_time_limit" limit
    jobmgr_forked=$SECONDS
    jobmgr_child=
    jobmgr_last=$!
    jobmgr_forking=1
    set -m
    (
        set +m
        jobmgr_stop_timer
        . "$jobmgr_scripts"
    ) < /dev/null &
    jobmgr_child=${jobmgr_child:-$!}
    jobmgr_forking=
    set +m
    jobmgr_wait_extra "$jobmgr_extra_name"
fi
jobmgr_stop_timer
jobmgr_remove_empty_work_dir
jobmgr_close_status "$jobmgr_record"
trap - EXIT
exit "$jobmgr_code"

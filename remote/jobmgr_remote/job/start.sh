# shellcheck shell=bash disable=SC1090,SC1091,SC2153,SC2154
# The start of a job that a slot looks after: sourced as the last line of its job file.
#
# This shell claims the token, opens the attempt in job.status and runs the scripts. Signals, and how it ends, are the
# slot's part (supervise.py). Whoever else runs that file has the wrapper do all of it. Claim and lines are those of
# wrapper.sh, which knows more cases; this here is run for each of many small jobs, so every line counts.
#
# From the slot: JOBMGR_SLOT, its process id and the time of the start.

# Whoever installs this puts the digest of this version's files in (jobfile.py): bash would take its time to cut it out
# of the name of this file.
jobmgr_run_dir=$JOBMGR_SUITE_DIR
jobmgr_lib=$jobmgr_run_dir/.service/lib
jobmgr_scripts=$jobmgr_lib/scripts-@digest@.sh
if [[ ${JOBMGR_SLOT-} != "$PPID "* || ! -d $JOBMGR_WORK_DIR || ! -x $JOBMGR_WORK_DIR ]]; then
    . "$jobmgr_lib/wrapper-@digest@.sh"
    exit
fi
jobmgr_token_dir=$jobmgr_run_dir/.service/jobs/$JOBMGR_TOKEN
jobmgr_claim=$jobmgr_token_dir/claim
jobmgr_created=
[[ ! -e $jobmgr_token_dir/killed ]] || exit 0
# The name in it is bash, a word, so the 22nd word is the start time.
read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ jobmgr_began _ < "/proc/$$/stat"
set -C
{
    jobmgr_created=1
    printf '%s\n' "$$ $$ $jobmgr_began $jobmgr_instance $jobmgr_hostname"
} 2> /dev/null > "$jobmgr_claim" || {
    [[ -n $jobmgr_created || ! -e $jobmgr_claim ]] || exit 0 # it is another's
    [[ -z $jobmgr_created ]] || rm -f -- "$jobmgr_claim"     # a slot could not tell whose that is
    printf '%s\n' "jobmgr: cannot write $jobmgr_claim, the job is not started" >&2
    exit 75
}
set +C
printf 'JOBMGR_%s\n' "ATTEMPT=1" "PID=$$" "START_IDENTITY=$jobmgr_began" "INSTANCE=$jobmgr_instance" \
    "HOSTNAME=$jobmgr_hostname" "NATIVE_ID=$$" "START_TIME=${JOBMGR_SLOT#* }" \
    2> /dev/null >> "$JOBMGR_LOG_DIR/job.status"
unset JOBMGR_SLOT
export JOBMGR_HOSTNAME=$jobmgr_hostname JOBMGR_ATTEMPT=1
. "$jobmgr_scripts"
exit

# shellcheck shell=bash disable=SC1090,SC1091,SC2154
# The init scripts of a job, sourced by scripts.sh where there are any.

# No -e and -u for these: what is sourced there (profiles, module systems) is seldom written for it.
if [[ -n ${jobmgr_extra_name-} ]]; then
    { eval "$jobmgr_platform_init"; eval "$jobmgr_init"; } > /dev/null 2>&1
else
    jobmgr_check_init() {
        (($1 == 0)) && return
        printf '%s\n' "jobmgr: the $2 ended with exit code $1" >&2
        exit "$1"
    }
    if [[ -n $jobmgr_platform_init ]]; then . "$jobmgr_lib/platform_init_script"; fi
    jobmgr_check_init "$?" "platform's init_script"
    if [[ -n $jobmgr_init ]]; then . "$jobmgr_lib/init_script"; fi
    jobmgr_check_init "$?" init_script
fi
# They may have changed anything: back to the promises.
jobmgr_ours=$jobmgr_run_dir/.service/bin:$jobmgr_run_dir/bin
[[ :${PATH-}: == *:"$jobmgr_ours":* ]] || export PATH="$jobmgr_ours:${PATH:-/usr/local/bin:/usr/bin:/bin}"
cd -- "$JOBMGR_WORK_DIR" || exit

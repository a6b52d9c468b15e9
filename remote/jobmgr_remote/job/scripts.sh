# shellcheck shell=bash disable=SC1090,SC1091,SC2154
# The user's scripts, in a shell of their own: sourced by the wrapper (wrapper.sh) in a subshell, or, where a slot looks
# after the job, in the job's one shell. They are sourced outside of any function, so that they mean what they mean in a
# file, each through a file of its name, so that bash's complaints name it and count its lines.
#
# Needs jobmgr_lib, jobmgr_scripts (this file), jobmgr_run_dir, the variables of the job file, and, from the wrapper,
# jobmgr_extra_name: the name of the script that runs after the job itself (err_script, exit_script).

cd -- "$JOBMGR_WORK_DIR" || exit
export PATH="$jobmgr_run_dir/.service/bin:$jobmgr_run_dir/bin:${PATH:-/usr/local/bin:/usr/bin:/bin}"
if [[ ! -x $jobmgr_run_dir/.service/bin/jobmgr-message ]]; then
    # A file system that is mounted noexec; bash FILE works there.
    jobmgr-message() { bash "$JOBMGR_SUITE_DIR/.service/bin/jobmgr-message" "$@"; }
    export -f jobmgr-message
fi

# What few jobs have is in files of its own: bash would parse it for every job.
if [[ -n $jobmgr_platform_init$jobmgr_init ]]; then . "$jobmgr_lib/init-${jobmgr_scripts##*/scripts-}"; fi
jobmgr_environment || exit

if [[ -n ${jobmgr_extra_name-} ]]; then
    set -euo pipefail
    . "$jobmgr_lib/$jobmgr_extra_name"
    exit
fi
if [[ -n $jobmgr_script_file ]]; then . "$jobmgr_lib/file-${jobmgr_scripts##*/scripts-}"; fi

set -euo pipefail
if [[ -n $jobmgr_pre ]]; then . "$jobmgr_lib/pre_script"; fi
if [[ -n $jobmgr_script_file ]]; then jobmgr_run_file; else . "$jobmgr_lib/script"; fi
if [[ -n $jobmgr_post ]]; then . "$jobmgr_lib/post_script"; fi

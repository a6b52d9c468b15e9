# shellcheck shell=bash disable=SC1090,SC1091,SC2154
# The user's scripts, in a shell of their own: sourced by the wrapper (wrapper.sh) in a subshell, or, where a slot looks
# after the job, in the job's one shell. They are sourced outside of any function, so that they mean what they mean in a
# file, each through a file of its name, so that bash's complaints name it and count its lines.
#
# From the wrapper: jobmgr_lib, jobmgr_run_dir, the variables of the job file, and jobmgr_extra_name: empty, or the name of the
# script that runs after the job itself (err_script, exit_script).

jobmgr_set_path() {
    local ours=$jobmgr_run_dir/.service/bin:$jobmgr_run_dir/bin
    [[ :${PATH-}: == *:"$ours":* ]] || export PATH="$ours:${PATH:-/usr/local/bin:/usr/bin:/bin}"
}

# After the init scripts, which may have changed anything: back to the promises.
jobmgr_prepare() {
    jobmgr_set_path
    jobmgr_environment || exit
    cd -- "$JOBMGR_WORK_DIR" || exit
}

cd -- "$JOBMGR_WORK_DIR" || exit
jobmgr_set_path
if [[ ! -x $jobmgr_run_dir/.service/bin/jobmgr-message ]]; then
    # A file system that is mounted noexec; bash FILE works there.
    jobmgr-message() { bash "$JOBMGR_SUITE_DIR/.service/bin/jobmgr-message" "$@"; }
    export -f jobmgr-message
fi

if [[ -n $jobmgr_extra_name ]]; then
    { eval "$jobmgr_platform_init"; eval "$jobmgr_init"; } > /dev/null 2>&1
    jobmgr_prepare
    set -euo pipefail
    . "$jobmgr_lib/$jobmgr_extra_name"
    exit
fi

if [[ -n $jobmgr_platform_init || -n $jobmgr_init ]]; then
    jobmgr_check_init() {
        (($1 == 0)) && return
        printf '%s\n' "jobmgr: the $2 ended with exit code $1" >&2
        exit "$1"
    }

    # No -e and -u for these: what is sourced there (profiles, module systems) is seldom written for it.
    if [[ -n $jobmgr_platform_init ]]; then . "$jobmgr_lib/platform_init_script"; fi
    jobmgr_check_init "$?" "platform's init_script"
    if [[ -n $jobmgr_init ]]; then . "$jobmgr_lib/init_script"; fi
    jobmgr_check_init "$?" init_script
fi
jobmgr_prepare
if [[ -n $jobmgr_script_file ]]; then
    # The suite's script file runs by its own first line, also where the file system or its mode does not let it be
    # executed.
    jobmgr_run_file() {
        local file=$jobmgr_run_dir/$jobmgr_script_file first='' program argument=''
        if [[ -x $file && ! -d $file ]]; then
            "$file"
            return
        fi
        IFS= read -r first 2> /dev/null < "$file" || :
        if [[ $first != '#!'* ]]; then
            bash -- "$file"
            return
        fi
        first=${first#'#!'}
        first=${first#"${first%%[![:blank:]]*}"}
        program=${first%%[[:blank:]]*}
        [[ $program == "$first" ]] || argument=${first#"$program"[[:blank:]]} # one argument, as the kernel does it
        "$program" ${argument:+"$argument"} "$file"
    }
fi

set -euo pipefail
if [[ -n $jobmgr_pre ]]; then . "$jobmgr_lib/pre_script"; fi
if [[ -n $jobmgr_script_file ]]; then jobmgr_run_file; else . "$jobmgr_lib/script"; fi
if [[ -n $jobmgr_post ]]; then . "$jobmgr_lib/post_script"; fi

# shellcheck shell=bash disable=SC2154
# Defines jobmgr_run_file, sourced by scripts.sh where the job's script is a file of the suite.

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

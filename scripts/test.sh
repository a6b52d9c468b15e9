#!/usr/bin/env bash
#
# Run the whole suite, lint included, then measure branch coverage of jobmgr.core and jobmgr_remote, each by itself.
#
#   scripts/test.sh [--missing] [PYTEST-ARGUMENT...]
#
# --missing   list the lines and branches that no test reached
#
# With arguments that choose tests, the coverage is shown but not held against anybody.
# Environment: VENV (default .venv), JOBS (parallel workers, default 3: most tests wait for something).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${VENV:-.venv}/bin/python

#######################################
# Show the coverage of one part, and its result as one line of the summary.
# Arguments: name, file pattern, options of coverage report
#######################################
measure() {
    local name=$1 pattern=$2 table percent verdict=ok
    shift 2
    if ! table=$("$PYTHON" -m coverage report --include="$pattern" "$@" 2>&1); then
        verdict=FAILED
        failed=1
        printf '\nCoverage of %s\n%s\n' "$name" "$table"
    elif ((missing)); then
        printf '\nCoverage of %s\n%s\n' "$name" "$table"
    fi
    percent=$("$PYTHON" -m coverage report --include="$pattern" --format=total --fail-under=0 2>/dev/null) || percent="?"
    summary+=("$(printf 'coverage %-14s %6s %%  %s' "$name" "$percent" "$verdict")")
}

missing=0
if [[ ${1:-} == --missing ]]; then
    missing=1
    shift
fi
options=(--show-missing)
(($# == 0)) || options+=(--fail-under=0)

failed=0
summary=()
started=$SECONDS
"$PYTHON" -m coverage erase
# A test over real daemons that failed is tried once more, and the summary names it (R).
if "$PYTHON" -m pytest -n "${JOBS:-3}" --dist=worksteal --reruns 1 -rR --cov --cov-report= --cov-fail-under=0 "$@"; then
    summary+=("tests                          ok")
else
    failed=1
    summary+=("tests                          FAILED")
fi
# Children that ended after pytest did have left data of their own.
"$PYTHON" -m coverage combine --append --quiet >/dev/null 2>&1 || true
measure jobmgr.core 'jobmgr/core/*' "${options[@]}"
measure jobmgr_remote 'remote/jobmgr_remote/*' "${options[@]}"

printf '\n'
printf '%s\n' "${summary[@]}"
printf '%s in %d s\n' "$( ((failed)) && echo FAILED || echo passed)" "$((SECONDS - started))"
exit "$failed"

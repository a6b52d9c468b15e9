#!/usr/bin/env bash
#
# Make this checkout ready to run: scripts/setup.sh demo|test|bench
#
#   demo  a virtual environment with the locked dependencies and jobmgr itself; OpenSSH and rsync
#   test  the same, and the shells, programs and batch systems (scripts/lab-packages.sh) that the tests use
#   bench what the demo has, and what the benchmarks measure beside jobmgr: GNU parallel (Cylc and matplotlib come by pip,
#         into environments of their own, when the benchmarks first want them)
#
# Missing system packages are installed by apt-get where that is allowed (root, or sudo without a password), without
# starting their services; elsewhere they are named. A second call finds its stamp and ends at once.
#
# Environment: PYTHON (the interpreter, 3.10 or newer), VENV (the folder, default .venv).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly LOCK=requirements-dev.lock
readonly POLICY=/usr/sbin/policy-rc.d
VENV=${VENV:-.venv}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# "program package": the package is wanted where the program is not found.
readonly DEMO_PROGRAMS=(
    "ssh openssh-client"
    "ssh-keygen openssh-client"
    "sshd openssh-server"
    "rsync rsync"
)
readonly TEST_PROGRAMS=(
    "tcsh tcsh"
    "csh csh"
    "fish fish"
    "zsh zsh"
    "dash dash"
    "ksh ksh"
    "shellcheck shellcheck"
    "cron cron"
    "crontab cron"
    "tmux tmux"
    "strace strace"
    "git git"
    "ip iproute2"
    "unshare util-linux"
    "ps procps"
)

readonly BENCH_PROGRAMS=(
    "parallel parallel"
    "ps procps"
)

say() {
    printf 'setup: %s\n' "$*" >&2
}

die() {
    say "$@"
    exit 1
}

#######################################
# Print the Python to use: $PYTHON, or the first that is new enough.
#######################################
choose_python() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        new_enough "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10 or newer"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
        if new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no Python 3.10 or newer found ($(python3 --version 2>&1 || true)); install one, or set PYTHON=/path/to/python3"
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

#######################################
# Set MISSING to the packages whose programs are not here.
# Arguments: "program package" ...
#######################################
find_missing() {
    local entry
    MISSING=()
    for entry in "$@"; do
        command -v "${entry% *}" >/dev/null && continue
        [[ " ${MISSING[*]-} " == *" ${entry#* } "* ]] || MISSING+=("${entry#* }")
    done
}

#######################################
# Install packages, if this user may. Services of theirs do not start.
# Arguments: packages
# Returns: 0 if all are installed
#######################################
install_packages() {
    local -a root=(env)
    command -v apt-get >/dev/null || return 1
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null || return 1
        root=(sudo -n env)
    fi
    say "installing $*"
    "${root[@]}" DEBIAN_FRONTEND=noninteractive POLICY="$POLICY" bash -s -- "$@" >&2 <<'AS_ROOT'
set -euo pipefail
saved=

restore() {
    rm -f "$POLICY"
    if [[ -n $saved ]]; then
        mv "$saved" "$POLICY"
    fi
}

install() {
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" </dev/null >"$log" 2>&1
}

log=$(mktemp)
trap 'rm -f "$log"; restore' EXIT
trap 'exit 130' INT TERM HUP
if [[ -e $POLICY ]]; then
    saved=$POLICY.before-jobmgr-setup
    mv "$POLICY" "$saved"
fi
printf '#!/bin/sh\nexit 101\n' >"$POLICY"
chmod 755 "$POLICY"
if ! install "$@"; then
    # The lists may be old, or not there at all.
    apt-get -qq update </dev/null >"$log" 2>&1 || true
    install "$@" || { tail -n 20 "$log"; exit 1; }
fi
AS_ROOT
}

#######################################
# Programs: what the demo needs has to be there; what only tests need is named, and those tests say so again.
# Sets COMPLETE to nothing if some are still missing.
# Arguments: "program package" ...
#######################################
set_up_programs() {
    local -a wanted=("$@")
    find_missing "${wanted[@]}"
    ((${#MISSING[@]})) || return 0
    install_packages "${MISSING[@]}" || true
    find_missing "${DEMO_PROGRAMS[@]}"
    ((${#MISSING[@]} == 0)) || die "missing packages; please run: apt-get install ${MISSING[*]}"
    find_missing "${wanted[@]}"
    if ((${#MISSING[@]})); then
        COMPLETE=
        say "some tests or measurements cannot be had without: apt-get install ${MISSING[*]}"
    fi
}

#######################################
# The batch systems that the tests run in hosts of their own; only root can install and run these.
# Sets COMPLETE to nothing if some are missing.
#######################################
set_up_lab() {
    scripts/lab-packages.sh --check 2>/dev/null && return
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        say "installing batch systems for the tests"
        scripts/lab-packages.sh >/dev/null && return
    fi
    COMPLETE=
    say "tests with real batch systems cannot run without scripts/lab-packages.sh (Debian or Ubuntu, as root)"
    scripts/lab-packages.sh --check || true
}

#######################################
# Make the virtual environment, or keep the one that is there and works.
#######################################
make_venv() {
    local python
    if wanted_python && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(choose_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_venv_module "$python"
    fi
    say "making $VENV with $("$python" --version)"
    if [[ -e $VENV/pyvenv.cfg ]]; then
        rm -rf -- "$VENV"
    fi
    "$python" -m venv "$VENV" || die "$python -m venv does not work here"
    printf '%s\n' "$python" >"$VENV/set-up-interpreter"
}

#######################################
# Whether the environment that is there is made of $PYTHON, or, without that, of anything new enough.
#######################################
wanted_python() {
    if [[ -n ${PYTHON:-} ]]; then
        [[ -r $VENV/set-up-interpreter && $(<"$VENV/set-up-interpreter") == "$PYTHON" && -x $VENV/bin/python ]]
    else
        new_enough "$VENV/bin/python"
    fi
}

#######################################
# Debian keeps ensurepip in a package of its own, named after the version.
# Arguments: the interpreter
#######################################
install_venv_module() {
    local package
    package=python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    install_packages "$package" || install_packages python3-venv ||
        die "$1 cannot make virtual environments; please run: apt-get install $package"
}

install_python_packages() {
    local -a pip=("$VENV/bin/python" -m pip -qq --disable-pip-version-check)
    say "installing the locked Python packages"
    "${pip[@]}" install -r "$LOCK" || die "the packages of $LOCK could not be installed"
    "${pip[@]}" install --no-deps --no-build-isolation -e . || die "jobmgr itself could not be installed"
}

#######################################
# What a finished set-up depends on: if it changes, the work is done again.
#######################################
key() {
    printf '%s\n' "$PWD"
    cksum "$LOCK" pyproject.toml setup.py scripts/setup.sh scripts/lab-packages.sh
}

main() {
    local what=${1:-} stamp now
    local -a wanted=("${DEMO_PROGRAMS[@]}")
    [[ $# -eq 1 && $what =~ ^(demo|test|bench)$ ]] || die "usage: scripts/setup.sh demo|test|bench"
    stamp=$VENV/set-up-$what
    now=$(key)
    [[ $what != test ]] || wanted+=("${TEST_PROGRAMS[@]}")
    [[ $what != bench ]] || wanted+=("${BENCH_PROGRAMS[@]}")
    COMPLETE=yes
    find_missing "${wanted[@]}"
    if ((${#MISSING[@]} == 0)) && [[ -x $VENV/bin/jobmgr && -r $stamp && $(<"$stamp") == "$now" ]] && wanted_python
    then
        return
    fi
    set_up_programs "${wanted[@]}"
    [[ $what != test ]] || set_up_lab
    if [[ ! -x $VENV/bin/jobmgr || ! -r $VENV/set-up-python || $(<"$VENV/set-up-python") != "$now" ]] ||
        ! wanted_python; then
        make_venv
        install_python_packages
        printf '%s\n' "$now" >"$VENV/set-up-python"
    fi
    # Without all programs there is no stamp: the next call looks again.
    [[ -z $COMPLETE ]] || printf '%s\n' "$now" >"$stamp"
}

main "$@"

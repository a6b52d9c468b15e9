#!/usr/bin/env bash
# Install the queues that the tests' own hosts run: Slurm, Grid Engine, at, task-spooler (Debian, Ubuntu; as root).
#
# No service is started and none is left enabled to start now: the tests start private daemons in namespaces
# of their own. Running it again does nothing. Usage: scripts/lab-packages.sh [--check]
#   --check   install nothing; exit 0 if all is there, 1 (and the missing names) otherwise
set -euo pipefail

packages=(
    openssh-server rsync iproute2 util-linux
    slurm-wlm slurmdbd munge mariadb-server-core mariadb-client-core
    gridengine-master gridengine-exec gridengine-client
    at
    task-spooler
)

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $state == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
    exit 0
fi
if [[ ${1-} == --check ]]; then
    printf 'not installed: %s\n' "${missing[*]}" >&2
    exit 1
fi
if ((EUID != 0)); then
    printf 'needs root to install: %s\n' "${missing[*]}" >&2
    exit 1
fi

# Package scripts ask policy-rc.d before they start a service; 101 forbids it.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
printf '%s\n' \
    'gridengine-master shared/gridengineconfig boolean false' \
    'gridengine-client shared/gridengineconfig boolean false' \
    'gridengine-exec shared/gridengineconfig boolean false' | debconf-set-selections
apt-get -q update
apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confold install "${missing[@]}"

"""The floor: the least that does the work of a job manager on a host, written by hand for this one purpose.

``python3 -I -S floor_host.py VERB DIRECTORY [MAX]``, names on stdin, one per line, answers on stdout. Nothing
of jobmgr is used. What it has in common with jobmgr is the work: four files per job, jobs that outlive the
call, at most MAX at a time, process id and kernel start time recorded and checked. What it lacks is what
makes a manager: no second start is fenced off, nothing is synced, nothing is known after a failure.

``submit``  first line: the script; starts a job per name, ends when all have ended; ``NAME EXIT`` as they end
``start``   as ``submit``, but ends when all have been given to the runner
``poll``    ``NAME STATE`` for each
``kill``    ends the jobs and waits until they are gone; ``NAME killed``
"""

import os
import signal
import sys
import time

JOB = """#!/bin/bash
trap 'echo "EXIT=$? $EPOCHREALTIME" >>{folder}/job.status' EXIT
trap 'exit 143' TERM
read -r stat </proc/$$/stat
stat=(${stat##*) })
echo "PID=$$ ${stat[19]} $EPOCHREALTIME" >>{folder}/job.status
{script}
"""
PAUSE = 0.005


def job_text(folder, script):
    return JOB.replace("{folder}", folder).replace("{script}", script)


def write(path, text, mode=0o600):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(fd, text.encode())
    os.close(fd)


def prepare(base, names, script):
    for name in names:
        folder = base + "/log/job/1/" + name + "/01"
        os.makedirs(folder)
        write(folder + "/job", job_text(folder, script), 0o700)
        write(folder + "/job.status", "TOKEN=" + name + "\n")


def run_all(base, names, at_once):
    """The runner: a process of its own that lives on when the call ends."""
    running = set()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for name in names:
        folder = base + "/log/job/1/" + name + "/01"
        if len(running) >= at_once:
            running.discard(os.wait()[0])
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, folder + "/job.out", flags, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, folder + "/job.err", flags, 0o600),
        ]
        argv = ["bash", folder + "/job"]
        running.add(os.posix_spawn("/bin/bash", argv, os.environ, file_actions=actions, setsid=True))
    while running:
        running.discard(os.wait()[0])


def start(base, names, script, at_once):
    os.makedirs(base)
    prepare(base, names, script)
    if os.fork() == 0:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        run_all(base, names, at_once)
        os._exit(0)


def status(base, name):
    """(pid, start time, exit code or None) as job.status has them."""
    pid = began = code = None
    with open(base + "/log/job/1/" + name + "/01/job.status") as file:
        for line in file:
            key, _, value = line.partition("=")
            if key == "PID":
                pid, began = value.split()[:2]
            elif key == "EXIT":
                code = value.split()[0]
    return pid, began, code


def alive(pid, began):
    try:
        with open("/proc/" + pid + "/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and fields[19] == began


def state(base, name):
    pid, began, code = status(base, name)
    if code is not None:
        return code
    if pid is None:
        return "waiting"
    return "running" if alive(pid, began) else "lost"


def await_all(base, names):
    for name in names:
        while True:
            now = state(base, name)
            if now == "lost":
                now = state(base, name)
            if now not in ("waiting", "running"):
                break
            time.sleep(PAUSE)
        print(name, now)


def kill(base, names):
    left = []
    for name in names:
        pid, began, code = status(base, name)
        if code is None and pid is not None and alive(pid, began):
            os.killpg(int(pid), signal.SIGTERM)
            left.append((name, pid, began))
    deadline = time.monotonic() + 10
    while left:
        still = [job for job in left if alive(job[1], job[2])]
        for name, _, _ in set(left) - set(still):
            print(name, "killed")
        left = still
        if left and time.monotonic() > deadline:
            for _, pid, _ in left:
                os.killpg(int(pid), signal.SIGKILL)
        if left:
            time.sleep(PAUSE)


def main():
    verb, base = sys.argv[1:3]
    lines = sys.stdin.read().splitlines()
    if verb in ("submit", "start"):
        start(base, lines[1:], lines[0], int(sys.argv[3]))
        if verb == "submit":
            await_all(base, lines[1:])
    elif verb == "poll":
        for name in lines:
            print(name, state(base, name))
    else:
        kill(base, lines)


main()

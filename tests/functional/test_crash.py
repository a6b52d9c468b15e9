"""The controller dies at any point: nothing is lost, nothing runs twice, the next command goes on."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmgr import Session
from shells import Shell, at_work, eventually, interrupt, processes_in

CHAIN = """\
graph: a & b => c
defaults:
  platform: wizard
  script: echo "$JOBMGR_JOB" >> "$JOBMGR_SHARE_DIR/ran"
tasks: {a: {}, b: {}, c: {}}
"""
ALL = ["1/a/01", "1/b/01", "1/c/01"]

# Dies at a transaction of the store: just before its commit, when the host may have done what was asked, or
# just after it, when the host may not have been asked yet.
CRASHER = """\
import os, signal, sys
from contextlib import contextmanager
from jobmgr.store import db

moment, left = sys.argv[1], int(sys.argv[2])
real = db.Database.writing

def die(now):
    if left == 0 and now == moment:
        os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def writing(self):
    global left
    left -= 1
    with real(self) as connection:
        yield connection
        die("before")
    die("after")

db.Database.writing = writing
from jobmgr.cli.main import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture(scope="module")
def busy() -> Iterator[Shell]:
    """A shell whose polls come quickly."""
    with at_work(polling_interval="1s", queued_polling_interval="1s") as user:
        user.suite("chain", CHAIN)
        yield user


def session(user: Shell) -> Session:
    """The library, as the user's own commands would use it."""
    return Session(
        user.home / "platforms.yaml", user.run_root, ssh_config=user.home / "ssh_config", user_files=False,
        home=user.home,
    )  # fmt: skip


def crash(user: Shell, moment: str, count: int, *words: str) -> bool:
    """Run a command that dies at its ``count``-th transaction; False if it had fewer and came to its end."""
    done = subprocess.run(
        [sys.executable, "-c", CRASHER, moment, str(count), *words], env=user.environment, cwd=user.home,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (-signal.SIGKILL, 0, 1), done
    return done.returncode == -signal.SIGKILL


def make_due(user: Shell, name: str) -> None:
    """As if a minute had passed: a submit that says nothing is left alone for so long."""
    with contextlib.closing(sqlite3.connect(user.run_root / name / ".service/suite.db")) as store, store:
        store.execute("UPDATE jobs SET next_poll = 1 WHERE next_poll IS NOT NULL")


def tick_to_the_end(user: Shell, name: str) -> None:
    """Nothing but plain ticks, as cron would do, until the run is at its end."""
    make_due(user, name)
    with session(user) as made:
        run = made.open(name)

        def finished() -> bool:
            run.tick()
            return run.summary().finished is not None

        eventually(finished)


def held_to_be_right(user: Shell, name: str) -> None:
    """Every job ran exactly once; the store and job.status agree, at home and on the host."""
    away = user.remote_root / name
    assert sorted((away / "share/ran").read_text().split()) == ALL
    with session(user) as made:
        rows = made.open(name).rows()
    assert [(row.id, row.state.value, row.exit_code) for row in sorted(rows, key=lambda row: row.id)] == [
        (job, "succeeded", 0) for job in ALL
    ]
    for job in ALL:
        status = (away / "log/job" / job / "job.status").read_text()
        assert status.count("JOBMGR_EXIT=SUCCEEDED") == 1
        assert (user.run_root / name / "log/job" / job / "job.status").read_text() == status


@pytest.mark.slow
@pytest.mark.parametrize("moment, step", [("before", 1), ("after", 3)])
def test_killed_at_each_transaction_of_a_play(busy: Shell, moment: str, step: int) -> None:
    count = 0
    died = True
    while died:
        count += step
        name = f"{moment}-{count}"
        died = crash(busy, moment, count, "play", "./chain", "--name", name)
        if not (busy.run_root / name / ".service/suite.db").exists():
            busy("submit", "./chain", "--name", name)
        tick_to_the_end(busy, name)
        held_to_be_right(busy, name)
    assert count > 8


@pytest.mark.slow
def test_killed_at_any_moment_and_again(busy: Shell) -> None:
    dice = random.Random(20261120)
    for trial in range(3):
        name = f"any-{trial}"
        words = ["play", "./chain", "--name", name]
        for _ in range(5):
            with busy.started(*words) as process:
                try:
                    process.communicate(timeout=dice.uniform(0.2, 1.2))
                except subprocess.TimeoutExpired:
                    process.kill()
            if (busy.run_root / name / ".service/suite.db").exists():
                words = dice.choice([["play", name], ["tick", name], ["submit", name], ["poll", name]])
        if words[1] != name:
            busy("submit", "./chain", "--name", name)
        else:
            busy("submit", name)
        tick_to_the_end(busy, name)
        held_to_be_right(busy, name)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_kill_that_died_is_followed_up_by_ticks(busy: Shell, count: int) -> None:
    name = f"kill-{count}"
    busy.suite("sleeper", "tasks: {s: {platform: wizard, script: sleep 300}}\n")
    busy("submit", "./sleeper", "--name", name)
    eventually(lambda: busy.states(name, "--poll") == {"1/s/01": "running"})
    crash(busy, "before", count, "kill", name, "1/s")
    if busy.states(name) == {"1/s/01": "running"} and count == 1:
        # The intent itself was not stored: nothing was asked of the host, and the job goes on.
        assert busy.states(name, "--poll") == {"1/s/01": "running"}
        busy("kill", name, "1/s")
    tick_to_the_end(busy, name)
    assert busy.states(name) == {"1/s/01": "killed"}
    assert not processes_in(busy.remote_root / name)


# --- the network fails ------------------------------------------------------------------------------------

# Once, the reply of a jobs-submit is lost (the host has done it), or the request never arrives.
CUT = """\
for how in cut-reply cut-request; do
    case $SSH_ORIGINAL_COMMAND in *" jobs-submit") ;; *) continue ;; esac
    [ -e "$HOME/../$how" ] || continue
    rm "$HOME/../$how"
    [ $how = cut-request ] || /bin/bash -c "$SSH_ORIGINAL_COMMAND" >/dev/null 2>&1
    kill -9 $PPID
    exit 1
done
"""


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
@pytest.mark.parametrize("how", ["cut-reply", "cut-request"])
def test_a_submit_whose_reply_is_lost_runs_once(transport: str, how: str) -> None:
    with at_work(
        sshd={"force_command_prefix": CUT}, transport=transport, polling_interval="1s",
        queued_polling_interval="1s",
    ) as user:  # fmt: skip
        user("run", "wizard", "--wait", "--", "true")
        user.suite("chain", CHAIN)
        user("submit", "./chain", "a")  # the host is ready now: the next submit is a call of its own
        (user.folder / how).touch()
        user("submit", "./chain", code=None)
        assert not (user.folder / how).exists()
        tick_to_the_end(user, "chain")
        held_to_be_right(user, "chain")


def test_play_goes_on_over_a_new_connection_when_the_old_one_breaks(ssh_user: Shell) -> None:
    suite = 'tasks: {a: {platform: wizard, script: "until [ -e ~/go ]; do sleep 0.1; done"}}\n'
    ssh_user.suite("broken", suite)
    with ssh_user.started("play", "./broken") as process:
        eventually(lambda: ssh_user.states("broken") == {"1/a/01": "running"})  # as the long poll has told
        ssh_user.host.kill_sessions()
        Path(ssh_user.host.home, "go").touch()
        out = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, out
    assert "1 succeeded" in out


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_a_host_that_hangs_or_is_full_changes_no_state_and_why_tells(transport: str) -> None:
    """Each in turn; ``why`` has the reason of the last look too, not of the first one alone."""
    full = {"MaxStartups": "1:100:1", "MaxSessions": "1"}
    with at_work(
        sshd={"sshd_options": full}, transport=transport, connect_timeout="1s", long_poll="false"
    ) as user, socket.create_server(("127.0.0.1", 0)) as listening:
        user("run", "wizard", "--suite", "hung", "--", "sleep", "300")
        eventually(lambda: user.states("hung", "--poll") == {"1/sleep/01": "running"})
        config = user.home / "ssh_config"
        right = config.read_text()

        def unheard(said: str) -> None:
            user("logout", "wizard")
            asked = user.done("poll", "hung")
            assert asked.returncode == 5, asked
            assert said in asked.stderr
            assert "1 job there unaffected" in asked.stderr
            assert user.states("hung") == {"1/sleep/01": "running"}
            told = user("why", "hung", "1/sleep").splitlines()
            assert told[0] == "1/sleep/01: running, in doubt"
            assert re.search(rf"poll +running; unreachable \(wizard: .*{said}", told[-3])
            assert told[-2] == "rule: No answer changes nothing."
            assert told[-1].startswith("next: next poll due ")

        user.host.freeze()
        unheard("did not answer in time")
        user.host.thaw()
        user("logout", "wizard")
        with socket.create_connection(("127.0.0.1", user.host.port)) as stranger:
            stranger.recv(100)  # one that has begun to log in, and takes its time
            unheard("MaxStartups")
        config.write_text(right.replace(f"Port {user.host.port}", f"Port {listening.getsockname()[1]}"))
        unheard("did not answer in time")  # accepts, and never says a word
        config.write_text(right)
        eventually(lambda: user("poll", "hung", code=None) and "in doubt" not in user("why", "hung", "1/sleep"))
        assert user.states("hung") == {"1/sleep/01": "running"}


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_ctrl_c_waits_for_no_host_that_hangs_and_the_next_command_goes_on(transport: str) -> None:
    with at_work(transport=transport, polling_interval="1s", queued_polling_interval="1s") as user:
        user.suite("hung", "tasks: {a: {platform: wizard, script: 'echo begun; sleep 600'}}\n")
        user("submit", "./hung")
        for words in (["play", "hung"], ["log", "hung", "1/a", "-f"], ["kill", "hung"]):
            user.forget_calls()
            if words[0] == "kill":
                user.host.freeze()
            with user.started(*words) as process:
                if words[0] == "kill":
                    eventually(lambda: kill_is_intended(user, "hung"))
                else:
                    eventually(user.calls)
                    user.host.freeze()
                began = time.monotonic()
                interrupt(process)
                out = process.communicate(timeout=100)[0].decode()
            assert process.returncode == 130, out
            assert "Traceback" not in out
            # Otherwise it would be 20 to 60 seconds.
            assert time.monotonic() - began < 15, (words, out)
            user.host.thaw()
            user("poll", "hung")
            # Of a kill nobody can say whether its request was under way: it may arrive after all.
            assert user.states("hung")["1/a/01"] in ("running", "killed")[: 1 + (words[0] == "kill")]
        user("kill", "hung")
        assert user.states("hung") == {"1/a/01": "killed"}


def kill_is_intended(user: Shell, run: str) -> bool:
    with contextlib.closing(sqlite3.connect(user.run_root / run / ".service/suite.db")) as store:
        return store.execute("SELECT count(*) FROM jobs WHERE kill_intended IS NOT NULL").fetchone() != (0,)


# --- several at once --------------------------------------------------------------------------------------


def test_the_second_of_two_ticks_leaves_at_once(user: Shell) -> None:
    user.platforms("platforms: {wizard: {hosts: [wizard], runner: background, min_polling_interval: 1s,"
                   " polling_interval: 1s}}\n")  # fmt: skip
    user("submit", user.suite("two", "tasks: {s: {platform: wizard, script: sleep 300}}\n"))
    make_due(user, "two")
    holder = user.run_root / "two/.service/lock.holder"
    user.host.freeze()
    with user.started("tick", "two") as first:
        eventually(holder.exists)
        second = user.done("tick", "two")
        assert first.poll() is None
        assert second.returncode == 0
        assert "another" in second.stdout
        assert user.done("tick", "--all").returncode == 0
        user.host.thaw()
        assert first.wait(60) == 0

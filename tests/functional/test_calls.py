"""Zero install and the hot path: what a host is asked, counted where it is asked."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from shells import Shell, at_work, eventually

MANY = """\
graph: warm
tasks:
  warm: {platform: wizard, script: sleep 300}
  sim: {platform: wizard, parameters: {m: 1..12}, manual: true, script: "echo $JOBMGR_PARAM_m; sleep 300"}
"""


def test_the_first_command_ships_the_host_side_and_goes_on(ssh_user: Shell) -> None:
    assert "wizard: first contact" in ssh_user.done("run", "wizard", "--", "sleep", "300").stderr
    # What answers the remote-init stays for the submit that follows.
    assert ssh_user.calls() == ["remote-init", "install", "remote-init"]
    ssh_user.forget_calls()
    ssh_user("run", "wizard", "--", "echo", "again")
    assert ssh_user.calls() == ["jobs-submit"]


@pytest.fixture(params=["fabric", "openssh"])
def warm(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """A run that has been on the host; 12 tasks wait to be submitted by hand."""
    with at_work(transport=request.param, max_active="20") as user:
        user("submit", user.suite("many", MANY))
        user.forget_calls()
        yield user


def test_each_verb_is_one_call_per_host_for_any_number_of_jobs(warm: Shell) -> None:
    verbs = [
        (["submit", "many", "sim*"], ["jobs-submit"]),
        (["poll", "many"], ["jobs-poll"]),
        (["poll", "many", "sim*"], ["jobs-poll"]),
        (["tick", "many"], []),
        (["status", "many"], []),
        (["why", "many", "1/sim_m07"], []),
        (["log", "many", "1/sim_m07"], ["cat-log"]),
        (["log", "many", "1/sim_m07", "--list"], ["cat-log"]),
        (["log", "many", "1/sim_m07", "--path"], []),
        (["retrieve", "many", "sim*"], ["jobs-poll", "rsync"]),
        (["kill", "many"], ["jobs-kill"]),
        (["retrieve", "many"], ["rsync"]),
        (["log", "many", "1/sim_m07"], []),
        (["tidy", "many"], ["remote-tidy"]),
        (["clean", "many", "--yes", "--remote"], ["remote-tidy"]),
    ]
    logins = []
    for words, expected in verbs:
        before = warm.host.logins()
        warm(*words)
        assert (words, warm.calls()) == (words, expected)
        logins.append(warm.host.logins() - before)
        if words[0] == "submit":
            eventually(lambda: set(warm.states("many", "sim*", "--poll").values()) == {"running"})
        warm.forget_calls()
    # One login at most for a command, whatever it asks; none at all over a shared connection.
    shared = "transport: openssh" in (warm.home / "platforms.yaml").read_text()
    for (words, expected), count in zip(verbs, logins, strict=True):
        assert count <= (0 if shared or not expected else 1 + ("rsync" in expected)), words


SMALL_PARTS = """\
from jobmgr.service import engine, poll
engine.BATCH, engine.FIRST_BATCH, poll.PART = 5, 1, 2
"""
SLOW_POLL = """\
import threading
turned = threading.Event()
ask, retrieve = poll.ask, engine.Engine.retrieve

def slow(*args, **options):
    answer = ask(*args, **options)
    assert turned.wait(60)
    return answer

def look(self):
    retrieve(self)
    if any(asked.told for asked in self._polls.values()):
        turned.set()

poll.ask, engine.Engine.retrieve = slow, look
"""
"""A poll goes on until the loop has turned behind its first parts."""


SHORT = """\
graph: sim
tasks:
  sim: {platform: wizard, parameters: {m: 1..12}, script: "jobmgr-message m; [ $JOBMGR_PARAM_m != 7 ]"}
"""


def test_what_a_host_tells_part_by_part_is_told_once_and_its_files_come_by_one_rsync(warm: Shell) -> None:
    warm.patch(SMALL_PARTS)
    warm("submit", warm.suite("short", SHORT))
    records = "short/log/job/1/*/01/job.status"
    eventually(lambda: sum("JOBMGR_EXIT=" in p.read_text() for p in warm.remote_root.glob(records)) == 12)
    warm.forget_calls()
    warm.patch(SMALL_PARTS + SLOW_POLL)
    warm("poll", "short", code=None)
    assert warm.calls() == ["jobs-poll", "rsync"]
    states = warm.states("short")
    assert [job for job, state in sorted(states.items()) if state != "succeeded"] == ["1/sim_m07/01"]
    assert states["1/sim_m07/01"] == "failed"
    with contextlib.closing(sqlite3.connect(warm.run_root / "short/.service/suite.db")) as store:
        assert store.execute("SELECT text, count(*) FROM messages GROUP BY text").fetchall() == [("m", 12)]


def test_inputs_of_many_jobs_go_by_one_rsync(warm: Shell) -> None:
    for m in range(1, 13):
        (warm.home / f"data_{m}.csv").write_text(f"{m}\n")
    text = SHORT.replace("script:", f"inputs: ['{warm.home}/data_{{m}}.csv'], script:")
    warm.patch("from jobmgr.service import engine\nengine.FIRST_BATCH = 2\n")
    warm("submit", warm.suite("needy", text))
    assert sorted(warm.calls()) == ["jobs-submit", "remote-init", "rsync"]
    assert len(warm.states("needy")) == 12


def test_more_jobs_than_go_into_one_request_are_still_one_call(warm: Shell) -> None:
    warm.patch(SMALL_PARTS)
    warm("submit", "many", "sim*")
    assert warm.calls() == ["jobs-submit"]
    eventually(lambda: set(warm.states("many", "sim*", "--poll").values()) == {"running"})
    assert len(warm.states("many", "sim*")) == 12
    warm.forget_calls()
    warm("poll", "many")
    assert warm.calls() == ["jobs-poll"]


def test_a_poll_without_news_is_noted_and_brings_no_evidence(warm: Shell) -> None:
    eventually(lambda: " 1 running" in warm("poll", "many") + warm("status", "many"))

    def row() -> Any:
        look = "(SELECT time FROM looks WHERE job_id = jobs.id)"
        with contextlib.closing(sqlite3.connect(warm.run_root / "many" / ".service/suite.db")) as store:
            return store.execute(f"SELECT state, polls, last_answer, errors, {look} FROM jobs").fetchone()

    warm("poll", "many")
    state, polls, answer, errors, evidence = row()
    warm("poll", "many")
    assert row()[:2] == (state, polls + 1)
    assert row()[2] > answer
    assert row()[3:] == (errors, evidence)
    assert warm("kill", "many") == "1/warm/01  killed\n"

"""jobs-poll that goes on: every change is told once, as it comes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from host_side import Host, host_in
from jobmgr_remote import status, wire
from jobmgr_remote.commands import jobs_poll


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as made:
        yield made


class Stream:
    """A call that goes on; ``next`` is its next answer about a job."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.reader = wire.ReplyReader(wire.JOBS_POLL)
        self._told: list[wire.Evidence] = []

    def next(self) -> wire.Evidence:
        assert self.process.stdout
        while not self._told:
            line = self.process.stdout.readline()
            assert line, "the reply has ended"
            self._told.extend(value for kind, value in self.reader.feed(line) if kind == wire.JOB)
        return self._told.pop(0)

    def rest(self) -> list[wire.Evidence]:
        """What is told until the reply ends by itself."""
        assert self.process.stdout
        told = self._told + [v for k, v in self.reader.feed(self.process.stdout.read()) if k == wire.JOB]
        assert self.reader.ended
        return told

    def release(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()


@contextmanager
def stream(host: Host, *items: dict[str, Any], wait: float = 60) -> Iterator[Stream]:
    with host.start(wire.JOBS_POLL) as process:
        assert process.stdin
        process.stdin.write(host.request(wire.JOBS_POLL, items, wait=wait, stream=True))
        process.stdin.flush()
        yield Stream(process)
        process.stdin.close()


def go(host: Host, word: str) -> None:
    (host.home / word).touch()


def job(host: Host, task: str, *words: str) -> dict[str, Any]:
    """A job that waits for one word after the other, and says so."""
    steps = "".join(f"until [ -e ~/{word} ]; do sleep 0.01; done; jobmgr-message {word}; " for word in words)
    return host.job(steps, task=task)


def test_a_job_is_told_as_it_moves_and_only_what_is_new(host: Host) -> None:
    item = job(host, "a", "one", "two")
    host.submit(item, max_active=2)
    with stream(host, item) as told:
        started = told.next()
        assert started.file.facts[status.START_TIME]
        go(host, "one")
        assert [message[2] for message in told.next().file.messages] == ["one"]
        go(host, "two")
        rest = told.rest()
        assert [message[2] for one in rest for message in one.file.messages] == ["two"]
        assert rest[-1].file.facts[status.EXIT] == "SUCCEEDED"


def test_it_ends_with_the_last_job(host: Host) -> None:
    items = [host.job(task=f"t{n}") for n in range(20)]
    host.submit(*items, max_active=2)
    with stream(host, *items) as told:
        rest = told.rest()
    ended = [one.job for one in rest if status.EXIT in one.file.facts]
    assert sorted(ended) == sorted(item["job"] for item in items)


def test_jobs_are_told_in_whatever_order_they_are_asked_about(host: Host) -> None:
    items = [host.job(task=f"t{n}") for n in range(jobs_poll.AHEAD + 20)]
    host.submit(*items, max_active=2)
    with stream(host, *reversed(items)) as told:  # the first to run stand behind many that wait
        rest = told.rest()
    ended = [one.job for one in rest if status.EXIT in one.file.facts]
    assert sorted(ended) == sorted(item["job"] for item in items)


def test_a_record_that_cannot_be_read_is_told_once(host: Host) -> None:
    bad, good = job(host, "bad", "never"), job(host, "good", "one")
    host.submit(good, max_active=1)
    folder = host.run_dir / f"log/job/{bad['job']}"
    folder.mkdir(parents=True)
    (folder / "job.status").write_text("JOBMGR_STATUS_VERSION=1\n")
    with stream(host, bad, good, wait=8 * jobs_poll.SLOW_LOOK) as told:
        first = [told.next(), told.next()]
        assert sorted(one.file.state for one in first) == [wire.FILE_OK, wire.FILE_UNREADABLE]
        go(host, "one")
        while (one := told.next()).file.facts.get(status.EXIT) != "SUCCEEDED":
            assert one.job == good["job"]
        assert told.rest() == []


def test_what_waits_in_the_queue_is_no_news(host: Host) -> None:
    first, *others = [job(host, f"t{n}", "go") for n in range(5)]
    host.submit(first, *others, max_active=1)
    with stream(host, first, *others) as told:
        assert told.next().job == first["job"]
        told.release()
        assert told.rest() == []


def test_a_job_that_ended_before_is_told_at_once(host: Host) -> None:
    item = host.job()
    host.submit(item)
    host.wait_exit(item)
    with stream(host, item) as told:
        assert [one.file.facts[status.EXIT] for one in told.rest()] == ["SUCCEEDED"]


def test_it_ends_when_its_time_is_over(host: Host) -> None:
    item = job(host, "a", "never")
    host.submit(item)
    with stream(host, item, wait=1.5) as told:
        assert [one.job for one in told.rest()] == [item["job"]]


def test_a_process_that_died_without_a_word_is_told_once(host: Host) -> None:
    item = job(host, "a", "never")
    host.submit(item)
    with stream(host, item, wait=5) as told:
        pid = int(told.next().file.facts[status.PID])
        os.kill(pid, signal.SIGKILL)
        # Its slot has recorded it; whether the slot still has it in its hands is a matter of moments.
        assert [one.file.facts[status.EXIT] for one in told.rest()] == ["SIGNAL/KILL"]

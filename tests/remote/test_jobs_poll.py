"""jobs-poll: what is there is told as it is, one bad job disturbs no other, a long poll answers at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import interpreters
from host_side import Answer, Host, await_that, host_in
from jobmgr_remote import evidence, fence, layout, proc, session, status, wire
from jobmgr_remote.commands import jobs_poll
from jobmgr_remote.runners import base
from jobmgr_remote.spool import Queued, Spool

PYTHONS = interpreters.oldest_and_newest()
TIME = "2026-11-20T12:00:00Z"


@pytest.fixture(params=PYTHONS, ids=lambda path: os.path.basename(path))
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    with host_in(tmp_path / "home", request.param) as one:
        yield one


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as one:
        yield one


def lay(
    host: Host, item: dict[str, Any], text: str = "", name: str = "job.status", head: bool = True
) -> None:
    """Put a status file into the job's directory."""
    host.log_dir(item).mkdir(parents=True, exist_ok=True)
    start = status.header(item["token"], item["runner"], TIME) if head else ""
    (host.log_dir(item) / name).write_text(start + text)


def attempt(pid: int, start: str, instance: str, hostname: str) -> str:
    return (
        f"JOBMGR_ATTEMPT=1\nJOBMGR_PID={pid}\nJOBMGR_START_IDENTITY={start}\nJOBMGR_INSTANCE={instance}\n"
        f"JOBMGR_HOSTNAME={hostname}\nJOBMGR_START_TIME={TIME}\n"
    )


HERE = (proc.instance(), os.uname()[1])


def test_a_running_job_is_alive_and_an_ended_one_is_gone_with_its_record(host: Host) -> None:
    item = host.job("sleep 1000")
    host.submit(item)
    host.wait_started(item)
    (one,) = host.poll(item)
    assert (one.file.state, one.process, one.claim, one.fenced) == ("ok", "alive", "started", True)
    os.kill(int(one.file.facts[status.PID]), signal.SIGTERM)
    host.wait_exit(item)
    await_that(lambda: host.poll(item)[0].process == wire.P_GONE)
    (one,) = host.poll(dict(item, list_files=True))
    assert one.file.facts[status.EXIT] == "SIGNAL/TERM"
    assert {entry.path.rpartition("/")[2] for entry in one.files} == {
        "job",
        "job.out",
        "job.err",
        "job.status",
    }


def as_seen(host: Host, *items: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of a caller who has just polled."""
    return [dict(item, seen_size=one.file.size) for item, one in zip(items, host.poll(*items), strict=True)]


def briefly(host: Host, *items: dict[str, Any]) -> tuple[list[str], list[wire.Evidence]]:
    """What a brief poll says: the jobs without news, and evidence about the others."""
    answer = host.call(wire.JOBS_POLL, [dict(item, brief=True) for item in items])
    assert answer.error is None
    assert answer.ended
    return [job for line in answer.of(wire.SAME) for job in line], answer.jobs


def test_a_job_that_runs_on_is_named_without_evidence_where_that_is_enough(host: Host) -> None:
    first, second = host.job("sleep 1000", task="a"), host.job("sleep 1000", task="b")
    host.submit(first, second, max_active=2)
    host.wait_started(first)
    host.wait_started(second)
    seen = as_seen(host, first, second)
    assert briefly(host, *seen) == ([first["job"], second["job"]], [])
    assert [one.process for one in host.poll(*seen)] == ["alive", "alive"]  # nobody has said brief


@pytest.mark.parametrize(
    "news",
    [
        lambda host, item: say_more(host, item),
        lambda host, item: say_more(host, item, ".node2"),
        lambda host, item: (host.run_dir / layout.token_dir(item["token"]) / layout.KILL_MARK).write_text(""),
        lambda host, item: (host.log_dir(item) / "job.status").unlink(),
    ],
    ids=["a message", "a message of another node", "a kill mark", "no file"],
)
def test_what_is_new_of_a_job_is_told_in_full(new_host: Host, news: Any) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    (seen,) = as_seen(new_host, item)
    assert briefly(new_host, seen) == ([item["job"]], [])
    news(new_host, item)
    same, (found,) = briefly(new_host, seen)
    assert same == []
    assert found == new_host.poll(seen)[0]


def say_more(host: Host, item: dict[str, Any], node: str = "") -> None:
    head = status.head(item["token"], "background") if node else ""
    with open(host.log_dir(item) / f"job.status{node}", "a") as file:
        file.write(head + status.message("2026-11-20T12:00:00Z", "INFO", "x"))


def test_an_end_is_told_in_full_also_without_a_record(new_host: Host) -> None:
    gone, ended, waits = (new_host.job(task=name) for name in ("gone", "ended", "waits"))
    text = f"JOBMGR_ATTEMPT=1\nJOBMGR_PID={2**22 - 7}\nJOBMGR_START_IDENTITY=1\nJOBMGR_INSTANCE=\n"
    lay(new_host, gone, text)
    lay(new_host, ended, "JOBMGR_EXIT=SUCCEEDED\n")
    lay(new_host, waits, "")
    same, found = briefly(new_host, *as_seen(new_host, gone, ended, waits))
    assert same == []
    assert [one.job for one in found] == [gone["job"], ended["job"], waits["job"]]


def test_a_stopped_job_is_alive(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    pid = int(new_host.facts(item)[status.PID])
    os.kill(pid, signal.SIGSTOP)
    assert new_host.poll(item)[0].process == wire.P_ALIVE
    os.kill(pid, signal.SIGCONT)


def test_outputs_are_listed_when_the_job_has_ended(new_host: Host) -> None:
    item = new_host.job("touch a.nc b.txt", outputs=["*.nc"], list_files=True)
    new_host.submit(item)
    new_host.wait_exit(item)
    paths = {one.path for one in new_host.poll(item)[0].files}
    assert "work/1/t/a.nc" in paths
    assert "work/1/t/b.txt" not in paths


@pytest.mark.parametrize(
    ("text", "head", "state"),
    [
        ("", True, wire.FILE_OK),
        ("JOBMGR_EXIT=SUCC", True, wire.FILE_OK),
        ("rubbish\n", True, wire.FILE_UNREADABLE),
        ("", False, wire.FILE_UNREADABLE),
        ("\0\xff\n", False, wire.FILE_UNREADABLE),
        ("JOBMGR_STATUS_VERSION=1\n", False, wire.FILE_UNREADABLE),
        ("JOBMGR_STATUS_VERSION=1\nJOBMGR_TOKEN=other\n", False, wire.FILE_FOREIGN),
    ],
)
def test_the_state_of_the_file_is_told(new_host: Host, text: str, head: bool, state: str) -> None:
    bad, good = new_host.job(task="bad"), new_host.job(task="good")
    lay(new_host, bad, text, head=head)
    lay(new_host, good, "JOBMGR_EXIT=SUCCEEDED\n")
    first, second = new_host.poll(bad, good)
    assert first.file.state == state
    assert status.EXIT not in first.file.facts
    assert second.file.facts[status.EXIT] == "SUCCEEDED"


def test_missing_files_and_directories_are_told_apart(new_host: Host) -> None:
    missing, nowhere = new_host.job(task="a"), new_host.job(task="b")
    new_host.log_dir(missing).mkdir(parents=True)
    assert [one.file.state for one in new_host.poll(missing, nowhere)] == ["missing", "directory-missing"]


def test_something_that_is_no_file_is_unreadable_and_hangs_nobody(new_host: Host) -> None:
    pipe, folder = new_host.job(task="a"), new_host.job(task="b")
    for item in (pipe, folder):
        new_host.log_dir(item).mkdir(parents=True)
    os.mkfifo(new_host.log_dir(pipe) / "job.status")
    (new_host.log_dir(folder) / "job.status").mkdir()
    assert {one.file.state for one in new_host.poll(pipe, folder)} == {wire.FILE_UNREADABLE}


def _spoil(host: Host, items: list[dict[str, Any]]) -> None:
    """Each of these jobs is broken in a way of its own."""
    garbage, pipe, folder, gone, foreign, link, huge = items
    (host.log_dir(garbage) / "job.status").write_bytes(bytes(range(256)))
    for item in (pipe, folder, link):
        (host.log_dir(item) / "job.status").unlink()
    os.mkfifo(host.log_dir(pipe) / "job.status")
    (host.log_dir(folder) / "job.status").mkdir()
    (host.log_dir(gone) / "job.status").unlink()
    host.log_dir(gone).rmdir()
    lay(host, {**foreign, "token": "1" * 36}, "JOBMGR_EXIT=SUCCEEDED\n")
    (host.log_dir(link) / "job.status").symlink_to("job.status")
    with open(host.log_dir(huge) / "job.status", "ab") as file:
        file.write(b"x" * 5_000_000)


@pytest.mark.parametrize("verb", [wire.JOBS_POLL, wire.JOBS_KILL])
def test_bad_jobs_among_five_hundred_change_nothing_for_the_others(new_host: Host, verb: str) -> None:
    items = [new_host.job(task=f"t{n}") for n in range(500)]
    for item in items:
        lay(new_host, item, attempt(99, "1", *HERE) + "JOBMGR_EXIT=FAILED/3\n")
    bad = items[::80]
    _spoil(new_host, bad)
    answer = new_host.call(verb, [*items[:250], {"job": "../x", "token": "y"}, {}, *items[250:]])
    assert answer.error is None
    assert answer.ended
    told = {one.job: getattr(one, "evidence", one) for one in answer.jobs}
    assert list(told) == [item["job"] for item in items]
    good = [told[item["job"]] for item in items if item not in bad]
    assert {(one.file.state, one.file.facts[status.EXIT]) for one in good} == {("ok", "FAILED/3")}
    states = [told[item["job"]].file.state for item in bad]
    assert states == ["unreadable", "unreadable", "unreadable", "directory-missing", "foreign", "unreadable", "ok"]


def test_of_a_very_long_file_the_head_and_the_tail_count(new_host: Host) -> None:
    item = new_host.job()
    row = status.message(TIME, "INFO", "x" * 1000)
    lay(new_host, item, attempt(1, "1", *HERE) + row * 6000 + "JOBMGR_EXIT=FAILED/3\n")
    (one,) = new_host.poll(item)
    assert one.file.facts[status.TOKEN] == item["token"]
    assert one.file.facts[status.EXIT] == "FAILED/3"
    assert one.file.size > 6_000_000


def test_messages_beyond_those_seen_are_told(new_host: Host) -> None:
    item = new_host.job()
    lay(new_host, item, "".join(status.message(TIME, "INFO", f"m{n}") for n in range(5)))
    (one,) = new_host.poll(dict(item, seen_messages=3))
    assert [text for _, _, text in one.file.messages] == ["m3", "m4"]
    assert one.file.message_count == 5


def test_messages_of_other_nodes_are_merged(new_host: Host) -> None:
    item = new_host.job()
    lay(new_host, item, status.message("2026-11-20T12:00:02Z", "INFO", "second"))
    lay(new_host, item, status.message("2026-11-20T12:00:01Z", "INFO", "first"), name="job.status.node7")
    lay(new_host, item, "rubbish\n", name="job.status.node8", head=False)
    (one,) = new_host.poll(item)
    assert [text for _, _, text in one.file.messages] == ["first", "second"]


def test_what_a_full_disk_sent_home_is_read(new_host: Host) -> None:
    item = new_host.job()
    lay(new_host, item)
    rescue = new_host.home / layout.HOST_RESCUE
    rescue.mkdir(parents=True)
    text = (
        status.header(item["token"], "background", TIME) + attempt(1, "1", *HERE) + "JOBMGR_EXIT=SUCCEEDED\n"
    )
    (rescue / item["token"]).write_text(text)
    (one,) = new_host.poll(item)
    assert one.file.facts[status.EXIT] == "SUCCEEDED"
    (rescue / item["token"]).write_text("rubbish")
    assert status.EXIT not in new_host.poll(item)[0].file.facts


@pytest.mark.parametrize(
    ("who", "state"),
    [
        ((2**22 + 1, "1", *HERE), wire.P_GONE),
        ((1, "1", *HERE), wire.P_NOT_OURS),
        ((1, "1", "other-boot:1:2", HERE[1]), wire.P_REBOOTED),
        ((1, "1", "other-boot:1:2", "node7"), wire.P_OTHER_HOST),
        ((1, "1", "", "node7"), wire.P_OTHER_HOST),
    ],
)
def test_whose_process_it_is(new_host: Host, who: tuple[int, str, str, str], state: str) -> None:
    item = new_host.job()
    lay(new_host, item, attempt(*who))
    assert new_host.poll(item)[0].process == state


def test_a_job_that_has_not_started_lives_in_the_spool_or_is_gone(new_host: Host) -> None:
    busy, waits, lost = (new_host.job("sleep 1000", task=name) for name in "abc")
    new_host.submit(busy, waits, max_active=1)
    new_host.wait_started(busy)
    lay(new_host, lost)
    states = [(one.process, one.spool, one.fenced) for one in new_host.poll(waits, lost)]
    assert states == [("alive", "queued", True), ("gone", "none", False)]


def test_a_job_of_an_earlier_life_of_the_host_has_not_been_lost_but_rebooted(new_host: Host) -> None:
    item, elsewhere, told = (new_host.job(task=name) for name in "abc")
    entry = fence.Entry(item["token"], item["job"], "background", 1.0, 5, "6", "other-boot:1:2", HERE[1])
    other = entry._replace(token=elsewhere["token"], hostname="node7")
    fence.append_journal(str(new_host.run_dir), [entry, other])
    lay(new_host, item)
    lay(new_host, elsewhere)
    states = [one.process for one in new_host.poll(item, elsewhere, dict(told, instance="other-boot:1:2"))]
    assert states == [wire.P_REBOOTED, wire.P_OTHER_HOST, wire.P_REBOOTED]


def test_a_claim_counts_where_the_wrapper_could_write_nothing_else(new_host: Host) -> None:
    item = new_host.job()
    lay(new_host, item)
    folder = new_host.run_dir / layout.token_dir(item["token"])
    folder.mkdir(parents=True)
    me = proc.own()
    (folder / "claim").write_text(f"{me.pid} {me.pid} {me.start} {HERE[0]} {HERE[1]}\n")
    assert new_host.poll(item)[0].process == wire.P_ALIVE


def test_a_poll_revokes_what_it_is_asked_to(new_host: Host) -> None:
    item = new_host.job()
    assert new_host.poll(dict(item, revoke=True))[0].claim == wire.C_REVOKED
    assert new_host.submit(item)[0].result == wire.R_REVOKED


def test_a_background_job_is_found_by_its_claim_or_in_the_spool(new_host: Host) -> None:
    runs, waits, nowhere = (new_host.job("sleep 1000", task=name) for name in "abc")
    new_host.submit(runs, waits, max_active=1)
    new_host.wait_started(runs)
    found = [one.found for one in new_host.poll(*(dict(item, find=True) for item in (runs, waits, nowhere)))]
    assert found[0][:2] == (wire.FOUND_ID, new_host.facts(runs)[status.PID])
    assert found[1][:2] == (wire.FOUND_ID, "")
    assert found[2] == (wire.FOUND_ABSENT, "", "", False)


def test_items_that_make_no_sense_are_noted_and_the_others_answered(new_host: Host) -> None:
    good = new_host.job()
    answer = new_host.call(wire.JOBS_POLL, [{"job": "../../etc", "token": "x"}, {}, good])
    assert [one.job for one in answer.jobs] == [good["job"]]
    assert [note.level for note in answer.of(wire.NOTE)] == ["error", "error"]


def test_of_a_run_that_is_not_there_nothing_is_told(new_host: Host) -> None:
    answer = new_host.call(wire.JOBS_POLL, [new_host.job()], run=new_host.run._replace(suite="other"))
    assert answer.jobs == []
    assert answer.hello.run_state == "absent"


def test_a_poll_restarts_slots_that_were_killed(host: Host) -> None:
    items = [host.job("sleep 0.3", task=f"t{n}") for n in range(4)]
    host.submit(*items, max_active=1)
    host.wait_started(items[0])
    kill_slots(host)
    await_that(lambda: host.poll(*items) and all(map(host.exit_of, items[1:])))
    assert host.exit_of(items[0]) == ""  # it ran to its end, and nobody was there to see it
    assert host.poll(items[0])[0].process == wire.P_GONE


def test_a_job_that_has_ended_and_whose_slot_has_yet_to_say_so_is_alive(new_host: Host) -> None:
    item = new_host.job("until [ -e $JOBMGR_SUITE_DIR/go ]; do sleep 0.02; done")
    new_host.submit(item)
    new_host.wait_started(item)
    (slot,) = new_host.slots()
    with Spool(str(new_host.home), os.uname()[1], proc.instance()).kill_lock():
        os.kill(slot, signal.SIGSTOP)
        (new_host.run_dir / "go").touch()
        shell = int(new_host.facts(item)[status.PID])
        await_that(lambda: proc.look(shell).state in proc.DEAD_STATES)  # type: ignore[union-attr]
        (one,) = new_host.poll(item)
        assert (one.process, status.EXIT in one.file.facts) == (wire.P_ALIVE, False)
    new_host.poll(item)
    new_host.wait_exit(item)
    assert new_host.exit_of(item) == "SUCCEEDED"


def kill_slots(host: Host) -> None:
    for pid in host.slots():
        os.kill(pid, signal.SIGKILL)
    await_that(lambda: not host.slots())


# --- waiting -----------------------------------------------------------------------------------------


def test_a_wait_answers_as_soon_as_the_job_has_ended(host: Host) -> None:
    item = host.job("until [ -e $JOBMGR_SUITE_DIR/go ]; do sleep 0.02; done")
    other = host.job("sleep 1000", task="other")
    host.submit(item, other, max_active=2)
    host.wait_started(item, other)
    seen = [dict(one, seen_size=(host.log_dir(one) / "job.status").stat().st_size) for one in (item, other)]
    process = host.start(wire.JOBS_POLL)
    assert process.stdin
    assert process.stdout
    process.stdin.write(host.request(wire.JOBS_POLL, seen, wait=300))
    process.stdin.flush()
    first = process.stdout.readline()
    assert b"hello" in first
    (host.run_dir / "go").touch()
    out = process.stdout.read()
    process.stdin.close()
    process.stdout.close()
    assert process.stderr
    process.stderr.close()
    process.wait(20)
    (one,) = Answer(wire.JOBS_POLL, 0, first + out, b"").jobs
    assert one.job == item["job"]
    assert one.file.facts[status.EXIT] == "SUCCEEDED"


def test_a_wait_notices_a_process_that_died_without_a_word_and_does_not_say_so_twice(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    item["seen_size"] = (new_host.log_dir(item) / "job.status").stat().st_size
    kill_slots(new_host)
    os.kill(int(new_host.facts(item)[status.PID]), signal.SIGKILL)
    (one,) = new_host.poll(item, wait=60)
    assert one.process == wire.P_GONE
    assert new_host.poll(dict(item, seen_process=wire.P_GONE), wait=1.2) == []


def test_a_wait_ends_when_the_caller_goes(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    item["seen_size"] = (new_host.log_dir(item) / "job.status").stat().st_size
    before = time.monotonic()
    answer = new_host.call(wire.JOBS_POLL, [item], wait=300)  # stdin is closed behind the request
    assert answer.ended
    assert answer.jobs == []
    assert time.monotonic() - before < 60


def test_a_wait_that_is_over_without_news_is_empty(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    item["seen_size"] = (new_host.log_dir(item) / "job.status").stat().st_size
    assert new_host.poll(item, wait=1.5) == []


def test_a_wait_tells_all_that_differs_from_what_was_seen(new_host: Host) -> None:
    items = [new_host.job(task=f"t{n}") for n in range(3)]
    new_host.submit(*items)
    new_host.wait_exit(*items)
    assert len(new_host.poll(*items, wait=60)) == 3


# --- streams ----------------------------------------------------------------------------------------------


@contextmanager
def streaming(host: Host, *items: dict[str, Any], **options: Any) -> Iterator[Iterator[wire.Evidence]]:
    """The answers of a jobs-poll that goes on telling, each as it comes; the caller goes at the end."""
    process = host.start(wire.JOBS_POLL)
    assert process.stdin
    assert process.stdout
    reader = wire.ReplyReader(wire.JOBS_POLL)

    def told() -> Iterator[wire.Evidence]:
        for line in process.stdout or ():
            yield from (value for kind, value in reader.feed(line) if kind == wire.JOB)  # type: ignore[misc]

    with process:
        process.stdin.write(host.request(wire.JOBS_POLL, items, wait=300, stream=True, **options))
        process.stdin.flush()
        answers = told()
        yield answers
        process.stdin.close()
        assert list(answers) == []
        assert reader.ended
        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 0


def append(host: Host, item: dict[str, Any], text: str) -> None:
    with open(host.log_dir(item) / "job.status", "a") as file:
        file.write(text)


def running(host: Host, task: str, pid: int) -> dict[str, Any]:
    """A job that runs as that process, as its caller has seen it."""
    item = host.job(task=task)
    process = proc.look(pid)
    assert process
    lay(host, item, attempt(pid, process.start, *HERE))
    return dict(item, seen_size=(host.log_dir(item) / "job.status").stat().st_size)


def test_a_stream_tells_each_change_once_and_ends_with_the_last_job(new_host: Host) -> None:
    one, other = (running(new_host, task, os.getpid()) for task in ("one", "other"))
    with streaming(new_host, one, other) as told:
        append(new_host, one, "JOBMGR_EXIT=SUCCEEDED\n")
        first = next(told)
        assert (first.job, first.file.facts[status.EXIT]) == (one["job"], "SUCCEEDED")
        append(new_host, other, status.message(TIME, "INFO", "half way"))
        second = next(told)
        assert (second.job, [text for _, _, text in second.file.messages]) == (other["job"], ["half way"])
        append(new_host, other, "JOBMGR_EXIT=FAILED/3\n")
        third = next(told)
        assert (third.job, third.file.facts[status.EXIT]) == (other["job"], "FAILED/3")
        assert third.file.messages == ()
        assert list(told) == []


def test_in_a_stream_a_job_that_waits_is_no_news_and_one_that_dies_is(new_host: Host) -> None:
    waiting = new_host.job(task="waiting")
    lay(new_host, waiting)
    queue = Spool(str(new_host.home), HERE[1], HERE[0])
    assert queue.enqueue([Queued(str(new_host.run_dir), waiting["job"], waiting["token"], "", "")]) == {}
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        item = running(new_host, "dies", sleeper.pid)
        with streaming(new_host, waiting, item, tend=False) as told:
            sleeper.kill()
            one = next(told)
            assert (one.job, one.process) == (item["job"], wire.P_GONE)


def test_in_a_stream_what_is_new_at_its_beginning_is_told_at_once(new_host: Host) -> None:
    item, other = running(new_host, "t", os.getpid()), running(new_host, "other", os.getpid())
    append(new_host, item, "JOBMGR_EXIT=SUCCEEDED\n")
    missing = new_host.job(task="missing", seen_size=300)
    with streaming(new_host, item, other, missing) as told:
        assert {next(told).job, next(told).job} == {item["job"], missing["job"]}


def watch_of(host: Host, *items: dict[str, Any]) -> jobs_poll.Watch:
    here = session.Host(host.run, None)
    here.home, here.run_dir = str(host.home), str(host.run_dir)
    looker = evidence.Looker(here, Spool(str(host.home), *reversed(HERE)))
    return jobs_poll.Watch(looker, list(items), here, {"tend": False}, None)


def test_what_grew_between_a_look_and_its_answer_is_not_told_a_second_time(new_host: Host) -> None:
    item = running(new_host, "t", os.getpid())
    watch = watch_of(new_host, item)
    assert watch._look(slow=True) == set()
    append(new_host, item, status.message(TIME, "INFO", "news"))
    watch.jobs[0].told(watch.looker.first_look(item))
    assert watch._look(slow=False) == set()
    append(new_host, item, status.message(TIME, "INFO", "more"))
    assert watch._look(slow=False) == {0}


def test_a_status_file_that_vanishes_is_a_change(new_host: Host) -> None:
    item = running(new_host, "t", os.getpid())
    watch = watch_of(new_host, item)
    assert watch._look(slow=True) == set()
    (new_host.log_dir(item) / "job.status").unlink()
    assert watch._look(slow=False) == {0}
    assert watch._look(slow=True) == {0}


def test_an_ended_job_that_the_caller_has_seen_is_no_change(new_host: Host) -> None:
    item = running(new_host, "t", os.getpid())
    append(new_host, item, "JOBMGR_EXIT=SUCCEEDED\n")
    item["seen_size"] = (new_host.log_dir(item) / "job.status").stat().st_size
    watch = watch_of(new_host, item)
    for _ in range(2):
        assert watch._look(slow=True) == set()


@pytest.mark.parametrize("runner", ["slurm", "background"])
def test_a_file_with_more_than_the_header_is_looked_into_even_in_a_stream(
    new_host: Host, runner: str
) -> None:
    item = new_host.job(runner=runner)
    lay(new_host, item, status.message(TIME, "INFO", "hello"))
    watch = watch_of(new_host, item)
    watch._header_is_seen = True
    assert watch._look(slow=True) == {0}


def test_a_token_that_cannot_be_revoked_is_noted_and_the_job_is_told(new_host: Host) -> None:
    (new_host.run_dir / layout.TOKENS).write_text("in the way")
    item = new_host.job(revoke=True)
    answer = new_host.call(wire.JOBS_POLL, [item])
    (note,) = answer.of(wire.NOTE)
    assert (note.level, note.code) == ("warning", "revoke")
    assert note.text.startswith(item["job"])
    assert "Not a directory" in note.text
    assert [one.claim for one in answer.jobs] == [wire.C_NONE]


# --- queues, and the decisions about them ---------------------------------------------------------------


def seen(token: str = "", submit_time: int = 0, state: str = wire.Q_ACTIVE) -> base.Seen:
    return base.Seen("101", state, "RUNNING", "", token, "", submit_time)


def evidence_of(token: str = "t", native_id: str = "101") -> wire.Evidence:
    file = wire.NO_FILE._replace(facts={status.SUBMIT_TIME: TIME})
    return wire.Evidence(
        "1/t/01", token, file, wire.NO_QUEUE, "", "", native_id, True, False, "none", wire.NO_FOUND, None
    )


NOON = 1795176000


@pytest.mark.parametrize(
    ("row", "ours"),
    [
        (seen(token="t"), True),
        (seen(token="u"), False),
        (seen(), True),
        (seen(submit_time=NOON + 5), True),
        (seen(submit_time=NOON - 86400), False),
        (seen(token="t", submit_time=NOON - 86400), True),
    ],
)
def test_a_recycled_number_is_another_job(row: base.Seen, ours: bool) -> None:
    assert evidence.seconds_of(TIME) == NOON
    queue = evidence.queue_evidence(evidence_of(), {"101": row}, {})
    assert (queue.state == wire.Q_ACTIVE) is ours
    assert ours or queue.state == wire.Q_OTHER_JOB


def test_a_queue_that_could_not_be_asked_says_nothing_about_a_job() -> None:
    queue = evidence.queue_evidence(evidence_of(), {}, {"101": "munge is down"})
    assert queue == wire.QueueEvidence(wire.Q_COULD_NOT_ASK, "", "", "munge is down")
    assert evidence.queue_evidence(evidence_of(), {}, {}).state == wire.Q_ABSENT


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (None, wire.FOUND_CANNOT),
        (base.Answer({"t": seen()}, "half an answer"), wire.FOUND_ID),
        (base.Answer({}, "down"), wire.FOUND_COULD_NOT_ASK),
        (base.Answer({}, ""), wire.FOUND_ABSENT),
    ],
)
def test_a_look_up_by_token(answer: base.Answer | None, state: str) -> None:
    assert evidence.found_evidence(answer, "t", False).state == state


def element(exit_text: str = "", number: int = 1) -> status.Status:
    text = status.header("t", "slurm", TIME) + attempt(number, "1", *HERE).replace(
        "12:00:00", f"12:00:0{number}"
    )
    return status.parse((text + (f"JOBMGR_EXIT={exit_text}\n" if exit_text else "")).encode())


@pytest.mark.parametrize(
    ("exits", "record"),
    [
        (["", ""], None),
        (["SUCCEEDED", ""], None),
        (["SUCCEEDED", "SUCCEEDED"], "SUCCEEDED"),
        (["SUCCEEDED", "FAILED/3"], "FAILED/3"),
    ],
)
def test_an_array_has_ended_with_its_last_element_and_when_the_queue_says_so(
    exits: list[str], record: str | None
) -> None:
    main = status.parse(status.header("t", "slurm", TIME).encode())
    merged = evidence.merge_elements(main, [element(text, number + 1) for number, text in enumerate(exits)])
    assert status.EXIT not in merged.facts
    assert merged.facts[status.START_TIME].startswith("2026-11-20T12:00:01")
    file = wire.NO_FILE._replace(facts=dict(merged.facts))
    assert evidence.with_element_exit(file).facts.get(status.EXIT) == record


@given(st.text(max_size=30))
def test_no_time_crashes(text: str) -> None:
    assert evidence.seconds_of(text) >= 0


SQUEUE = """#!/bin/sh
[ ! -e "$FAKE/down" ] || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
echo "JOBID|STATE|REASON|SUBMIT_TIME|COMMENT|NAME"
cat "$FAKE/queue" 2>/dev/null
echo asked >>"$FAKE/asked"
"""


@pytest.fixture
def cluster(new_host: Host, tmp_path: Path) -> Path:
    fake = tmp_path / "fake"
    fake.mkdir()
    for name, text in (("squeue", SQUEUE), ("sacct", "#!/bin/sh\nexit 1\n")):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    new_host.env.update(PATH=f"{fake}:{new_host.env['PATH']}", FAKE=str(fake))
    return fake


def test_a_queue_is_asked_once_for_all_of_its_jobs(new_host: Host, cluster: Path) -> None:
    items = [new_host.job(runner="slurm", native_id=str(100 + n), task=f"t{n}") for n in range(20)]
    rows = [f"{100 + n}|RUNNING|None|0|jobmgr:{items[n]['token']}|x\n" for n in range(19)]
    (cluster / "queue").write_text("".join(rows))
    found = new_host.poll(*items)
    assert [one.queue.state for one in found] == [wire.Q_ACTIVE] * 19 + [wire.Q_ABSENT]
    assert (cluster / "asked").read_text() == "asked\n"
    assert {one.process for one in found} == {wire.P_NOT_ASKED}


def test_a_queue_that_is_down_leaves_everything_open(new_host: Host, cluster: Path) -> None:
    (cluster / "down").touch()
    (one,) = new_host.poll(new_host.job(runner="slurm", native_id="100"))
    assert one.queue.state == wire.Q_COULD_NOT_ASK
    assert "contact" in one.queue.error


def test_a_job_found_by_its_token_is_adopted(new_host: Host, cluster: Path) -> None:
    item = new_host.job(runner="slurm", find=True)
    (cluster / "queue").write_text(f"777|PENDING|Priority|0|jobmgr:{item['token']}|x\n")
    (one,) = new_host.poll(item)
    assert (one.found.state, one.found.native_id) == (wire.FOUND_ID, "777")
    assert fence.read_native_id(str(new_host.run_dir), item["token"]) == "777"


def test_a_runner_that_nobody_knows_is_could_not_ask(new_host: Host) -> None:
    item = new_host.job(runner="nonesuch", native_id="1", find=True)
    (one,) = new_host.poll(item)
    assert one.queue.state == wire.Q_COULD_NOT_ASK
    assert one.found.state == wire.FOUND_COULD_NOT_ASK


def test_polling_a_thousand_running_jobs_starts_no_program(new_host: Host, tmp_path: Path) -> None:
    items = [new_host.job(task=f"t{n}") for n in range(1000)]
    me = proc.own()
    for item in items:
        lay(new_host, item, attempt(me.pid, me.start, *HERE))
    (tmp_path / "request").write_bytes(new_host.request(wire.JOBS_POLL, items))
    trace = tmp_path / "trace"
    argv = ["strace", "-f", "-e", "trace=execve", "-o", str(trace), PYTHONS[-1], "-I", "-S"]
    with open(tmp_path / "request", "rb") as stdin:
        done = subprocess.run(
            [*argv, str(Path(layout.__file__).parent), wire.JOBS_POLL],
            stdin=stdin,
            env=new_host.env,
            stdout=subprocess.PIPE,
            check=True,
        )
    assert {one.process for one in Answer(wire.JOBS_POLL, 0, done.stdout, b"").jobs} == {wire.P_ALIVE}
    assert trace.read_text().count("execve(") == 1


# --- what cannot be read ------------------------------------------------------------------------------------


def looker_of(host: Host) -> evidence.Looker:
    return watch_of(host).looker


def test_what_a_full_disk_sent_home_counts_only_if_it_is_whole_and_this_jobs(new_host: Host) -> None:
    item = running(new_host, "t", os.getpid())
    rescue = new_host.home / layout.HOST_RESCUE
    rescue.mkdir(parents=True)
    for text in ("torn", status.header("another", "background", TIME) + "JOBMGR_EXIT=SUCCEEDED\n"):
        (rescue / item["token"]).write_text(text)
        assert status.EXIT not in looker_of(new_host).file(item).facts
    (rescue / item["token"]).write_text(
        status.header(item["token"], "background", TIME) + "JOBMGR_EXIT=FAILED/3\n"
    )
    assert looker_of(new_host).file(item).facts[status.EXIT] == "FAILED/3"


def test_elements_of_a_job_array_are_read_beside_the_main_file(new_host: Host) -> None:
    item = new_host.job(runner="slurm")
    lay(new_host, item)
    for number in (1, 2):
        text = status.header(item["token"], "slurm", TIME) + attempt(number, "1", *HERE)
        lay(new_host, item, text + "JOBMGR_EXIT=SUCCEEDED\n", f"job.status.{number}", head=False)
    lay(new_host, item, "torn", "job.status.3", head=False)
    file = looker_of(new_host).file(item)
    assert file.state == wire.FILE_OK
    assert (file.attempts, status.EXIT in file.facts) == (1, False)


def test_a_status_file_without_a_token_is_unreadable(new_host: Host) -> None:
    item = new_host.job()
    lay(new_host, item, "JOBMGR_STATUS_VERSION=1\n", head=False)
    file = looker_of(new_host).file(item)
    assert (file.state, file.error) == (wire.FILE_UNREADABLE, "no token")


def test_the_size_of_what_is_not_there_is_nothing(new_host: Host) -> None:
    assert looker_of(new_host).status_size(new_host.job()) == 0


def test_a_job_that_breaks_the_look_at_it_breaks_no_other(
    new_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = running(new_host, "bad", os.getpid()), running(new_host, "good", os.getpid())
    first_look = evidence.Looker.first_look

    def broken(self: evidence.Looker, item: dict[str, Any]) -> wire.Evidence:
        if item["job"] == bad["job"]:
            raise RuntimeError("a bug")
        return first_look(self, item)

    monkeypatch.setattr(evidence.Looker, "first_look", broken)
    one, other = looker_of(new_host).look([bad, good], lambda: None)
    assert (one.file.state, one.file.error) == (wire.FILE_UNREADABLE, "RuntimeError: a bug")
    assert (one.process, one.fenced) == (wire.P_NOT_ASKED, True)  # nothing is concluded from it
    assert other.process == wire.P_ALIVE


def test_an_id_that_was_found_and_cannot_be_written_down_is_told_all_the_same(
    new_host: Host, cluster: Path
) -> None:
    item = new_host.job(runner="slurm", find=True)
    (cluster / "queue").write_text(f"777|PENDING|Priority|0|jobmgr:{item['token']}|x\n")
    (new_host.run_dir / layout.TOKENS).write_text("in the way")
    (one,) = new_host.poll(item)
    assert (one.found.state, one.found.native_id) == (wire.FOUND_ID, "777")


def test_a_job_that_ends_between_two_readings_is_read_again(
    new_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["true"]) as ended:
        item = running(new_host, "t", ended.pid)
    process = evidence.Looker.process
    asked = []

    def late(self: evidence.Looker, item: dict[str, Any], *rest: Any) -> str:
        if not asked:
            append(new_host, item, "JOBMGR_EXIT=SUCCEEDED\n")
        asked.append(item)
        return process(self, item, *rest)

    monkeypatch.setattr(evidence.Looker, "process", late)
    one = looker_of(new_host).first_look(item)
    assert one.file.facts[status.EXIT] == "SUCCEEDED"
    assert len(asked) == 2


def test_an_answer_waits_for_others_only_while_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = object.__new__(jobs_poll.Watch)
    watch.jobs, watch._slowest = [None] * 4, 0.0
    seen = iter([{0}, {0, 1}, {1, 2, 3}])  # one more look would be an error
    monkeypatch.setattr(watch, "_look", lambda slow: next(seen))
    monkeypatch.setattr(jobs_poll, "LINGER", 3600.0)
    monkeypatch.setattr(jobs_poll, "LINGER_PER_JOB", 900.0)
    changed = {0}
    watch._linger(changed)
    assert changed == {0, 1, 2, 3}
    watch._linger(changed)
    monkeypatch.setattr(jobs_poll, "LINGER", 0.0)
    changed = {0}
    watch._linger(changed)
    assert changed == {0}

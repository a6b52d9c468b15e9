"""The queue of background jobs and its slots: nothing is lost, nothing runs twice, never too many at once."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_side import PACKAGE, await_that, host_in
from jobmgr_remote import fence, layout, proc, spool, wire
from jobmgr_remote.runners import background
from jobmgr_remote.slot import Slot, load_prctl

BASH = shutil.which("bash") or ""

# A stand-in for the wrapper: it claims the token and says that it ran.
JOB = """\
run=${0%/log/job/*}
claim=$run/.service/jobs/$JOBMGR_TOKEN/claim
set -C
{ echo "$$ $$ START x host" >"$claim"; } 2>/dev/null || exit 0
echo "$JOBMGR_TOKEN" >>"$run/ran"
"""


class Bench:
    """A spool with jobs whose wrapper is JOB."""

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.spool = spool.Spool(str(folder), "host", proc.instance())
        self.spool.make()
        self.tokens: list[str] = []

    def queue(self, count: int = 1, text: str = JOB) -> list[str]:
        jobs = []
        for _ in range(count):
            token = str(uuid.uuid4())
            job = f"1/t/{len(self.tokens) + 1:02d}"
            folder = self.run_dir / layout.job_dir(job)
            folder.mkdir(parents=True)
            (folder / "job").write_text(text)
            (self.run_dir / layout.token_dir(token)).mkdir(parents=True)
            self.tokens.append(token)
            jobs.append(spool.Queued(str(self.run_dir), job, token, "", ""))
        assert self.spool.enqueue(jobs) == {}
        return [job.token for job in jobs]

    def tend(self, bash: str = BASH) -> int:
        return self.spool.tend(bash, 20.0)

    def ran(self) -> list[str]:
        try:
            return (self.run_dir / "ran").read_text().split()
        except FileNotFoundError:
            return []

    def live(self) -> list[spool.Slot]:
        with self.spool.lock(20.0):  # a slot that is being started registers while it still holds the lock
            pass
        return [slot for slot in self.spool.live_slots() if not slot.ending]

    def until_empty(self) -> None:
        await_that(lambda: not self.spool.live_slots() and self.tend() == 0 and not self.spool.live_slots())

    def end(self) -> None:
        for slot in self.live():
            os.kill(slot.pid, signal.SIGKILL)
        await_that(lambda: not self.live())
        for name in os.listdir("/proc"):
            if name.isdigit() and proc.variable(proc.environment(int(name)), "JOBMGR_TOKEN") in self.tokens:
                with suppress(ProcessLookupError):
                    os.kill(int(name), signal.SIGKILL)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.end()


def take(bench: Bench, token: str, pid: int, start: str) -> Path:
    name = bench.spool.content().by_token[token]
    path = Path(bench.spool.taken) / name
    path.write_text(f"{pid} {start}\n")
    return path


def test_jobs_run_once_in_the_order_of_their_submission(bench: Bench) -> None:
    bench.spool.set_max_active(1)
    tokens = bench.queue(20)
    assert bench.tend() == 1
    bench.until_empty()
    assert bench.ran() == tokens


def test_nothing_is_left_when_all_is_done(bench: Bench) -> None:
    bench.queue(150)
    bench.tend()
    bench.until_empty()
    await_that(lambda: bench.tend() == 0 and not os.listdir(bench.spool.slots))
    assert os.listdir(bench.spool.queue) == os.listdir(bench.spool.taken) == []


def test_no_more_slots_than_allowed_and_none_without_work(bench: Bench) -> None:
    bench.spool.set_max_active(3)
    bench.queue(2, "sleep 1000\n")
    assert bench.tend() == 2
    bench.queue(5, "sleep 1000\n")
    assert bench.tend() == 1
    assert bench.tend() == 0
    assert [slot.number for slot in bench.live()] == [1, 2, 3]


def test_a_slot_has_a_session_and_a_clean_environment_of_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBMGR_TOKEN", "of-the-job-that-called")
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/where/python/finds/its/own")
    text = 'env >"${0%/log/job/*}/env"; until [ -e "${0%/log/job/*}/go" ]; do sleep 0.02; done\n'
    bench.queue(1, text)
    bench.tend()
    (slot,) = bench.live()
    found = proc.look(slot.pid)
    assert found
    assert found.pid == found.sid
    assert os.readlink(f"/proc/{slot.pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{slot.pid}/fd/{n}") for n in range(3)} == {"/dev/null"}
    environ = proc.environment(slot.pid)
    assert proc.variable(environ, "LD_LIBRARY_PATH") == "/where/python/finds/its/own"
    assert proc.variable(environ, "JOBMGR_SERVICE") == "slot"
    assert b"SECRET" not in (environ or b"")
    (bench.run_dir / "go").touch()
    bench.until_empty()
    names = {row.partition("=")[0] for row in (bench.run_dir / "env").read_text().splitlines()}
    names.discard("COVERAGE_PROCESS_CONFIG")  # a measurement puts it into everything that is started
    assert names <= {*spool.KEPT_VARIABLES, "JOBMGR_TOKEN", "SHLVL", "_", "PWD", "OLDPWD"}


def test_a_job_is_in_a_process_group_of_its_own_so_kill_0_spares_its_slot(bench: Bench) -> None:
    bench.spool.set_max_active(1)
    bench.queue(1, "trap '' TERM; kill 0\n")
    tokens = bench.queue(1)
    bench.tend()
    bench.until_empty()
    assert bench.ran() == tokens


def test_a_job_that_is_stopped_keeps_its_slot_busy(bench: Bench) -> None:
    bench.spool.set_max_active(1)
    bench.queue(1, 'echo $$ >"${0%/log/job/*}/pid"; kill -STOP $$; echo went-on >>"${0%/log/job/*}/ran"\n')
    tokens = bench.queue(1)
    bench.tend()
    await_that(lambda: (bench.run_dir / "pid").exists() and (bench.run_dir / "pid").read_text())
    pid = int((bench.run_dir / "pid").read_text())
    await_that(lambda: proc.look(pid).state == "T")  # type: ignore[union-attr]
    assert bench.ran() == []
    os.kill(pid, signal.SIGCONT)
    bench.until_empty()
    assert bench.ran() == ["went-on", *tokens]


def test_what_a_dead_slot_had_taken_and_not_started_runs(bench: Bench) -> None:
    (token,) = bench.queue(1)
    take(bench, token, 1, "12345")
    assert bench.tend() == 1
    bench.until_empty()
    assert bench.ran() == [token]


def test_what_a_dead_slot_has_started_does_not_run_again_and_counts_while_it_lives(bench: Bench) -> None:
    bench.spool.set_max_active(1)
    (token,) = bench.queue(1)
    path = take(bench, token, 1, "12345")
    sleeper = subprocess.Popen(["sleep", "1000"])
    try:
        found = proc.look(sleeper.pid)
        assert found
        claim = Path(fence.token_file(str(bench.run_dir), token, layout.CLAIM))
        claim.write_text(f"{found.pid} {found.pid} {found.start} {proc.instance()} host\n")
        (other,) = bench.queue(1)
        assert bench.tend() == 0
    finally:
        sleeper.kill()
        sleeper.wait()
    assert bench.tend() == 1
    bench.until_empty()
    assert bench.ran() == [other]
    assert not path.exists()


def test_an_entry_taken_by_nobody_in_particular_is_put_back_after_a_while(bench: Bench) -> None:
    (token,) = bench.queue(1)
    path = take(bench, token, 1, "1")
    path.write_text("")
    assert bench.tend() == 0
    os.utime(path, (1, 1))
    assert bench.tend() == 1
    bench.until_empty()
    assert bench.ran() == [token]


def test_what_is_revoked_while_it_waits_never_runs(bench: Bench) -> None:
    tokens = bench.queue(3)
    assert fence.revoke(str(bench.run_dir), tokens[1])
    bench.tend()
    bench.until_empty()
    assert sorted(bench.ran()) == sorted([tokens[0], tokens[2]])


def test_withdrawn_entries_leave_the_queue_unless_somebody_has_them(bench: Bench) -> None:
    tokens = bench.queue(2)
    take(bench, tokens[0], os.getpid(), "1")
    bench.spool.withdraw([*tokens, str(uuid.uuid4())])
    assert set(bench.spool.content().by_token) == {tokens[0]}


def test_a_slot_that_has_closed_its_door_is_replaced_and_one_that_has_not_is_woken(bench: Bench) -> None:
    me = proc.own()
    Path(bench.spool.slots, "1").write_text(f"{me.pid} {me.start}\n")
    bench.spool.set_max_active(1)
    bench.queue(1)
    assert bench.tend() == 0
    mark = Path(bench.spool.slots, f"1.{me.pid}.last")
    assert mark.read_text() == "more\n"
    mark.write_text("")
    assert bench.tend() == 1
    bench.until_empty()
    assert len(bench.ran()) == 1


def test_fewer_jobs_at_once_takes_effect_when_the_present_ones_end(bench: Bench) -> None:
    start_waiting(bench, 4)
    bench.queue(6, WAITING)
    bench.spool.set_max_active(2)
    bench.tend()
    retire = [name for name in os.listdir(bench.spool.slots) if name.endswith(".retire")]
    assert sorted(name.partition(".")[0] for name in retire) == ["3", "4"]
    (bench.run_dir / "go").touch()
    bench.until_empty()
    assert sorted(bench.ran()) == sorted(bench.tokens)


WAITING = 'echo $$ >>"${0%/log/job/*}/pids"; until [ -e "${0%/log/job/*}/go" ]; do sleep 0.02; done\n' + JOB


def start_waiting(bench: Bench, count: int) -> list[str]:
    """Jobs that all run and end once there is a file ``go``."""
    bench.spool.set_max_active(count)
    tokens = bench.queue(count, WAITING)
    pids = bench.run_dir / "pids"
    bench.tend()
    await_that(lambda: pids.exists() and pids.read_text().count("\n") == count)
    bench.live()  # all are registered, and what has started them has let go of the lock
    return tokens


def retiring(bench: Bench) -> int:
    return sum(name.endswith(".retire") for name in os.listdir(bench.spool.slots))


def test_the_slots_of_jobs_that_are_killed_end_with_them_as_far_as_nothing_waits(bench: Bench) -> None:
    tokens = start_waiting(bench, 4)
    more = bench.queue(1, WAITING)
    bench.spool.release([tokens[0], tokens[1], tokens[3], more[0], str(uuid.uuid4())])
    assert retiring(bench) == 2
    (bench.run_dir / "go").touch()
    await_that(lambda: sorted(bench.ran()) == sorted(bench.tokens))
    bench.until_empty()
    assert sorted(bench.ran()) == sorted(bench.tokens)
    assert os.listdir(bench.spool.slots) == os.listdir(bench.spool.queue) == os.listdir(bench.spool.taken) == []


def test_a_slot_lets_go_of_each_job_as_it_ends(bench: Bench) -> None:
    bench.queue(1)
    tokens = start_waiting(bench, 1)
    assert set(bench.spool.content().by_token) == set(tokens)
    (slot,) = bench.live()
    keeper = bench.spool.keeper()
    assert keeper.slot(tokens[0]) == slot
    assert keeper.holds(tokens[0])
    assert keeper.slot(bench.tokens[0]) is None
    assert not keeper.holds(bench.tokens[0])
    (bench.run_dir / "go").touch()
    keeper.await_records(tokens, 60.0)
    assert not keeper.holds(tokens[0])


def test_a_slot_that_was_to_end_with_its_job_takes_what_has_come_since(bench: Bench) -> None:
    first = start_waiting(bench, 1)
    bench.spool.release(first)
    assert retiring(bench) == 1
    second = bench.queue(1)
    assert bench.tend() == 0
    assert retiring(bench) == 0
    (bench.run_dir / "go").touch()
    await_that(lambda: bench.ran() == [*first, *second])


def test_a_slot_that_is_to_end_and_hears_of_work_looks_again_whether_it_is_to_end(bench: Bench) -> None:
    first = start_waiting(bench, 1)
    bench.spool.release(first)
    (slot,) = bench.live()
    bench.queue(1)
    assert bench.spool._poke(slot)  # and nobody has taken back that it is to end
    (bench.run_dir / "go").touch()
    await_that(lambda: not bench.spool.live_slots())
    assert bench.ran() == first
    assert bench.tend() == 1
    bench.until_empty()
    assert sorted(bench.ran()) == sorted(bench.tokens)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_released_meanwhile_all_jobs_run_and_nobody_has_to_tend(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    bench.spool.set_max_active(chance.choice([1, 2, 3, 8]))
    releases = []
    for _ in range(chance.randint(3, 12)):
        bench.queue(chance.randint(1, 6), JOB + f"read -r -t 0.0{chance.randint(1, 30):02d} <> <(:)\n")
        bench.tend()
        time.sleep(0.03 * chance.random())  # in whatever state they are by then
        some = chance.sample(bench.tokens, min(len(bench.tokens), 8))
        claimed = [token for token in some if fence.read_claim(str(bench.run_dir), token).state != wire.C_NONE]
        releases.append(threading.Thread(target=bench.spool.release, args=[claimed]))
        releases[-1].start()
    for release in releases:
        release.join()
    await_that(lambda: not bench.live())
    assert sorted(bench.ran()) == sorted(bench.tokens)


def test_nothing_is_released_while_somebody_else_tends(bench: Bench) -> None:
    tokens = start_waiting(bench, 1)
    with bench.spool.lock(1.0):
        bench.spool.release(tokens)
    assert retiring(bench) == 0
    assert set(bench.spool.content().by_token) == set(tokens)


def test_two_who_tend_at_once_start_no_slot_too_many(bench: Bench) -> None:
    bench.queue(8, "sleep 1000\n")
    bench.spool.set_max_active(2)
    code = (
        f"import sys; sys.path[0]={str(PACKAGE.parent)!r}\n"
        "from jobmgr_remote import spool, proc\n"
        f"one = spool.Spool({str(bench.run_dir.parent)!r}, 'host', proc.instance())\n"
        f"print(one.tend({BASH!r}, 30.0))\n"
    )
    many = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(6)]
    started = sum(int(process.communicate()[0]) for process in many)
    assert started == 2
    assert len(bench.live()) == 2


def test_spools_of_lives_long_ago_are_removed(bench: Bench) -> None:
    old = Path(bench.spool.host_folder, "old-boot.1.2", "slots")
    young = Path(bench.spool.host_folder, "young-boot.1.2", "slots")
    old.mkdir(parents=True)
    young.mkdir(parents=True)
    os.utime(old, (1, 1))
    bench.spool.remove_old_instances()
    assert not old.parent.exists()
    assert young.exists()
    assert bench.spool.exists()


def slot_alone(bench: Bench, told: str = "") -> int:
    """The life of a slot with nothing to begin with, which finds ``told`` in its ``.last``; its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            slot = Slot(bench.spool, 1, BASH)
            slot.register()
            if told:
                Path(bench.spool.slots, f"1.{os.getpid()}.last").write_text(told)
            slot.work()
        finally:
            os._exit(0)
    await_that(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    return pid


def test_a_full_disk_ends_a_slot_instead_of_turning_it_in_circles(bench: Bench) -> None:
    bench.queue(1, "true\n")
    shutil.rmtree(bench.spool.taken)
    Path(bench.spool.taken).touch()  # nothing can be taken
    try:
        slot_alone(bench)
    finally:
        os.unlink(bench.spool.taken)
        os.mkdir(bench.spool.taken)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(["submit", "kill slot", "tend", "limit"]), min_size=3, max_size=12), st.randoms()
)
def test_whatever_dies_every_job_runs_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], chance: random.Random
) -> None:
    bench = Bench(tmp_path_factory.mktemp("spool"))
    try:
        for step in steps:
            if step == "submit":
                bench.queue(chance.randint(1, 15))
                bench.tend()
            elif step == "tend":
                bench.tend()
            elif step == "limit":
                bench.spool.set_max_active(chance.randint(1, 4))
            else:
                slots = bench.spool.live_slots()
                if slots:
                    os.kill(chance.choice(slots).pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(bench.ran()) < len(bench.tokens) and time.monotonic() < deadline:
            bench.tend()
            time.sleep(0.01)
        assert sorted(bench.ran()) == sorted(bench.tokens)
        bench.until_empty()
        assert sorted(bench.ran()) == sorted(bench.tokens)
        assert bench.spool.content().entries == {}
    finally:
        bench.end()


def test_a_thousand_jobs_at_four_at_once(tmp_path: Path) -> None:
    with host_in(tmp_path / "home") as host:
        items = [host.job(f"echo {n}", task=f"t{n}") for n in range(1000)]
        assert {one.result for one in host.submit(*items, max_active=4)} == {wire.R_SUBMITTED}
        host.wait_exit(*items)
        found = host.poll(*items)
        assert {one.file.facts["EXIT"] for one in found} == {"SUCCEEDED"}
        assert most_at_once([one.file.facts for one in found]) <= 4
        assert [(host.log_dir(item) / "job.out").read_text() for item in items] == [
            f"{n}\n" for n in range(1000)
        ]
        await_that(lambda: not host.slots())


def most_at_once(facts: list[dict[str, str]]) -> int:
    """How many jobs ran at the same time, by what they wrote down themselves."""
    marks = [(one["EXIT_TIME"], -1) for one in facts] + [(one["START_TIME"], 1) for one in facts]
    most = running = 0
    for _, step in sorted(marks):
        running += step
        most = max(most, running)
    return most


def test_a_slot_that_was_told_to_look_once_more_does_so_before_it_closes_its_door(bench: Bench) -> None:
    pid = slot_alone(bench, "more\n")
    assert Path(bench.spool.slots, f"1.{pid}.last").read_text() == ""


def refuse(number: int) -> Callable[..., None]:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


def test_a_job_that_cannot_be_queued_is_told_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = spool.Queued(str(bench.run_dir), "1/t/01", str(uuid.uuid4()), "", "")
    with monkeypatch.context() as patch:
        patch.setattr(spool, "write_all", refuse(errno.ENOSPC))
        failed = bench.spool.enqueue([job])
    assert [(token, error.errno) for token, error in failed.items()] == [(job.token, errno.ENOSPC)]
    assert os.listdir(bench.spool.queue) == []


def test_an_entry_that_was_taken_and_is_no_longer_queued_counts_as_taken(bench: Bench) -> None:
    (token,) = bench.queue()
    name = bench.spool.content().by_token[token]
    Path(bench.spool.taken, name).write_text("1 1\n")
    os.unlink(f"{bench.spool.queue}/{name}")
    assert bench.spool.content().entries == {name: "1 1"}


def test_rows_about_what_jobs_left_that_make_no_sense_are_left_out(bench: Bench) -> None:
    slot = spool.Slot(1, 77, "5", False, False)
    Path(bench.spool.slots, "1.77.orphans").write_text("12 34 56 78 tok\ntorn 1\nx 1 2 3 tok\n")
    assert bench.spool.orphans([slot]) == [spool.Left(12, "34", 56, 78, "tok")]


def test_who_finds_the_spool_locked_leaves_it_to_the_other(bench: Bench) -> None:
    bench.queue()
    with bench.spool.lock(1.0):
        assert bench.spool.tend(BASH, 0.0) == 0
    assert bench.spool.live_slots() == []


def test_a_slot_is_woken_where_there_are_no_hard_links(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    mark = Path(bench.spool.slots, "1.77.last")
    slot = spool.Slot(1, 77, "5", False, False)
    assert bench.spool._poke(slot)
    assert mark.read_text() == "more\n"
    assert bench.spool._poke(slot)
    mark.write_text("")
    assert not bench.spool._poke(slot)
    assert [name for name in os.listdir(bench.spool.folder) if "poke" in name] == []


def test_a_slot_that_was_to_retire_stays_when_there_is_room_again(bench: Bench) -> None:
    slots = [spool.Slot(number, 70 + number, "5", False, False) for number in (1, 2)]
    mark = Path(bench.spool.slots, "2.72.retire")
    bench.spool._mark_surplus(slots, 0, 1)
    assert mark.exists()
    bench.spool._mark_surplus(slots, 0, 2)
    assert not mark.exists()


def test_a_slot_works_without_being_a_subreaper(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError("no C library to be had")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert load_prctl() is None


def test_children_that_somebody_else_has_waited_for_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr(spool, "_children", [gone.pid])
    spool._reap()
    assert spool._children == []


def test_the_age_of_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert spool._age(str(tmp_path / "gone")) == 0.0


def test_slots_come_out_of_an_archive_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert spool.slot_command()[1:] == ["-I", "-S", str(PACKAGE), "slot"]
    archive = tmp_path / "archive.pyz"
    archive.touch()
    monkeypatch.setattr(spool, "__file__", f"{archive}/jobmgr_remote/spool.py")
    assert spool.slot_command()[1:] == ["-I", "-S", str(archive), "slot"]


def test_a_program_that_does_not_become_a_slot_leaves_its_job_to_the_next_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (token,) = bench.queue()
    with monkeypatch.context() as patch:
        patch.setattr(spool, "slot_command", lambda: ["/no/such/program"])
        assert bench.tend() == 1
    await_that(lambda: bench.tend() == 1)
    bench.until_empty()
    assert bench.ran() == [token]


def test_a_spool_that_cannot_be_tended_stops_no_call(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.queue()
    monkeypatch.setattr(background, "spool_of", lambda _: bench.spool)
    os.mkdir(bench.spool.folder + "/max_active")
    assert background.tend(None, {"max_active": 3}) is bench.spool
    assert bench.spool.live_slots() == []
    os.rmdir(bench.spool.folder + "/max_active")

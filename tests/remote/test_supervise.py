"""A slot and its job: how it starts, what signals do, and what is recorded of its end."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_side import PACKAGE, await_that
from jobmgr_remote import fence, jobfile, layout, proc, spool, status, supervise, wire
from jobs_on_disk import DiskJob, alive, until, with_token
from needs import need, need_root

# Looks after one job as a slot would, in a process of its own, and says what came of it.
DRIVER = """\
import json, os, signal, sys
sys.path[0] = sys.argv[1]
settings, run_dir, job, token, login, by = json.loads(sys.argv[2])
from jobmgr_remote import jobfile, proc, slot, spool, supervise
for name, value in settings.items():
    setattr(jobfile if hasattr(jobfile, name) else supervise, name, value)
signal.pthread_sigmask(signal.SIG_BLOCK, supervise.WAITED)
slot.load_prctl()(slot.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
os.umask(0o077)
one = supervise.Supervision("/bin/bash", spool.Queued(run_dir, job, token, login, by), proc.own(), [],
                            spool.job_environment())
print(json.dumps([one.run(), one.told]))
"""


def as_slots_run_it(job: DiskJob) -> None:
    """The job's file as jobs-submit writes it for a slot."""
    if job.file.exists():
        job.file.write_text(jobfile.start_beside(job.text))


class Slot:
    """What looks after a job."""

    def __init__(
        self, job: DiskJob, login: str = "", by: str = spool.BY_SLOT, home: Path | None = None, **settings: Any
    ) -> None:
        words = json.dumps([settings, str(job.run_dir), job.job, job.token, login, by])
        job.work_dir.mkdir(parents=True, exist_ok=True)
        if by:
            as_slots_run_it(job)
        self.job = job
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(PACKAGE.parent), words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/", start_new_session=True,
            env={**os.environ, "HOME": str(home or job.run_dir), "JOBMGR_SERVICE": "slot"},
        )  # fmt: skip

    def result(self) -> tuple[bool, str]:
        """(all was recorded, the signal by which it was told to end)."""
        out, _ = self.process.communicate(timeout=60)
        recorded, told = json.loads(out)
        return recorded, told

    def tell(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]
        for pid in with_token(self.job.token):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def slots() -> Iterator[list[Slot]]:
    made: list[Slot] = []
    yield made
    for one in made:
        one.end()


def run(slots: list[Slot], job: DiskJob, **how: Any) -> str:
    """The exit record of a job that a slot looks after, from start to end."""
    slots.append(Slot(job, **how))
    assert slots[-1].result() == (True, "")
    return str(job.exit)


def started(slots: list[Slot], job: DiskJob, **how: Any) -> Slot:
    """A slot whose job has made the file ``up``."""
    slots.append(Slot(job, **how))
    until(lambda: (job.work_dir / "up").exists())
    return slots[-1]


def assert_usual(words: list[str]) -> None:
    """Of ``SigBlk: MASK SigIgn: MASK``: no signal of 1 to 31 is blocked or ignored."""
    assert [int(mask, 16) & 0x7FFFFFFF for mask in words[1::2]] == [0, 0]


# --- the record --------------------------------------------------------------------------------------


def test_the_record_is_the_one_that_a_wrapper_writes(slots: list[Slot], tmp_path: Path) -> None:
    ours = DiskJob(tmp_path / "run", "echo out; echo err >&2")
    assert run(slots, ours) == "SUCCEEDED"
    assert (ours.out, ours.err) == ("out\n", "err\n")
    theirs = DiskJob(tmp_path / "run", "true", job="1/u/01")
    theirs.run()
    facts = ours.status.facts
    assert list(facts) == list(theirs.status.facts)
    assert facts["HOSTNAME"] == "nowhere"  # of the host that submitted: a slot is never elsewhere
    assert facts["NATIVE_ID"] == facts["PID"]
    for name in ("START_TIME", "EXIT_TIME"):
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts[name])
    assert facts["START_TIME"] <= facts["EXIT_TIME"]
    claim = fence.read_claim(str(ours.run_dir), ours.token)
    assert (claim.state, claim.pid, claim.start) == (wire.C_STARTED, int(facts["PID"]), facts["START_IDENTITY"])


@pytest.mark.parametrize(
    "script, record",
    [
        ("exit 3", "FAILED/3"),
        ("false | true; echo not reached", "FAILED/1"),
        ("return 5", "FAILED/5"),
        ("exec bash -c 'exit 7'", "FAILED/7"),
        ("bash -c 'kill -9 $$'", "FAILED/137"),
        ("kill -9 $$", "SIGNAL/KILL"),
        ("exec bash -c 'kill -TERM $$'", "SIGNAL/TERM"),
        ("kill -40 $$; sleep 1000", "SIGNAL/RTMIN+6"),
        ("trap 'exit 4' TERM; kill $$", "FAILED/4"),
        ("trap 'echo mine' EXIT", "SUCCEEDED"),
    ],
)
def test_how_a_script_ends_is_recorded(slots: list[Slot], tmp_path: Path, script: str, record: str) -> None:
    assert run(slots, DiskJob(tmp_path / "run", script)) == record


def test_the_shell_of_a_script_is_its_own(slots: list[Slot], tmp_path: Path) -> None:
    """``$$`` is the process that the record names, leads its group, and has default signals and no stdin."""
    script = "echo $$ $BASHPID $PPID; ps -o pgid= -p $$; trap; cat; grep -E 'Sig(Blk|Ign)' /proc/self/status"
    job = DiskJob(tmp_path / "run", script)
    assert run(slots, job) == "SUCCEEDED"
    mine, same, parent, group, *signals = job.out.split()
    assert mine == same == group == job.status.facts["PID"]
    assert parent == str(slots[0].process.pid)
    assert_usual(signals)


def test_what_a_job_finds_in_its_environment(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "env")
    run(slots, job)
    found = dict(row.partition("=")[::2] for row in job.out.splitlines())
    assert found["JOBMGR_ATTEMPT"] == "1"
    assert found["JOBMGR_HOSTNAME"] == "nowhere"
    assert not {"JOBMGR_SLOT", "JOBMGR_SERVICE", "LC_CTYPE"} & found.keys()


def test_all_scripts_of_a_job_run_in_order(slots: list[Slot], tmp_path: Path) -> None:
    keys = {name: f"echo {name}" for name in ("platform_init_script", "init_script", "pre_script", "post_script")}
    job = DiskJob(tmp_path / "run", "echo script $A", environment=[["A", "b"]], **keys)
    assert run(slots, job) == "SUCCEEDED"
    assert job.out.split("\n")[:5] == ["platform_init_script", "init_script", "pre_script", "script b", "post_script"]


def test_a_job_with_more_to_do_runs_under_the_wrapper(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "sleep 1000", time_limit=0.3, err_script="echo $JOBMGR_EXIT")
    assert run(slots, job, by="") == "ABORTED/time limit 0.3s"
    assert job.out == "ABORTED/time limit 0.3s\n"
    assert job.status_file.read_text().count("JOBMGR_EXIT=") == 1


def test_a_work_directory_that_cannot_be_used_is_the_wrappers_to_tell(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "true", work_dir="work/file/below")
    slot = Slot.__new__(Slot)
    job.work_dir.parent.parent.mkdir(parents=True)
    job.work_dir.parent.write_text("in the way")
    job.work_dir = tmp_path
    Slot.__init__(slot, job)
    slots.append(slot)
    assert slot.result() == (True, "")
    assert job.exit == "ABORTED/cannot use the work directory"


def test_the_environment_of_the_login_shell_comes_first(slots: list[Slot], tmp_path: Path) -> None:
    login = tmp_path / "login.sh"
    login.write_text("export A='from login' PATH=\"$PATH\"\n")
    job = DiskJob(tmp_path / "run", 'echo "$A"; exit 3')
    assert run(slots, job, login=str(login)) == "FAILED/3"
    assert job.out == "from login\n"
    assert job.status.facts["PID"] == fence.read_claim(str(job.run_dir), job.token).native_id


# --- who may start --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["revoked\n", "", "77 1 2 3 4\n"])
def test_of_a_claimed_token_nothing_is_written(slots: list[Slot], tmp_path: Path, content: str) -> None:
    job = DiskJob(tmp_path / "run", "echo ran")
    (job.token_dir / layout.CLAIM).write_text(content)
    before = job.status_file.read_bytes()
    slots.append(Slot(job))
    assert slots[0].result() == (True, "")
    assert (job.out, job.status_file.read_bytes()) == ("", before)


def test_a_killed_job_never_starts(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "echo ran")
    fence.write_kill_mark(str(job.run_dir), job.token, "t")
    slots.append(Slot(job))
    assert slots[0].result() == (True, "")
    assert job.out == ""
    assert not (job.token_dir / layout.CLAIM).exists()


def test_a_job_without_a_file_or_a_folder_is_passed_over(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "echo ran")
    job.file.unlink()
    slots.append(Slot(job))
    assert slots[0].result() == (True, "")
    job.file.touch()
    (job.folder / "job.out").mkdir()
    slots.append(Slot(job))
    assert slots[1].result() == (True, "")
    assert not (job.token_dir / layout.CLAIM).exists()


def test_a_job_file_that_no_slot_has_started_runs_under_the_wrapper(tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "echo $BASHPID $$")
    as_slots_run_it(job)
    assert job.run({"JOBMGR_SLOT": "1 2026-11-20T12:00:00Z"}) == 0
    shell, wrapper = job.out.split()
    assert shell != wrapper == job.status.facts["PID"]
    assert job.exit == "SUCCEEDED"


# --- signals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "XCPU", "PWR"])
def test_a_slot_that_is_told_to_end_ends_its_job_first(slots: list[Slot], tmp_path: Path, name: str) -> None:
    job = DiskJob(tmp_path / "run", "setsid sleep 1000 & touch up; sleep 1000")
    slot = started(slots, job)
    slot.tell(getattr(signal, f"SIG{name}"))
    assert slot.result() == (True, name)
    assert job.exit == f"SIGNAL/{name}"
    assert with_token(job.token) == []


def test_what_ignores_term_is_killed_after_the_grace(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "trap '' TERM; touch up; while :; do sleep 1; done")
    slot = started(slots, job, GRACE=0.3)
    slot.tell(signal.SIGTERM)
    assert slot.result() == (True, "TERM")
    assert job.exit == "SIGNAL/TERM"
    assert with_token(job.token) == []


def test_what_a_shell_that_died_has_left_is_ended_whatever_it_is(slots: list[Slot], tmp_path: Path) -> None:
    script = "(setsid env -i sleep 1000 & echo $! > left); setsid sleep 1000 & touch up; kill -9 $$"
    job = DiskJob(tmp_path / "run", script)
    assert run(slots, job, GRACE=0.3) == "SIGNAL/KILL"
    assert with_token(job.token) == []
    assert not alive(int((job.work_dir / "left").read_text()))


def test_what_a_job_that_came_to_its_end_has_left_stays(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "setsid sleep 1000 > /dev/null & echo $! > left")
    assert run(slots, job) == "SUCCEEDED"
    assert alive(int((job.work_dir / "left").read_text()))


def test_word_of_a_kill_counts_only_with_the_mark_of_that_job(slots: list[Slot], tmp_path: Path) -> None:
    marked, other = (DiskJob(tmp_path / "run", "touch up; sleep 1000", job=f"1/t{n}/01") for n in (1, 2))
    fence.write_kill_mark(str(tmp_path / "run"), "x", "t")
    for job in (marked, other):
        slot = started(slots, job)
        if job is marked:
            fence.write_kill_mark(str(job.run_dir), job.token, "t")
        slot.tell(spool.TELL)
        (pid,) = (int(job.status.facts["PID"]),)
        os.kill(pid, signal.SIGUSR1)
        assert slot.result() == (True, "")
    assert (marked.exit, other.exit) == ("SIGNAL/TERM", "SIGNAL/USR1")


def test_a_signal_behind_the_end_of_a_job_ends_the_slot_and_changes_no_record(tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "true")
    entry = spool.Queued(str(job.run_dir), job.job, job.token, "", spool.BY_SLOT)
    one = supervise.Supervision("/bin/bash", entry, proc.own(), [], spool.job_environment())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, supervise.WAITED)
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        one._look_at_signals()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert one.told == "TERM"
    assert one._judge(0) == "SUCCEEDED"


# --- full disks -----------------------------------------------------------------------------------------


def on_a_full_device(job: DiskJob) -> DiskJob:
    """Only what is written to the status file fails."""
    job.status_file.unlink()
    job.status_file.symlink_to("/dev/full")
    return job


def test_a_full_disk_ends_in_the_rescue_folder(slots: list[Slot], tmp_path: Path) -> None:
    job = on_a_full_device(DiskJob(tmp_path / "run", "echo said; exit 3"))
    slots.append(Slot(job, home=tmp_path, RETRY=0))
    assert slots[0].result() == (True, "")
    rescued = status.parse((tmp_path / ".jobmgr/rescue" / job.token).read_bytes())
    assert rescued.facts["EXIT"] == "FAILED/3"
    assert rescued.facts["TOKEN"] == job.token
    assert rescued.facts["PID"] == fence.read_claim(str(job.run_dir), job.token).native_id
    assert rescued.facts["START_TIME"]
    assert "SUBMIT_TIME" not in rescued.facts
    assert job.out == "said\n"
    assert job.err == f"jobmgr: cannot write {job.status_file}, trying again for 0 s\n"
    assert os.listdir(tmp_path / ".jobmgr/rescue") == [job.token]


@pytest.mark.parametrize("number", [signal.SIGTERM, spool.TELL])
def test_a_slot_that_is_told_to_end_does_not_go_on_trying(
    slots: list[Slot], tmp_path: Path, number: int
) -> None:
    job = on_a_full_device(DiskJob(tmp_path / "run", "true"))
    slots.append(Slot(job, home=tmp_path))
    until(lambda: (job.folder / "job.err").exists() and "trying again" in job.err)
    slots[0].tell(number)
    assert slots[0].result() == (True, "TERM" if number == signal.SIGTERM else "")
    assert status.parse((tmp_path / ".jobmgr/rescue" / job.token).read_bytes()).facts["EXIT"] == "SUCCEEDED"


def test_a_slot_whose_job_cannot_be_recorded_anywhere_says_so(slots: list[Slot], tmp_path: Path) -> None:
    job = on_a_full_device(DiskJob(tmp_path / "run", "true"))
    (tmp_path / ".jobmgr").touch()
    slots.append(Slot(job, home=tmp_path, RETRY=0))
    assert slots[0].result() == (False, "")


def test_a_status_file_that_can_be_written_again_is_written(slots: list[Slot], tmp_path: Path) -> None:
    need_root()
    job = DiskJob(tmp_path / "run", "touch up; until [ -e go ]; do sleep 0.02; done; setsid sleep 0.3 & exit 0")
    slot = started(slots, job, PAUSE=0.2)
    frozen = subprocess.run(["chattr", "+i", job.status_file], stderr=subprocess.DEVNULL)
    need(frozen.returncode == 0, "chattr +i does not work here")
    try:
        (job.work_dir / "go").touch()
        until(lambda: "trying again" in job.err)
    finally:
        subprocess.run(["chattr", "-i", job.status_file], check=True)
    assert slot.result() == (True, "")
    assert job.exit == "SUCCEEDED"
    assert job.status.attempts == 1


def test_a_torn_line_swallows_nothing(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", 'printf JOBMGR_MESSAGE=torn >> "$JOBMGR_LOG_DIR/job.status"')
    assert run(slots, job) == "SUCCEEDED"
    assert job.status.facts["ELAPSED"]
    assert job.status.messages == ()


def test_a_write_that_is_cut_short_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    assert not supervise.append(str(tmp_path / "file"), b"whole line\n")
    monkeypatch.undo()
    assert supervise.append(str(tmp_path / "file"), b"whole line\n")
    assert not supervise.append(str(tmp_path / "no/file"), b"x")


# --- start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True], ids=["posix_spawn", "fork"])
def test_a_program_is_started_with_its_own_group_and_default_signals(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: bool
) -> None:
    if old:
        monkeypatch.delattr(os, "posix_spawn")
    script = "ps -o pgid= -p $$; echo $$; grep -E 'Sig(Blk|Ign)' /proc/self/status; echo $A >&2"
    out, err = str(tmp_path / "out"), str(tmp_path / "err")
    pid = supervise.spawn("/bin/bash", ["bash", "-c", script], {"A": "b", "PATH": os.environ["PATH"]}, out, err)
    assert os.waitpid(pid, 0)[1] == 0
    group, itself, *signals = Path(out).read_text().split()
    assert group == itself == str(pid)
    assert_usual(signals)
    assert Path(err).read_text() == "b\n"


@pytest.mark.parametrize("old", [False, True], ids=["posix_spawn", "fork"])
def test_what_cannot_be_started_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: bool) -> None:
    if old:
        monkeypatch.delattr(os, "posix_spawn")
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        supervise.spawn("/bin/bash", ["bash", "-c", ":"], {}, str(tmp_path / "no/out"), str(tmp_path / "err"))


def test_a_killed_slot_leaves_a_job_that_goes_on(slots: list[Slot], tmp_path: Path) -> None:
    job = DiskJob(tmp_path / "run", "touch up; until [ -e go ]; do sleep 0.02; done; touch gone-on")
    slot = started(slots, job)
    slot.process.kill()
    slot.process.wait()
    pid = int(job.status.facts["PID"])
    assert proc.is_job_process(pid, job.status.facts["START_IDENTITY"], job.token)
    (job.work_dir / "go").touch()
    await_that(lambda: not alive(pid))
    assert (job.work_dir / "gone-on").exists()
    assert job.exit is None

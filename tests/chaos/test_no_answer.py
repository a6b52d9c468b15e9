"""No answer is not bad news, and neither is a strange one: states stay, or become right, and others are spared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.injections import LINES
from chaos.world import HOST, SCRIPT, STRIDE, Fault, World, submitted, world
from jobmgr import Session, Suite, Task
from jobmgr.api.run import Run
from jobmgr_remote import wire
from shells import eventually


@pytest.fixture
def made() -> Iterator[World]:
    with world() as one:
        yield one


@pytest.fixture
def session(made: World) -> Iterator[Session]:
    with made.session() as one:
        yield one


def waiting(made: World, session: Session, tasks: int = 2) -> tuple[Run, Path]:
    """A run whose jobs run until the gate opens."""
    gate = made.host.home / "gate"
    task = Task(script=f"{SCRIPT}; until [ -e {gate} ]; do sleep 0.05; done", platform=HOST)
    suite = Suite(name="s", tasks={f"t{number}": task for number in range(tasks)})
    run = submitted(made, session, suite, made.new_name())
    eventually(lambda: sum(made.ran(run.name).values()) == tasks)
    run.poll()
    assert set(states(run).values()) == {"running"}
    return run, gate


def states(run: Run) -> dict[str, str]:
    return {row.id: row.state.value for row in run.rows()}


def look(made: World, run: Run, times: int = 3) -> None:
    """Some ticks, further apart than every grace time."""
    for _ in range(times):
        made.offset += STRIDE
        run.tick()


def told(run: Run, doubt: str, rule: str) -> None:
    """What ``why`` says of 1/t0: the doubt in its last line of history, the rule, and when the next look is."""
    why = run.why("1/t0")
    (shown,) = [line.text for line in why.lines if line.source == "poll"][-1:]
    assert shown == (f"running; {doubt}" if doubt else "submitted -> running")
    assert rule in why.rule
    assert why.next.startswith("next poll due ")


def end(made: World, run: Run, gate: Path) -> None:
    gate.touch()
    made.settle(run)
    made.held_to_be_right(run)


@pytest.mark.parametrize("what", ["run root", "run directory"])
def test_a_directory_that_is_away_for_a_while_changes_no_state(made: World, session: Session, what: str) -> None:
    run, gate = waiting(made, session)
    place = made.host.home / "jobmgr-run"
    place = place / run.name if what == "run directory" else place
    place.rename(f"{place}.away")
    look(made, run)
    assert set(states(run).values()) == {"running"}
    assert all(row.doubt for row in run.rows())
    mounted = " (not mounted?)" if what == "run root" else ""
    told(run, f"the run directory is missing on the host{mounted}", "That says nothing about jobs.")
    Path(f"{place}.away").rename(place)
    end(made, run, gate)


def test_a_stale_copy_of_a_status_file_takes_nothing_back(made: World, session: Session) -> None:
    run, gate = waiting(made, session)
    file = made.host.home / "jobmgr-run" / run.name / "log/job/1/t0/01/job.status"
    now = file.read_bytes()
    file.write_bytes(b"".join(now.splitlines(keepends=True)[:4]))
    look(made, run)
    assert set(states(run).values()) == {"running"}
    told(run, "its status file is older than one seen before", "Queue and process decide.")
    file.write_bytes(now)
    end(made, run, gate)


UNREADABLE = "its status file cannot be read: no version line"
SPOILT = [
    (b"garbage\n", UNREADABLE),
    (b"\0" * 4096, UNREADABLE),
    (b"", UNREADABLE),
    (None, "its status file is missing"),
    ("another", "its directory on the host belongs to another job"),
]


@pytest.mark.parametrize("content, doubt", SPOILT)
def test_one_spoilt_record_among_many_is_that_jobs_affair(
    made: World, session: Session, content: bytes | str | None, doubt: str
) -> None:
    run, gate = waiting(made, session)
    logs = made.host.home / "jobmgr-run" / run.name / "log/job/1"
    file = logs / "t0/01/job.status"
    now = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes((logs / "t1/01/job.status").read_bytes() if content == "another" else bytes(content))
    look(made, run)
    assert set(states(run).values()) == {"running"}  # its process says so
    assert {row.task for row in run.rows() if row.doubt} <= {"t0"}
    told(run, doubt, "says nothing about this one." if content == "another" else "Queue and process decide.")
    assert not run.why("1/t1").job.doubt
    file.write_bytes(now)
    end(made, run, gate)


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_jumps_changes_no_state(made: World, session: Session, hours: int) -> None:
    run, gate = waiting(made, session)
    look(made, run, 1)
    made.host_offset = hours * 3600.0
    look(made, run)
    assert set(states(run).values()) == {"running"}
    told(run, "", "queue or process agree.")
    end(made, run, gate)


def test_a_reply_that_ends_at_any_line_changes_no_state(made: World, session: Session) -> None:
    run, gate = waiting(made, session)
    for lines in range(LINES):
        made.arm(Fault(wire.JOBS_POLL, reply_lines=lines))
        look(made, run, 1)
        assert set(states(run).values()) == {"running"}, lines
        if lines < 2:
            told(run, "unreachable (wizard: connection reset)", "No answer changes nothing.")
    made.arm()
    end(made, run, gate)


def test_a_host_that_is_away_for_hours_changes_no_state(made: World, session: Session) -> None:
    run, gate = waiting(made, session)
    made.down = True
    look(made, run, 12)
    assert set(states(run).values()) == {"running"}
    assert all(row.doubt for row in run.rows())
    told(run, "unreachable (wizard: no route to host)", "No answer changes nothing.")
    made.down = False
    end(made, run, gate)


def test_a_run_directory_that_is_deleted_under_its_jobs_is_told_and_spares_other_runs(
    made: World, session: Session
) -> None:
    other = submitted(made, session, made.suite(), made.new_name())
    made.settle(other)
    run, _ = waiting(made, session)
    shutil.rmtree(made.host.home / "jobmgr-run" / run.name)
    look(made, run)
    assert set(states(run).values()) == {"running"}
    assert all(row.doubt for row in run.rows())
    told(run, "the run directory is missing on the host", "That says nothing about jobs.")
    assert made.host.processes()
    assert {result.result for result in run.kill()} == {wire.K_KILLED}
    assert set(states(run).values()) == {"killed"}
    eventually(lambda: not made.host.processes())
    assert not (made.host.home / "jobmgr-run" / run.name).exists()
    run.clean()
    made.held_to_be_right(other)


@pytest.mark.parametrize("fault", [Fault(wire.JOBS_KILL, refused=True), Fault(wire.JOBS_KILL, request_lines=0),
                                   Fault(wire.JOBS_KILL, reply_lines=0)],
                         ids=["not connected", "request lost", "reply lost"])  # fmt: skip
def test_a_kill_that_got_no_answer_is_made_good_by_ticks(made: World, session: Session, fault: Fault) -> None:
    run, gate = waiting(made, session)
    made.arm(fault)
    (result,) = run.kill(["1/t0"])
    assert result.result == "no-answer"
    assert "followed up" in result.text
    for _ in range(4):
        made.offset += STRIDE
        run.tick()
    assert states(run) == {"1/t0/01": "killed", "1/t1/01": "running"}
    assert run.why("1/t0").lines
    gate.touch()
    made.settle(run)
    assert states(run) == {"1/t0/01": "killed", "1/t1/01": "succeeded"}

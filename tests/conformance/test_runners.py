"""One suite for every runner, with its real system, through the host side's own commands over ssh.

A new runner adds a System and one parameter. What a real system will not do on command is in
tests/unit/runners.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from jobmgr_remote import layout, wire
from jobmgr_remote.runners import base
from lab.atd import AtHost
from lab.client import LabRun
from lab.fixtures import at_host, grid_engine, slurm_accounting, slurm_cluster
from lab.gridengine import GridEngine
from lab.hosts import wait_until
from lab.slurm import SlurmCluster

__all__ = ["at_host", "grid_engine", "slurm_accounting", "slurm_cluster"]

_NUMBERS = itertools.count(10_000)
GONE = (wire.Q_ABSENT, wire.Q_ENDED)


class System(NamedTuple):
    """What the suite has to know of a real system beside its runner."""

    runner: str
    daemon: Any
    #: Directives with which a job stays in the queue; None: the daemon is stopped for that.
    held: list[list[Any]] | None
    #: Directives with which a running job may be started again, and what does it.
    rerunnable: list[list[Any]] | None
    requeue: Callable[[LabRun, str], None] | None
    #: Whether the queue says that it could not be asked while its daemon is stopped.
    needs_daemon: bool
    #: Seconds of the shortest time limit.
    time_limit: float
    #: Words of the evidence about a job that ran into it.
    over_limit: tuple[str, ...]


def _requeue(run: LabRun, native_id: str) -> None:
    run.machine.run(["scontrol", "requeue", native_id])
    state = ["squeue", "-h", "-o", "%T", "-j", native_id]
    wait_until(
        lambda: run.machine.run(state, check=False).stdout.strip() == "PENDING", "the job is queued again"
    )
    # It is not eligible for two minutes, unless told otherwise; within a second Slurm stumbles over itself.
    run.machine.run(["scontrol", "update", f"jobid={native_id}", "StartTime=now+2"])


def _reschedule(run: LabRun, native_id: str) -> None:
    run.machine.run(["qmod", "-rj", native_id])


def _slurm(cluster: SlurmCluster) -> System:
    return System(
        "slurm", cluster, [["--hold", None]], [["--requeue", None]], _requeue, True, 1, ("TIMEOUT", "TERM")
    )


def _grid_engine(grid: GridEngine) -> System:
    return System(
        "sge",
        grid,
        [["-h", None]],
        [["-r", "y"]],
        _reschedule,
        True,
        3,
        ("failed", "KILL", "h_rt"),
    )


def _at(host: AtHost) -> System:
    return System("at", host, None, None, None, False, 2, ("time limit",))


@pytest.fixture(
    params=[
        pytest.param(("slurm_cluster", _slurm), id="slurm", marks=pytest.mark.xdist_group("slurm")),
        pytest.param(
            ("slurm_accounting", _slurm), id="slurm+accounting", marks=pytest.mark.xdist_group("accounting")
        ),
        pytest.param(("grid_engine", _grid_engine), id="sge", marks=pytest.mark.xdist_group("sge")),
        pytest.param(("at_host", _at), id="at", marks=pytest.mark.xdist_group("at")),
    ]
)
def system(request: pytest.FixtureRequest) -> System:
    name, make = request.param
    return make(request.getfixturevalue(name))


@pytest.fixture
def run(system: System) -> LabRun:
    return LabRun(system.daemon.head, system.runner)


@pytest.fixture
def module(system: System) -> ModuleType:
    return importlib.import_module(f"jobmgr_remote.runners.{system.runner}")


pytestmark = [pytest.mark.privileged, pytest.mark.timeout(300)]


def submitted(run: LabRun, script: str, **more: Any) -> dict[str, Any]:
    """Submit one job; the item as later polls and kills want it."""
    item = run.job(script, **more)
    answer = run.submit(item)[0]
    assert answer.result == wire.R_SUBMITTED, answer
    assert answer.native_id
    return {**item, "native_id": answer.native_id}


def unique_sleep() -> str:
    """The argument of a sleep that no other test has."""
    return f"{next(_NUMBERS)}.5"


def sleeps(system: System, argument: str) -> bool:
    """Whether that sleep runs on a node."""
    argv = ["pgrep", "-f", f"^sleep {argument}$"]
    return any(node.run(argv, user=None, check=False).returncode == 0 for node in system.daemon.nodes)


def test_job_succeeds(run: LabRun) -> None:
    item = submitted(run, 'echo "hello $JOBMGR_TASK"; echo oops >&2')
    assert run.await_exit(item) == "SUCCEEDED"
    seen = run.await_queue(
        item, lambda one: one.queue.state in (*GONE, wire.Q_NOT_ASKED), "the queue lets it go"
    )
    assert seen.claim == wire.C_STARTED
    assert seen.file.attempts == 1
    wait_until((run.log_dir(item) / "job.out").exists, "the output is there")
    assert (run.log_dir(item) / "job.out").read_text() == "hello t\n"
    assert "oops" in (run.log_dir(item) / "job.err").read_text()


def test_job_fails_with_its_code(run: LabRun) -> None:
    item = submitted(run, "exit 3")
    assert run.await_exit(item) == "FAILED/3"
    seen = run.await_queue(item, lambda one: one.queue.state in GONE, "the queue lets it go")
    assert seen.file.facts["EXIT"] == "FAILED/3"


def test_running_job_is_active_and_known_as_ours(run: LabRun) -> None:
    argument = unique_sleep()
    item = submitted(run, f"sleep {argument}")
    run.await_start(item)
    assert run.look(item).queue.state == wire.Q_ACTIVE
    assert run.look({**item, "find": True}).found.native_id == item["native_id"]
    assert run.kill(item)[0].result == wire.K_KILLED


def held(run: LabRun, system: System) -> dict[str, Any]:
    return submitted(run, "echo started", directives=system.held or [])


def test_queued_job_is_waiting_and_can_be_killed(run: LabRun, system: System) -> None:
    if system.held is None:
        with system.daemon.queue_stopped():
            _kill_queued(run, held(run, system))
    else:
        _kill_queued(run, held(run, system))


def _kill_queued(run: LabRun, item: dict[str, Any]) -> None:
    assert run.look(item).queue.state == wire.Q_WAITING
    killed = run.kill(item)[0]
    assert killed.result == wire.K_KILLED, killed
    seen = run.await_queue(item, lambda one: one.queue.state in GONE, "the queue lets it go")
    assert seen.claim == wire.C_REVOKED
    assert "START_TIME" not in seen.file.facts


def test_running_job_is_killed_with_all_its_processes(run: LabRun, system: System) -> None:
    argument = unique_sleep()
    item = submitted(run, f"(sleep {argument} & sleep {argument}) & wait")
    wait_until(lambda: sleeps(system, argument), "the job runs")
    killed = run.kill(item)[0]
    assert killed.result == wire.K_KILLED, killed
    wait_until(lambda: not sleeps(system, argument), "its processes are gone")
    seen = run.await_queue(item, lambda one: one.queue.state in GONE, "the queue lets it go")
    assert seen.killed
    assert not seen.file.facts.get("EXIT", "").startswith("SUCCEEDED")


def test_job_that_has_ended_is_not_killed_again(run: LabRun) -> None:
    item = submitted(run, "true")
    run.await_exit(item)
    assert run.kill(item)[0].result == wire.K_FINISHED


@pytest.mark.slow
def test_time_limit_is_the_reason(run: LabRun, system: System) -> None:
    argument = unique_sleep()
    item = submitted(run, f"sleep {argument}", time_limit=system.time_limit)
    run.await_start(item)
    if isinstance(system.daemon, SlurmCluster):  # which counts in minutes
        system.daemon.time_is_over(item["native_id"])
    wait_until(lambda: not sleeps(system, argument), "the job is ended", 200)
    seen = run.await_queue(item, lambda one: one.queue.state in GONE, "the queue lets it go")
    said = " ".join([seen.queue.raw, seen.queue.reason, seen.file.facts.get("EXIT", "")])
    assert any(word in said for word in system.over_limit), said


def test_unknown_id_is_absent_beside_a_known_one_and_alone(
    run: LabRun, system: System, module: ModuleType
) -> None:
    def ask(*ids: str) -> tuple[dict[str, base.Seen], dict[str, str]]:
        def carry_out(call: base.Call) -> tuple[int, str, str]:
            environment = [f"{name}={value}" for name, value in call.env]
            done = run.machine.run(["env", *environment, *call.argv], check=False)
            return done.returncode, done.stdout, done.stderr

        return base.ask(module, list(ids), carry_out)

    argument = unique_sleep()
    item = submitted(run, f"sleep {argument}")
    seen, errors = ask("999998", item["native_id"], "999999")
    assert set(seen) == {item["native_id"]}
    assert errors == {}
    assert ask("999999") == ({}, {})
    run.kill(item)


def test_queue_daemon_stopped_in_between(run: LabRun, system: System) -> None:
    flag = run.run_dir / "go"
    item = submitted(run, f"until test -e {home(run)}/{run.run.suite}/go; do sleep 0.1; done")
    run.await_start(item)
    with system.daemon.queue_stopped():
        seen = run.look(item)
        expected = wire.Q_COULD_NOT_ASK if system.needs_daemon else wire.Q_ACTIVE
        assert seen.queue.state == expected
        assert bool(seen.queue.error) == system.needs_daemon
        assert seen.file.state == wire.FILE_OK
        flag.touch()
        assert run.await_exit(item) == "SUCCEEDED"
    run.await_queue(item, lambda one: one.file.facts.get("EXIT") == "SUCCEEDED", "a poll says so")


def home(run: LabRun) -> str:
    return "$HOME/jobmgr-run"


def test_submit_while_the_queue_daemon_is_stopped_is_never_lost(run: LabRun, system: System) -> None:
    item = run.job("echo once")
    with system.daemon.queue_stopped():
        answer = run.submit(item)[0]
        if system.needs_daemon:
            assert answer.result == wire.R_UNKNOWN
            assert run.look({**item, "find": True}).found.state == wire.FOUND_COULD_NOT_ASK
    if not system.needs_daemon:
        assert run.await_exit(item) == "SUCCEEDED"
        return
    seen = run.await_queue({**item, "find": True}, lambda one: not one.found.error, "the queue answers")
    assert seen.found.state == wire.FOUND_ABSENT
    assert run.look({**item, "revoke": True}).claim == wire.C_REVOKED


def test_same_request_twice_is_one_job(run: LabRun) -> None:
    item = run.job(f"echo once >>{home(run)}/{run.run.suite}/runs")
    first, second = run.submit(item)[0], run.submit(item)[0]
    assert first.result == wire.R_SUBMITTED
    assert second.result == wire.R_ALREADY
    assert first.native_id == second.native_id
    run.await_exit(item)
    assert (run.run_dir / "runs").read_text() == "once\n"


def test_second_copy_in_the_queue_never_runs(run: LabRun, module: ModuleType) -> None:
    item = submitted(run, f"echo once >>{home(run)}/{run.run.suite}/runs")
    folder = f"/home/ada/jobmgr-run/{run.run.suite}/{layout.job_dir(item['job'])}"
    run.await_exit(item)
    call = module.submit_call({**item, "suite": "s"}, f"{folder}/job", f"{folder}/o2", f"{folder}/e2")
    text = (run.log_dir(item) / "job").read_text() if call.stdin_path else ""
    done = run.machine.run(call.argv, input=text)
    copy = module.parse_submit(done.returncode, done.stdout, done.stderr).native_id
    assert copy

    def gone() -> bool:
        call = module.poll_calls([copy])[0]
        environment = [f"{name}={value}" for name, value in call.env]
        done = run.machine.run(["env", *environment, *call.argv], check=False)
        answer = module.parse_poll(call, [copy], done.returncode, done.stdout, done.stderr)
        return not answer.error and (copy not in answer.seen or answer.seen[copy].state == "ended")

    wait_until(gone, "the copy has left the queue")
    assert (run.run_dir / "runs").read_text() == "once\n"
    assert run.exit_of(item) == "SUCCEEDED"
    assert run.look(item).file.attempts == 1


def test_requeued_job_runs_again(run: LabRun, system: System) -> None:
    if system.requeue is None:
        pytest.skip(f"{system.runner} never starts a job a second time")
    folder = f"{home(run)}/{run.run.suite}"
    item = submitted(
        run,
        f"echo again; test -e {folder}/second || {{ touch {folder}/first; sleep 600; }}",
        directives=system.rerunnable or [],
    )
    wait_until((run.run_dir / "first").exists, "the first attempt has looked")
    (run.run_dir / "second").touch()
    system.requeue(run, item["native_id"])
    wait_until(lambda: run.exit_of(item) == "SUCCEEDED", "it has run again", 120)
    seen = run.look(item)
    assert seen.file.attempts == 2
    assert seen.file.facts["EXIT"] == "SUCCEEDED"
    if system.runner == "slurm":
        assert (run.log_dir(item) / "job.out").read_text() == "again\nagain\n"


@pytest.mark.slow
def test_two_hundred_jobs_at_once(run: LabRun) -> None:
    items = [run.job("true", task=f"t{number}") for number in range(200)]
    answers = run.submit(*items)
    assert [answer.result for answer in answers] == [wire.R_SUBMITTED] * 200
    assert len({answer.native_id for answer in answers}) == 200
    wait_until(lambda: all(run.exit_of(item) for item in items), "all have ended", 200)
    assert {run.exit_of(item) for item in items} == {"SUCCEEDED"}
    assert {one.file.facts["EXIT"] for one in run.poll(*items)} == {"SUCCEEDED"}


def test_queue_limit_lets_the_rest_wait(run: LabRun, system: System) -> None:
    if not (isinstance(system.daemon, GridEngine) or getattr(system.daemon, "accounting", False)):
        pytest.skip("this system has no limit per user")
    none = -1 if system.runner == "slurm" else 0
    wait_until(lambda: not queued(run, system), "the queue is empty")
    system.daemon.limit_submits(2)
    try:
        items = [run.job("echo x", task=f"t{number}", directives=system.held) for number in range(4)]
        results = [answer.result for answer in run.submit(*items)]
        assert sorted(results) == [wire.R_LIMIT] * 2 + [wire.R_SUBMITTED] * 2
        refused = [item for item, result in zip(items, results, strict=True) if result == wire.R_LIMIT]
    finally:
        system.daemon.limit_submits(none)
    assert {answer.result for answer in run.submit(*refused)} == {wire.R_SUBMITTED}
    assert {answer.result for answer in run.kill(*items)} == {wire.K_KILLED}


@pytest.mark.xdist_group("slurm")
def test_slurm_that_has_as_many_jobs_as_it_may_lets_the_rest_wait(slurm_cluster: SlurmCluster) -> None:
    """sbatch would sleep for two minutes, and then say that it could not."""
    run = LabRun(slurm_cluster.head, "slurm")
    wait_until(lambda: not run.machine.run(["squeue", "-h", "-t", "all"]).stdout.strip(), "no job is left")
    items = [run.job("true", task=f"t{number}", directives=[["--hold", None]]) for number in range(2)]
    with slurm_cluster.room_for(2):  # which is one job: Slurm keeps a place free
        assert [answer.result for answer in run.submit(items[0])] == [wire.R_SUBMITTED]
        (refused,) = run.submit(items[1])
        assert (refused.result, refused.native_id) == (wire.R_LIMIT, "")
        assert "sleeping and retrying" in refused.text
    assert run.submit(items[1])[0].result == wire.R_SUBMITTED
    listed = run.machine.run(["squeue", "-h", "-o", "%i"]).stdout.split()
    assert len(listed) == 2
    assert {answer.result for answer in run.kill(*items)} == {wire.K_KILLED}


def queued(run: LabRun, system: System) -> bool:
    argv = ["squeue", "-h"] if system.runner == "slurm" else ["qstat"]
    return bool(run.machine.run(argv).stdout.strip())


@pytest.mark.xdist_group("sge")
def test_a_job_under_a_number_used_before_is_another_job(grid_engine: GridEngine) -> None:
    """It is neither taken for ours nor killed, though it was submitted at about the same time."""
    run = LabRun(grid_engine.head, "sge")
    run.machine.run(["qsub", "-b", "y", "true"])  # number 1 cannot be used again
    item = submitted(run, "true", directives=[["-h", None]])
    number = item["native_id"]
    run.machine.run(["qdel", number])
    run.await_queue(item, lambda one: one.queue.state in GONE, "it has left the queue")
    grid_engine.use_again(int(number))
    other = run.machine.run(["qsub", "-terse", "-h", "-b", "y", "sleep", "1000"]).stdout.strip()
    assert other == number
    try:
        assert run.look(item).queue.state == wire.Q_OTHER_JOB
        run.kill(item)
        assert number in run.machine.run(["qstat"]).stdout
    finally:
        run.machine.run(["qdel", number])


@pytest.mark.slow
@pytest.mark.xdist_group("sge")
def test_reboot_of_a_node_is_not_success(grid_engine: GridEngine) -> None:
    """Grid Engine writes ``exit_status 0`` for a job whose node went down; beside it stands why."""
    run = LabRun(grid_engine.head, "sge")
    item = submitted(run, f"sleep {unique_sleep()}")
    run.await_start(item)
    grid_engine.head.reboot()
    seen = run.await_queue(item, lambda one: one.queue.state == wire.Q_ENDED, "the accounting has it", 150)
    assert seen.queue.raw == "failed"
    assert "EXIT" not in seen.file.facts

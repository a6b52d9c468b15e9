"""A sample of what ``make chaos`` does in full: whatever cuts a submit, each job runs exactly once."""

from __future__ import annotations

import time

import pytest

from chaos.batch import BatchHost
from chaos.injections import FAMILIES, OF_ANY_HOST, Tally, sweep, table
from chaos.world import Fault, steps, submitted, world
from lab.atd import AtHost
from lab.fixtures import at_host, grid_engine, slurm_cluster

__all__ = ["at_host", "grid_engine", "slurm_cluster"]

SEED = 20261120


def clean(tallies: dict[str, Tally]) -> int:
    """How many injections there were; none of them may have failed."""
    failures = [f"{name} {text}" for name, tally in tallies.items() for text in tally.failures]
    assert not failures, table(tallies) + "\n" + "\n".join(failures)
    return sum(tally.injections for tally in tallies.values())


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_submit_that_is_cut_anywhere_runs_once() -> None:
    with world() as made:
        assert clean(sweep(made, 8, SEED, until=time.monotonic() + 100)) > 60


BATCH = [
    pytest.param("at_host", "at", marks=pytest.mark.xdist_group("at")),
    pytest.param("slurm_cluster", "slurm", marks=pytest.mark.xdist_group("slurm")),
    pytest.param("grid_engine", "sge", marks=pytest.mark.xdist_group("sge")),
]


@pytest.mark.privileged
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("fixture", "runner"), BATCH)
def test_a_submit_to_a_batch_system_that_is_cut_anywhere_runs_once(
    request: pytest.FixtureRequest, fixture: str, runner: str
) -> None:
    host = BatchHost(request.getfixturevalue(fixture), runner)
    with world(host, runner) as made:
        tallies = sweep(made, 30, SEED, until=time.monotonic() + 40, only="jobs-submit", families=OF_ANY_HOST)
        assert clean(tallies) > 4


@pytest.mark.privileged
@pytest.mark.xdist_group("at")
def test_a_runner_that_is_called_is_a_step_of_the_harness(at_host: AtHost) -> None:
    with world(BatchHost(at_host, "at"), "at") as made, made.session() as session:
        wanted, struck = {"run", "rename", "fsync", "write"}, set()
        for at in reversed(range(1, 90)):  # a first submit takes some 80
            made.arm(steps("kill", at, "after"))
            run = submitted(made, session, made.suite(1), made.new_name())
            struck.update(made.fired)
            made.settle(run)
            made.held_to_be_right(run, tasks=1)
            if wanted <= struck:
                break
        assert wanted <= struck


def test_the_harness_sees_a_job_that_runs_twice() -> None:
    with world() as made, made.session() as session:
        run = submitted(made, session, made.suite(), made.new_name())
        made.settle(run)
        made.held_to_be_right(run)
        ran = made.host.home / "jobmgr-run" / run.name / "share/ran"
        ran.write_text(ran.read_text() + "1/t0/01\n")
        with pytest.raises(AssertionError, match="ran 2 times"):
            made.held_to_be_right(run)
        ran.write_text("1/t0/01\n")
        with pytest.raises(AssertionError, match="ran 0 times"):
            made.held_to_be_right(run)


def test_each_fault_comes_about() -> None:
    """A fault that never strikes proves nothing."""
    with world() as made, made.session() as session:
        for fault in (
            steps("kill", 3, "before"),
            steps("kill", 3, "after"),
            steps("kill", 2, "before", "fork"),
            steps("full", 3, "on", errno=28),
            Fault(request_lines=1),
            Fault(reply_lines=1),
            Fault(twice="after"),
            Fault(twice="at once"),
            Fault(plan={"slot": {"at": 12, "when": "before"}}),
            Fault(plan={"slot": {"at": 12, "when": "after"}}),
            Fault(plan={"wrapper": 3}),
        ):
            made.arm(fault)
            run = submitted(made, session, made.suite(), made.new_name())
            made.settle(run)
            assert made.came_about(), fault
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)

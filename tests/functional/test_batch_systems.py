"""Batch systems as a user meets them: ``jobmgr`` over ssh against hosts with a real Slurm, Grid Engine or at.

What a runner does command by command is in tests/conformance/test_runners.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobmgr.errors import EXIT_JOB_FAILED, EXIT_REFUSED
from lab.fixtures import at_host, grid_engine, slurm_accounting, slurm_cluster
from lab.gridengine import GridEngine
from lab.hosts import Host, wait_until
from lab.slurm import SlurmCluster
from lab.terminal import LabShell, at_lab
from shells import eventually

__all__ = ["at_host", "grid_engine", "slurm_accounting", "slurm_cluster"]

pytestmark = [pytest.mark.privileged, pytest.mark.timeout(300)]

SLURM = pytest.mark.xdist_group("slurm")
ACCOUNTING = pytest.mark.xdist_group("accounting")
GRID = pytest.mark.xdist_group("sge")
AT = pytest.mark.xdist_group("at")

_NUMBERS = itertools.count(20_000)


def unique_sleep() -> str:
    """The argument of a sleep that no other test has."""
    return f"{next(_NUMBERS)}.5"


def sleeps(daemon: Any, argument: str) -> bool:
    """Whether that sleep runs on a node."""
    argv = ["pgrep", "-f", f"^sleep {argument}$"]
    return any(node.run(argv, user=None, check=False).returncode == 0 for node in daemon.nodes)


@pytest.fixture(
    params=[
        pytest.param(("slurm_cluster", "slurm"), id="slurm", marks=SLURM),
        pytest.param(("slurm_accounting", "slurm"), id="slurm+accounting", marks=ACCOUNTING),
        pytest.param(("grid_engine", "sge"), id="sge", marks=GRID),
        pytest.param(("at_host", "at"), id="at", marks=AT),
    ]
)
def system(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """The daemons, and the runner's name."""
    name, runner = request.param
    return request.getfixturevalue(name), runner


@pytest.fixture
def user(system: tuple[Any, str]) -> Iterator[LabShell]:
    daemon, runner = system
    with at_lab(daemon.head, runner) as shell:
        yield shell


@pytest.fixture
def slurm_user(slurm_cluster: SlurmCluster) -> Iterator[LabShell]:
    with at_lab(slurm_cluster.head, "slurm") as shell:
        yield shell


@pytest.fixture
def accounting_user(slurm_accounting: SlurmCluster) -> Iterator[LabShell]:
    with at_lab(slurm_accounting.head, "slurm") as shell:
        yield shell


@pytest.fixture
def grid_user(grid_engine: GridEngine) -> Iterator[LabShell]:
    with at_lab(grid_engine.head, "sge") as shell:
        yield shell


# --- every system ----------------------------------------------------------------------------------------


def test_a_job_runs_and_its_code_log_and_output_come_home(user: LabShell) -> None:
    words = ["run", "hpc", "-o", "*.nc", "--wait", "--", "sh", "-c", "echo said; echo x >a.nc; exit 3"]
    user(*words, code=3)
    assert user("log", "adhoc", "sh") == "said\n"
    assert (user.run_root / "adhoc/work/1/sh/a.nc").read_text() == "x\n"
    why = user("why", "adhoc", "sh")
    assert "FAILED/3" in why
    assert "job.status says FAILED" in why


def test_a_suite_is_played_and_the_graph_followed(user: LabShell) -> None:
    suite = user.suite(
        "two",
        "graph: first => second\ndefaults: {platform: hpc}\n"
        "tasks:\n  first: {script: echo one >$JOBMGR_SHARE_DIR/f}\n  second: {script: cat $JOBMGR_SHARE_DIR/f}\n",
    )
    user("play", suite)
    assert user.states("two") == {"1/first/01": "succeeded", "1/second/01": "succeeded"}
    assert user("log", "two", "second") == "one\n"


def test_a_running_job_is_killed_with_its_processes(user: LabShell, system: tuple[Any, str]) -> None:
    argument = unique_sleep()
    user("run", "hpc", "--name", "k", "--", "sh", "-c", f"sleep {argument} & sleep {argument}")
    wait_until(lambda: sleeps(system[0], argument), "the job runs")
    assert user.await_row("adhoc", "k", state="running")["native_id"]
    assert "1/k/01  killed" in user("kill", "adhoc", "k")
    wait_until(lambda: not sleeps(system[0], argument), "its processes are gone")
    assert user.row("adhoc", "k", "--poll")["state"] == "killed"
    assert "It was to be killed, and is gone." in user("why", "adhoc", "k")


def test_while_the_queue_daemon_is_stopped_states_stay_and_the_doubt_is_shown(
    user: LabShell, system: tuple[Any, str]
) -> None:
    daemon, runner = system
    user("run", "hpc", "--name", "d", "--", "sleep", unique_sleep())
    user.await_row("adhoc", "d", state="running")
    with daemon.queue_stopped():
        row = user.row("adhoc", "d", "--poll")
        assert row["state"] == "running"
        if runner != "at":  # whose jobs are judged by their processes
            assert "could not be asked" in row["doubt"]
            assert "1/d/01 ?" in user("status", "adhoc", "d", code=None)
            assert "could not be asked" in user("why", "adhoc", "d")
    assert eventually(lambda: not user.row("adhoc", "d", "--poll")["doubt"])
    assert user.row("adhoc", "d")["state"] == "running"


def test_dry_run_shows_the_job_file_with_the_systems_own_words(
    user: LabShell, system: tuple[Any, str]
) -> None:
    suite = user.suite(
        "dry",
        "tasks:\n  a:\n    platform: hpc\n    script: echo x\n    time_limit: 90m\n    job_name: mine\n"
        "    queue: b\n",
    )
    shown = user("submit", suite, "--dry-run")
    expected = {
        "slurm": ["#SBATCH --job-name=mine", "#SBATCH --time=1:30:00", "#SBATCH --partition=b", "jobmgr:0000"],
        "sge": ["#$ -N mine", "h_rt=5400", "#$ -q b", "JOBMGR_TOKEN=0000"],
        "at": ["JOBMGR_TOKEN=0000"],
    }[system[1]]
    assert [words for words in expected if words not in shown] == []


def test_a_submit_command_that_fails_after_the_job_was_taken_is_settled_by_its_token(
    user: LabShell, system: tuple[Any, str]
) -> None:
    """The queue has the job, and the command says that it timed out: it is found, adopted and runs once."""
    daemon, runner = system
    if runner == "at":
        pytest.skip("at has no server that could take a job and not say so")
    command = {"slurm": "sbatch", "sge": "qsub"}[runner]
    user.wrap(command, 'echo >>~/submits; "$real" "$@" >/dev/null; echo "error: timed out" >&2; exit 1')
    user("run", "hpc", "--name", "once", "--", "sh", "-c", 'echo ran >>"$JOBMGR_SUITE_DIR/runs"; sleep 3', code=None)
    assert user.row("adhoc", "once")["state"] in ("submit-unknown", "submitted", "running")
    user("wait", "adhoc", "once", "--timeout", "60s")
    assert user.row("adhoc", "once")["state"] == "succeeded"
    assert (user.run_dir("adhoc") / "runs").read_text() == "ran\n"
    home = daemon.head.home / "ada/submits"
    assert home.read_text() == "\n"
    home.unlink()
    assert "token" in user("why", "adhoc", "once")

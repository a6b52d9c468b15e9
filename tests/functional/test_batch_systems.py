"""Batch systems as a user meets them: ``jobmgr`` over ssh against hosts with a real Slurm, Grid Engine or at.

What a runner does command by command is in tests/conformance/test_runners.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from jobmgr.errors import EXIT_JOB_FAILED
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

#: A script that waits for its end unless ``go`` is there, and says in ``first`` that it has looked.
FIRST_TIME_SLEEPS = "test -e $JOBMGR_SUITE_DIR/go || { touch $JOBMGR_SUITE_DIR/first; sleep 600; }"


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
    user.await_row("adhoc", "k", state="killed")
    assert "It was to be killed, and is gone." in user("why", "adhoc", "k")


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(("slurm_cluster", "slurm"), id="slurm", marks=SLURM),
        pytest.param(("grid_engine", "sge"), id="sge", marks=GRID),
        pytest.param(("at_host", "at"), id="at", marks=AT),
    ],
    indirect=True,
)
def test_while_the_queue_daemon_is_stopped_states_stay_and_the_doubt_is_shown(
    user: LabShell, system: tuple[Any, str]
) -> None:
    """Nor is a kill said to have worked, or a submit forgotten; all goes on when the daemon is back."""
    daemon, runner = system
    user("run", "hpc", "--name", "d", "--", "sleep", unique_sleep())
    user("run", "hpc", "--name", "k", "--", "sleep", unique_sleep())
    user.await_row("adhoc", "d", state="running")
    user.await_row("adhoc", "k", state="running")
    with daemon.queue_stopped():
        row = user.row("adhoc", "d", "--poll")
        assert row["state"] == "running"
        if runner != "at":  # whose jobs are judged by their processes
            assert "could not be asked" in row["doubt"]
            assert "1/d/01 ?" in user("status", "adhoc", "d", code=None)
            assert "could not be asked" in user("why", "adhoc", "d")
            done = user.done("kill", "adhoc", "k")
            assert done.returncode != 0
            assert "could not be asked" in done.stdout + done.stderr
            assert user.row("adhoc", "k")["state"] == "running"
            user("run", "hpc", "--name", "late", "--", "true", code=None)
            assert user.row("adhoc", "late")["state"] == "submit-unknown"
        if runner == "slurm":
            found = {row.get("topic"): row for row in user.records("platforms", "check", "hpc", code=None)}
            assert found[f"runner {runner}"]["level"] == "error"
            assert found[f"runner {runner}"]["advice"]
    assert eventually(lambda: not user.row("adhoc", "d", "--poll")["doubt"])
    assert user.row("adhoc", "d")["state"] == "running"
    assert "killed" in user("kill", "adhoc", "k")
    user.await_row("adhoc", "k", state="killed")


@SLURM
@pytest.mark.slow
def test_while_munge_is_stopped_states_stay(slurm_user: LabShell, slurm_cluster: SlurmCluster) -> None:
    """squeue tries for 49 s to prove who asks."""
    user = slurm_user
    user("run", "hpc", "--name", "m", "--", "sleep", unique_sleep())
    user.await_row("adhoc", "m", state="running")
    with slurm_cluster.munge_stopped():
        user.done("poll", "adhoc", timeout=120)
    row = user.row("adhoc", "m")
    assert row["state"] == "running"
    assert "could not be asked" in row["doubt"]
    assert "authentication error" in row["doubt"], row
    assert eventually(lambda: not user.row("adhoc", "m", "--poll")["doubt"])
    assert user.row("adhoc", "m")["state"] == "running"


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
        "at": ["JOBMGR_TOKEN='0000"],
    }[system[1]]
    assert [words for words in expected if words not in shown] == []


LOST_ANSWERS = {
    "says that it timed out": 'echo "error: timed out" >&2; exit 1',
    "and the host side are killed": "kill -9 $PPID $$",
}


@pytest.mark.parametrize("then", LOST_ANSWERS.values(), ids=LOST_ANSWERS)
def test_the_queue_has_taken_a_job_and_its_submit_command(
    user: LabShell, system: tuple[Any, str], then: str
) -> None:
    """It is found by its token, adopted, and runs once."""
    daemon, runner = system
    command = {"slurm": "sbatch", "sge": "qsub", "at": "at"}[runner]
    if runner == "at" and "PPID" not in then:
        pytest.skip("at has no server that could take a job and not say so")
    user.wrap(command, f'[ "$1" != -c ] || exec "$real" "$@"; echo >>~/submits; "$real" "$@" >/dev/null 2>&1; {then}')
    user("run", "hpc", "--name", "once", "--", "sh", "-c", 'echo ran >>"$JOBMGR_SUITE_DIR/runs"; sleep 3', code=None)
    assert user.row("adhoc", "once")["state"] in ("submit-unknown", "submitted", "running")
    user("wait", "adhoc", "once", "--timeout", "60s")
    assert user.row("adhoc", "once")["state"] == "succeeded"
    assert (user.run_dir("adhoc") / "runs").read_text() == "ran\n"
    home = daemon.head.home / "ada/submits"
    assert home.read_text() == "\n"
    home.unlink()
    assert "token" in user("why", "adhoc", "once")


@pytest.mark.slow
def test_many_jobs_cost_few_calls(user: LabShell, system: tuple[Any, str]) -> None:
    """One command per job to submit; one question to the queue for all to poll, or to kill."""
    runner = system[1]
    commands = {
        "slurm": ("sbatch", "squeue", "scancel"),
        "sge": ("qsub", "qstat", "qdel"),
        "at": ("at", "atq", "atrm"),
    }[runner]
    submit, ask, cancel = commands
    user("run", "hpc", "--wait", "--", "true")  # the host side is there
    user.count(*commands)
    user("run", "hpc", "--name", "many", "--param", "m=1..12", "--", "sleep", "1000")
    assert user.counted(submit) == 12
    before = user.counted(ask)
    user("poll", "adhoc", "many*")
    question = {"slurm": 1, "sge": 2, "at": 1}[runner]  # qstat tells owners and times apart
    assert user.counted(ask) - before == question
    before = user.counted(ask)
    user("kill", "adhoc", "many*", code=None)
    assert user.counted(cancel) == 1
    assert user.counted(ask) - before <= 2 * question  # whose they are, and what became of them
    eventually(lambda: set(user.states("adhoc", "many*", "--poll").values()) == {"killed"})


# --- room in the queue -----------------------------------------------------------------------------------

FIVE = """\
tasks:
  t:
    platform: hpc
    parameters: {m: 1..6}
    submit_retry_delays: []
    script: echo $JOBMGR_PARAM_m >>$JOBMGR_SHARE_DIR/order; sleep 2
"""


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(("slurm_accounting", "slurm"), id="slurm+accounting", marks=ACCOUNTING),
        pytest.param(("grid_engine", "sge"), id="sge", marks=GRID),
    ],
    indirect=True,
)
def test_a_full_queue_makes_the_rest_wait_and_is_fed_in_order(
    user: LabShell, system: tuple[Any, str]
) -> None:
    daemon, runner = system
    command = {"slurm": "sbatch", "sge": "qsub"}[runner]
    eventually(lambda: not daemon.head.run([{"slurm": "squeue", "sge": "qstat"}[runner]] + ["-h"] * (
        runner == "slurm")).stdout.strip())
    daemon.limit_submits(2)
    try:
        user.count(command)
        suite = user.suite("six", FIVE)
        user("submit", suite)
        calls = user.counted(command)
        assert 3 <= calls <= 6  # at most as many as are under way at once know nothing of the first refusal
        states = user.states("six")
        assert sorted(states.values()) == ["queued"] * 4 + ["submitted"] * 2
        assert "queue" in user("why", "six", "t_m6") or "Limit" in user("why", "six", "t_m6")
        user("play", "six", "--timeout", "100s")
    finally:
        daemon.limit_submits({"slurm": -1, "sge": 0}[runner])
    assert set(user.states("six")) == {f"1/t_m{m}/01" for m in range(1, 7)}  # one submit number each
    assert set(user.states("six").values()) == {"succeeded"}
    order = (user.run_dir("six") / "share/order").read_text().split()
    # Which of those that were under way at once came first nobody knows; those that had to wait come in order.
    assert set(order[:2]) < set("1234")
    waited = sorted(set("123456") - set(order[:2]))
    assert [sorted(order[at : at + 2]) for at in (2, 4)] == [waited[:2], waited[2:]]


@SLURM
def test_max_submit_keeps_below_a_limit_beforehand(slurm_cluster: SlurmCluster) -> None:
    with at_lab(slurm_cluster.head, "slurm", max_submit="2") as user:
        user("submit", user.suite("six", FIVE.replace("sleep 2", "sleep 1")))
        assert sorted(user.states("six").values()) == ["queued"] * 4 + ["submitted"] * 2
        assert "max_submit 2 is reached" in user("why", "six", "t_m6")
        user("play", "six", "--timeout", "100s")
        assert set(user.states("six").values()) == {"succeeded"}
        order = (user.run_dir("six") / "share/order").read_text().split()
        assert [set(order[at : at + 2]) for at in (0, 2, 4)] == [{"1", "2"}, {"3", "4"}, {"5", "6"}]


@ACCOUNTING
def test_nothing_is_sent_behind_a_request_that_has_filled_the_queue(
    accounting_user: LabShell, slurm_accounting: SlurmCluster
) -> None:
    user = accounting_user
    user.patch("from jobmgr.service import engine\nengine.FIRST_BATCH = 3\n")
    eventually(lambda: not slurm_accounting.head.run(["squeue", "-h"]).stdout.strip())
    slurm_accounting.limit_submits(2)
    try:
        user.count("sbatch")
        user("submit", user.suite("parts", FIVE))
        assert user.counted("sbatch") == 3
        assert sorted(user.states("parts").values()) == ["queued"] * 4 + ["submitted"] * 2
        assert "the queue is full" in user("why", "parts", "t_m6")
        user("play", "parts", "--timeout", "100s")
    finally:
        slurm_accounting.limit_submits(-1)
    assert set(user.states("parts")) == {f"1/t_m{m}/01" for m in range(1, 7)}
    assert set(user.states("parts").values()) == {"succeeded"}
    order = (user.run_dir("parts") / "share/order").read_text().split()
    waited = sorted({*"123456"} - {*order[:2]})
    assert [sorted(order[at : at + 2]) for at in (2, 4)] == [waited[:2], waited[2:]]


@ACCOUNTING
def test_a_job_that_waits_for_room_can_be_killed(
    accounting_user: LabShell, slurm_accounting: SlurmCluster
) -> None:
    user = accounting_user
    eventually(lambda: not slurm_accounting.head.run(["squeue", "-h"]).stdout.strip())
    slurm_accounting.limit_submits(1)
    try:
        user("run", "hpc", "--name", "r", "--param", "m=1,2", "--", "sleep", "1000")
        (waits,) = [job for job, state in user.states("adhoc", "r*").items() if state == "queued"]
        assert "killed" in user("kill", "adhoc", waits)
        assert user.row("adhoc", waits)["state"] == "killed"
        user("tick", "adhoc")
        assert user.row("adhoc", waits)["state"] == "killed"
    finally:
        slurm_accounting.limit_submits(-1)


# --- Slurm's own words -----------------------------------------------------------------------------------


@SLURM
def test_the_reason_of_a_pending_job_is_shown_and_it_can_be_killed(slurm_user: LabShell) -> None:
    slurm_user("run", "hpc", "--name", "w", "--directive=--hold", "--", "true")
    row = slurm_user.await_row("adhoc", "w", state="submitted", detail="JobHeldUser")
    assert row["detail"]
    assert "JobHeldUser" in slurm_user("status", "adhoc", "w")
    assert "PENDING JobHeldUser" in slurm_user("why", "adhoc", "w")
    assert "killed" in slurm_user("kill", "adhoc", "w")
    slurm_user.await_row("adhoc", "w", state="killed")


@SLURM
def test_own_job_name_and_comment_stay_and_the_portable_keys_arrive(
    slurm_user: LabShell, slurm_cluster: SlurmCluster
) -> None:
    user = slurm_user
    suite = user.suite(
        "keys",
        "tasks:\n  a:\n    platform: hpc\n    script: sleep 1000\n    job_name: my model\n    queue: main\n"
        "    nodes: 2\n    tasks: 4\n    cpus_per_task: 2\n    memory: 1G\n    time_limit: 90m\n"
        "    directives: {comment: my words, --exclusive: ''}\n",
    )
    user("submit", suite)
    row = user.await_row("keys", "a", state="running")
    shown = slurm_cluster.head.run(["scontrol", "show", "job", row["native_id"]]).stdout
    expected = ["JobName=my model", "Comment=my words jobmgr:", "Partition=main", "NumNodes=2", "NumTasks=4",
                "CPUs/Task=2", "MinMemoryNode=1G", "TimeLimit=01:30:00"]
    assert [words for words in expected if words not in shown] == []
    assert "killed" in user("kill", "keys")


@SLURM
def test_a_job_array_of_the_users_own_is_one_job(slurm_user: LabShell) -> None:
    user = slurm_user
    words = ["--directive=--array=1-3", "--", "sh", "-c", "sleep $SLURM_ARRAY_TASK_ID; echo $JOBMGR_INDEX"]
    user("run", "hpc", "--name", "array", "--wait", *words)
    assert user.row("adhoc", "array")["state"] == "succeeded"
    assert sorted(user("log", "adhoc", "array").split()) == ["1", "2", "3"]
    user("run", "hpc", "--name", "part", "--wait", "--directive=--array=1-2", "--", "sh", "-c",
         'exit $((JOBMGR_INDEX == 2 ? 4 : 0))', code=4)  # fmt: skip


@ACCOUNTING
def test_a_job_of_a_named_cluster_is_polled_and_killed_there(accounting_user: LabShell) -> None:
    """``--clusters`` needs slurmdbd. The user's own words in name and comment stay."""
    user = accounting_user
    user.count("squeue", "scancel")
    words = ["--directive=--clusters=lab", "--directive=-J=mine", "--directive=--comment=hers"]
    user("run", "hpc", "--name", "c", *words, "--", "sleep", unique_sleep())
    row = user.await_row("adhoc", "c", state="running")
    assert row["native_id"].endswith(";lab")
    listed = user.machine.run(["squeue", "-h", "-o", "%j %k", "-j", row["native_id"].split(";")[0]]).stdout
    assert listed.startswith("mine hers jobmgr:")
    assert "killed" in user("kill", "adhoc", "c")
    user.await_row("adhoc", "c", state="killed")
    user("run", "hpc", "--name", "ends", "--wait", "--directive=-M=lab", "--", "sh", "-c", "exit 3", code=3)
    user.wrap("sbatch", '"$real" "$@" >/dev/null 2>&1; echo "error: timed out" >&2; exit 1')
    for name, hold in (("starts", []), ("waits", ["--directive=--hold"])):  # told by the job itself, or by its token
        user("run", "hpc", "--name", name, *hold, "--directive=--clusters=lab", "--", "sleep", "3", code=None)
        user.await_row("adhoc", name, native_id=";lab")
        user("kill", "adhoc", name, code=None)
    user.await_row("adhoc", "waits", state="killed")


@SLURM
def test_a_heterogeneous_job_is_one_job(slurm_user: LabShell) -> None:
    """Two components with settings of their own; the script runs in the first."""
    user = slurm_user
    het = ["--directive=-n=1", "--directive=hetjob", "--directive=--ntasks=2"]
    words = [*het, "--", "sh", "-c", "echo $SLURM_HET_SIZE; touch $JOBMGR_SUITE_DIR/up; sleep 600"]
    user("run", "hpc", "--name", "het", *words)
    row = user.await_row("adhoc", "het", 90, state="running")
    eventually(lambda: (user.run_dir("adhoc") / "up").exists())
    listed = user.machine.run(["squeue", "-h", "-o", "%i"]).stdout.split()
    assert {f"{row['native_id']}+{part}" for part in (0, 1)} <= set(listed)
    assert user("log", "adhoc", "het") == "2\n"
    assert "killed" in user("kill", "adhoc", "het")
    user.await_row("adhoc", "het", state="killed")
    eventually(lambda: not user.machine.run(["squeue", "-h", "-o", "%i"]).stdout.strip())


@SLURM
def test_a_requeued_job_is_submitted_again_and_then_runs_again(
    slurm_user: LabShell, slurm_cluster: SlurmCluster
) -> None:
    user = slurm_user
    user("run", "hpc", "--name", "q", "--", "sh", "-c", f"echo again; {FIRST_TIME_SLEEPS}")
    native = user.await_row("adhoc", "q", state="running")["native_id"]
    eventually(lambda: (user.run_dir("adhoc") / "first").exists())
    (user.run_dir("adhoc") / "go").touch()
    slurm_cluster.head.run(["scontrol", "requeuehold", native])
    user.await_row("adhoc", "q", state="submitted")
    assert "in the queue again" in user("why", "adhoc", "q") or "start the job again" in user("why", "adhoc", "q")
    slurm_cluster.head.run(["scontrol", "release", native])
    slurm_cluster.head.run(["scontrol", "update", f"jobid={native}", "StartTime=now+1"], check=False)
    user.await_row("adhoc", "q", 90, state="succeeded")
    assert "attempt 2" in user("why", "adhoc", "q")
    assert user("log", "adhoc", "q") == "again\nagain\n"


@SLURM
@pytest.mark.slow
def test_a_failed_node_gives_its_job_back(slurm_user: LabShell, slurm_cluster: SlurmCluster) -> None:
    """The node goes down: the queue starts the job on another one, and it is the same job."""
    user = slurm_user
    user("run", "hpc", "--name", "n", "--directive=--nodelist=node1", "--", "sh", "-c", FIRST_TIME_SLEEPS)
    native = user.await_row("adhoc", "n", state="running")["native_id"]
    eventually(lambda: (user.run_dir("adhoc") / "first").exists())
    (user.run_dir("adhoc") / "go").touch()
    node = slurm_cluster.nodes[1]
    with slurm_cluster.node_down(node):
        try:
            user.await_row("adhoc", "n", state="submitted")
        finally:
            node.run(["pkill", "-f", "^sleep 600$"], user=None, check=False)
    slurm_cluster.head.run(["scontrol", "update", f"jobid={native}", "StartTime=now+1"], check=False)
    user.await_row("adhoc", "n", 90, state="succeeded")


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(("slurm_cluster", "slurm"), id="slurm", marks=SLURM),
        pytest.param(("slurm_accounting", "slurm"), id="slurm+accounting", marks=ACCOUNTING),
    ],
    indirect=True,
)
@pytest.mark.slow
def test_why_slurm_has_ended_a_job_is_shown(user: LabShell, system: tuple[Any, str]) -> None:
    """Five ways to end, at once. The queue forgets ended jobs after 10 seconds, before the grace time is over."""
    cluster: SlurmCluster = system[0]
    argument = unique_sleep()
    sleeping = ["--", "sleep", argument]
    on_node1 = ["--directive=--no-requeue", "--directive=--nodelist=node1"]
    user("run", "hpc", "--name", "late", "--directive=--nodelist=head", *sleeping)
    user("run", "hpc", "--name", "big", "--directive=--nodelist=head", *sleeping)
    user("run", "hpc", "--name", "node", *on_node1, *sleeping)
    user("run", "hpc", "--name", "low", "--directive=-p=low", "--directive=-c=60", "--directive=-w=head", *sleeping)
    user("run", "hpc", "--name", "gone", "--directive=--nodelist=head", *sleeping)
    names = ("late", "big", "node", "low", "gone")
    native = {name: user.await_row("adhoc", name, state="running")["native_id"] for name in names}
    cluster.time_is_over(native["late"])
    cluster.preempt_on("head", 60)
    cluster.out_of_memory(native["big"])
    cluster.head.run(["scancel", native["gone"]])
    expected = {
        "late": "TIMEOUT", "big": "OUT_OF_MEMORY", "node": "NODE_FAIL", "low": "PREEMPTED", "gone": "CANCELLED",
    }  # fmt: skip
    node = cluster.nodes[1]
    with cluster.node_down(node):
        try:
            eventually(lambda: set(user.states("adhoc", "--poll").values()) == {"failed"}, 120)
        finally:
            node.run(["pkill", "-f", f"^sleep {argument}$"], user=None, check=False)
    shown = {name: user.row("adhoc", name)["detail"] for name in expected}
    assert {name: word for name, word in expected.items() if word not in shown[name]} == {}, shown
    table = user("status", "adhoc", ":failed")
    for name, word in expected.items():
        assert word in table
        assert word in user("why", "adhoc", name)
    assert not user.row("adhoc", "node")["detail"].startswith("lost")


# --- login nodes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lab", "runner"),
    [
        pytest.param("slurm_cluster", "slurm", marks=SLURM),
        pytest.param("grid_engine", "sge", marks=GRID),
    ],
)
def test_a_login_node_is_protected(request: pytest.FixtureRequest, lab: str, runner: str) -> None:
    host: Host = request.getfixturevalue(lab).head
    with at_lab(host, "") as user:
        said = user("run", "hpc", "--", "true", code=EXIT_JOB_FAILED)
        for words in ("login node", '"hpc:"', f'"runner: {runner}"'):
            assert words in said
        # The two lines that it told to write; and short intervals, since a batch job is polled once a minute.
        intervals = "".join(f"    {key}: 1s\n" for key in ("min_polling_interval", "queued_polling_interval"))
        user.platforms(f"platforms:\n  hpc:\n    hosts: [{host.name}]\n    runner: {runner}\n{intervals}")
        user("run", "hpc", "--wait", "--", "true")

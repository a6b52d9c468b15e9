"""Every runner offers what the contract asks for, renders the portable keys, and never fails on what it
reads.
"""

from __future__ import annotations

import importlib
import math
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import proc
from jobmgr_remote.runners import base

NAMES = ["slurm", "pbs", "sge", "lsf", "at", "loadleveler", "moab"]
TOKEN = "0f0e0d0c-1111-4222-8333-444455556666"
STATES = {"waiting", "active", "ended", "unknown"}


@pytest.fixture(params=NAMES)
def runner(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"jobmgr_remote.runners.{request.param}")


def job(**keys: Any) -> dict[str, Any]:
    return {"job": "1/sim/01", "suite": "sweep", "token": TOKEN, "resources": {}, "directives": [], **keys}


def test_runner_says_what_it_is(runner: ModuleType) -> None:
    assert runner.__name__.endswith("." + runner.NAME)
    assert runner.__doc__
    assert f"``runner: {runner.NAME}``" in runner.__doc__
    for key in ("native id", "token"):
        assert key in runner.__doc__.lower()
    assert isinstance(runner.VERSION_ARGV, list)
    assert isinstance(runner.SHARED_STATUS, bool)
    assert runner.TIMEOUT > 0
    assert runner.MAX_IDS > 1
    assert isinstance(runner.VACATION_SIGNALS, tuple)
    assert isinstance(runner.ID_VARIABLE + runner.INDEX_VARIABLE + runner.CARRIER, str)


def test_runner_documents_every_portable_key(runner: ModuleType) -> None:
    for key in (
        "queue",
        "account",
        "nodes",
        "tasks",
        "cpus_per_task",
        "memory",
        "gpus",
        "mail",
        "time limit",
    ):
        assert key in runner.__doc__  # type: ignore[operator]


def test_token_travels_with_the_job(runner: ModuleType) -> None:
    lines = runner.directives(job())
    call = runner.submit_call(job(), "/j", "/o", "/e")
    assert (base.labelled("\n".join([*lines, *call.argv])) == TOKEN) is bool(runner.CARRIER)


def test_output_files_are_named(runner: ModuleType) -> None:
    call = runner.submit_call(job(), "/run/job", "/run/job.out", "/run/job.err")
    text = " ".join([*call.argv, call.stdin_path])
    for path in ("/run/job", "/run/job.out", "/run/job.err"):
        assert path in text


def test_directive_cannot_end_its_line(runner: ModuleType) -> None:
    if runner.NAME == "at":
        pytest.skip("at has no directives")
    evil = "x\nrm -rf ~"
    lines = runner.directives(
        job(
            resources={"queue": evil, "job_name": evil, "account": evil, "mail": evil},
            directives=[["-x", evil]],
        )
    )
    assert lines
    assert all(line.startswith("#") and "\n" not in line for line in lines)


def test_one_command_for_many_ids(runner: ModuleType) -> None:
    ids = [str(number) for number in range(1, 1 + min(runner.MAX_IDS, 300))]
    assert len(runner.poll_calls(ids)) == 1
    assert len(runner.kill_calls(ids)) == 1
    assert len(runner.history_calls(ids)) <= 1
    assert max(len(word) for word in runner.poll_calls(ids)[0].argv) < 128 * 1024


def test_largest_command_line_fits(runner: ModuleType) -> None:
    ids = [f"{10**9 + number}.server.example.org" for number in range(runner.MAX_IDS)]
    for call in [*runner.poll_calls(ids), *runner.kill_calls(ids), *runner.history_calls(ids)]:
        assert max(len(word) for word in call.argv) < 128 * 1024
        assert sum(len(word) + 9 for word in call.argv) < 1024 * 1024


QUEUE_COMMANDS = (
    *("squeue", "sacct", "scancel", "qstat", "qacct", "qselect", "qdel"),
    *("bjobs", "bhist", "bkill", "at", "atq", "atrm", "llq", "llcancel", "checkjob", "showq", "canceljob", "mjobctl"),
)


@pytest.fixture
def queue_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of no real queue first in PATH; each call adds a line "NAME BYTES" to the file."""
    calls = tmp_path / "calls"
    for name in QUEUE_COMMANDS:
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nwords="$*"; echo "{name} ${{#words}}" >>{calls}\n')
        program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return calls


@pytest.mark.parametrize("number", [300, 5000])
def test_this_machine_takes_the_command_lines(runner: ModuleType, queue_commands: Path, number: int) -> None:
    """One call of each command where it fits, and what is longer is split: nothing is refused by the kernel."""
    end = {"pbs": ".server.example.org", "loadleveler": ".0"}.get(runner.NAME, "")
    ids = [f"{10**9 + at}{end}" for at in range(number)]
    said: list[str] = []

    def run(call: base.Call) -> tuple[int | None, str, str]:
        done = proc.run_call(call, 60)
        said.append(done.err)
        return done.code, done.out, done.err

    base.ask(runner, ids, run)
    base.kill(runner, ids, run)
    for call in runner.history_calls(ids[: runner.MAX_IDS]):
        run(call)
    assert [text for text in said if "start" in text or "too long" in text] == []
    lines = queue_commands.read_text().split("\n")
    parts = math.ceil(number / runner.MAX_IDS)
    for verb, calls in (("poll", runner.poll_calls), ("kill", runner.kill_calls)):
        assert sum(len(calls(part)) for part in base.split(ids, runner.MAX_IDS)) == parts, verb
    killer = {"at": "atrm", "slurm": "scancel", "lsf": "bkill", "loadleveler": "llcancel", "moab": "mjobctl"}
    assert sum(line.startswith(killer.get(runner.NAME, "qdel")) for line in lines) == parts


def test_command_that_did_not_start_is_no_evidence(runner: ModuleType) -> None:
    err = "could not start x: No such file or directory"
    for call in runner.poll_calls(["1"]):
        answer = runner.parse_poll(call, ["1"], None, "", err)
        assert answer.error
        assert not answer.seen
    assert runner.parse_submit(None, "", err).state == base.FAILED
    assert runner.parse_submit(None, "", "timed out after 60 s: x").state == base.UNKNOWN
    assert runner.parse_kill(["1"], None, "", err)


_WORDS = st.sampled_from(
    [
        "1|RUNNING|None|1|x|y\n",
        "JOBID|STATE|REASON|",
        "Job Id: 1.a\n",
        "    job_state = R\n",
        "<details/>",
        "</job_info>",
        "<job_list state='running'><JB_job_number>1</JB_job_number><state>r</state></job_list>",
        "<atq>\n",
        "1 Fri Nov 20 20:21:00 2026 = ada\n",
        "jobnumber 1\nexit_status \nfailed x\n",
        "=======\n",
        "1^RUN^-^-^-^-^x\n",
        "Job Step Id: 1\nStatus: Idle\n",
        '<job JobID="1" State=""/>',
        "</Data>",
        "Unknown Job Id",
        "Unknown Job Id 1",
        "Kill job error on job id 1: ",
        "Job <1> is not found",
        "\n",
        "1",
        "1.",
        "|",
        "^",
        "qdel: 1",
        "Fri Xyz 99 99:99:99 0000",
        "99999999999999999999",
        "ctime = Fri Nov 31 25:61:61 9999\n",
        "Exit_status = --1\n",
    ]
)
_TEXT = st.one_of(
    st.text(max_size=60), st.lists(st.one_of(_WORDS, st.text(max_size=8)), max_size=12).map("".join)
)
_CODE = st.one_of(st.none(), st.integers(-64, 255))


@given(code=_CODE, out=_TEXT, err=_TEXT)
def test_parsers_never_fail_and_answer_only_what_was_asked(code: int | None, out: str, err: str) -> None:
    ids = ["1", "2.srv"]
    for name in NAMES:
        runner = importlib.import_module(f"jobmgr_remote.runners.{name}")
        outcome = runner.parse_submit(code, out, err)
        assert outcome.state in (base.SUBMITTED, base.FAILED, base.LIMIT, base.UNKNOWN)
        assert bool(outcome.native_id) == (outcome.state == base.SUBMITTED)
        for call in [*runner.poll_calls(ids), *runner.history_calls(ids)]:
            answer = runner.parse_poll(call, ids, code, out, err)
            assert set(answer.seen) <= set(ids)
            assert all(row.state in STATES for row in answer.seen.values())
            assert all(re.match("[^\n]*$", row.raw) for row in answer.seen.values())
        assert set(runner.parse_kill(ids, code, out, err)) <= set(ids)
        if runner.CARRIER:
            found = runner.parse_find([TOKEN], code, out, err)
            assert set(found.seen) <= {TOKEN}


PORTABLE = {
    "queue": "q",
    "account": "science",
    "nodes": "2",
    "tasks": "8",
    "cpus_per_task": "2",
    "memory": "4G",
    "gpus": "1",
    "job_name": "mine",
    "mail": "ada@example.org",
}


@pytest.mark.parametrize(
    "name, lines",
    [
        (
            "slurm",
            [
                "--partition=q",
                "--account=science",
                "--nodes=2",
                "--ntasks=8",
                "--cpus-per-task=2",
                "--mem=4096M",
                "--gres=gpu:1",
                "--job-name=mine",
                "--mail-user=ada@example.org",
                "--time=0:01:31",
            ],
        ),
        (
            "pbs",
            [
                "-q q",
                "-A science",
                "-l select=2:ncpus=8:mpiprocs=4:mem=4096mb:ngpus=1",
                "-N mine",
                "-M ada@example.org",
                "-l walltime=0:01:31",
            ],
        ),
        (
            "lsf",
            [
                "-q q",
                "-P science",
                "-n 8",
                '-R "span[ptile=4]"',
                '-R "affinity[core(2)]"',
                "-M 4096MB",
                '-gpu "num=1"',
                "-J mine",
                "-u ada@example.org",
                "-W 2",
            ],
        ),
        (
            "moab",
            [
                "-q q",
                "-A science",
                "-l nodes=2:ppn=8:gpus=1",
                "-l mem=4096mb",
                "-N mine",
                "-M ada@example.org",
                "-l walltime=0:01:31",
            ],
        ),
    ],
)
def test_portable_keys_in_each_systems_words(name: str, lines: list[str]) -> None:
    runner = importlib.import_module(f"jobmgr_remote.runners.{name}")
    written = {line.split(" ", 1)[1] for line in runner.directives(job(resources=PORTABLE, time_limit=90.5))}
    assert set(lines) <= written


def test_grid_engine_counts_slots() -> None:
    from jobmgr_remote.runners import sge

    lines = sge.directives(job(resources={**PORTABLE, "nodes": "1"}, time_limit=90.5))
    for line in (
        "-q q",
        "-P science",
        "-pe smp 16",
        "-l h_vmem=256M",
        "-l gpu=1",
        "-l h_rt=91",
        "-S /bin/bash",
    ):
        assert f"#$ {line}" in lines
    with pytest.raises(ValueError, match="nodes"):
        sge.directives(job(resources={"nodes": "2"}))
    assert sge.directives(job(resources={"nodes": "2"}, directives=[["-pe", "mpi 64"]]))


def test_loadleveler_ends_with_queue() -> None:
    from jobmgr_remote.runners import loadleveler

    lines = loadleveler.directives(
        job(resources={key: value for key, value in PORTABLE.items() if key != "gpus"})
    )
    assert lines[-1] == "# @ queue"
    assert "# @ resources = ConsumableCpus(2) ConsumableMemory(4096 mb)" in lines
    with pytest.raises(ValueError, match="gpus"):
        loadleveler.directives(job(resources={"gpus": "1"}))


def test_at_refuses_directives_that_it_does_not_know() -> None:
    from jobmgr_remote.runners import at

    assert at.directives(job(directives=[["-q", "c"], ["-m", None]])) == []
    with pytest.raises(ValueError, match="-f"):
        at.directives(job(directives=[["-f", "/etc/passwd"]]))


def test_own_directives_come_last_and_as_given() -> None:
    from jobmgr_remote.runners import slurm

    lines = slurm.directives(
        job(
            resources={"queue": "short"},
            directives=[
                ["--partition", "long"],
                ["qos", "high"],
                ["x", None],
                ["--exclude", ["n1", "n2"]],
                ["-C", "a b#c"],
            ],
        )
    )
    assert lines.index("#SBATCH --partition=short") < lines.index("#SBATCH --partition=long")
    for line in ("--qos=high", "-x", "--exclude=n1", "--exclude=n2", '-C "a b#c"'):
        assert f"#SBATCH {line}" in lines


def test_own_comment_and_variables_stay_beside_the_token() -> None:
    from jobmgr_remote.runners import pbs, slurm

    assert f'#SBATCH --comment="for Bob jobmgr:{TOKEN}"' in slurm.directives(
        job(directives=[["--comment", "for Bob"]])
    )
    assert f"#PBS -v A=1,JOBMGR_TOKEN={TOKEN}" in pbs.directives(job(directives=[["-v", "A=1"]]))


def test_select_and_walltime_of_ones_own_replace_the_portable_ones() -> None:
    from jobmgr_remote.runners import pbs

    lines = pbs.directives(
        job(
            resources={"nodes": "2"},
            time_limit=60,
            directives=[["-l", ["select=3:ncpus=1", "walltime=1:00"]]],
        )
    )
    assert [line for line in lines if " -l " in line] == ["#PBS -l select=3:ncpus=1", "#PBS -l walltime=1:00"]


def test_percent_in_a_path_is_no_pattern_of_slurm() -> None:
    from jobmgr_remote.runners import slurm

    assert "--output=/a%%j/o" in slurm.submit_call(job(), "/a%j/job", "/a%j/o", "/a%j/e").argv


def test_slurm_asks_each_cluster_by_itself() -> None:
    from jobmgr_remote.runners import slurm

    calls = slurm.poll_calls(["1;a", "2", "3;a"])
    assert [(call.ids, call.argv[-1]) for call in calls] == [
        (("2",), "--jobs=2"),
        (("1;a", "3;a"), "--clusters=a"),
    ]
    assert [call.argv for call in slurm.kill_calls(["1;a", "2"])] == [
        ["scancel", "2"],
        ["scancel", "--clusters=a", "1"],
    ]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("#SBATCH --clusters=a,b", "a,b"),
        ("#SBATCH --clusters a", "a"),
        ('#SBATCH --clusters="a"', "a"),
        ("#SBATCH -M a", "a"),
        ("#SBATCH -Ma", "a"),
        ("#SBATCH -M=a", "a"),
        ("#SBATCH --cluster-constraint=x", ""),
        ("#SBATCH --mail-type=END", ""),
        ("# --clusters=a", ""),
        ("x=1\n#SBATCH --clusters=a", ""),
    ],
)
def test_slurm_looks_for_a_token_where_the_job_file_sends_the_job(line: str, place: str) -> None:
    from jobmgr_remote.runners import slurm

    assert slurm.place(f"#!/bin/bash\n#SBATCH --time=1\n{line}\n#SBATCH --nodes=1\necho\n") == place
    argv = slurm.find_call("ada", [TOKEN], place).argv
    assert [word for word in argv if "clusters" in word] == ([f"--clusters={place}"] if place else [])

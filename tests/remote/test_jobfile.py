from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobmgr_remote import jobfile, layout

GOLDEN = Path(__file__).parent.parent / "data" / "jobfile" / "full.job"
TOKEN = "3b0ae0f6-2f0e-4ab9-8f0a-0d0f3c1c2b3a"
RUN = {"run_dir": "/home/ada/jobmgr-run/sweep", "suite": "sweep"}
SETTINGS = {
    "bash": "/usr/bin/bash",
    "wrapper": ".service/lib/wrapper-0123456789abcdef.sh",
    "instance": "boot:1:2",
    "hostname": "wizard",
    "clock_ticks": 100,
    "directives": [],
}
FULL: dict[str, Any] = {
    "job": "20261120T0000Z/sim_m007/02",
    "token": TOKEN,
    "runner": "slurm",
    "script": 'echo "it\'s $HOME"\nfalse || true\n',
    "init_script": "module load x",
    "pre_script": "pre",
    "post_script": "post",
    "err_script": "err",
    "exit_script": "exit-it",
    "platform_init_script": ". /etc/profile",
    "environment": [["A", "1"], ["B", "${A}/x '`id` $(id) \\$A"], ["EMPTY", ""]],
    "work_dir": "share/x",
    "time_limit": 90.0,
    "resources": {
        "queue": "long",
        "account": "me",
        "nodes": 2,
        "tasks": "4",
        "cpus_per_task": 8,
        "memory": "4G",
        "gpus": 1,
        "job_name": "n",
        "mail": "a@b",
        "unknown": "x",
    },
    "parameters": [["m", "007"]],
    "events": ["ready", "half-way"],
}

SLURM = {"native_variable": "SLURM_JOB_ID", "index_variable": "SLURM_ARRAY_TASK_ID"}

text = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=60)


def minimal(**keys: Any) -> dict[str, Any]:
    return {"job": "1/t/01", "token": TOKEN, "runner": "background", "script": "true", **keys}


def render(job: dict[str, Any], **changes: Any) -> str:
    return jobfile.render(job, RUN, {**SETTINGS, **changes})


def bash(script: str, *names: str) -> list[str]:
    """What bash sees in these variables after a script."""
    script += "\nprintf '%s\\0' " + " ".join(f'"${{{name}-unset}}"' for name in names)
    done = subprocess.run(["bash", "-s"], input=script.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_golden_file() -> None:
    directives = ["#SBATCH --time=2", "#SBATCH --comment=" + TOKEN]
    made = render(FULL, directives=directives, vacation_signals=("XCPU", "USR1"), **SLURM)
    assert made == GOLDEN.read_text()


def test_directives_come_before_any_command() -> None:
    lines = render(FULL, directives=["#PBS -l x=1"]).splitlines()
    assert lines[:2] == ["#!/usr/bin/bash", "#PBS -l x=1"]


@given(text)
def test_any_text_is_one_word_to_bash(value: str) -> None:
    assert bash("V=" + jobfile.quote(value, "v"), "V") == [value]


@settings(max_examples=60)
@given(script=text, value=text, job_name=text)
def test_hostile_values_reach_bash_as_they_are(script: str, value: str, job_name: str) -> None:
    made = render(minimal(script=script, parameters=[["p", value]], resources={"job_name": job_name}))
    body = made[: made.rindex("\n. '/home")]
    seen = bash(body, "jobmgr_script", "JOBMGR_PARAM_p", "JOBMGR_JOB_NAME")
    assert seen[:2] == [script, value]
    assert seen[2] == (job_name or "unset")


@given(
    st.lists(
        st.one_of(
            text, st.sampled_from(["$A", "${A}", "$(id)", "`id`", '"', "'", "\\", "\\$A", "$", "${A", "$1"])
        )
    )
)
def test_environment_expands_variables_and_nothing_else(pieces: list[str]) -> None:
    value = "".join(pieces)
    (seen,) = bash("A='x y'\n" + jobfile.assignment("V", value), "V")
    assert seen == expand(value)


def expand(value: str) -> str:
    """The rule of docs/protocol.md, written a second time and as plainly as can be."""
    out, at = "", 0
    names = {"A": "x y"}
    while at < len(value):
        rest = value[at:]
        if rest.startswith("\\$"):
            out, at = out + "$", at + 2
            continue
        if rest.startswith("$"):
            braced = rest.startswith("${")
            name = ""
            for c in rest[2 if braced else 1 :]:
                if not (c.isascii() and (c.isalnum() or c == "_")) or (not name and c.isdigit()):
                    break
                name += c
            end = len(name) + (2 if braced else 1)
            if name and (not braced or rest[end : end + 1] == "}"):
                out, at = out + names.get(name, ""), at + end + braced
                continue
        out, at = out + value[at], at + 1
    return out


@given(text, st.integers(jobfile.MANY_QUOTES, jobfile.MANY_QUOTES + 1))
def test_text_with_many_quotes_is_one_word_too(value: str, count: int) -> None:
    value = value + "'" * count + value
    assert bash("V=" + jobfile.quote(value, "v"), "V") == [value]


def test_a_value_may_use_earlier_ones() -> None:
    made = render(minimal(environment=[["A", "one"], ["B", "$A two ${JOBMGR_TASK}"]]))
    body = made[: made.rindex("\n. '/home")]
    assert bash(body + "\njobmgr_environment", "B") == ["one two t"]


def test_no_value_is_ever_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    evil = f"'; touch {mark}; ' $(touch {mark}) `touch {mark}` \n touch {mark} \n-n"
    made = render(
        minimal(
            script="x",
            environment=[["A", evil]],
            parameters=[["p", evil]],
            resources={"queue": evil, "mail": evil},
            init_script=evil,
            err_script=evil,
        )
    )
    bash(made[: made.rindex("\n. '/home")] + "\njobmgr_environment", "A")
    assert not mark.exists()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"script": "a\0b"}, "NUL"),
        ({"init_script": "\ud800"}, "Unicode"),
        ({"environment": [["A", "\0"]]}, "NUL"),
        ({"environment": [["1A", "x"]]}, "variable"),
        ({"environment": [["A B", "x"]]}, "variable"),
        ({"environment": [["A=$(id)", "x"]]}, "variable"),
        ({"environment": [[None, "x"]]}, "variable"),
        ({"environment": [["JOBMGR_TOKEN", "x"]]}, "jobmgr's own"),
        ({"environment": [["jobmgr_script", "x"]]}, "jobmgr's own"),
        ({"environment": [["A", None]]}, "text nor number"),
        ({"parameters": [["a b", "x"]]}, "name"),
        ({"parameters": [["a", True]]}, "text nor number"),
        ({"events": ["a b"]}, "events"),
        ({"job": "../x/01"}, "job id"),
        ({"token": "x"}, "token"),
        ({"work_dir": "../x"}, "below"),
        ({"work_dir": "/tmp"}, "below"),
        ({"script_file": "../x"}, "below"),
        ({"runner": "a b;"}, "runner"),
        ({"time_limit": 0}, "time_limit"),
        ({"time_limit": "soon"}, "time_limit"),
        ({"resources": {"queue": {"a": 1}}}, "queue"),
    ],
)
def test_what_cannot_stand_in_a_job_file_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        render(minimal(**change))
    assert words in str(caught.value)


@pytest.mark.parametrize("line", ["touch x", "#a\ntouch x", "#a\rb", "#\0", ""])
def test_a_directive_is_one_line_of_comment(line: str) -> None:
    with pytest.raises(ValueError):
        render(minimal(), directives=[line])


@pytest.mark.parametrize(
    "run",
    [{"run_dir": "x", "suite": "s"}, {"run_dir": "/a\nb", "suite": "s"}, {"run_dir": "/a", "suite": "../s"}],
)
def test_run_is_checked(run: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        jobfile.render(minimal(), run, SETTINGS)


@pytest.mark.parametrize("runner, limit", [("background", "90"), ("at", "90"), ("slurm", "")])
def test_the_wrapper_enforces_a_limit_only_where_no_batch_system_does(runner: str, limit: str) -> None:
    assert f"jobmgr_time_limit='{limit}'" in render(minimal(runner=runner, time_limit=90.0))


@pytest.mark.parametrize("seconds, said", [(90.0, "90"), (1.5, "1.5"), (100000, "100000"), (0.25, "0.25")])
def test_seconds_have_no_exponent(seconds: float, said: str) -> None:
    assert f"JOBMGR_TIME_LIMIT='{said}'" in render(minimal(time_limit=seconds))


def test_support_is_installed_once_and_repaired(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    wrapper = run_dir / jobfile.install_support(str(run_dir))
    message = run_dir / ".service/bin/jobmgr-message"
    before = wrapper.stat().st_ino, message.stat().st_ino
    assert str(run_dir / jobfile.install_support(str(run_dir))) == str(wrapper)
    assert before == (wrapper.stat().st_ino, message.stat().st_ino)
    assert wrapper.stat().st_mode & 0o777 == 0o600
    assert message.stat().st_mode & 0o777 == 0o700
    wrapper.write_bytes(b"")
    message.write_bytes(b"old")
    jobfile.install_support(str(run_dir))
    assert b"jobmgr_claim" in wrapper.read_bytes()
    assert message.read_bytes().startswith(b"#!/usr/bin/env bash")
    scripts = {f"{name}script" for name in ("", "platform_init_", "init_", "pre_", "post_", "err_", "exit_")}
    beside = {wrapper.name.replace("wrapper-", f"{name}-") for name in jobfile.PARTS}
    assert {p.name for p in (run_dir / layout.LIB).iterdir()} == {*scripts, *beside}
    assert (run_dir / layout.LIB / "err_script").read_text() == 'eval "$jobmgr_err"\n'


@pytest.mark.parametrize("name", jobfile.PARTS)
def test_what_is_installed_means_what_stands_in_the_source(name: str) -> None:
    """Bash prints both as it understands them."""
    if b"--pretty-print" not in subprocess.run(["bash", "--help"], capture_output=True, check=True).stdout:
        pytest.skip("this bash prints no scripts (5.2 does)")
    source = jobfile._source(name + ".sh")
    lean = jobfile.without_comments(source)
    printed = [
        subprocess.run(["bash", "--pretty-print"], input=text, capture_output=True, check=True).stdout.split(b"\n")
        for text in (source, lean)
    ]
    told = [[line for line in lines if line] for lines in printed]
    assert told[0] == told[1]
    assert len(told[0]) > 5
    assert len(lean) < len(source)

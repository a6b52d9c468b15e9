from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobmgr_remote import jobfile, layout, proc, status
from jobs_on_disk import DiskJob, alive, until, with_token
from needs import need, need_root

MakeJob = Callable[..., DiskJob]
UP = "touch up; "


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    def make(script: str = "true", **keys: Any) -> DiskJob:
        return DiskJob(tmp_path / "run", script, **keys)

    return make


# --- the record --------------------------------------------------------------------------------------


def test_success(make_job: MakeJob) -> None:
    job = make_job("echo out; echo err >&2")
    assert job.run() == 0
    assert (job.out, job.err) == ("out\n", "err\n")
    facts = job.status.facts
    assert list(facts) == [
        *status.HEAD_KEYS,
        "ATTEMPT",
        "PID",
        "START_IDENTITY",
        "INSTANCE",
        "HOSTNAME",
        "NATIVE_ID",
        "START_TIME",
        "ELAPSED",
        "CPU",
        "EXIT_TIME",
        "EXIT",
    ]
    assert facts["EXIT"] == "SUCCEEDED"
    assert facts["ATTEMPT"] == "1"
    assert facts["NATIVE_ID"] == facts["PID"]
    assert facts["HOSTNAME"] == os.uname().nodename
    assert facts["INSTANCE"] == proc.instance()
    assert re.fullmatch(r"\d+\.\d\d", facts["ELAPSED"])
    assert re.fullmatch(r"\d+\.\d\d", facts["CPU"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", facts["START_TIME"])
    assert facts["START_TIME"] <= facts["EXIT_TIME"]


def test_the_claim_names_the_process(make_job: MakeJob) -> None:
    job = make_job()
    job.run()
    facts = job.status.facts
    assert (job.token_dir / layout.CLAIM).read_text() == " ".join(
        facts[key] for key in ("NATIVE_ID", "PID", "START_IDENTITY", "INSTANCE", "HOSTNAME")
    ) + "\n"


def test_identity_of_the_submitting_host_is_used_again(make_job: MakeJob) -> None:
    job = make_job()
    instance = proc.instance().split(":")
    marked = f"{instance[0]}:777:{instance[2]}"
    job.file.write_text(
        job.text.replace("jobmgr_instance='-:-:-'", f"jobmgr_instance='{marked}'").replace(
            "jobmgr_hostname='nowhere'", f"jobmgr_hostname='{os.uname().nodename}'"
        )
    )
    job.run()
    assert job.status.facts["INSTANCE"] == marked


@pytest.mark.parametrize("code", [1, 2, 3, 126, 127, 128, 129, 137, 143, 255])
def test_every_exit_code_is_kept(make_job: MakeJob, code: int) -> None:
    job = make_job(f"exit {code}")
    assert job.run() == code
    assert job.exit == f"FAILED/{code}"


@pytest.mark.parametrize(
    "script, code",
    [
        ("false; echo not reached", 1),
        ("false | true; echo not reached", 1),
        ("echo $no_such_variable; echo not reached", 1),
        ("return 5", 5),
        ("f() { return 6; }; f; echo not reached", 6),
        ("exec bash -c 'exit 7'", 7),
        ("kill -9 $BASHPID", 137),
        ("bash -c 'kill -9 $$'", 137),
        ("(exit 8)", 8),
        ("no-such-command-anywhere", 127),
    ],
)
def test_failures(make_job: MakeJob, script: str, code: int) -> None:
    job = make_job(script)
    assert job.run() == code
    assert job.exit == f"FAILED/{code}"
    assert "not reached" not in job.out


@pytest.mark.parametrize("script", ["if", "echo }; {", "echo 'open", "(", "case x in", "}"])
@pytest.mark.parametrize("key", ["script", "init_script", "pre_script", "post_script"])
def test_a_syntax_error_fails_the_job_with_a_record(make_job: MakeJob, script: str, key: str) -> None:
    job = make_job(**{"script": "true", key: script})
    code = job.run()
    assert code != 0
    assert job.exit == f"FAILED/{code}"
    assert re.search(f"/{layout.LIB}/{key}: eval: line [12]: ", job.err)


@pytest.mark.parametrize(
    "key", ["platform_init_script", "init_script", "pre_script", "script", "post_script", "err_script", "exit_script"]
)
def test_what_bash_says_of_a_script_has_the_scripts_name_and_line(make_job: MakeJob, key: str) -> None:
    script = "false" if key == "err_script" else ":"
    job = make_job(**{"script": script, key: "cd .\n\nno-such-command-anywhere\n"})
    job.run()
    assert f"/{layout.LIB}/{key}: line 3: no-such-command-anywhere: command not found\n" in job.err


def test_traps_and_variables_of_the_script_are_its_own(make_job: MakeJob) -> None:
    job = make_job(
        "trap 'echo my exit' EXIT; trap 'echo my err' ERR; unset ${!JOBMGR_*}; umask 0\n"
        "cd /; IFS=x; PATH=/nowhere\n"
        "jobmgr_write() { :; }; jobmgr_status_file=/nowhere; set +e; false; jobmgr_log_dir=; exit 4"
    )
    assert job.run() == 4
    assert job.out == "my err\nmy exit\n"
    assert job.exit == "FAILED/4"


def test_script_means_what_it_means_in_a_file(make_job: MakeJob) -> None:
    job = make_job(
        'declare -A m=([a]=1); show() { echo "${m[a]} $# ${FUNCNAME[0]}"; }; show\n'
        "echo $# $-; local x || true"
    )
    assert job.run() == 0
    assert job.out.splitlines()[0] == "1 0 show"
    assert {*"eu"} <= set(job.out.splitlines()[1].split()[1])
    assert "m" not in job.out.splitlines()[1].split()[1]
    assert "can only be used in a function" in job.err


def test_deleting_the_work_directory_harms_nobody(make_job: MakeJob) -> None:
    job = make_job('cd /; rm -r "$JOBMGR_WORK_DIR"')
    assert job.run() == 0
    assert job.exit == "SUCCEEDED"


def test_much_output(make_job: MakeJob) -> None:
    job = make_job("head -c 20000000 /dev/zero")
    assert job.run() == 0
    assert (job.folder / "job.out").stat().st_size == 20000000


def test_five_megabytes_of_script(make_job: MakeJob) -> None:
    job = make_job("# it's 'ä\n" * 500000 + 'echo "done ü\n"')
    assert job.run() == 0
    assert job.out == "done ü\n\n"


def test_the_user_has_default_signals_and_no_stdin(make_job: MakeJob) -> None:
    job = make_job("grep -E '^Sig(Ign|Cgt)' /proc/self/status; ls -l /proc/self/fd; cat")
    assert job.run() == 0
    masks = dict(re.findall(r"Sig(Ign|Cgt):\s+([0-9a-f]+)", job.out))
    ended_by = [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGALRM]
    for mask in masks.values():
        assert not any(int(mask, 16) >> (number - 1) & 1 for number in ended_by)
    descriptors = dict(re.findall(r" (\d+) -> (\S+)", job.out))
    assert descriptors.pop("0") == "/dev/null"
    assert set(descriptors) == {"1", "2", "3"}


def test_umask_and_time_zone_are_the_users(make_job: MakeJob) -> None:
    job = make_job("umask; date +%Z; printf '%(%Z)T\\n' -1")
    child = job.start({"TZ": "XYZ-5"}, preexec_fn=lambda: os.umask(0o027))
    child.wait()
    assert job.out.split() == ["0027", "XYZ", "XYZ"]
    now = subprocess.run(
        ["date", "-u", "+%Y-%m-%dT%H"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    assert job.status.facts["START_TIME"][:10] in (now[:10], job.status.facts["EXIT_TIME"][:10])
    assert abs(int(job.status.facts["EXIT_TIME"][11:13]) - int(now[11:13])) in (0, 1, 23)


def test_what_the_wrapper_makes_is_private_whatever_the_umask(make_job: MakeJob) -> None:
    """A queue gives a job the umask of whoever submitted it. What the script makes is the script's affair."""
    script = "touch wide; jobmgr-message here; JOBMGR_HOSTNAME=another jobmgr-message there"
    job = make_job(script, runner="slurm", work_dir="work/new")
    env = {"SLURM_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "1"}
    assert job.start(env, preexec_fn=lambda: os.umask(0)).wait() == 0
    made = [job.work_dir, *job.folder.glob("job.status.*"), *job.token_dir.glob("claim*")]
    assert len(made) == 4
    assert [path for path in made if path.stat().st_mode & 0o077] == []
    assert (job.work_dir / "wide").stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize(
    "seconds", [0, 951782399, 951782400, 951868800, 1078012799, 1735689599, 4107542399, 4107542400]
)
def test_dates_by_arithmetic(make_job: MakeJob, seconds: int) -> None:
    wrapper = next((make_job().run_dir / layout.LIB).glob("wrapper-*")).read_text()
    function = wrapper[wrapper.index("jobmgr_set_time() {") :]
    function = function[: function.index("\n}\n") + 3].replace("BASH_VERSINFO[0] >= 5", "0")
    function = function.replace("printf -v seconds '%(%s)T' -1", f"seconds={seconds}")
    made = subprocess.run(
        ["bash", "-c", function + "jobmgr_set_time; echo $jobmgr_time"], stdout=subprocess.PIPE, text=True
    )
    said = subprocess.run(
        ["date", "-ud", f"@{seconds}", "+%Y-%m-%dT%H:%M:%SZ"], stdout=subprocess.PIPE, text=True
    )
    assert made.stdout == said.stdout


@pytest.mark.parametrize(
    "env",
    [
        {"POSIXLY_CORRECT": "1"},
        {"SHELLOPTS": "errexit:nounset:noglob:noclobber:allexport"},
        {"LC_ALL": "de_DE.UTF-8"},
        {"BASHOPTS": "nullglob:failglob"},
        {"HOSTNAME": "elsewhere"},
        {"PATH": os.defpath},
    ],
)
def test_a_strange_environment(make_job: MakeJob, env: dict[str, str]) -> None:
    job = make_job("echo a > b; echo a > b; ls *")
    assert job.run(env) == 0
    assert job.status.facts["HOSTNAME"] == os.uname().nodename


def test_nothing_is_forked_but_the_subshell(make_job: MakeJob, tmp_path: Path) -> None:
    need(shutil.which("strace"), "strace is not installed")
    job = make_job("echo $JOBMGR_TASK")
    job.work_dir.mkdir(parents=True)
    (job.work_dir / "kept").touch()
    instance = proc.instance()
    job.file.write_text(
        job.text.replace("jobmgr_instance='-:-:-'", f"jobmgr_instance='{instance}'").replace(
            "jobmgr_hostname='nowhere'", f"jobmgr_hostname='{os.uname().nodename}'"
        )
    )
    trace = tmp_path / "trace"
    calls = "clone,clone3,fork,vfork,execve"
    done = subprocess.run(
        ["strace", "-f", "-e", f"trace={calls}", "-o", trace, "bash", job.file], stdout=subprocess.PIPE
    )
    need(done.returncode == 0, "strace is not allowed")
    text = trace.read_text()
    assert len(re.findall(r"clone|fork", text)) == 1
    assert text.count("execve(") == 1


# --- what a job sees -----------------------------------------------------------------------------------


def test_variables_of_a_job(make_job: MakeJob) -> None:
    job = make_job(
        "env -0 | tr '\\0' '\\n' | grep '^JOBMGR_'",
        resources={"queue": "q", "cpus_per_task": 2},
        parameters=[["m", "7"]],
        events=["ready"],
        time_limit=60,
    )
    job.run()
    seen = dict(line.split("=", 1) for line in job.out.splitlines())
    run = str(job.run_dir)
    assert seen == {
        "JOBMGR_SUITE": "s",
        "JOBMGR_SUITE_DIR": run,
        "JOBMGR_WORK_DIR": run + "/work/1/t",
        "JOBMGR_SHARE_DIR": run + "/share",
        "JOBMGR_LOG_DIR": run + "/log/job/1/t/01",
        "JOBMGR_CYCLE": "1",
        "JOBMGR_TASK": "t",
        "JOBMGR_JOB": "1/t/01",
        "JOBMGR_SUBMIT_NUMBER": "01",
        "JOBMGR_TOKEN": job.token,
        "JOBMGR_RUNNER": "background",
        "JOBMGR_EVENTS": "ready",
        "JOBMGR_QUEUE": "q",
        "JOBMGR_CPUS_PER_TASK": "2",
        "JOBMGR_TIME_LIMIT": "60",
        "JOBMGR_PARAM_m": "7",
        "JOBMGR_HOSTNAME": os.uname().nodename,
        "JOBMGR_ATTEMPT": "1",
    }


def test_programs_of_the_suite_are_on_path(make_job: MakeJob) -> None:
    job = make_job("tool; command -v jobmgr-message", init_script="PATH=/usr/bin:/bin")
    tool = job.run_dir / "bin/tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o700)
    assert job.run() == 0
    assert job.out == f"tool\n{job.run_dir}/.service/bin/jobmgr-message\n"


def test_environment_is_set_after_the_init_scripts(make_job: MakeJob) -> None:
    job = make_job(
        "echo $A",
        platform_init_script="X=one",
        init_script="Y=$X-two",
        environment=[["A", "$Y-$JOBMGR_TASK"]],
    )
    job.run()
    assert job.out == "one-two-t\n"


def test_scripts_run_in_order(make_job: MakeJob) -> None:
    job = make_job(
        "echo script",
        pre_script="echo pre",
        post_script="echo post",
        init_script="cd /; echo init",
        platform_init_script="echo platform",
        exit_script="echo exit $JOBMGR_EXIT; pwd",
        err_script="echo err",
    )
    assert job.run() == 0
    said = "platform\ninit\npre\nscript\npost\n"
    # The init scripts are run again, silently, for what runs beside the job.
    assert job.out == said + f"exit SUCCEEDED\n{job.work_dir}\n"


@pytest.mark.parametrize(
    "key, code",
    [("init_script", 3), ("pre_script", 4), ("script", 5), ("post_script", 6), ("platform_init_script", 7)],
)
def test_a_failing_script_fails_the_job(make_job: MakeJob, key: str, code: int) -> None:
    job = make_job(
        **{"script": "true", key: f"(exit {code})"}, err_script="echo $JOBMGR_EXIT", exit_script="echo no"
    )
    assert job.run() == code
    assert job.exit == f"FAILED/{code}"
    assert job.out == f"FAILED/{code}\n"


@pytest.mark.parametrize("script, exit_record", [("true", "SUCCEEDED"), ("exit 9", "FAILED/9")])
def test_failing_err_and_exit_scripts_change_nothing(
    make_job: MakeJob, script: str, exit_record: str
) -> None:
    job = make_job(script, err_script="exit 3", exit_script="exit 3")
    job.run()
    assert job.exit == exit_record
    assert "ended with exit code 3" in job.err


def test_init_scripts_run_with_the_options_of_a_profile(make_job: MakeJob) -> None:
    job = make_job("echo ok", init_script='[ -n "$NO_SUCH" ] && echo x; false; true')
    assert job.run() == 0
    assert job.out == "ok\n"


@pytest.mark.parametrize(
    "first, mode", [("#!/bin/sh", 0o700), ("#!/bin/sh", 0o600), ("#! /usr/bin/env bash", 0o600), ("", 0o600)]
)
def test_script_file_runs_by_its_own_first_line(make_job: MakeJob, first: str, mode: int) -> None:
    job = make_job("", script_file="my script", pre_script="echo pre")
    file = job.run_dir / "my script"
    file.write_text(f"{first}\necho file $JOBMGR_TASK; exit 3\n")
    file.chmod(mode)
    assert job.run() == 3
    assert job.out == "pre\nfile t\n"


def test_script_file_that_is_not_there(make_job: MakeJob) -> None:
    job = make_job("", script_file="nowhere")
    assert job.run() == 127
    assert job.exit == "FAILED/127"


def test_empty_default_work_directory_is_removed(make_job: MakeJob) -> None:
    job = make_job("pwd", runner="at")
    job.run()
    assert job.out == f"{job.work_dir}\n"
    assert not job.work_dir.exists()


def test_that_of_a_background_job_is_left_to_the_end_of_the_run(make_job: MakeJob) -> None:
    job = make_job("pwd")
    job.run()
    assert job.work_dir.is_dir()


@pytest.mark.parametrize("keys", [{"script": "touch .hidden"}, {"script": "true", "work_dir": "share/mine"}])
def test_other_work_directories_stay(make_job: MakeJob, keys: dict[str, Any]) -> None:
    job = make_job(**keys)
    job.run()
    assert job.work_dir.is_dir()


def test_work_directory_that_cannot_be_made(make_job: MakeJob) -> None:
    job = make_job("true", work_dir="file/below")
    (job.run_dir / "file").touch()
    assert job.run() != 0
    assert job.exit == "ABORTED/cannot use the work directory"


# --- signals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "XCPU", "ALRM", "PIPE"])
@pytest.mark.parametrize("group", [False, True], ids=["wrapper", "group"])
def test_a_signal_is_named_and_passed_on_at_once(make_job: MakeJob, name: str, group: bool) -> None:
    job = make_job(UP + "sleep 1000 & wait; sleep 1000", err_script="echo err $JOBMGR_EXIT")
    number = getattr(signal, "SIG" + name)
    with job.running() as child:
        (os.killpg if group else os.kill)(child.pid, number)
        assert child.wait(30) == 128 + number
        assert job.exit == f"SIGNAL/{name}"
        assert job.err == ""
        assert job.out == f"err SIGNAL/{name}\n"
        assert with_token(job.token) == []


@pytest.mark.parametrize("whole", [False, True], ids=["wrapper", "tree"])
def test_a_signal_in_the_first_moments_is_neither_lost_nor_waited_for(make_job: MakeJob, whole: bool) -> None:
    """Batch systems signal every process of a job, also one that begins just then: before the claim, while the
    subshell is forked, while it ends.
    """
    began = 0
    for at in range(40):
        job = make_job("sleep 1000", job=f"1/t{at}/01", runner="slurm", grace=25)
        child = job.start({"SLURM_JOB_ID": "7"})
        try:
            time.sleep(at * 0.002)
            for pid in session_of(child.pid) if whole else [child.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            child.wait(20)  # less than the grace: nobody was overheard
            claimed = (job.token_dir / layout.CLAIM).exists()
            assert job.exit == ("SIGNAL/TERM" if claimed else None)
            assert with_token(job.token) == []
        finally:
            job.kill(child)
        began += claimed
    assert began


def session_of(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[3] == str(leader):
                found.append(int(folder.name))
    return found


def test_a_vacation_signal_is_recorded_as_such(make_job: MakeJob) -> None:
    job = make_job(UP + "sleep 1000", vacation_signals=["XCPU"])
    with job.running() as child:
        child.send_signal(signal.SIGXCPU)
        child.wait(30)
    assert job.exit == "VACATED/XCPU"


@pytest.mark.parametrize(
    "script, exit_record",
    [
        ("trap 'exit 0' USR1; " + UP + "while :; do sleep 0.05; done", "SUCCEEDED"),
        ("trap 'exit 3' USR1; " + UP + "while :; do sleep 0.05; done", "FAILED/3"),
        (UP + "sleep 1000", "SIGNAL/USR1"),
    ],
)
def test_usr1_is_a_warning_that_the_script_may_handle(
    make_job: MakeJob, script: str, exit_record: str
) -> None:
    job = make_job(script)
    with job.running() as child:
        child.send_signal(signal.SIGUSR1)
        child.wait(30)
    assert job.exit == exit_record


def test_a_job_that_traps_term_gets_it_once_and_has_time(make_job: MakeJob) -> None:
    job = make_job("trap 'echo got it; exit 0' TERM; " + UP + "while :; do sleep 0.05; done")
    with job.running() as child:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(30)
    assert job.out == "got it\n"
    assert job.exit == "SIGNAL/TERM"


def test_what_ignores_term_is_killed_after_the_grace(make_job: MakeJob) -> None:
    job = make_job("trap '' TERM; sleep 1000 & " + UP + "while :; do sleep 1000; done", grace=1)
    with job.running() as child:
        child.terminate()
        child.wait(30)
        assert with_token(job.token) == []
    assert job.exit == "SIGNAL/TERM"


def test_what_ignores_an_interrupt_gets_term_before_it_is_killed(make_job: MakeJob) -> None:
    job = make_job("(trap 'echo got TERM; exit' TERM; touch up; while :; do sleep 0.05 || :; done) & wait")
    with job.running() as child:
        child.send_signal(signal.SIGINT)
        child.wait(30)
    assert job.exit == "SIGNAL/INT"
    assert job.out == "got TERM\n"


def test_a_stopped_job_can_be_ended(make_job: MakeJob) -> None:
    job = make_job(UP + "echo $BASHPID > pid; sleep 1000")
    with job.running() as child:
        until(lambda: (job.work_dir / "pid").exists() and (job.work_dir / "pid").read_text())
        os.kill(int((job.work_dir / "pid").read_text()), signal.SIGSTOP)
        child.terminate()
        child.wait(30)
    assert job.exit == "SIGNAL/TERM"


@pytest.mark.parametrize(
    "script, exit_record",
    [
        ("kill $$; sleep 1000", "SIGNAL/TERM"),
        ("kill -HUP $$; sleep 1000", "SIGNAL/HUP"),
        ("kill -SEGV $$; sleep 1000", "ABORTED/the job wrapper was ended"),
        ("kill -ABRT $$; sleep 1000", "ABORTED/the job wrapper was ended"),
    ],
)
def test_a_script_that_ends_its_wrapper(make_job: MakeJob, script: str, exit_record: str) -> None:
    job = make_job(script)
    child = job.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    try:
        child.wait(30)
        assert job.exit == exit_record
        until(lambda: not with_token(job.token))
    finally:
        job.kill(child)


def test_nothing_is_left_of_a_killed_wrapper_but_the_job(make_job: MakeJob) -> None:
    job = make_job(UP + "echo $BASHPID > pid; exec sleep 1000", time_limit=500)
    with job.running() as child:
        until(lambda: (job.work_dir / "pid").exists() and (job.work_dir / "pid").read_text())
        pid = int((job.work_dir / "pid").read_text())
        job_group = os.getpgid(pid)
        child.kill()
        child.wait()

        def others() -> list[int]:
            return [p for p in session(child.pid) if p != pid]

        until(lambda: not others())
        os.killpg(job_group, signal.SIGKILL)
    assert job.exit is None


def session(sid: int) -> list[int]:
    """Live processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == sid and fields[0] not in "ZX":
            found.append(int(folder.name))
    return found


def test_a_service_that_must_outlive_the_job_is_left_alone(make_job: MakeJob) -> None:
    job = make_job(
        "JOBMGR_SERVICE=master setsid sleep 1000 & echo $! > service\n"
        "sleep 1000 & echo $! > child; touch up; wait",
        grace=1,
    )
    with job.running() as child:
        service = int((job.work_dir / "service").read_text())
        mine = int((job.work_dir / "child").read_text())
        child.terminate()
        child.wait(30)
        until(lambda: not alive(mine))
        assert alive(service)
        os.kill(service, signal.SIGKILL)


# --- time limit ------------------------------------------------------------------------------------------


def test_time_limit(make_job: MakeJob) -> None:
    job = make_job("sleep 1000", time_limit=0.3, err_script="echo $JOBMGR_EXIT")
    assert job.run() == 124
    assert job.exit == "ABORTED/time limit 0.3s"
    assert job.out == "ABORTED/time limit 0.3s\n"


def test_time_limit_catches_what_ignores_term_and_has_left(make_job: MakeJob) -> None:
    job = make_job(
        "(trap '' TERM HUP; exec setsid sleep 1000) &\n"
        "(setsid bash -c 'trap \"\" TERM; sleep 1000; sleep 1000' &)\n"
        "trap '' TERM; sleep 1000; sleep 1000",
        time_limit=0.5,
        grace=1,
    )
    child = job.start()
    try:
        assert child.wait(30) == 124
        assert with_token(job.token) == []
    finally:
        job.kill(child)
    assert job.exit == "ABORTED/time limit 0.5s"


def test_a_job_within_its_limit_leaves_no_timer(make_job: MakeJob) -> None:
    job = make_job("true", time_limit=1000)
    child = job.start()
    assert child.wait(30) == 0
    until(lambda: not session(child.pid))
    assert job.exit == "SUCCEEDED"


def test_an_err_script_has_the_same_limit(make_job: MakeJob) -> None:
    job = make_job("false", err_script="sleep 1000", time_limit=0.5, grace=1)
    assert job.run() == 1
    assert job.exit == "FAILED/1"


# --- claims ----------------------------------------------------------------------------------------------


def test_a_second_start_does_nothing_at_all(make_job: MakeJob) -> None:
    job = make_job("echo once")
    assert (job.run(), job.run()) == (0, 0)
    assert job.out == "once\n"
    assert job.err == ""
    assert job.status.attempts == 1


def test_many_starts_at_once_run_the_job_once(make_job: MakeJob) -> None:
    job = make_job("echo once")
    children = [job.start() for _ in range(12)]
    assert [child.wait(60) for child in children] == [0] * 12
    assert job.out == "once\n"


@pytest.mark.parametrize("content", ["revoked\n", "", "77 1 2 3 4\n"])
def test_a_claimed_token_never_starts(make_job: MakeJob, content: str) -> None:
    job = make_job("echo no")
    (job.token_dir / layout.CLAIM).write_text(content)
    before = job.status_file.read_bytes()
    assert job.run() == 0
    assert job.out == ""
    assert job.status_file.read_bytes() == before


def test_a_killed_job_never_starts(make_job: MakeJob) -> None:
    job = make_job("echo no")
    (job.token_dir / layout.KILL_MARK).write_text("2026-11-20T12:00:00Z\n")
    assert job.run() == 0
    assert job.out == ""


def test_without_its_token_directory_a_job_does_not_start(make_job: MakeJob) -> None:
    job = make_job("echo no")
    job.token_dir.rmdir()
    assert job.run() == 75
    assert job.out == ""
    assert "not started" in job.err


SLURM = {"SLURM_JOB_ID": "42"}


def test_a_requeue_is_a_new_attempt(make_job: MakeJob) -> None:
    job = make_job("echo $JOBMGR_ATTEMPT; exit 3", runner="slurm")
    assert (job.run(SLURM), job.run(SLURM)) == (3, 3)
    assert job.out == "1\n2\n"
    found = job.status
    assert (found.attempts, found.facts["ATTEMPT"], found.facts["NATIVE_ID"]) == (2, "2", "42")


def test_a_job_that_was_killed_and_is_requeued_by_a_reboot_does_not_start_again(make_job: MakeJob) -> None:
    job = make_job("echo once; exit 3", runner="slurm")
    assert job.run(SLURM) == 3
    (job.token_dir / layout.KILL_MARK).write_text("2026-11-20T12:00:00Z\n")
    before = job.status_file.read_bytes()
    assert job.run(SLURM) == 0
    assert job.out == "once\n"
    assert job.status_file.read_bytes() == before


def test_another_native_id_does_not_start(make_job: MakeJob) -> None:
    job = make_job("echo once; exit 3", runner="slurm")
    assert (job.run(SLURM), job.run({"SLURM_JOB_ID": "43"})) == (3, 0)
    assert job.status.attempts == 1


def test_a_success_is_not_repeated(make_job: MakeJob) -> None:
    job = make_job("echo once", runner="slurm")
    assert (job.run(SLURM), job.run(SLURM)) == (0, 0)
    assert job.out == "once\n"


def test_a_background_job_is_never_a_requeue(make_job: MakeJob) -> None:
    job = make_job("echo no")
    child = job.start(
        {},
        preexec_fn=lambda: (job.token_dir / layout.CLAIM).write_text(f"{os.getpid()} {os.getpid()} 1 i h\n"),
    )
    assert child.wait(30) == 0
    assert job.out == ""


def test_a_job_array_that_was_revoked_starts_no_element(make_job: MakeJob) -> None:
    job = make_job("echo ran", runner="slurm")
    (job.token_dir / "claim").write_text("revoked\n")
    assert job.run({"SLURM_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "1"}) == 0
    assert not list(job.folder.glob("job.status.*"))


def test_elements_of_a_job_array_have_claims_and_files_of_their_own(make_job: MakeJob) -> None:
    job = make_job("echo $JOBMGR_INDEX; jobmgr-message from $JOBMGR_INDEX", runner="slurm")
    for index in ("1", "2", "1"):
        assert job.run({"SLURM_JOB_ID": "4" + index, "SLURM_ARRAY_TASK_ID": index}) == 0
    assert job.out == "1\n2\n"
    for index in ("1", "2"):
        found = status.parse((job.folder / f"job.status.{index}").read_bytes())
        assert found.facts["EXIT"] == "SUCCEEDED"
        assert found.facts["TOKEN"] == job.token
        assert [m.text for m in found.messages] == ["from " + index]
        assert (job.token_dir / f"claim.{index}").exists()
    assert job.exit is None


@pytest.mark.parametrize(
    "runner, env",
    [
        ("sge", {"JOB_ID": "7", "SGE_TASK_ID": "undefined"}),
        ("lsf", {"LSB_JOBID": "7", "LSB_JOBINDEX": "0"}),
    ],
)
def test_a_job_outside_of_an_array_has_no_index(make_job: MakeJob, runner: str, env: dict[str, str]) -> None:
    job = make_job("true", runner=runner)
    job.run(env)
    assert job.status.facts["NATIVE_ID"] == "7"
    assert job.exit == "SUCCEEDED"


def test_an_element_of_a_job_array_leaves_the_others_alone(make_job: MakeJob) -> None:
    job = make_job(
        "touch up$JOBMGR_INDEX; setsid sleep 1000 & until test -e go$JOBMGR_INDEX; do sleep 0.05; done",
        runner="slurm",
    )
    first, second, tenth = (job.start({"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": n}) for n in ("1", "2", "10"))
    try:
        until(lambda: all((job.work_dir / f"up{n}").exists() for n in (1, 2, 10)))
        (job.work_dir / "go1").touch()
        assert first.wait(30) == 0
        assert (second.poll(), tenth.poll()) == (None, None)
        for n in (2, 10):
            (job.work_dir / f"go{n}").touch()
        assert (second.wait(30), tenth.wait(30)) == (0, 0)
        assert with_token(job.token) == []
    finally:
        for child in (first, second, tenth):
            job.kill(child)


def test_a_batch_job_leaves_nothing_running_on_its_node(make_job: MakeJob) -> None:
    job = make_job("setsid sleep 1000 & echo $! > left", runner="slurm", grace=1)
    assert job.run(SLURM) == 0
    assert not alive(int((job.work_dir / "left").read_text()))


def test_a_background_job_may_leave_something_running(make_job: MakeJob) -> None:
    job = make_job("setsid sleep 1000 > /dev/null 2>&1 & echo $! > left")
    child = job.start()
    try:
        assert child.wait(30) == 0
        assert alive(int((job.work_dir / "left").read_text()))
    finally:
        job.kill(child)


# --- full disks --------------------------------------------------------------------------------------------


def test_a_status_file_that_cannot_grow_is_tried_again(make_job: MakeJob, tmp_path: Path) -> None:
    need_root()
    job = make_job(UP + "while [ ! -e go ]; do sleep 0.05; done", retry=1)
    with job.running() as child:
        immutable(job.status_file, True)
        (job.work_dir / "go").touch()
        try:
            until(lambda: "trying again" in job.err)
        finally:
            immutable(job.status_file, False)
        child.wait(60)
    assert job.exit == "SUCCEEDED"
    assert job.status.attempts == 1


def immutable(path: Path, on: bool) -> None:
    done = subprocess.run(["chattr", "+i" if on else "-i", path], stderr=subprocess.DEVNULL)
    need(done.returncode == 0, "chattr +i does not work here")


def test_a_full_disk_ends_in_the_rescue_folder(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("echo said; exit 3", retry=0)
    # Only what is written to the status file fails: it is a file of a full device.
    job.status_file.unlink()
    job.status_file.symlink_to("/dev/full")
    assert job.run({"HOME": str(tmp_path)}) == 3
    rescued = status.parse((tmp_path / ".jobmgr/rescue" / job.token).read_bytes())
    assert rescued.facts["EXIT"] == "FAILED/3"
    assert rescued.facts["TOKEN"] == job.token
    assert rescued.facts["PID"]
    assert job.out == "said\n"
    assert os.listdir(tmp_path / ".jobmgr/rescue") == [job.token]


def test_a_wrapper_that_is_told_to_end_does_not_go_on_trying(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("true", retry=3600)
    job.status_file.unlink()
    job.status_file.symlink_to("/dev/full")
    child = job.start({"HOME": str(tmp_path)})
    try:
        until(lambda: "trying again" in job.err)
        child.terminate()
        assert child.wait(30) == 0
    finally:
        job.kill(child)
    assert (tmp_path / ".jobmgr/rescue" / job.token).exists()


def test_nothing_of_a_failed_write_turns_up_elsewhere(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("echo said", retry=0)
    job.status_file.unlink()
    job.status_file.symlink_to("/dev/full")
    job.run({"HOME": str(tmp_path)})
    assert job.out == "said\n"
    assert "JOBMGR_" not in job.err


def test_a_torn_line_swallows_nothing(make_job: MakeJob) -> None:
    job = make_job(UP + 'printf JOBMGR_MESSAGE=torn >> "$JOBMGR_LOG_DIR/job.status"; echo $$ > pid')
    job.run()
    assert job.exit == "SUCCEEDED"
    assert job.status.facts["ELAPSED"]
    assert job.status.messages == ()


def test_a_real_full_file_system(tmp_path: Path) -> None:
    need_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], stderr=subprocess.DEVNULL
    )
    need(mounted.returncode == 0, "tmpfs cannot be mounted")
    try:
        job = DiskJob(disk / "run", 'yes x > "$JOBMGR_SHARE_DIR/fill" || exit 3', retry=0)
        (job.run_dir / "share").mkdir()
        # What fits into the last page of job.status may still be written; then there is no rescue.
        code = job.run({"HOME": str(tmp_path)})
        assert code in (1, 3)
        rescued = tmp_path / ".jobmgr/rescue" / job.token
        assert (rescued.exists() and status.parse(rescued.read_bytes()).facts["EXIT"]) or job.exit
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# --- jobmgr-message ----------------------------------------------------------------------------------


def messages(job: DiskJob) -> list[tuple[str, str]]:
    return [(m.severity, m.text) for m in job.status.messages]


@pytest.mark.parametrize(
    "words, expected",
    [
        ("hello world", [("INFO", "hello world")]),
        ("-s WARNING careful", [("WARNING", "careful")]),
        ("--severity=ERROR a b", [("ERROR", "a b")]),
        ("-- -s x", [("INFO", "-s x")]),
        ("ready", [("EVENT", "ready")]),
        ("ready half-way", [("EVENT", "ready"), ("EVENT", "half-way")]),
        ("ready now", [("INFO", "ready now")]),
        ("'ready half-way'", [("INFO", "ready half-way")]),
        ("''", [("INFO", "")]),
        ("'a|b|c'", [("INFO", "a|b|c")]),
        ("$'x\\nJOBMGR_EXIT=SUCCEEDED'", [("INFO", "x\nJOBMGR_EXIT=SUCCEEDED")]),
        ("$'\\001\\t\\r\\177\\\\n ü'", [("INFO", "\x01\t\r\x7f\\n ü")]),
        ("'$(touch x) `touch x` *'", [("INFO", "$(touch x) `touch x` *")]),
    ],
)
def test_messages(make_job: MakeJob, words: str, expected: list[tuple[str, str]]) -> None:
    job = make_job(f"jobmgr-message {words}; exit 3", events=["ready", "half-way"])
    job.run()
    assert messages(job) == expected
    assert job.exit == "FAILED/3"


@pytest.mark.parametrize("words", ["", "-s", "-s LOUD x", "-x y"])
def test_bad_messages_are_refused(make_job: MakeJob, words: str) -> None:
    job = make_job(f"jobmgr-message {words}")
    assert job.run() == 2
    assert messages(job) == []
    assert "jobmgr-message:" in job.err


@pytest.mark.parametrize("text", ["x" * 100000, "ü" * 50000, "\\" * 50000, "\n" * 50000])
def test_long_messages_are_cut_whole(make_job: MakeJob, text: str) -> None:
    job = make_job('jobmgr-message "$(cat "$JOBMGR_SUITE_DIR/text"; echo .)"')
    (job.run_dir / "text").write_text(text)
    assert job.run() == 0
    ((severity, found),) = messages(job)
    assert severity == "INFO"
    assert text.startswith(found)
    assert len(found) >= 900
    assert max(map(len, job.status_file.read_bytes().split(b"\n"))) < 4096


def test_messages_from_many_processes_stay_whole(make_job: MakeJob) -> None:
    job = make_job("for i in {1..40}; do jobmgr-message $i $(printf 'x%.0s' {1..3000}) & done; wait")
    assert job.run() == 0
    assert sorted(int(text.split()[0]) for _, text in messages(job)) == list(range(1, 41))


def test_a_message_from_another_node_goes_into_a_file_of_its_own(make_job: MakeJob) -> None:
    job = make_job("export JOBMGR_HOSTNAME=elsewhere; for i in 1 2 3; do jobmgr-message $i & done; wait")
    assert job.run() == 0
    assert messages(job) == []
    (path,) = job.folder.glob("job.status.*")
    assert path.name == "job.status." + os.uname().nodename
    assert sorted(m.text for m in status.parse(path.read_bytes()).messages) == ["1", "2", "3"]


def test_a_message_outside_of_a_job_is_refused(make_job: MakeJob) -> None:
    program = make_job().run_dir / ".service/bin/jobmgr-message"
    done = subprocess.run([program, "x"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "not inside a job" in done.stderr


def test_messages_where_nothing_may_be_executed(make_job: MakeJob) -> None:
    job = make_job("jobmgr-message one; bash -c 'jobmgr-message two'", pre_script="")
    (job.run_dir / ".service/bin/jobmgr-message").chmod(0o600)
    need(not os.access(job.run_dir / ".service/bin/jobmgr-message", os.X_OK), "x for nobody is not x here")
    assert job.run() == 0
    assert messages(job) == [("INFO", "one"), ("INFO", "two")]


def test_support_files_come_out_of_an_archive_too(tmp_path: Path) -> None:
    archive = tmp_path / "host.pyz"
    package = Path(layout.__file__).parent
    with zipfile.ZipFile(archive, "w") as made:
        scripts = [f"job/{name}.sh" for name in (*jobfile.PARTS, "jobmgr-message")]
        for name in ("__init__.py", "jobfile.py", "layout.py", *scripts):
            made.write(package / name, f"jobmgr_remote/{name}")
    code = (
        "import sys; sys.path[0] = sys.argv[1]\n"
        "from jobmgr_remote import jobfile; print(jobfile.install_support(sys.argv[2]))"
    )
    run_dir = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", code, archive, run_dir], stdout=subprocess.PIPE, text=True, check=True, cwd="/"
    )
    source = (package / "job/wrapper.sh").read_bytes()
    assert (run_dir / done.stdout.strip()).read_bytes() == jobfile.without_comments(source)
    assert (run_dir / ".service/bin/jobmgr-message").exists()

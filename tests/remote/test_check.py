"""The verb check: what a host says of itself, and that nothing stays behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host_side import Host, await_that, host_in
from jobmgr_remote import hostconf, wire
from jobmgr_remote.commands import check


@pytest.fixture
def host(tmp_path: Path) -> Host:  # type: ignore[misc]
    with host_in(tmp_path / "home") as made:
        yield made


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_host_says_what_it_can_do(host: Host) -> None:
    before = tree(host.home)
    answer = host.call(wire.CHECK)
    (found,) = answer.of(wire.INIT)
    assert answer.ended
    assert (found["lacks"], found["write_error"], found["exec_error"]) == ("", "", "")
    assert found["home"] == str(host.home)
    assert found["folder"].startswith(f"{host.home}/jobmgr-run/.jobmgr-check-")
    assert found["free_bytes"] > 0
    assert {row["name"] for row in found["runners"]} >= {"background", "slurm", "at"}
    assert tree(host.home) == before


def test_a_run_root_that_is_not_there_is_made_and_taken_away(host: Host) -> None:
    run = host.run._replace(root="$HOME/deep/er/runs")
    (found,) = host.call(wire.CHECK, run=run).of(wire.INIT)
    assert (found["made_root"], found["write_error"]) == (True, "")
    assert not (host.home / "deep").exists()


def test_the_folder_stays_while_the_caller_holds_the_call(host: Host) -> None:
    process = host.start(wire.CHECK)
    assert process.stdin
    assert process.stdout
    process.stdin.write(host.request(wire.CHECK, hold=100))
    process.stdin.flush()
    reader = wire.ReplyReader(wire.CHECK)
    found: dict[str, str] = {}
    while not found:
        for kind, value in reader.feed(process.stdout.readline()):
            if kind == wire.INIT:
                found = value  # type: ignore[assignment]
    assert os.path.isdir(found["folder"])
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()
    assert process.stderr
    process.stderr.close()
    await_that(lambda: not os.path.exists(found["folder"]))


def test_a_run_root_that_cannot_be_made_is_part_of_the_answer(host: Host) -> None:
    (host.home / "file").write_text("")
    (found,) = host.call(wire.CHECK, run=host.run._replace(root="$HOME/file/runs")).of(wire.INIT)
    assert "Not a directory" in found["write_error"] or "File exists" in found["write_error"]
    assert found["folder"] == ""


def test_a_shared_run_root_is_seen_by_the_file_of_the_caller(host: Host) -> None:
    (host.home / "jobmgr-run/.jobmgr-check-00").write_text("")
    for probe, shared in (
        (".jobmgr-check-00", True),
        (".jobmgr-check-01", False),
        ("../file", False),
        (7, False),
    ):
        (found,) = host.call(wire.CHECK, probe=probe).of(wire.INIT)
        assert found["shared"] is shared


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n" + text)
    (folder / name).chmod(0o755)


def test_batch_systems_are_told_apart_and_asked(host: Host) -> None:
    """Grid Engine and PBS have a qstat each."""
    tools = host.home / "tools"
    program(tools, "sbatch", "echo slurm 22.05.8\n")
    program(tools, "squeue", 'echo "JOBID|STATE|REASON|SUBMIT_TIME|COMMENT|NAME"\n')
    program(tools, "sacct", 'echo "Slurm accounting storage is disabled" >&2; exit 1\n')
    program(
        tools,
        "qstat",
        '[ "$1" = -help ] && { echo "SGE 8.1.9"; exit; }; echo "cannot reach qmaster" >&2; exit 1\n',
    )
    host.env["PATH"] = f"{tools}:{host.env['PATH']}"
    (found,) = host.call(wire.CHECK).of(wire.INIT)
    rows = {row["name"]: row for row in found["runners"]}
    assert (rows["slurm"]["version"], rows["slurm"]["queue"]) == ("slurm 22.05.8", "yes")
    assert rows["slurm"]["accounting"].startswith("no: Slurm accounting storage is disabled")
    assert rows["sge"]["version"] == "SGE 8.1.9"
    assert rows["sge"]["queue"].startswith("no: ")
    assert rows["pbs"]["version"] == ""


def test_a_grid_engine_whose_master_is_not_there_is_still_one(host: Host) -> None:
    tools = host.home / "tools"
    program(tools, "qstat", 'echo "error: unable to read qmaster name" >&2; exit 1\n')
    host.env["PATH"] = f"{tools}:{host.env['PATH']}"
    (found,) = host.call(wire.CHECK).of(wire.INIT)
    rows = {row["name"]: row for row in found["runners"]}
    assert "qmaster" in rows["sge"]["version"]
    assert rows["sge"]["queue"].startswith("no: ")
    assert rows["pbs"]["version"] == ""


def test_accounting_that_does_not_know_the_job_is_accounting(host: Host) -> None:
    tools = host.home / "tools"
    program(tools, "msub", "echo 9.1\n")
    program(tools, "sbatch", "echo slurm 22.05.8\n")
    program(tools, "squeue", 'echo "JOBID|STATE|REASON|SUBMIT_TIME|COMMENT|NAME"\n')
    program(tools, "sacct", "exit 0\n")
    host.env["PATH"] = f"{tools}:{host.env['PATH']}"
    (found,) = host.call(wire.CHECK).of(wire.INIT)
    rows = {row["name"]: row for row in found["runners"]}
    assert rows["slurm"]["accounting"] == "yes"
    assert (rows["moab"]["version"], rows["moab"]["queue"]) == ("9.1", "")


def test_quota_is_what_the_program_says(host: Host) -> None:
    tools = host.home / "tools"
    program(
        tools,
        "quota",
        "printf 'Disk quotas for user\\nFilesystem blocks\\n/dev/sda1 100* 90 100\\n'; exit 1\n",
    )
    host.env["PATH"] = f"{tools}:{host.env['PATH']}"
    (found,) = host.call(wire.CHECK).of(wire.INIT)
    assert found["quota"] == "/dev/sda1 100* 90 100"


def test_a_host_that_lacks_something_says_so_instead_of_refusing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = host.home / "tools"
    program(tools, "bash", "echo 3.2.57\n")
    host.env["PATH"] = f"{tools}:{host.env['PATH']}"
    (found,) = host.call(wire.CHECK).of(wire.INIT)
    assert "is version 3.2.57" in found["lacks"]


def test_sessions_only_say_that_they_are_there(host: Host) -> None:
    answer = host.call(wire.CHECK, sessions=True)
    assert answer.of(wire.DATA) == [{"up": True}]
    assert answer.ended


def test_the_policy_of_the_site_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        home, user, conf = str(host.home), "ada", hostconf.parse("min_polling_interval = 2m\nmax_wait = 1h")

    found = check.abilities(Here)  # type: ignore[arg-type]
    assert found["policy"] == {
        "min_polling_interval": 120.0, "max_wait": 3600.0, "deny_runners": [], "syslog": False,
    }  # fmt: skip

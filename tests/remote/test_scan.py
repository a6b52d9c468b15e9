from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_side import Host, host_in
from interpreters import oldest_and_newest
from jobmgr_remote import layout, status, wire
from jobs_on_disk import DiskJob
from measured import host_python


def python_of(request: pytest.FixtureRequest, folder: Path) -> str:
    return host_python(folder) if request.param == "measured" else str(request.param)


@pytest.fixture(params=[*oldest_and_newest(), "measured"], ids=lambda path: Path(path).name)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    with host_in(tmp_path / "home", python_of(request, tmp_path)) as made:
        yield made


@pytest.fixture
def one_host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home", host_python(tmp_path)) as made:
        yield made


def test_every_job_is_told_with_what_is_needed_to_know_it_again(host: Host) -> None:
    ended = DiskJob(host.run_dir, "exit 3", job="2/b/01")
    ended.run()
    waiting = DiskJob(host.run_dir, "true", job="1/a/02", runner="slurm")
    answer = host.call(wire.SCAN)
    assert [one.job for one in answer.jobs] == ["1/a/02", "2/b/01"]
    assert [one.token for one in answer.jobs] == [waiting.token, ended.token]
    for one, job, runner in zip(answer.jobs, (waiting, ended), ("slurm", "background"), strict=True):
        facts = one.file.facts
        assert (facts[status.TOKEN], facts[status.RUNNER]) == (job.token, runner)
        assert facts[status.SUBMIT_TIME] == "2026-11-20T12:00:00Z"
    assert answer.jobs[1].file.facts[status.EXIT] == "FAILED/3"
    assert answer.jobs[1].claim == wire.C_STARTED
    assert answer.ended


def test_an_empty_run(one_host: Host) -> None:
    answer = one_host.call(wire.SCAN)
    assert answer.jobs == []
    assert answer.error is None
    assert answer.ended


def test_whose_run_it_is_is_told_also_to_who_does_not_know_its_uuid(one_host: Host) -> None:
    assert one_host.call(wire.REMOTE_INIT).error is None
    stranger = one_host.run._replace(uuid="", controller="other", epoch=0)
    answer = one_host.call(wire.SCAN, run=stranger)
    (owner,) = answer.of(wire.DATA)
    assert (owner["uuid"], owner["epoch"], owner["controller"]) == (one_host.run.uuid, 1, "controller")
    assert answer.hello.run_state == "ok"


def test_another_runs_directory_is_not_scanned(one_host: Host) -> None:
    other = one_host.run._replace(uuid="00000000-0000-0000-0000-000000000000")
    answer = one_host.call(wire.SCAN, run=other)
    assert answer.error is not None
    assert answer.error.code == wire.E_FOREIGN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage\n",
        b"JOBMGR_STATUS_VERSION=1\n",
        b"\0" * 99,
        b"JOBMGR_STATUS_VERSION=1\nJOBMGR_TOKEN=../x\n",
    ],
)
def test_one_unreadable_job_is_a_note_and_disturbs_nobody(one_host: Host, content: bytes) -> None:
    good = DiskJob(one_host.run_dir, "true", job="1/good/01")
    bad = DiskJob(one_host.run_dir, "true", job="1/bad/01")
    bad.status_file.write_bytes(content)
    answer = one_host.call(wire.SCAN)
    assert [one.token for one in answer.jobs] == [good.token]
    (note,) = answer.of(wire.NOTE)
    assert note.code == "unreadable"
    assert "1/bad/01" in note.text


def test_links_and_strangers_are_passed_over(one_host: Host) -> None:
    job = DiskJob(one_host.run_dir, "true")
    os.symlink("01", job.folder.parent / layout.LATEST)
    logs = one_host.run_dir / layout.JOB_LOGS
    (logs / "1" / "t" / "notes").mkdir()
    (logs / "1" / "-x" / "01").mkdir(parents=True)
    (logs / "file").touch()
    os.symlink("1", logs / "2")
    answer = one_host.call(wire.SCAN)
    assert [one.job for one in answer.jobs] == ["1/t/01"]
    assert answer.of(wire.NOTE) == []

from __future__ import annotations

import io
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_side import Answer, Host
from interpreters import oldest_and_newest
from jobmgr_remote import fence, layout, session, wire
from jobmgr_remote.commands import remote_tidy
from jobs_on_disk import DiskJob, until
from measured import host_python
from needs import need_root

LINKS = {
    "work": "$HOME/scratch",
    "share": "$HOME/scratch",
    "share/cycle": "$HOME/cycles",
    "log": "$HOME/logs",
}


def python_of(request: pytest.FixtureRequest, folder: Path) -> str:
    return host_python(folder) if request.param == "measured" else str(request.param)


@pytest.fixture(params=[*oldest_and_newest(), "measured"], ids=lambda path: Path(path).name)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    yield from made_host(tmp_path, python_of(request, tmp_path))


@pytest.fixture
def one_host(tmp_path: Path) -> Iterator[Host]:
    yield from made_host(tmp_path, host_python(tmp_path))


def made_host(tmp_path: Path, python: str) -> Iterator[Host]:
    home = tmp_path / "home"
    home.mkdir()
    made = Host(home, python)
    yield made
    made.end()


def init(host: Host, **options: Any) -> None:
    answer = host.call(wire.REMOTE_INIT, **options)
    assert answer.error is None, answer.error
    (host.run_dir / layout.CONTACT_FILE).write_text("contact")


def tidy(host: Host, **options: Any) -> Answer:
    answer = host.call(wire.REMOTE_TIDY, **options)
    assert answer.ended
    return answer


def removed(answer: Answer) -> list[str]:
    assert answer.error is None, (answer.error, answer.stderr)
    return [row["removed"] for row in answer.of(wire.DATA)]


def everything(folder: Path) -> set[str]:
    """Paths of all that is there."""
    return {
        os.path.relpath(os.path.join(top, name), folder)
        for top, dirs, files in os.walk(folder)
        for name in dirs + files
    }


def test_empty_work_directories_go_with_the_run(one_host: Host) -> None:
    init(one_host)
    empty, used = one_host.job(task="empty"), one_host.job("touch result", task="used")
    one_host.submit(empty, used)
    one_host.wait_exit(empty, used)
    assert (one_host.run_dir / "work/1/empty").is_dir()
    tidy(one_host)
    assert not (one_host.run_dir / "work/1/empty").exists()
    assert (one_host.run_dir / "work/1/used/result").is_file()


def test_no_work_directory_goes_while_a_job_of_the_run_may_use_it(one_host: Host) -> None:
    init(one_host)
    running = one_host.job("sleep 1000")
    one_host.submit(running)
    one_host.wait_started(running)
    tidy(one_host)
    assert (one_host.run_dir / "work/1/t").is_dir()


def test_tidy_removes_the_contact_and_nothing_else(host: Host) -> None:
    init(host)
    before = everything(host.home)
    assert removed(tidy(host)) == [str(host.run_dir / layout.CONTACT_FILE)]
    assert before - everything(host.home) == {"jobmgr-run/s/.service/contact"}
    assert removed(tidy(host)) == []


def test_clean_leaves_nothing_of_the_run(host: Host) -> None:
    init(host, symlinks=LINKS)
    job = host.job("touch made; exit 3")
    host.submit(job)
    host.wait_exit(job)
    (host.run_dir / "suite.yaml").write_text("x")
    rescue = host.home / layout.HOST_RESCUE
    rescue.mkdir(parents=True, exist_ok=True)
    (rescue / job["token"]).write_text("x")
    (rescue / (job["token"] + ".3")).write_text("x")
    (rescue / str(uuid.uuid4())).write_text("of another run")
    until(lambda: not host.processes())
    removed(tidy(host, clean=True))
    left = {path for path in everything(host.home) if not path.startswith(".jobmgr/spool")}
    (other,) = os.listdir(rescue)
    # The folders that the user has named stay, empty.
    assert left == {".jobmgr", ".jobmgr/rescue", f".jobmgr/rescue/{other}", "scratch", "cycles", "logs"}
    assert not [p for p in everything(host.home) if job["token"] in p]


def test_folders_above_stay_if_something_else_is_there(one_host: Host) -> None:
    init(one_host, symlinks=LINKS)
    (one_host.home / "jobmgr-run/other").mkdir()
    (one_host.home / "scratch/jobmgr-run/other").mkdir()
    (one_host.home / "cycles/mine").touch()
    removed(tidy(one_host, clean=True))
    assert everything(one_host.home / "jobmgr-run") == {"other"}
    assert everything(one_host.home / "scratch") == {"jobmgr-run", "jobmgr-run/other"}
    assert everything(one_host.home / "cycles") == {"mine"}


def test_a_run_root_of_the_users_own_stays(one_host: Host) -> None:
    one_host.run = one_host.run._replace(root="$HOME/mine")
    one_host.run_dir = one_host.home / "mine/s"
    init(one_host)
    removed(tidy(one_host, clean=True))
    assert os.listdir(one_host.home) == ["mine"]
    assert os.listdir(one_host.home / "mine") == []


def test_a_run_directory_that_is_a_link(one_host: Host) -> None:
    init(one_host, symlinks={"run": "$HOME/big"})
    removed(tidy(one_host, clean=True))
    assert everything(one_host.home) == {"big"}


def test_a_dry_run_tells_and_removes_nothing(one_host: Host) -> None:
    init(one_host, symlinks=LINKS)
    before = everything(one_host.home)
    named = removed(tidy(one_host, clean=True, dry_run=True))
    assert everything(one_host.home) - {"jobmgr-run/s/.service/journal.lock"} == before
    assert str(one_host.home / "scratch/jobmgr-run/s/work") in named
    assert str(one_host.run_dir / layout.CONTACT_FILE) in named
    assert len(named) == len(set(named))
    assert removed(tidy(one_host, dry_run=True)) == [str(one_host.run_dir / layout.CONTACT_FILE)]


def test_a_dry_run_names_the_run_directory_itself_only_if_nothing_would_be_left(one_host: Host) -> None:
    init(one_host)
    whole = removed(tidy(one_host, clean=True, dry_run=True))
    assert str(one_host.run_dir) in whole
    named = removed(tidy(one_host, clean=True, dry_run=True, shared=True))
    assert str(one_host.run_dir) not in named
    assert set(removed(tidy(one_host, clean=True))) == set(whole)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of an ordinary user, and this process with that user's rights."""
    need_root()
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_what_a_user_has_made_unreadable_goes_too(nobody: Path) -> None:
    inner = nobody / "work/locked/inner/deep"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    (nobody / "work/link").symlink_to("/etc")
    for folder in (inner, inner.parent, inner.parent.parent, nobody / "work"):
        folder.chmod(0)
    out = io.BytesIO()
    remote_tidy.Remover(session.Reply(out), dry=False).tree(str(nobody / "work"))
    assert os.listdir(nobody) == []
    assert out.getvalue().count(b"removed") == 1


def test_what_belongs_to_others_stays_and_is_an_error(nobody: Path) -> None:
    os.seteuid(0)
    theirs = nobody / "work/theirs"
    (theirs / "inner").mkdir(parents=True)
    os.chown(nobody / "work", 65534, 65534)
    theirs.chmod(0o755)
    os.seteuid(65534)
    with pytest.raises(PermissionError):
        remote_tidy.Remover(session.Reply(io.BytesIO()), dry=False).tree(str(nobody / "work"))
    assert (theirs / "inner").is_dir()


def test_it_can_be_repeated(one_host: Host) -> None:
    init(one_host)
    removed(tidy(one_host, clean=True))
    answer = tidy(one_host, clean=True)
    assert answer.error is not None
    assert answer.error.code == wire.E_NOT_FOUND
    init(one_host)


def test_a_clean_that_is_killed_can_be_repeated(one_host: Host) -> None:
    init(one_host, symlinks=LINKS)
    for name in range(3000):
        (one_host.run_dir / f"work/{name}").mkdir()
    process = one_host.start(wire.REMOTE_TIDY)
    assert process.stdin
    process.stdin.write(one_host.request(wire.REMOTE_TIDY, clean=True))
    process.stdin.flush()
    until(lambda: len(os.listdir(one_host.home / "scratch/jobmgr-run/s/work")) < 2990)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert one_host.run_dir.exists()
    removed(tidy(one_host, clean=True))
    assert everything(one_host.home) == {"scratch", "cycles", "logs"} or not everything(one_host.home) - {
        "scratch",
        "cycles",
        "logs",
        "jobmgr-run",
    }


# --- live jobs ---------------------------------------------------------------------------------------


def test_a_running_and_a_queued_job_refuse_the_clean(host: Host) -> None:
    init(host)
    running, queued = host.job("sleep 1000", "a"), host.job("sleep 1000", "b")
    host.submit(running, queued, max_active=1)
    host.wait_started(running)
    before = everything(host.run_dir)
    answer = tidy(host, clean=True)
    assert answer.error is not None
    assert answer.error.code == wire.E_ACTIVE
    assert answer.error.text.startswith("2 jobs are alive: 1/a/01 (running, pid ")
    assert "1/b/01" in answer.error.text
    assert before <= everything(host.run_dir)
    dry = tidy(host, clean=True, dry_run=True)
    assert [note.code for note in dry.of(wire.NOTE)] == ["active-jobs"]
    host.kill(running, queued, grace=1)
    removed(tidy(host, clean=True))
    assert not host.run_dir.exists()


def test_a_live_job_whose_log_directory_is_gone_refuses_it_too(one_host: Host) -> None:
    init(one_host)
    job = one_host.job("sleep 1000")
    one_host.submit(job)
    one_host.wait_started(job)
    one_host.log_dir(job).rename(one_host.home / "gone")
    answer = tidy(one_host, clean=True)
    assert answer.error is not None
    assert answer.error.code == wire.E_ACTIVE


def test_a_plain_tidy_asks_nobody(one_host: Host) -> None:
    init(one_host)
    job = one_host.job("sleep 1000")
    one_host.submit(job)
    one_host.wait_started(job)
    assert removed(tidy(one_host)) == [str(one_host.run_dir / layout.CONTACT_FILE)]


def test_a_batch_job_whose_queue_cannot_be_asked_counts_as_alive(one_host: Host, tmp_path: Path) -> None:
    init(one_host)
    job = DiskJob(one_host.run_dir, "true", runner="slurm")
    fence.write_native_id(str(one_host.run_dir), job.token, "42")
    for name in ("squeue", "sacct", "scontrol"):
        (tmp_path / name).write_text(
            "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    one_host.env["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    answer = tidy(one_host, clean=True)
    assert answer.error is not None
    assert "1/t/01" in answer.error.text


EVIDENCE = wire.Evidence(
    "1/t/01",
    "t",
    wire.NO_FILE,
    wire.NO_QUEUE,
    wire.P_GONE,
    wire.C_NONE,
    "",
    True,
    False,
    wire.S_NONE,
    wire.NO_FOUND,
    None,
)


@pytest.mark.parametrize(
    "change, word",
    [
        ({}, ""),
        ({"process": wire.P_ALIVE}, "running"),
        ({"process": wire.P_OTHER_HOST}, "another host"),
        ({"process": wire.P_CANNOT_SEE}, "cannot be seen"),
        ({"process": wire.P_REBOOTED}, ""),
        ({"process": wire.P_NOT_OURS}, ""),
        ({"process": wire.P_ALIVE, "file": wire.NO_FILE._replace(facts={"EXIT": "SUCCEEDED"})}, ""),
        ({"queue": wire.QueueEvidence(wire.Q_WAITING, "PENDING", "", "")}, "PENDING"),
        ({"queue": wire.QueueEvidence(wire.Q_COULD_NOT_ASK, "", "", "no munge")}, "no munge"),
        ({"queue": wire.QueueEvidence(wire.Q_ENDED, "COMPLETED", "", "")}, ""),
        ({"queue": wire.QueueEvidence(wire.Q_ABSENT, "", "", "")}, ""),
    ],
)
def test_what_counts_as_alive(change: dict[str, Any], word: str) -> None:
    said = remote_tidy.living(EVIDENCE._replace(**change))
    assert (word in said) if word else said == ""


def test_many_live_jobs_are_counted_and_some_are_named() -> None:
    text = remote_tidy.active_text([(f"1/t{n}/01", "running") for n in range(9)])
    assert text.startswith("9 jobs are alive: 1/t0/01 (running), ")
    assert ", ..." in text
    assert remote_tidy.active_text([("1/t/01", "x")]).startswith("1 job is alive")


# --- links ---------------------------------------------------------------------------------------------


def test_links_that_jobmgr_did_not_make_are_never_followed(one_host: Host, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "sub").mkdir(parents=True)
    (precious / "sub/file").touch()
    init(one_host)
    (one_host.run_dir / "work/escape").symlink_to(precious)
    (one_host.run_dir / "elsewhere").symlink_to(precious)
    (one_host.run_dir / "share/cycle").rmdir()
    (one_host.run_dir / "share/cycle").symlink_to(precious)
    (one_host.run_dir / ".service/bin").symlink_to(precious)
    removed(tidy(one_host, clean=True))
    assert everything(precious) == {"sub", "sub/file"}
    assert not one_host.run_dir.exists()


def spoil_target(host: Host, precious: Path) -> None:
    work = host.run_dir / "work"
    work.unlink()
    work.symlink_to(precious)


def spoil_record(host: Host, precious: Path) -> None:
    spoil_target(host, precious)
    (host.run_dir / layout.LINKS_FILE).write_text(f'["work", "{precious}"]\n')


def spoil_target_folder(host: Host, precious: Path) -> None:
    target = Path(os.readlink(host.run_dir / "work"))
    target.rmdir()
    target.symlink_to(precious)


def spoil_mark(host: Host, precious: Path) -> None:
    target = Path(os.readlink(host.run_dir / "work"))
    (target.parent / ".jobmgr-uuid").write_text(str(uuid.uuid4()))
    (target / "file").touch()


@pytest.mark.parametrize("spoil", [spoil_target, spoil_record, spoil_target_folder, spoil_mark])
def test_a_recorded_link_that_is_not_what_it_was_is_not_followed(
    one_host: Host, tmp_path: Path, spoil: Any
) -> None:
    precious = tmp_path / "precious"
    (precious / "sub").mkdir(parents=True)
    init(one_host, symlinks={"work": "$HOME/scratch"})
    spoil(one_host, precious)
    answer = tidy(one_host, clean=True)
    assert "link" in [note.code for note in answer.of(wire.NOTE)]
    assert answer.error is None
    assert everything(precious) == {"sub"}
    if spoil is spoil_mark:
        assert (one_host.home / "scratch/jobmgr-run/s/work/file").exists()
    assert not one_host.run_dir.exists()


def test_a_target_that_is_gone_is_no_obstacle(one_host: Host) -> None:
    init(one_host, symlinks={"work": "$HOME/scratch"})
    (one_host.home / "scratch").rename(one_host.home / "gone")
    removed(tidy(one_host, clean=True))
    assert not one_host.run_dir.exists()


def test_a_run_directory_that_is_somebody_elses_link_stays(one_host: Host) -> None:
    init(one_host)
    one_host.run_dir.rename(one_host.home / "moved")
    one_host.run_dir.symlink_to(one_host.home / "moved")
    answer = tidy(one_host, clean=True)
    assert "link" in [note.code for note in answer.of(wire.NOTE)]
    assert one_host.run_dir.is_symlink()


# --- shared directories -----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [True, False], ids=["told", "found by the store"])
def test_on_a_shared_directory_only_the_hosts_own_things_go(host: Host, said: bool) -> None:
    init(host)
    job = host.job("touch made")
    host.submit(job)
    host.wait_exit(job)
    until(lambda: not host.processes())
    service = host.run_dir / layout.SERVICE
    mine = [
        "suite.yaml",
        ".service/suite.db",
        ".service/lock",
        ".service/installed",
        "log/job/1/t/01/job-activity.log",
    ]
    for name in mine[2:] if said else mine:
        (host.run_dir / name).write_text("controller")
    removed(tidy(host, clean=True, shared=said))
    left = everything(host.run_dir)
    assert set(mine[2:]) <= left
    assert {"work/1/t/made", "log/job/1/t/01/job.out", ".service/uuid"} <= left
    for name in ("contact", "journal", "jobs", "lib", "bin"):
        assert not (service / name).exists()


def test_on_a_shared_directory_the_folders_outside_go(one_host: Host) -> None:
    (one_host.run_dir / layout.SERVICE).mkdir(parents=True)
    (one_host.run_dir / layout.SERVICE / "probe").touch()
    init(one_host, symlinks=LINKS, probe=".service/probe")
    removed(tidy(one_host, clean=True, shared=True))
    assert everything(one_host.home / "scratch") == set()
    assert (one_host.run_dir / "log/job").is_dir()


# --- owner -------------------------------------------------------------------------------------------------


def test_who_has_been_taken_over_may_not_clean(one_host: Host) -> None:
    init(one_host)
    one_host.call(wire.REMOTE_INIT, run=one_host.run._replace(epoch=2, controller="other"))
    answer = tidy(one_host, clean=True)
    assert answer.error is not None
    assert answer.error.code == wire.E_TAKEN_OVER
    assert one_host.run_dir.exists()


def test_another_run_is_not_cleaned(one_host: Host) -> None:
    init(one_host)
    answer = one_host.call(wire.REMOTE_TIDY, run=one_host.run._replace(uuid=str(uuid.uuid4())), clean=True)
    assert answer.error is not None
    assert answer.error.code == wire.E_FOREIGN
    assert one_host.run_dir.exists()

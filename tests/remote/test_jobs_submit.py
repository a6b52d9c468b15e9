"""jobs-submit on a real host in a folder: once, in full, and with a clear word about what cannot be done."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import interpreters
from host_side import Answer, Host, await_that, host_in
from jobmgr_remote import fence, layout, proc, runners, session, status, wire
from jobmgr_remote.commands import jobs_submit
from jobmgr_remote.spool import Queued, Spool
from measured import host_python
from needs import need_root

PYTHONS = interpreters.oldest_and_newest()


@pytest.fixture(params=PYTHONS, ids=lambda path: os.path.basename(path))
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    with host_in(tmp_path / "home", request.param) as one:
        yield one


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as one:
        yield one


def test_a_job_runs_and_leaves_its_files(host: Host) -> None:
    item = host.job("echo out; echo err >&2; exit 3")
    (one,) = host.submit(item)
    assert one[:5] == (item["job"], item["token"], wire.R_SUBMITTED, "", "")
    host.wait_exit(item)
    folder = host.log_dir(item)
    assert host.exit_of(item) == "FAILED/3"
    assert (folder / "job.out").read_text() == "out\n"
    assert (folder / "job.err").read_text() == "err\n"
    assert os.readlink(folder.parent / "NN") == "01"
    assert fence.read_journal(str(host.run_dir))[item["token"]].job == item["job"]
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*")} == {0}


def test_the_same_request_again_reports_what_is_there_and_runs_nothing(host: Host) -> None:
    item = host.job("echo ran >>$JOBMGR_SUITE_DIR/ran")
    host.submit(item)
    host.wait_exit(item)
    before = (host.log_dir(item) / "job.status").read_bytes()
    (again,) = host.submit(item)
    assert again.result == wire.R_ALREADY
    assert again.native_id == host.facts(item)[status.PID]
    await_that(lambda: not host.slots())
    assert (host.run_dir / "ran").read_text() == "ran\n"
    assert (host.log_dir(item) / "job.status").read_bytes() == before


def test_a_queued_job_is_already_there_for_a_second_request(new_host: Host) -> None:
    busy, item = new_host.job("sleep 1000", task="busy"), new_host.job(task="waits")
    new_host.submit(busy, item, max_active=1)
    assert new_host.submit(item, max_active=1)[0].result == wire.R_ALREADY
    assert new_host.poll(item)[0].spool == wire.S_QUEUED


def test_the_same_job_twice_in_one_request_is_one_job(new_host: Host) -> None:
    item = new_host.job("echo ran >>$JOBMGR_SUITE_DIR/ran")
    assert len(new_host.submit(item, item)) == 1
    new_host.wait_exit(item)


def test_the_same_request_twice_at_once_runs_each_job_once(new_host: Host) -> None:
    items = [new_host.job("echo $JOBMGR_TASK >>$JOBMGR_SUITE_DIR/ran", task=f"t{n}") for n in range(40)]
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(new_host.call(wire.JOBS_SUBMIT, items)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = {one.result for answer in answers for one in answer.jobs}
    assert results <= {wire.R_SUBMITTED, wire.R_ALREADY, wire.R_UNKNOWN}
    new_host.wait_exit(*items)
    await_that(lambda: not new_host.slots())
    new_host.poll(*items)
    await_that(lambda: not new_host.slots())
    assert sorted((new_host.run_dir / "ran").read_text().split()) == sorted(f"t{n}" for n in range(40))


@pytest.mark.parametrize("moment", range(6))
def test_a_submit_that_is_killed_at_any_point_can_be_repeated(new_host: Host, moment: int) -> None:
    items = [new_host.job("echo $JOBMGR_TASK >>$JOBMGR_SUITE_DIR/ran", task=f"t{n}") for n in range(30)]
    process = new_host.start(wire.JOBS_SUBMIT)
    assert process.stdin
    process.stdin.write(new_host.request(wire.JOBS_SUBMIT, items))
    process.stdin.flush()
    seen = [
        lambda: (new_host.run_dir / layout.TOKENS).exists(),
        lambda: len(list(new_host.run_dir.glob("log/job/1/*/01/job"))) > 5,
        lambda: (new_host.run_dir / layout.JOURNAL_FILE).exists(),
        lambda: new_host.home.joinpath(layout.HOST_SPOOL).exists(),
        lambda: list(new_host.home.joinpath(layout.HOST_SPOOL).glob("*/*/queue/*")),
        lambda: list(new_host.home.joinpath(layout.HOST_SPOOL).glob("*/*/slots/*")),
    ]
    await_that(lambda: seen[moment]() or process.poll() is not None)
    process.kill()
    process.communicate()
    results = {one.result for one in new_host.submit(*items)}
    assert results <= {wire.R_SUBMITTED, wire.R_ALREADY}
    new_host.wait_exit(*items)
    await_that(lambda: not new_host.slots())
    assert sorted((new_host.run_dir / "ran").read_text().split()) == sorted(f"t{n}" for n in range(30))


def test_another_jobs_directory_is_left_alone(host: Host) -> None:
    first = host.job("sleep 1000")
    host.submit(first)
    host.wait_started(first)
    before = (host.log_dir(first) / "job").read_text()
    (one,) = host.submit(host.job("echo other"))
    assert one.result == wire.R_FOREIGN
    assert first["token"] in one.text
    assert (host.log_dir(first) / "job").read_text() == before


def test_a_status_file_torn_at_its_creation_does_not_stop_a_retry(new_host: Host) -> None:
    item = new_host.job()
    folder = new_host.log_dir(item)
    folder.mkdir(parents=True)
    (folder / "job.status").write_text("JOBMGR_STATUS_VER")
    (folder / "job.out").write_text("of an earlier life")
    assert new_host.submit(item)[0].result == wire.R_SUBMITTED
    new_host.wait_exit(item)
    assert (folder / "job.out").read_text() == ""


def test_what_was_revoked_or_killed_before_is_not_submitted(new_host: Host) -> None:
    revoked, killed = new_host.job(task="a"), new_host.job(task="b")
    fence.revoke(str(new_host.run_dir), revoked["token"])
    fence.write_kill_mark(str(new_host.run_dir), killed["token"], "T")
    assert [one.result for one in new_host.submit(revoked, killed)] == [wire.R_REVOKED] * 2
    assert not list(new_host.run_dir.glob("log/job/1/*/01/job.status"))


def test_one_bad_job_does_not_touch_the_others(new_host: Host) -> None:
    good = new_host.job(task="good")
    bad = [
        {**new_host.job(), "job": "../x/01"},
        {**new_host.job(), "job": "1/a b/01"},
        {**new_host.job(), "token": "x"},
        {**new_host.job(task="c"), "script": "a\0b"},
        {**new_host.job(task="d"), "work_dir": "../../etc"},
        {**new_host.job(task="e"), "runner": "nonesuch"},
        {**new_host.job(task="f"), "environment": [["A B", "x"]]},
        {**new_host.job(task="g"), "inputs": [["missing.txt", "x"]]},
        {**new_host.job(task="h"), "inputs": [["../../secret", "x"]]},
        {**new_host.job(task="i"), "directives": [["-x", "y"]]},
    ]
    answers = {one.job: one for one in new_host.submit(*bad, good)}
    assert answers[good["job"]].result == wire.R_SUBMITTED
    assert {one.result for one in answers.values()} - {wire.R_SUBMITTED} == {wire.R_FAILED}
    assert len(answers) == len(bad) + 1
    assert "known: background" in answers["1/e/01"].text
    assert "missing.txt" in answers["1/g/01"].text
    new_host.wait_exit(good)


def test_a_dry_run_shows_the_job_file_and_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    host = Host(home, host_python(tmp_path))
    (one,) = host.submit(host.job("echo hello there"), dry_run=True)
    assert one.result == wire.R_SUBMITTED
    assert "echo hello there" in one.text
    assert list(home.iterdir()) == []


def test_a_host_with_a_batch_system_refuses_what_nobody_chose_a_runner_for(
    new_host: Host, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    new_host.env["PATH"] = f"{tmp_path}/bin:{new_host.env['PATH']}"
    item = new_host.job(runner="")
    (one,) = new_host.submit(item)
    assert one.result == wire.R_REFUSED
    assert "sbatch" in one.text
    assert not new_host.log_dir(item).exists()
    chosen = new_host.job()
    assert new_host.submit(chosen)[0].result == wire.R_SUBMITTED
    new_host.wait_exit(chosen)


def test_without_a_batch_system_the_runner_is_background(new_host: Host) -> None:
    """What this machine has of one is hidden, in a mount namespace of the host's own."""
    need_root()
    hidden = [path for name in runners.BATCH_COMMANDS if (path := shutil.which(name))]
    mounts = "".join(f"mount --bind /dev/null {path} && " for path in hidden)
    new_host.through = ["unshare", "-m", "sh", "-c", mounts + 'exec "$@"', "sh"]
    item = new_host.job(runner="")
    assert new_host.submit(item)[0].result == wire.R_SUBMITTED
    new_host.wait_exit(item)
    assert new_host.facts(item)[status.RUNNER] == "background"


def test_inputs_are_put_into_the_work_directory(new_host: Host) -> None:
    (new_host.run_dir / "data" / "deep").mkdir(parents=True)
    (new_host.run_dir / "data" / "a.txt").write_text("A")
    (new_host.run_dir / "data" / "deep" / "b.txt").write_text("B")
    item = new_host.job(
        "cat a.txt copy/deep/b.txt in/a.txt",
        inputs=[["data/a.txt", "a.txt"], ["data", "copy"], ["data/a.txt", "in/"]],
    )
    new_host.submit(item)
    new_host.wait_exit(item)
    assert (new_host.log_dir(item) / "job.out").read_text() == "ABA"


def test_the_login_environment_reaches_the_jobs_of_its_batch_and_no_others(new_host: Host) -> None:
    new_host.env.update(JOBMGR_LOGIN="1", MODULES="it's loaded\n$HOME `x`", SSH_CLIENT="x", JOBMGR_OTHER="y")
    with_login = new_host.job("env -0", task="a")
    new_host.submit(with_login)
    new_host.wait_exit(with_login)
    environment = (new_host.log_dir(with_login) / "job.out").read_text().split("\0")
    assert "MODULES=it's loaded\n$HOME `x`" in environment
    assert not [row for row in environment if row.startswith(("SSH_CLIENT", "JOBMGR_OTHER"))]
    del new_host.env["JOBMGR_LOGIN"]
    without = new_host.job("env -0", task="b")
    new_host.submit(without)
    new_host.wait_exit(without)
    assert "MODULES" not in (new_host.log_dir(without) / "job.out").read_text()


def test_max_active_holds_over_all_runs_of_the_user(new_host: Host) -> None:
    first = [new_host.job("sleep 1000", task=f"a{n}") for n in range(2)]
    new_host.submit(*first, max_active=2)
    new_host.wait_started(*first)
    other = Host(new_host.home)
    other.run_dir = new_host.home / "jobmgr-run" / "other"
    other.run = new_host.run._replace(suite="other")
    other.initialise()
    item = other.job()
    other.submit(item, max_active=2)
    assert other.poll(item)[0].spool == wire.S_QUEUED
    assert len(new_host.slots()) == 2
    new_host.kill(first[0], grace=5)
    other.wait_exit(item)


def test_a_journal_that_cannot_be_written_fails_the_jobs_and_a_repeat_works(new_host: Host) -> None:
    journal = new_host.run_dir / layout.JOURNAL_FILE
    journal.mkdir()
    item = new_host.job()
    (one,) = new_host.submit(item)
    assert one.result == wire.R_FAILED
    assert "journal" in one.text
    journal.rmdir()
    assert new_host.submit(item)[0].result == wire.R_SUBMITTED
    new_host.wait_exit(item)


def test_a_spool_that_cannot_be_written_fails_the_jobs_and_a_repeat_works(new_host: Host) -> None:
    blocked = new_host.home / ".jobmgr"
    blocked.write_text("in the way")
    item = new_host.job()
    (one,) = new_host.submit(item)
    assert one.result == wire.R_FAILED
    assert ".jobmgr" in one.text
    blocked.unlink()
    assert new_host.submit(item)[0].result == wire.R_SUBMITTED
    new_host.wait_exit(item)


def test_a_full_disk_fails_the_jobs_with_its_name_and_a_repeat_works(new_host: Host) -> None:
    """A limit on file sizes stands in for the disk: the journal cannot take the batch any more."""
    journal = new_host.run_dir / layout.JOURNAL_FILE
    journal.write_bytes(b"#" * 8191 + b"\n")
    item = new_host.job()

    def limited() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    (new_host.run_dir / "x").touch()
    first = new_host.job(task="warm")
    new_host.submit(first)  # the wrapper's copy is larger than the limit
    new_host.wait_exit(first)
    journal.write_bytes(b"#" * 8191 + b"\n")
    process = new_host.start(wire.JOBS_SUBMIT, preexec_fn=limited)
    out, err = process.communicate(new_host.request(wire.JOBS_SUBMIT, [item]), timeout=60)
    (one,) = Answer(wire.JOBS_SUBMIT, process.returncode, out, err).jobs
    assert one.result == wire.R_FAILED
    assert "File too large" in one.text
    assert journal.stat().st_size == 8192
    assert new_host.submit(item)[0].result == wire.R_SUBMITTED
    new_host.wait_exit(item)


def test_ten_thousand_jobs_take_linear_time_and_little_memory(new_host: Host) -> None:
    items = [{"job": f"1/t{n}/01", "token": new_host.job()["token"]} for n in range(10000)]
    common = {"runner": "background", "script": "true\n" * 2000}
    data = wire.encode_request(wire.JOBS_SUBMIT, new_host.run, {"max_active": 1}, items, common)
    blocker = new_host.job("sleep 1000")
    new_host.submit(blocker, max_active=1)
    process = new_host.start(wire.JOBS_SUBMIT)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, peak_of(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate(data, timeout=110)
    done.set()
    watcher.join()
    answer = Answer(wire.JOBS_SUBMIT, process.returncode, out, err)
    assert answer.ended
    assert {one.result for one in answer.jobs} == {wire.R_SUBMITTED}
    assert len(answer.jobs) == 10000
    assert 0 < peak < 60 * 1024


def peak_of(process: subprocess.Popen[bytes]) -> int:
    """Peak resident memory in KiB."""
    try:
        rows = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) for row in rows if row.startswith("VmHWM")), 0)


# --- what an earlier request has left, as the host side finds it ---------------------------------------


@pytest.fixture
def batch(new_host: Host, monkeypatch: pytest.MonkeyPatch) -> jobs_submit.Batch:
    """A request under way in this process; its answers are in ``batch.reply``."""
    monkeypatch.setenv("HOME", str(new_host.home))
    here = session.Host(new_host.run, None)
    here.run_dir = str(new_host.run_dir)
    request = wire.Request(wire.PROTOCOL, wire.JOBS_SUBMIT, new_host.run, {}, [], True)
    return jobs_submit.Batch(request, session.Reply(io.BytesIO()), here)


def answers_of(batch: jobs_submit.Batch) -> list[wire.Submitted]:
    return Answer(wire.JOBS_SUBMIT, 0, batch.reply._stdout.getvalue(), b"").jobs  # type: ignore[attr-defined]


def journal(batch: jobs_submit.Batch, item: dict[str, Any], pid: int = 0, instance: str = "") -> None:
    """An earlier request, by that process, has gone as far as the fence."""
    process = proc.look(pid)
    start = process.start if process else "1"
    entry = fence.Entry(
        item["token"],
        item["job"],
        item["runner"],
        1.0,
        pid or 1,
        start,
        instance or proc.instance(),
        "old-host",
    )
    fence.append_journal(batch.run_dir, [entry])


def test_what_an_earlier_request_did_not_bring_to_the_fence_is_prepared_again(
    new_host: Host, batch: jobs_submit.Batch
) -> None:
    item = new_host.job()
    assert jobs_submit._prepare_all(batch, [item]) == [item]
    assert jobs_submit._prepare_all(batch, [item]) == [], "it is under way in this request"
    batch.tokens.clear()
    assert jobs_submit._prepare_all(batch, [item]) == [item]
    assert answers_of(batch) == []


@pytest.mark.parametrize(
    ("runner", "instance", "pid", "text"),
    [
        ("background", "other:1:2", 0, "cut short by a restart of old-host"),
        ("slurm", "", 0, "an earlier request may have submitted it"),
        ("background", "", os.getppid(), "submitting it right now"),
    ],
)
def test_what_may_have_been_submitted_by_an_earlier_request_stays_in_doubt(
    new_host: Host, batch: jobs_submit.Batch, runner: str, instance: str, pid: int, text: str
) -> None:
    item = new_host.job(runner=runner)
    (new_host.run_dir / layout.token_dir(item["token"])).mkdir(parents=True)
    journal(batch, item, pid, instance)
    assert jobs_submit._prepare_all(batch, [item]) == []
    (one,) = answers_of(batch)
    assert one.result == wire.R_UNKNOWN
    assert text in one.text


def test_a_job_that_never_got_into_the_queue_of_a_dead_request_is_submitted(
    new_host: Host, batch: jobs_submit.Batch
) -> None:
    item = new_host.job()
    (new_host.run_dir / layout.token_dir(item["token"])).mkdir(parents=True)
    journal(batch, item)
    assert jobs_submit._prepare_all(batch, [item]) == [item]


def test_a_job_in_the_spool_a_started_one_and_one_with_an_id_are_already_there(
    new_host: Host, batch: jobs_submit.Batch
) -> None:
    queued, started, named = (new_host.job(task=task) for task in ("queued", "started", "named"))
    named["runner"] = "slurm"
    for item in (queued, started, named):
        (new_host.run_dir / layout.token_dir(item["token"])).mkdir(parents=True)
        journal(batch, item)
    spool = Spool(str(new_host.home), os.uname()[1], proc.instance())
    spool.enqueue([Queued(batch.run_dir, queued["job"], queued["token"], "", "")])
    claim = fence.token_file(batch.run_dir, started["token"], layout.CLAIM)
    assert fence.create_directly(claim, "77 77 5 x y\n")
    fence.write_native_id(batch.run_dir, named["token"], "101")
    assert jobs_submit._prepare_all(batch, [queued, started, named]) == []
    assert [(one.result, one.native_id) for one in answers_of(batch)] == [
        (wire.R_ALREADY, ""),
        (wire.R_ALREADY, "77"),
        (wire.R_ALREADY, "101"),
    ]


def test_a_status_file_that_cannot_be_filled_is_not_left_behind(
    new_host: Host, batch: jobs_submit.Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    item = new_host.job()
    with monkeypatch.context() as patch:
        patch.setattr(session, "write_all", full)
        assert jobs_submit._prepare_all(batch, [item]) == []
    assert answers_of(batch)[0].text == "No space left on device"
    assert list(new_host.log_dir(item).iterdir()) == []
    assert jobs_submit._prepare_all(batch, [item]) == [item]


def test_the_link_to_the_latest_submit_moves_on_and_spares_what_is_no_link(tmp_path: Path) -> None:
    link = tmp_path / layout.LATEST
    for number in ("01", "01", "02"):
        jobs_submit._point_latest(str(tmp_path / number))
        assert os.readlink(link) == number
    link.unlink()
    link.mkdir()
    jobs_submit._point_latest(str(tmp_path / "03"))
    assert link.is_dir()
    assert not link.is_symlink()


def test_an_input_that_is_there_and_as_new_is_not_copied_again(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "work" / "target"
    source.write_text("one")
    jobs_submit._place_input(str(source), str(target))
    first = target.stat().st_ino
    jobs_submit._place_input(str(source), str(target))
    assert target.stat().st_ino == first
    source.write_text("another")
    jobs_submit._place_input(str(source), str(target))
    assert target.read_text() == "another"
    target.unlink()
    target.mkdir()
    with pytest.raises(OSError):
        jobs_submit._place_input(str(source), str(target))
    assert os.listdir(tmp_path / "work") == ["target"]


def test_a_host_without_bash_refuses_all_jobs(
    new_host: Host, batch: jobs_submit.Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc, "find_program", lambda _: "")
    request = wire.Request(wire.PROTOCOL, wire.JOBS_SUBMIT, new_host.run, {}, [], True)
    with pytest.raises(session.Refused, match="no bash"):
        jobs_submit.run(request, batch.reply, batch.host)


def test_jobs_that_are_queued_but_cannot_be_started_are_submitted_with_a_warning(new_host: Host) -> None:
    spool = Spool(str(new_host.home), os.uname()[1], proc.instance())
    spool.make()
    Path(spool.folder, "lock").mkdir()
    item = new_host.job()
    answer = new_host.call(wire.JOBS_SUBMIT, [item])
    assert [one.result for one in answer.jobs] == [wire.R_SUBMITTED]
    (note,) = answer.of(wire.NOTE)
    assert (note.level, note.code) == ("warning", "slots")
    Path(spool.folder, "lock").rmdir()
    new_host.submit()  # as any call: it starts what waits
    new_host.wait_exit(item)


# --- batch systems: the generic path -----------------------------------------------------------------

SBATCH = r"""#!/bin/sh
[ ! -e "$FAKE/full" ] || { echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; }
[ ! -e "$FAKE/broken" ] || { echo "sbatch: error: invalid partition specified" >&2; exit 1; }
for last; do :; done
exec 9>>"$FAKE/lock"; flock 9  # four are at it at once
n=$(($(cat "$FAKE/count" 2>/dev/null || echo 100) + 1))
echo "$n" >"$FAKE/count"
echo "$last" >>"$FAKE/submitted"
[ ! -e "$FAKE/dies" ] || kill -KILL $PPID
echo "$n"
"""


@pytest.fixture
def cluster(new_host: Host, tmp_path: Path) -> Path:
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "sbatch").write_text(SBATCH)
    (fake / "sbatch").chmod(0o755)
    new_host.env.update(PATH=f"{fake}:{new_host.env['PATH']}", FAKE=str(fake))
    return fake


def test_a_batch_job_goes_to_its_queue_once_and_its_id_is_recorded(new_host: Host, cluster: Path) -> None:
    item = new_host.job(runner="slurm")
    assert new_host.submit(item)[0].native_id == "101"
    assert fence.read_native_id(str(new_host.run_dir), item["token"]) == "101"
    (again,) = new_host.submit(item)
    assert (again.result, again.native_id) == (wire.R_ALREADY, "101")
    assert (cluster / "submitted").read_text().count("\n") == 1


def test_a_queue_that_is_full_means_later_and_the_same_token_may_come_again(
    new_host: Host, cluster: Path
) -> None:
    (cluster / "full").touch()
    item = new_host.job(runner="slurm")
    assert new_host.submit(item)[0].result == wire.R_LIMIT
    (cluster / "full").unlink()
    assert new_host.submit(item)[0].result == wire.R_SUBMITTED


def test_a_submit_command_that_refuses_is_a_failure_with_its_words(new_host: Host, cluster: Path) -> None:
    (cluster / "broken").touch()
    (one,) = new_host.submit(new_host.job(runner="slurm"))
    assert one.result == wire.R_FAILED
    assert "invalid partition" in one.text


def test_a_submit_that_dies_behind_the_fence_stays_in_doubt(new_host: Host, cluster: Path) -> None:
    (cluster / "dies").touch()
    item = new_host.job(runner="slurm")
    new_host.call(wire.JOBS_SUBMIT, [item])
    assert (cluster / "submitted").read_text().count("\n") == 1
    (cluster / "dies").unlink()
    assert new_host.submit(item)[0].result == wire.R_UNKNOWN
    assert (cluster / "submitted").read_text().count("\n") == 1


def test_an_id_that_cannot_be_written_down_is_told_all_the_same(
    new_host: Host, batch: jobs_submit.Batch, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", new_host.env["PATH"])
    monkeypatch.setenv("FAKE", str(cluster))
    item = new_host.job(runner="slurm")
    assert jobs_submit._prepare_all(batch, [item]) == [item]
    Path(fence.token_file(batch.run_dir, item["token"], layout.NATIVE_ID)).mkdir()
    jobs_submit._submit_batch(batch, [item])
    (one,) = answers_of(batch)
    assert (one.result, one.native_id) == (wire.R_SUBMITTED, "101")
    assert "could not be recorded" in one.text


def test_behind_a_full_queue_nobody_else_is_tried(
    new_host: Host, batch: jobs_submit.Batch, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", new_host.env["PATH"])
    item = new_host.job(runner="slurm")
    assert jobs_submit._submit_one(batch, item, ["the queue is full"]) == (
        wire.R_LIMIT,
        "",
        "the queue is full",
    )
    assert not (cluster / "submitted").exists()


def test_max_submit_leaves_the_rest_for_later(new_host: Host, cluster: Path) -> None:
    items = [new_host.job(runner="slurm", task=f"t{n}") for n in range(5)]
    results = [one.result for one in new_host.submit(*items, max_submit=2)]
    assert sorted(results) == sorted([wire.R_SUBMITTED] * 2 + [wire.R_LIMIT] * 3)
    left = [item for item in items if not fence.read_native_id(str(new_host.run_dir), item["token"])]
    assert {one.result for one in new_host.submit(*left)} == {wire.R_SUBMITTED}


def test_the_login_file_is_shared_by_batches_with_the_same_environment(tmp_path: Path) -> None:
    (tmp_path / layout.LIB).mkdir(parents=True)
    assert jobs_submit.write_login(str(tmp_path)) == jobs_submit.write_login(str(tmp_path))
    assert len(list((tmp_path / layout.LIB).iterdir())) == 1

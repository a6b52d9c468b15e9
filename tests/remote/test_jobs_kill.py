"""jobs-kill: every process that the job has started is dead, and none that it has not started is touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import interpreters
from host_side import PACKAGE, Host, await_that, host_in
from jobmgr_remote import evidence, fence, layout, proc, session, status, wire
from jobmgr_remote.commands import jobs_kill
from jobmgr_remote.spool import Spool

PYTHONS = interpreters.oldest_and_newest()
PYTHON = sys.executable
#: How jobmgr itself starts the host side from inside a job (transport ``local``).
OF_JOBMGR = "env -u JOBMGR_TOKEN JOBMGR_SERVICE=1 setsid -w"


@pytest.fixture(params=PYTHONS, ids=lambda path: os.path.basename(path))
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    with host_in(tmp_path / "home", request.param) as one:
        yield one


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as one:
        yield one


def marked(mark: str) -> set[int]:
    """Live processes that hold ``mark`` in their command line, whatever their environment."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            process = proc.look(int(name))
            if mark.encode() in line and process and process.state not in proc.DEAD_STATES:
                found.add(int(name))
    return found


WAYS_OUT = {
    "plain": "{sleep} &",
    "setsid": "setsid {sleep} &",
    "double fork": "(setsid {sleep} & ) ; (( setsid {sleep} & ) & )",
    "no environment": "env -i {sleep} &",
    "all of it": "(setsid env -i bash -c 'exec {sleep}' & )",
    "nohup": "nohup {sleep} >/dev/null 2>&1 &",
    "deaf": "bash -c 'trap \"\" TERM INT HUP; while :; do {sleep}; done' &",
    "stopped": "{sleep} & sleep 0.3; kill -STOP $!",
    "own group": "set -m; {sleep} & set +m",
    "daemon": "python3 $JOBMGR_SUITE_DIR/daemon.py {number} {path}",
}


DAEMON = """\
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.argv[2], [sys.argv[2], sys.argv[1]], {})
    os._exit(0)
os._exit(0)
"""


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_way_out_of_a_job_gets_away(new_host: Host, way: str) -> None:
    path = shutil.which("sleep") or ""
    number = f"{3000 + os.getpid()}.{list(WAYS_OUT).index(way)}1"
    text = WAYS_OUT[way].format(sleep=f"{path} {number}", path=path, number=number)
    (new_host.run_dir / "daemon.py").write_text(DAEMON)
    item = new_host.job(f"{text}\n{path} {number}")
    bystander = new_host.job(f"{path} 99{number}", task="bystander")
    new_host.submit(item, bystander)
    new_host.wait_started(item, bystander)
    expected = 1 + text.count(number)
    await_that(lambda: len(marked(f"{path}\0{number}")) == expected)
    (killed,) = new_host.kill(item, grace=0.3)
    assert (killed.result, killed.text) == (wire.K_KILLED, "")
    assert marked(number) & marked(f"{path}\0{number}") == set()
    assert killed.evidence.killed
    assert killed.evidence.process == wire.P_GONE
    assert len(marked(f"99{number}")) == 1
    assert new_host.exit_of(bystander) == ""


@pytest.mark.parametrize(
    "script",
    ["{sleep} & sleep 0.3; kill -STOP 0", "kill -STOP $$ $BASHPID", "exec {sleep}", "(exec -a other {sleep})"],
    ids=["stops its group", "stops itself and its wrapper", "becomes a program", "under another name"],
)
def test_what_a_job_does_with_itself_does_not_save_it(new_host: Host, script: str) -> None:
    number = f"{3500 + os.getpid()}.5"
    item = new_host.job(script.format(sleep=f"sleep {number}"))
    new_host.submit(item)
    new_host.wait_started(item)
    facts = new_host.facts(item)
    if "sleep" in script:
        await_that(lambda: marked(number))
    (killed,) = new_host.kill(item, grace=0.3)
    assert (killed.result, killed.text) == (wire.K_KILLED, "")
    assert marked(number) == set()
    assert not proc.is_alive(int(facts[status.PID]), facts[status.START_IDENTITY])


@pytest.mark.skipif(not shutil.which("ssh-agent"), reason="ssh-agent is not installed")
def test_an_ssh_agent_that_a_job_has_started_goes_with_it(new_host: Host) -> None:
    socket = f"/tmp/jm-agent-{os.getpid()}"
    item = new_host.job(f'eval "$(ssh-agent -s -a {socket})"; sleep 1000')
    new_host.submit(item)
    await_that(lambda: marked(socket))
    (killed,) = new_host.kill(item, grace=0.5)
    assert killed.result == wire.K_KILLED
    assert marked(socket) == set()
    Path(socket).unlink(missing_ok=True)


def test_a_kill_that_races_with_the_natural_end_leaves_one_true_record(new_host: Host) -> None:
    items = [new_host.job(f"sleep 0.{n:02}", task=f"t{n}") for n in range(0, 60, 5)]
    new_host.submit(*items, max_active=12)
    new_host.wait_started(*items[6:])
    for item, killed in zip(items, new_host.kill(*items, grace=0.3), strict=True):
        exit_record = new_host.exit_of(item)
        assert killed.result in (wire.K_KILLED, wire.K_FINISHED), killed
        assert exit_record in ("SUCCEEDED", "SIGNAL/TERM", "SIGNAL/KILL", ""), exit_record
        assert (killed.result == wire.K_KILLED) == (exit_record != "SUCCEEDED"), (killed, exit_record)
        facts = new_host.facts(item)
        if status.PID in facts:
            assert not proc.is_alive(int(facts[status.PID]), facts[status.START_IDENTITY])


def test_a_killed_job_says_by_which_signal(host: Host) -> None:
    item = host.job("sleep 1000", list_files=True)
    host.submit(item)
    host.wait_started(item)
    (killed,) = host.kill(item)
    assert killed.result == wire.K_KILLED
    assert killed.evidence.file.facts[status.EXIT] == "SIGNAL/TERM"
    assert killed.evidence.claim == wire.C_STARTED
    assert "log/job/1/t/01/job.out" in {one.path for one in killed.evidence.files}
    (again,) = host.kill(item)
    assert again.result == wire.K_FINISHED


def test_a_job_that_waits_can_never_start_any_more(host: Host) -> None:
    busy = host.job("sleep 1000", task="busy")
    waiting = [host.job("echo ran >>$JOBMGR_SUITE_DIR/ran", task=f"w{n}") for n in range(5)]
    host.submit(busy, *waiting, max_active=1)
    host.wait_started(busy)
    killed = host.kill(*waiting)
    assert {(one.result, one.text, one.evidence.claim) for one in killed} == {
        (wire.K_KILLED, "it had not started", wire.C_REVOKED)
    }
    assert os.listdir(host.spool / "queue") == os.listdir(host.spool / "taken")
    host.kill(busy, grace=1)
    await_that(lambda: not host.slots())
    assert not (host.run_dir / "ran").exists()
    assert {one.result for one in host.submit(*waiting)} == {wire.R_REVOKED}


def test_a_job_that_has_ended_is_left_alone(host: Host) -> None:
    item = host.job("true")
    host.submit(item)
    host.wait_exit(item)
    (one,) = host.kill(item)
    assert one.result == wire.K_FINISHED
    assert not one.evidence.killed


@pytest.mark.parametrize("ended", [True, False])
def test_a_job_that_ends_behind_the_first_look_has_ended_by_itself(new_host: Host, ended: bool) -> None:
    go = new_host.home / "go"
    item = new_host.job(f"until [ -e {go} ]; do sleep 0.01; done; exit 3")
    new_host.submit(item)
    await_that(lambda: status.PID in new_host.facts(item))
    here = session.Host(new_host.run, None)
    here.home, here.run_dir = str(new_host.home), str(new_host.run_dir)
    spool = Spool(str(new_host.home), os.uname()[1], proc.instance())
    looker = evidence.Looker(here, spool)
    kill = jobs_kill.Kill(item, looker.glance(item))
    if ended:
        go.touch()
        new_host.wait_exit(item)
        await_that(lambda: not new_host.processes())
    target = jobs_kill._target(kill, looker, spool.keeper(), [])
    assert target
    assert (kill.finished, bool(target.pid)) == (ended, not ended)
    go.touch()


def test_a_token_that_this_host_has_never_met_is_revoked_all_the_same(host: Host) -> None:
    item = host.job()
    (one,) = host.kill(item)
    assert one.result == wire.K_NOT_FOUND
    assert host.submit(item)[0].result == wire.R_REVOKED


def test_what_a_failed_job_has_left_running_is_ended(new_host: Host) -> None:
    number = f"{4000 + os.getpid()}.5"
    item = new_host.job(f"setsid sleep {number} & sleep 0.1; exit 1")
    new_host.submit(item)
    new_host.wait_exit(item)
    if marked(number):
        assert new_host.kill(item, grace=1)[0].result == wire.K_KILLED
    assert marked(number) == set()


def test_a_job_whose_shell_was_killed_by_force_leaves_no_child_behind(new_host: Host) -> None:
    number = f"{5000 + os.getpid()}.5"
    item = new_host.job(f"setsid sleep {number} & sleep {number}")
    new_host.submit(item)
    await_that(lambda: len(marked(number)) == 2)
    os.kill(int(new_host.facts(item)[status.PID]), signal.SIGKILL)
    new_host.wait_exit(item)
    assert new_host.exit_of(item) == "SIGNAL/KILL"
    assert marked(number) == set()
    (one,) = new_host.kill(item, grace=1)
    assert one.result == wire.K_FINISHED


def test_a_fork_storm_is_ended(new_host: Host) -> None:
    mark = f"storm{os.getpid()}x"
    storm = f"storm() {{ while :; do (: {mark}; sleep 0.01) & done; }}\nulimit -u 3000; storm & storm & wait"
    item = new_host.job(storm)
    item["script"] = f"bash -c '{storm}' {mark}; sleep 1000"
    new_host.submit(item)
    await_that(lambda: len(marked(mark)) > 20)
    (one,) = new_host.kill(item, grace=0.5)
    assert one.result == wire.K_KILLED
    assert marked(mark) == set()


def test_a_job_that_is_killed_at_its_first_moment_is_gone(new_host: Host) -> None:
    number = f"{6000 + os.getpid()}.5"
    items = [new_host.job(f"sleep {number}", task=f"t{n}") for n in range(12)]
    new_host.submit(*items, max_active=12)
    killed = new_host.kill(*items, grace=1)
    assert {one.result for one in killed} == {wire.K_KILLED}
    assert marked(number) == set()
    new_host.poll(*items)
    await_that(lambda: not new_host.slots())
    assert marked(number) == set()


def test_what_an_earlier_job_of_the_slot_left_behind_is_not_taken_for_the_next_jobs(new_host: Host) -> None:
    number = f"{7000 + os.getpid()}.5"
    path = shutil.which("sleep")
    daemon = new_host.job(f"(setsid env -i {path} {number} & ) ; env -i {path} {number} & true", task="a")
    following = new_host.job("sleep 1000", task="b")
    new_host.submit(daemon, following, max_active=1)
    new_host.wait_exit(daemon)
    new_host.wait_started(following)
    left = marked(number)
    assert len(left) == 2
    (one,) = new_host.kill(following, grace=1)
    assert one.result == wire.K_KILLED
    assert marked(number) == left
    for pid in left:  # nothing in its environment tells the end of this test that it is one of ours
        os.kill(pid, signal.SIGKILL)


def test_a_slot_that_dies_does_not_save_its_job(new_host: Host) -> None:
    number = f"{8000 + os.getpid()}.5"
    item = new_host.job(f"sleep {number} & wait")
    other = new_host.job("true", task="other")
    new_host.submit(item, other, max_active=1)
    await_that(lambda: marked(number))
    (slot,) = new_host.slots()
    os.kill(slot, signal.SIGKILL)
    await_that(lambda: slot not in new_host.slots())
    assert new_host.poll(item)[0].process == wire.P_ALIVE
    assert new_host.poll(other)[0].spool == wire.S_QUEUED
    (one,) = new_host.kill(item, grace=1)
    assert one.result == wire.K_KILLED
    assert marked(number) == set()
    new_host.wait_exit(other)


def test_a_number_that_now_belongs_to_another_process_is_not_signalled(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    new_host.kill(item, grace=1)
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        folder = new_host.log_dir(item)
        rows = [row for row in (folder / "job.status").read_text().splitlines(True) if "EXIT" not in row]
        rows = [f"JOBMGR_PID={bystander.pid}\n" if row.startswith("JOBMGR_PID=") else row for row in rows]
        (folder / "job.status").write_text("".join(rows))
        claim = Path(fence.token_file(str(new_host.run_dir), item["token"], layout.CLAIM))
        words = claim.read_text().split()
        claim.write_text(" ".join([words[0], str(bystander.pid), *words[2:]]) + "\n")
        assert new_host.poll(item)[0].process == wire.P_NOT_OURS
        assert new_host.kill(item, grace=0.2)[0].result == wire.K_KILLED
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_job_on_another_host_is_not_touched_and_said_so(new_host: Host) -> None:
    item = new_host.job()
    folder = new_host.log_dir(item)
    folder.mkdir(parents=True)
    (folder / "job.status").write_text(
        status.header(item["token"], "background", "2026-11-20T12:00:00Z")
        + "JOBMGR_ATTEMPT=1\nJOBMGR_PID=1\nJOBMGR_START_IDENTITY=1\n"
        + "JOBMGR_INSTANCE=b:1:2\nJOBMGR_HOSTNAME=node7\n"
    )
    token_folder = new_host.run_dir / layout.token_dir(item["token"])
    token_folder.mkdir(parents=True)
    (token_folder / "claim").write_text("1 1 1 b:1:2 node7\n")
    (one,) = new_host.kill(item)
    assert one.result == wire.K_COULD_NOT
    assert "node7" in one.text
    assert one.evidence.process == wire.P_OTHER_HOST
    assert one.evidence.killed


def test_a_kill_from_inside_the_job_ends_all_but_itself(new_host: Host) -> None:
    number = f"{9000 + os.getpid()}.5"
    item = new_host.job()
    request = new_host.home / "request"
    host_side = f"{PYTHON} -I -S {PACKAGE}"
    call = f"{OF_JOBMGR} {host_side} jobs-kill <{request} >{new_host.home}/answer"
    item["script"] = f"sleep {number} & {call}; sleep {number}"
    request.write_bytes(new_host.request(wire.JOBS_KILL, [item], grace=1))
    new_host.submit(item)
    await_that(lambda: b'"end":1' in _read(new_host.home / "answer"))
    ((_, _), (_, answer), (_, _)) = wire.ReplyReader(wire.JOBS_KILL).feed(_read(new_host.home / "answer"))
    assert answer.result == wire.K_KILLED  # type: ignore[attr-defined]
    await_that(lambda: marked(number) == set())


def test_what_jobmgr_started_inside_a_job_to_outlive_it_survives(new_host: Host) -> None:
    number = f"{9500 + os.getpid()}.5"
    path = shutil.which("sleep")
    item = new_host.job(f"env -i JOBMGR_SERVICE=ssh HOME=$HOME setsid {path} {number} & sleep 1000")
    new_host.submit(item)
    await_that(lambda: marked(f"{path}\0{number}"))
    assert new_host.kill(item, grace=1)[0].result == wire.K_KILLED
    assert len(marked(number)) == 1


def test_a_slot_that_a_jobs_own_call_has_started_survives_it(new_host: Host) -> None:
    """A job submits to its own machine: the new slot descends from it, and must not die with it."""
    inner = new_host.job("sleep 1000", task="inner")
    outer = new_host.job(task="outer")
    request = new_host.home / "request"
    request.write_bytes(new_host.request(wire.JOBS_SUBMIT, [inner], max_active=4))
    call = f"{OF_JOBMGR} {PYTHON} -I -S {PACKAGE} jobs-submit <{request} >/dev/null"
    outer["script"] = f"{call}; sleep 1000"
    new_host.submit(outer, max_active=4)
    new_host.wait_started(inner)
    assert new_host.kill(outer, grace=1)[0].result == wire.K_KILLED
    (one,) = new_host.poll(inner)
    assert one.process == wire.P_ALIVE
    assert len(new_host.slots()) >= 1


def test_the_grace_is_one_for_all_jobs(new_host: Host) -> None:
    items = [new_host.job("trap '' TERM; while :; do sleep 1; done", task=f"t{n}") for n in range(6)]
    new_host.submit(*items, max_active=6)
    new_host.wait_started(*items)
    before = time.monotonic()
    killed = new_host.kill(*items, grace=2)
    assert {one.result for one in killed} == {wire.K_KILLED}
    assert time.monotonic() - before < 6 * 2
    assert {one.evidence.process for one in killed} == {wire.P_GONE}


def test_a_run_directory_that_cannot_be_written_is_said(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    (new_host.run_dir / layout.TOKENS).write_text("in the way")
    (one,) = new_host.kill(item)
    assert one.result == wire.K_COULD_NOT
    assert layout.TOKENS in one.text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


# --- through a queue ---------------------------------------------------------------------------------

SQUEUE = """#!/bin/sh
[ ! -e "$FAKE/down" ] || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
cat "$FAKE/queue" 2>/dev/null
"""
SCANCEL = """#!/bin/sh
echo "$*" >>"$FAKE/cancelled"
"""


@pytest.fixture
def cluster(new_host: Host, tmp_path: Path) -> Path:
    fake = tmp_path / "fake"
    fake.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL), ("sacct", "#!/bin/sh\nexit 0\n")):
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    new_host.env.update(PATH=f"{fake}:{new_host.env['PATH']}", FAKE=str(fake))
    return fake


def test_a_queue_that_cannot_be_asked_is_could_not_and_the_job_cannot_start(
    new_host: Host, cluster: Path
) -> None:
    (cluster / "down").touch()
    item = new_host.job(runner="slurm", native_id="101")
    (one,) = new_host.kill(item)
    assert one.result == wire.K_COULD_NOT
    assert "contact" in one.text
    assert one.evidence.claim == wire.C_REVOKED
    assert one.evidence.queue.state == wire.Q_COULD_NOT_ASK
    assert not (cluster / "cancelled").exists()


def test_a_job_that_the_queue_does_not_list_is_not_cancelled(new_host: Host, cluster: Path) -> None:
    (cluster / "queue").write_text("JOBID|STATE|REASON|SUBMIT_TIME|COMMENT|NAME\n")
    item = new_host.job(runner="slurm", native_id="101")
    (one,) = new_host.kill(item)
    assert one.result == wire.K_KILLED
    assert not (cluster / "cancelled").exists()


def test_a_queued_job_of_ours_is_cancelled_and_another_of_that_number_is_not(
    new_host: Host, cluster: Path
) -> None:
    ours, recycled = (
        new_host.job(runner="slurm", native_id="101"),
        new_host.job(task="b", runner="slurm", native_id="102"),
    )
    (cluster / "queue").write_text(
        "JOBID|STATE|REASON|SUBMIT_TIME|COMMENT|NAME\n"
        f"101|RUNNING|None|0|jobmgr:{ours['token']}|t\n"
        "102|RUNNING|None|0|jobmgr:11111111-2222-3333-4444-555555555555|t\n"
    )
    first, second = new_host.kill(ours, recycled)
    assert (first.result, second.result) == (wire.K_KILLED, wire.K_KILLED)
    assert second.evidence.queue.state == wire.Q_OTHER_JOB
    cancelled = (cluster / "cancelled").read_text()
    assert "101" in cancelled
    assert "102" not in cancelled


def test_a_cancel_that_is_refused_is_said(new_host: Host, cluster: Path) -> None:
    item = new_host.job(runner="slurm", native_id="101")
    (cluster / "queue").write_text(
        f"JOBID|STATE|REASON|SUBMIT_TIME|COMMENT|NAME\n101|RUNNING|None|0|jobmgr:{item['token']}|t\n"
    )
    (cluster / "scancel").write_text(
        "#!/bin/sh\n"
        "echo 'scancel: error: Kill job error on job id 101: Access/permission denied' >&2; exit 1\n"
    )
    (one,) = new_host.kill(item)
    assert one.result == wire.K_COULD_NOT
    assert "denied" in one.text


def test_a_runner_that_nobody_knows_is_could_not(new_host: Host) -> None:
    (one,) = new_host.kill(new_host.job(runner="nonesuch", native_id="1"))
    assert one.result == wire.K_COULD_NOT
    assert "nonesuch" in one.text


def test_another_jobs_directory_is_not_touched(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    (one,) = new_host.kill(new_host.job())
    assert one.result == wire.K_COULD_NOT
    assert "another job" in one.text
    assert new_host.poll(item)[0].process == wire.P_ALIVE


def lay(host: Host, item: dict[str, Any], text: str) -> None:
    """Put a status file into the job's directory."""
    host.log_dir(item).mkdir(parents=True)
    header = status.header(item["token"], item["runner"], "2026-11-20T12:00:00Z")
    (host.log_dir(item) / "job.status").write_text(header + text)


def test_a_job_whose_status_file_was_replaced_by_another_jobs_is_ended_by_its_token(new_host: Host) -> None:
    number = f"{7300 + os.getpid()}.5"
    item = new_host.job(f"sleep {number} & exec sleep {number}")
    new_host.submit(item)
    await_that(lambda: len(marked(f"sleep\0{number}")) == 2)
    file = new_host.log_dir(item) / "job.status"
    file.write_text(status.header("1" * 36, "background", "2026-11-20T12:00:00Z") + "JOBMGR_EXIT=SUCCEEDED\n")
    (one,) = new_host.kill(item, grace=5)
    assert one.result == wire.K_COULD_NOT
    assert "belongs to another job" in one.text
    assert not marked(f"sleep\0{number}")
    assert fence.has_kill_mark(str(new_host.run_dir), item["token"])


@pytest.mark.parametrize("runner", ["background", "slurm"])
def test_a_job_that_has_succeeded_is_not_even_marked(new_host: Host, cluster: Path, runner: str) -> None:
    item = new_host.job(runner=runner, native_id="101")
    lay(new_host, item, "JOBMGR_ATTEMPT=1\nJOBMGR_EXIT=SUCCEEDED\n")
    (one,) = new_host.kill(item)
    assert one.result == wire.K_FINISHED
    assert not fence.has_kill_mark(str(new_host.run_dir), item["token"])
    assert not (cluster / "cancelled").exists()


def test_a_job_whose_claim_is_gone_is_ended_by_what_its_file_says(new_host: Host) -> None:
    item = new_host.job("sleep 1000")
    new_host.submit(item)
    new_host.wait_started(item)
    os.unlink(fence.token_file(str(new_host.run_dir), item["token"], layout.CLAIM))
    (one,) = new_host.kill(item)
    assert one.result == wire.K_KILLED
    assert one.evidence.process == wire.P_GONE
    assert new_host.exit_of(item) == "SIGNAL/TERM"

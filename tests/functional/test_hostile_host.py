"""A host that lies, boasts and overwhelms: it can show wrong states of its own jobs, and do nothing else."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobmgr import Session, Suite, Task
from jobmgr.api.run import Run
from jobmgr.core.states import State
from jobmgr.errors import JobmgrError
from jobmgr.service import kill
from jobmgr.store.records import Change

ROOT = Path(__file__).resolve().parents[2]
EVIL = "\x1b]0;owned\x07\x1b[2J\r\u202e"

# The host's own program: it reads a request and answers as LIES says. ``lie`` stands in for what is told.
PROGRAM = """\
#!{python}
import json, os, sys
sys.path.insert(0, {remote!r})
from jobmgr_remote import wire
verb, folder = sys.argv[1], os.path.dirname(os.path.abspath(__file__))
lies = json.load(open(folder + "/lies.json"))
request = wire.read_request(sys.stdin.buffer)
out = sys.stdout.buffer
def say(kind, value):
    out.write(wire.encode_reply(kind, value))
text, native_id = lies.get("text", ""), lies.get("native_id", "")
hostname, user = lies.get("hostname", "h"), lies.get("user", "u")
say(wire.HELLO, wire.Hello(1, "1", {now}, "i:1:2", hostname, user, folder + "/evil", "ok", "3"))
out.write(lies.get("noise", "").encode() * lies.get("times", 1))
count = 0
for item in request.items:
    if verb == "jobs-submit":
        say(wire.JOB, wire.Submitted(item["job"], item["token"], "submitted", native_id, text, "2026-11-20T12:00:00Z"))
        count += 1
    if verb == "jobs-poll" and "same" in lies:
        say(wire.SAME, lies["same"])
    elif verb == "jobs-poll":
        facts = {{"TOKEN": item["token"], "START_TIME": "2026-11-20T12:00:00Z", "EXIT_TIME": "2026-11-20T12:00:01Z",
                  "EXIT": "SUCCEEDED", "HOSTNAME": hostname, "PID": native_id or "1"}}
        facts.update(lies.get("facts", {{}}))
        for job, token in [(item["job"], item["token"]), *lies.get("others", [])]:
            say(wire.JOB, wire.Evidence(lies.get("job", job), lies.get("token", token),
                wire.FileEvidence("ok", 500, facts, [["2026-11-20T12:00:00Z", "WARNING", text]], 1, 1, ""),
                wire.QueueEvidence("not-asked", text, text, ""), "gone", "started", native_id, True,
                False, "none", wire.NO_FOUND, [wire.Listed(*one) for one in lies.get("files", [])]))
            count += 1
    if verb == "jobs-kill" and count < lies["kills"]:
        facts = {{"TOKEN": item["token"], "START_TIME": "2026-11-20T12:00:00Z", "EXIT": "SIGNAL/TERM", "PID": "1"}}
        one = wire.Evidence(item["job"], item["token"], wire.FileEvidence("ok", 500, facts, [], 0, 1, ""),
            wire.NO_QUEUE, "gone", "started", "1", True, True, "none", wire.NO_FOUND, None)
        for job in [item["job"]] * 2 + ["1/nobody/01"]:
            say(wire.JOB, wire.Killed(job, item["token"], "killed", "", one._replace(job=job)))
        count += 1
if verb == "jobs-kill" and count < len(request.items):
    sys.exit(0)
if verb == "remote-init":
    say(wire.INIT, {{"cores": 1}})
say(wire.END, count)
"""


class Liar:
    """A controller at home and its lying host, all in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_root = folder / "home" / "runs"
        self.evil = folder / "evil"
        self.evil.mkdir()
        program = folder / "host"
        program.write_text(PROGRAM.format(python=sys.executable, remote=str(ROOT / "remote"), now=1.7e9))
        program.chmod(0o755)
        (folder / "home").mkdir()
        (folder / "platforms.yaml").write_text(
            f"platforms: {{liar: {{transport: local, runner: background, remote_command: {program},"
            f" run_root: {folder}/elsewhere, min_polling_interval: 1s}}}}\n"
        )
        self.session = Session(
            folder / "platforms.yaml", self.run_root, user_files=False, home=folder / "home"
        )

    def play(self, tasks: int = 1, **lies: Any) -> Run:
        """Submit, and poll twice."""
        import json

        (self.folder / "lies.json").write_text(json.dumps(lies))
        task = Task(script="true", platform="liar", outputs="**")
        suite = Suite(name="s", tasks={f"t{n}": task for n in range(tasks)})
        run = self.session.submit(suite, name="s")
        run.poll()
        run.poll()
        return run

    def put(self, path: str, text: str = "from the host\n") -> None:
        file = self.evil / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "jobmgr", *words], capture_output=True, timeout=60, check=False,
            env={**os.environ, "HOME": str(self.folder / "home"), "JOBMGR_RUN_ROOT": str(self.run_root),
                 "JOBMGR_PLATFORMS": str(self.folder / "platforms.yaml"),
                 "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'remote'}"},
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr
        return (done.stdout + done.stderr).decode()


@pytest.fixture
def liar(tmp_path: Path) -> Any:
    made = Liar(tmp_path)
    with made.session:
        yield made


def states(run: Run) -> dict[str, str]:
    return {row.id: row.state.value for row in run.rows()}


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("part", [1, 2, 250])
@pytest.mark.parametrize("kills", [0, 1, 2, 3])
def test_kills_are_stored_as_far_as_they_were_told(
    liar: Liar, monkeypatch: pytest.MonkeyPatch, part: int, kills: int
) -> None:
    monkeypatch.setattr("jobmgr.service.poll.PART", part)
    (liar.folder / "lies.json").write_text(f'{{"kills": {kills}}}')
    task = Task(script="true", platform="liar")
    run = liar.session.submit(Suite(name="s", tasks={f"t{n}": task for n in range(3)}), name="s")
    results = run.kill()
    assert [(one.id, one.result) for one in results] == [
        (f"1/t{n}/01", "killed" if n < kills else "no-answer") for n in range(3)
    ]
    assert [row.state.value for row in run.rows()] == ["killed"] * kills + ["submitted"] * (3 - kills)
    assert all("the kill is remembered" in one.text for one in results[kills:])


def test_what_is_told_once_counts_also_for_a_job_that_somebody_else_has_changed_meanwhile(liar: Liar) -> None:
    (liar.folder / "lies.json").write_text('{"kills": 2}')
    task = Task(script="true", platform="liar")
    run = liar.session.submit(Suite(name="s", tasks={"t0": task, "t1": task}), name="s")
    ctx = run._ctx
    read = ctx.store.mark_kill_intent([job.number for job in ctx.store.jobs_where()], ctx.now())
    first = ctx.store.apply([Change(read[0], read[0]._replace(state=State.RUNNING))], ctx.now())
    assert first == {read[0].number}
    told = kill.kill_at(ctx, ctx.world.platform("liar"), "localhost", read)
    assert [(one.result, one.job.state) for one in told.results] == [("killed", State.KILLED)] * 2
    assert set(states(run).values()) == {"killed"}


@pytest.mark.parametrize(
    "path",
    [
        ".service/suite.db", ".service/uuid", ".service/lock", "suite.yaml", "bin/tool", "share/x", "/etc/passwd",
        "../other/suite.yaml", "work/1/t0/../../../bin/tool", "work/1/other/x", "log/job/1/other/01/job.status",
        "log/job/1/t0/02/job", "./suite.yaml", "work", "", "work/1/t0/\0x",
    ],
)  # fmt: skip
def test_what_is_not_of_the_job_is_not_fetched(liar: Liar, path: str) -> None:
    liar.put("work/1/t0/good", "good\n")
    if path and "\0" not in path and not path.startswith("/"):
        liar.put("work/1/t0/x" if path == "work" else path)
    run = liar.play(files=[[path, 14, "file"], ["work/1/t0/good", 5, "file"]])
    assert states(run) == {"1/t0/01": "succeeded"}
    run.retrieve()
    home = liar.folder / "home"
    assert (run.path / "work/1/t0/good").read_text() == "good\n"
    assert not [name for name, data in everything(home).items() if b"from the host" in data]
    assert run.summary().jobs == 1  # the store is still ours
    assert not (home / "other").exists()
    assert not (liar.run_root / "other").exists()


def test_links_at_the_host_or_at_home_lead_nowhere(liar: Liar, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret\n")
    (liar.evil / "work/1/t0").mkdir(parents=True)
    (liar.evil / "work/1/t0/link").symlink_to(outside / "secret")
    (liar.evil / "work/1/t0/folder").symlink_to(outside)
    os.mkfifo(liar.evil / "work/1/t0/pipe")
    liar.put("work/1/t0/way/x")
    (liar.run_root / "s/.service").mkdir(parents=True)
    (liar.run_root / "s/work/1/t0").mkdir(parents=True)
    (liar.run_root / "s/work/1/t0/way").symlink_to(outside)
    files = [[f"work/1/t0/{name}", 7, "file"] for name in ("link", "folder/secret", "pipe", "way/x")]
    run = liar.play(files=files)
    run.retrieve()
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    work = run.path / "work/1/t0"
    assert not (work / "link").exists()
    assert not (work / "pipe").exists()
    assert not (work / "folder/secret").exists() or not (work / "folder").is_symlink()


def test_nothing_that_a_host_says_reaches_the_terminal_as_it_is(liar: Liar) -> None:
    run = liar.play(hostname=EVIL, user=EVIL, text=EVIL, native_id=EVIL, facts={"EXIT": f"FAILED/1{EVIL}", EVIL: EVIL},
                    noise=EVIL + "\n", files=[[f"work/1/t0/{EVIL}", 3, "file"]])  # fmt: skip
    assert set(states(run)) == {"1/t0/01"}
    for words in (["status", "s"], ["why", "s", "1/t0"], ["status", "s", "--poll"], ["log", "s", "1/t0", "--list"],
                  ["retrieve", "s"], ["tick", "s"], ["status", "s", "--csv"],
                  ["--json", "why", "s", "1/t0"]):  # fmt: skip
        said = liar.command(*words)
        assert not set(said) & {"\x1b", "\x07", "\u202e"}, (words, said)


def test_evidence_about_jobs_that_were_not_asked_about_is_nobodys(liar: Liar) -> None:
    token = "0f0e0d0c-1111-4222-8333-444455556666"
    run = liar.play(2, others=[["1/t9/01", token], ["../../etc", token], ["1/t1/01", token], ["", ""]])
    assert set(states(run)) == {"1/t0/01", "1/t1/01"}
    assert {row.token for row in run.rows()}.isdisjoint({token})


@pytest.mark.parametrize("lie", [{"job": "1/t9/01"}, {"token": "0f0e0d0c-1111-4222-8333-444455556666"}])
def test_evidence_under_another_name_or_token_changes_nothing(liar: Liar, lie: dict[str, str]) -> None:
    run = liar.play(**lie)
    assert states(run) == {"1/t0/01": "submitted"}
    assert run.rows()[0].doubt


def test_that_all_is_as_before_is_believed_of_running_jobs_alone(liar: Liar) -> None:
    run = liar.play(same=["1/t0/01", "1/t9/01", "../../etc", ""])
    assert states(run) == {"1/t0/01": "submitted"}
    assert run.rows()[0].doubt


def test_a_flood_is_read_in_bounded_memory(liar: Liar) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        run = liar.play(noise="x" * (1 << 20), times=200)
    except JobmgrError:
        run = liar.session.open("s")
    assert set(states(run)) <= {"1/t0/01", "1/t0"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # of 200 MB, twice and more

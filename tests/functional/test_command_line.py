"""The commands as a user types them, on a real sshd: what they print, and how they end."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobmgr.transport.private_sshd import PrivateSshd
from sshd_hosts import MakeSshd

ROOT = Path(__file__).resolve().parents[2]
# Said aloud, for a machine that runs the tests may have a batch system, and then nobody may guess.
PLATFORMS = """\
platforms:
  localhost:
    runner: background
  wizard:
    hosts: [wizard]
    runner: background
"""
PYTHONPATH = os.pathsep.join([str(ROOT), str(ROOT / "remote")])


@dataclass(frozen=True)
class Shell:
    """Somebody's terminal: a home and a run root of its own, and the host wizard."""

    home: Path
    host: PrivateSshd

    @property
    def run_root(self) -> Path:
        return self.home / "runs"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "PYTHONPATH": PYTHONPATH,
            "JOBMGR_RUN_ROOT": str(self.run_root),
            "JOBMGR_PLATFORMS": str(self.home / "platforms.yaml"),
            "JOBMGR_SSH_CONFIG": self.host.ssh_config_path,
            "TERM": "xterm",
            "COLUMNS": "120",
        }

    def __call__(self, *words: str, code: int | None = 0, stdin: bytes = b"") -> str:
        """Run jobmgr; its stdout. ``code`` is the exit code that it must end with (None: any)."""
        done = self.done(*words, stdin=stdin)
        if code is not None:
            assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
        return done.stdout.decode()

    def done(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "jobmgr", *words],
            env=self.environment, cwd=self.home, input=stdin, capture_output=True, check=False, timeout=100,
        )  # fmt: skip

    def terminal(self, *words: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start jobmgr on a terminal of its own; the process, and the terminal's other end."""
        main, side = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "jobmgr", *words],
            env=self.environment, cwd=self.home, stdin=side, stdout=side, stderr=side, start_new_session=True,
        )  # fmt: skip
        os.close(side)
        return process, main

    def suite(self, name: str, text: str) -> str:
        folder = self.home / name
        folder.mkdir()
        (folder / "suite.yaml").write_text(text)
        return f"./{name}"


def read_terminal(main: int, until: str = "") -> str:
    """What appears on a terminal, up to a text, or to its end."""
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (until and until.encode() in seen):
        try:
            chunk = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        seen += chunk
    return seen.decode(errors="replace")


@pytest.fixture(scope="module")
def shell(make_module_sshd: MakeSshd, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    home = tmp_path_factory.mktemp("home")
    (home / "platforms.yaml").write_text(PLATFORMS)
    return Shell(home, make_module_sshd())


def test_run_says_where_the_job_is_and_log_shows_its_output(shell: Shell) -> None:
    out = shell("run", "wizard", "--suite", "first", "--", "echo", "hello", "$HOME")
    assert re.match(r"first 1/echo/01  submitted to wizard", out)
    shell("wait", "first")
    assert shell("log", "first", "1/echo") == "hello $HOME\n"


@pytest.mark.parametrize(
    ("command", "options", "code"),
    [
        (["true"], [], 0),
        (["bash", "-c", "exit 3"], [], 3),
        (["bash", "-c", "kill -9 $$"], [], 137),
        (["sleep", "60"], ["--time-limit", "1s"], 124),
    ],
)
def test_run_wait_ends_as_the_job_did(
    shell: Shell, command: list[str], options: list[str], code: int
) -> None:
    shell("run", "wizard", "--suite", "codes", "--wait", *options, "--", *command, code=code)


def test_run_with_parameters_makes_a_job_for_each_value(shell: Shell) -> None:
    words = ["--suite", "many", "--name", "sim", "--param", "m=1..2,5", "--wait"]
    out = shell("run", "wizard", *words, "--", "bash", "-c", "echo $JOBMGR_PARAM_m")
    assert len(re.findall(r"^many 1/sim_m\d/01", out, re.MULTILINE)) == 3
    assert shell("log", "many", "1/sim_m5") == "5\n"


def test_dry_run_of_a_cycle_that_a_run_has_not_got_shows_its_first_jobs(shell: Shell) -> None:
    path = shell.suite("daily", "graph: a => b\ntasks: {a: {script: ':'}, b: {script: ':'}}\n")
    shell("play", path, "--cycle", "1")
    shown = shell.done("submit", "daily", "--cycle", "2", "--dry-run").stderr.decode()
    assert shown.endswith("\n--- 2/a/01 on localhost\n1 job; nothing was submitted\n")
    assert shell.done("status", "daily", "2/a").returncode == 4


def test_dry_run_shows_the_job_file_and_submits_nothing(shell: Shell) -> None:
    out = shell("run", "wizard", "--suite", "never", "--dry-run", "--", "echo", "it's")
    assert out.startswith("#!")
    assert not (shell.run_root / "never" / ".service").exists()


def test_validate_tells_every_error(shell: Shell) -> None:
    path = shell.suite("wrong", "tasks:\n  a:\n    script: x\n    time limit: 5m\n    platform: wizrad\n")
    done = shell.done("validate", path)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 3
    assert any("write time_limit" in line for line in lines)
    assert any("nearest: wizard" in line for line in lines)
    assert lines[-1] == "2 errors; nothing was submitted"


SWEEP = """\
graph: sim => plot
tasks:
  sim:
    platform: wizard
    parameters: {m: 1..3}
    script: |
      echo "out $JOBMGR_PARAM_m"; printf 'a\\033[2Jb\\n' >&2
      [ "$JOBMGR_PARAM_m" != 2 ] || exit 3
  plot:
    script: "true"
"""


@pytest.fixture(scope="module")
def swept(shell: Shell) -> str:
    """What ``play`` prints into a pipe about a run of which one job fails."""
    return shell("play", shell.suite("sweep", SWEEP), code=1)


def test_play_in_a_pipe_has_a_line_per_change_and_a_summary(swept: str) -> None:
    assert re.search(r"^\d\d:\d\d:\d\d  1/sim_m1/01  succeeded", swept, re.MULTILINE)
    lines = swept.splitlines()
    assert re.match(r"sweep finished in .*: 2 succeeded, 1 failed, 1 not run \(1/plot: ", lines[-3])
    assert lines[-2] == "failed: exit 3 × 1 (1/sim_m2)"
    assert lines[-1] == "next: jobmgr log sweep 1/sim_m2 err  ·  jobmgr retry sweep"


@pytest.mark.usefixtures("swept")
def test_status_in_its_forms(shell: Shell) -> None:
    lines = shell("status", "sweep").splitlines()
    assert lines[0].startswith("sweep  2 succeeded · 1 failed · 1 waiting")
    assert re.match(r"1/sim_m2/01 +failed +\d\d:\d\d +wizard .*exit 3", lines[2])
    assert [line.split()[0] for line in shell("status", "sweep", ":failed").splitlines()[2:]] == [
        "1/sim_m2/01"
    ]
    rows = list(csv.DictReader(io.StringIO(shell("status", "sweep", "--csv"))))
    assert {row["state"] for row in rows} == {"succeeded", "failed", "waiting"}
    values = [json.loads(line) for line in shell("--json", "status", "sweep").splitlines()]
    assert {value["type"] for value in values} == {"run", "job"}
    assert "sweep" in shell("status")


@pytest.mark.usefixtures("swept")
def test_why_names_evidence_and_rule(shell: Shell) -> None:
    out = shell("why", "sweep", "1/sim_m2")
    assert out.splitlines()[0].startswith("1/sim_m2/01: failed")
    assert "job.status" in out
    assert re.search(r"^rule: ", out, re.MULTILINE)


@pytest.mark.usefixtures("swept")
def test_logs_are_raw_in_a_pipe_and_escaped_on_a_terminal(shell: Shell) -> None:
    assert shell.done("log", "sweep", "1/sim_m1", "err").stdout == b"a\x1b[2Jb\n"
    process, main = shell.terminal("log", "sweep", "1/sim_m1", "err")
    seen = read_terminal(main)
    os.close(main)
    assert process.wait() == 0
    assert "a\\x1b[2Jb" in seen
    assert "\x1b[2J" not in seen


@pytest.mark.usefixtures("swept")
def test_log_lists_and_names_files_and_knows_cylcs_options(shell: Shell) -> None:
    names = [line.split()[0] for line in shell("log", "sweep", "1/sim_m1", "--list").splitlines()[1:]]
    assert {"job", "job.out", "job.err", "job.status"} <= set(names)
    assert shell("log", "sweep", "1/sim_m1", "--path").strip().endswith("log/job/1/sim_m1/01/job.out")
    assert shell("cat-log", "-m", "c", "-f", "o", "-s", "01", "sweep", "1/sim_m1") == "out 1\n"
    assert shell("log", "sweep", "1/sim_m1", "-f") == "out 1\n"
    assert "JOBMGR_" in shell("log", "sweep", "1/sim_m1", "status", "--tail", "2")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("jobmgr status sw", {"sweep"}),
        ("jobmgr why sweep 1/pl", {"1/plot"}),
        ("jobmgr retry sweep sim", {"sim_m1", "sim_m2", "sim_m3"}),
        ("jobmgr login wiz", {"wizard"}),
        ("jobmgr run loc", {"localhost"}),
    ],
)
@pytest.mark.usefixtures("swept")
def test_a_shell_completes_runs_jobs_and_platforms(shell: Shell, line: str, words: set[str]) -> None:
    answer = shell.home / "answer"
    asked = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_SHELL": "fish",
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "jobmgr"], env={**shell.environment, **asked}, cwd=shell.home, check=False
    )
    found = answer.read_text().replace("\x0b", "\n").splitlines()
    assert {word.partition("\t")[0].rstrip() for word in found} == words


@pytest.mark.usefixtures("swept")
def test_a_watched_run_that_has_ended_is_shown_once(shell: Shell) -> None:
    assert shell("status", "sweep", "--watch").count("sweep  ") == 1


@pytest.mark.usefixtures("swept")
def test_a_run_that_cannot_be_read_hides_no_other(shell: Shell) -> None:
    store = shell.run_root / "damaged" / ".service" / "suite.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"no database " * 1000)
    try:
        done = shell.done("status")
    finally:
        shutil.rmtree(shell.run_root / "damaged")
    assert done.returncode == 7
    assert b"damaged" in done.stderr
    assert b"sweep" in done.stdout


@pytest.mark.usefixtures("swept")
def test_names_that_do_not_exist_are_exit_4_with_the_nearest(shell: Shell) -> None:
    for words, said in ((["status", "swep"], "sweep"), (["why", "sweep", "1/plott"], "plot")):
        done = shell.done(*words)
        assert done.returncode == 4
        assert said in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


def test_kill_hold_release_retry_remove_and_clean(shell: Shell) -> None:
    path = shell.suite(
        "busy", "graph: a & b => c\ntasks:\n  a: {platform: wizard, script: sleep 600}\n"
        "  b: {platform: wizard, script: sleep 600}\n  c: {script: 'true'}\n",
    )  # fmt: skip
    shell("submit", path)
    assert "1/c" in shell("hold", "busy", "1/c")
    assert "waiting" in shell("release", "busy", "1/c") + shell("status", "busy", "1/c")
    refused = shell.done("clean", "busy", "--yes")
    assert refused.returncode == 7
    assert b"busy" in refused.stderr
    assert re.search(r"^1/a/01  killed", shell("kill", "busy", "1/a"), re.MULTILINE)
    assert "1/b/01  killed" in shell("kill", "busy")
    assert "held" in shell("status", "busy").splitlines()[0]
    assert "1/a" in shell("retry", "busy", "1/a")
    assert "1/c  removed" in shell("remove", "busy", "1/c")
    shell("kill", "busy")
    assert shell.done("clean", "busy").returncode == 2
    there = Path(shell.host.home) / "jobmgr-run" / "busy"
    would = shell.done("clean", "busy", "--dry-run").stderr.decode()
    assert would == f"to be deleted:\n  wizard:{there}\n  {shell.run_root / 'busy'}\n"
    assert (shell.run_root / "busy").exists()
    gone = shell("clean", "busy", "--yes")
    assert gone == f"deleted wizard:{there}\ndeleted {shell.run_root / 'busy'}\n"
    assert not (shell.run_root / "busy").exists()
    assert not (Path(shell.host.home) / "jobmgr-run" / "busy").exists()


def test_platforms_name_the_origin_of_each_value(shell: Shell) -> None:
    listed = shell("platforms", "list")
    assert "wizard" in listed
    assert "localhost" in listed
    shown = shell("platforms", "show", "wizard")
    assert re.search(r"^hosts +wizard +\S*platforms.yaml:5", shown, re.MULTILINE)
    assert re.search(r"^wizard: transport \w+ \(", shown, re.MULTILINE)
    assert shell.done("platforms", "show", "wizrad").returncode in (3, 4)


def test_ctrl_c_leaves_the_jobs_running_and_says_how_to_go_on(shell: Shell) -> None:
    path = shell.suite("long", "tasks: {a: {platform: wizard, script: sleep 600}}\n")
    process, main = shell.terminal("play", path)
    seen = read_terminal(main, until="running on wizard")
    assert "running on wizard" in seen
    process.send_signal(signal.SIGINT)
    seen += read_terminal(main)
    os.close(main)
    assert process.wait() == 130
    assert "left; 1 job goes on" in seen
    assert "jobmgr play long" in seen
    assert "1 running" in shell("status", "long", "--poll").splitlines()[0]
    shell("kill", "long")


def test_a_host_that_gives_no_answer_is_exit_5_and_doubt(make_sshd: MakeSshd, tmp_path: Path) -> None:
    host = make_sshd()
    (tmp_path / "platforms.yaml").write_text(PLATFORMS + "    connect_timeout: 2s\n")
    alone = Shell(tmp_path, host)
    alone("run", "wizard", "--suite", "lonely", "--", "sleep", "600")
    host.stop_accepting()
    host.kill_sessions()
    done = alone.done("poll", "lonely")
    assert done.returncode == 5, done
    assert b"1 job there unaffected, last answer " in done.stderr
    assert " ?" in alone("status", "lonely", "1/sleep")
    assert "in doubt" in alone("why", "lonely", "1/sleep").splitlines()[0]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_demo_plays_suitex_and_leaves_nothing(shell: Shell, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("jobmgr-demo-*"))
    out = shell("demo")
    assert "$ jobmgr status suitex" in out
    assert "1/remote-a/01" in out
    assert "The run directory on wizard" in out
    assert re.search(r"suitex finished in .*: 2 succeeded", out)
    assert set(Path("/tmp").glob("jobmgr-demo-*")) <= before


LITTLE = "tasks:\n  a: {platform: wizard, script: echo hi}\n  b: {platform: wizard, script: sleep 600}\n"


def test_every_verb_speaks_json(shell: Shell) -> None:
    path = shell.suite("spoken", LITTLE)
    seen: set[str] = set()
    for words in (
        ["validate", path],
        ["submit", path, "--dry-run"],
        ["submit", path],
        ["wait", "spoken", "1/a"],
        ["poll", "spoken"],
        ["tick", "spoken"],
        ["tick", "--all"],
        ["retrieve", "spoken", "1/b"],
        ["status"],
        ["status", "spoken", ":running"],
        ["why", "spoken", "1/b"],
        ["log", "spoken", "1/a"],
        ["log", "spoken", "1/a", "--list"],
        ["log", "spoken", "1/a", "--path"],
        ["hold", "spoken"],
        ["release", "spoken"],
        ["kill", "spoken"],
        ["release", "spoken"],
        ["remove", "spoken", "1/b"],
        ["play", "spoken"],
        ["tidy", "spoken"],
        ["clean", "spoken", "--dry-run"],
        ["clean", "spoken", "--yes"],
        ["platforms", "list"],
        ["platforms", "show", "wizard"],
        ["run", "wizard", "--suite", "said", "--wait", "--", "true"],
    ):
        values = [json.loads(line) for line in shell("--json", *words).splitlines()]
        assert values, words
        assert all(value["schema"] == 1 for value in values)
        seen |= {value["type"] for value in values}
    assert {"valid", "job-file", "run", "job", "turn-result", "retrieve", "why", "log", "log-file"} <= seen
    assert {"done", "kill", "tidy", "clean", "platform", "changed", "contact"} - seen <= {"contact"}


def test_hold_submit_by_id_wait_timeout_and_release(shell: Shell) -> None:
    path = shell.suite("paused", LITTLE)
    shell("submit", path, "1/b")
    assert shell("hold", "paused") == "paused: the whole run held\n"
    assert " run held" in shell("status", "paused").splitlines()[0]
    assert "waiting" in shell("status", "paused", "1/a") or "held" in shell("status", "paused", "1/a")
    done = shell.done("wait", "paused", "1/b", "--timeout", "1s")
    assert done.returncode == 124
    assert done.stderr.count(b"\n") == 1
    assert shell("release", "paused") == "paused: the whole run released\n"
    shell("tick", "paused")
    shell("wait", "paused", "1/a")
    shell("kill", "paused")
    assert shell.done("wait", "paused", "1/b").returncode == 1


def test_tick_writes_to_its_log(shell: Shell) -> None:
    log = shell.home / "logs" / "cron.log"
    assert shell("tick", "--all", "--log", str(log)) == ""
    assert log.read_text().startswith("--- ")
    assert log.stat().st_mode & 0o777 == 0o600


def test_login_and_logout_say_what_they_did(shell: Shell) -> None:
    assert "connected to wizard" in shell("login", "wizard")
    try:
        assert "openssh" in shell("platforms", "show", "wizard").splitlines()[-1]
        shell("run", "wizard", "--suite", "shared", "--wait", "--", "true")
    finally:
        assert "closed" in shell("logout", "wizard")
    assert "there was no shared connection" in shell("logout", "wizard")


def test_recover_brings_a_run_back_whose_store_is_gone(shell: Shell) -> None:
    path = shell.suite("lost", "tasks: {a: {platform: wizard, script: exit 5}}\n")
    shell("play", path, code=1)
    (shell.run_root / "lost" / ".service" / "suite.db").unlink()
    out = shell("recover", "lost", "--from", "wizard")
    assert re.search(r"^1/a/01  failed .*exit 5", out, re.MULTILINE)
    refused = shell.done("recover", "lost", "--from", "wizard")
    assert refused.returncode == 7


def test_new_starts_over_and_wants_a_path(shell: Shell) -> None:
    path = shell.suite("again", "tasks: {a: {platform: wizard, script: 'true'}}\n")
    shell("play", path)
    shell("play", path, "--new")
    assert "1/a/01" in shell("status", "again")
    assert shell.done("play", "again", "--new").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_stopped_leaves_nothing(shell: Shell, number: signal.Signals) -> None:
    process, main = shell.terminal("demo")
    seen = read_terminal(main, until="running on localhost")
    directory = Path(re.search(r"Its home: (\S+)/wizard", seen)[1])  # type: ignore[index]
    os.kill(process.pid, number)
    if number is signal.SIGKILL:
        assert process.wait() == -number
    else:
        assert "nothing of it is left" in read_terminal(main)
        assert process.wait() == 130
    os.close(main)
    deadline = time.monotonic() + 30
    while directory.exists() or lives_in(directory):
        assert time.monotonic() < deadline, lives_in(directory)
        time.sleep(0.05)


def lives_in(directory: Path) -> list[bytes]:
    """Command lines of the processes whose HOME is below the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"HOME={directory}/".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes())
    return found

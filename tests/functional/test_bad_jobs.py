"""Strange scripts, messages, status files and disks: a job's own affair, told for what it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bad_hosts import add_platform
from jobmgr.errors import EXIT_NO_ANSWER
from needs import need_root
from shells import Shell, at_work, eventually

QUOTES = r"""echo "double" 'single' `echo back` $((1+1)) \\ \$x !x
printf '%s\n' '|pipe|' 'ünïcode ✓'
cat <<'E'
EOF } ' " )
E
"""
SCRIPTS = {
    "quotes": (QUOTES, "succeeded", "double single back 2 \\ $x !x\n|pipe|\nünïcode ✓\nEOF } ' \" )\n"),
    "returns": ("echo a\r\necho b\r\n", "succeeded", "a\nb\n"),
    "brace": ("}", "failed", ""),
    "unclosed": ("echo 'x", "failed", ""),
    "paren": (")) fi done", "failed", ""),
    "code": ("exec bash -c 'exit 4'", "failed", ""),
    "empty": (":", "succeeded", ""),
}
MESSAGES = r"""
jobmgr-message $'x\nJOBMGR_EXIT=SUCCEEDED\n|y|z'
jobmgr-message 'a|b' 'JOBMGR_EXIT=SUCCEEDED'
jobmgr-message "$(head -c 100000 /dev/zero | tr '\0' x)"
jobmgr-message $'\e[2J \xff'
exit 9
"""


@pytest.fixture(scope="module")
def me() -> Iterator[Shell]:
    with at_work() as shell:
        yield shell


def play(me: Shell, name: str, suite: dict[str, object], code: int | None = 0) -> str:
    return me("play", me.suite(name, json.dumps(suite)), code=code)


def test_scripts_run_as_they_are_and_broken_ones_fail_alone(me: Shell) -> None:
    tasks = {name: {"script": text, "platform": "wizard"} for name, (text, _, _) in SCRIPTS.items()}
    play(me, "scripts", {"tasks": tasks}, code=1)
    assert me.states("scripts") == {f"1/{name}/01": state for name, (_, state, _) in SCRIPTS.items()}
    for name, (_, _, out) in SCRIPTS.items():
        assert me("log", "scripts", f"1/{name}").replace("\r", "") == out
    assert "unexpected EOF while looking for matching" in me("log", "scripts", "1/unclosed", "err")


def test_no_value_of_the_environment_is_run(me: Shell) -> None:
    values = {"W_A": "it's \"q\" $(touch owned) `touch owned`\nline 2 ü", "W_B": "<${W_A}>"}
    script = 'printf "%s\\n" "$W_A" "$W_B"'
    play(me, "values", {"tasks": {"a": {"script": script, "platform": "wizard", "environment": values}}})
    assert me("log", "values", "1/a") == f"{values['W_A']}\n<{values['W_A']}>\n"
    assert not list(Path(me.host.home).rglob("owned"))


def command_lines_with(word: str) -> list[str]:
    """The command lines of this machine's processes that hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes()
            if word.encode() in line:
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_a_secret_is_in_no_argument_log_or_record(ssh_user: Shell) -> None:
    me, secret = ssh_user, "hush-" + os.urandom(8).hex()
    script = 'test -n "$PASSWORD"; echo "${#PASSWORD}"; jobmgr-message ready; sleep 1'
    task = {"script": script, "platform": "wizard", "environment": {"PASSWORD": secret}}
    suite = me.suite("secret", json.dumps({"tasks": {"a": task}}))
    seen = set()
    with me.started("play", suite) as process:
        while process.poll() is None:
            seen.update(command_lines_with(secret))
        assert process.stdout is not None
        said = process.stdout.read().decode()
    assert process.returncode == 0, said
    assert me("log", "secret", "1/a") == f"{len(secret)}\n"
    assert not seen
    assert secret not in said + me("why", "secret", "1/a") + me("status", "secret")
    holders = set()
    for path in me.folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
            holders.add(path.name)
            if path != me.home / "secret/suite.yaml":  # the user's own file
                assert path.stat().st_mode & 0o077 == 0, path
    # What runs it or was written by the user; no job.status, no log, nothing of the call.
    assert holders <= {"job", "suite.yaml", "suite.db", "suite.db-wal"}
    assert "job" in holders


def test_no_message_forges_a_record(me: Shell) -> None:
    play(me, "messages", {"tasks": {"a": {"script": MESSAGES, "platform": "wizard"}}}, code=1)
    why = me("why", "messages", "1/a")
    assert why.startswith("1/a/01: failed")
    assert "FAILED/9" in why
    assert "|y|z" in why
    assert "a|b JOBMGR_EXIT=SUCCEEDED" in why
    assert "\x1b" not in why


def test_five_megabytes_of_script_run(me: Shell) -> None:
    filler = "# " + "x" * 78 + "\n"
    script = "echo begin\n" + filler * (5 * 1024 * 1024 // len(filler)) + "echo end\n"
    play(me, "large", {"tasks": {"a": {"script": script, "platform": "wizard"}}})
    assert me("log", "large", "1/a") == "begin\nend\n"


@pytest.mark.slow
def test_two_thousand_jobs_go_in_one_call(me: Shell) -> None:
    add_platform(me, "crowd", hosts="[wizard]", max_active="1")
    suite = {"tasks": {"j": {"script": "sleep 600", "platform": "crowd", "parameters": {"m": "1..2000"}}}}
    me("submit", me.suite("many", "tasks: {j: {script: ':', platform: crowd}}\n"))
    me("wait", "many")
    me.forget_calls()
    me("submit", me.suite("many", json.dumps(suite)), "--name", "crowded")
    assert me.calls() == ["remote-init"]  # what answers it stays for the one submit
    assert "2000 submitted" in me("status", "crowded")
    assert len(me("kill", "crowded").splitlines()) <= 2000
    assert set(me.states("crowded", "--poll").values()) == {"killed"}


# --- job.status ------------------------------------------------------------------------------------------


def garbage(path: Path) -> None:
    path.write_bytes(b"\0\xff\xfe" * 500)


def foreign(path: Path) -> None:
    token = re.search(r"TOKEN=(.*)", path.read_text())
    assert token is not None
    path.write_text(path.read_text().replace(token[1], "1" * 36) + "JOBMGR_EXIT=SUCCEEDED\n")


def append(text: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with path.open("ab") as file:
            file.write(text)

    return spoil


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (garbage, "its status file cannot be read"),
    "empty": (lambda path: path.write_bytes(b"") and None, "its status file cannot be read"),
    "missing": (Path.unlink, "its status file is missing"),
    "foreign": (foreign, "belongs to another job"),
    "torn": (append(b"JOBMGR_EXIT=SUCC"), ""),
    "unknown": (append(b"JOBMGR_COLOUR=blue\n"), ""),
    "folder": (lambda path: shutil.rmtree(path.parent), "is missing"),
    "all": (lambda path: shutil.rmtree(path.parents[5]), "the run directory is missing on the host"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_status_file_is_doubt_and_spoils_no_other_job(me: Shell, kind: str) -> None:
    spoil, doubt = SPOILT[kind]
    name = f"spoilt-{kind}"
    go = me.folder / f"go-{kind}"
    waits = {"a": "echo begun; sleep 600", "b": f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done"}
    tasks = {task: {"script": script, "platform": "wizard"} for task, script in waits.items()}
    me("submit", me.suite(name, json.dumps({"tasks": tasks})))
    logs = me.remote_root / name / "log" / "job" / "1"
    eventually(lambda: all((logs / task / "01/job.out").is_file() and
                           (logs / task / "01/job.out").read_text() for task in tasks))  # fmt: skip
    me("poll", name)
    spoil(logs / "a/01/job.status")
    go.touch()
    if kind == "all":
        done = me.done("poll", name)
        assert done.returncode == EXIT_NO_ANSWER
        assert "wizard: the run directory is missing on the host" in done.stderr
    else:
        eventually(lambda: me("poll", name, code=None) and me.states(name)["1/b/01"] == "succeeded")
    row = next(r for r in me.records("status", name) if r.get("id") == "1/a/01")
    assert row["state"] == "running"
    assert doubt in row["doubt"] if doubt else not row["doubt"]
    me("kill", name, code=None)


# --- disks -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(*words: str, at: Path) -> Iterator[None]:
    need_root()
    at.mkdir(exist_ok=True)
    if subprocess.run(["mount", *words, str(at)], capture_output=True, check=False).returncode:
        pytest.skip("mounts are not possible here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def test_a_full_disk_of_the_host_is_told_and_nothing_is_half_done(me: Shell) -> None:
    disk = Path(me.host.home) / "tiny"
    add_platform(me, "full", hosts="[wizard]", run_root="$HOME/tiny/runs")
    path = me.suite("filled", "tasks: {a: {script: echo x, platform: full}}\n")
    with mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", at=disk):
        (disk / "ballast").write_bytes(b"x" * 32768)
        with contextlib.suppress(OSError):
            (disk / "more").write_bytes(b"x" * 65536)
        done = me.done("submit", path)
        assert done.returncode in (1, 5), done
        assert "No space left on device" in done.stderr + done.stdout
        (disk / "ballast").unlink()
        (disk / "more").unlink()
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        me("play", "filled", code=None)
        if "submit-failed" in me("status", "filled"):
            me("retry", "filled")
            me("play", "filled")
        assert list(me.states("filled").values()) == ["succeeded"]


def test_a_read_only_home_is_told(me: Shell) -> None:
    disk = Path(me.host.home) / "fixed"
    add_platform(me, "readonly", hosts="[wizard]", run_root="$HOME/fixed/runs")
    with mounted("-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", at=disk):
        done = me.done("submit", me.suite("written", "tasks: {a: {script: ':', platform: readonly}}\n"))
    assert done.returncode == 5, done
    assert re.search(r"wizard: .*fixed/runs.*: Read-only file system", done.stderr)


@pytest.mark.parametrize(("options", "says"), [("size=16k", "No space left"), ("ro,size=1m", "Read-only file system")])
def test_a_home_that_takes_no_host_side_is_told_and_the_job_waits(me: Shell, options: str, says: str) -> None:
    run = f"bare-{options[:2]}"
    with mounted("-t", "tmpfs", "-o", options, "tmpfs", at=Path(me.host.home) / ".jobmgr"):
        done = me.done("run", "wizard", "--suite", run, "--", "true")
    assert done.returncode == 5, done
    assert re.search(f"wizard: the host side could not be installed .*{says}", done.stderr)
    assert me.states(run) == {"1/true": "queued"}
    me("wait", run)
    assert me.states(run) == {"1/true/01": "succeeded"}


def test_a_disk_that_is_full_at_the_jobs_end_loses_no_record(me: Shell) -> None:
    disk = Path(me.host.home) / "late"
    add_platform(me, "late", hosts="[wizard]", run_root="$HOME/late/runs")
    go = me.folder / "go-late"
    script = f"echo begun; while [ ! -e {go} ]; do sleep 0.05; done; exit 3"
    with mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", at=disk):
        me("submit", me.suite("later", json.dumps({"tasks": {"a": {"script": script, "platform": "late"}}})))
        status = disk / "runs/later/log/job/1/a/01/job.status"
        eventually(lambda: "JOBMGR_START_TIME" in status.read_text())
        # Its last page is full, too: not a byte more will fit.
        status.write_text(status.read_text() + f"JOBMGR_FILLER={'x' * (4096 - status.stat().st_size - 15)}\n")
        with contextlib.suppress(OSError), (disk / "ballast").open("wb") as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(file.fileno(), b"x" * size)
        go.touch()
        me("poll", "later")
        assert me.states("later") == {"1/a/01": "running"}
        (disk / "ballast").unlink()
        eventually(lambda: me("poll", "later") and me.states("later") == {"1/a/01": "failed"})
        assert "exit 3" in me("status", "later", "1/a")
        assert "job.status says FAILED or ABORTED" in me("why", "later", "1/a")


def test_outputs_with_names_that_are_no_text_come_home(me: Shell) -> None:
    script = "touch $'o-\\xff' 'o ü' $'o\\nnl' -- -o-dash '#o' o-ok; ln -s /etc/passwd o-link"
    suite = {"tasks": {"a": {"script": script, "outputs": ["*"], "platform": "wizard"}}}
    play(me, "names", suite)
    found = set(os.listdir(os.fsencode(me.run_root / "names/work/1/a")))
    assert found == {b"o-\xff", "o ü".encode(), b"o\nnl", b"-o-dash", b"#o", b"o-ok"}


def test_a_file_in_the_way_at_home_is_told(me: Shell, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("a file, not a folder")
    done = me.done(
        "run", "wizard", "--suite", "aim", "-o", "o", "--to", str(tmp_path / "target"), "--wait",
        "--", "touch", "o",
    )  # fmt: skip
    assert done.returncode == 0, done
    assert f"they are in {me.run_root / 'aim/work/1/touch'}" in done.stderr
    assert (tmp_path / "target").read_text() == "a file, not a folder"
    assert str(tmp_path / "target") in done.stderr

"""Wrong files and wrong words, as typed: one clear line for each, the documented exit code, nothing done."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_hosts import add_platform
from jobmgr.errors import StoreError
from jobmgr.service.lock import loop_lock
from shells import Shell, at_work, eventually

BAD_SUITES = {
    "empty": ("", "suite.yaml: the file is empty"),
    "comment only": ("# nothing\n", "suite.yaml: the file is empty"),
    "list": ("- a\n", "suite.yaml:1: expected a mapping of keys at the top level"),
    "unknown key": ("tasks: {a: {script: x, time limit: 5m}}\n",
                    "unknown key 'time limit' (write time_limit)"),
    "duplicate": ("tasks:\n  a: {script: x}\n  a: {script: y}\n",
                  "suite.yaml:3: duplicate key 'a' (first on line 2)"),
    "tab": ("tasks:\n\ta: {script: x}\n", "suite.yaml:2: indented with a tab; YAML wants spaces"),
    "wrong type": ("tasks: {a: {script: {x: y}}}\n", "tasks.a.script: expected text, found a mapping"),
    "no duration": ("tasks: {a: {script: x, time_limit: soon}}\n", "expected a duration such as 90s"),
    "unknown task": ("graph: a => b\ntasks: {a: {script: x}}\n", "graph: unknown task 'b' (known: a)"),
    "loop": ("graph: a => b => a\ntasks: {a: {script: x}, b: {script: x}}\n", "loop: a => b => a"),
    "way out": ("tasks: {../x: {script: x}}\n", "bad name '../x': letters, digits and"),
    "blank": ("tasks: {a b: {script: x}}\n", "bad name 'a b': letters, digits and"),
    "run name": ("name: ../x\ntasks: {a: {script: x}}\n", "name: bad name '../x'"),
    "NUL": ('tasks: {a: {script: "x\\0y"}}\n', "contains a NUL byte, which no shell can hold"),
    "raw NUL": ("tasks: {a: {script: x\0y}}\n", "suite.yaml:1: contains a NUL byte"),
    "unclosed": ("tasks:\n  a: {script: 'x}\n  b: {script: y}\n",
                 "found unexpected end of stream (is the quote of line 2 closed?)"),
    "colon": ("tasks:\n  a:\n    script: echo a: b\n",
              "suite.yaml:3: not valid YAML: mapping values are not allowed in this context (a text with ': '"),
    "indent": ("tasks:\n  a:\n    script: x\n   platform: wizard\n", "suite.yaml:4: not valid YAML: "),
    "quotes": ("tasks:\n  a:\n    script: 'it's'\n", "look at the indentation here and above, and at quotes"),
    "sign": ("tasks:\n  a:\n    script: `date`\n", "(a text that begins like this wants quotes)"),
    "family": ("tasks: {a: {script: x, inherit: F}}\n", "unknown family 'F' (no family is defined)"),
    "no tasks": ("tasks: {}\n", "no tasks: a suite needs at least one"),
    "platform": ("tasks: {a: {script: x, platform: wizrad}}\n",
                 "unknown platform 'wizrad' (nearest: wizard)"),
    "runner": ("tasks: {a: {script: x, runner: slrm}}\n", "unknown runner 'slrm' (nearest: slurm)"),
}  # fmt: skip

BAD_PLATFORMS = {
    "empty": ("", "the file is empty"),
    "unknown key": ("platforms:\n  hpc: {transprot: local}\n",
                    ":2: platforms.hpc: unknown key 'transprot' (nearest"),
    "transport": ("platforms: {a: {transport: telnet}}\n",
                  "expected auto, fabric, openssh or local, found 'telnet'"),
    "runner": ("platforms: {a: {runner: slrm}}\n", "a.runner: unknown runner 'slrm' (nearest: slurm)"),
    "option as host": ("platforms: {a: {hosts: ['-oProxyCommand=x']}}\n", "bad host '-oProxyCommand=x'"),
    "command": ("platforms: {a: {run_root: '$(reboot)'}}\n", "bad path '$(reboot)'"),
    "group": ("platforms: {a: {}}\ngroups: {g: {platforms: [b]}}\n",
              "unknown platform 'b' (known: a, localhost)"),
    "duplicate": ("platforms:\n  a: {}\n  a: {}\n", ":3: duplicate key 'a' (first on line 2)"),
}  # fmt: skip

# words -> exit code, what is said
BAD_WORDS = [
    (["ply", "x"], 2, "unknown verb 'ply' (nearest: play)"),
    (["--frobnicate"], 2, "unrecognized arguments: --frobnicate (see jobmgr --help)"),
    (["status", "--frob"], 2, "unrecognized arguments: --frob (see jobmgr status --help)"),
    (["why"], 2, "required: SUITE, ID"),
    (["kill"], 2, "required: SUITE (see jobmgr kill --help)"),
    (["remove", "seen"], 2, "required: ID"),
    (["cron"], 2, "required: {install,show,remove}"),
    (["platforms"], 2, "required: {list,show,check,authorized-key}"),
    (["run"], 2, "required: PLATFORM"),
    (["run", "localhost"], 2, "which command?"),
    (["run", "localhst", "--", "x"], 3, "unknown platform 'localhst' (nearest: localhost)"),
    (["run", "qqq", "--", "x"], 3, "a host that ssh knows can be written USER@HOST"),
    (["run", "localhost", "-i", "nothere", "--", "x"], 2, "input nothere does not exist"),
    (["run", "localhost", "--env", "A", "--", "x"], 2, "--env: expected NAME=VALUE, found 'A'"),
    (["run", "localhost", "--env", "1A=2", "--", "x"], 3, "bad name '1A'"),
    (["run", "localhost", "--time-limit", "soon", "--", "x"], 2, "expected a duration such as"),
    (["run", "localhost", "--param", "m=9..1", "--", "x"], 3, "the range '9..1' is empty"),
    (["run", "localhost", "--name", "a b", "--", "x"], 3, "bad name 'a b'"),
    (["run", "localhost", "--suite", "../x", "--", "x"], 2, "not a name for a run: '../x'"),
    (["status", "nothere"], 4, "no run 'nothere'"),
    (["status", "seen", "1/zzz"], 4, "1/zzz matches nothing (tasks: echo)"),
    (["status", "seen", "1/ech"], 4, "1/ech matches nothing (nearest: echo)"),
    (["status", "seen", "2/echo"], 4, "2/echo matches nothing (cycles: 1)"),
    (["log", "seen", "1/echo/07"], 4, "1/echo has no such job (its last one is 01)"),
    (["status", "seen", "a b"], 2, "not an ID: 'a b'"),
    (["status", "seen", ":runing"], 2, "unknown state 'runing' (nearest: running)"),
    (["log", "seen", "1/echo", "../../x"], 4, "not a log of a job: '../../x'"),
    (["log", "seen", "1/echo", "nothere"], 4, "no such file"),
    (["kill", "seen", "1/zz"], 4, "1/zz matches nothing"),
    (["play", "seen", "--name", "other"], 2, "seen is a run and keeps its name; --name names what is"),
    (["submit", "seen", "--name", "other", "--dry-run"], 2, "seen is a run and keeps its name"),
    (["submit", "seen", "--cycle", "a:b", "--dry-run"], 2, "not a cycle: 'a:b'"),
    (["tick"], 2, "name a run, or say --all"),
    (["cron", "instal"], 2, "invalid choice: 'instal'"),
    (["platforms", "show", "zz"], 3, "unknown platform 'zz'"),
    (["login", "localhost"], 2, "is this machine (transport: local); there is nothing to log in to"),
    (["recover", "nothere", "--from", "zz"], 3, "unknown platform 'zz'"),
    (["recover", "seen", "--from", "wizard"], 7, "has a store; nothing to recover"),
    (["validate", "./nothere"], 3, "No such file or directory"),
]  # fmt: skip


@pytest.fixture(scope="module")
def me() -> Iterator[Shell]:
    with at_work() as shell:
        shell("run", "wizard", "--suite", "seen", "--wait", "--", "echo", "seen")
        yield shell


@pytest.fixture
def elsewhere(me: Shell, tmp_path: Path) -> Shell:
    """The same, where runs and platforms may be spoilt."""
    extra = {"JOBMGR_RUN_ROOT": str(tmp_path / "runs"), "JOBMGR_PLATFORMS": str(tmp_path / "platforms.yaml")}
    (tmp_path / "platforms.yaml").write_text((me.home / "platforms.yaml").read_text())
    return Shell(me.folder, me.hosts, extra=extra)


def root_of(shell: Shell) -> Path:
    return Path(shell.environment["JOBMGR_RUN_ROOT"])


@pytest.mark.parametrize("case", BAD_SUITES)
def test_a_bad_suite_is_told_by_file_and_line(me: Shell, case: str) -> None:
    text, said = BAD_SUITES[case]
    done = me.done("submit", me.suite("bad", text), "--name", "never")
    assert done.returncode == 3, done
    assert said in done.stderr
    assert done.stderr.endswith("; nothing was submitted\n")
    assert not (me.run_root / "never").exists()


def test_a_suite_file_that_is_a_link_to_itself_is_told(me: Shell) -> None:
    (me.home / "looped").mkdir()
    (me.home / "looped" / "suite.yaml").symlink_to("suite.yaml")
    done = me.done("submit", "./looped")
    assert (done.returncode, "Too many levels of symbolic links" in done.stderr) == (3, True)


def test_a_suite_that_is_no_text_is_told(me: Shell) -> None:
    (me.home / "bad").mkdir(exist_ok=True)
    (me.home / "bad" / "suite.yaml").write_bytes(b"\xff\xfe\n")
    done = me.done("validate", "./bad")
    assert (done.returncode, done.stderr.splitlines()[0]) == (3, "suite.yaml:1: not UTF-8 text")


@pytest.mark.parametrize("case", BAD_PLATFORMS)
def test_a_bad_platform_file_is_told_by_file_and_line(elsewhere: Shell, case: str) -> None:
    text, said = BAD_PLATFORMS[case]
    Path(elsewhere.environment["JOBMGR_PLATFORMS"]).write_text(text)
    done = elsewhere.done("run", "a", "--", "true")
    assert done.returncode == 3, done
    assert said in done.stderr
    assert done.stderr.startswith(elsewhere.environment["JOBMGR_PLATFORMS"])


def test_a_platform_file_that_is_missing_or_a_folder_is_told_and_status_needs_none(elsewhere: Shell) -> None:
    path = Path(elsewhere.environment["JOBMGR_PLATFORMS"])
    elsewhere("run", "wizard", "--suite", "one", "--wait", "--", "true")
    path.unlink()
    done = elsewhere.done("platforms", "list")
    assert (done.returncode, "cannot be read: No such file" in done.stderr) == (3, True)
    path.mkdir()
    assert "cannot be read: Is a directory" in elsewhere.done("platforms", "list").stderr
    assert "1 succeeded" in elsewhere("status", "one")


@pytest.mark.parametrize(("words", "code", "said"), BAD_WORDS, ids=[" ".join(case[0]) for case in BAD_WORDS])
def test_a_wrong_word_is_told_in_one_line(me: Shell, words: list[str], code: int, said: str) -> None:
    done = me.done(*words)
    assert done.returncode == code, done
    assert said in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == (2 if code == 3 else 1)


def test_no_words_at_all_is_the_help(me: Shell) -> None:
    assert me().startswith("usage: jobmgr")


def test_a_json_reader_gets_the_error_too(me: Shell) -> None:
    done = me.done("status", "nothere", "--json")
    assert (done.returncode, json.loads(done.stdout)["exit"]) == (4, 4)


def test_a_run_root_that_cannot_be_used_is_told(me: Shell) -> None:
    for root in ("/proc/nope", "/etc/passwd"):
        done = me.done("--run-root", root, "run", "wizard", "--", "true")
        assert done.returncode == 2, done
        assert f"the run root {root} cannot be used" in done.stderr


def test_what_is_no_run_directory_is_not_made_one(elsewhere: Shell) -> None:
    precious = root_of(elsewhere) / "mine" / "precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    path = elsewhere.suite("mine", "tasks: {a: {script: x}}\n")
    done = elsewhere.done("submit", path)
    assert done.returncode == 7
    assert "exists and is no run directory; move it away, or choose another --name" in done.stderr
    assert [entry.name for entry in precious.parent.iterdir()] == ["precious"]


def test_a_store_that_is_damaged_or_newer_is_told_and_hides_no_other_run(elsewhere: Shell) -> None:
    for name in ("good", "spoilt"):
        elsewhere("run", "wizard", "--suite", name, "--wait", "--", "true")
    db = root_of(elsewhere) / "spoilt" / ".service" / "suite.db"
    with sqlite3.connect(db) as store:
        store.execute("pragma user_version = 999")
    store.close()
    newer = elsewhere.done("status", "spoilt")
    assert (newer.returncode, "a newer jobmgr wrote this store" in newer.stderr) == (7, True)
    for part in db.parent.glob("suite.db-*"):
        part.unlink()
    db.write_bytes(b"no database" * 100)
    damaged = elsewhere.done("status", "spoilt")
    assert (damaged.returncode, "jobmgr recover spoilt --from PLATFORM" in damaged.stderr) == (7, True)
    every = elsewhere.done("status")
    assert "good" in every.stdout
    assert "spoilt" in every.stderr
    db.unlink()
    assert "1 succeeded" in elsewhere("recover", "spoilt", "--from", "wizard")


# --- streams ---------------------------------------------------------------------------------------------


def piped(me: Shell, line: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which ``jobmgr`` is the command; the exit code is the command's."""
    program = f'jobmgr() {{ {sys.executable} -m jobmgr "$@"; }}; {line}'
    done = subprocess.run(
        ["bash", "-c", program], env={**me.environment, **extra}, cwd=me.home,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


@pytest.mark.parametrize("words", ["status seen", "log seen 1/echo", "status seen --json", "platforms list"])
def test_output_to_a_full_device_is_told_and_is_no_bug(me: Shell, words: str) -> None:
    done = piped(me, f"jobmgr {words} >/dev/full")
    assert done.returncode == 7, done
    assert "cannot write the output: No space left on device" in done.stderr


def test_a_reader_that_leaves_ends_the_command_in_silence(me: Shell) -> None:
    done = piped(me, "jobmgr --help | head -1; exit ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_closed_streams_are_no_bug(me: Shell) -> None:
    assert piped(me, "jobmgr status seen >&-").returncode == 0
    assert piped(me, "jobmgr nope 2>&-").returncode == 2
    assert piped(me, "jobmgr status seen <&-").returncode == 0


def test_a_locale_without_the_letters_shows_them_as_escapes(me: Shell) -> None:
    env = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "1 succeeded" in piped(me, "jobmgr status seen", **env).stdout
    me.suite("ümlaut", "name: latin\ntasks: {a: {script: ':'}}\n")
    done = piped(me, "jobmgr submit ./ümlaut", **env)
    assert done.returncode == 2, done
    assert "not UTF-8" in done.stderr


def test_no_colour_where_nobody_wants_it(me: Shell) -> None:
    assert "\x1b" in piped(me, "jobmgr --color always status seen").stdout
    assert "\x1b" not in piped(me, "jobmgr status seen").stdout
    with me.terminal("status", "seen") as (process, terminal):
        assert "\x1b[" in terminal.until()
        process.wait()
    me.extra["NO_COLOR"] = "1"
    try:
        with me.terminal("status", "seen") as (process, terminal):
            assert "\x1b[3" not in terminal.until()
            process.wait()
    finally:
        del me.extra["NO_COLOR"]


@pytest.mark.parametrize("words", [["wait", "long"], ["log", "long", "1/a", "-f"], ["play", "long"]])
def test_ctrl_c_is_130_and_the_jobs_go_on(me: Shell, words: list[str]) -> None:
    if not (me.run_root / "long").exists():
        me("submit", me.suite("long", "tasks: {a: {script: 'echo begun; sleep 600', platform: wizard}}\n"))
    with me.started(*words) as process:
        wanted = (me.run_root / "long" / ".service" / "lock.holder") if words[0] != "log" else None
        assert process.stdout is not None
        if wanted is None:
            assert process.stdout.readline() == b"begun\n"
        else:
            eventually(wanted.exists)
        os.killpg(process.pid, signal.SIGINT)
        out = process.stdout.read().decode()
        assert process.wait() == 130, out
    assert "Traceback" not in out
    assert "1 running" in me("status", "long", "--poll")


def test_files_are_private_whatever_the_umask(me: Shell) -> None:
    add_platform(me, "again", hosts="[wizard]")
    for mask in ("000", "077"):
        text = "tasks: {a: {script: 'echo x >o', outputs: [o], platform: wizard}}\n"
        me.suite(f"um{mask}", text, {"sub/f": "x"})
        root = me.folder / f"runs-{mask}"
        done = piped(me, f"umask {mask}; jobmgr play ./um{mask}", JOBMGR_RUN_ROOT=str(root))
        assert done.returncode == 0, done
        assert (root / f"um{mask}" / "work/1/a/o").read_text() == "x\n"
        for base in (root, me.remote_root / f"um{mask}"):
            found = [base, *base.rglob("*")]
            wide = [p for p in found if not p.is_symlink() and stat.S_IMODE(p.stat().st_mode) & 0o077]
            assert wide == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_that_cannot_lock_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(_fd: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / ".service").mkdir()
    monkeypatch.setattr("fcntl.flock", flock)
    said = r"cannot lock files .*; keep runs on another one with --run-root"
    with pytest.raises(StoreError, match=said), loop_lock(tmp_path, "x", "tick"):
        pass

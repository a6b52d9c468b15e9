"""The error boundary: what each error says, where, and with which exit code. Real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobmgr import __version__, errors
from jobmgr.cli import bugs, main
from jobmgr.errors import ConfigError, JobmgrError, Problem
from measured import unmeasured

ROOT = Path(__file__).resolve().parents[3]


def jobmgr(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "remote")])
    return subprocess.run(
        [sys.executable, "-m", "jobmgr", *words],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_version() -> None:
    for words in (["--version"], ["status", "--version"]):
        done = jobmgr(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"jobmgr {__version__}\n", "")


def test_no_words_show_the_help_and_are_a_usage_error_only_with_options() -> None:
    assert jobmgr().returncode == 0
    assert "verbs:" in jobmgr().stdout
    assert jobmgr("-q").returncode == 2


def test_usage_errors_are_one_line_on_stderr() -> None:
    done = jobmgr("statsu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "jobmgr: unknown verb 'statsu' (nearest: status) (see jobmgr --help)\n"


def _outcome(error: BaseException, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main._boundary(error, words)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


ALL_ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, JobmgrError) and not issubclass(value, ConfigError)
]


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_an_expected_error_is_one_line_and_its_class_has_the_code(
    kind: type[JobmgrError], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = _outcome(kind("it went\nwrong\x1b[2J"), capsys=capsys)
    assert (code, out, err) == (kind.exit_code, "", "jobmgr: it went wrong\\x1b[2J\n")


def test_all_problems_of_a_file_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem("suite.yaml", 4, "tasks.sim", "unknown key"), Problem("suite.yaml", 0, "", "empty")]
    code, _, err = _outcome(ConfigError(problems), capsys=capsys)
    assert code == 3
    assert err.splitlines() == [
        "suite.yaml:4: tasks.sim: unknown key",
        "suite.yaml: empty",
        "2 errors; nothing was submitted",
    ]


def test_json_has_the_error_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = _outcome(errors.NotFoundError("no run x"), "status", "x", "--json", capsys=capsys)
    assert json.loads(out) == {"schema": 1, "type": "error", "exit": 4, "text": "no run x"}
    assert err
    _, out, _ = _outcome(errors.NotFoundError("no run x"), "run", "p", "--", "--json", capsys=capsys)
    assert out == ""


def test_interruption_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert _outcome(KeyboardInterrupt(), capsys=capsys)[0] == 130


def test_what_the_machine_refuses_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _outcome(PermissionError(13, "Permission denied", "/root/x"), capsys=capsys)
    assert (code, err) == (7, "jobmgr: /root/x: Permission denied\n")


def test_a_bug_is_70_with_a_log_that_only_its_owner_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        raise KeyError("inner")
    except KeyError as error:
        code, out, err = _outcome(error, "run", "p", "--env", "SECRET=hunter2", "--", "x", capsys=capsys)
    (log,) = (tmp_path / ".jobmgr" / "bugs").iterdir()
    assert (code, out) == (70, "")
    assert str(log) in err
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700
    text = log.read_text()
    assert "KeyError: 'inner'" in text
    assert "hunter2" not in text


def test_a_bug_log_goes_to_tmpdir_if_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr(bugs.tempfile, "tempdir", str(tmp_path))
    path = bugs.write(ValueError("x"), [])
    assert path is not None
    assert Path(path).parent == tmp_path


def test_old_bug_logs_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".jobmgr" / "bugs"
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"2020{number:04d}.txt").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bugs.write(ValueError("x"), []) is not None
    assert len(list(folder.iterdir())) == bugs.KEPT


def test_a_reader_who_leaves_is_no_error() -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "remote")])
    done = subprocess.run(
        [
            "bash",
            "-c",
            'set -o pipefail; "$0" -m jobmgr --help | true; echo "${PIPESTATUS[0]}"',
            sys.executable,
        ],
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_a_locale_without_our_characters_is_no_error() -> None:
    done = jobmgr(
        "completion", "bash", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0


def test_help_loads_no_verb_and_nothing_heavy() -> None:
    code = (
        "import sys; from jobmgr.cli.main import main; code = main(['--help']); "
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "remote")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**unmeasured(os.environ), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stderr.split())
    heavy = {"rich", "yaml", "fabric", "paramiko", "sh", "argcomplete", "sqlite3", "jobmgr.api"}
    assert not loaded & heavy
    assert not {name for name in loaded if name.startswith("jobmgr.cli.commands.")}

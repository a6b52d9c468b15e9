"""Lint is part of the tests: ruff, mypy (strict for jobmgr), shellcheck, and the Python floors by vermin."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from needs import need

ROOT = Path(__file__).resolve().parents[1]
SCRIPT_FOLDERS = (".ci", "benchmarks", "jobmgr", "remote", "scripts", "suites", "tests")
SHELLS = ("sh", "bash", "dash")
GUARDED = (
    "gc.freeze", "os.pidfd_open", "os.posix_spawn", "os.POSIX_SPAWN_OPEN", "signal.pidfd_send_signal",
)  # fmt: skip
"""Newer than the floor, and used only where ``hasattr`` finds them."""


def _passes(argv: Sequence[str | Path]) -> None:
    done = subprocess.run(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        pytest.fail(done.stdout, pytrace=False)


def _tool(name: str) -> list[str]:
    """argv of a lint tool of the development environment."""
    need(find_spec(name), f"{name} is not installed")
    program = Path(sys.executable).with_name(name)
    return [str(program)] if program.exists() else [sys.executable, "-m", name]


def shell_scripts() -> list[Path]:
    """Every file of ours that a shell runs: ``*.sh`` and whatever names a shell in its first line."""
    found = (path for folder in SCRIPT_FOLDERS for path in sorted((ROOT / folder).rglob("*")))
    files = (path for path in found if path.is_file() and "data" not in path.parts)  # what was recorded stays so
    return [path for path in files if path.suffix == ".sh" or (not path.suffix and _names_a_shell(path))]


def _names_a_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and first.decode(errors="replace").split("/")[-1].split()[-1] in SHELLS


def test_ruff() -> None:
    _passes([*_tool("ruff"), "check", "--quiet", "--output-format=concise"])


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_mypy() -> None:
    _passes(_tool("mypy"))


def test_shellcheck() -> None:
    need(shutil.which("shellcheck"), "shellcheck is not installed")
    scripts = shell_scripts()
    assert ROOT / ".ci" / "run" in scripts
    _passes(["shellcheck", "--", *scripts])


@pytest.mark.parametrize(("folder", "floor"), [("remote", "3.6"), ("jobmgr", "3.10")])
def test_python_floor(folder: str, floor: str) -> None:
    flags = ["--no-tips", "--violations", "--eval-annotations", f"--target={floor}-"]
    guarded = [word for name in GUARDED for word in ("--exclude", name)]
    _passes([*_tool("vermin"), *flags, *guarded, folder])

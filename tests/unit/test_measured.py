"""The tests' own way to measure the host side: it has to run what the plain interpreter would run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import coverage
import pytest

from measured import host_python

PROGRAM = """\
import os, sys
print(__name__, sys.argv[1:], [name for name in os.environ if name.startswith(("COV", "MEASURED"))])
sys.exit(3)
"""


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """(the program, where its data arrive)"""
    config = coverage.Coverage(
        data_file=str(tmp_path / "data"), config_file=str(Path(__file__).parents[2] / "pyproject.toml")
    ).config
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", config.serialize())
    program = host_python(tmp_path)
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG")
    return program, tmp_path


def _run(argv: list[str]) -> tuple[int, str]:
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


def _data_files(folder: Path) -> list[Path]:
    return list(folder.glob("data.*"))


def test_without_a_measurement_it_is_the_python_of_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    assert host_python(tmp_path) == sys.executable


@pytest.mark.parametrize("form", ["file", "folder", "archive"])
def test_programs_run_as_main_and_leave_data(form: str, measured: tuple[str, Path]) -> None:
    python, folder = measured
    target = folder / "host"
    if form == "file":
        target.write_text(PROGRAM)
    elif form == "folder":
        target.mkdir()
        (target / "__main__.py").write_text(PROGRAM)
    else:
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("__main__.py", PROGRAM)
    assert _run([python, "-I", "-S", str(target), "verb", "-x"]) == (3, "__main__ ['verb', '-x'] []\n")
    assert _data_files(folder)


def test_unpacked_host_side_is_measured_as_our_sources(measured: tuple[str, Path]) -> None:
    python, folder = measured
    package = folder / "jobmgr-remote-1.0.0-0123456789ab" / "jobmgr_remote"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "layout.py").write_text("X = 1\n")
    (package.parent / "__main__.py").write_text("import jobmgr_remote.layout\n")
    assert _run([python, "-I", "-S", str(package.parent)]) == (0, "")
    root = Path(__file__).parents[2]
    combined = coverage.Coverage(
        data_file=str(folder / "data"), config_file=str(root / "pyproject.toml"), messages=False
    )
    before = Path.cwd()
    os.chdir(root)
    try:
        combined.combine([str(file) for file in _data_files(folder)])
    finally:
        os.chdir(before)
    assert "remote/jobmgr_remote/layout.py" in combined.get_data().measured_files()


def test_other_calls_are_the_plain_interpreter(measured: tuple[str, Path]) -> None:
    python, folder = measured
    assert _run([python, "-I", "-S", "-c", "import sys; print(sys.flags.no_site)"]) == (0, "1\n")
    assert _run([python, "--version"]) == _run([sys.executable, "--version"])
    assert not _data_files(folder)

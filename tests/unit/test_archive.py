"""The host side's archive: the same bytes for the same sources, and nothing else inside."""

from __future__ import annotations

import ast
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobmgr_remote
from interpreters import find, oldest_and_newest
from jobmgr.transport import archive
from needs import need

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the host side's sources that a test may change."""
    target = tmp_path / "copy" / "jobmgr_remote"
    shutil.copytree(archive.package_folder(), target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_name_has_version_and_twelve_hex_digits() -> None:
    version = re.escape(jobmgr_remote.__version__)
    assert re.fullmatch(rf"jobmgr-remote-{version}-[0-9a-f]{{12}}", archive.archive_name())


def test_name_is_that_of_the_archive() -> None:
    assert archive.archive_name() == archive.host_archive().name


def test_two_builds_are_byte_identical() -> None:
    assert archive.build(archive.package_folder()) == archive.build(archive.package_folder())


def test_mtimes_permissions_and_compiled_files_do_not_count(copy: Path, umask: None) -> None:
    for path in copy.rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "wire.cpython-36.pyc").write_bytes(b"compiled")
    assert archive.build(str(copy)) == archive.build(archive.package_folder())


def test_only_sources_go_in(copy: Path) -> None:
    before = archive.build(str(copy))
    for name in ("notes.txt", ".hidden.py", "wire.py.orig", "wire.py~", "x.pyc"):
        (copy / name).write_text("not a source")
    (copy / ".git").mkdir()
    (copy / ".git" / "hook.py").write_text("not a source")
    assert archive.build(str(copy)) == before


def test_archive_is_the_package_and_its_starter() -> None:
    folder = Path(archive.package_folder())
    expected = {
        f"jobmgr_remote/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in {".py", ".sh"}
    }
    assert _members(archive.host_archive().data) == {"__main__.py": archive.MAIN, **expected}


@pytest.mark.parametrize("change", ["content", "new file", "removed file", "renamed file"])
def test_changed_sources_change_the_name(copy: Path, change: str) -> None:
    before = archive.build(str(copy)).name
    wire = copy / "wire.py"
    if change == "content":
        wire.write_bytes(wire.read_bytes() + b"\n")
    elif change == "new file":
        (copy / "empty.py").write_bytes(b"")
    elif change == "removed file":
        wire.unlink()
    else:
        wire.rename(copy / "wires.py")
    assert archive.build(str(copy)).name != before


@given(st.dictionaries(st.text(), st.binary()), st.dictionaries(st.text(), st.binary()))
def test_different_sources_have_different_names(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (archive.name_of(one) == archive.name_of(other)) == (one == other)


@given(st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1), st.binary()))
def test_order_of_the_folder_does_not_count(sources: dict[str, bytes]) -> None:
    backwards = dict(reversed(sources.items()))
    assert archive.name_of(sources) == archive.name_of(backwards)


def test_entries_carry_nothing_of_this_machine() -> None:
    with zipfile.ZipFile(io.BytesIO(archive.host_archive().data)) as opened:
        entries = opened.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    facts = {
        (entry.date_time, entry.external_attr, entry.create_system, entry.compress_type) for entry in entries
    }
    assert facts == {((1980, 1, 1, 0, 0, 0), 0o100644 << 16, 3, zipfile.ZIP_STORED)}


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_every_python_builds_the_same_bytes(version: str) -> None:
    python = find(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    code = (
        "import sys; from jobmgr.transport import archive;"
        "sys.stdout.buffer.write(archive.build(archive.package_folder()).data)"
    )
    done = subprocess.run(
        [python, "-S", "-c", code],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'remote'}", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == archive.build(archive.package_folder()).data


def test_starter_compiles_under_python_2() -> None:
    python = find("2.7")
    if python is None:
        ast.parse(archive.MAIN, feature_version=(3, 6))
        return
    code = "import sys; compile(sys.stdin.read(), 'starter', 'exec')"
    subprocess.run([python, "-c", code], input=archive.MAIN, check=True)


@pytest.mark.parametrize("python", oldest_and_newest())
def test_archive_runs_as_it_is(python: str, tmp_path: Path) -> None:
    built = archive.host_archive()
    file = tmp_path / built.name
    file.write_bytes(built.data)
    done = subprocess.run(
        [python, "-I", "-S", file, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert (done.returncode, jobmgr_remote.__version__ in done.stdout.decode()) == (0, True), done.stdout


def test_file_can_be_executed(tmp_path: Path) -> None:
    """For a host where somebody installs it by hand, as a program on PATH."""
    file = tmp_path / "jobmgr-remote"
    file.write_bytes(archive.host_archive().data)
    file.chmod(0o755)
    done = subprocess.run([file, "--version"], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, jobmgr_remote.__version__ in done.stdout.decode()) == (0, True)


def test_installed_archive_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobmgr-remote-9.9-0123456789ab.pyz").write_bytes(b"zip")
    (tmp_path / "other").write_bytes(b"")
    monkeypatch.setattr(archive, "PREBUILT", str(tmp_path))
    archive.archive_name.cache_clear()
    try:
        assert archive.archive_name() == "jobmgr-remote-9.9-0123456789ab"
        assert archive.host_archive() == archive.HostArchive("jobmgr-remote-9.9-0123456789ab", b"zip")
    finally:
        archive.archive_name.cache_clear()


@pytest.mark.slow
def test_wheel_carries_the_archive_and_the_sources(tmp_path: Path) -> None:
    need(_has_setuptools(), "setuptools is not installed")
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("jobmgr", "remote"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode()
    (wheel,) = tmp_path.glob("*.whl")
    built = archive.build(archive.package_folder())
    members = _members(wheel.read_bytes())
    assert members[f"jobmgr/_host/{built.name}.pyz"] == built.data
    assert {name for name in _members(built.data) if name != "__main__.py"} <= set(members)
    assert "jobmgr/py.typed" in members
    assert not [name for name in members if name.startswith(("tests/", "remote/", "setup"))]


def _has_setuptools() -> bool:
    probe = subprocess.run([sys.executable, "-c", "import setuptools.build_meta"], check=False)
    return probe.returncode == 0

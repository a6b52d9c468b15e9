"""The way in, and the installation of the host side by itself."""

from __future__ import annotations

import io
import os
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

import interpreters
from host_side import PACKAGE
from jobmgr.transport.archive import build
from jobmgr_remote import entry, session, wire
from jobmgr_remote import install as install_module
from measured import host_python
from needs import need

PYTHONS = interpreters.oldest_and_newest()


def records(out: bytes, verb: str = "install") -> list[tuple[str, object]]:
    return wire.ReplyReader(verb).feed(out)


def test_python_2_says_by_wire_that_it_is_too_old() -> None:
    python = interpreters.find("2.7")
    need(python, "Python 2.7 is not installed")
    done = subprocess.run(
        [str(python), "-E", "-S", str(PACKAGE), "jobs-poll"], input=b"", stdout=subprocess.PIPE, check=False
    )
    (kind, error), (end, count) = records(done.stdout, "jobs-poll")
    assert kind == wire.ERROR
    assert error == wire.Error(wire.E_TOO_OLD, f"{python} is Python 2.7; 3.6 or newer is needed")
    assert (end, count) == (wire.END, 0)


@pytest.mark.parametrize("python", PYTHONS)
def test_version_is_one_line(python: str) -> None:
    out = subprocess.run(
        [python, "-I", "-S", str(PACKAGE), "--version"], stdout=subprocess.PIPE, check=True
    ).stdout
    assert out.startswith(b"jobmgr-remote ")
    assert out.count(b"\n") == 1


def test_a_call_without_a_verb_is_a_usage_error() -> None:
    done = subprocess.run([PYTHONS[-1], "-I", "-S", str(PACKAGE)], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"usage" in done.stderr


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of the tests, measured if there is a measurement."""
    return host_python(tmp_path_factory.mktemp("python"))


def ship(folder: Path) -> Path:
    archive = build(str(PACKAGE))
    path = folder / f"{archive.name}.4711.pyz"
    path.write_bytes(archive.data)
    return path


def install(python: str, path: Path) -> tuple[int, list[tuple[str, object]]]:
    done = subprocess.run([python, "-I", "-S", str(path), "install"], stdout=subprocess.PIPE, check=False)
    return done.returncode, records(done.stdout)


@pytest.mark.parametrize("python", PYTHONS)
def test_install_unpacks_and_compiles_and_removes_the_archive(python: str, tmp_path: Path) -> None:
    path = ship(tmp_path)
    code, ((_, found), _) = install(python, path)
    assert code == 0
    folder = tmp_path / path.name[: -len(".4711.pyz")]
    assert found["installed"] == str(folder)  # type: ignore[index]
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]
    assert (folder / "python").read_text().strip() == found["python"]  # type: ignore[index]
    assert list((folder / "jobmgr_remote" / "__pycache__").glob("session.*.pyc"))
    assert (folder / "jobmgr_remote" / "job" / "wrapper.sh").is_file()
    assert folder.stat().st_mode & 0o777 == 0o700
    main = folder / "jobmgr_remote" / "__main__.py"
    assert subprocess.run(
        [python, "-I", "-S", str(main), "--version"], stdout=subprocess.PIPE, check=True
    ).stdout


def test_installing_what_is_there_changes_nothing(here: str, tmp_path: Path) -> None:
    install(here, ship(tmp_path))
    (folder,) = tmp_path.iterdir()
    before = (folder / "__main__.py").stat()
    code, _ = install(here, ship(tmp_path))
    assert code == 0
    assert (folder / "__main__.py").stat() == before


def test_two_installations_at_once_both_succeed(here: str, tmp_path: Path) -> None:
    archive = build(str(PACKAGE))
    started = []
    for number in range(4):
        path = tmp_path / f"{archive.name}.{number}.pyz"
        path.write_bytes(archive.data)
        started.append(subprocess.Popen([here, "-I", "-S", str(path), "install"], stdout=subprocess.PIPE))
    for process in started:
        process.communicate()
    assert [process.returncode for process in started] == [0] * 4
    assert [entry.name for entry in tmp_path.iterdir()] == [archive.name]


def test_a_half_deleted_version_is_replaced(here: str, tmp_path: Path) -> None:
    install(here, ship(tmp_path))
    (folder,) = tmp_path.iterdir()
    (folder / "__main__.py").unlink()
    assert install(here, ship(tmp_path))[0] == 0
    assert (folder / "__main__.py").is_file()


def test_a_truncated_archive_is_not_installed(here: str, tmp_path: Path) -> None:
    path = ship(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    assert install(here, path)[0] != 0
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_archive_that_would_leave_its_folder_is_refused(here: str, tmp_path: Path) -> None:
    path = ship(tmp_path)
    data = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("../evil.py", "")
    path.write_bytes(data.getvalue())
    code, ((kind, error), _) = install(here, path)
    assert (code, kind) == (1, wire.ERROR)
    assert "../evil.py" in error.text  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_versions_that_nobody_has_used_for_a_month_are_removed(here: str, tmp_path: Path) -> None:
    month, day = time.time() - 31 * 86400, time.time() - 2 * 86400
    for name, when in (
        ("jobmgr-remote-0.9.0-000000000000", month),
        ("jobmgr-remote-0.9.1-000000000001", day),
        ("jobmgr-remote-0.9.1-000000000002.77.tmp", day),
        ("something-else", month),
    ):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (when, when))
    _, ((_, found), _) = install(here, ship(tmp_path))
    assert found["removed"] == [  # type: ignore[index]
        "jobmgr-remote-0.9.0-000000000000",
        "jobmgr-remote-0.9.1-000000000002.77.tmp",
    ]
    assert {"something-else", "jobmgr-remote-0.9.1-000000000001"} < {
        entry.name for entry in tmp_path.iterdir()
    }


def test_a_call_marks_its_version_as_used(here: str, tmp_path: Path) -> None:
    install(here, ship(tmp_path))
    (folder,) = tmp_path.iterdir()
    os.utime(folder, (1, 1))
    subprocess.run(
        [here, "-I", "-S", str(folder / "jobmgr_remote/__main__.py"), "jobs-poll"],
        input=b"",
        stdout=subprocess.PIPE,
        check=False,
    )
    assert time.time() - folder.stat().st_mtime < 3600


def test_the_words_of_a_call_choose_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jobmgr-remote ")
    assert entry.main(["jobs-poll", "more"]) == 2
    assert "usage" in capsys.readouterr().err
    monkeypatch.setattr(session, "main", lambda verb: 40 + len(verb))
    assert entry.main(["scan"]) == 44
    assert entry.main(["restricted", "--no-such-word"]) == 2
    assert "jobmgr-remote restricted: " in capsys.readouterr().err
    assert entry.main(["install"]) == 1  # a folder is no archive
    assert "is not an archive of the host side" in capsys.readouterr().out
    monkeypatch.setattr(entry, "OLDEST", (99, 0))
    assert entry.main(["scan"]) == 1
    assert records(capsys.readouterr().out.encode())[0][1].code == wire.E_TOO_OLD  # type: ignore[attr-defined]


def test_a_host_side_that_does_not_compile_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "jobmgr-remote-1.0.0-0123456789ab.1.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", "this is no Python")
    assert install_module.main(str(path)) == 1
    assert "does not compile" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"not a zip file")
    assert install_module.main(str(path)) == 1
    assert "broken" in capsys.readouterr().out

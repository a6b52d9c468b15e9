"""Which source files belong to a run, and how they are brought up to date."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobmgr.errors import UsageError
from jobmgr.service import install


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


def test_version_control_and_the_runs_own_folders_stay_out(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "suite.yaml",
        "bin/tool",
        ".git/config",
        "sub/.git/x",
        "log/a",
        "work/b",
        "share/c",
        "sub/log/kept",
        ".env",
    )
    assert install.source_files(root, ()) == [".env", "bin/tool", "sub/log/kept", "suite.yaml"]


def test_patterns_choose_and_what_the_suite_names_comes_along(tmp_path: Path) -> None:
    root = tree(tmp_path, "suite.yaml", "bin/tool", "data/a.nc", "data/deep/b.nc", "notes.txt", "run.sh")
    found = install.source_files(root, ("data/", "*.txt"), ("suite.yaml", "run.sh", "bin", "missing"))
    assert found == ["bin/tool", "data/a.nc", "data/deep/b.nc", "notes.txt", "run.sh", "suite.yaml"]


def test_links_are_followed_and_a_loop_of_them_ends(tmp_path: Path) -> None:
    root = tree(tmp_path / "suite", "suite.yaml")
    tree(tmp_path / "elsewhere", "d.nc")
    (root / "data").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    assert install.source_files(root, ()) == ["data/d.nc", "suite.yaml"]


def test_a_second_installation_copies_only_what_changed_and_removes_what_left(tmp_path: Path) -> None:
    root, run = tree(tmp_path / "suite", "suite.yaml", "bin/tool", "old"), tmp_path / "run"
    (root / "bin/tool").chmod(0o755)
    (run / ".service").mkdir(parents=True)
    tree(run, "work/1/a/kept", "own")
    files = install.source_files(root, ())
    assert install.install_source(root, run, files) == 3
    assert install.install_source(root, run, files) == 0
    assert (run / "bin/tool").stat().st_mode & 0o777 == 0o700
    assert (run / "suite.yaml").stat().st_mode & 0o777 == 0o600
    before = install.digest(run, files)
    (root / "old").unlink()
    os.utime(root / "suite.yaml", (1, 1))
    files = install.source_files(root, ())
    assert install.install_source(root, run, files) == 2
    assert not (run / "old").exists()
    assert (run / "work/1/a/kept").exists()
    assert (run / "own").exists()
    assert install.digest(run, files) != before
    assert install.installed_files(run) == ["bin/tool", "suite.yaml"]


def test_a_source_that_is_newer_is_noticed(tmp_path: Path) -> None:
    root, run = tree(tmp_path / "suite", "suite.yaml", "b"), tmp_path / "run"
    (run / ".service").mkdir(parents=True)
    install.install_source(root, run, install.source_files(root, ()))
    assert install.newest_change(root, run) is None
    later = (root / "b").stat().st_mtime + 10
    os.utime(root / "b", (later, later))
    assert install.newest_change(root, run) == "b"


def test_a_run_played_from_its_own_directory_is_left_alone(tmp_path: Path) -> None:
    root = tree(tmp_path, "suite.yaml")
    assert install.install_source(root, root, ["suite.yaml"]) == 0
    assert (root / "suite.yaml").read_text() == "suite.yaml"


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / ".service").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot install"):
        install.install_source(tmp_path / "suite", run, ["suite.yaml"])


def test_few_small_files_travel_with_the_first_call_and_others_by_rsync(tmp_path: Path) -> None:
    root = tree(tmp_path, "suite.yaml", "bin/tool")
    (root / "bin/tool").chmod(0o700)
    taken = install.few_and_small(root, ["bin/tool", "suite.yaml"])
    assert taken is not None
    assert [(one["path"], one["program"]) for one in taken] == [("bin/tool", True), ("suite.yaml", False)]
    assert taken[1]["time"] == (root / "suite.yaml").stat().st_mtime_ns
    (root / "big").write_bytes(b"x" * install.SMALL)
    assert install.few_and_small(root, ["big"]) is not None
    assert install.few_and_small(root, ["big", "suite.yaml"]) is None
    assert install.few_and_small(root, ["gone"]) is None
    assert install.few_and_small(root, ["b\u00e4r"]) is None
    assert install.few_and_small(root, [f"f{number}" for number in range(install.FEW + 1)]) is None

"""What there is to bring home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import layout, listing, wire

WORK = "work/1/t"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    work = tmp_path / "run" / WORK
    for name in ("a.nc", "b.nc", ".hidden.nc", "sub/c.nc", "sub/deep/d.nc", "results/x/y.txt"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.nc").write_text("key")
    os.symlink(tmp_path / "secret", work / "away")
    os.symlink("a.nc", work / "link.nc")
    os.mkfifo(work / "pipe.nc")
    return tmp_path / "run"


def found(run_dir: Path, *patterns: str) -> dict[str, str]:
    return {
        one.path[len(WORK) + 1 :]: one.type for one in listing.outputs(str(run_dir), WORK, list(patterns))
    }


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["a.nc"], {"a.nc": "file"}),
        (["*.nc"], {"a.nc": "file", "b.nc": "file", "link.nc": "link", "pipe.nc": "other"}),
        (["[a]?nc", "a.nc"], {"a.nc": "file"}),
        ([".h*"], {".hidden.nc": "file"}),
        (["sub/*.nc"], {"sub/c.nc": "file"}),
        (["sub"], {"sub/c.nc": "file", "sub/deep/d.nc": "file"}),
        (["**/d.nc"], {"sub/deep/d.nc": "file"}),
        (["results/**"], {"results/x/y.txt": "file"}),
        (["**/y.txt", "./a.nc"], {"results/x/y.txt": "file", "a.nc": "file"}),
        (["away"], {"away": "link"}),
        (["away/key.nc"], {"away": "link"}),
        (["../../../secret/key.nc", "/etc/passwd", "", "."], {}),
        (["missing/*", "missing"], {}),
    ],
)
def test_patterns_match_as_documented_and_never_leave_the_work_directory(
    run_dir: Path, patterns: list[str], expected: dict[str, str]
) -> None:
    assert found(run_dir, *patterns) == expected


def test_two_stars_find_everything_once(run_dir: Path) -> None:
    assert set(found(run_dir, "**", "**/*.nc")) == {
        ".hidden.nc",
        "a.nc",
        "b.nc",
        "away",
        "link.nc",
        "pipe.nc",
        "sub/c.nc",
        "sub/deep/d.nc",
        "results/x/y.txt",
    }


def test_the_list_is_bounded(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_ENTRIES", 3)
    assert len(found(run_dir, "**")) == 3


def test_sizes_are_told(run_dir: Path) -> None:
    assert listing.outputs(str(run_dir), WORK, ["a.nc"]) == [wire.Listed(WORK + "/a.nc", 4, "file")]


def test_logs_are_the_files_of_the_log_directory(run_dir: Path) -> None:
    folder = run_dir / layout.job_dir("1/t/01")
    folder.mkdir(parents=True)
    for name in ("job", "job.out", "job.77.tmp", "extra.log"):
        (folder / name).write_text("x")
    (folder / "folder").mkdir()
    one = {"job": "1/t/01", "outputs": ["a.nc", 7]}
    assert [entry.path.rpartition("/")[2] for entry in listing.of_job(str(run_dir), one)] == [
        "extra.log",
        "job",
        "job.out",
        "a.nc",
    ]


@given(st.lists(st.text(st.sampled_from("a*?[]!^.-/\\bnc"), max_size=12), max_size=4))
def test_no_pattern_crashes_or_escapes(patterns: list[str]) -> None:
    for one in listing.outputs("/proc/self/task", "work", patterns):
        assert one.path.startswith("work/")

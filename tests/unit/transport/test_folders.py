"""Files alike that are asked for by folder: the same files, and none that no rule names."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.transport.folders import FEW, by_folder

_NAMES = st.sampled_from(["out", "err", "job.status", "a b", "*", "[x]", "d", "log", "new\nline"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=5).map("/".join) | st.builds(
    lambda task, submit, name: f"log/job/{task}/{submit}/{name}", _NAMES, _NAMES, _NAMES
)


def _left_out(path: str, rules: tuple[str, ...]) -> bool:
    """rsync(1), FILTER RULES: each folder on the way and the file itself, by the first rule that matches; a rule with
    a leading slash matches from the top, ``*`` stops at slashes.
    """
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        for rule in rules:
            sign, pattern = rule.split(" ", 1)
            wanted = pattern[1:].split("/")
            if len(wanted) == end and all(map(fnmatch.fnmatchcase, parts[:end], wanted)):
                if sign == "-":
                    return True
                break
    return False


@given(st.lists(_PATHS, unique=True, max_size=12))
def test_all_that_is_wanted_is_asked_for_and_no_rule_leaves_it_out(paths: list[str]) -> None:
    asked = by_folder(paths, "log/job")
    for path in paths:
        assert path in asked.paths or f"{path.rpartition('/')[0]}/" in asked.paths
        assert not _left_out(path, asked.rules)


@given(st.lists(_PATHS, unique=True, max_size=12), _NAMES, _NAMES)
def test_of_a_folder_come_only_names_that_are_wanted_somewhere(
    paths: list[str], other: str, below: str
) -> None:
    asked = by_folder(paths, "log/job")
    wanted = {path.rpartition("/")[2] for path in paths}
    for folder in (path for path in asked.paths if path.endswith("/")):
        assert folder.startswith("log/job/")
        if other not in wanted:
            assert _left_out(f"{folder}{other}", asked.rules)
            assert _left_out(f"{folder}{other}/{below}", asked.rules)


def test_jobs_with_the_same_files_are_asked_for_by_folder() -> None:
    paths = [f"log/job/1/t{n}/01/{name}" for n in range(3) for name in ("job", "job.out")]
    asked = by_folder([*paths, "work/1/t0/result"], "log/job")
    assert asked.paths == ("work/1/t0/result", "log/job/1/t0/01/", "log/job/1/t1/01/", "log/job/1/t2/01/")
    assert asked.rules == ("+ /log/job/*/*/*/job", "+ /log/job/*/*/*/job.out", "- /log/job/*/*/*/*")


@pytest.mark.parametrize(
    "odd",
    [
        ["log/job/1/t/01/sub/file"],
        ["log/job/1/t/01/a b"],
        ["log/job/1/t/01/*"],
        ["log"],
        ["log/job"],
        [f"log/job/1/t/01/file{n}" for n in range(FEW)],
    ],
    ids=["deeper", "blank", "wildcard", "all above", "the folder itself", "too many names"],
)
def test_what_is_not_alike_is_asked_for_by_name(odd: list[str]) -> None:
    paths = ("log/job/1/t/01/job", *odd)
    asked = by_folder(paths, "log/job")
    assert (asked.paths, asked.rules) == (paths, ())

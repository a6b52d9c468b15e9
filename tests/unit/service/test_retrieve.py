"""What is done at home with files that have come."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobmgr.service.retrieve import point_latest
from jobmgr.transport.rsync import END, Inside, RsyncResult


def _logs(run_dir: Path, *submits: str) -> list[str]:
    paths = [f"log/job/1/sim/{submit}/job.out" for submit in submits]
    for path in paths:
        (run_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / path).write_text("said\n")
    return paths


def test_nn_names_the_latest_submit_that_is_here(tmp_path: Path) -> None:
    link = tmp_path / "log/job/1/sim/NN"
    for submits, latest in ((("01",), "01"), (("02",), "02"), (("01",), "02"), (("99", "100"), "100")):
        point_latest(tmp_path, _logs(tmp_path, *submits))
        assert os.readlink(link) == latest
    assert {path.name for path in link.parent.iterdir()} == {"01", "02", "99", "100", "NN"}


def test_what_did_not_come_gets_no_link(tmp_path: Path) -> None:
    point_latest(tmp_path, ["log/job/1/sim/01/job.out", "work/1/sim/result", "log/job/1/sim/x"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "size", "here"),
    [
        ("d/whole", 5, True),
        ("d/whole", 4, True),
        ("d/whole", 6, False),
        ("d/absent", 0, False),
        ("no/such/folder/whole", 0, False),
        ("d/whole/below", 0, False),
        ("d", 0, False),
        ("d/link", 0, False),
        ("linked/whole", 0, False),
        ("linked/absent/whole", 0, False),
        ("d/../d/whole", 0, False),
    ],
)
def test_a_file_is_here_if_it_is_whole_and_behind_no_link(
    tmp_path: Path, path: str, size: int, here: bool
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/whole").write_text("12345")
    (tmp_path / "d/link").symlink_to("whole")
    (tmp_path / "linked").symlink_to("d")
    inside = Inside(str(tmp_path))
    assert inside.holds(path, size) is here
    assert inside.holds(path, size) is here, "what is known of folders says the same"
    refused = path.startswith("linked") or ".." in path
    assert (path in inside) is not refused


SAID = """\
rsync: [sender] opendir "/home/me/jobmgr-run/s/log/job/1/a/01" failed: Permission denied (13)
rsync: [sender] send_files failed to open "/home/me/jobmgr-run/s/log/job/1/b/01/job.out": Permission denied (13)
rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1874) [generator=3.2.7]
"""


def test_what_rsync_says_of_a_file_or_of_its_folder_is_found() -> None:
    said = RsyncResult(23, SAID)
    assert 'opendir "/home/me/jobmgr-run/s/log/job/1/a/01"' in said.complaint("log/job/1/a/01/job.out")
    assert "send_files failed" in said.complaint("log/job/1/b/01/job.out")
    for other in ("log/job/1/b/01/job.err", "log/job/1/a/02/job.out", "log/job/1/a/0/job.out"):
        assert not said.complaint(other)
    assert not said.may_have_more
    assert RsyncResult(23, SAID[-END:] + "x" * END).may_have_more

"""A site's host.conf, met by a whole run: a host side that reads another file is all that is not real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobmgr.api import Session
from jobmgr.core.states import State

REMOTE = Path(__file__).resolve().parents[2] / "remote"
HOST_SIDE = """\
#!{python} -I
import sys, time
sys.path.insert(0, {remote!r})
from jobmgr_remote import __main__, hostconf
hostconf.load.__defaults__ = ({conf!r},)
with open({calls!r}, "a") as file:
    file.write("%s %s\\n" % (time.time(), sys.argv[1]))
sys.exit(__main__.main())
"""


class Site:
    def __init__(self, folder: Path) -> None:
        self.conf = folder / "host.conf"
        self.calls = folder / "calls"
        program = folder / "jm"
        text = HOST_SIDE.format(
            python=sys.executable, remote=str(REMOTE), conf=str(self.conf), calls=str(self.calls)
        )
        program.write_text(text)
        program.chmod(0o755)
        (folder / "p.yaml").write_text(
            f"platforms:\n  localhost:\n    runner: background\n    remote_command: {program}\n"
        )
        self.session = Session(folder / "p.yaml", folder / "runs", user_files=False, home=folder)

    def polls(self) -> int:
        return sum(row.endswith(" jobs-poll") for row in self.calls.read_text().splitlines())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Site(tmp_path)


def test_a_denied_runner_is_refused_in_the_site_s_words(site: Site) -> None:
    site.conf.write_text("deny_runners = background\n")
    with site.session as session:
        job = session.run("localhost", ["true"])
        assert job.state is State.SUBMIT_FAILED
        assert "not allowed on this host" in (job.row().detail or "")


def test_a_file_that_is_wrong_submits_nothing(site: Site) -> None:
    site.conf.write_text("deny_runner = background\n")
    with site.session as session:
        job = session.run("localhost", ["true"])
        assert job.state is State.QUEUED


def test_short_waits_are_not_answered_by_more_calls(site: Site) -> None:
    """Where a site allows no waiting, jobmgr comes back at its own pace, not at once."""
    site.conf.write_text("max_wait = 0\n")
    with site.session as session:
        job = session.run("localhost", ["sleep", "3"])
        job.wait(120)
        assert job.state is State.SUCCEEDED
    assert site.polls() <= 6


def test_a_slow_site_still_tells_of_a_job_s_end(site: Site) -> None:
    site.conf.write_text("min_polling_interval = 2\nsyslog = yes\n")
    with site.session as session:
        job = session.run("localhost", ["sleep", "0.1"])
        job.wait(120)
        assert job.state is State.SUCCEEDED
    assert site.polls() <= 6

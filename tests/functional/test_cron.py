"""A real cron daemon turns the loop until a run is at its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shells import Shell, eventually

DAILY = """\
graph: fetch => count
tasks:
  fetch: {platform: wizard, script: 'seq 7 > "$JOBMGR_SHARE_DIR/data"'}
  count: {platform: wizard, script: 'wc -l < "$JOBMGR_SHARE_DIR/data"', outputs: "*"}
"""

# cron and crontab(1) see tables, pid file and system tables of their own: a mount namespace of their own.
STAGE = """\
mount -t tmpfs -o mode=0755 none /var/spool/cron &&
mkdir -m 1730 /var/spool/cron/crontabs && chgrp crontab /var/spool/cron/crontabs &&
mount -t tmpfs none /run && mount -t tmpfs none /etc/cron.d && mount --bind /dev/null /etc/crontab &&
exec cron -f
"""


@pytest.fixture
def cron(user: Shell) -> Iterator[list[str]]:
    """A cron daemon; the words in front of a command that shall see its tables."""
    with subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", STAGE], env={**os.environ, "HOME": "/nowhere"},
        stdin=subprocess.DEVNULL, start_new_session=True,
    ) as daemon:  # fmt: skip
        try:
            eventually(lambda: Path(f"/proc/{daemon.pid}/comm").read_text() == "cron\n")
            in_a_later_second()
            yield ["nsenter", "-t", str(daemon.pid), "-m"]
        finally:
            os.killpg(daemon.pid, signal.SIGKILL)


def in_a_later_second() -> None:
    """cron looks for changed tables when it starts and once a minute, and compares whole seconds: a table that is
    written in the second in which it looks is never read."""
    began = int(time.time())
    eventually(lambda: time.time() > began + 1 and 2 <= time.time() % 60 <= 50)


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a cron daemon of its own")
@pytest.mark.skipif(shutil.which("cron", path="/usr/sbin:/usr/bin") is None, reason="no cron daemon here")
def test_cron_brings_a_run_to_its_end(user: Shell, cron: list[str]) -> None:
    def crontab(*words: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*cron, "crontab", *words], input=stdin, capture_output=True, text=True, check=True
        )
        return done.stdout

    def jobmgr(*words: str) -> str:
        command = [*cron, str(user.home / "bin/jobmgr"), "--run-root", str(user.run_root)]
        done = subprocess.run(
            [*command, "--platforms", str(user.home / "platforms.yaml"), "--ssh-config",
             str(user.home / "ssh_config"), *words], env=user.environment, capture_output=True, check=False, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done
        return done.stdout

    # What a user has there stays: cron's environment is what these lines say and no more.
    own = f'# mine, at 100%\nHOME={user.home}\nPYTHONPATH={user.environment["PYTHONPATH"]}\nMAILTO=""\n'
    crontab("-", stdin=own)
    assert jobmgr("cron", "show").startswith("not installed")
    jobmgr("cron", "install")
    assert jobmgr("cron", "install", "--every", "1").startswith("installed")
    table = crontab("-l")
    assert table.startswith(own)
    assert table.count("tick --all") == 1
    assert "tick --all" in jobmgr("cron", "show")

    user.platforms(
        "platforms: {wizard: {hosts: [wizard], runner: background, polling_interval: 1s,"
        " queued_polling_interval: 1s, min_polling_interval: 1s}}\n"
    )
    user("submit", user.suite("daily", DAILY), "--cycle", "20261120")
    eventually(lambda: user.records("status", "daily")[0]["finished"], 200)
    assert user.states("daily") == {"20261120/fetch/01": "succeeded", "20261120/count/01": "succeeded"}
    assert (user.run_root / "daily/log/job/20261120/count/01/job.out").read_text().strip() == "7"
    assert "daily" in (user.home / ".jobmgr/cron.log").read_text()

    jobmgr("cron", "remove")
    assert crontab("-l") == own

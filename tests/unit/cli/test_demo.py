"""The stage of the demo: whatever ends it, nothing of it is left. The play itself is a functional test."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobmgr.cli import demo_stage
from jobmgr.cli.context import Context, Options
from needs import need

ROOT = Path(__file__).resolve().parents[3]
PYTHONPATH = os.pathsep.join([str(ROOT), str(ROOT / "remote")])


def need_sshd() -> None:
    need(shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"), "sshd is not installed")


def inhabitants(directory: Path) -> list[int]:
    """Processes that live below the directory, by their HOME or working directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                places = [
                    os.readlink(entry / "cwd"),
                    *(entry / "environ").read_bytes().decode("latin-1").split("\0"),
                ]
                if any(place.removeprefix("HOME=").startswith(str(directory)) for place in places):
                    found.append(int(entry.name))
    return found


def await_gone(directory: Path) -> None:
    deadline = time.monotonic() + 30
    while directory.exists() or inhabitants(directory):
        assert time.monotonic() < deadline, "the private host is still there"
        time.sleep(0.02)


def test_the_stage_runs_commands_on_its_own_home_and_leaves_nothing() -> None:
    need_sshd()
    out = io.StringIO()
    with demo_stage.Stage(Context(Options(), os.environ, out=out)) as stage:
        directory = stage.host_home.parent
        stray = subprocess.Popen(["sleep", "600"], cwd=directory)
        assert stage.jobmgr("--version") == 0
        stage.tree("on wizard", stage.host_home)
    stray.wait(10)
    await_gone(directory)
    assert "$ jobmgr --version" in out.getvalue()
    assert "The run directory on wizard" in out.getvalue()


def test_the_host_is_gone_after_the_one_who_held_it_was_killed() -> None:
    need_sshd()
    code = (
        "import subprocess, sys, time\n"
        "host = subprocess.Popen([sys.executable, '-m', 'jobmgr.transport.private_host'],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": PYTHONPATH}
    )
    assert holder.stdout is not None
    places = json.loads(holder.stdout.readline())
    directory = Path(places["directory"])
    done = subprocess.run(
        ["ssh", "-F", places["ssh_config"], "wizard", "nohup sleep 600 >/dev/null 2>&1 & pwd; trap"],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout == f"{places['host_home']}\n"  # and no signal is ignored there
    assert inhabitants(directory)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    await_gone(directory)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_does_not_end_the_host_without_tidying_up(number: signal.Signals) -> None:
    need_sshd()
    host = subprocess.Popen(
        [sys.executable, "-m", "jobmgr.transport.private_host"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    assert host.stdin is not None
    assert host.stdout is not None
    directory = Path(json.loads(host.stdout.readline())["directory"])
    host.send_signal(number)
    assert directory.is_dir()
    host.stdin.close()
    assert host.wait(30) == 0
    host.stdout.close()
    await_gone(directory)


def test_the_worked_example_is_found() -> None:
    assert (demo_stage.suites_folder() / "suitex" / "suite.yaml").is_file()


def test_a_tree_shows_links_and_escapes_names(tmp_path: Path) -> None:
    (tmp_path / "log" / "01").mkdir(parents=True)
    (tmp_path / "log" / "NN").symlink_to("01")
    (tmp_path / "log" / "x\x1b").write_text("")
    (tmp_path / ".service").mkdir()
    (tmp_path / ".service" / "uuid").write_text("")
    assert demo_stage.drawn(tmp_path) == [
        "|__.service/",
        "|  |__… (1 files)",
        "|__log/",
        "|  |__01/",
        "|  |__NN -> 01",
        "|  |__x\\x1b",
    ]

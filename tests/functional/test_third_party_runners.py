"""A runner of one's own: by ``runner_file`` or by an entry point, shipped, and used from submit to kill."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobmgr.errors import EXIT_CONFIG, EXIT_REFUSED
from jobmgr.transport.private_sshd import PrivateSshd
from needs import need

ROOT = Path(__file__).parents[2]
EXAMPLE = re.findall(r"```python\n(.*?)```", (ROOT / "docs/runners.md").read_text(encoding="utf-8"), re.S)[-1]
PLATFORMS = """\
platforms:
  wizard: {runner: spooler, runner_file: spooler.py, long_poll: true}
"""
Jobmgr = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def host(tmp_path: Path, make_sshd: Callable[..., PrivateSshd]) -> Iterator[PrivateSshd]:
    need(shutil.which("tsp") is not None, "task-spooler (tsp) is not installed")
    socket = tmp_path / "tsp.socket"
    yield make_sshd(force_command_prefix=f"export TS_SOCKET={socket};")
    subprocess.run(["tsp", "-K"], env={**os.environ, "TS_SOCKET": str(socket)}, check=False)


@pytest.fixture
def jobmgr(tmp_path: Path, host: PrivateSshd) -> Jobmgr:
    def call(*words: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [Path(sys.executable).parent / "jobmgr", "--run-root", "runs", *words],
            cwd=tmp_path,
            env={
                **os.environ,
                "HOME": str(tmp_path),
                "JOBMGR_SSH_CONFIG": str(host.ssh_config_path),
                "JOBMGR_PLATFORMS": "platforms.yaml",
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def used_from_submit_to_kill(jobmgr: Jobmgr, **environ: str) -> None:
    jobmgr("run", "wizard", "--wait", "--", "sh", "-c", 'echo "by $JOBMGR_RUNNER"; exit 3', code=3, **environ)
    assert jobmgr("log", "adhoc", "sh", **environ).stdout == "by spooler\n"
    jobmgr("run", "wizard", "--", "sleep", "4714", **environ)
    jobmgr("poll", "adhoc", **environ)
    assert "1/sleep/01  killed" in jobmgr("kill", "adhoc", "sleep", **environ).stdout
    assert "killed" in jobmgr("status", "adhoc", "sleep", **environ).stdout


def test_a_runner_file_is_shipped_and_used(jobmgr: Jobmgr, tmp_path: Path) -> None:
    (tmp_path / "spooler.py").write_text(EXAMPLE)
    (tmp_path / "platforms.yaml").write_text(PLATFORMS)
    used_from_submit_to_kill(jobmgr)
    shown = jobmgr("run", "wizard", "--dry-run", "--", "true")
    assert "JOBMGR_TOKEN" in shown.stdout


def test_a_runner_of_an_installed_package_is_shipped_and_used(jobmgr: Jobmgr, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    info = packages / "spooler_runner-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "spooler_runner.py").write_text(EXAMPLE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spooler-runner\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jobmgr.runners]\nspooler = spooler_runner\n")
    (tmp_path / "platforms.yaml").write_text("platforms: {wizard: {runner: spooler, long_poll: true}}\n")
    used_from_submit_to_kill(jobmgr, PYTHONPATH=str(packages))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "cannot read"),
        ("def broken(:\n", "is no Python"),
        ("NAME = 'spooler'\n", "has no VERSION_ARGV"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_runner_is_said_so(
    jobmgr: Jobmgr, tmp_path: Path, source: str | None, says: str
) -> None:
    if source is not None:
        (tmp_path / "spooler.py").write_text(source)
    (tmp_path / "platforms.yaml").write_text(PLATFORMS)
    on_controller = says in ("cannot read", "is no Python")
    done = jobmgr("run", "wizard", "--", "true", code=EXIT_CONFIG if on_controller else EXIT_REFUSED)
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_runner_that_nobody_knows_is_told_with_the_nearest(jobmgr: Jobmgr, tmp_path: Path) -> None:
    (tmp_path / "platforms.yaml").write_text("platforms: {wizard: {runner: slrm}}\n")
    assert "unknown runner 'slrm' (nearest: slurm)" in jobmgr("platforms", "list", code=EXIT_CONFIG).stderr

"""The lab's hosts are what the tests take them for: separate machines, with faults on command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.fixtures import bare_host, need_lab
from lab.hosts import Host, wait_until

__all__ = ["bare_host"]

pytestmark = [pytest.mark.privileged, pytest.mark.xdist_group("bare")]


def ssh(host: Host, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-F", str(host.ssh_config), *options, host.name, command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_ssh_leads_into_the_host(bare_host: Host) -> None:
    done = ssh(bare_host, "hostname; id -un; pwd; ls /tmp")
    assert done.stdout.split()[:3] == ["wizard", "ada", "/home/ada"], done.stderr


def test_host_does_not_have_what_was_hidden(bare_host: Host) -> None:
    look = "import shutil; print([name for name in ('sbatch', 'qsub', 'at', 'bash') if shutil.which(name)])"
    assert ssh(bare_host, f'python3 -c "{look}"').stdout == "['bash']\n"


def test_root_of_the_machine_cannot_be_written(bare_host: Host) -> None:
    done = bare_host.run(["touch", "/var/tmp/from-the-lab"], user=None, check=False)
    assert "Read-only file system" in done.stderr


def test_reboot_keeps_homes_and_nothing_else(bare_host: Host) -> None:
    bare_host.run(["sh", "-c", "echo kept >~/kept; echo lost >/tmp/lost; sleep 4711 >/dev/null 2>&1 &"])
    before = bare_host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    bare_host.reboot()
    assert bare_host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout != before
    assert ssh(bare_host, "cat kept; ls /tmp; pgrep -f '^sleep 4711'").stdout == "kept\n"


def test_cut_cable_is_a_timeout(bare_host: Host) -> None:
    with bare_host.cut():
        done = ssh(bare_host, "true", "-oConnectTimeout=1")
        assert done.returncode == 255
        assert "timed out" in done.stderr or "No route to host" in done.stderr
    wait_until(lambda: ssh(bare_host, "true").returncode == 0, "the host answers again")


def test_killed_sshd_refuses_connections_and_leaves_jobs_alone(bare_host: Host) -> None:
    ssh(bare_host, "nohup setsid sleep 4712 >/dev/null 2>&1 &")
    bare_host.kill_sshd()
    try:
        done = ssh(bare_host, "true")
        assert done.returncode == 255
        assert "refused" in done.stderr
        assert bare_host.run(["pgrep", "-f", "^sleep 4712"]).stdout
    finally:
        bare_host.start_sshd()
    assert ssh(bare_host, "pkill -f '^sleep 4712'").returncode == 0


_LAB = """
import sys
from lab.hosts import Lab
with Lab() as lab:
    host = lab.host("short")
    print(lab.bridge, lab.folder, host.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGKILL"])
def test_lab_ends_with_its_process(signal_name: str) -> None:
    need_lab()
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", _LAB],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tests)},
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout
        bridge, folder, pid = process.stdout.readline().split()
        process.send_signal(getattr(signal, signal_name))
        process.wait(60)
    wait_until(lambda: not Path("/proc", pid).exists(), "the host has ended")
    if signal_name == "SIGINT":
        assert not Path("/sys/class/net", bridge).exists()
        assert not Path(folder).exists()
        return
    # Nobody was left to clear up; the next lab does.
    from lab.hosts import Lab

    with Lab():
        pass
    assert not Path("/sys/class/net", bridge).exists()
    assert not Path(folder).exists()

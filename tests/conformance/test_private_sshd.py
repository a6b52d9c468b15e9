"""The private sshd of demo and tests: a host like any other, and nothing stays of it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jobmgr.transport.private_sshd import PrivateSshd, start_time
from needs import need, need_root
from sshd_hosts import MakeSshd, transport_to

ROOT = Path(__file__).resolve().parents[2]


def ssh(sshd: PrivateSshd, *command: str) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-F", sshd.ssh_config_path, "-oBatchMode=yes", sshd.name, *command]
    return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_its_home_is_its_own(sshd: PrivateSshd) -> None:
    (Path(sshd.home) / ".bashrc").write_text("FROM_BASHRC=yes\n")
    done = ssh(sshd, 'echo "$HOME" "$(pwd)" ~ "$FROM_BASHRC" $SHELL')
    assert done.stdout.split() == [sshd.home, sshd.home, sshd.home, "yes", "/bin/bash"]


def test_a_login_without_a_command_is_a_login_shell(sshd: PrivateSshd) -> None:
    (Path(sshd.home) / ".bash_profile").write_text("echo from the profile; exit\n")
    assert "from the profile" in ssh(sshd).stdout


def test_logins_are_counted(sshd: PrivateSshd) -> None:
    assert sshd.logins() == 0
    ssh(sshd, "true")
    ssh(sshd, "true")
    assert sshd.logins() == 2


def test_stop_ends_the_jobs_too_and_a_start_finds_home_and_keys_again(sshd: PrivateSshd) -> None:
    pid = int(ssh(sshd, "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!; touch here").stdout)
    port = sshd.port
    assert start_time(pid)
    sshd.stop()
    assert not start_time(pid)
    assert ssh(sshd, "true").returncode == 255
    sshd.start()
    assert sshd.port == port
    assert ssh(sshd, "ls").stdout == "here\n"


def test_killed_sessions_leave_the_jobs_alive(sshd: PrivateSshd) -> None:
    transport = transport_to(sshd, "openssh")
    pid = int(transport.run("setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!").stdout)
    sshd.kill_sessions()
    assert start_time(pid)


def test_two_are_two_hosts(make_sshd: MakeSshd) -> None:
    one, two = make_sshd(name="one"), make_sshd(name="two")
    assert one.port != two.port
    assert ssh(two, "echo $HOME").stdout.strip() == two.home != one.home


def test_a_name_with_spaces_in_the_path_does_no_harm(tmp_path: Path) -> None:
    with PrivateSshd(tmp_path / "a b" / "d", tmp_path / "a b" / "home") as sshd:
        assert ssh(sshd, "pwd").stdout.strip() == str(tmp_path / "a b" / "home")


def test_files_are_private(sshd: PrivateSshd) -> None:
    assert stat.S_IMODE(os.stat(sshd.directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(sshd.home).st_mode) == 0o700


@pytest.mark.privileged
def test_it_needs_no_privilege(tmp_path: Path) -> None:
    """As a user that is not root and has a login shell (in a mount namespace with such a passwd)."""
    need_root()
    need(shutil.which("unshare") and shutil.which("setpriv"), "unshare and setpriv (util-linux)")
    probe = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True)
    need(probe.returncode == 0, "may not make a mount namespace")
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/root:/bin/sh\nada:x:54321:54321::/:/bin/sh\n")
    folder = subprocess.run(["mktemp", "-d", "/tmp/jm-XXXXXX"], check=True, capture_output=True, text=True)
    base = Path(folder.stdout.strip())
    script = base / "script.py"
    script.write_text(
        "import subprocess, sys\n"
        "sys.path[:0] = [sys.argv[2] + '/code', sys.argv[2] + '/code/remote']\n"
        "from jobmgr.transport.private_sshd import PrivateSshd\n"
        "base = sys.argv[1]\n"
        "with PrivateSshd(base + '/d', base + '/home') as s:\n"
        "    argv = ['ssh', '-F', s.ssh_config_path, '-oBatchMode=yes', s.name, 'id -un; pwd']\n"
        "    sys.stdout.write(subprocess.run(argv, capture_output=True, text=True).stdout)\n"
    )
    try:
        shutil.copytree(ROOT / "jobmgr", base / "code/jobmgr")
        subprocess.run(["chown", "-R", "54321:54321", base], check=True)
        python = os.path.realpath(shutil.which("python3", path="/usr/bin:/bin") or sys.executable)
        inner = (
            f'mount --bind "{passwd}" /etc/passwd && exec setpriv --reuid 54321 --regid 54321 --clear-groups '
            f'"{python}" "{script}" "{base}" "{base}"'
        )
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", inner], capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.stdout.split() == ["ada", str(base / "home")], done.stderr
    finally:
        shutil.rmtree(base)

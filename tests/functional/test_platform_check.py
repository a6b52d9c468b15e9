"""``jobmgr platforms check`` against real hosts, good ones and broken ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobmgr.core.platform_report import Finding, Level, PlatformReport
from jobmgr.transport.private_sshd import PrivateSshd, make_key
from lab.fixtures import bare_host
from lab.hosts import Host
from lab.terminal import at_lab
from restricted_hosts import install, log, make_plain, restrict, session_at
from sshd_hosts import MakeSshd

__all__ = ["bare_host"]


def check(sshd: PrivateSshd, folder: Path, **settings: str) -> PlatformReport:
    with session_at(sshd, folder, **settings) as session:
        return session.platform_check("wizard")


def finding(report: PlatformReport, topic: str) -> Finding:
    (found,) = [one for one in report.findings if one.topic == topic]
    return found


def hurts(report: PlatformReport) -> set[str]:
    return {one.topic for one in report.findings if one.level in (Level.WARNING, Level.ERROR)}


def left(sshd: PrivateSshd) -> set[str]:
    """What is in the home on the host, but for the host side."""
    found = {str(path.relative_to(sshd.home)) for path in Path(sshd.home).rglob("*")}
    return {name for name in found if not name.startswith(".jobmgr/remote")} - {".jobmgr"}


def test_a_good_host_is_ready_and_keeps_nothing_but_the_host_side(sshd: PrivateSshd, tmp_path: Path) -> None:
    report = check(sshd, tmp_path)
    assert hurts(report) == set()
    assert report.exit_code == 0
    for topic in ("transport fabric", "transport openssh", "rsync", "host side", "run root"):
        found = finding(report, topic)
        assert found.level is Level.OK
        assert found.seconds is not None
    assert "ssh-ed25519" in finding(report, "host key").text
    assert "shipped now" in finding(report, "host side").text
    assert finding(report, "sessions").text.startswith("8 at a time")
    assert finding(report, "shared").text.startswith("not shared")
    assert "runner: background" in report.stanza
    assert left(sshd) == set()
    again = check(sshd, tmp_path)
    assert "is there" in finding(again, "host side").text
    assert (
        not [name for name in os.listdir(sshd.path("c")) if name.startswith("c")]
        if os.path.isdir(sshd.path("c"))
        else True
    )


def test_a_noisy_shell_few_sessions_and_a_file_where_the_run_root_should_be(
    make_sshd: MakeSshd, tmp_path: Path
) -> None:
    sshd = make_sshd(force_command_prefix="echo hello there", sshd_options={"MaxSessions": "2"})
    Path(sshd.home, "jobmgr-run").write_text("")
    report = check(sshd, tmp_path, transport="openssh")
    assert hurts(report) == {"login shell", "sessions", "run root"}
    assert "hello there" in finding(report, "login shell").text
    assert finding(report, "sessions").text.startswith("only 2 at a time")
    assert report.exit_code == 1
    for one in report.findings:
        assert one.advice or one.level in (Level.OK, Level.INFO)


def test_a_host_without_rsync_is_told_so(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_sshd(force_command_prefix="rsync() { :; }; PATH=$HOME/bin; export PATH")
    folder = Path(sshd.home, "bin")
    folder.mkdir()
    for name in ("sh", "bash", "python3", "mkdir", "cat", "rm"):
        os.symlink(f"/bin/{name}" if os.path.exists(f"/bin/{name}") else sys.executable, folder / name)
    report = check(sshd, tmp_path)
    found = finding(report, "rsync")
    assert found.level is Level.ERROR
    assert "no rsync on the host" in found.text
    assert "have rsync installed" in found.advice


def test_a_changed_host_key_wants_a_person(sshd: PrivateSshd, tmp_path: Path) -> None:
    make_key(str(tmp_path / "other"))
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    Path(sshd.known_hosts_path).write_text(f"wizard {other}\n")
    report = check(sshd, tmp_path)
    assert report.exit_code == 6
    assert {one.topic for one in report.findings} == {"transport fabric", "transport openssh"}
    for one in report.findings:
        assert one.level is Level.ERROR
        assert "ssh-keygen -R" in one.text


def test_a_host_that_is_down_gives_no_answer(sshd: PrivateSshd, tmp_path: Path) -> None:
    sshd.stop()
    report = check(sshd, tmp_path)
    assert report.exit_code == 5
    assert all(one.level is Level.ERROR and one.advice for one in report.findings)


def test_a_host_without_python_gives_no_answer(make_sshd: MakeSshd, tmp_path: Path) -> None:
    report = check(make_sshd(), tmp_path, python="/nowhere/python3")
    assert report.exit_code == 5
    assert "no Python 3.6 or newer" in finding(report, "host side").text


def test_a_remote_command_is_used_and_gets_no_code(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_sshd()
    program = Path(sshd.home, "jm")
    package = Path(__file__).resolve().parents[2] / "remote/jobmgr_remote/__main__.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {package} "$1"\n')
    program.chmod(0o755)
    report = check(sshd, tmp_path, remote_command="$HOME/jm")
    assert report.exit_code == 0
    assert "$HOME/jm" in finding(report, "host side").text
    assert left(sshd) == {"jm"}
    assert not Path(sshd.home, ".jobmgr/remote").exists()


def test_a_transport_that_does_not_get_in_is_replaced_by_one_that_does(
    make_sshd: MakeSshd, tmp_path: Path
) -> None:
    """paramiko knows no host certificates."""
    sshd = make_sshd(start=False)
    sshd._prepare()
    make_key(sshd.path("ca"))
    subprocess.run(
        ["ssh-keygen", "-q", "-s", sshd.path("ca"), "-I", "wizard", "-h", sshd.host_key_path + ".pub"],
        check=True,
    )
    sshd._options["HostCertificate"] = sshd.host_key_path + "-cert.pub"
    sshd.start()
    authority = " ".join(Path(sshd.path("ca.pub")).read_text().split()[:2])
    Path(sshd.known_hosts_path).write_text(f"@cert-authority wizard {authority}\n")
    report = check(sshd, tmp_path, transport="fabric")
    assert report.exit_code == 0
    found = finding(report, "transport fabric")
    assert found.level is Level.WARNING
    assert found.advice == "write transport: openssh"
    assert "transport: openssh  # fabric does not get in" in report.stanza


FAST = """\
import runpy, sys, time
true_time = time.time
time.time = lambda: true_time() + 900
del sys.argv[0]
sys.argv = [word for word in sys.argv if word not in ("-I", "-S")]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_clock_that_goes_wrong_is_told(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_sshd()
    (tmp_path / "fast.py").write_text(FAST)
    python = Path(sshd.home, "py")
    python.write_text(
        f'#!/bin/sh\ncase "$3" in /*__main__.py) exec {sys.executable} -I {tmp_path}/fast.py "$@";; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    found = finding(check(sshd, tmp_path, python=str(python)), "clock")
    assert found.level is Level.WARNING
    assert found.text.endswith("s ahead of this machine")
    assert found.advice


SPOIL = """
mkdir -p /run/systemd/system /home/ada/jobmgr-run
mount -t tmpfs -o size=8m,nr_inodes=400,noexec,mode=777 none /home/ada/jobmgr-run
mount -o remount,hidepid=2 /proc
mkdir -p /etc/systemd
echo KillUserProcesses=yes >/etc/systemd/logind.conf
"""
MEND = """
umount /home/ada/jobmgr-run
mount -o remount,hidepid=0 /proc
rm -r /run/systemd/system /etc/systemd/logind.conf
"""


@pytest.mark.privileged
@pytest.mark.xdist_group("bare")
def test_a_host_in_a_bad_state_is_told_what_is_bad_and_what_to_do(bare_host: Host) -> None:
    """noexec, no space, no inodes, over quota, processes killed at logout, hidepid, and one session at a time."""
    config = bare_host.state / "sshd_config"
    before = config.read_text()
    quota = 'printf "Disk quotas for user ada:\\n Filesystem blocks\\n /dev/sda1 1000* 900 1000 6days\\n"'
    with at_lab(bare_host, "background", transport="openssh") as user:
        user.wrap("quota", quota)
        bare_host.run(["sh", "-c", SPOIL], user=None)
        config.write_text(before + "MaxSessions 1\n")
        bare_host.kill_sshd()
        bare_host.start_sshd()
        try:
            rows = [row for row in user.records("platforms", "check", "hpc", code=1) if row["type"] == "finding"]
        finally:
            config.write_text(before)
            bare_host.kill_sshd()
            bare_host.start_sshd()
            bare_host.run(["sh", "-c", MEND], user=None)
    bad = {row["topic"]: row for row in rows if row["level"] in ("warning", "error")}
    assert set(bad) >= {"noexec", "space", "inodes", "quota", "logout", "sessions"}, rows
    assert all(row["advice"] for row in bad.values())
    assert "enable-linger" in bad["logout"]["advice"]
    assert "only 1 at a time" in bad["sessions"]["text"]
    (hidden,) = [row for row in rows if row["topic"] == "hidepid"]
    assert hidden["text"].startswith("hidepid=")


def test_this_machine_needs_no_connection(tmp_path: Path, sshd: PrivateSshd) -> None:
    runs = tmp_path / "runs"
    text = f"platforms:\n  localhost:\n    runner: background\n    run_root: {runs}\n"
    with session_at(sshd, tmp_path, text) as session:
        report = session.platform_check("localhost")
    assert report.exit_code == 0
    assert finding(report, "shared").text.startswith("the run root is this machine's own")
    assert {name for name in os.listdir(runs) if name != ".controller"} == set()


def test_a_bound_key_is_checked_by_its_own_means(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_plain(make_sshd)
    install(sshd)
    with session_at(sshd, tmp_path) as session:
        restrict(sshd, session.authorized_key("wizard").line)
        report = session.platform_check("wizard")
        assert hurts(report) == set()
        assert finding(report, "rsync").text.startswith("both ways")
        assert " refused " not in log(sshd)
        restrict(sshd, session.authorized_key("wizard", poll_only=True).line)
        report = session.platform_check("wizard")
        assert "may only look" in finding(report, "host side").text


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_the_command_line_says_the_same(sshd: PrivateSshd, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "p.yaml").write_text("platforms:\n  wizard:\n    runner: background\n")
    done = subprocess.run(
        [sys.executable, "-m", "jobmgr", "--platforms", "p.yaml", "--ssh-config", sshd.ssh_config_path,
         "--run-root", "runs", *words, "platforms", "check", "wizard"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done
    if not words:
        assert "wizard is ready" in done.stdout
        assert done.stdout.rstrip().endswith("runner: background")
        return
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert [row["type"] for row in rows[:-1]] == ["finding"] * (len(rows) - 1)
    assert (rows[-1]["type"], rows[-1]["exit"]) == ("platform-check", 0)


@pytest.mark.parametrize(
    "words",
    [["list", "x"], ["show"], ["check"], ["authorized-key"], ["check", "x", "--poll-only"],
     ["show", "x", "--key", "k"]],
)  # fmt: skip
def test_wrong_words_are_usage_errors(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobmgr", "platforms", *words],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2

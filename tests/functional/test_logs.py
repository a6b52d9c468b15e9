"""Logs and outputs: how they come home, and how they are followed."""

from __future__ import annotations

import os
from pathlib import Path

from jobmgr.transport.private_sshd import PrivateSshd
from shells import Shell, at_work, eventually

TALKS = """\
tasks:
  t:
    platform: wizard
    script: |
      echo one
      until [ -e "$JOBMGR_SHARE_DIR/go" ]; do sleep 0.1; done
      echo two
"""


def followers(host: PrivateSshd) -> list[int]:
    """Processes of the host that read a log for somebody."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                command = Path(f"/proc/{name}/cmdline").read_bytes()
                environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"cat-log" in command and f"HOME={host.home}".encode() in environment:
                found.append(int(name))
    return found


def test_a_followed_log_ends_with_the_job(ssh_user: Shell) -> None:
    ssh_user("submit", ssh_user.suite("talk", TALKS))
    with ssh_user.started("log", "talk", "1/t", "-f") as follow:
        assert follow.stdout is not None
        assert follow.stdout.readline() == b"one\n"
        assert follow.poll() is None
        (ssh_user.remote_root / "talk/share/go").touch()
        assert follow.communicate(timeout=60)[0] == b"two\n"
        assert follow.returncode == 0


def test_a_viewer_that_dies_leaves_nobody_on_the_host(ssh_user: Shell) -> None:
    ssh_user("submit", ssh_user.suite("talk", TALKS))
    for end in ("kill", "terminate"):
        with ssh_user.started("log", "talk", "1/t", "-f") as follow:
            assert follow.stdout is not None
            assert follow.stdout.readline() == b"one\n"
            assert followers(ssh_user.host)
            getattr(follow, end)()
        eventually(lambda: not followers(ssh_user.host))
    assert ssh_user.states("talk", "--poll") == {"1/t/01": "running"}


def test_logs_of_a_running_job_come_home_as_they_are(user: Shell) -> None:
    user("submit", user.suite("talk", TALKS))
    here = user.run_root / "talk/log/job/1/t/01/job.out"
    eventually(lambda: user("log", "talk", "1/t") == "one\n")
    user("retrieve", "talk")
    assert here.read_text() == "one\n"
    (user.remote_root / "talk/share/go").touch()
    user("wait", "talk")
    assert here.read_text() == "one\ntwo\n"
    assert "succeeded" in user("log", "talk", "1/t", "activity")


def test_logs_that_stay_on_the_host_come_when_somebody_asks() -> None:
    with at_work(retrieve_logs="false") as user:
        script = "echo said; echo made > made.txt"
        user("play", user.suite(
            "stay", f"tasks: {{a: {{platform: wizard, script: '{script}', outputs: 'made.txt'}}}}\n"
        ))  # fmt: skip
        logs = user.run_root / "stay/log/job"
        assert (user.run_root / "stay/work/1/a/made.txt").read_text() == "made\n"
        assert list(logs.iterdir()) == [], "nothing is made at home for each job"
        assert "succeeded" in user("log", "stay", "1/a", "activity")
        user("tick", "stay")
        user("poll", "stay")
        assert list(logs.iterdir()) == []
        assert "4 files" in user("retrieve", "stay")
        assert (logs / "1/a/01/job.out").read_text() == "said\n"
        assert "-> succeeded" in (logs / "1/a/01/job-activity.log").read_text()
        assert "0 files" in user("retrieve", "stay")


def test_what_is_too_large_or_a_link_is_named_and_left(user: Shell) -> None:
    with at_work(retrieve_max_size="10k") as small:
        script = "head -c 20000 /dev/zero > big.bin; echo x > ok.bin; ln -s ok.bin link.bin; seq 9999"
        small("play", small.suite(
            "big", f"tasks: {{a: {{platform: wizard, script: '{script}', outputs: '*.bin'}}}}\n"
        ))  # fmt: skip
        work = small.run_root / "big/work/1/a"
        assert sorted(path.name for path in work.iterdir()) == ["ok.bin"]
        assert not (small.run_root / "big/log/job/1/a/01/job.out").exists()
        told = small("why", "big", "1/a")
        for said in ("big.bin", "retrieve_max_size", "link.bin"):
            assert said in told
        assert small("log", "big", "1/a").endswith("9999\n")


def test_a_link_in_the_way_of_a_log_is_not_followed(user: Shell) -> None:
    """What lies in the run directory at home cannot make a retrieval write elsewhere."""
    user("submit", user.suite("talk", TALKS))
    victim = user.home / "victim"
    victim.write_text("precious\n")
    log = user.run_root / "talk/log/job/1/t/01"
    log.mkdir(parents=True, exist_ok=True)
    (log / "job.out").symlink_to(victim)
    (user.remote_root / "talk/share/go").touch()
    user("wait", "talk")
    assert victim.read_text() == "precious\n"
    assert user("log", "talk", "1/t") == "one\ntwo\n"


def test_a_job_that_was_not_submitted_has_no_log_and_says_why(user: Shell) -> None:
    user("play", user.suite("never", "tasks: {a: {script: ':', platform: wizard, directives: {x: y}}}\n"), code=1)
    done = user.done("log", "never", "1/a")
    assert done.returncode == 4
    said = "1/a/01 has no job.out, it was not submitted: directives: the background runner has none (x)"
    assert said in done.stderr

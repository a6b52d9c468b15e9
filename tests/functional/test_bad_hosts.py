"""Hosts that cannot be used: each is told for what it is, and no other job feels it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_hosts import add_host, add_platform, hosts_like, refusing_port, silent_port
from interpreters import find
from jobmgr import Session
from jobmgr.errors import RefusedError
from needs import need
from shells import Shell, eventually

OLD_BASH = '#!/bin/sh\ncase "$*" in *BASH_VERSION*) echo "3.2.57(1)-release" ;; *) exec /bin/bash "$@" ;; esac\n'
PASSWORD_ONLY = {"PasswordAuthentication": "yes", "PubkeyAuthentication": "no"}

# host -> exit code of a submit, what is said
SAID = {
    "unresolved": (5, "the name no-such-host.invalid cannot be resolved. Check its spelling"),
    "refusing": (5, "refused the connection: nothing listens there"),
    "silent": (5, "did not answer in time"),
    "changed": (6, "the host key of changed has changed"),
    "unknown": (6, "the host key of unknown is not known"),
    "badkey": (6, "refused (the host offers"),
    "password": (6, "jobmgr login password"),
    "nopython": (5, "nopython has no Python 3.6 or newer; if it has one off the PATH, set python:"),
    "oldpython": (5, "is Python 2.7; 3.6 or newer is needed"),
    "oldbash": (5, "bash is version 3.2.57(1)-release; jobmgr needs 4.2 or newer, first on the PATH"),
    "norsync": (5, "no rsync on the host: have it installed there"),
    "taken": (7, "belongs to another run; choose another --name"),
    "inuse": (7, "is there already and is no run directory of jobmgr; choose another --name"),
}


@pytest.fixture(scope="module", params=["fabric", "openssh"])
def me(request: pytest.FixtureRequest) -> Iterator[Shell]:
    python2 = find("2.7")
    need(python2, "no Python 2.7")
    old = f'#!/bin/sh\nexec {python2} "$@"\n'
    kinds = {
        "good": {}, "changed": {}, "unknown": {}, "badkey": {}, "taken": {}, "inuse": {},
        "password": {"sshd_options": PASSWORD_ONLY},
        "nopython": {"path_without": (["python3"], {})},
        "oldpython": {"path_without": (["python3"], {"python3": old})},
        "oldbash": {"path_without": ([], {"bash": OLD_BASH})},
        "norsync": {"path_without": (["rsync"], {})},
    }  # fmt: skip
    common = {"transport": request.param, "connect_timeout": "2s", "polling_interval": "1s"}
    with hosts_like(kinds, **common) as shell, refusing_port() as refusing, silent_port() as silent:
        hosts = shell.hosts
        Path(hosts["unknown"].known_hosts_path).write_text("")
        Path(hosts["changed"].known_hosts_path).write_text(f"changed {hosts['good'].host_public_key()}\n")
        Path(hosts["badkey"].path("authorized_keys")).write_text("")
        add_host(shell, "refusing", refusing)
        add_host(shell, "silent", silent)
        add_platform(shell, "unresolved", hosts="[no-such-host.invalid]", **common)
        for name in ("refusing", "silent"):
            add_platform(shell, name, hosts=f"[{name}]", **common)
        (Path(hosts["inuse"].home) / "jobmgr-run" / "bad-inuse").mkdir(parents=True)
        (Path(hosts["inuse"].home) / "jobmgr-run" / "bad-inuse" / "precious").touch()
        other = Shell(shell.folder, shell.hosts, extra={"JOBMGR_RUN_ROOT": str(shell.folder / "other")})
        other("submit", other.suite("bad-taken", "tasks: {a: {script: ':', platform: taken}}\n"))
        yield shell


@pytest.mark.parametrize("host", SAID)
def test_a_host_that_cannot_be_used_is_told_once_and_nothing_is_submitted(me: Shell, host: str) -> None:
    code, said = SAID[host]
    name = f"bad-{host}"
    done = me.done("submit", me.suite(name, f"tasks: {{a: {{script: ':', platform: {host}}}}}\n"))
    assert done.returncode == code, done
    told = [line for line in done.stderr.splitlines() if said in line]
    assert len(told) == 1, done.stderr
    assert not re.search(rf"{host}: {host}:", done.stdout + done.stderr)
    assert me.states(name) == {"1/a": "queued"}


def test_two_jobs_on_a_good_host_do_not_feel_the_bad_ones(me: Shell) -> None:
    bad = [host for host in SAID if host not in ("taken", "inuse")]
    tasks = "".join(f"  on-{host}: {{script: ':', platform: {host}}}\n" for host in bad)
    text = f"tasks:\n{tasks}  one: {{script: echo one, platform: good}}\n  two: {{script: echo two, platform: good}}\n"
    me("submit", me.suite("mixed", text), code=6)

    def over() -> bool:
        me("tick", "mixed", code=None)
        states = me.states("mixed")
        assert {states[f"1/on-{host}"] for host in bad} == {"queued"}
        return states["1/one/01"] == states["1/two/01"] == "succeeded"

    eventually(over)
    assert me("log", "mixed", "1/one") + me("log", "mixed", "1/two") == "one\ntwo\n"
    assert "?" not in me("status", "mixed", ":succeeded")


def test_play_ends_with_6_if_nothing_goes_on_until_somebody_acts(me: Shell) -> None:
    path = me.suite("act", "tasks: {a: {script: ':', platform: good}, b: {script: ':', platform: badkey}}\n")
    done = me.done("play", path)
    assert done.returncode == 6, done
    assert me.states("act") == {"1/a/01": "succeeded", "1/b": "queued"}
    assert "login as" in me("why", "act", "1/b")
    assert done.stderr.count("login as") == 1
    assert me.hosts["badkey"].log().count("Connection closed by authenticating") <= 8


def test_a_host_that_refuses_goes_on_being_told_as_such(me: Shell) -> None:
    """A login would not help: what is in the way has to go."""
    (Path(me.hosts["inuse"].home) / "jobmgr-run" / "away").mkdir(parents=True)
    precious = Path(me.hosts["inuse"].home) / "jobmgr-run" / "away" / "precious"
    precious.touch()
    me("submit", me.suite("away", "tasks: {a: {script: ':', platform: inuse}}\n"), code=7)
    done = me.done("tick", "away")
    assert done.returncode == 7, done
    assert done.stdout == "away: 1 host refused (inuse; jobmgr status away tells why)\n"
    assert "login" not in done.stderr
    assert "until you act: jobmgr play away" in me("why", "away", "1/a")
    me("play", "away", code=7)
    with (
        Session(me.home / "platforms.yaml", me.run_root, ssh_config=me.home / "ssh_config") as session,
        pytest.raises(RefusedError, match=r"nothing goes on by itself: inuse: .*away is there already"),
    ):
        next(session.open("away").as_completed(timeout=50))
    precious.unlink()
    me("play", "away")


def test_a_login_lets_the_ticks_of_cron_go_on_at_once(me: Shell) -> None:
    """A tick alone does not try a host again that has refused the login: accounts get locked."""
    known = Path(me.hosts["changed"].known_hosts_path)
    wrong = known.read_text()
    me("submit", me.suite("resumed", "tasks: {a: {script: ':', platform: changed}}\n"), code=6)
    known.write_text(f"changed {me.hosts['changed'].host_public_key()}\n")
    try:
        me("tick", "resumed", code=6)
        assert "not tried again until you act: jobmgr login changed" in me("why", "resumed", "1/a")
        me("login", "changed")
        me("tick", "--all", code=None)
        me("wait", "resumed")
    finally:
        me("logout", "changed")
        known.write_text(wrong)
    assert me.states("resumed") == {"1/a/01": "succeeded"}


def test_run_wait_cannot_tell_about_a_host_that_refuses_the_login(me: Shell) -> None:
    assert me.done("run", "password", "--suite", "never", "--wait", "--", "true").returncode == 125


def test_a_key_that_changes_between_two_commands_changes_no_state(me: Shell) -> None:
    me("run", "good", "--suite", "later", "--", "sleep", "600")
    known = Path(me.hosts["good"].known_hosts_path)
    right = known.read_text()
    me("logout", "good")
    known.write_text(f"good {me.hosts['changed'].host_public_key()}\n")
    try:
        done = me.done("poll", "later")
        assert done.returncode == 6, done
        assert "the host key of good has changed" in done.stderr
        assert "?" in me("status", "later", "1/sleep")
    finally:
        known.write_text(right)
    me("kill", "later")
    assert me.states("later") == {"1/sleep/01": "killed"}


def test_no_rsync_at_home_is_told(me: Shell) -> None:
    folder = me.folder / "no-rsync"
    folder.mkdir()
    for tool in ("ssh", "ssh-keygen", "sh", "bash", "cat"):
        (folder / tool).symlink_to(f"/usr/bin/{tool}")
    alone = NoPath(me.folder, me.hosts, extra={**me.extra, "ONLY_PATH": str(folder)})
    done = alone.done("submit", alone.suite("homeless", "tasks: {a: {script: ':', platform: good}}\n"))
    assert done.returncode == 5, done
    assert "no rsync on this machine: install rsync" in done.stderr


class NoPath(Shell):
    """A shell with little on its PATH."""

    @property
    def environment(self) -> dict[str, str]:
        found = Shell.environment.fget(self)  # type: ignore[attr-defined]
        return {**found, "PATH": found["ONLY_PATH"]}

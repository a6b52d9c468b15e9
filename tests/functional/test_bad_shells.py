"""Login shells that talk, differ, or get in the way; homes with strange names. A job runs all the same."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bad_hosts import add_platform, hosts_like
from jobmgr_remote import wire
from needs import need
from shells import ROOT, Shell, eventually

SHELLS = ("csh", "tcsh", "fish", "zsh", "dash", "ksh", "bash")
NOISE = {
    "banner": "echo Welcome; echo; printf 'no newline at the end:'",
    "megabyte": "head -c 1000000 /dev/zero | tr '\\0' x; echo",
    "stderr": "head -c 1000000 /dev/zero | tr '\\0' y >&2; echo warning >&2",
}
LOGIN_FILES = {
    "talks": "echo hello from your .bashrc; set -e\n",
    "trap": "trap 'echo bye; exit 7' EXIT\n",
    "execs": '[ -z "$BASH_EXECUTION_STRING" ] || [ -n "$ONCE" ] || '
    'ONCE=1 exec /bin/bash -c "$BASH_EXECUTION_STRING"\n',
    "returns": '[ -z "$PS1" ] && return\necho never\n',
}
HOMES = {"odd": "it's my \"home\" $X `y`"}
SCRIPT = "tasks: {{a: {{script: 'echo hi; echo out >o.txt', outputs: [o.txt], platform: {}}}}}\n"


@pytest.fixture(scope="module")
def me() -> Iterator[Shell]:
    kinds: dict[str, dict[str, str]] = {name: {"force_command_prefix": text} for name, text in NOISE.items()}
    kinds.update({name: {} for name in LOGIN_FILES})
    kinds.update({name: {"home": home} for name, home in HOMES.items()})
    for name in SHELLS:
        path = shutil.which(name)
        need(path, f"{name} is not installed")
        kinds[name] = {"shell": str(path)}
    with hosts_like(kinds) as shell:
        for name, text in LOGIN_FILES.items():
            (Path(shell.hosts[name].home) / ".bashrc").write_text(text)
        for name in SHELLS:
            add_platform(shell, f"login-{name}", hosts=f"[{name}]", use_login_shell="true")
        (Path(shell.hosts["banner"].home) / ".bash_profile").write_text("echo noise; cat >/dev/null\n")
        add_platform(shell, "login-banner", hosts="[banner]", use_login_shell="true")
        yield shell


def plays(me: Shell, host: str) -> None:
    done = me.done("play", me.suite(f"on-{host}", SCRIPT.format(host)), "--timeout", "50s")
    assert done.returncode == 0, done
    assert (me.run_root / f"on-{host}" / "work/1/a/o.txt").read_text() == "out\n"
    assert me("log", f"on-{host}", "1/a") == "hi\n"


@pytest.mark.parametrize("host", [*NOISE, *LOGIN_FILES, *HOMES, "login-banner"])
def test_noise_and_login_files_are_in_nobodys_way(me: Shell, host: str) -> None:
    plays(me, host)


@pytest.mark.parametrize("login", ["", "login-"])
@pytest.mark.parametrize("name", SHELLS)
def test_any_login_shell_will_do(me: Shell, name: str, login: str) -> None:
    plays(me, f"{login}{name}")


def test_login_files_that_eat_the_input_are_told(me: Shell) -> None:
    rc = Path(me.hosts["returns"].home) / ".bashrc"
    before = rc.read_text()
    shutil.rmtree(Path(me.hosts["returns"].home) / ".jobmgr", ignore_errors=True)
    rc.write_text("cat >/dev/null\n")
    try:
        done = me.done("submit", me.suite("eaten", SCRIPT.format("returns")))
    finally:
        rc.write_text(before)
    assert done.returncode == 5, done
    assert "do its login files (.bashrc) read the input? This must print x: echo x | ssh returns cat" in done.stderr


def test_a_remote_command_is_run_as_it_is_and_never_sent_code(me: Shell) -> None:
    from jobmgr.transport.archive import host_archive

    home = Path(me.hosts["dash"].home)
    (home / "opt").mkdir()
    program = home / "opt" / "jobmgr-remote.pyz"
    program.write_bytes(host_archive().data)
    root = {"hosts": "[dash]", "run_root": "$HOME/elsewhere"}
    add_platform(me, "installed", **root, remote_command=f"{shlex.quote(sys.executable)} -I -S {program}")
    add_platform(me, "missing", **root, remote_command="/nowhere/jobmgr-remote")
    kept = home / ".jobmgr" / "remote"
    shutil.rmtree(kept, ignore_errors=True)
    plays(me, "installed")
    done = me.done("submit", me.suite("gone", SCRIPT.format("missing")))
    assert done.returncode == 5, done
    assert "/nowhere/jobmgr-remote" in done.stderr
    assert not kept.exists()


def test_a_host_side_of_another_wire_version_is_told_and_changes_no_state(me: Shell) -> None:
    """One that the site has installed: it may be newer or older than the jobmgr that calls."""
    home = Path(me.hosts["bash"].home)
    side = home / "opt" / "jobmgr_remote"
    shutil.copytree(ROOT / "remote" / "jobmgr_remote", side, ignore=shutil.ignore_patterns("__pycache__"))
    program = f"{shlex.quote(sys.executable)} -B -I -S {side}/__main__.py"
    add_platform(me, "site", hosts="[bash]", remote_command=program, min_polling_interval="1s")
    gate = home / "upgraded"
    script = f"until [ -e {gate} ]; do sleep 0.1; done"
    me("submit", me.suite("between", f"tasks: {{a: {{script: '{script}', platform: site}}}}\n"))
    eventually(lambda: me.states("between", "--poll") == {"1/a/01": "running"})
    path = side / "wire.py"
    present = path.read_text()
    versions = {wire.PROTOCOL + 1: "the jobmgr that calls", wire.PROTOCOL - 1: "the jobmgr on this host"}
    for version, whom in versions.items():
        path.write_text(f"{present}\nPROTOCOL = {version}\nSERVED = ({version},)\n")
        done = me.done("poll", "between")
        assert done.returncode == 5, done
        said = rf"wire version {wire.PROTOCOL} is not served by jobmgr \S+ \(it serves {version}\); upgrade {whom}"
        assert re.search(f"bash: {said}\n", done.stderr)
        assert me.states("between") == {"1/a/01": "running"}
        told = me("why", "between", "1/a")
        assert told.startswith("1/a/01: running, in doubt\n")
        assert re.search(rf"poll +running; unreachable \(bash: {said}\)\nrule: No answer changes nothing\.\n", told)
    path.write_text(f"{present}\nPROTOCOL = {wire.PROTOCOL + 1}\nSERVED = ({wire.PROTOCOL}, {wire.PROTOCOL + 1})\n")
    me("poll", "between")  # a newer one serves the version before its own
    assert "in doubt" not in me("why", "between", "1/a")
    gate.touch()
    me("wait", "between")


def test_a_run_root_with_blanks_and_variables_and_parts_elsewhere(me: Shell) -> None:
    home = Path(me.hosts["bash"].home)
    (home / "big disk").mkdir()
    add_platform(
        me, "spread", hosts="[bash]", run_root="'$HOME/my runs/of $LOGNAME'",
        symlinks="{work: '$HOME/big disk/work', share: '$HOME/big disk/share'}",
    )  # fmt: skip
    plays(me, "spread")
    runs = next((home / "my runs").iterdir())
    assert (runs / "on-spread" / "work").is_symlink()
    assert list((home / "big disk").rglob("o.txt"))
    (home / "big disk" / "mine").touch()
    me("clean", "on-spread", "--yes")
    assert not list((home / "big disk").rglob("o.txt"))
    assert (home / "big disk" / "mine").exists()


def test_a_variable_that_the_host_does_not_have_is_told(me: Shell) -> None:
    add_platform(me, "unset", hosts="[bash]", run_root="$NO_SUCH_THING/runs")
    done = me.done("submit", me.suite("nowhere", SCRIPT.format("unset")))
    assert done.returncode == 5, done
    assert "$NO_SUCH_THING is not set on this host" in done.stderr

"""scripts/setup.sh: what it says, what it installs, and that it leaves the machine's policy as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from needs import need, need_root

ROOT = Path(__file__).resolve().parents[1]
SETUP = ROOT / "scripts" / "setup.sh"
TOOLS = ("bash", "cat", "chmod", "cksum", "dirname", "env", "mktemp", "mv", "rm", "sh", "ssh", "ssh-keygen")

APT_GET = """\
#!/bin/sh
# In the place of apt-get: notes the call and what a service would have been told, "installs" rsync.
echo "$@" >>"$0.calls"
case " $* " in
    *" install "*)
        /usr/sbin/policy-rc.d
        echo "policy $?" >>"$0.calls"
        {result}
        ;;
esac
"""
INSTALLS = 'printf "#!/bin/sh\\n" >"${0%/*}/rsync"; chmod 755 "${0%/*}/rsync"'
FAILS = "echo 'E: no such package'; exit 100"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH with little on it; rsync is missing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name) or "/nonexistent")
    _write(folder / "sshd", "#!/bin/sh\n")
    _write(folder / "sudo", "#!/bin/sh\nexit 1\n")
    return folder


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def _setup(programs: Path, what: str = "demo", **environ: str) -> tuple[int, str]:
    venv = str(programs.parent / "venv")
    done = subprocess.run(
        ["bash", SETUP, what],
        env={"PATH": str(programs), "VENV": venv, **environ},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_wrong_calls_show_the_usage(programs: Path) -> None:
    assert _setup(programs, "everything") == (1, "setup: usage: scripts/setup.sh demo|test|bench\n")


def test_missing_packages_are_named_where_they_cannot_be_installed(programs: Path) -> None:
    assert _setup(programs) == (1, "setup: missing packages; please run: apt-get install rsync\n")


def test_old_pythons_are_refused_by_name(programs: Path) -> None:
    _write(programs / "rsync", "#!/bin/sh\n")
    _write(programs / "python3", "#!/bin/sh\nexit 1\n")
    code, said = _setup(programs, PYTHON=str(programs / "python3"))
    assert (code, said) == (1, f"setup: PYTHON={programs / 'python3'} is not a Python 3.10 or newer\n")
    assert not (programs.parent / "venv").exists()


def _setup_as_root(programs: Path, policy: str | None) -> tuple[int, str]:
    """(exit code, the policy afterwards), in a mount namespace with a /usr/sbin of its own."""
    need_root()
    need(shutil.which("unshare"), "unshare is not installed")
    folder, policy_file = programs.parent / "sbin", "/usr/sbin/policy-rc.d"
    folder.mkdir()
    if policy is not None:
        _write(folder / "policy-rc.d", policy)
    path = os.environ["PATH"]
    script = (
        f'mount --bind "{folder}" /usr/sbin || exit 99\n'
        f'PATH="{programs}" PYTHON=/nonexistent VENV="{programs.parent}/venv" bash "{SETUP}" demo >&2\n'
        f'[ ! -e {policy_file} ] || cat {policy_file}\nls /usr/sbin | grep -v "^policy-rc.d$"\n'
    )
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
        env={"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    need(done.returncode != 99, "no mount namespaces here")
    return done.returncode, done.stdout


@pytest.mark.privileged
@pytest.mark.parametrize("policy", [None, "#!/bin/sh\nexit 42\n"])
def test_services_do_not_start_and_the_policy_comes_back(programs: Path, policy: str | None) -> None:
    _write(programs / "apt-get", APT_GET.format(result=INSTALLS))
    assert _setup_as_root(programs, policy)[1] == (policy or "")
    calls = (programs / "apt-get.calls").read_text()
    assert "install -y --no-install-recommends rsync\npolicy 101\n" in calls
    assert "update" not in calls


@pytest.mark.privileged
def test_policy_comes_back_after_a_failed_installation(programs: Path) -> None:
    _write(programs / "apt-get", APT_GET.format(result=FAILS))
    assert _setup_as_root(programs, "mine\n")[1] == "mine\n"
    calls = (programs / "apt-get.calls").read_text()
    assert "update\n" in calls
    assert calls.count("policy 101\n") == 2

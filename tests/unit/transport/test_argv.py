"""The command lines of ssh: what must be on them, and in front of what a user adds."""

from __future__ import annotations

import pytest

from jobmgr.transport.fabric_ssh import FabricSSH
from jobmgr.transport.openssh import IDLE_LIFE, master_argv, worker_argv
from jobmgr.transport.ssh_settings import SshOptions

SAFE = (
    "-T",
    "-oBatchMode=yes",
    "-oRemoteCommand=none",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oForwardAgent=no",
    "-oForwardX11=no",
)
OPTIONS = SshOptions(("BatchMode=no", "-p7"), connect_timeout=7.0, config_file="/f")


def test_a_master_is_explicit_and_watches_its_connection() -> None:
    argv = master_argv("wizard", OPTIONS, "/s/%x")
    for word in (*SAFE, "-N", "-M", "-oServerAliveInterval=15", "-oServerAliveCountMax=3"):
        assert word in argv
    assert f"-oControlPersist={IDLE_LIFE}" in argv
    assert "-oConnectTimeout=7" in argv
    assert argv[argv.index("-S") + 1] == "/s/%%x"


def test_what_jobmgr_needs_stands_before_what_a_user_adds() -> None:
    """The first value of an ssh option wins."""
    argv = master_argv("wizard", OPTIONS, "/s")
    assert argv.index("-oBatchMode=yes") < argv.index("-oBatchMode=no")


def test_a_login_by_hand_may_ask_and_stays() -> None:
    argv = master_argv("wizard", OPTIONS, "/s", interactive=True)
    assert "-oBatchMode=yes" not in argv
    assert "-oControlPersist=yes" in argv


def test_a_worker_never_connects_by_itself() -> None:
    argv = worker_argv("wizard", "/s")
    for word in (*SAFE, "-oControlMaster=no", "-oProxyCommand=false"):
        assert word in argv
    assert argv[argv.index("-F") + 1] == "/dev/null"
    assert argv[-2:] == ["wizard", "--"]


@pytest.mark.parametrize("word", [*SAFE, "-oControlPath=none", "-oConnectTimeout=7", "-p7", "/f"])
def test_the_ssh_of_rsync_under_fabric_is_as_careful(word: str) -> None:
    assert word in (FabricSSH("wizard", options=OPTIONS).rsync_shell() or [])

"""The master of the transport ``openssh``, and the rule of ``auto`` that looks for it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobmgr.errors import AuthenticationError, RefusedError, UsageError
from jobmgr.transport import control_socket, make_transport, private_dir
from jobmgr.transport.choose import choose
from jobmgr.transport.openssh import OpenSSH, login, logout, master_is_up
from jobmgr.transport.private_dir import private_directory
from jobmgr.transport.private_sshd import PrivateSshd, start_time
from jobmgr.transport.ssh_settings import SshOptions
from sshd_hosts import MakeSshd, transport_to, write_config


def options(sshd: PrivateSshd) -> SshOptions:
    return SshOptions(config_file=sshd.ssh_config_path, control_dir=sshd.path("c"))


def control_path(sshd: PrivateSshd) -> str:
    (path,) = [path for path in Path(sshd.path("c")).iterdir() if path.is_socket()]
    return str(path)


def master(sshd: PrivateSshd) -> int:
    pid = control_socket.alive(control_path(sshd))
    assert pid is not None
    return pid


def await_that(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "never came true"
        time.sleep(0.01)


def test_the_master_is_shared_and_outlives_the_transport(sshd: PrivateSshd) -> None:
    first, second = transport_to(sshd, "openssh"), transport_to(sshd, "openssh")
    first.run("true")
    first.close()
    assert second.run("echo x").stdout == b"x\n"
    assert sshd.logins() == 1


def test_processes_that_start_at_once_share_one_login(sshd: PrivateSshd) -> None:
    code = (
        "from jobmgr.transport import make_transport\n"
        f"t = make_transport('openssh', 'wizard', ssh_config={sshd.ssh_config_path!r}, "
        f"control_dir={sshd.path('c')!r})\n"
        "assert t.run('echo in').stdout == b'in\\n'\n"
    )
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    with ThreadPoolExecutor(4) as pool:
        argv = [sys.executable, "-c", code]
        codes = list(pool.map(lambda _: subprocess.run(argv, env=environ, check=False).returncode, range(4)))
    assert codes == [0] * 4
    assert sshd.logins() == 1


def test_the_master_stands_apart_from_who_started_it(
    sshd: PrivateSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a job's kill (by token, session, group) nor a Ctrl-C nor a closed pipe may reach it."""
    monkeypatch.setenv("JOBMGR_TOKEN", "of-a-job")
    transport_to(sshd, "openssh").connect()
    pid = master(sshd)
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    # JOBMGR_SERVICE says to a kill that this process is to outlive the job.
    assert [word for word in words if word.startswith(b"JOBMGR_")] == [b"JOBMGR_SERVICE=1"]
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1)} == {"/dev/null"}


def test_a_killed_master_is_replaced(sshd: PrivateSshd) -> None:
    transport = transport_to(sshd, "openssh")
    transport.connect()
    os.kill(master(sshd), signal.SIGKILL)
    assert transport.run("echo x").stdout == b"x\n"
    assert sshd.logins() == 2


def test_a_stale_socket_is_replaced(sshd: PrivateSshd) -> None:
    transport = transport_to(sshd, "openssh")
    transport.connect()
    path = control_path(sshd)
    control_socket.terminate(path)
    await_that(lambda: not os.path.exists(path))
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert transport.run("echo x").stdout == b"x\n"


def test_sessions_never_log_in_by_themselves(make_sshd: MakeSshd) -> None:
    """Also not when somebody else's sessions use up what the host allows."""
    sshd = make_sshd(sshd_options={"MaxSessions": "1"})
    transport, other = transport_to(sshd, "openssh"), transport_to(sshd, "openssh")
    transport.connect()
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(one.run, "sleep 0.5; echo x") for one in (transport, other)]
        assert [one.result().stdout for one in done] == [b"x\n", b"x\n"]
    assert sshd.logins() == 1


def test_logout_ends_the_shared_connection(sshd: PrivateSshd) -> None:
    assert not master_is_up("wizard", options(sshd))
    assert logout("wizard", options(sshd)) is False
    transport_to(sshd, "openssh").connect()
    assert master_is_up("wizard", options(sshd))
    pid = master(sshd)
    assert logout("wizard", options(sshd)) is True
    assert not master_is_up("wizard", options(sshd))
    await_that(lambda: not start_time(pid))


def test_login_opens_a_connection_that_all_use(sshd: PrivateSshd) -> None:
    assert login("wizard", options(sshd)) is True
    assert login("wizard", options(sshd)) is False
    assert transport_to(sshd, "openssh").run("echo x").stdout == b"x\n"
    assert sshd.logins() == 1


def test_a_login_that_fails_is_an_authentication_error(
    sshd: PrivateSshd, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(sshd.path("authorized_keys")).write_text("")
    with pytest.raises(AuthenticationError, match="ssh could not log in"):
        login("wizard", options(sshd))
    assert "Permission denied" in capfd.readouterr().err


def test_a_host_that_wants_a_person_works_once_one_has_logged_in(sshd: PrivateSshd) -> None:
    """The key is taken away after the login: only the shared connection can still get in."""
    login("wizard", options(sshd))
    Path(sshd.path("authorized_keys")).write_text("")
    auto = transport_to(sshd, "auto")
    assert auto.name == "openssh"
    assert auto.run("echo x").stdout == b"x\n"


def test_auto_takes_fabric_unless_there_is_a_reason(sshd: PrivateSshd) -> None:
    assert choose("wizard", options(sshd)) == (
        "fabric",
        "nothing in the ssh configuration needs OpenSSH itself",
    )
    transport_to(sshd, "openssh").connect()
    assert choose("wizard", options(sshd)) == ("openssh", "a shared connection is up")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["KnownHostsCommand /bin/true"], "KnownHostsCommand is set"),
        (["PKCS11Provider /usr/lib/pkcs11.so"], "PKCS#11"),
        (["PubkeyAuthentication no", "GSSAPIAuthentication yes"], "Kerberos"),
        (["PreferredAuthentications gssapi-with-mic", "GSSAPIAuthentication yes"], "Kerberos"),
        (["PubkeyAuthentication no", "HostbasedAuthentication yes"], "HostbasedAuthentication"),
        (["ProxyCommand nc %h %p", "ProxyUseFdpass yes"], "ProxyUseFdpass"),
    ],
)
def test_auto_names_what_needs_openssh(sshd: PrivateSshd, lines: list[str], reason: str) -> None:
    write_config(sshd, sshd.client_configuration(*lines))
    kind, why = choose("wizard", options(sshd))
    assert kind == "openssh"
    assert reason in why


def test_two_keys_for_one_address_are_two_connections(sshd: PrivateSshd) -> None:
    """A key may be tied to a forced command."""
    transport_to(sshd, "openssh").connect()
    text = sshd.client_configuration()
    other = sshd.path("id_other")
    os.link(sshd.identity_path, other)
    write_config(sshd, text.replace(sshd.identity_path, other))
    transport_to(sshd, "openssh").connect()
    assert sshd.logins() == 2


def test_a_control_directory_that_others_can_enter_is_refused(sshd: PrivateSshd, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(RefusedError, match="can be entered by others: chmod 700"):
        transport_to(sshd, "openssh", control_dir=str(folder)).connect()


def test_a_control_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RefusedError, match="is not a directory"):
        private_directory(str(tmp_path / "link"))


def test_a_control_directory_that_is_too_long_is_refused(sshd: PrivateSshd, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="too long"):
        transport_to(sshd, "openssh", control_dir=str(tmp_path / ("x" * 90))).connect()


def test_files_beside_the_socket_are_private(sshd: PrivateSshd) -> None:
    transport_to(sshd, "openssh").connect()
    folder = Path(sshd.path("c"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(not path.stat().st_mode & 0o077 for path in folder.iterdir())


def test_a_session_leaves_no_file_behind(sshd: PrivateSshd) -> None:
    transport = transport_to(sshd, "openssh")
    transport.connect()
    before = set(os.listdir(sshd.path("c")))
    transport.run("exit 255")
    assert set(os.listdir(sshd.path("c"))) == before


def test_the_default_control_directory_is_under_the_home_or_short(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert private_dir.default_control_dir() == "/home/ada/.jobmgr/ssh"
    monkeypatch.setenv("HOME", "/home/" + "x" * 80)
    assert private_dir.default_control_dir() == f"/tmp/jobmgr-{os.geteuid()}"


def test_importing_the_transports_loads_no_ssh_library(sshd: PrivateSshd) -> None:
    code = (
        "import sys\nfrom jobmgr.transport import make_transport\n"
        "import jobmgr.transport.rsync, jobmgr.transport.retrying\n"
        f"t = make_transport('openssh', 'wizard', ssh_config={sshd.ssh_config_path!r}, "
        f"control_dir={sshd.path('c')!r})\n"
        "t.run('true')\n"
        "print([m for m in ('paramiko', 'fabric', 'invoke', 'sh') if m in sys.modules])"
    )
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True)
    assert done.stdout == b"[]\n"


@pytest.mark.parametrize("host", ["", "-oProxyCommand=id", "a b", "a\nb"])
def test_a_host_that_ssh_could_misread_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a host"):
        make_transport("openssh", host)


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="fabric, openssh, local"):
        make_transport("telnet", "x")


def test_the_socket_of_something_else_is_no_master(tmp_path: Path) -> None:
    path = f"/tmp/jm-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        try:
            server.listen()
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(control_socket.alive, path)
                connection, _ = server.accept()
                connection.sendall(b"\xff\xff\xff\xffgarbage")
                assert asked.result(20) is None
                connection.close()
        finally:
            os.unlink(path)
    assert control_socket.alive(path) is None
    assert control_socket.terminate(path) is False


def test_openssh_is_usable_without_options() -> None:
    assert OpenSSH("wizard").host == "wizard"

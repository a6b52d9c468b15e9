"""What every transport owes, held against a real sshd. A new transport is one more word in a list."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import pytest

from jobmgr.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    HostKeyError,
    IdleTimeout,
    UnsupportedError,
)
from jobmgr.transport import patient_socket
from jobmgr.transport.base import STDERR_LIMIT, Hold, Transport
from jobmgr.transport.private_sshd import PrivateSshd, make_key
from jobmgr.transport.retrying import Retrying
from needs import need
from sshd_hosts import MakeSshd, transport_to, write_config

SSH = ("fabric", "openssh")
ALL = (*SSH, "local")
SILENT = (IdleTimeout, ConnectTimeout)
"""A host that went silent between two calls: fabric knows that nothing was sent, ssh does not say."""
SHELLS = ("bash", "dash", "tcsh", "csh", "fish", "zsh")


@pytest.fixture(params=SSH)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ALL)
def transport(request: pytest.FixtureRequest, make_sshd: MakeSshd) -> Iterator[Transport]:
    made = make_sshd() if request.param != "local" else make_sshd(start=False)
    with contextlib.closing(transport_to(made, request.param)) as transport:
        yield transport


@pytest.fixture
def over(sshd: PrivateSshd, kind: str) -> Iterator[Transport]:
    """An SSH transport to the fixture ``sshd``."""
    with contextlib.closing(transport_to(sshd, kind)) as transport:
        yield transport


def await_that(condition: Callable[[], object], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "never came true"
        time.sleep(0.01)


# bytes and codes --------------------------------------------------------------------------------


def test_eight_megabytes_go_both_ways_at_once(transport: Transport) -> None:
    payload = os.urandom(8 << 20)
    done = transport.run("cat", payload)
    assert done.exit_code == 0
    assert done.stdout == payload


def test_output_is_binary_clean_and_stderr_is_apart(transport: Transport) -> None:
    every_byte = bytes(range(256)) * 3
    done = transport.run("cat; printf 'to\\000stderr' >&2", every_byte)
    assert (done.stdout, done.stderr) == (every_byte, b"to\0stderr")


@pytest.mark.parametrize("code", [0, 1, 3, 127, 254, 255])
def test_exit_code_is_the_commands_own(transport: Transport, code: int) -> None:
    assert transport.run(f"exit {code}").exit_code == code
    assert transport.run("echo on").stdout == b"on\n"


def test_unknown_command_is_127_with_the_shells_words(transport: Transport) -> None:
    done = transport.run("no-such-program-here")
    assert done.exit_code == 127
    assert b"not found" in done.stderr


def test_signal_of_a_command_is_what_the_shell_says(transport: Transport) -> None:
    assert transport.run("sh -c 'kill -9 $$'; exit $?").exit_code == 137


def test_signal_of_the_login_shell_itself(transport: Transport) -> None:
    """The ssh program is told, but does not say, which signal it was."""
    expected = 255 if transport.name == "openssh" else 143
    assert transport.run("kill -15 $$").exit_code == expected


def test_only_the_end_of_a_long_stderr_is_kept(transport: Transport) -> None:
    done = transport.run("head -c 1000000 /dev/zero >&2; printf END >&2")
    assert len(done.stderr) == STDERR_LIMIT
    assert done.stderr.endswith(b"\0END")


def test_a_command_need_not_read_its_stdin(transport: Transport) -> None:
    assert transport.run("exit 4", b"x" * (4 << 20)).exit_code == 4


def test_stdin_ends_where_none_is_given(transport: Transport) -> None:
    assert transport.run("cat; echo over").stdout == b"over\n"


def test_a_command_line_that_begins_like_an_option_goes_to_the_shell(transport: Transport) -> None:
    # ssh would answer with its version, and exit 0; shells do not know it
    assert transport.run("-V").exit_code == 2


# streaming, holding, silence ---------------------------------------------------------------------


def test_chunks_arrive_while_the_command_runs(transport: Transport) -> None:
    chunks: list[bytes] = []
    with Hold() as hold:

        def on_chunk(chunk: bytes) -> None:
            chunks.append(chunk)
            hold.release()  # the command goes on only because its first line was seen

        done = transport.run("echo first; cat; echo last", b"", hold, 20.0, on_chunk)
    assert b"".join(chunks) == b"first\nlast\n"
    assert done.stdout == b""


def test_an_error_of_on_chunk_passes_through_and_the_next_run_works(transport: Transport) -> None:
    def on_chunk(chunk: bytes) -> None:
        raise ZeroDivisionError(chunk)

    with pytest.raises(ZeroDivisionError):
        transport.run("echo x; sleep 0.1", on_chunk=on_chunk)
    assert transport.run("echo y").stdout == b"y\n"


def test_held_stdin_stays_open_until_release(transport: Transport) -> None:
    with Hold() as hold:
        seen = threading.Event()

        def on_chunk(chunk: bytes) -> None:
            seen.set()

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(transport.run, "head -n 1; cat >/dev/null", b"line\n", hold, 20.0, on_chunk)
            assert seen.wait(20)
            assert not running.done()
            hold.release()
            hold.release()
            assert running.result(20).exit_code == 0


def test_held_stdin_is_open_although_nothing_is_written(transport: Transport) -> None:
    with Hold() as hold:

        def on_chunk(chunk: bytes) -> None:
            chunks.append(chunk)
            hold.release()

        chunks: list[bytes] = []
        # 124: cat was still waiting for input when its time was up
        done = transport.run("timeout 0.3 cat; echo $?; cat; echo over", b"", hold, 20.0, on_chunk)
    assert done.exit_code == 0
    assert b"".join(chunks) == b"124\nover\n"


def test_a_command_may_end_while_its_stdin_is_held(transport: Transport) -> None:
    with Hold() as hold:
        assert transport.run("exit 6", b"a", hold).exit_code == 6


def test_silence_is_an_idle_timeout_and_the_next_run_works(transport: Transport) -> None:
    with pytest.raises(IdleTimeout, match=r"0\.3 s"):
        transport.run("exec sleep 5", idle_timeout=0.3)
    assert transport.run("echo here").stdout == b"here\n"


def test_a_command_that_closed_its_output_can_still_be_silent_for_too_long(transport: Transport) -> None:
    with pytest.raises(IdleTimeout):
        transport.run("exec >&- 2>&-; exec sleep 5", idle_timeout=0.3)


def test_every_byte_starts_the_idle_time_anew(transport: Transport) -> None:
    done = transport.run("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done", idle_timeout=1.2)
    assert done.stdout.split() == [b"%d" % i for i in range(1, 9)]


BOTH = """python3 -u -c 'import os
for _ in range(20000): os.write(1, b"o"); os.write(2, b"e")'"""


def test_output_on_both_streams_is_told_at_once(transport: Transport) -> None:
    took = []
    last = time.monotonic()

    def on_chunk(chunk: bytes) -> None:
        nonlocal last
        took.append(time.monotonic() - last)
        last = time.monotonic()

    assert transport.run(BOTH, b"", None, 20.0, on_chunk).exit_code == 0
    assert max(took) < 15


def test_many_threads_share_a_transport(transport: Transport) -> None:
    def ask(number: int) -> bytes:
        return transport.run("cat; sleep 0.1", b"%d" % number).stdout

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(24))) == [b"%d" % number for number in range(24)]


def test_jobmgrs_own_variables_do_not_reach_the_command(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBMGR_TOKEN", "secret")
    assert b"JOBMGR_TOKEN" not in transport.run("env").stdout


def test_close_may_be_followed_by_a_run(transport: Transport) -> None:
    assert transport.run("echo 1").stdout == b"1\n"
    transport.close()
    transport.close()
    assert transport.run("echo 2").stdout == b"2\n"


# one connection ----------------------------------------------------------------------------------


def test_one_login_serves_all_commands(sshd: PrivateSshd, over: Transport) -> None:
    over.connect()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: over.run("true"), range(12)))
    assert sshd.logins() == 1


def test_no_more_than_eight_sessions_at_a_time(sshd: PrivateSshd, over: Transport) -> None:
    with ThreadPoolExecutor(14) as pool:
        command = "echo 1 >> here; sleep 0.2; echo -1 >> here"
        codes = list(pool.map(lambda _: over.run(command).exit_code, range(14)))
    assert codes == [0] * 14
    changes = [int(line) for line in (Path(sshd.home) / "here").read_text().split()]
    assert max(accumulate(changes)) <= 8
    assert sshd.logins() == 1


def test_a_host_that_allows_two_sessions_is_served_without_a_second_login(
    make_sshd: MakeSshd, kind: str
) -> None:
    sshd = make_sshd(sshd_options={"MaxSessions": "2"})
    with contextlib.closing(transport_to(sshd, kind)) as over, ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda n: over.run("cat; sleep 0.1", b"%d" % n), range(6)))
    assert [one.stdout for one in done] == [b"%d" % n for n in range(6)]
    assert sshd.logins() == 1


# cuts --------------------------------------------------------------------------------------------


def test_a_cut_in_mid_run_is_connection_lost_and_the_next_run_connects_anew(
    sshd: PrivateSshd, over: Transport
) -> None:
    with ThreadPoolExecutor(1) as pool:
        started = threading.Event()
        running = pool.submit(
            over.run, "echo up; exec sleep 30", on_chunk=lambda _: started.set(), idle_timeout=30
        )
        assert started.wait(20)
        sshd.kill_sessions()
        with pytest.raises(ConnectionLost, match="may have arrived"):
            running.result(20)
    assert over.run("echo back").stdout == b"back\n"
    assert sshd.logins() == 2


def test_a_connection_that_died_between_two_runs_is_replaced(sshd: PrivateSshd, over: Transport) -> None:
    over.run("true")
    sshd.kill_sessions()
    assert over.run("echo back").stdout == b"back\n"


def test_a_frozen_host_is_an_idle_timeout_and_is_used_again_after_the_thaw(
    sshd: PrivateSshd, over: Transport
) -> None:
    over.connect()
    sshd.freeze()
    with pytest.raises(SILENT):
        over.run("echo x", idle_timeout=0.5)
    sshd.thaw()
    assert over.run("echo y").stdout == b"y\n"


def test_after_a_silent_call_a_dead_connection_is_not_trusted(sshd: PrivateSshd, over: Transport) -> None:
    over.connect()
    sshd.freeze()
    with pytest.raises(SILENT):
        over.run("echo x", idle_timeout=0.3)
    sshd.kill_sessions()  # SIGKILL reaches stopped processes; the listener stays frozen until the thaw
    sshd.thaw()
    assert over.run("echo y").stdout == b"y\n"
    assert sshd.logins() == 2


def test_a_connection_that_stays_silent_is_replaced_by_a_new_one(
    sshd: PrivateSshd, over: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has closed the old one: it looks alive, as after a cut that nobody has noticed."""
    monkeypatch.setattr(f"{type(over).__module__}.PROBE_TIMEOUT", 0.5)
    over.connect()
    sshd.freeze(listener=False)
    with pytest.raises(SILENT):
        over.run("echo x", idle_timeout=0.3)
    assert over.run("echo y").stdout == b"y\n"
    assert sshd.logins() == 2


def test_a_host_that_only_refuses_new_connections_keeps_the_old_one(
    sshd: PrivateSshd, over: Transport
) -> None:
    over.connect()
    sshd.stop_accepting()
    assert over.run("echo still").stdout == b"still\n"
    sshd.kill_sessions()
    await_that(lambda: _fails_to_connect(over))


def _fails_to_connect(over: Transport) -> bool:
    try:
        over.connect()
    except ConnectError as exc:
        return "refused" in str(exc)
    return False


# login shells ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_the_constant_command_line_passes_every_login_shell(
    make_sshd: MakeSshd, kind: str, shell: str
) -> None:
    path = shutil.which(shell)
    need(path, f"{shell} is not installed")
    sshd = make_sshd(shell=path)
    command = """/bin/sh -c 'd=$HOME; cat; echo "in ${d##*/}" >&2; exit 7'"""
    with contextlib.closing(transport_to(sshd, kind)) as over:
        done = over.run(command, b"a b\n")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"a b\n", b"in home\n")


def test_noise_of_the_login_shell_without_a_newline_comes_first(make_sshd: MakeSshd, kind: str) -> None:
    sshd = make_sshd(force_command_prefix="printf 'Welcome! '; printf 'moan' >&2")
    with contextlib.closing(transport_to(sshd, kind)) as over:
        done = over.run("echo reply")
    assert (done.stdout, done.stderr) == (b"Welcome! reply\n", b"moan")


def test_a_banner_before_the_login_is_no_output(make_sshd: MakeSshd, kind: str, tmp_path: Path) -> None:
    banner = tmp_path / "banner"
    banner.write_text("Authorised use only\n")
    sshd = make_sshd(sshd_options={"Banner": str(banner)})
    with contextlib.closing(transport_to(sshd, kind)) as over:
        done = over.run("echo reply")
    assert (done.stdout, done.stderr) == (b"reply\n", b"")


# ssh configuration ---------------------------------------------------------------------------------


def test_include_match_and_alias_count(sshd: PrivateSshd, kind: str) -> None:
    Path(sshd.path("more")).write_text(
        f'Match originalhost "hp?" exec true\n    HostName 127.0.0.1\n    Port {sshd.port}\n'
    )
    write_config(
        sshd,
        f"Include {sshd.path('more')}\nHost other hpc\n    HostKeyAlias {sshd.name}\n"
        f"    IdentityFile {sshd.identity_path}\n    UserKnownHostsFile {sshd.known_hosts_path}\n",
    )
    with contextlib.closing(transport_to(sshd, kind, "hpc")) as over:
        assert over.run("echo in").stdout == b"in\n"


def test_options_of_the_platform_count(sshd: PrivateSshd, kind: str) -> None:
    text = sshd.client_configuration().replace(f"Port {sshd.port}", "Port 1")
    write_config(sshd, text)
    for options in ([f"Port={sshd.port}"], [f"-p{sshd.port}"]):
        with contextlib.closing(transport_to(sshd, kind, ssh_options=options)) as over:
            assert over.run("echo in").stdout == b"in\n"


def test_the_user_and_options_that_ask_for_trouble_do_no_harm(sshd: PrivateSshd, kind: str) -> None:
    """What makes sense for an interactive ssh must not break a batch one."""
    extra = ("RemoteCommand echo trouble", "RequestTTY force", "LocalForward 1 localhost:1")
    more = ("ForwardX11 yes", "ControlMaster auto", "ControlPath none", "PermitLocalCommand yes")
    write_config(sshd, sshd.client_configuration(*extra, *more, "LocalCommand echo trouble"))
    with contextlib.closing(transport_to(sshd, kind)) as over:
        assert over.run("echo in").stdout == b"in\n"


@pytest.mark.parametrize("hashed", [False, True])
def test_without_an_alias_the_host_is_known_by_address_and_port(
    sshd: PrivateSshd, kind: str, hashed: bool
) -> None:
    known = Path(sshd.known_hosts_path)
    known.write_text(f"# comment\n[127.0.0.1]:{sshd.port} {sshd.host_public_key()}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
        assert "127.0.0.1" not in known.read_text()
    write_config(sshd, sshd.client_configuration().replace(f"HostKeyAlias {sshd.name}", ""))
    with contextlib.closing(transport_to(sshd, kind)) as over:
        assert over.run("echo in").stdout == b"in\n"


def test_one_of_two_known_keys_is_enough(sshd: PrivateSshd, kind: str, tmp_path: Path) -> None:
    """As in the weeks of a key's replacement."""
    make_key(str(tmp_path / "old"))
    old = (tmp_path / "old.pub").read_text().split()
    Path(sshd.known_hosts_path).write_text(
        f"wiz*,!wizz {old[0]} {old[1]}\n{sshd.name} {sshd.host_public_key()}\n"
    )
    with contextlib.closing(transport_to(sshd, kind)) as over:
        assert over.run("echo in").stdout == b"in\n"


def test_the_host_is_asked_for_a_key_of_a_type_that_is_known(
    make_sshd: MakeSshd, kind: str, tmp_path: Path
) -> None:
    other = tmp_path / "ecdsa"
    argv = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", other]
    subprocess.run(argv, check=True, capture_output=True)
    sshd = make_sshd(start=False)
    sshd._options["HostKey"] = f"{sshd.host_key_path}\nHostKey {other}"
    sshd.start()
    key = Path(f"{other}.pub").read_text().split()
    Path(sshd.known_hosts_path).write_text(f"{sshd.name} {key[0]} {key[1]}\n")
    with contextlib.closing(transport_to(sshd, kind)) as over:
        assert over.run("echo in").stdout == b"in\n"


@pytest.fixture
def jump_config(make_sshd: MakeSshd) -> tuple[PrivateSshd, PrivateSshd]:
    """A node whose address is of use only on the gateway's side: (gateway, node)."""
    gateway = make_sshd(name="gateway", sshd_options={"PermitOpen": "127.0.0.1:*"})
    node = make_sshd(name="node")
    return gateway, node


@pytest.mark.parametrize("way", ["jump", "command", "two jumps"])
def test_a_node_behind_a_gateway(jump_config: tuple[PrivateSshd, PrivateSshd], kind: str, way: str) -> None:
    gateway, node = jump_config
    config = node.ssh_config_path
    line = {
        "jump": "ProxyJump gateway",
        "command": f"ProxyCommand ssh -F {config} -W [%h]:%p gateway",
        "two jumps": "ProxyJump gateway,again",
    }[way]
    again = gateway.client_configuration().replace("Host gateway", "Host again")
    write_config(node, node.client_configuration(line) + gateway.client_configuration() + again)
    with contextlib.closing(transport_to(node, kind)) as over:
        assert over.run("cat", b"x" * 300_000).stdout == b"x" * 300_000
    assert gateway.logins() == (2 if way == "two jumps" else 1)
    assert node.logins() == 1


PROXY = """\
import os, select, socket, sys
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
open(sys.argv[2], "w").write(str(os.getpid()))
while True:
    for ready in select.select([0, there], [], [])[0]:
        data = os.read(ready if ready == 0 else there.fileno(), 65536)
        if not data:
            sys.exit()
        there.sendall(data) if ready == 0 else os.write(1, data)
"""


def test_a_proxy_that_takes_nothing_any_more_is_given_up(
    sshd: PrivateSshd, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_socket, "LIMIT", 2.0)
    monkeypatch.setattr("jobmgr.transport.openssh.PROBE_TIMEOUT", 1.0)
    (tmp_path / "proxy.py").write_text(PROXY)
    pid = tmp_path / "pid"
    config = Path(sshd.ssh_config_path).read_text()
    way = f"python3 {tmp_path / 'proxy.py'} {sshd.port} {pid}"
    write_config(sshd, config.replace("Host wizard\n", f"Host wizard\n    ProxyCommand {way}\n"))
    with contextlib.closing(transport_to(sshd, kind)) as over:
        assert over.run("echo x").stdout == b"x\n"
        stuck = int(pid.read_text())
        try:
            with pytest.raises(IdleTimeout):  # it stops while it is sent more than it can hold
                over.run(
                    "echo go; cat >/dev/null",
                    b"x" * (64 << 20),
                    idle_timeout=1.0,
                    on_chunk=lambda _: os.kill(stuck, signal.SIGSTOP),
                )
            began = time.monotonic()
            assert over.run("echo y").stdout == b"y\n"
            assert time.monotonic() - began < 40
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stuck, signal.SIGKILL)


def test_an_unknown_gateway_is_named_as_such(jump_config: tuple[PrivateSshd, PrivateSshd], kind: str) -> None:
    gateway, node = jump_config
    Path(gateway.known_hosts_path).write_text("")
    write_config(node, node.client_configuration("ProxyJump gateway") + gateway.client_configuration())
    with pytest.raises(HostKeyError, match="the host key of gateway is not known"):
        transport_to(node, kind).connect()
    assert node.logins() == 0


def test_a_gateway_that_refuses_the_key_is_named(
    jump_config: tuple[PrivateSshd, PrivateSshd], kind: str
) -> None:
    gateway, node = jump_config
    Path(gateway.path("authorized_keys")).write_text("")
    write_config(node, node.client_configuration("ProxyJump gateway") + gateway.client_configuration())
    with pytest.raises(AuthenticationError, match=r"login as \S+@127.0.0.1 refused"):
        transport_to(node, kind).connect()
    assert gateway.log().count("Connection from") == 1


def test_a_gateway_that_refuses_is_a_connect_error(
    jump_config: tuple[PrivateSshd, PrivateSshd], kind: str
) -> None:
    gateway, node = jump_config
    write_config(node, node.client_configuration("ProxyJump gateway") + gateway.client_configuration())
    gateway.stop()
    with pytest.raises(ConnectError, match="refused the connection"):
        transport_to(node, kind).connect()


# certificates --------------------------------------------------------------------------------------


def sign(authority: str, public_key: str, *options: str) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "test", *options, public_key],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("beside", [True, False])
def test_a_user_certificate_opens_the_door(
    make_sshd: MakeSshd, kind: str, tmp_path: Path, beside: bool
) -> None:
    authority = str(tmp_path / "ca")
    make_key(authority)
    sshd = make_sshd(
        sshd_options={"TrustedUserCAKeys": authority + ".pub", "AuthorizedKeysFile": "none"},
    )
    with pytest.raises(AuthenticationError):
        transport_to(sshd, kind).connect()
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    sign(authority, sshd.identity_path + ".pub", "-n", user)
    if not beside:
        os.rename(sshd.identity_path + "-cert.pub", sshd.path("elsewhere"))
        write_config(sshd, sshd.client_configuration(f"CertificateFile {sshd.path('elsewhere')}"))
    with contextlib.closing(transport_to(sshd, kind)) as over:
        assert over.run("echo in").stdout == b"in\n"


@pytest.fixture
def certified(make_sshd: MakeSshd, tmp_path: Path) -> PrivateSshd:
    """A host that proves itself by a certificate, and a client that trusts its authority only."""
    authority = str(tmp_path / "hostca")
    make_key(authority)
    sshd = make_sshd(start=False)
    os.makedirs(sshd.directory)
    make_key(sshd.host_key_path)
    sign(authority, sshd.host_key_path + ".pub", "-h", "-n", sshd.name)
    sshd._options["HostCertificate"] = sshd.host_key_path + "-cert.pub"
    sshd.start()
    key = (tmp_path / "hostca.pub").read_text().split()
    Path(sshd.known_hosts_path).write_text(f"@cert-authority {sshd.name} {key[0]} {key[1]}\n")
    return sshd


def test_a_host_certificate_is_openssh_business(certified: PrivateSshd) -> None:
    with contextlib.closing(transport_to(certified, "openssh")) as over:
        assert over.run("echo in").stdout == b"in\n"


def test_fabric_refuses_a_host_certificate_by_name(certified: PrivateSshd) -> None:
    with pytest.raises(UnsupportedError, match=r"@cert-authority.*transport: openssh"):
        transport_to(certified, "fabric").connect()


def test_auto_takes_openssh_for_a_host_certificate(certified: PrivateSshd) -> None:
    assert transport_to(certified, "auto").name == "openssh"


# host keys -----------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_with_the_way_out(sshd: PrivateSshd, kind: str) -> None:
    Path(sshd.known_hosts_path).write_text("")
    with pytest.raises(HostKeyError, match=r"wizard is not known.*Run 'ssh wizard' once by hand"):
        transport_to(sshd, kind).connect()
    assert Path(sshd.known_hosts_path).read_text() == ""
    assert sshd.logins() == 0


def test_a_changed_host_key_is_refused_with_the_way_out(sshd: PrivateSshd, kind: str, tmp_path: Path) -> None:
    make_key(str(tmp_path / "other"))
    other = (tmp_path / "other.pub").read_text().split()
    Path(sshd.known_hosts_path).write_text(f"{sshd.name} {other[0]} {other[1]}\n")
    with pytest.raises(HostKeyError, match="has changed") as caught:
        transport_to(sshd, kind).connect()
    assert f"ssh-keygen -R 'wizard' -f {sshd.known_hosts_path}" in str(caught.value)
    assert sshd.logins() == 0


def test_a_revoked_host_key_is_refused(sshd: PrivateSshd, kind: str) -> None:
    line = f"{sshd.name} {sshd.host_public_key()}\n"
    Path(sshd.known_hosts_path).write_text(line + "@revoked " + line)
    with pytest.raises(HostKeyError, match="revoked"):
        transport_to(sshd, kind).connect()


def test_a_user_who_accepts_any_key_gets_openssh(sshd: PrivateSshd) -> None:
    Path(sshd.known_hosts_path).write_text("")
    write_config(sshd, sshd.client_configuration("StrictHostKeyChecking accept-new"))
    with contextlib.closing(transport_to(sshd, "auto")) as over:
        assert over.name == "openssh"
        assert over.run("echo in").stdout == b"in\n"
    with pytest.raises(UnsupportedError, match="accept-new"):
        transport_to(make_unknown(sshd), "fabric").connect()


def make_unknown(sshd: PrivateSshd) -> PrivateSshd:
    Path(sshd.known_hosts_path).write_text("")
    return sshd


# logins --------------------------------------------------------------------------------------------


def test_a_refused_key_is_an_authentication_error(sshd: PrivateSshd, kind: str) -> None:
    Path(sshd.path("authorized_keys")).write_text("")
    with pytest.raises(AuthenticationError, match=r"login as .* refused .*publickey.*BatchMode"):
        transport_to(sshd, kind).connect()


def test_a_refusal_is_not_repeated(sshd: PrivateSshd, kind: str) -> None:
    Path(sshd.path("authorized_keys")).write_text("")
    with pytest.raises(AuthenticationError):
        Retrying(transport_to(sshd, kind), attempts=5).connect()
    assert sshd.log().count("Connection from") == 1


def test_a_host_that_wants_a_person_is_told_apart(make_sshd: MakeSshd, kind: str) -> None:
    sshd = make_sshd(
        sshd_options={
            "KbdInteractiveAuthentication": "yes",
            "AuthenticationMethods": "publickey,keyboard-interactive",
        }
    )
    with pytest.raises(
        AuthenticationError, match=r"wants interactive .*\(keyboard-interactive\).*jobmgr login"
    ):
        transport_to(sshd, kind).connect()


def lock_key(sshd: PrivateSshd) -> None:
    argv = ["ssh-keygen", "-q", "-p", "-N", "long secret", "-f", sshd.identity_path]
    subprocess.run(argv, check=True, capture_output=True)


def test_a_key_with_a_passphrase_is_named(sshd: PrivateSshd, kind: str) -> None:
    lock_key(sshd)
    with pytest.raises(AuthenticationError, match=r"passphrase and no agent holds it.*ssh-add"):
        transport_to(sshd, kind).connect()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    path = f"/tmp/jm-agent-{os.getpid()}"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    await_that(lambda: os.path.exists(path))
    monkeypatch.setenv("SSH_AUTH_SOCK", path)
    yield path
    process.terminate()
    process.wait()


@pytest.mark.parametrize("named", [True, False])
def test_a_key_of_the_agent_opens_the_door(sshd: PrivateSshd, kind: str, agent: str, named: bool) -> None:
    subprocess.run(["ssh-add", "-q", sshd.identity_path], check=True, capture_output=True)
    lock_key(sshd)
    text = sshd.client_configuration().replace("IdentityAgent none", "")
    if not named:
        text = text.replace("IdentitiesOnly yes", "").replace(f"IdentityFile {sshd.identity_path}", "")
    write_config(sshd, text)
    with contextlib.closing(transport_to(sshd, kind)) as over:
        assert over.run("echo in").stdout == b"in\n"


def test_identities_only_keeps_other_keys_of_the_agent_back(
    sshd: PrivateSshd, kind: str, agent: str, tmp_path: Path
) -> None:
    subprocess.run(["ssh-add", "-q", sshd.identity_path], check=True, capture_output=True)
    make_key(str(tmp_path / "wrong"))
    text = sshd.client_configuration().replace("IdentityAgent none", "")
    write_config(sshd, text.replace(sshd.identity_path, str(tmp_path / "wrong")))
    with pytest.raises(AuthenticationError):
        transport_to(sshd, kind).connect()


def test_too_many_keys_in_the_agent_are_said(
    sshd: PrivateSshd, kind: str, agent: str, tmp_path: Path
) -> None:
    for number in range(7):
        make_key(str(tmp_path / f"k{number}"))
        subprocess.run(["ssh-add", "-q", tmp_path / f"k{number}"], check=True, capture_output=True)
    text = sshd.client_configuration().replace("IdentityAgent none", "").replace("IdentitiesOnly yes", "")
    write_config(sshd, text)
    with pytest.raises(AuthenticationError, match=r"too many keys .*IdentitiesOnly"):
        transport_to(sshd, kind).connect()


# no connection ---------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve(sshd: PrivateSshd, kind: str) -> None:
    with pytest.raises(ConnectError, match=r"nowhere\.invalid cannot be resolved"):
        transport_to(sshd, kind, "nowhere.invalid", ssh_options=[accepted(sshd)]).connect()


def accepted(sshd: PrivateSshd) -> str:
    return f"UserKnownHostsFile={sshd.known_hosts_path}"


def test_a_port_where_nobody_listens(sshd: PrivateSshd, kind: str) -> None:
    sshd.stop()
    with pytest.raises(ConnectError, match=f"127.0.0.1 port {sshd.port} refused the connection"):
        transport_to(sshd, kind).connect()


def test_a_host_that_accepts_and_never_answers_is_a_connect_timeout(sshd: PrivateSshd, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        over = transport_to(sshd, kind, ssh_options=[f"Port={port}"], connect_timeout=1)
        with pytest.raises(ConnectTimeout, match="did not answer in time"):
            over.connect()


def test_a_frozen_host_is_a_connect_timeout(sshd: PrivateSshd, kind: str) -> None:
    sshd.freeze()
    with pytest.raises(ConnectTimeout):
        transport_to(sshd, kind, connect_timeout=1).connect()


def test_a_host_that_is_full_is_a_connect_error_that_passes(make_sshd: MakeSshd, kind: str) -> None:
    sshd = make_sshd(sshd_options={"MaxStartups": "1:100:1"})
    over = transport_to(sshd, kind)
    with socket.create_connection(("127.0.0.1", sshd.port)) as stranger:
        stranger.recv(100)  # one that has begun to log in, and takes its time
        with pytest.raises(ConnectError, match="MaxStartups") as caught:
            over.connect()
        assert type(caught.value) is ConnectError
    with contextlib.closing(Retrying(over, attempts=8, first_delay=0.1, max_delay=0.5)) as patient:
        assert patient.run("echo in").stdout == b"in\n"


def test_a_server_of_something_else_is_a_connect_error(sshd: PrivateSshd, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        over = transport_to(sshd, kind, ssh_options=[f"Port={server.getsockname()[1]}"], connect_timeout=2)
        with pytest.raises(ConnectError):
            over.connect()
        thread.join(20)


def test_a_broken_ssh_configuration_is_said_with_its_line(sshd: PrivateSshd, kind: str) -> None:
    write_config(sshd, "Host *\n    Nonsense yes\n")
    with pytest.raises(ConnectError, match=r"line 2: Bad configuration option: nonsense"):
        transport_to(sshd, kind).connect()

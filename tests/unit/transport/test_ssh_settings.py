"""``ssh -G`` as a record, and what of it paramiko cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jobmgr.errors import UsageError
from jobmgr.transport.kept_settings import read_settings
from jobmgr.transport.private_sshd import make_key
from jobmgr.transport.ssh_settings import (
    SshOptions,
    SshSettings,
    checked_host,
    expand_file,
    parse_settings,
    proxy_argv,
    seconds,
    split_hop,
    split_words,
    why_openssh,
)

PLAIN = SshSettings(host="w", hostname="login1", port=22, user="ada")


def parse(text: str) -> SshSettings:
    return parse_settings("w", text, "/home/ada", {"USER": "ada", "KEYS": "/keys"})


def test_missing_words_have_sshs_defaults() -> None:
    found = parse("user ada\n")
    assert found == SshSettings(host="w", hostname="w", port=22, user="ada")


def test_file_names_are_expanded() -> None:
    found = parse(
        "user ada\nhostname login1\nport 2222\nidentityfile ~/.ssh/%h_%r_%p\nidentityfile ${KEYS}/100%%\n"
        'certificatefile "~/a b-cert.pub"\n'
        'userknownhostsfile ~/k1 "~/k 2"\nglobalknownhostsfile /etc/k none\n'
    )
    assert found.identity_files == ("/home/ada/.ssh/login1_ada_2222", "/keys/100%")
    assert found.certificate_files == ("/home/ada/a b-cert.pub",)
    assert found.known_hosts_files == ("/home/ada/k1", "/home/ada/k 2", "/etc/k")


def test_none_is_no_value() -> None:
    found = parse(
        "user ada\nproxycommand none\nproxyjump none\nknownhostscommand none\npkcs11provider none\n"
        "identityagent none\nidentityfile none\nhostkeyalias none\n"
    )
    assert found == replace(parse("user ada\n"), identity_agent=None)


@pytest.mark.parametrize(
    ("line", "agent"),
    [
        ("identityagent SSH_AUTH_SOCK", "SSH_AUTH_SOCK"),
        ("identityagent $MY_SOCK", "$MY_SOCK"),
        ("identityagent ~/agent", "/home/ada/agent"),
        ("identityagent none", None),
    ],
)
def test_identity_agent(line: str, agent: str | None) -> None:
    assert parse("user ada\n" + line).identity_agent == agent


def test_proxy_command_has_its_tokens_filled() -> None:
    found = parse("user ada\nhostname login1\nport 7\nproxycommand nc -x p%% %h %p %r %n\n")
    assert found.proxy_command == "nc -x p% login1 7 ada w"


@pytest.mark.parametrize(
    ("port", "alias", "names"),
    [
        (22, None, ("login1",)),
        (2222, None, ("[login1]:2222", "login1")),
        (2222, "hpc", ("hpc",)),
    ],
)
def test_names_in_known_hosts(port: int, alias: str | None, names: tuple[str, ...]) -> None:
    assert replace(PLAIN, port=port, host_key_alias=alias).known_names == names


@given(st.text(max_size=300))
def test_any_text_is_a_record_or_a_number_that_is_none(text: str) -> None:
    try:
        parse(text)
    except ValueError:
        assert "port" in text.lower()


def test_what_ssh_prints_here_is_understood(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host w\n HostName login1\n Port 2222\n User bob\n HostKeyAlias alias\n ProxyJump a@b:3,c\n"
        " IdentitiesOnly yes\n IdentityFile /k/%n\n CertificateFile /c\n UserKnownHostsFile /x /y\n"
        " GlobalKnownHostsFile none\n StrictHostKeyChecking yes\n"
    )
    found = read_settings("w", SshOptions(config_file=str(config), ssh_options=("Port=7", "-lada")))
    assert (found.hostname, found.port, found.user) == ("login1", 7, "ada")
    assert (found.host_key_alias, found.proxy_jump) == ("alias", "a@b:3,c")
    assert (found.identity_files, found.certificate_files) == (("/k/w",), ("/c",))
    assert found.identities_only
    assert found.strict_host_key == "true"
    assert found.known_hosts_files == ("/x", "/y")


def test_options_become_ssh_arguments() -> None:
    options = SshOptions(("Port=7", "-v"), config_file="/c")
    assert options.argv() == ["-F", "/c", "-oPort=7", "-v"]
    words = SshOptions(("-p", "7", "-o", "User=x", "-4", "Compression yes"))
    assert words.argv() == ["-p", "7", "-o", "User=x", "-4", "-oCompression yes"]


@pytest.mark.parametrize(
    ("hop", "parts"),
    [
        ("gate", ("gate", None)),
        ("ada@gate:22", ("ada@gate", "22")),
        ("ssh://ada@gate:22/", ("ada@gate", "22")),
        ("[::1]:22", ("::1", "22")),
        ("ada@[fe80::1]", ("ada@fe80::1", None)),
        ("fe80::1", ("fe80::1", None)),
        ("a@corp@gate", ("a@corp@gate", None)),
    ],
)
def test_hops_of_a_proxy_jump(hop: str, parts: tuple[str, str | None]) -> None:
    assert split_hop(hop) == parts


def test_a_proxy_jump_is_an_ssh_over_its_last_hop() -> None:
    argv = proxy_argv(replace(PLAIN, proxy_jump="a,b@c:5"), SshOptions(config_file="/f"))
    assert argv is not None
    assert argv[:3] == ["ssh", "-F", "/f"]
    assert argv[argv.index("-J") + 1] == "a"
    assert argv[-6:] == ["-p", "5", "-W", "[login1]:22", "--", "b@c"]
    assert "-oBatchMode=yes" in argv
    assert proxy_argv(PLAIN, SshOptions()) is None


def test_a_hop_that_ssh_could_misread_is_refused() -> None:
    with pytest.raises(UsageError):
        proxy_argv(replace(PLAIN, proxy_jump="-oProxyCommand=id"), SshOptions())
    assert checked_host("ada@login1") == "ada@login1"


@pytest.mark.parametrize(("timeout", "said"), [(0.1, 1), (1.4, 1), (9.6, 10), (10, 10)])
def test_ssh_counts_whole_seconds(timeout: float, said: int) -> None:
    assert seconds(timeout) == said


def test_words_in_quotes_are_one() -> None:
    assert split_words('/a "/b c" /d') == ["/a", "/b c", "/d"]


def test_unknown_tokens_stay() -> None:
    assert expand_file("/x/%q/${NOPE}", {}, "/h", {}) == "/x/%q/${NOPE}"


# what only OpenSSH can do ----------------------------------------------------------------------------


def known(tmp_path: Path, text: str) -> SshSettings:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return replace(PLAIN, known_hosts_files=(str(file),), identity_files=(str(tmp_path / "id"),))


def test_an_ordinary_configuration_needs_nothing_special(tmp_path: Path) -> None:
    make_key(str(tmp_path / "id"))
    assert why_openssh(known(tmp_path, "")) is None


def test_an_authority_counts_only_where_no_key_is_known(tmp_path: Path) -> None:
    authority = "@cert-authority *1 ssh-ed25519 QUFB\n"
    assert "@cert-authority" in str(why_openssh(known(tmp_path, authority)))
    assert why_openssh(known(tmp_path, authority + "login1 ssh-ed25519 QUJC\n")) is None
    assert why_openssh(known(tmp_path, authority.replace("*1", "*2"))) is None


def sk_public() -> str:
    import base64
    import struct

    name = b"sk-ssh-ed25519@openssh.com"
    parts = (name, b"k" * 32, b"ssh:")
    return (
        f"{name.decode()} {base64.b64encode(b''.join(struct.pack('>I', len(p)) + p for p in parts)).decode()}"
    )


def test_a_key_in_a_device_needs_openssh_unless_there_is_another(tmp_path: Path) -> None:
    settings = known(tmp_path, "")
    (tmp_path / "sk.pub").write_text(sk_public() + " ada@lap\n")
    only = replace(settings, identity_files=(str(tmp_path / "sk"),))
    assert why_openssh(only) == "the key is in a FIDO device (sk-)"
    make_key(str(tmp_path / "id"))
    both = replace(settings, identity_files=(str(tmp_path / "sk"), str(tmp_path / "id")))
    assert why_openssh(both) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"known_hosts_command": "/bin/x"}, "KnownHostsCommand"),
        ({"pkcs11_provider": "/x.so"}, "PKCS11Provider"),
        ({"verify_host_key_dns": True}, "VerifyHostKeyDNS"),
        ({"strict_host_key": "accept-new"}, "accept-new"),
        ({"strict_host_key": "false"}, "StrictHostKeyChecking"),
        ({"pubkey": False, "gssapi": True}, "Kerberos"),
        ({"preferred": ("hostbased",), "hostbased": True}, "HostbasedAuthentication"),
        ({"proxy_command": "x", "proxy_use_fdpass": True}, "ProxyUseFdpass"),
    ],
)
def test_each_reason_is_named(change: dict[str, object], reason: str) -> None:
    assert reason in str(why_openssh(replace(PLAIN, **change)))  # type: ignore[arg-type]


def test_kerberos_beside_keys_needs_nothing_special() -> None:
    assert why_openssh(replace(PLAIN, gssapi=True)) is None

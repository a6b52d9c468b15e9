"""What ssh itself would do for a host: the output of ``ssh -G`` as a record.

Asking ssh, instead of reading its configuration, makes Include, Match, tokens of ``HostName`` and
the system's own file count. ``ssh -G`` prints ``keyword value`` lines, keywords in lower case
(ssh(1), ssh_config(5)); it leaves ``~`` and the tokens of file names alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from jobmgr.errors import ConnectError, UsageError
from jobmgr.transport import known_hosts
from jobmgr.transport.environment import scrubbed
from jobmgr.transport.identity import certificate_of, read_identity

SSH_G_TIMEOUT = 30.0
"""Seconds; ``Match exec`` may ask something slow, but not for ever."""


TAKES_A_WORD = frozenset(f"-{letter}" for letter in "BbcDeEFIiJLlmOopQRSWw")
"""Options of ssh(1) whose value may be the next word."""


class SshOptions(Struct, frozen=True):
    """How one host is to be reached, beside what the ssh configuration says.

    ``ssh_options``: ``Key=value`` or ready-made ssh arguments (``-p2222``; ``-p``, ``2222``).
    ``connect_timeout`` in seconds. ``config_file`` replaces the user's and the system's configuration
    (``ssh -F``). ``control_dir`` is where shared connections live (default: ``~/.jobmgr/ssh``).
    """

    ssh_options: tuple[str, ...] = ()
    connect_timeout: float = 10.0
    config_file: str | None = None
    control_dir: str | None = None

    def argv(self) -> list[str]:
        """The part of an ssh command line that carries these options."""
        argv = ["-F", self.config_file] if self.config_file else []
        before = ""
        for word in self.ssh_options:
            plain = word.startswith("-") or before in TAKES_A_WORD
            argv.append(word if plain else f"-o{word}")
            before = "" if before in TAKES_A_WORD else word
        return argv


class SshSettings(Struct, frozen=True):
    """The settings of ``ssh -G`` that matter here, with every file name made absolute."""

    host: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[str, ...] = ()
    certificate_files: tuple[str, ...] = ()
    known_hosts_files: tuple[str, ...] = ()
    host_key_alias: str | None = None
    proxy_jump: str | None = None
    proxy_command: str | None = None
    proxy_use_fdpass: bool = False
    known_hosts_command: str | None = None
    pkcs11_provider: str | None = None
    identities_only: bool = False
    identity_agent: str | None = "SSH_AUTH_SOCK"
    pubkey: bool = True
    gssapi: bool = False
    hostbased: bool = False
    preferred: tuple[str, ...] = ()
    strict_host_key: str = "ask"
    verify_host_key_dns: bool = False
    bind_address: str | None = None
    address_family: str = "any"

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names in known_hosts files, the most exact first."""
        return known_hosts.names_of(self.hostname, self.port, self.host_key_alias)

    @property
    def address(self) -> str:
        return f"{self.user}@{self.hostname}:{self.port}"

    def known(self) -> known_hosts.Known:
        """What the known_hosts files say of this host, read now."""
        return known_hosts.lookup(known_hosts.read(self.known_hosts_files), self.known_names)


def checked_host(host: str) -> str:
    """``host``, if ssh can take it for nothing else than a host; raises UsageError."""
    if not host or host.startswith("-") or re.search(r"[\s\x00-\x1f]", host):
        raise UsageError(f"{host!r} is not the name of a host")
    return host


def ask(host: str, options: SshOptions) -> tuple[SshSettings, str]:
    """Ask ``ssh -G``: the settings, and what it said of its way to them. Raises ConnectError."""
    import subprocess

    argv = ["ssh", "-v", *options.argv(), "-G", "--", checked_host(host)]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=scrubbed(),
            timeout=SSH_G_TIMEOUT,
            check=False,
        )
    except FileNotFoundError as exc:
        raise ConnectError("no ssh on this machine: install openssh-client") from exc
    except subprocess.TimeoutExpired as exc:
        raise ConnectError(f"{host}: ssh -G did not end in {SSH_G_TIMEOUT:g} s (a Match exec?)") from exc
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        lines = [line.strip() for line in said.splitlines() if not re.match(r"debug\d:|OpenSSH_", line)]
        raise ConnectError(f"{host}: ssh refuses its configuration: {'; '.join(lines)}")
    settings = parse_settings(host, done.stdout.decode(errors="replace"), os.path.expanduser("~"), os.environ)
    return settings, said


def parse_settings(host: str, text: str, home: str, environ: Mapping[str, str]) -> SshSettings:
    """The record of one ``ssh -G`` output; words that are missing (older ssh) have ssh's defaults."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        said.setdefault(key.lower(), []).append(value.strip())

    def one(key: str, default: str = "") -> str:
        return said.get(key, [default])[0]

    def given(key: str) -> str | None:
        value = one(key)
        return None if value in ("", "none") else value

    def yes(key: str, default: str) -> bool:
        return one(key, default) in ("yes", "true", "unbound", "host-bound", "ask")

    hostname = one("hostname", host)
    port = int(one("port", "22"))
    user = one("user")
    tokens = {
        "%": "%",
        "h": hostname,
        "n": host,
        "p": str(port),
        "r": user,
        "d": home,
        "k": given("hostkeyalias") or host,
        "u": environ.get("USER", user),
        "i": str(os.getuid()),
        "l": os.uname().nodename,
        "L": os.uname().nodename.split(".")[0],
    }

    def file(value: str) -> str:
        return expand_file(value, tokens, home, environ)

    def files(key: str) -> tuple[str, ...]:
        return tuple(file(value) for value in said.get(key, []) if value not in ("", "none"))

    known = [
        file(name)
        for key in ("userknownhostsfile", "globalknownhostsfile")
        for name in split_words(one(key))
        if name != "none"
    ]
    agent = one("identityagent", "SSH_AUTH_SOCK")
    proxy_command = given("proxycommand")
    strict = one("stricthostkeychecking", "ask")
    return SshSettings(
        host=host,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=files("identityfile"),
        certificate_files=files("certificatefile"),
        known_hosts_files=tuple(known),
        host_key_alias=given("hostkeyalias"),
        proxy_jump=given("proxyjump"),
        proxy_command=expand_tokens(proxy_command, tokens) if proxy_command else None,
        proxy_use_fdpass=yes("proxyusefdpass", "no"),
        known_hosts_command=given("knownhostscommand"),
        pkcs11_provider=given("pkcs11provider"),
        identities_only=yes("identitiesonly", "no"),
        identity_agent=_agent(agent, file),
        pubkey=yes("pubkeyauthentication", "yes"),
        gssapi=yes("gssapiauthentication", "no"),
        hostbased=yes("hostbasedauthentication", "no"),
        preferred=tuple(filter(None, one("preferredauthentications").split(","))),
        strict_host_key={"yes": "true", "no": "false", "off": "false"}.get(strict, strict),
        verify_host_key_dns=yes("verifyhostkeydns", "no"),
        bind_address=given("bindaddress"),
        address_family=one("addressfamily", "any"),
    )


def _agent(value: str, file: object) -> str | None:
    """``SSH_AUTH_SOCK`` (look into the environment), a socket's path, or None for no agent."""
    if value == "none":
        return None
    if value == "SSH_AUTH_SOCK" or value.startswith("$"):
        return value
    assert callable(file)
    return str(file(value))


def expand_tokens(value: str, tokens: Mapping[str, str]) -> str:
    """``%h`` and its like; a token that is not known here is left as it is."""
    return re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), value)


def expand_file(value: str, tokens: Mapping[str, str], home: str, environ: Mapping[str, str]) -> str:
    """A file name of ssh_config(5): quotes, ``~``, tokens and ``${VARIABLE}``."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if value == "~" or value.startswith("~/"):
        value = home + value[1:]
    elif value.startswith("~"):
        value = os.path.expanduser(value)
    value = re.sub(r"\$\{(\w+)\}", lambda found: environ.get(found[1], found[0]), value)
    return expand_tokens(value, tokens)


def split_words(value: str) -> list[str]:
    """File names of one line, in quotes if they have spaces."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', value)]


def why_openssh(settings: SshSettings) -> str | None:
    """What of these settings only OpenSSH itself can do; None if paramiko can do all of it.

    Reads the known_hosts and identity files. A reason is a phrase: "the host key is checked by ...".
    """
    return _why_host_key(settings) or _why_login(settings) or _why_proxy(settings)


def _why_host_key(settings: SshSettings) -> str | None:
    if settings.known_hosts_command:
        return "KnownHostsCommand is set"
    known = settings.known()
    if known.keys:
        return None
    if known.authorities:
        return "the host key is checked by a certificate (@cert-authority in known_hosts)"
    if settings.verify_host_key_dns:
        return "the host key is checked in the DNS (VerifyHostKeyDNS)"
    if settings.strict_host_key in ("false", "accept-new"):
        return f"unknown host keys are accepted (StrictHostKeyChecking {settings.strict_host_key})"
    return None


def _why_login(settings: SshSettings) -> str | None:
    if settings.pkcs11_provider:
        return "the key is in a PKCS#11 device (PKCS11Provider)"
    methods = settings.preferred or ("gssapi-with-mic", "hostbased", "publickey")
    if not settings.pubkey or "publickey" not in methods:
        if settings.gssapi and "gssapi-with-mic" in methods:
            return "the login is by Kerberos alone (GSSAPIAuthentication)"
        if settings.hostbased and "hostbased" in methods:
            return "the login is by the key of this machine (HostbasedAuthentication)"
        return None
    found = [identity for path in settings.identity_files if (identity := read_identity(path))]
    if any(identity.hardware for identity in found) and not any(
        identity.private and not identity.hardware for identity in found
    ):
        return "the key is in a FIDO device (sk-)"
    return None


def _why_proxy(settings: SshSettings) -> str | None:
    if settings.proxy_command and settings.proxy_use_fdpass:
        return "the proxy hands over a descriptor (ProxyUseFdpass)"
    return None


def proxy_argv(settings: SshSettings, options: SshOptions) -> list[str] | None:
    """The program that stands for the network between here and the host; None: plain TCP.

    A ``ProxyJump`` becomes ``ssh -W`` over its last hop, as ssh itself does it.
    """
    if settings.proxy_command:
        return ["/bin/sh", "-c", f"exec {settings.proxy_command}"]
    if not settings.proxy_jump:
        return None
    *before, last = settings.proxy_jump.split(",")
    target = f"[{settings.hostname}]:{settings.port}"
    argv = ["ssh", *(("-F", options.config_file) if options.config_file else ())]
    argv += ["-oBatchMode=yes", "-oControlMaster=no", "-oControlPath=none", "-oClearAllForwardings=no"]
    argv += [f"-oConnectTimeout={seconds(options.connect_timeout)}"]
    if before:
        argv += ["-J", ",".join(before)]
    user_host, port = split_hop(last)
    return [*argv, *(("-p", port) if port else ()), "-W", target, "--", checked_host(user_host)]


def split_hop(hop: str) -> tuple[str, str | None]:
    """``[user@]host[:port]`` or ``ssh://...`` -> what ssh takes as host, and the port."""
    hop = hop.removeprefix("ssh://").rstrip("/")
    user, at, rest = hop.rpartition("@")
    found = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:]+)(?::(\d+))?", rest)
    if found is None:  # a bare IPv6 address
        return hop, None
    return user + at + (found[1] or found[3]), found[2] or found[4]


def seconds(timeout: float) -> int:
    """ssh counts whole seconds, and takes 0 for no limit."""
    return max(1, round(timeout))


def certificates_for(settings: SshSettings, identity_file: str) -> Sequence[str]:
    """Certificate files to try with a key: the configured ones, then the one beside the key."""
    beside = certificate_of(identity_file)
    return [*settings.certificate_files, *([beside] if beside else [])]

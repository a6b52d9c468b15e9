"""What was found on the hosts of a platform, judged: findings with advice, an exit code, a YAML stanza.

The looking is done elsewhere (``service/platform_check.py``); everything here is a function of what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from msgspec import Struct, field

from jobmgr.errors import EXIT_JOB_FAILED, EXIT_NO_ANSWER, EXIT_OK, EXIT_PERSON

MUCH_SKEW, SOME_SKEW = 60.0, 5.0
LITTLE_SPACE, SOME_SPACE = 50 << 20, 1 << 30
FEW_INODES, SOME_INODES = 1000, 50_000
SLOW_WRITE = 1.0
SLOW_CONNECT = 5.0
BACKGROUND = "background"
BATCH = ("slurm", "pbs", "sge", "lsf", "loadleveler", "moab")


class Level(str, Enum):
    """How much a finding matters: ``error`` means that something will not work."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Finding(Struct, frozen=True):
    """One thing that was looked at. ``advice`` says what to do, for all that hurts; ``seconds`` how long it
    took, None if that means nothing.
    """

    host: str
    topic: str
    level: Level
    text: str
    advice: str = ""
    seconds: float | None = None


class Attempt(Struct, frozen=True):
    """One transport tried. ``error`` is "" if it connected; ``person``: only a person can mend it."""

    transport: str
    seconds: float
    error: str = ""
    person: bool = False


class HostLook(Struct, frozen=True):
    """All that was seen of one host. ``wanted`` is the transport that the platform would use, ``used`` the one
    by which the host was looked at ("": none connected). ``found`` is the reply to ``check``, empty if there
    was none (then ``error`` says why). ``sessions`` of ``asked_sessions`` at a time; 0 asked: not tried.
    """

    host: str
    attempts: tuple[Attempt, ...] = ()
    wanted: str = ""
    used: str = ""
    why: str = ""
    host_key: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    call_seconds: float = 0.0
    shipped: bool = False
    version: str = ""
    clock_offset: float = 0.0
    noise: str = ""
    rsync_seconds: tuple[float, ...] = ()
    rsync_error: str = ""
    sessions: int = 0
    asked_sessions: int = 0


class Settings(Struct, frozen=True):
    """What of a platform the judgement needs. ``chosen``: the keys that somebody wrote, as they are."""

    name: str
    hosts: tuple[str, ...]
    transport: str
    runner: str
    runner_chosen: bool
    run_root: str
    remote_command: str
    polls_every: float
    chosen: Mapping[str, Any]


class PlatformReport(Struct, frozen=True):
    """The outcome of ``platforms check``. ``stanza`` is YAML for platforms.yaml."""

    platform: str
    findings: tuple[Finding, ...]
    stanza: str
    exit_code: int


def report(settings: Settings, looks: Sequence[HostLook]) -> PlatformReport:
    """Judge all that was seen."""
    findings = [finding for look in looks for finding in judge(settings, look)]
    findings += together(looks)
    return PlatformReport(settings.name, tuple(findings), stanza(settings, looks), exit_code(looks, findings))


def exit_code(looks: Sequence[HostLook], findings: Sequence[Finding]) -> int:
    """6: only a person can open a host; 5: a host gave no answer; 1: something would not work; else 0."""
    closed = [look for look in looks if not look.used]
    if any(attempt.person for look in closed for attempt in look.attempts):
        return EXIT_PERSON
    if closed or any(not look.found for look in looks):
        return EXIT_NO_ANSWER
    return EXIT_JOB_FAILED if any(one.level is Level.ERROR for one in findings) else EXIT_OK


def judge(settings: Settings, look: HostLook) -> list[Finding]:
    """The findings about one host, in the order in which a person would ask."""
    found = list(_reaching(settings, look))
    if look.used:
        found += _answering(settings, look)
    if look.found:
        for part in (_machine, _storage, _batch, _policy, _files):
            found += part(settings, look)
    return found


# --- reaching ----------------------------------------------------------------------------------------


def _reaching(settings: Settings, look: HostLook) -> Iterator[Finding]:
    host = look.host
    for attempt in look.attempts:
        topic = f"transport {attempt.transport}"
        if not attempt.error:
            slow = attempt.seconds > SLOW_CONNECT
            yield Finding(
                host,
                topic,
                Level.INFO if slow else Level.OK,
                "connected, logged in without a prompt" if attempt.transport != "local" else "this machine",
                "slow: GSSAPI or a name that does not resolve? ssh -v shows where it waits" if slow else "",
                attempt.seconds,
            )
        elif look.used and attempt.transport == look.wanted:
            yield Finding(
                host, topic, Level.WARNING, attempt.error, f"write transport: {look.used}", attempt.seconds
            )
        elif look.used:
            yield Finding(
                host, topic, Level.INFO, f"does not work here: {attempt.error}", "", attempt.seconds
            )
        else:
            yield Finding(host, topic, Level.ERROR, attempt.error, _how_to_reach(attempt), attempt.seconds)
    if look.used and look.host_key:
        yield Finding(host, "host key", Level.OK, look.host_key)
    if look.used and settings.transport == "auto":
        yield Finding(host, "transport", Level.OK, f"auto takes {look.wanted}: {look.why}")


def _how_to_reach(attempt: Attempt) -> str:
    if attempt.person:
        return "a person must act, as the message says; nothing is tried again by itself"
    return "check name, network and sshd: ssh must get there first"


def _answering(settings: Settings, look: HostLook) -> Iterator[Finding]:
    host = look.host
    if not look.found:
        yield Finding(
            host,
            "host side",
            Level.ERROR,
            look.error or "no answer",
            "without it nothing works here; see docs/platforms.md, python and remote_command",
            look.call_seconds,
        )
        return
    how = "shipped now" if look.shipped else settings.remote_command or "is there"
    yield Finding(host, "host side", Level.OK, f"version {look.version}, {how}", "", look.call_seconds)
    if look.noise:
        yield Finding(
            host,
            "login shell",
            Level.WARNING,
            f"login files print on stdout: {look.noise}",
            "jobmgr copes, but each rsync starts twice; let .bashrc print only if [[ $- == *i* ]]",
        )
    else:
        yield Finding(host, "login shell", Level.OK, "silent")
    yield from _clock(look)
    yield from _sessions(look)


def _clock(look: HostLook) -> Iterator[Finding]:
    offset = look.clock_offset
    text = f"{abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this machine"
    if abs(offset) > MUCH_SKEW:
        yield Finding(
            look.host,
            "clock",
            Level.WARNING,
            text,
            "have the clock set (NTP): times in logs will mislead you",
        )
    else:
        yield Finding(look.host, "clock", Level.INFO if abs(offset) > SOME_SKEW else Level.OK, text)


def _sessions(look: HostLook) -> Iterator[Finding]:
    if not look.asked_sessions:
        return
    if look.sessions >= look.asked_sessions:
        yield Finding(
            look.host, "sessions", Level.OK, f"{look.sessions} at a time over one connection, as jobmgr uses"
        )
        return
    level = Level.WARNING if look.sessions < 3 else Level.INFO
    yield Finding(
        look.host,
        "sessions",
        level,
        f"only {look.sessions} at a time over one connection",
        "jobmgr goes down to that by itself; faster with a higher MaxSessions in sshd_config",
    )


# --- the machine -------------------------------------------------------------------------------------


def _machine(settings: Settings, look: HostLook) -> Iterator[Finding]:
    host, found = look.host, look.found
    yield Finding(host, "python", Level.OK, f"{found.get('python', '?')}")
    if found.get("lacks"):
        yield Finding(
            host, "bash", Level.ERROR, str(found["lacks"]), "jobs are bash scripts: have it installed"
        )
    else:
        yield Finding(host, "bash", Level.OK, f"{found.get('bash_version')} ({found.get('bash')})")
    yield Finding(host, "cores", Level.OK, f"{found.get('cores', '?')}")
    hidden = str(found.get("hidepid") or "")
    if hidden:
        yield Finding(
            host,
            "hidepid",
            Level.INFO,
            f"hidepid={hidden}: a user sees his own processes only",
            "a kill will say so where it cannot see a process of another user",
        )
    else:
        yield Finding(host, "hidepid", Level.OK, "off: all processes can be seen")
    if found.get("kills_at_logout") and not found.get("lingers") and found.get("user") != "root":
        hurts = settings.runner in (BACKGROUND, "at")
        yield Finding(
            host,
            "logout",
            Level.ERROR if hurts else Level.INFO,
            "systemd ends all processes of a user at logout (KillUserProcesses)",
            f"background jobs would die: loginctl enable-linger {found.get('user', '')}" if hurts else "",
        )
    else:
        yield Finding(host, "logout", Level.OK, "processes outlive the login")


def _storage(settings: Settings, look: HostLook) -> Iterator[Finding]:
    host, found = look.host, look.found
    if found.get("write_error"):
        yield Finding(
            host,
            "run root",
            Level.ERROR,
            f"{settings.run_root} cannot be used: {found['write_error']}",
            "write a run_root where you may write",
        )
    else:
        seconds = _number(found.get("write_seconds"))
        new = ", will be made" if found.get("made_root") else ""
        slow = seconds > SLOW_WRITE
        yield Finding(
            host,
            "run root",
            Level.WARNING if slow else Level.OK,
            f"{settings.run_root} can be written{new}",
            "a small file took that long: every job writes a few; try another run_root" if slow else "",
            seconds,
        )
        yield from _program(look)
    kind = str(found.get("file_system") or "?")
    network = bool(found.get("network_fs"))
    yield Finding(
        host,
        "file system",
        Level.INFO if network else Level.OK,
        f"{kind}, a network file system: states may arrive later" if network else kind,
    )
    yield Finding(
        host,
        "shared",
        Level.OK,
        "the run root is this machine's own: nothing is copied"
        if found.get("shared")
        else "not shared with this machine: files travel by rsync",
    )
    yield from _room(look)


def _program(look: HostLook) -> Iterator[Finding]:
    error = str(look.found.get("exec_error") or "")
    if error or look.found.get("noexec"):
        yield Finding(
            look.host,
            "noexec",
            Level.WARNING,
            f"programs cannot be run there ({error or 'mounted noexec'})",
            "jobs run, programs of the suite in bin/ do not: another run_root, or call them by bash",
        )
    else:
        yield Finding(look.host, "noexec", Level.OK, "programs can be run there")


def _room(look: HostLook) -> Iterator[Finding]:
    host, found = look.host, look.found
    for topic, key in (("space", "free_bytes"), ("space at home", "home_free_bytes")):
        free = found.get(key)
        if not isinstance(free, int):
            continue
        level = Level.ERROR if free < LITTLE_SPACE else Level.WARNING if free < SOME_SPACE else Level.OK
        advice = "" if level is Level.OK else "make room, or write another run_root"
        yield Finding(host, topic, level, f"{_size(free)} free", advice)
    inodes = found.get("free_inodes")
    if isinstance(inodes, int):
        level = Level.ERROR if inodes < FEW_INODES else Level.WARNING if inodes < SOME_INODES else Level.OK
        advice = "" if level is Level.OK else "each job makes about five files: remove some"
        yield Finding(host, "inodes", level, f"room for {inodes} more files", advice)
    quota = str(found.get("quota") or "")
    if quota:
        over = "*" in quota
        yield Finding(
            host,
            "quota",
            Level.WARNING if over else Level.INFO,
            " / ".join(quota.splitlines()),
            "a limit is reached (*): make room before you submit" if over else "",
        )
    else:
        yield Finding(host, "quota", Level.OK, "none that quota(1) tells of")


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


# --- runners, policy, files -----------------------------------------------------------------------------


def _runners(look: HostLook) -> dict[str, Mapping[str, Any]]:
    rows = look.found.get("runners")
    rows = rows if isinstance(rows, list) else []
    return {
        str(row["name"]): row
        for row in rows
        if isinstance(row, dict) and row.get("name") and row.get("version")
    }


def _batch(settings: Settings, look: HostLook) -> Iterator[Finding]:
    host = look.host
    there = _runners(look)
    for name, row in there.items():
        if name != BACKGROUND:
            yield _runner(settings, host, name, row)
    batch = [name for name in BATCH if name in there]
    if settings.runner != BACKGROUND and settings.runner not in there:
        yield Finding(
            host,
            f"runner {settings.runner}",
            Level.ERROR,
            "its commands are not there",
            "are they on the PATH of a login shell only? then write use_login_shell: true; or another runner",
        )
    elif batch and not settings.runner_chosen:
        yield Finding(
            host,
            "runner",
            Level.ERROR,
            f"nobody chose a runner, and there is {', '.join(batch)}: jobs would run on a login node",
            f"write runner: {batch[0]}, or runner: background",
        )
    else:
        yield Finding(host, "runner", Level.OK, settings.runner)


def _runner(settings: Settings, host: str, name: str, row: Mapping[str, Any]) -> Finding:
    queue, accounting = str(row.get("queue") or ""), str(row.get("accounting") or "")
    text = str(row["version"])
    if queue == "yes":
        text += "; the queue answers"
    if accounting == "yes":
        text += "; accounting"
    elif accounting:
        text += f"; no accounting ({accounting[4:]})"
    if queue.startswith("no"):
        wanted = settings.runner == name
        return Finding(
            host,
            f"runner {name}",
            Level.ERROR if wanted else Level.INFO,
            f"{text}; the queue does not answer: {queue[4:]}",
            "ask who runs the batch system: nothing can be submitted now" if wanted else "",
        )
    return Finding(host, f"runner {name}", Level.OK, text)


def _policy_of(look: HostLook) -> Mapping[str, Any]:
    policy = look.found.get("policy")
    return policy if isinstance(policy, Mapping) else {}


def _denied(look: HostLook) -> list[str]:
    names = _policy_of(look).get("deny_runners")
    return [str(name) for name in names] if isinstance(names, list) else []


def _number(value: Any) -> float:
    """A host's number; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else 0.0


def _policy(settings: Settings, look: HostLook) -> Iterator[Finding]:
    policy = _policy_of(look)
    said = []
    slowest = _number(policy.get("min_polling_interval"))
    if slowest:
        said.append(f"min_polling_interval {slowest:g} s")
    if policy.get("max_wait") is not None:
        said.append(f"max_wait {_number(policy['max_wait']):g} s")
    denied = _denied(look)
    if denied:
        said.append(f"deny_runners {', '.join(denied)}")
    if policy.get("syslog"):
        said.append("calls are told to the system log")
    if not said:
        return
    hurts = settings.runner in denied
    advice = f"runner {settings.runner} is denied here: write another" if hurts else ""
    if slowest and settings.polls_every < slowest and not hurts:
        advice = f"write min_polling_interval: {slowest:g}s"
    level = Level.ERROR if hurts else Level.INFO
    yield Finding(look.host, "site policy", level, "; ".join(said), advice)


def _files(settings: Settings, look: HostLook) -> Iterator[Finding]:
    if look.used == "local":
        return
    there = str(look.found.get("rsync") or "")
    if look.rsync_error:
        yield Finding(
            look.host,
            "rsync",
            Level.ERROR,
            look.rsync_error,
            "have rsync installed on the host" if not there else "files cannot travel; see the message",
        )
    elif look.rsync_seconds:
        yield Finding(
            look.host, "rsync", Level.OK, f"both ways; {there or 'rsync'}", "", sum(look.rsync_seconds)
        )


def together(looks: Sequence[HostLook]) -> Iterator[Finding]:
    """What only shows when the hosts of a platform are compared."""
    homes = {look.host: str(look.found.get("home_id") or "") for look in looks if look.found}
    if len({home for home in homes.values() if home}) > 1:
        yield Finding(
            ", ".join(homes),
            "home directory",
            Level.ERROR,
            "these hosts do not share one home directory",
            "make them platforms of their own, and a group of these",
        )


# --- the stanza -----------------------------------------------------------------------------------------


def stanza(settings: Settings, looks: Sequence[HostLook]) -> str:
    """The platform as it should stand in platforms.yaml: what was written, and what the looks recommend."""
    keys: dict[str, str] = {}
    if settings.hosts != (settings.name,):
        keys["hosts"] = _flow(settings.hosts)
    for key, value in settings.chosen.items():
        keys[key] = _flow(value)
    for key, value, why in recommended(settings, looks):
        keys[key] = f"{_flow(value)}  # {why}"
    if not keys:
        return f"platforms:\n  {_scalar(settings.name)}: {{}}  # nothing needs to be said\n"
    rows = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return f"platforms:\n  {_scalar(settings.name)}:\n{rows}"


def recommended(settings: Settings, looks: Sequence[HostLook]) -> Iterator[tuple[str, Any, str]]:
    """(key, value, why) of each setting that the platform lacks."""
    used = {look.used for look in looks if look.used}
    broken = [look for look in looks if look.used and look.used != look.wanted]
    if broken and len(used) == 1:
        yield "transport", used.pop(), f"{broken[0].wanted} does not get in"
    answers = [look for look in looks if look.found]
    batch = [name for name in BATCH if answers and all(name in _runners(look) for look in answers)]
    batch = [name for name in batch if not any(name in _denied(look) for look in answers)]
    batch.sort(key=lambda name: any(_runners(look)[name].get("queue") != "yes" for look in answers))
    if not settings.runner_chosen and batch:
        yield "runner", batch[0], "or background, if jobs may run on these very machines"
    slowest = max((_number(_policy_of(look).get("min_polling_interval")) for look in answers), default=0.0)
    if slowest > settings.polls_every:
        yield "min_polling_interval", f"{slowest:g}s", "the site's policy"


def _flow(value: Any) -> str:
    """A value in YAML's flow style, which the loader of platforms.yaml reads back as it was."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(str(key))}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else _scalar(str(value))


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./$~@+=-")


def _scalar(text: str) -> str:
    """Plain where that is safe in a flow, else in double quotes with YAML's escapes."""
    if text and set(text) <= _PLAIN and text[0] not in "-=@~" and text != "null":
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'

"""Reaching hosts: which one of a platform to use, and what a host that could not be reached means.

A failed *connect* moves on to the next host, because nothing was sent. All that a failure leaves behind is a
note on the host and a doubt beside its jobs; no state changes.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from msgspec.structs import replace

from jobmgr.core.events import Trouble
from jobmgr.core.retry import contact_backoff
from jobmgr.errors import (
    AuthenticationError,
    ConnectError,
    HostKeyError,
    JobmgrError,
    RefusedError,
    TransportError,
    UnsupportedError,
)
from jobmgr.platforms.model import Platform
from jobmgr.service.context import RunContext
from jobmgr.store.records import CLEAR, LOG_IN, Host

CONTACT_AGAIN = 1.0
"""Seconds after which one more answer of a host is written down again, though nothing else has changed."""
AUTH_COOL_DOWN = 3600.0
"""Seconds after which a host that refused the login may be tried again without a person (accounts get
locked).
"""


def needs_person(error: JobmgrError) -> bool:
    """Whether nothing will help until a person acts."""
    return isinstance(error, AuthenticationError | HostKeyError | UnsupportedError)


def blocked(record: Host, now: float) -> bool:
    """Whether a host is to be left alone for now."""
    return record.blocked_until is not None and record.blocked_until > now


def connect_any(ctx: RunContext, platform: Platform) -> str:
    """Connect to a host of the platform and return its name.

    Raises the last ConnectError if none can be reached, RefusedError if that is one that is left alone because
    it refuses.
    """
    order = list(platform.hosts)
    if platform.host_selection == "random":
        random.shuffle(order)
    now = ctx.now()
    last: ConnectError | RefusedError | None = None
    for host in order:
        record = ctx.store.host(platform.name, host)
        if blocked(record, now):
            last = last or _still_blocked(record)
            continue
        try:
            ctx.world.hosts.transport(platform, host).connect()
        except ConnectError as error:
            note_trouble(ctx, platform.name, host, error)
            last = error
        else:
            return host
    assert last is not None
    raise last


def _still_blocked(record: Host) -> ConnectError | RefusedError:
    said = record.last_error or f"{record.host}: not tried again yet"
    if record.auth_blocked == CLEAR:
        return RefusedError(said)
    return AuthenticationError(said) if record.auth_blocked else ConnectError(said)


def note_trouble(ctx: RunContext, platform: str, host: str, error: JobmgrError) -> None:
    """Write down that a host could not be asked, and when to try again; tell it once per beginning of
    trouble.

    A host that refuses (another run's directory, site policy) is left alone as long as one that refuses the
    login.
    """
    record = ctx.store.host(platform, host)
    person = CLEAR if isinstance(error, RefusedError) else LOG_IN if needs_person(error) else 0
    errors = record.errors + 1
    now = ctx.now()
    wait = AUTH_COOL_DOWN if person else contact_backoff(errors, random.random())
    ctx.store.set_host(
        replace(
            record,
            last_error=str(error),
            error_since=record.error_since or now,
            errors=errors,
            blocked_until=now + wait,
            auth_blocked=person,
        )
    )
    if record.errors == 0 or record.last_error != str(error):
        ctx.emit(Trouble(host, str(error), needs_person(error)))


def note_contact(ctx: RunContext, platform: str, host: str, hello_time: float, instance: str) -> Host:
    """Write down that a host has answered; returns its record."""
    record = ctx.store.host(platform, host)
    now = ctx.now()
    after = replace(
        record,
        last_contact=now,
        last_error="",
        error_since=None,
        errors=0,
        blocked_until=None,
        auth_blocked=0,
        instance=instance,
        clock_offset=hello_time - now,
    )
    news = replace(after, last_contact=record.last_contact, clock_offset=record.clock_offset) != record
    if news or now - (record.last_contact or 0.0) >= CONTACT_AGAIN:
        ctx.store.set_host(after)
    return after


def let_through(ctx: RunContext, hosts: Collection[str] | None = None) -> None:
    """A person asks, or has logged in (to ``hosts``): hosts that were left alone may be tried again at once,
    and are told of again.
    """
    for record in ctx.store.hosts():
        if record.blocked_until is not None and (hosts is None or record.host in hosts):
            ctx.store.set_host(replace(record, blocked_until=None, auth_blocked=0, errors=0))


def failure_text(error: TransportError) -> str:
    """The one line about a failed call that doubts and histories show."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__

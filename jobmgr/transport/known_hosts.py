"""known_hosts files as OpenSSH reads them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

paramiko's own reader knows neither patterns, nor ``@revoked``, nor two keys of one type for a host.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable

from msgspec import Struct


class KnownKey(Struct, frozen=True):
    """One line: ``marker`` is empty, ``@revoked`` or ``@cert-authority``; ``blob`` the key itself."""

    marker: str
    patterns: str
    key_type: str
    blob: bytes


class Known(Struct, frozen=True):
    """What the files say of one host."""

    keys: tuple[KnownKey, ...] = ()
    authorities: tuple[KnownKey, ...] = ()
    revoked: tuple[KnownKey, ...] = ()

    def accepts(self, blob: bytes) -> bool:
        return any(key.blob == blob for key in self.keys) and not self.revokes(blob)

    def revokes(self, blob: bytes) -> bool:
        return any(key.blob == blob for key in self.revoked)


def parse(text: str) -> tuple[KnownKey, ...]:
    """Every readable line; what OpenSSH would skip is skipped."""
    keys = []
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) < 3:
            continue
        try:
            blob = base64.b64decode(fields[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        keys.append(KnownKey(marker, fields[0], fields[1], blob))
    return tuple(keys)


def read(paths: Iterable[str]) -> tuple[KnownKey, ...]:
    """The lines of all files that can be read."""
    keys: list[KnownKey] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                keys.extend(parse(file.read()))
        except OSError:
            continue
    return tuple(keys)


def lookup(keys: Iterable[KnownKey], names: Iterable[str]) -> Known:
    """The lines that speak of any of ``names`` (see :func:`names_of`)."""
    wanted = [name.lower() for name in names]
    found = [key for key in keys if any(matches(key.patterns, name) for name in wanted)]
    return Known(
        tuple(key for key in found if not key.marker),
        tuple(key for key in found if key.marker == "@cert-authority"),
        tuple(key for key in found if key.marker == "@revoked"),
    )


def names_of(hostname: str, port: int, alias: str | None) -> tuple[str, ...]:
    """The names under which OpenSSH looks a host up: the alias alone, or with and without the port."""
    if alias:
        return (alias,)
    return (hostname,) if port == 22 else (f"[{hostname}]:{port}", hostname)


def matches(patterns: str, name: str) -> bool:
    """Does the first field of a line mean ``name``? A negated pattern that fits decides against it."""
    hit = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            hit = hit or _hashed(pattern, name)
        elif pattern.startswith("!"):
            if _glob(pattern[1:], name):
                return False
        else:
            hit = hit or _glob(pattern, name)
    return hit


def _glob(pattern: str, name: str) -> bool:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern.lower())
    return re.fullmatch("".join(parts), name) is not None


def _hashed(pattern: str, name: str) -> bool:
    """``|1|SALT|HMAC-SHA1``, both in base64 (``HashKnownHosts``)."""
    try:
        salt, digest = (base64.b64decode(part) for part in pattern.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)

"""What can be told of a private key file without its passphrase.

Formats: OpenSSH's ``PROTOCOL.key`` (the public part and the cipher's name stand in the clear), and
PEM, where only the words of the header are looked at.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct

from msgspec import Struct

MAGIC = b"openssh-key-v1\x00"


class Identity(Struct, frozen=True):
    """One ``IdentityFile`` that exists. ``blob`` is the public key, empty if it is not known."""

    path: str
    key_type: str
    encrypted: bool
    private: bool
    blob: bytes

    @property
    def hardware(self) -> bool:
        """A FIDO key: only OpenSSH's own helper can talk to the token."""
        return self.key_type.startswith("sk-")


def read_identity(path: str) -> Identity | None:
    """None if there is no such file or it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(65536)
    except OSError:
        data = b""
    public = _public(data) or _public(_file(path + ".pub"))
    if b"PRIVATE KEY-----" in data:
        return _private(path, data, public)
    if public is None:
        return None
    return Identity(path, public[0], False, False, public[1])


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(65536)
    except OSError:
        return b""


def _private(path: str, data: bytes, public: tuple[str, bytes] | None) -> Identity:
    if b"BEGIN OPENSSH PRIVATE KEY" in data:
        parsed = _openssh(data)
        if parsed is not None:
            cipher, blob = parsed
            return Identity(path, key_type_of(blob), cipher != b"none", True, blob)
    locked = b"ENCRYPTED" in data
    kind = public[0] if public else ("ssh-rsa" if b"BEGIN RSA" in data else "")
    return Identity(path, kind, locked, True, public[1] if public else b"")


def _openssh(data: bytes) -> tuple[bytes, bytes] | None:
    """Cipher name and public blob."""
    lines = [line for line in data.splitlines() if line and not line.startswith(b"-----")]
    try:
        raw = base64.b64decode(b"".join(lines))
    except binascii.Error:
        return None
    if not raw.startswith(MAGIC):
        return None
    try:
        cipher, at = _string(raw, len(MAGIC))
        _, at = _string(raw, at)  # the key derivation's name
        _, at = _string(raw, at)  # and its options
        blob, _ = _string(raw, at + 4)  # behind the number of keys, which is 1
    except struct.error:
        return None
    return cipher, blob


def _string(raw: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">I", raw, at)
    return raw[at + 4 : at + 4 + length], at + 4 + length


def key_type_of(blob: bytes) -> str:
    """The name in front of a public key blob: ``ssh-ed25519``, ``sk-ssh-ed25519@openssh.com``, ..."""
    try:
        return _string(blob, 0)[0].decode("ascii", "replace")
    except struct.error:
        return ""


def _public(data: bytes) -> tuple[str, bytes] | None:
    fields = data.split(None, 2)
    if len(fields) < 2 or b"-----" in fields[0]:
        return None
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except binascii.Error:
        return None
    kind = key_type_of(blob)
    return (kind, blob) if kind == fields[0].decode("ascii", "replace") else None


def certificate_of(path: str) -> str | None:
    """The certificate that OpenSSH takes along by itself for an identity file: ``FILE-cert.pub``."""
    beside = path + "-cert.pub"
    return beside if os.path.isfile(beside) else None

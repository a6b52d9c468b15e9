"""What a private key file says of itself, against ssh-keygen's own files."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.transport.identity import certificate_of, key_type_of, read_identity


@pytest.mark.parametrize("passphrase", ["", "secret words"])
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
@pytest.mark.parametrize(
    ("kind", "name"), [("ed25519", "ssh-ed25519"), ("rsa", "ssh-rsa"), ("ecdsa", "ecdsa-sha2-nistp256")]
)
def test_keys_of_ssh_keygen(tmp_path: Path, kind: str, name: str, form: str, passphrase: str) -> None:
    path = str(tmp_path / "id")
    argv = ["ssh-keygen", "-q", "-t", kind, "-m", form, "-N", passphrase, "-f", path]
    if kind == "rsa":
        argv += ["-b", "2048"]
    subprocess.run(argv, check=True, capture_output=True)
    blob = base64.b64decode((tmp_path / "id.pub").read_text().split()[1])
    found = read_identity(path)
    assert found is not None
    assert (found.key_type, found.encrypted, found.private, found.blob) == (
        name,
        bool(passphrase),
        True,
        blob,
    )
    assert not found.hardware


def test_a_public_file_alone_names_a_key_of_the_agent(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    (tmp_path / "id").unlink()
    for name in ("id", "id.pub"):
        found = read_identity(str(tmp_path / name))
        assert found is not None
        assert (found.private, found.key_type) == (False, "ssh-ed25519")


def test_no_file_is_no_identity(tmp_path: Path) -> None:
    assert read_identity(str(tmp_path / "absent")) is None
    (tmp_path / "other").write_text("hello world\n")
    assert read_identity(str(tmp_path / "other")) is None


@given(st.binary(max_size=300))
def test_garbage_between_the_right_lines_is_survived(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage"
    body = base64.b64encode(b"openssh-key-v1\0" + data)
    path.write_bytes(
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + body + b"\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    found = read_identity(str(path))
    assert found is not None
    assert found.private
    key_type_of(data)


def test_the_certificate_beside_a_key_is_found(tmp_path: Path) -> None:
    assert certificate_of(str(tmp_path / "id")) is None
    (tmp_path / "id-cert.pub").write_text("x")
    assert certificate_of(str(tmp_path / "id")) == str(tmp_path / "id-cert.pub")

"""known_hosts files: the same answers as ssh-keygen's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.transport import known_hosts
from jobmgr.transport.known_hosts import lookup, matches, names_of, parse

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4OQCf9mrTLO8dWe1qFKgCAZTQDdPqQ5cA3Mu9pcd7D"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGI4hRv0g4qYaQwdZlOsLPQMNyS2nyOJfp8cIRkAAAAA"


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        ("wizard", "wizard", True),
        ("Wizard", "wizard", True),
        ("wizard", "wizard2", False),
        ("a,wizard", "wizard", True),
        ("wiz*", "wizard", True),
        ("w?zard", "wizard", True),
        ("*,!wizard", "wizard", False),
        ("!wizard", "other", False),
        ("[10.0.0.1]:2222", "[10.0.0.1]:2222", True),
        ("[10.0.0.*]:2222", "[10.0.0.1]:2222", True),
        ("w.zard", "wizard", False),
        ("|1|broken", "wizard", False),
        ("|1|!!|!!", "wizard", False),
    ],
)
def test_patterns(patterns: str, name: str, fits: bool) -> None:
    assert matches(patterns, name) is fits


def test_hashed_names_are_found_as_ssh_keygen_made_them(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"wizard,10.0.0.1 {KEY}\n[wizard]:2222 {OTHER}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "wizard" not in file.read_text()
    keys = known_hosts.read([str(file), str(tmp_path / "absent")])
    assert [key.blob for key in lookup(keys, ["wizard"]).keys] == [parse(f"x {KEY}")[0].blob]
    assert [key.blob for key in lookup(keys, ["[wizard]:2222"]).keys] == [parse(f"x {OTHER}")[0].blob]
    assert lookup(keys, ["nobody"]).keys == ()


def test_markers_are_told_apart() -> None:
    keys = parse(
        f"@cert-authority *.corp {KEY}\n@revoked * {OTHER}\nw.corp {KEY} comment\n# no\n\nw.corp x\n"
    )
    found = lookup(keys, ["w.corp"])
    assert [len(found.keys), len(found.authorities), len(found.revoked)] == [1, 1, 1]
    assert found.accepts(found.keys[0].blob)
    assert not found.accepts(found.revoked[0].blob)
    assert found.revokes(found.revoked[0].blob)


def test_a_revoked_key_is_not_accepted_although_it_is_known() -> None:
    found = lookup(parse(f"w {KEY}\n@revoked w {KEY}\n"), ["w"])
    assert not found.accepts(found.keys[0].blob)


def test_names() -> None:
    assert names_of("h", 22, None) == ("h",)
    assert names_of("h", 22, "alias") == ("alias",)


@given(st.text(max_size=200))
def test_garbage_is_skipped(text: str) -> None:
    for key in parse(text):
        assert isinstance(key.blob, bytes)
        matches(key.patterns, "wizard")

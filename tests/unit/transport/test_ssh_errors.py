"""What ssh says, told apart. A new sentence of ssh is a new file in tests/data/ssh_errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobmgr import errors
from jobmgr.transport.ssh_errors import END, classify, last_words, only_openssh, passphrase_wanted
from jobmgr.transport.ssh_settings import SshSettings

CASES = sorted((Path(__file__).parents[2] / "data" / "ssh_errors").glob("*.txt"))
SETTINGS = SshSettings(
    host="wizard", hostname="login1", port=22, user="ada", host_key_alias="wizard", proxy_jump="gate"
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_sentence_of_ssh_is_recognised(case: Path) -> None:
    first, _, stderr = case.read_text(encoding="utf-8").partition("\n")
    name, _, pattern = first.removeprefix("# ").partition(": ")
    error = classify(stderr, SETTINGS)
    assert type(error).__name__ == name
    assert re.search(pattern, str(error)), str(error)
    assert "\n" not in str(error)
    assert str(error).startswith("wizard")


def test_there_are_cases() -> None:
    assert len(CASES) >= 19


def test_person_must_act_has_its_own_exit_code() -> None:
    assert classify("ada@x: Permission denied (publickey).", SETTINGS).exit_code == errors.EXIT_PERSON
    assert classify("Host key verification failed.", SETTINGS).exit_code == errors.EXIT_PERSON
    assert classify("Connection refused", SETTINGS).exit_code == errors.EXIT_NO_ANSWER


def test_long_complaints_are_cut_at_the_front() -> None:
    assert len(last_words("x" * 5000 + "\nthe point")) <= END + 4
    assert last_words("x" * 5000 + "\nthe point").endswith("the point")


def test_refusal_of_fabric_recommends_openssh() -> None:
    assert "transport: openssh" in str(only_openssh(SETTINGS, "KnownHostsCommand is set"))


def test_passphrase_message_names_the_key_and_ssh_add() -> None:
    assert "ssh-add /k" in str(passphrase_wanted(SETTINGS, ["/k"]))

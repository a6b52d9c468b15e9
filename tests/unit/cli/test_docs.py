"""docs/cli.md and the parsers say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobmgr import errors
from jobmgr.cli.context import VARIABLES
from jobmgr.cli.main import EXIT_PIPE_CLOSED, build_parser
from jobmgr.cli.verbs import VERBS
from jobmgr.core.states import State

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "cli.md").read_text()
CODE = " ".join(re.findall(r"`([^`\n]+)`", PAGE))
PARSERS = build_parser()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str) -> None:
    assert re.search(rf"(?:^### |\| |^)`{verb}\b", PAGE, re.MULTILINE)


@pytest.mark.parametrize("verb", PARSERS)
def test_every_option_is_documented(verb: str) -> None:
    options = {option for action in PARSERS[verb]._actions for option in action.option_strings}
    missing = {option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", CODE)}
    assert not missing


def test_no_option_is_documented_that_does_not_exist() -> None:
    known = {
        option
        for parser in PARSERS.values()
        for action in parser._actions
        for option in action.option_strings
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", CODE)) <= known


def test_every_exit_code_is_documented() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")} | {EXIT_PIPE_CLOSED}
    codes |= {value.exit_code for value in vars(errors).values() if hasattr(value, "exit_code")}
    table = set(map(int, re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)))
    assert table == codes


def test_every_state_and_variable_is_documented() -> None:
    for word in (*(state.value for state in State), *VARIABLES.values()):
        assert f"`{word}`" in PAGE


def test_every_json_type_is_documented() -> None:
    sources = [*(ROOT / "jobmgr" / "cli").rglob("*.py"), ROOT / "jobmgr" / "views" / "jsonlines.py"]
    text = "\n".join(path.read_text() for path in sources)
    types = set(re.findall(r"(?:\brecord|\bline|hosts\.told)\(\s*\"([a-z-]+)\"", text))
    types |= set(re.findall(r"events\.[A-Z]\w+: \"([a-z]+)\"", text))
    assert {"job", "run", "why", "changed", "error"} <= types
    missing = {kind for kind in types if not re.search(rf"^\|.*`{kind}`", PAGE, re.MULTILINE)}
    assert not missing

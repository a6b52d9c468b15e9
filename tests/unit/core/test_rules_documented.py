"""docs/architecture.md tells of every rule and every state, and of no others."""

from __future__ import annotations

import re
from pathlib import Path

from jobmgr.core.decide import RULES
from jobmgr.core.states import State

PAGE = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text of a section of the page, up to the next one of its level."""
    begin = PAGE.index(f"\n## {title}\n") + 1
    end = PAGE.find("\n## ", begin)
    return PAGE[begin:] if end < 0 else PAGE[begin:end]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([a-z-]+)` \|", text, flags=re.MULTILINE)


def test_every_rule_stands_in_the_tables_once() -> None:
    assert sorted(first_cells(section("How a verdict is reached"))) == sorted(RULES)


def test_every_state_is_explained() -> None:
    states = section("States and transitions").split("| from | to |")[0]
    assert sorted(first_cells(states)) == sorted(state.value for state in State)


def test_every_rule_has_a_sentence() -> None:
    assert all(sentence.endswith(".") and len(sentence) > 20 for sentence in RULES.values())

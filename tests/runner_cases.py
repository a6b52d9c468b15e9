"""Recorded answers of batch systems: ``tests/data/RUNNER/{submit,poll,history,kill,find}/NAME.case``.

A case is sections, each behind a line ``--- NAME``: ``ids`` (or tokens) and ``code`` on that line itself,
``out`` and ``err`` verbatim, ``expect`` in JSON: what the parser says of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
KINDS = ("submit", "poll", "history", "kill", "find")


@dataclass(frozen=True)
class Case:
    runner: str
    kind: str
    name: str
    ids: list[str]
    code: int | None
    out: str
    err: str
    expect: Any


def read(path: Path) -> Case:
    """One case file."""
    parts = re.split(r"(?m)^--- ([a-z]+) ?(.*)\n", path.read_text(encoding="utf-8"))[1:]
    inline = {parts[at]: parts[at + 1].strip() for at in range(0, len(parts), 3)}
    body = {parts[at]: parts[at + 2] for at in range(0, len(parts), 3)}
    code = inline.get("code", "0")
    return Case(
        path.parts[-3],
        path.parts[-2],
        path.stem,
        inline.get("ids", "").split(),
        None if code == "none" else int(code),
        body.get("out", ""),
        body.get("err", ""),
        json.loads(body["expect"]),
    )


def all_cases() -> list[Case]:
    """Every case of every runner."""
    return [read(path) for kind in KINDS for path in sorted(DATA.glob(f"*/{kind}/*.case"))]

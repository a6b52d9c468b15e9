"""What each parser makes of recorded answers. A new quirk of a batch system is a new file in tests/data."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from runner_cases import Case, all_cases


def _seen(answer: Any) -> dict[str, Any]:
    rows = {}
    for key, row in answer.seen.items():
        facts = {"state": row.state, "raw": row.raw}
        facts.update({name: getattr(row, name) for name in ("reason", "token", "name") if getattr(row, name)})
        rows[key] = facts
    return rows


def said(case: Case) -> Any:
    """What the runner's parser says, in the words of a case file."""
    runner = importlib.import_module(f"jobmgr_remote.runners.{case.runner}")
    if case.kind == "submit":
        outcome = runner.parse_submit(case.code, case.out, case.err)
        return {"state": outcome.state, "id": outcome.native_id}
    if case.kind == "kill":
        return runner.parse_kill(case.ids, case.code, case.out, case.err)
    if case.kind == "find":
        answer = runner.parse_find(case.ids, case.code, case.out, case.err)
        ids = {token: row.native_id for token, row in answer.seen.items()}
        return {"ids": ids, "asked": not answer.error}
    call = (runner.poll_calls if case.kind == "poll" else runner.history_calls)(case.ids)[0]
    answer = runner.parse_poll(call, case.ids, case.code, case.out, case.err)
    return {"seen": _seen(answer), "asked": not answer.error}


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: f"{case.runner}-{case.kind}-{case.name}")
def test_recorded_answer_is_understood(case: Case) -> None:
    assert said(case) == case.expect

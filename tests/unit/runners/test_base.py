"""The ways through a runner's calls, and what the runners share."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from jobmgr_remote.runners import base, slurm


def seen(key: str, state: str, raw: str = "x", reason: str = "") -> base.Seen:
    return base.Seen(key, state, raw, reason, "", "", 0)


def runner(answers: dict[str, base.Answer], history: dict[str, base.Seen], max_ids: int = 2) -> Any:
    """A runner whose answer to a portion of ids is ``answers[first id]``."""
    return SimpleNamespace(
        MAX_IDS=max_ids,
        poll_calls=lambda ids: [base.call(["poll", *ids], ids=ids)],
        history_calls=lambda ids: [base.call(["history", *ids], ids=ids)],
        parse_poll=lambda call, ids, code, out, err: (
            answers[ids[0]] if call.argv[0] == "poll" else base.Answer(history, "")
        ),
        kill_calls=lambda ids: [base.call(["kill", *ids], ids=ids)],
        parse_kill=lambda ids, code, out, err: {ids[0]: "no"},
    )


def test_ids_are_asked_in_portions_and_forgotten_ones_in_the_history() -> None:
    ran: list[list[str]] = []

    def run(call: base.Call) -> tuple[int, str, str]:
        ran.append(call.argv)
        return 0, "", ""

    answers = {
        "1": base.Answer({"1": seen("1", "active")}, ""),
        "3": base.Answer({}, "down", frozenset(["4"])),
        "5": base.Answer({"5": seen("5", "waiting")}, ""),
    }
    history = {"2": seen("2", "ended"), "4": seen("4", "active")}
    rows, errors = base.ask(runner(answers, history), ["1", "2", "3", "4", "5"], run)
    assert {key: row.state for key, row in rows.items()} == {"1": "active", "5": "waiting", "2": "ended"}
    assert errors == {"3": "down"}
    assert ran == [["poll", "1", "2"], ["poll", "3", "4"], ["poll", "5"], ["history", "2", "4"]]


def test_what_could_not_be_asked_is_not_looked_up_in_the_history() -> None:
    rows, errors = base.ask(
        runner({"1": base.Answer({}, "down")}, {"1": seen("1", "ended")}), ["1"], lambda call: (1, "", "")
    )
    assert rows == {}
    assert errors == {"1": "down"}


def test_kill_in_portions() -> None:
    assert base.kill(runner({}, {}), ["1", "2", "3"], lambda call: (0, "", "")) == {"1": "no", "3": "no"}


def test_one_cluster_that_is_down_does_not_blind_the_other() -> None:
    def run(call: base.Call) -> tuple[int, str, str]:
        if "--clusters=b" in call.argv:
            return 1, "", "squeue: error: Unable to contact slurm controller"
        return 0, "JOBID|STATE|REASON|SUBMIT_TIME|COMMENT|NAME\n1|RUNNING|None|1|(null)|x\n", ""

    rows, errors = base.ask(slurm, ["1", "2;b"], run)
    assert set(rows) == {"1"}
    assert set(errors) == {"2;b"}


@pytest.mark.parametrize(
    "states, raw, result",
    [
        (["ended", "active", "waiting"], None, "active"),
        (["ended", "waiting"], None, "active"),
        (["waiting", "waiting"], None, "waiting"),
        (["unknown", "ended"], None, "unknown"),
        (["ended", "ended"], ["COMPLETED", "FAILED"], "FAILED"),
        (["ended", "ended"], ["COMPLETED", "COMPLETED"], "COMPLETED"),
    ],
)
def test_parts_of_a_job_are_one_job(states: list[str], raw: list[str] | None, result: str) -> None:
    rows = [seen("1", state, word) for state, word in zip(states, raw or states, strict=True)]
    one = base.merged(rows)
    assert (one.raw if raw else one.state) == result


@pytest.mark.parametrize(
    "text, size",
    [
        ("4G", 4096),
        ("4GB", 4096),
        ("4 GiB", 4096),
        ("500", 500),
        ("500m", 500),
        ("1k", 1),
        ("1.5G", 1536),
        ("1T", 2**20),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert base.mebibytes(text) == size


@pytest.mark.parametrize("text", ["", "G", "four", "4X", "-1G", "1e9", "4G\n5G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="memory"):
        base.mebibytes(text)


@pytest.mark.parametrize(
    "seconds, text", [(0.2, "0:00:01"), (59, "0:00:59"), (3600, "1:00:00"), (360000.5, "100:00:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert base.hms(seconds) == text


def test_times_of_batch_systems() -> None:
    moment = int(time.mktime((2026, 11, 20, 18, 28, 40, 0, 0, -1)))
    assert base.epoch("Fri Nov 20 18:28:40 2026") == moment
    assert base.epoch("2026-11-20T18:28:40") == moment
    assert base.epoch("1795199320") == 1795199320
    for text in ("", "Unknown", "Fri Nov 31 99:99:99 2026 x", "N/A", "9" * 30):
        assert base.epoch(text) >= 0


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5", "1\n2"])
def test_number_that_is_none_names_its_key(text: str) -> None:
    if text == "0":
        assert base.count({"nodes": text}, "nodes") == 0
        return
    with pytest.raises(ValueError, match="nodes"):
        base.count({"nodes": text}, "nodes")


def test_token_in_a_longer_word_is_none() -> None:
    token = "0f0e0d0c-1111-4222-8333-444455556666"
    assert base.labelled(f"mine jobmgr:{token}") == token
    assert base.labelled(f"JOBMGR_TOKEN={token},X=1") == token
    assert base.labelled(f"jobmgr:{token}ab") == ""
    assert base.labelled(token) == ""

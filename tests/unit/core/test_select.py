"""Which jobs an ID means."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.select import Candidate, parse, select
from jobmgr.core.states import State
from jobmgr.errors import JobmgrError, NotFoundError, UsageError

POOL = [
    Candidate("1", "sim_m1", State.FAILED, (1, 2)),
    Candidate("1", "sim_m2", State.SUCCEEDED, (1,)),
    Candidate("2", "sim_m1", State.WAITING, ()),
    Candidate("1", "plot", State.RUNNING, (1,)),
]
FAMILIES = {"sim": ("sim_m1", "sim_m2"), "ALL": ("sim_m1", "sim_m2", "plot")}


def chosen(*ids: str) -> list[tuple[str, str, int | None]]:
    return [(c.cycle, c.task, submit) for c, submit in select(ids, POOL, FAMILIES)]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], [("1", "sim_m1", None), ("1", "sim_m2", None), ("2", "sim_m1", None), ("1", "plot", None)]),
        (["1/sim_m1"], [("1", "sim_m1", None)]),
        (["1/sim_m1/02"], [("1", "sim_m1", 2)]),
        (["1/sim_m1/2"], [("1", "sim_m1", 2)]),
        (["1/sim_m1/NN"], [("1", "sim_m1", None)]),
        (["sim_m1"], [("1", "sim_m1", None), ("2", "sim_m1", None)]),
        (["1/sim_*"], [("1", "sim_m1", None), ("1", "sim_m2", None)]),
        (["sim"], [("1", "sim_m1", None), ("1", "sim_m2", None), ("2", "sim_m1", None)]),
        (["1/ALL:running"], [("1", "plot", None)]),
        ([":failed"], [("1", "sim_m1", None)]),
        (["plot", "1/plot", "ALL:running"], [("1", "plot", None)]),
        (["1/sim_m[2-9]"], [("1", "sim_m2", None)]),
    ],
)
def test_an_id_means_these(ids: list[str], expected: list[tuple[str, str, int | None]]) -> None:
    assert chosen(*ids) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1/plot/xx", "no number"),
        ("a/b/c/d", "not an ID"),
        ("a b", "not an ID"),
        (":fialed", "nearest: failed"),
        (":zzzzzz", "states: waiting"),
        ("../x", "not an ID"),
    ],
)
def test_a_bad_id_is_a_usage_error_that_says_why(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plott", "nearest: plot"),
        ("3/plot", "matches nothing"),
        ("1/plot/07", "matches nothing"),
        (":killed", "no such job is killed now"),
        ("plot:failed", "no such job is failed now"),
    ],
)
def test_an_id_that_matches_nothing_says_what_is_near(text: str, says: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        chosen(text)
    assert says in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_an_id_or_a_plain_error(text: str) -> None:
    with contextlib.suppress(JobmgrError):
        parse(text)
        chosen(text)

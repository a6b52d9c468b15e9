from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.states import State
from jobmgr.views import rows
from views_records import Row

STATES = st.sampled_from(State)
ROWS = st.lists(
    st.builds(
        Row,
        id=st.integers(1, 999).map(lambda number: f"1/t{number}/01"),
        state=STATES,
        detail=st.sampled_from(["", "exit 1", "exit 2", "lost"]),
        doubt=st.sampled_from(["", "unreachable"]),
    ),
    max_size=120,
)


def test_every_state_has_a_place_in_both_orders() -> None:
    assert set(rows.ATTENTION) == set(State)
    assert set(rows.COUNTED) == set(State)


def test_counts_leave_out_what_is_not_there() -> None:
    counts = {State.FAILED: 17, State.SUCCEEDED: 421, State.RUNNING: 64, State.HELD: 0}
    assert rows.counts_text(counts) == "421 succeeded · 64 running · 17 failed"


@given(ROWS)
def test_kinds_lose_no_row(found: list[Row]) -> None:
    kinds = rows.kinds(found)
    assert sum(len(kind.shown) + kind.more for kind in kinds) == len(found)
    assert all(row.state is kind.state for kind in kinds for row in kind.shown)
    assert all(len(kind.shown) <= rows.FEW for kind in kinds) or len(found) <= 2 * rows.FEW


@given(ROWS)
def test_all_of_them_means_all_of_them(found: list[Row]) -> None:
    assert all(kind.more == 0 for kind in rows.kinds(found, all_of_them=True))


def test_the_one_job_that_failed_differently_is_shown() -> None:
    found = [Row(f"1/sim_m{n:03d}/01", State.FAILED, "exit 137") for n in range(100)]
    found[90] = Row("1/sim_m090/01", State.FAILED, "time limit")
    found[95] = Row("1/sim_m095/01", State.FAILED, "exit 137", doubt="unreachable")
    (kind,) = rows.kinds(found)
    assert {row.id for row in kind.shown} >= {"1/sim_m000/01", "1/sim_m090/01", "1/sim_m095/01"}
    assert (len(kind.shown), kind.more) == (15, 85)


def test_members_of_a_parametrised_task_share_a_line_when_there_are_many() -> None:
    states = {f"1/sim_m{n:03d}": State.RUNNING for n in range(50)} | {"1/plot": State.WAITING}
    groups, more = rows.by_task(states, room=10)
    assert groups == [("sim", {State.RUNNING: 50}), ("plot", {State.WAITING: 1})]
    assert more == 0


def test_tasks_stand_for_themselves_while_they_fit() -> None:
    groups, more = rows.by_task({"1/remote-a": State.RUNNING, "1/remote-b": State.KILLED}, room=10)
    assert [label for label, _ in groups] == ["remote-a", "remote-b"]
    assert more == 0


def test_cycles_are_named_only_if_there_are_several() -> None:
    groups, _ = rows.by_task({"1/a": State.RUNNING, "2/a": State.WAITING}, room=10)
    assert [label for label, _ in groups] == ["1/a", "2/a"]


@given(st.dictionaries(st.integers(0, 99).map(lambda n: f"1/x{n}"), STATES), st.integers(1, 20))
def test_task_lines_fit_into_their_room(states: dict[str, State], room: int) -> None:
    groups, more = rows.by_task(states, room, group=lambda task: task)
    assert len(groups) <= room
    assert len(groups) + more == len(states)


def test_family_of_a_member() -> None:
    assert rows.family_of("sim_m007") == "sim"
    assert rows.family_of("sim_m007_lr0.01") == "sim"
    assert rows.family_of("get_data") == "get_data"
    assert rows.family_of("_m1") == "_m1"

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobmgr.core import events
from jobmgr.core.states import State
from jobmgr.views import progress
from views_records import Row


def changed(job: str, new: State, **other: object) -> events.Changed:
    values = {
        "run": "suitex", "job_id": job, "old": None, "new": new, "detail": "", "native_id": "4711",
        "platform": "wizard", "host": "wizard", "time": 0.0, "doubt": "",
        "runner": "background", **other,
    }  # fmt: skip
    return events.Changed(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (changed("1/a/01", State.SUBMITTED), "1/a/01  submitted to wizard (pid 4711)"),
        (changed("1/a/01", State.SUBMITTED, native_id=""), "1/a/01  submitted to wizard"),
        (changed("1/a/01", State.SUBMITTED, native_id="7.pbs", runner="pbs"), "1/a/01  submitted to wizard (7.pbs)"),
        (changed("1/a/01", State.FAILED, detail="exit 3"), "1/a/01  failed: exit 3"),
        (changed("1/a/01", State.FAILED, detail="\x1b[2J"), "1/a/01  failed: \\x1b[2J"),
        (changed("1/a/01", State.RUNNING, run="other"), "other 1/a/01  running on wizard (pid 4711)"),
        (changed("1/a/01", State.REMOVED, detail="removed by a person"), "1/a/01  removed by a person"),
        (changed("1/a/01", State.QUEUED), ""),
        (
            changed("1/a/01", State.RUNNING, old=State.RUNNING, doubt="no answer"),
            "1/a/01 ?  running, no answer",
        ),
        (events.Contact("wizard", "first contact"), "wizard: first contact"),
        (
            events.Trouble("login1", "wants interactive authentication", person=True),
            "login1: wants interactive authentication. Not tried again until you act: jobmgr login login1",
        ),
        (events.Trouble("hpc", "hpc: timed out", person=False), "hpc: timed out"),
        (
            events.Retrieved("s", "wizard", 1, 4100, (("b.nc", "too-large"),)),
            "wizard: 1 file retrieved (4.1 kB); left out b.nc (too-large)",
        ),
        (events.Note("warning", "careful"), "warning: careful"),
        (events.Note("info", "all well"), "all well"),
        (events.Turn("s", {}), ""),
    ],
)
def test_events_in_words(event: events.Event, words: str) -> None:
    assert progress.told_by(event, "suitex") == words


def test_a_frame_holds_states_news_doubts_and_troubles() -> None:
    shown = progress.Progress("suitex")
    shown.seed([Row("1/delayer", State.WAITING), Row("1/master", State.WAITING)])
    shown.apply(changed("1/delayer/01", State.RUNNING))
    shown.apply(changed("1/master/01", State.RUNNING, old=State.RUNNING, doubt="no answer"))
    shown.apply(events.Trouble("wizard", "timed out", person=False))
    shown.apply(changed("1/x/01", State.RUNNING, run="other"))
    frame = shown.frame(10)
    assert frame.counts == {State.RUNNING: 2}
    assert frame.doubts == 1
    assert dict(frame.tasks) == {"delayer": {State.RUNNING: 1}, "master": {State.RUNNING: 1}}
    assert frame.troubles == ("wizard: timed out",)
    assert "1/delayer/01  running on wizard (pid 4711)" in frame.recent


def test_a_trouble_is_over_when_the_host_has_answered() -> None:
    shown = progress.Progress("suitex")
    shown.apply(events.Trouble("wizard", "timed out", person=False))
    shown.apply(changed("1/a/01", State.SUCCEEDED))
    assert shown.frame(10).troubles == ()


@given(st.dictionaries(st.sampled_from(State), st.integers(0, 5000)), st.integers(12, 60))
def test_a_bar_has_its_width_and_shows_every_state(counts: dict[State, int], width: int) -> None:
    pieces = progress.bar(counts, width)
    present = {state for state, number in counts.items() if number}
    assert {state for state, _ in pieces} == present
    assert sum(len(piece) for _, piece in pieces) == (width if present else 0)


def test_the_live_picture_reads_without_colour_and_escapes() -> None:
    from jobmgr.views.live import picture

    shown = progress.Progress("suitex")
    shown.seed([Row(f"1/sim_m{n:03d}", State.WAITING) for n in range(50)])
    for number in range(20):
        shown.apply(changed(f"1/sim_m{number:03d}/01", State.SUCCEEDED))
    shown.apply(changed("1/sim_m020/01", State.FAILED, detail="\x1b]0;evil\x07 [bold]exit 1"))
    out = io.StringIO()
    Console(file=out, width=90, no_color=True).print(picture(shown.frame(8), 90))
    drawn = out.getvalue()
    assert "20 succeeded · 1 failed · 29 waiting" in drawn
    assert "████" in drawn
    assert "✗" in drawn
    assert "1/sim_m020/01  failed: \\x1b]0;evil\\x07 [bold]exit 1" in drawn
    assert "\x1b" not in drawn


def test_sizes() -> None:
    assert [progress.size(n) for n in (0, 812, 4100, 12_000_000, 3 * 10**12)] == [
        "0 B", "812 B", "4.1 kB", "12 MB", "3.0 TB",
    ]  # fmt: skip


def test_what_another_process_has_done_is_caught_up_with() -> None:
    shown = progress.Progress("suitex")
    shown.seed([Row("1/a/01", State.RUNNING), Row("1/b", State.WAITING)])
    assert not shown.differs({State.RUNNING: 1, State.WAITING: 1, State.FAILED: 0})
    assert shown.differs({State.KILLED: 1, State.WAITING: 1})
    now = [Row("1/a/01", State.KILLED, "signal TERM", since=5.0), Row("1/b", State.WAITING)]
    (missed,) = shown.missed(now, 9.0)
    assert (missed.job_id, missed.old, missed.new, missed.time) == (
        "1/a/01",
        State.RUNNING,
        State.KILLED,
        5.0,
    )
    shown.apply(missed)
    assert not shown.differs({State.KILLED: 1, State.WAITING: 1})

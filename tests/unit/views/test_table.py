from __future__ import annotations

import csv as standard_csv
import io
import json
import time

from jobmgr.core import events
from jobmgr.core.states import State
from jobmgr.views import csv, jsonlines, summary, table, text, why
from views_records import Overview, Row, Why, WhyLine

NOW = time.mktime((2026, 11, 20, 12, 6, 0, 0, 0, -1))


def at(hour: int, minute: int, second: int = 0) -> float:
    return time.mktime((2026, 11, 20, hour, minute, second, 0, 0, -1))


FAILED = [
    Row(
        f"1/sim_m{n:03d}/01", State.FAILED, "exit 137, OUT_OF_MEMORY", since=at(11, 58), platform="hpc",
        native_id=f"{812345 + n}", exit_code=137,
    )
    for n in range(7, 57)
]  # fmt: skip
RUNNING = Row(
    "1/sim_m301/01",
    State.RUNNING,
    doubt="unreachable since 11:51 (timed out)",
    since=at(11, 20),
    native_id="4711",
)


def test_status_shows_title_kinds_hints_and_doubt() -> None:
    overview = Overview(counts={State.FAILED: 50, State.RUNNING: 1}, doubts=1, as_of=at(12, 4))
    lines = table.status(overview, [*FAILED, RUNNING], NOW, 100)
    assert lines[0] == (
        "sweep  1 running · 50 failed · 1 in doubt        as of 12:04, 2 min ago (--poll asks now)"
    )
    assert lines[1].split() == ["JOB", "STATE", "SINCE", "PLATFORM", "ID", "DETAIL"]
    assert lines[2] == "1/sim_m007/01    failed   11:58  hpc       812352  exit 137, OUT_OF_MEMORY"
    assert lines[17] == "… 35 more like this: jobmgr status sweep :failed"
    assert (
        lines[18] == "1/sim_m301/01 ?  running  11:20  wizard    4711    unreachable since 11:51 (timed out)"
    )


def test_a_table_is_as_wide_as_the_terminal_and_a_pipe_has_no_width() -> None:
    rows = [Row("1/a/01", State.FAILED, "x" * 300)]
    narrow = table.status(Overview(), rows, NOW, 60)
    assert all(text.width(line) <= 60 for line in narrow[1:])
    assert narrow[2].endswith("…")
    assert table.status(Overview(), rows, NOW, 0)[2].endswith("x" * 300)


def test_what_a_host_says_cannot_break_the_table() -> None:
    lines = table.status(Overview(), [Row("1/a/01", State.FAILED, "\x1b[2J\nforged line")], NOW, 100)
    assert len(lines) == 3
    assert lines[2].endswith("\\x1b[2J\\nforged line")


def test_colours_are_only_added() -> None:
    plain = table.status(Overview(), [RUNNING], NOW, 100)
    colored = table.status(Overview(), [RUNNING], NOW, 100, colored=True)
    for code in ("\x1b[36m", "\x1b[1m", "\x1b[0m"):
        assert any(code in line for line in colored)
        colored = [line.replace(code, "") for line in colored]
    assert colored[0] == plain[0]
    assert colored[2].split() == plain[2].split()


def test_runs_have_a_line_each() -> None:
    lines = table.runs(
        [
            Overview(counts={State.RUNNING: 2}, as_of=at(12, 4)),
            Overview("old", counts={State.FAILED: 1}, finished=at(9, 0)),
            Overview("still", counts={State.WAITING: 1}, held=True),
        ],
        NOW,
        100,
    )
    assert [line.split()[0] for line in lines] == ["RUN", "sweep", "old", "still"]
    assert "finished, not all well" in lines[2]
    assert "held" in lines[3]


def test_summary_counts_groups_failures_and_says_what_next() -> None:
    found = [
        Row("1/ok/01", State.SUCCEEDED, submit_time=at(11, 0), exit_time=at(11, 41)),
        *FAILED[:16],
        Row("1/sim_m499/01", State.FAILED, "time limit (60 s)"),
    ]
    overview = Overview(
        counts={State.SUCCEEDED: 484, State.FAILED: 17, State.WAITING: 1},
        finished=NOW,
        waiting=(("1/plot", "waits for 1/sim"),),
    )
    assert summary.summary(overview, found) == [
        "sweep finished in 41 min: 484 succeeded, 17 failed, 1 not run (1/plot: waits for 1/sim)",
        "failed: exit 137 × 16 (first 1/sim_m007), time limit (60 s) × 1 (1/sim_m499)",
        "next: jobmgr log sweep 1/sim_m007 err  ·  jobmgr retry sweep",
    ]


def test_summary_of_a_good_run_is_one_line() -> None:
    overview = Overview("hello", {State.SUCCEEDED: 1}, finished=NOW)
    row = Row("1/hello/01", State.SUCCEEDED, submit_time=NOW - 3, exit_time=NOW)
    assert summary.summary(overview, [row]) == ["hello finished in 3 s: 1 succeeded"]


def test_a_submit_that_failed_has_no_log_to_look_at() -> None:
    overview = Overview(counts={State.SUBMIT_FAILED: 1}, finished=NOW)
    lines = summary.summary(overview, [Row("1/a/01", State.SUBMIT_FAILED, "no such queue")])
    assert lines[-1] == "next: jobmgr why sweep 1/a  ·  jobmgr retry sweep"


def test_why_aligns_evidence_and_ends_with_the_rule() -> None:
    explained = Why(
        RUNNING,
        (
            WhyLine(at(11, 20, 3), "job.status", "started, pid 4711"),
            WhyLine(at(11, 51, 10), "poll", "wizard did not answer\x1b[0m"),
        ),
        "no answer changes nothing",
        "next try 12:06. To look: ssh wizard",
    )
    assert why.explain(explained, NOW) == [
        "1/sim_m301/01: running, in doubt",
        "11:20:03  job.status  started, pid 4711",
        "11:51:10  poll        wizard did not answer\\x1b[0m",
        "rule: no answer changes nothing",
        "next: next try 12:06. To look: ssh wizard",
    ]


def test_json_lines_carry_schema_type_and_utc_times() -> None:
    value = json.loads(jsonlines.job("sweep", RUNNING))
    assert (value["schema"], value["type"], value["run"]) == (1, "job", "sweep")
    assert value["state"] == "running"
    assert value["since"].endswith("Z")
    run = json.loads(jsonlines.overview(Overview(counts={State.FAILED: 2}, waiting=(("1/a", "waits"),))))
    assert run["counts"] == {"failed": 2}
    assert run["waiting"] == [{"job": "1/a", "why": "waits"}]


def test_every_event_is_one_json_line() -> None:
    happened: list[events.Event] = [
        events.Contact("wizard", "first contact"),
        events.Changed("s", "1/a/01", None, State.RUNNING, "", "1", "p", "h", NOW, ""),
        events.Trouble("wizard", "timed out\n", person=False),
        events.Installed("s", "wizard", 3),
        events.Retrieved("s", "wizard", 2, 10, (("big.nc", "too-large"),)),
        events.Note("warning", "careful"),
        events.Turn("s", {State.RUNNING: 1}),
    ]
    lines = [jsonlines.event(one) for one in happened]
    assert all("\n" not in line for line in lines)
    types = [json.loads(line)["type"] for line in lines]
    assert types == ["contact", "changed", "trouble", "installed", "retrieved", "note", "turn"]
    assert json.loads(lines[4])["left_out"] == [{"path": "big.nc", "why": "too-large"}]
    assert json.loads(lines[6])["counts"] == {"running": 1}


def test_csv_can_be_read_back() -> None:
    found = list(standard_csv.DictReader(io.StringIO(csv.table([*FAILED, RUNNING]))))
    assert len(found) == 51
    assert found[0]["job"] == "1/sim_m007/01"
    assert found[0]["detail"] == "exit 137, OUT_OF_MEMORY"
    assert found[0]["exit_code"] == "137"

"""The benchmarks' harness, once around with the smallest numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report, targets
from benchmarks.meter import Row
from needs import need

ROOT = Path(__file__).resolve().parents[2]
COUNTED = {"connections": 1, "calls": 5, "command_mb": 50.0, "host_mb": 15.0}


def _row(scenario: str, contestant: str, number: int, seconds: float, **more: float) -> Row:
    return Row(scenario, contestant, number, seconds, [seconds], seconds, {**COUNTED, **more})


@pytest.mark.parametrize(
    ("row", "floor", "reached"),
    [
        (_row("S1", "openssh, warm", 1000, 1.64), _row("S1", "floor, warm", 1000, 1.0), True),
        (_row("S1", "openssh, warm", 1000, 1.66), _row("S1", "floor, warm", 1000, 1.0), False),
        (_row("S2", "openssh, warm", 1000, 0.24), _row("S2", "floor, warm", 1000, 0.05), True),
        (_row("S2", "fabric", 1000, 0.59), _row("S2", "floor, cold", 1000, 0.2), True),
        (_row("S2", "openssh, cold", 1000, 0.46), _row("S2", "floor, cold", 1000, 0.2), False),
        (_row("S4", "openssh, cold, asks first", 1000, 1.0), _row("S4", "rsync, cold", 1000, 0.6), True),
        (_row("S6", "openssh, warm, one dead", 50, 1.3), _row("S6", "openssh, warm", 50, 1.0), False),
        (_row("S5", "status", 10000, 0.31), _row("S5", "status", 1000, 0.2), False),
    ],
)
def test_a_target_is_a_ratio_to_what_stands_beside_it_and_the_start(
    row: Row, floor: Row, reached: bool
) -> None:
    judged = targets.verdict(row, [floor, row])
    assert judged is not None
    assert judged.reached is reached, judged.text


def test_round_trips_are_told_by_what_a_longer_link_costs() -> None:
    rows = [
        *(_row("S8", "bare ssh, warm", number, 0.01 + 3 * number / 1000) for number in (100, 300)),
        *(_row("S8", "openssh, warm", number, 0.20 + 3 * number / 1000) for number in (100, 300)),
        *(_row("S8", "openssh, cold", number, 0.20 + 9 * number / 1000) for number in (100, 300)),
        *(_row("S8", "bare ssh, cold", number, 0.10 + 7 * number / 1000) for number in (100, 300)),
    ]
    judged = [targets.verdict(row, rows) for row in rows if row.number == 300]
    assert [one.reached for one in judged if one is not None] == [True, False]


def test_growth_calls_and_memory_are_told_of_jobmgr_alone() -> None:
    rows = [
        _row("S1", "floor, warm", 1000, 1.0),
        _row("S1", "floor, warm", 10000, 99.0, calls=9, command_mb=900.0),
        _row("S1", "openssh, warm", 100, 1.0),
        _row("S1", "openssh, warm", 1000, 5.0, calls=6, host_mb=61.0),
        _row("S1", "openssh, warm", 10000, 60.0),
    ]
    assert [one.reached for _, one in targets.growth(rows)] == [True, False]
    assert [one.reached for _, one in targets.calls(rows)] == [False]
    assert [one.reached for _, one in targets.memory(rows)] == [True, False]
    said = report.text(rows)
    assert "5.000 5.0x NO" in said
    assert "12.0 times the time, command 50 to 50 MB, host 61 to 15 MB" in said


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_harness_goes_round_and_leaves_nothing(tmp_path: Path) -> None:
    need(shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"), "sshd is not installed")
    before = set(Path("/tmp").glob("jm-bench-*"))
    words = [
        "--quick",
        "--sizes",
        "1",
        "--repeats",
        "1",
        "--hosts",
        "2",
        "--kinds",
        "openssh, warm",
        "--most-parallel",
        "0",
        "--jobmgr",
        str(Path(sys.executable).with_name("jobmgr")),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--scenarios", "S1,S2,S4,S5,S6,S8", "--no-picture"]
        + ["--out", str(tmp_path), "--name", "smoke"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/remote"},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "smoke.json").read_text())["rows"]
    measured = {row["scenario"] for row in rows if row["all_seconds"]}
    assert measured == {"S1", "S2", "S3", "S4", "S5", "S6", "S8"}, done.stderr
    submit = next(row for row in rows if (row["scenario"], row["contestant"]) == ("S1", "openssh, warm"))
    assert submit["processor"] > 0
    assert {"connections", "calls", "command_mb", "host_mb"} <= set(submit["more"])
    assert "S8 openssh, warm" in (tmp_path / "smoke.txt").read_text().partition("Targets.")[2]
    assert set(Path("/tmp").glob("jm-bench-*")) <= before

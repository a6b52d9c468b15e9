"""The results as a table, as JSON, and (with matplotlib, from a virtual environment of its own) as a picture."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import targets
from benchmarks.meter import Row
from benchmarks.stage import ROOT
from benchmarks.subject import version

RESULTS = Path(__file__).with_name("results")
PLOT_ENVIRONMENT = ROOT / ".build/bench/plot"
REACHED, MISSED = "ok", "NO"
NAMES = {
    "S1": "S1 submit and complete",
    "S2": "S2 poll running jobs",
    "S3": "S3 kill until gone",
    "S4": "S4 retrieve logs of 4 KB",
    "S5": "S5 status",
    "S6": "S6 tick, 20 jobs per host",
    "S7": "S7 a diamond",
    "S8": "S8 poll over a long link",
}


def facts() -> dict[str, Any]:
    """The machine and the versions."""
    return {
        "jobmgr": version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "ssh": subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.strip(),
    }


def text(rows: Sequence[Row]) -> str:
    """All there is to tell: times with ratios and verdicts, processor seconds, targets, calls, growth."""
    return "\n".join(
        [
            "Seconds from the start of the command line to its end (medians), ratio to the floor beside it, and",
            f"whether the target of this size is reached ({REACHED}, {MISSED}).",
            "",
            *_table(rows, lambda row: _time_cell(row, rows)),
            "Processor seconds of all processes, on both sides, jobs included (medians).",
            "",
            *_table(rows, lambda row: f"{row.processor:.2f}"),
            *_verdicts("Targets.", _on_targets(rows)),
            *_verdicts("Connections/remote calls, which must not grow with N.", targets.calls(rows)),
            *_verdicts(
                "Growth with ten times as many jobs, which must be linear at most.", targets.growth(rows)
            ),
        ]
    )


def _table(rows: Sequence[Row], cell: Callable[[Row], str]) -> list[str]:
    """One line per contestant and scenario, N from left to right."""
    lines = []
    for scenario in dict.fromkeys(row.scenario for row in rows):
        mine = [row for row in rows if row.scenario == scenario]
        sizes = sorted({row.number for row in mine})
        heads = [_column(scenario, size) for size in sizes]
        lines.append(f"{NAMES[scenario]:<30}" + "".join(f"{head:>19}" for head in heads))
        for contestant in dict.fromkeys(row.contestant for row in mine):
            found = [targets.find(mine, scenario, contestant, size) for size in sizes]
            cells = [f"{cell(row):>19}" if row is not None else " " * 19 for row in found]
            lines.append((f"  {contestant:<28}" + "".join(cells)).rstrip())
        lines.append("")
    return lines


def _column(scenario: str, number: int) -> str:
    """What the numbers of a scenario count."""
    return {"S8": f"{number} ms", "S6": f"{number} hosts"}.get(scenario, f"N={number:,}")


def _time_cell(row: Row, rows: Sequence[Row]) -> str:
    times, judged = targets.ratio(row, rows), targets.verdict(row, rows)
    words = [f"{row.seconds:.3f}"]
    words += [f"{times:.1f}x"] if times is not None else []
    words += [_word(judged)] if judged is not None else []
    return " ".join(words)


def _word(judged: targets.Verdict) -> str:
    return REACHED if judged.reached else MISSED


def _on_targets(rows: Sequence[Row]) -> list[tuple[str, targets.Verdict]]:
    told = []
    for row in rows:
        judged = targets.verdict(row, rows)
        if judged is not None:
            name = f"{row.scenario} {row.contestant}"
            told.append(
                (name if row.scenario == "S8" else f"{name}, {_column(row.scenario, row.number)}", judged)
            )
    return told + targets.memory(rows)


def _verdicts(title: str, told: Iterable[tuple[str, targets.Verdict]]) -> list[str]:
    lines = [f"  {_word(judged):<4}{name:<40} {judged.text}" for name, judged in told]
    return [title, "", *lines, ""] if lines else []


def write(rows: Sequence[Row], folder: Path, name: str) -> Path:
    """JSON and table; the path of the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    value = {"facts": facts(), "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(value, indent=1) + "\n")
    (folder / f"{name}.txt").write_text(text(rows))
    return path


def draw(path: Path) -> Path | None:
    """The picture beside the JSON; None if there can be none here."""
    python = PLOT_ENVIRONMENT / "bin/python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(PLOT_ENVIRONMENT)], check=True)
        # An earlier attempt may have come no further than that.
        if subprocess.run([str(python), "-c", "import matplotlib"], stderr=subprocess.DEVNULL).returncode:
            subprocess.run([str(python), "-m", "pip", "install", "-q", "matplotlib"], check=True, timeout=600)
        subprocess.run([str(python), str(Path(__file__).with_name("plot.py")), str(path)], check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no picture: {error}", file=sys.stderr)
        return None
    return path.with_suffix(".svg")

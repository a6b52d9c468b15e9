"""The results as a table, as JSON, and (with matplotlib, from a virtual environment of its own) as a picture."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scenarios import FLOOR_COLD, FLOOR_WARM, Row
from benchmarks.stage import ROOT
from benchmarks.subject import version

RESULTS = Path(__file__).with_name("results")
PLOT_ENVIRONMENT = ROOT / ".build/bench/plot"
BESIDE = {
    "openssh, warm": (FLOOR_WARM, "rsync, warm"),
    "openssh, cold": (FLOOR_COLD, "rsync, cold"),
    "fabric": (FLOOR_COLD, "rsync, warm"),
    "local": (FLOOR_WARM,),
    "status": (),
}
"""What each contestant is divided by."""


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


def ratio(row: Row, rows: Iterable[Row]) -> float | None:
    """How many times as long as what it is measured by, in the same run."""
    beside = (*BESIDE.get(row.contestant, ()), f"bare ssh python3 -S, warm (for {row.contestant})",
              f"bare ssh python3 -S, cold (for {row.contestant})")  # fmt: skip
    for other in rows:
        same = (other.scenario, other.number) == (row.scenario, row.number)
        if same and other.contestant in beside and other.seconds:
            return row.seconds / other.seconds
    return None


def table(rows: Sequence[Row]) -> str:
    """Lines of text, one per contestant and scenario, N from left to right; the ratio to the floor behind."""
    lines = []
    for scenario in dict.fromkeys(row.scenario for row in rows if row.all_seconds):
        mine = [row for row in rows if row.scenario == scenario and row.all_seconds]
        sizes = sorted({row.number for row in mine})
        lines.append(f"{scenario:<34}" + "".join(f"{_column(scenario, size):>18}" for size in sizes))
        for contestant in dict.fromkeys(row.contestant for row in mine):
            cells = []
            for size in sizes:
                found = [r for r in mine if (r.contestant, r.number) == (contestant, size)]
                cells.append(f"{_cell(found[0], mine):>18}" if found else " " * 18)
            lines.append(f"  {contestant:<32}" + "".join(cells))
        lines.append("")
    lines += [
        f"peak memory of the {row.contestant}, N={row.number}: {row.more['peak_mb']:.0f} MB"
        for row in rows
        if row.scenario == "memory"
    ]
    return "\n".join(lines) + "\n"


def _cell(row: Row, rows: Sequence[Row]) -> str:
    times = ratio(row, rows)
    return f"{row.seconds:.3f}" + (f" ({times:.1f}x)" if times is not None else "")


def write(rows: Sequence[Row], folder: Path, name: str) -> Path:
    """JSON and table; the path of the JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    value = {"facts": facts(), "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(value, indent=1) + "\n")
    (folder / f"{name}.txt").write_text(table(rows))
    return path


def draw(path: Path) -> Path | None:
    """The picture beside the JSON; None if there can be none here."""
    python = PLOT_ENVIRONMENT / "bin/python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(PLOT_ENVIRONMENT)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", "matplotlib"], check=True, timeout=600)
        subprocess.run([str(python), str(Path(__file__).with_name("plot.py")), str(path)], check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no picture: {error}", file=sys.stderr)
        return None
    return path.with_suffix(".svg")


def _column(scenario: str, number: int) -> str:
    """What the numbers of a scenario count."""
    return f"{number} ms" if scenario == "S8" else f"N={number}"

"""The picture of one result file, log-log, time against N. Runs in the benchmarks' own environment: matplotlib."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

TITLES = {
    "S1": "S1 submit and complete",
    "S2": "S2 poll",
    "S3": "S3 kill",
    "S4": "S4 retrieve",
    "S5": "S5 status",
    "S6": "S6 tick, 20 jobs per host",
    "S7": "S7 diamond",
}


def main(path: Path) -> None:
    rows = [row for row in json.loads(path.read_text())["rows"] if row["all_seconds"]]
    shown = [name for name in TITLES if any(row["scenario"] == name for row in rows)]
    matplotlib.rcParams["svg.hashsalt"] = "jobmgr"
    columns = 3
    lines = -(-len(shown) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(5.5 * columns, 4.2 * lines), squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, shown, strict=False):
        mine = [row for row in rows if row["scenario"] == name]
        for contestant in dict.fromkeys(row["contestant"] for row in mine):
            points = sorted(
                (row["number"], row["seconds"]) for row in mine if row["contestant"] == contestant
            )
            bare = contestant.startswith(("floor", "rsync", "bare"))
            axis.plot(
                *zip(*points, strict=True), marker="o", linestyle="--" if bare else "-", label=contestant
            )
        axis.set(
            xscale="log",
            yscale="log",
            title=TITLES[name],
            xlabel="hosts" if name == "S6" else "N",
            ylabel="seconds",
        )
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


main(Path(sys.argv[1]))

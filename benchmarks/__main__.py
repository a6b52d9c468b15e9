"""``python -m benchmarks``: run the scenarios, print the table, write benchmarks/results/."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import installed, report
from benchmarks.processor import below_an_init
from benchmarks.rivals import DEFAULT_CYLC, cylc_program
from benchmarks.scenarios import Bench, Plan
from benchmarks.stage import Stage, measure
from benchmarks.subject import KINDS

ALL = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8")
FULL = (1, 10, 100, 1000, 10000)
QUICK = (1, 10, 100)
EPILOG = """\
Others are measured as far as it takes minutes and not hours, since they grow by a fixed time per job that is
known by then. The limits keep a full run to about an hour on two processors.
S2 and S3 stop at 1,000 since all their jobs run at once: 10,000 would be more than 20,000 processes on one
machine, where 32,768 is the usual limit. --most-running 10000 measures them where there is room.
"""


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="N up to 100, three rounds, no Cylc")
    made.add_argument("--scenarios", default=",".join(ALL), help="such as S1,S5")
    made.add_argument("--sizes", type=numbers, help="such as 1,100")
    made.add_argument("--hosts", type=numbers, help="for S6; default 1,10,50")
    made.add_argument("--repeats", type=int, help="rounds; the medians count")
    made.add_argument("--kinds", default="", help="parts of the names of jobmgr's ways to reach a host, by ;")
    made.add_argument("--most-running", type=int, default=1000, help="S2, S3: jobs that run at once at most")
    made.add_argument(
        "--most-parallel", type=int, default=1000, help="jobs of GNU parallel over a master (14 ms each)"
    )
    made.add_argument(
        "--most-parallel-cold", type=int, default=100, help="and with a login for each (60 ms each)"
    )
    made.add_argument("--most-cylc", type=int, default=1000, help="jobs of Cylc's host commands (7 ms each)")
    made.add_argument(
        "--most-cylc-play", type=int, default=100, help="tasks of a cylc play (0.4 s each)"
    )
    made.add_argument(
        "--cylc", type=Path, default=DEFAULT_CYLC, help="Cylc's virtual environment; made if missing"
    )
    made.add_argument(
        "--out", type=Path, default=report.RESULTS, help="the folder of JSON, table and picture"
    )
    made.add_argument("--name", default="", help="of these files; default: full or quick")
    made.add_argument("--no-picture", action="store_true")
    made.add_argument(
        "--jobmgr", type=Path, help="the program to measure; default: this checkout, installed for the purpose"
    )
    return made


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    words = [word for word in args.kinds.split(";") if word]
    plan = Plan(
        args.sizes or (QUICK if args.quick else FULL),
        args.repeats or (3 if args.quick else 5),
        args.hosts or ((1, 5) if args.quick else (1, 10, 50)),
        args.most_running,
        args.most_parallel,
        args.most_parallel_cold,
        args.most_cylc,
        args.most_cylc_play,
        frozenset(args.scenarios.upper().split(",")),
        tuple(kind for kind in KINDS if not words or any(word in kind.label for word in words)),
    )
    wants_cylc = not args.quick and bool(plan.scenarios & {"S1", "S2", "S3", "S7"})
    wants_cylc = wants_cylc and max(args.most_cylc, args.most_cylc_play) > 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    measure(args.jobmgr or installed.program())
    with Stage() as stage:
        bench = Bench(stage, plan, cylc_program(args.cylc) if wants_cylc else None)
        try:
            bench.run()
        finally:
            path = report.write(bench.meter.rows, args.out, args.name or ("quick" if args.quick else "full"))
    print(report.text(bench.meter.rows))
    if not args.no_picture:
        report.draw(path)
    return 0


if __name__ == "__main__":
    sys.exit(below_an_init(main))

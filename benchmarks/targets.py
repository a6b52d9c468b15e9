"""What is to be reached, and whether it is: a ratio to the floor beside it, plus the start of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.meter import Row
from benchmarks.subject import KINDS

START, START_FABRIC = 0.15, 0.3
"""Seconds that the command line itself may take: without an SSH library, and with fabric."""
RATIOS = {
    "S1": {"warm": 1.5, "cold": 1.5},
    "S2": {"warm": 2.0, "cold": 1.5},
    "S3": {"warm": 2.0, "cold": 1.5},
    "S4": {"warm": 1.5, "cold": 1.5},
    "S6": {"warm": 1.5, "cold": 1.5},
}
BARE = {"S4": "rsync", "S6": "bare ssh"}
"""What stands beside jobmgr; elsewhere the floor."""
SIZES = {"S1": (1000, 10000), "S2": (1000,), "S3": (1000,), "S4": (1000,), "S6": (50,)}
"""The sizes that the targets are about; at others the ratio is told, and no verdict."""
STATUS_SIZE, STATUS_SECONDS = 10000, 0.3
SAME, SAME_SECONDS = 1.1, 0.15
"""What a dead host may cost the others: as much as two measurements of the same differ by."""
LINEAR = 11.0
"""Ten times as many jobs may cost this many times as much: a tenth is what two measurements differ by."""
GROWTH_FROM = 100
COUNTED = ("connections", "calls")
VERBS = {"S7": 6}
"""A diamond is three submits, each told of by a long poll."""
MEMORY = {"command_mb": 150.0, "host_mb": 60.0}
"""MB at the largest size: the controller's command, and any process of the host side."""
MEMORY_SIZE = 10000
ROUNDING = 0.5
"""Round trips are counted by the slope between two of them; half of one is what measurements differ by."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``text`` has the arithmetic."""

    reached: bool
    text: str


def label_beside(row: Row) -> str:
    """The contestant that a row of jobmgr is divided by; "" for one of another's."""
    for kind in KINDS:
        if row.contestant == kind.label or row.contestant.startswith(f"{kind.label}, "):
            return f"{BARE.get(row.scenario, 'floor')}, {kind.beside}"
    return ""


def find(rows: Iterable[Row], scenario: str, contestant: str, number: int) -> Row | None:
    for row in rows:
        if (row.scenario, row.contestant, row.number) == (scenario, contestant, number):
            return row
    return None


def ratio(row: Row, rows: Iterable[Row]) -> float | None:
    """How many times as long as what stands beside it in the same run."""
    beside = find(rows, row.scenario, label_beside(row), row.number)
    return row.seconds / beside.seconds if beside is not None and beside.seconds else None


def verdict(row: Row, rows: Sequence[Row]) -> Verdict | None:
    """On one row; None where no target is set."""
    if row.scenario == "S5" and row.number == STATUS_SIZE:
        return Verdict(row.seconds <= STATUS_SECONDS, f"{row.seconds:.2f} s, at most {STATUS_SECONDS}")
    if row.scenario == "S8":
        return _round_trips(row, rows)
    if row.number not in SIZES.get(row.scenario, ()) or row.contestant.startswith("local"):
        return None
    if row.contestant.endswith(", one dead"):
        return _beside_dead(row, rows)
    floor = find(rows, row.scenario, label_beside(row), row.number)
    if floor is None:
        return None
    times = RATIOS[row.scenario][floor.contestant.rpartition(", ")[2]]
    start = START_FABRIC if row.contestant.startswith("fabric") else START
    limit = times * floor.seconds + start
    text = f"{row.seconds:.2f} s, at most {times} x {floor.seconds:.2f} + {start} = {limit:.2f} s"
    return Verdict(row.seconds <= limit, text)


def _beside_dead(row: Row, rows: Sequence[Row]) -> Verdict | None:
    alive = find(rows, row.scenario, row.contestant.removesuffix(", one dead"), row.number)
    if alive is None:
        return None
    limit = SAME * alive.seconds + SAME_SECONDS
    text = f"the others have answered after {row.seconds:.2f} s, at most {limit:.2f} s"
    return Verdict(row.seconds <= limit, text)


def round_trips(contestant: str, rows: Iterable[Row]) -> float | None:
    """How many round trips of the link a contestant takes, by what a longer one costs it."""
    times = sorted(
        (row.number, row.seconds) for row in rows if (row.scenario, row.contestant) == ("S8", contestant)
    )
    if len(times) < 2:
        return None
    (short, quick), (long, slow) = times[0], times[-1]
    return (slow - quick) / ((long - short) / 1000)


def _round_trips(row: Row, rows: Sequence[Row]) -> Verdict | None:
    """Told once, with the longest link."""
    if row.number != max(other.number for other in rows if other.scenario == "S8") or not label_beside(row):
        return None
    beside = (
        "bare paramiko"
        if row.contestant == "fabric"
        else f"bare ssh, {label_beside(row).rpartition(', ')[2]}"
    )
    mine, theirs = round_trips(row.contestant, rows), round_trips(beside, rows)
    if mine is None or theirs is None:
        return None
    text = f"{mine:.1f} round trips, {beside}: {theirs:.1f}"
    return Verdict(mine <= theirs + ROUNDING, text)


def growth(rows: Sequence[Row]) -> list[tuple[str, Verdict]]:
    """What ten times as many jobs cost jobmgr, from a hundred on: time, and memory of both sides."""
    told = []
    for row in rows:
        after = find(rows, row.scenario, row.contestant, row.number * 10)
        ours = label_beside(row) or row.contestant == "status"
        if (
            after is None
            or not ours
            or row.scenario in ("S6", "S8")
            or row.number < GROWTH_FROM
            or not row.seconds
        ):
            continue
        times = after.seconds / row.seconds
        name = f"{row.scenario} {row.contestant}, {row.number:,} to {after.number:,}"
        told.append(
            (name, Verdict(times <= LINEAR, f"{times:.1f} times the time{_memory_growth(row, after)}"))
        )
    return told


def _memory_growth(row: Row, after: Row) -> str:
    words = [
        f"{side} {row.more[key]:.0f} to {after.more[key]:.0f} MB"
        for key, side in (("command_mb", "command"), ("host_mb", "host"))
        if key in row.more and key in after.more
    ]
    return "".join(f", {word}" for word in words)


def memory(rows: Sequence[Row]) -> list[tuple[str, Verdict]]:
    """The largest of all commands of jobmgr and of all host sides, over all scenarios."""
    told = []
    for key, name in (("command_mb", "controller"), ("host_mb", "host side")):
        ours = [
            row for row in rows if label_beside(row) and row.scenario not in ("S6", "S8") and key in row.more
        ]
        if ours:
            most = max(ours, key=lambda row: row.more[key])
            text = f"{most.more[key]:.0f} MB ({most.scenario} {most.contestant}, N={most.number:,}), at most"
            told.append(
                (f"memory, {name}", Verdict(most.more[key] <= MEMORY[key], f"{text} {MEMORY[key]:.0f}"))
            )
    return told


def calls(rows: Sequence[Row]) -> list[tuple[str, Verdict]]:
    """Connections and remote calls of each verb for each number of jobs: they must not grow with it.

    Of a graph: at most one call per verb, though verbs that follow each other closely share one.
    """
    told = []
    for scenario, contestant in dict.fromkeys((row.scenario, row.contestant) for row in rows):
        mine = [row for row in rows if (row.scenario, row.contestant) == (scenario, contestant)]
        if not label_beside(mine[0]) or scenario in ("S6", "S8") or contestant.startswith("local"):
            continue
        few = [row for row in mine if row.number <= GROWTH_FROM] or mine[:1]
        most = {key: max(one.more[key] for one in few) for key in COUNTED}
        most["calls"] = max(most["calls"], VERBS.get(scenario, 0))
        grows = any(row.more[key] > most[key] for row in mine for key in COUNTED)
        text = ", ".join(
            f"N={row.number:,}: " + "/".join(f"{row.more[key]:.0f}" for key in COUNTED) for row in mine
        )
        told.append((f"{scenario} {contestant}", Verdict(not grows, text)))
    return told

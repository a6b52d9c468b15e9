"""Rounds in which every contestant has its turn, and what a turn costs: time, processor, calls, memory."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from benchmarks.processor import spent
from benchmarks.stage import CommandFailed, Stage, Timed

SETTLE = 0.1
"""Seconds after a command in which what it has set to work comes to its end, before processor time is read."""
GIVEN_UP_AFTER = 2
"""Failures of a contestant at one size, after which it is left out there."""


@dataclass(slots=True)
class Row:
    """One measured point: medians, and ``more`` of what was counted: connections, calls, MB of memory."""

    scenario: str
    contestant: str
    number: int
    seconds: float = 0.0
    all_seconds: list[float] = field(default_factory=list)
    processor: float = 0.0
    """Processor seconds of all processes, on both sides."""
    more: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn. ``processor``: seconds of all processes; ``memory``: bytes of the command; ``host``: bytes of
    the host side, None if nobody looked.
    """

    seconds: float
    processor: float
    memory: int
    connections: int
    calls: int
    host: int | None = None


Act = Callable[[], Timed]
Take = Callable[[str, Act], None]
"""Measure an act for a scenario."""
Turn = Callable[[Take], None]
"""What a contestant does in each round: it prepares, and has one or more acts measured."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """``watched``: one more turn, with an eye on the memory of the host side."""

    turn: Turn
    watched: bool = False


class Meter:
    """Takes samples on a stage and keeps the rows."""

    def __init__(self, stage: Stage, repeats: int) -> None:
        self.stage = stage
        self.repeats = repeats
        self.rows: list[Row] = []

    def rounds(self, number: int, contestants: Mapping[str, Contestant]) -> None:
        """Every contestant once per round, each round beginning with another one; medians over the rounds."""
        samples: dict[tuple[str, str], list[Sample]] = {}
        failures = dict.fromkeys(contestants, 0)

        def turn(label: str, watch: bool = False) -> None:
            def take(scenario: str, act: Act) -> None:
                samples.setdefault((scenario, label), []).append(self.sample(act, watch))

            if failures[label] < GIVEN_UP_AFTER:
                try:
                    contestants[label].turn(take)
                except CommandFailed as failed:
                    failures[label] += 1
                    print(f"N={number} {label}: {failed}", file=sys.stderr, flush=True)
                self.stage.clear()

        labels = list(contestants)
        for index in range(self.repeats):
            for label in labels[index % len(labels) :] + labels[: index % len(labels)]:
                turn(label)
        for label in labels:
            if contestants[label].watched:
                turn(label, watch=True)
        for (scenario, label), taken in sorted(samples.items(), key=lambda item: item[0][0]):
            self.put(scenario, label, number, taken)

    def sample(self, act: Act, watch: bool = False) -> Sample:
        """One act. With ``watch`` its time is none that counts: looking at processes costs some."""
        with contextlib.ExitStack() as stack:
            seen = stack.enter_context(self.stage.watching_memory()) if watch else None
            before = spent()
            counted = stack.enter_context(self.stage.counting())
            timed = act()
            time.sleep(SETTLE)
        processor = spent() - before
        host = seen["peak"] if seen is not None else None
        return Sample(timed.seconds, processor, timed.peak, counted["connections"], counted["calls"], host)

    def put(self, scenario: str, label: str, number: int, samples: list[Sample]) -> Row | None:
        """The row of these samples; those in which memory was watched count for that alone."""
        clocked = [sample for sample in samples if sample.host is None]
        if not clocked:
            return None
        row = Row(scenario, label, number)
        row.all_seconds = [round(sample.seconds, 4) for sample in clocked]
        row.seconds = statistics.median(row.all_seconds)
        row.processor = round(statistics.median(sample.processor for sample in clocked), 4)
        row.more = {
            "connections": max(sample.connections for sample in clocked),
            "calls": max(sample.calls for sample in clocked),
            "command_mb": round(max(sample.memory for sample in samples) / 1e6, 1),
        }
        looked = [sample.host for sample in samples if sample.host]
        if looked:
            row.more["host_mb"] = round(max(looked) / 1e6, 1)
        self.rows.append(row)
        told = (
            f"{scenario}  N={number:<6} {label:<28} {row.seconds:9.3f} s  {row.processor:8.3f} s of processor"
        )
        print(told, flush=True)
        return row


def one(scenario: str, act: Act) -> Turn:
    """The turn of a contestant that has nothing to prepare."""
    return partial(_one, scenario, act)


def _one(scenario: str, act: Act, take: Take) -> None:
    take(scenario, act)

"""Every way in which a submit is cut, one family each; ``python -m chaos.injections`` is ``make chaos``.

A family is swept: its fault strikes at the first step, then at the second, and so on until a scenario comes
to its end before its fault does. After each the run is left to plain ticks, and then held to be right. A sweep
of a sample strides through the steps by the dice. When all families are through and more injections are
wanted, several faults of different families meet in one scenario.
"""

from __future__ import annotations

import argparse
import errno
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import pytest

from chaos.batch import SYSTEMS, system
from chaos.world import STRIDE, Fault, World, steps, submitted, world
from jobmgr import Session
from jobmgr.api.run import Run
from jobmgr_remote import wire

Dice = random.Random


@dataclass(frozen=True)
class Family:
    """Faults of one kind. ``fault(at, dice)``: the one at step ``at``, counted from 1.

    ``then``: what happens after the faulty submit, before the ticks. ``lossy``: a job may be lost (may have
    run). ``tries``: the last step to try; 0: until the fault does not come about any more. ``own``: it strikes
    what only this harness' own host has, or has in a folder: slots, boots, wrappers that no queue looks after.
    ``task``: more keys of the suite's tasks.
    """

    name: str
    fault: Callable[[int, Dice], Fault]
    then: Callable[[World, Run, Dice], None] = lambda _world, _run, _dice: None
    lossy: bool = False
    tries: int = 0
    own: bool = False
    task: dict[str, Any] = field(default_factory=dict)


@dataclass
class Tally:
    """How often a family's fault was injected, and what came of it."""

    injections: int = 0
    failures: list[str] = field(default_factory=list)


def reboot(world: World, _run: Run, _dice: Dice) -> None:
    world.host.reboot()


def go_on_later(world: World, run: Run, dice: Dice) -> None:
    """What was stopped in the middle stays so for some ticks, and then goes on."""
    for _ in range(dice.randrange(4)):
        world.offset += STRIDE
        run.tick()
    world.host.resume()


def die_stopped(world: World, run: Run, dice: Dice) -> None:
    """The same, but it is killed at last."""
    world.offset += STRIDE
    run.tick()
    world.host.ask("!kill")


def part(at: int, limit: int) -> int:
    return at - 1 if at <= limit else -1


BACKGROUND = "background"
SEVERAL = "several at a time"
LINES = 8
"""More lines than a request or a reply of these scenarios has."""

FAMILIES = (
    *(
        Family(f"jobs-submit killed {when} a system call", lambda at, _, when=when: steps("kill", at, when))
        for when in ("before", "after")
    ),
    *(
        Family(f"slots killed {when} a system call of their start",
               lambda at, _, when=when: steps("kill", at, when, "fork"), own=True)
        for when in ("before", "after")
    ),
    Family("host rebooted before a system call", lambda at, _: steps("kill", at, "before"), reboot, lossy=True,
           own=True),
    Family("host rebooted after a system call", lambda at, _: steps("kill", at, "after"), reboot, lossy=True,
           own=True),
    Family("jobs-submit stopped, goes on after ticks", lambda at, _: steps("stop", at, "before"), go_on_later),
    Family("jobs-submit stopped, then killed", lambda at, _: steps("stop", at, "after"), die_stopped, lossy=True),
    Family("disk full from a system call on", lambda at, _: steps("full", at, "on", errno=errno.ENOSPC)),
    Family("quota exceeded at a system call", lambda at, _: steps("full", at, "once", errno=errno.EDQUOT)),
    Family("input/output error at a system call", lambda at, _: steps("full", at, "once", errno=errno.EIO)),
    Family("remote-init killed before a system call",
           lambda at, _: steps("kill", at, "before", verb=wire.REMOTE_INIT)),
    Family("disk full in remote-init",
           lambda at, _: steps("full", at, "on", verb=wire.REMOTE_INIT, errno=errno.ENOSPC)),
    Family("jobs-poll killed before a system call",
           lambda at, _: steps("kill", at, "before", verb=wire.JOBS_POLL)),
    Family("disk full in jobs-poll",
           lambda at, _: steps("full", at, "on", verb=wire.JOBS_POLL, errno=errno.ENOSPC)),
    *(
        Family(f"slot killed {when} a system call",
               lambda at, _, when=when: Fault(plan={"slot": {"at": at, "when": when}}), lossy=True, own=True)
        for when in ("before", "after")
    ),
    Family("slot stopped, goes on after a while",
           lambda at, _: Fault(plan={"slot": {"kind": "stop", "at": at, "when": "before"}}), own=True),
    Family("job's shell killed before a command", lambda at, _: Fault(plan={"wrapper": at}), lossy=True, own=True),
    Family("wrapper killed before a command", lambda at, _: Fault(plan={"wrapper": at}), lossy=True, own=True,
           task={"time_limit": "1h"}),
    Family("request cut after a line", lambda at, _: Fault(request_lines=part(at, LINES))),
    Family("request cut within a line", lambda at, dice: Fault(request_bytes=(at - 1) * 97 + dice.randrange(97))),
    Family("reply cut after a line", lambda at, _: Fault(reply_lines=part(at, LINES))),
    Family("reply of remote-init cut after a line",
           lambda at, _: Fault(wire.REMOTE_INIT, reply_lines=part(at, LINES))),
    Family("reply of jobs-poll cut after a line", lambda at, _: Fault(wire.JOBS_POLL, reply_lines=part(at, LINES))),
    *(
        Family(f"{verb} twice, {how}", lambda at, _, verb=verb, how=how: Fault(verb, twice=how), tries=8)
        for verb in (wire.JOBS_SUBMIT, wire.REMOTE_INIT, wire.JOBS_POLL)
        for how in ("after", "at once")
    ),
    Family("one of two requests at once killed",
           lambda at, _: replace(steps("kill", at, "before"), twice="at once"), tries=80),
)  # fmt: skip

OF_ANY_HOST = tuple(family for family in FAMILIES if not family.own)
"""The faults that strike a host with a batch system just as well."""


def one(made: World, session: Session, family: Family, at: int, dice: Dice) -> bool:
    """One scenario. False if it came to its end before the fault did. Raises AssertionError."""
    made.arm(family.fault(at, dice))
    run = submitted(made, session, made.suite(**family.task), made.new_name())
    try:
        family.then(made, run, dice)
        made.settle(run)
        fired = made.came_about()
        made.held_to_be_right(run, may_be_lost=family.lossy)
    finally:
        made.arm()
        close(session, run)
        made.forget(run.name)
    # Of two at once either may find less to do, so a fault that did not come about ends nothing there.
    return at < family.tries if family.tries else fired


def close(session: Session, run: Run) -> None:
    """Let go of a run's store."""
    session._runs.remove(run._ctx)
    run._ctx.store.close()


def controller_killed(made: World, session: Session, when: str, at: int, _dice: Dice) -> bool:
    """SIGKILL of the controller at a transaction, counted over a submit and the tick after it."""
    name = made.new_name()

    def both(own: Session) -> None:
        run = submitted(made, own, made.suite(), name)
        made.host.settle()
        made.offset += STRIDE
        run.tick()

    died = made.in_child(both, at, when)
    made.offset += STRIDE
    run = submitted(made, session, made.suite(), name)
    try:
        made.settle(run)
        made.held_to_be_right(run)
    finally:
        close(session, run)
        made.forget(name)
    return died


def several(made: World, session: Session, dice: Dice, families: Sequence[Family]) -> int:
    """Faults of some families in one scenario, in the submit and in what follows it; how many were armed."""
    chosen = [dice.choice(families) for _ in range(dice.randint(2, 5))]
    made.arm(*(family.fault(dice.randint(1, 60), dice) for family in chosen))
    run = submitted(made, session, made.suite(dice.randint(1, 4)), made.new_name())
    tasks = len(run.rows())
    try:
        for _ in range(dice.randrange(4)):
            made.offset += dice.choice((1.0, 31.0, STRIDE))
            if families is FAMILIES and dice.random() < 0.2:
                made.host.reboot()
            made.down = dice.random() < 0.2
            run.tick()
        made.down = False
        made.host.resume()
        made.host.settle()
        made.settle(run, 20)
        made.held_to_be_right(run, may_be_lost=True, tasks=tasks)
    finally:
        made.down = False
        made.arm()
        close(session, run)
        made.forget(run.name)
    return len(chosen)


def positions(stride: int, dice: Dice) -> Iterator[int]:
    """1, 2, 3, ...; or some of them, a stride apart on the average."""
    if stride <= 1:
        yield from count(1)
    at = dice.randint(1, stride)
    while True:
        yield at
        at += dice.randint(1, 2 * stride - 1)


def sweep(made: World, stride: int, seed: int, wanted: int = 0, only: str = "", until: float = float("inf"),
          families: Sequence[Family] = FAMILIES) -> dict[str, Tally]:  # fmt: skip
    """All families, and then several faults at a time until there are as many injections as are wanted."""
    tallies: dict[str, Tally] = {}

    def attempt(name: str, at: object, work: Callable[[], int]) -> int:
        tally = tallies.setdefault(name, Tally())
        try:
            done = work()
        except Exception:
            tally.injections += 1
            tally.failures.append(f"at {at}: {traceback.format_exc(limit=-3)}")
            made.host.reboot()
            made.down = False
            return 1
        tally.injections += done
        return done

    def swept(name: str, work: Callable[[int, Dice], int]) -> None:
        dice = random.Random(f"{seed}/{name}")
        for at in positions(stride, dice):
            if only not in name or time.monotonic() > until or not attempt(name, at, partial(work, at, dice)):
                break

    with made.session() as session:
        for family in families:
            swept(family.name, partial(one, made, session, family))
        for when in ("before", "after"):
            swept(f"controller killed {when} a commit", partial(controller_killed, made, session, when))
        dice = random.Random(f"{seed}/several")
        while sum(tally.injections for tally in tallies.values()) < wanted and time.monotonic() < until:
            attempt(SEVERAL, dice.random(), lambda: several(made, session, dice, families))
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    rows = [(name, str(tally.injections), str(len(tally.failures))) for name, tally in tallies.items()]
    total = ("all", *(str(sum(int(row[column]) for row in rows)) for column in (1, 2)))
    width = max(len(row[0]) for row in rows)
    return "\n".join(
        f"{name:{width}}  {injections:>10}  {failures:>8}"
        for name, injections, failures in [("fault", "injections", "failures"), *rows, total]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description="Cut submits at every step.")
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--injections", type=int, default=10_000, help="at least so many")
    parser.add_argument("--stride", type=int, default=1, help="1: every step; more: a sample")
    parser.add_argument("--only", default="", help="families with this in their name")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no new scenario after these")
    parser.add_argument("--on", nargs="+", choices=(BACKGROUND, *SYSTEMS), default=[BACKGROUND, *SYSTEMS],
                        help="the runners; batch systems get one several-faults injection for ten of background's")
    chosen = parser.parse_args()
    failed = False
    for runner in chosen.on:
        until = time.monotonic() + chosen.seconds
        wanted = 0 if chosen.only not in SEVERAL else chosen.injections
        sweeping = partial(sweep, stride=chosen.stride, seed=chosen.seed, only=chosen.only, until=until)
        if runner == BACKGROUND:
            with world() as made:
                tallies = sweeping(made, wanted=wanted)
        else:
            try:
                with system(runner) as host, world(host, runner) as made:
                    tallies = sweeping(made, wanted=wanted // 10, families=OF_ANY_HOST)
            except pytest.skip.Exception as why:
                print(f"{runner}: left out: {why}", file=sys.stderr)
                continue
        for name, tally in tallies.items():
            for failure in tally.failures:
                print(f"{name} {failure}", file=sys.stderr)
        if tallies:
            print(f"{runner}\n{table(tallies)}\n", flush=True)
        failed = failed or any(tally.failures for tally in tallies.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The scenarios: who takes part in each, and what is measured of them."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.floor import LOG, Floor
from benchmarks.meter import Contestant, Meter, Row, Take, Turn, one
from benchmarks.relay import Relay
from benchmarks.rivals import Cylc, CylcHost, Parallel
from benchmarks.stage import CommandFailed, Stage, Timed, jobmgr_argv
from benchmarks.subject import KINDS, SWEEP, Jobmgr, Kind

WARM, COLD = "warm", "cold"
ROUND_TRIPS = (100, 300)
JOBS_PER_HOST = 20
SETTLED = 1.5
"""Seconds after which an answer of a host is written down again, though nothing else is new."""
FIRST_WATCHED = 1000
"""The size from which on the memory of the host side is looked at; a smaller plan has its largest looked at."""
SCRIPT = f'"{LOG}"'.replace("\\", "\\\\")
GOES_ON = "exec sleep 3000"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: sizes, repetitions, and where others get too slow to be waited for."""

    sizes: tuple[int, ...]
    repeats: int
    hosts: tuple[int, ...]
    most_running: int
    most_parallel: int
    most_parallel_cold: int
    most_cylc: int
    most_cylc_play: int
    scenarios: frozenset[str]
    kinds: tuple[Kind, ...] = KINDS

    def watched(self, number: int) -> bool:
        """Whether memory is looked at for this size."""
        return number >= FIRST_WATCHED or number == max(self.sizes)


class Bench:
    """One run of the benchmarks; ``meter`` has the rows."""

    def __init__(self, stage: Stage, plan: Plan, cylc: Path | None) -> None:
        self.stage = stage
        self.plan = plan
        self.meter = Meter(stage, plan.repeats)
        self.masters = {WARM: stage.open_master(stage.host.name), COLD: ""}
        self.floors = {word: Floor(stage, master) for word, master in self.masters.items()}
        self.jobmgrs = {kind.label: Jobmgr(stage, kind) for kind in plan.kinds}
        self.cylc = Cylc(stage, cylc) if cylc is not None else None
        self.cylc_hosts = {
            word: CylcHost(stage, cylc, master) for word, master in self.masters.items() if cylc is not None
        }

    def run(self) -> list[Row]:
        for jobmgr in self.jobmgrs.values():
            jobmgr.warm_up()
        for name in sorted(self.plan.scenarios):
            began = time.monotonic()
            try:
                getattr(self, name.lower())()
            except (CommandFailed, OSError, sqlite3.Error) as failed:  # a full disk: the other results count
                print(f"{name}: {failed}", file=sys.stderr, flush=True)
            print(f"{name}: took {(time.monotonic() - began) / 60:.1f} min", flush=True)
        return self.meter.rows

    # --- who takes part ------------------------------------------------------------------------------------

    def floor_turns(self, turn: Callable[[Floor], Turn]) -> dict[str, Contestant]:
        return {f"floor, {word}": Contestant(turn(floor)) for word, floor in self.floors.items()}

    def own_turns(
        self, number: int, turn: Callable[[Jobmgr], Turn], *, local: bool = True
    ) -> dict[str, Contestant]:
        return {
            label: Contestant(turn(jobmgr), watched=self.plan.watched(number))
            for label, jobmgr in self.jobmgrs.items()
            if local or jobmgr.kind.transport != "local"
        }

    def host_command_turns(self, number: int, turn: Callable[[CylcHost], Turn]) -> dict[str, Contestant]:
        if number > self.plan.most_cylc:
            return {}
        return {f"cylc jobs-*, {word}": Contestant(turn(cylc)) for word, cylc in self.cylc_hosts.items()}

    def parallel_turns(self, number: int) -> dict[str, Contestant]:
        most = {WARM: self.plan.most_parallel, COLD: self.plan.most_parallel_cold}
        return {
            f"parallel, {word}": Contestant(one("S1", partial(Parallel(self.stage, master).submit, number)))
            for word, master in self.masters.items()
            if number <= most[word] and Parallel.available()
        }

    def play_turns(
        self, scenario: str, number: int, act: Callable[[Cylc, int], Timed]
    ) -> dict[str, Contestant]:
        if self.cylc is None or number > self.plan.most_cylc_play:
            return {}
        return {"cylc play": Contestant(one(scenario, partial(act, self.cylc, number)))}

    # --- S1 ... S8 -----------------------------------------------------------------------------------------

    def s1(self) -> None:
        """Submit and complete."""
        for number in self.plan.sizes:
            self.meter.rounds(
                number,
                {
                    **self.floor_turns(lambda floor, n=number: one("S1", partial(floor.submit, n))),
                    **self.own_turns(number, lambda own, n=number: partial(_play, "S1", own.submit, own, n)),
                    **self.parallel_turns(number),
                    **self.host_command_turns(
                        number, lambda cylc, n=number: one("S1", partial(cylc.submit, n))
                    ),
                    **self.play_turns("S1", number, Cylc.submit),
                },
            )

    def s2(self) -> None:
        """Poll jobs that run, then S3: kill them until they are gone. Both need the same preparation."""
        for number in self.plan.sizes:
            if number <= self.plan.most_running:
                self.meter.rounds(
                    number,
                    {
                        **self.floor_turns(lambda floor, n=number: partial(_poll_and_kill, floor, n)),
                        **self.own_turns(number, lambda own, n=number: partial(_poll_and_kill, own, n)),
                        **self.host_command_turns(
                            number, lambda cylc, n=number: partial(_poll_and_kill, cylc, n)
                        ),
                    },
                )

    def s3(self) -> None:
        """Measured together with S2."""
        if "S2" not in self.plan.scenarios:
            self.s2()

    def s4(self) -> None:
        """Bring home the logs of jobs that have ended, 4 KB each: those that the jobs' ends have told of, as after
        ``play``; and of jobs that nobody has asked about files, which is done first.
        """
        for number in self.plan.sizes:
            runs = {
                label: jobmgr.complete(number, SCRIPT, logs=True)
                for label, jobmgr in self.jobmgrs.items()
                if jobmgr.kind.transport != "local"
            }
            if not runs:
                return
            folder = str(next(self.jobmgrs[label].run_root / name for label, name in runs.items()))
            bare = {
                f"rsync, {word}": Contestant(one("S4", partial(floor.rsync, folder, number)))
                for word, floor in self.floors.items()
            }
            own = self.own_turns(
                number,
                lambda own, runs=runs, n=number: partial(_retrieve, own, runs[own.kind.label], n, True),
                local=False,
            )
            asks = self.own_turns(
                number,
                lambda own, runs=runs, n=number: partial(_retrieve, own, runs[own.kind.label], n, False),
                local=False,
            )
            self.meter.rounds(
                number, {**bare, **own, **{f"{label}, asks first": who for label, who in asks.items()}}
            )

    def s5(self) -> None:
        """What is known, without asking a host."""
        jobmgr = self.jobmgrs.get("local") or next(iter(self.jobmgrs.values()))
        for number in self.plan.sizes:
            name = jobmgr.complete(number, '":"')
            self.meter.rounds(number, {"status": Contestant(one("S5", partial(jobmgr.status, name)))})

    def s6(self) -> None:
        """A tick over many hosts with 20 jobs each, all of them due; then with one host dead."""
        for number in self.plan.hosts:
            missing = number - len(self.stage.sshds)
            if missing > 0:
                self.stage.add_hosts(missing)
            hosts = [sshd.name for sshd in self.stage.sshds[:number]]
            masters = {
                WARM: {host: self.stage.open_master(host) for host in hosts},
                COLD: dict.fromkeys(hosts, ""),
            }
            runs = {
                label: self._on_many(jobmgr, hosts)
                for label, jobmgr in self.jobmgrs.items()
                if jobmgr.kind.transport != "local"
            }
            bare = {
                f"bare ssh, {word}": Contestant(one("S6", partial(self._bare, sockets)))
                for word, sockets in masters.items()
            }
            own = {
                label: Contestant(partial(_tick, self.jobmgrs[label], hosts, name))
                for label, name in runs.items()
            }
            self.meter.rounds(number, {**bare, **own})
            if number > 1:
                for label, name in runs.items():
                    dead = Contestant(partial(self._with_dead, self.jobmgrs[label], name, hosts))
                    self.meter.rounds(number, {f"{label}, one dead": dead})
            for label, name in runs.items():
                self.jobmgrs[label].platforms(hosts, at_once=JOBS_PER_HOST)
                self.stage.run(jobmgr_argv("kill", name, "-q"), codes=(0, 1, 5))

    def _on_many(self, jobmgr: Jobmgr, hosts: Sequence[str]) -> str:
        jobmgr.platforms(hosts, at_once=JOBS_PER_HOST)
        rows = "".join(
            f"  {name}x:\n    platform: {name}\n    parameters: [i]\n    script: {GOES_ON}\n"
            for name in jobmgr.names
        )
        return jobmgr.submitted(f"parameters: {{i: 1..{JOBS_PER_HOST}}}\ntasks:\n{rows}")

    def _bare(self, masters: dict[str, str]) -> Timed:
        """The same number of bare calls at the same time, from one shell."""
        calls = []
        for host, master in masters.items():
            calls.append(" ".join(self.stage.ssh(host, master)) + " python3 -S -c pass &")
        return self.stage.run(["/bin/sh", "-c", "\n".join([*calls, "wait"])])

    def _with_dead(self, jobmgr: Jobmgr, name: str, hosts: Sequence[str], take: Take) -> None:
        """When the last host but the dead one has answered, counted from the start of the command."""
        dead = self.stage.sshds[len(hosts) - 1]

        def tick() -> Timed:
            began = time.time()
            timed = jobmgr.timed("tick", name, "-q", codes=(0, 1, 5, 6))
            answered = [when for host, when in jobmgr.contacts(name).items() if host != dead.name]
            return Timed(max(answered) - began, timed.processor, timed.peak, b"")

        jobmgr.platforms(hosts, at_once=JOBS_PER_HOST)
        jobmgr.ready()
        jobmgr.make_due(name)
        if jobmgr.kind.transport == "openssh":
            self.stage.run(jobmgr_argv("logout", jobmgr.names[len(hosts) - 1]), codes=(0, 1, 5, 6))
        dead.freeze()
        try:
            time.sleep(SETTLED)
            take("S6", tick)
        finally:
            dead.thaw()
        self.stage.run(jobmgr_argv("poll", name, "-q"), codes=(0, 1, 5, 6))  # it is spoken to again

    def s7(self) -> None:
        """A diamond: one task, then all but two, then one."""
        for number in self.plan.sizes:
            if number < 3:
                continue
            self.meter.rounds(
                number,
                {
                    **self.floor_turns(lambda floor, n=number: one("S7", partial(floor.diamond, n))),
                    **self.own_turns(number, lambda own, n=number: partial(_play, "S7", own.diamond, own, n)),
                    **self.play_turns("S7", number, Cylc.diamond),
                },
            )

    def s8(self) -> None:
        """A poll of 20 jobs over a link with a long round trip, beside one bare call that also sends something and
        gets an answer. N is the round trip in milliseconds: two of them tell how many round trips it takes.
        """
        for milliseconds in ROUND_TRIPS:
            relay = Relay(self.stage.host.port, milliseconds / 2000)
            far = self.stage.host.client_configuration().replace(
                f"Port {self.stage.host.port}", f"Port {relay.port}"
            )
            name = f"far{milliseconds}"
            self.stage.write_config(far.replace(f"Host {self.stage.host.name}", f"Host {name}"))
            try:
                self.meter.rounds(milliseconds, self._far(name))
            finally:
                relay.close()
                self.stage.write_config()

    def _far(self, host: str) -> dict[str, Contestant]:
        master = self.stage.open_master(host)
        stage, sent = self.stage, b"x" * 4096
        acts: dict[str, Callable[[], Timed]] = {
            "bare ssh, cold": lambda: stage.run([*stage.ssh(host), "wc -c"], sent),
            "bare ssh, warm": lambda: stage.run([*stage.ssh(host, master), "wc -c"], sent),
            "bare paramiko": lambda: stage.run(_paramiko(stage, host), sent),
        }
        contestants = {label: Contestant(one("S8", act)) for label, act in acts.items()}
        for label, jobmgr in self.jobmgrs.items():
            if jobmgr.kind.transport != "local":
                jobmgr.platforms([host], at_once=JOBS_PER_HOST)
                name = jobmgr.submitted(SWEEP.format(number=JOBS_PER_HOST, platform="p", script=GOES_ON))
                contestants[label] = Contestant(partial(_far_poll, jobmgr, host, name))
        return contestants


# --- turns: what is prepared, and what is measured ---------------------------------------------------------


def _play(scenario: str, act: Callable[[int], Timed], jobmgr: Jobmgr, number: int, take: Take) -> None:
    jobmgr.platforms()
    jobmgr.ready()
    take(scenario, partial(act, number))


def _poll_and_kill(who: Any, number: int, take: Take) -> None:
    """The same of each: ``start``, ``poll`` and ``kill``."""
    what = who.start(number)
    for scenario, act in (("S2", who.poll), ("S3", who.kill)):
        if isinstance(who, Jobmgr):
            who.platforms(at_once=number)
            who.ready()
        take(scenario, partial(act, what, number))


def _retrieve(jobmgr: Jobmgr, name: str, number: int, listed: bool, take: Take) -> None:
    jobmgr.platforms(logs=True)
    jobmgr.forget_files(name, listed=listed)
    jobmgr.ready()
    take("S4", partial(jobmgr.retrieve, name, number))


def _tick(jobmgr: Jobmgr, hosts: Sequence[str], name: str, take: Take) -> None:
    jobmgr.platforms(hosts, at_once=JOBS_PER_HOST)
    jobmgr.ready()
    jobmgr.make_due(name)
    take("S6", lambda: jobmgr.timed("tick", name, "-q"))


def _far_poll(jobmgr: Jobmgr, host: str, name: str, take: Take) -> None:
    jobmgr.platforms([host], at_once=JOBS_PER_HOST)
    jobmgr.ready()
    take("S8", lambda: jobmgr.timed("poll", name, "-q"))


def _paramiko(stage: Stage, host: str) -> list[str]:
    """One command by paramiko alone, the way a script would."""
    text = (
        "import sys, paramiko\n"
        "port, user, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]\n"
        "client = paramiko.SSHClient()\n"
        "client.set_missing_host_key_policy(paramiko.AutoAddPolicy())\n"
        "client.connect('127.0.0.1', port, user, key_filename=key, look_for_keys=False, allow_agent=False)\n"
        "stdin, stdout, _ = client.exec_command('wc -c')\n"
        "stdin.write(sys.stdin.buffer.read())\n"
        "stdin.channel.shutdown_write()\n"
        "print(stdout.read().decode())\n"
        "client.close()\n"
    )
    words = stage.ssh_config.read_text().rpartition(f"Host {host}")[2].split()
    port, user = words[words.index("Port") + 1], words[words.index("User") + 1]
    return [sys.executable, "-c", text, port, user, stage.host.identity_path]

"""The scenarios: each measures its contestants in turns, so that all see the same machine.

A row of the result is (scenario, contestant, N, median seconds, all seconds, and what else was counted).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.floor import LOG, Floor
from benchmarks.relay import Relay
from benchmarks.rivals import Cylc, Parallel
from benchmarks.stage import CommandFailed, Stage, Timed, jobmgr_argv
from benchmarks.subject import KINDS, SWEEP, Jobmgr, Kind

FLOOR_WARM, FLOOR_COLD = "floor, warm", "floor, cold"
ROUND_TRIPS = (100, 300)
SETTLED = 1.5
"""Seconds after which an answer of a host is written down again, though nothing else is new."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: sizes, repetitions, and where others get too slow to be waited for."""

    sizes: tuple[int, ...]
    repeats: int
    hosts: tuple[int, ...]
    most_running: int
    most_parallel: int
    most_cylc: int
    scenarios: frozenset[str]
    kinds: tuple[Kind, ...] = KINDS


@dataclass(slots=True)
class Row:
    """One measured point."""

    scenario: str
    contestant: str
    number: int
    seconds: float = 0.0
    all_seconds: list[float] = field(default_factory=list)
    processor: float = 0.0
    more: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Act = Callable[[], Timed]


class Bench:
    """All rows of one run of the benchmarks."""

    def __init__(self, stage: Stage, plan: Plan, cylc: Path | None) -> None:
        self.stage = stage
        self.plan = plan
        self.rows: list[Row] = []
        self.master = stage.open_master(stage.host.name)
        self.floors = {
            FLOOR_WARM: Floor(stage, self.master),
            FLOOR_COLD: Floor(stage),
        }
        self.jobmgrs = {kind.label: Jobmgr(stage, kind) for kind in plan.kinds}
        self.cylc = Cylc(stage, cylc) if cylc is not None else None

    def run(self) -> list[Row]:
        for jobmgr in self.jobmgrs.values():
            jobmgr.warm_up()
        for name in sorted(self.plan.scenarios):
            try:
                getattr(self, name.lower())()
            except CommandFailed as failed:
                print(f"{name}: {failed}", file=sys.stderr)
        return self.rows

    def measure(self, scenario: str, number: int, contestants: Iterable[tuple[str, Act]]) -> list[Row]:
        """Every contestant once per round; medians over the rounds."""
        acts = list(contestants)
        taken: dict[str, list[Timed]] = {}
        rows = {label: Row(scenario, label, number) for label, _ in acts}
        for turn in range(self.plan.repeats):
            for label, act in acts[turn % len(acts) :] + acts[: turn % len(acts)]:
                try:
                    with self.stage.counting() as counted:
                        taken.setdefault(label, []).append(act())
                except CommandFailed as failed:
                    print(f"{scenario} {label} N={number}: {failed}", file=sys.stderr)
                    continue
                rows[label].more.update(counted)
        for label, timed in taken.items():
            row = rows[label]
            row.all_seconds = [round(one.seconds, 4) for one in timed]
            row.seconds = statistics.median(row.all_seconds) if timed else 0.0
            row.processor = statistics.median(one.processor for one in timed) if timed else 0.0
            row.more["peak_mb"] = max((one.peak for one in timed), default=0) / 1e6
        done = [row for row in rows.values() if row.all_seconds]
        self.rows.extend(done)
        for row in done:
            print(f"{row.scenario}  N={row.number:<6} {row.contestant:<22} {row.seconds:9.3f} s", flush=True)
        return done

    # --- S1 ... S8 -------------------------------------------------------------------------------------

    def s1(self) -> None:
        """Submit and complete."""
        for number in self.plan.sizes:
            acts: list[tuple[str, Act]] = [
                (label, partial(floor.submit, number)) for label, floor in self.floors.items()
            ]
            for label, jobmgr in self.jobmgrs.items():
                acts.append((label, partial(_submit, jobmgr, number)))
            if Parallel.available() and number <= self.plan.most_parallel:
                for label, master in (("parallel, warm", self.master), ("parallel, cold", "")):
                    acts.append((label, partial(Parallel(self.stage, master).submit, number)))
            self.measure("S1", number, acts)
            self._others("S1", number, Cylc.submit)
        self._memory()

    def _others(self, scenario: str, number: int, act: Callable[[Cylc, int], Timed]) -> None:
        """Cylc takes its time, so once is enough."""
        if self.cylc is None or number > self.plan.most_cylc:
            return
        try:
            timed = act(self.cylc, number)
        except CommandFailed as failed:
            print(f"{scenario} cylc N={number}: {failed}", file=sys.stderr)
            return
        row = Row(scenario, "cylc play", number, timed.seconds, [timed.seconds], timed.processor)
        self.rows.append(row)
        print(f"{scenario}  N={number:<6} {row.contestant:<22} {row.seconds:9.3f} s", flush=True)

    def _memory(self) -> None:
        """Peak memory of the host side while the largest batch goes through; not timed."""
        jobmgr = next(iter(self.jobmgrs.values()))
        number = max(self.plan.sizes)
        with self.stage.watching_memory() as seen:
            timed = _submit(jobmgr, number)
        row = Row("memory", "host side", number, more={"peak_mb": seen["peak"] / 1e6})
        self.rows.append(row)
        self.rows.append(Row("memory", "controller", number, more={"peak_mb": timed.peak / 1e6}))

    def s2(self) -> None:
        """Poll jobs that run, then S3: kill them until they are gone. Both need the same preparation."""
        for number in self.plan.sizes:
            if number > self.plan.most_running:
                continue
            self._running(number)

    def s3(self) -> None:
        """Measured together with S2."""
        if "S2" not in self.plan.scenarios:
            self.s2()

    def _running(self, number: int) -> None:
        kills: dict[str, list[Timed]] = {}
        contestants: list[tuple[str, Any, Any]] = [
            *((label, floor, floor.start) for label, floor in self.floors.items()),
            *((label, jobmgr, jobmgr.start) for label, jobmgr in self.jobmgrs.items()),
        ]
        polls: dict[str, list[Timed]] = {}
        for _ in range(self.plan.repeats):
            for label, one, start in contestants:
                what = start(number)
                _await_running(one, what, number)
                if isinstance(one, Jobmgr):
                    one.platforms(at_once=number)
                polls.setdefault(label, []).append(one.poll(what, number))
                kills.setdefault(label, []).append(one.kill(what, number))
        for scenario, taken in (("S2", polls), ("S3", kills)):
            for label, timed in taken.items():
                self._row(scenario, label, number, timed)

    def _row(self, scenario: str, label: str, number: int, timed: Sequence[Timed]) -> None:
        seconds = [round(one.seconds, 4) for one in timed]
        processor = statistics.median(one.processor for one in timed)
        row = Row(scenario, label, number, statistics.median(seconds), seconds, processor)
        self.rows.append(row)
        print(f"{scenario}  N={number:<6} {label:<22} {row.seconds:9.3f} s", flush=True)

    def s4(self) -> None:
        """Bring home the logs of jobs that have ended, 4 KB each."""
        for number in self.plan.sizes:
            taken: dict[str, list[Timed]] = {}
            for _ in range(self.plan.repeats):
                for label, jobmgr in self.jobmgrs.items():
                    if jobmgr.kind.transport == "local":
                        continue  # the files are at home already
                    name = jobmgr.complete(number, f'"{LOG}"'.replace("\\", "\\\\"))
                    run = str(jobmgr.run_root / name)
                    floor = self.floors[FLOOR_COLD if jobmgr.kind.cold else FLOOR_WARM]
                    beside = "rsync, cold" if jobmgr.kind.cold else "rsync, warm"
                    taken.setdefault(beside, []).append(floor.rsync(run))
                    taken.setdefault(label, []).append(jobmgr.retrieve(name, number))
            for label, timed in taken.items():
                self._row("S4", label, number, timed)

    def s5(self) -> None:
        """What is known, without asking a host."""
        jobmgr = self.jobmgrs.get("local") or next(iter(self.jobmgrs.values()))
        for number in self.plan.sizes:
            name = jobmgr.complete(number, '":"')
            self.measure("S5", number, [("status", partial(jobmgr.status, name))])

    def s6(self) -> None:
        """One turn of the loop over many hosts with 20 jobs each; then with one of them dead."""
        jobs = 20
        for number in self.plan.hosts:
            missing = number - len(self.stage.sshds)
            if missing > 0:
                self.stage.add_hosts(missing)
            hosts = [sshd.name for sshd in self.stage.sshds[:number]]
            for label, jobmgr in self.jobmgrs.items():
                if jobmgr.kind.transport != "local":
                    self._ticks(jobmgr, label, hosts, jobs)

    def _ticks(self, jobmgr: Jobmgr, label: str, hosts: Sequence[str], jobs: int) -> None:
        name = self._on_many(jobmgr, hosts, jobs)
        masters = {host: "" if jobmgr.kind.cold else self.stage.open_master(host) for host in hosts}
        ticks, bare = [], []
        for _ in range(self.plan.repeats):
            if jobmgr.kind.cold:
                for index in range(len(hosts)):
                    self.stage.run(jobmgr_argv("logout", f"p{index:02d}" if index else "p"))
            ticks.append(self.stage.run(jobmgr_argv("poll", name, "-q"), codes=(0, 1)))
            bare.append(self._bare(masters))
        beside = "bare ssh python3 -S" + (", cold" if jobmgr.kind.cold else ", warm")
        self._row("S6", label, len(hosts), ticks)
        self._row("S6", f"{beside} (for {label})", len(hosts), bare)
        if len(hosts) > 1:
            self._row(
                "S6", f"{label}, others of a dead host", len(hosts), self._with_dead(jobmgr, name, hosts)
            )
        self.stage.run(jobmgr_argv("kill", name, "-q"), codes=(0, 1, 5))

    def _on_many(self, jobmgr: Jobmgr, hosts: Sequence[str], jobs: int) -> str:
        jobmgr.platforms(hosts, at_once=jobs)
        names = [f"p{index:02d}" if index else "p" for index in range(len(hosts))]
        rows = "".join(
            f"  {name}x:\n    platform: {name}\n    parameters: [i]\n    script: exec sleep 3000\n"
            for name in names
        )
        folder, name = jobmgr.suite(f"parameters: {{i: 1..{jobs}}}\ntasks:\n{rows}")
        self.stage.run(jobmgr_argv("submit", folder, "-q"))
        return name

    def _bare(self, masters: dict[str, str]) -> Timed:
        """The same number of bare calls at the same time, from one shell."""
        calls = []
        for host, master in masters.items():
            calls.append(" ".join(self.stage.ssh(host, master)) + " python3 -S -c pass &")
        return self.stage.run(["/bin/sh", "-c", "\n".join([*calls, "wait"])])

    def _with_dead(self, jobmgr: Jobmgr, name: str, hosts: Sequence[str]) -> list[Timed]:
        """When the last host but the dead one has answered, counted from the start of the command."""
        dead = self.stage.sshds[len(hosts) - 1]
        dead.freeze()
        try:
            if not jobmgr.kind.cold and jobmgr.kind.transport == "openssh":
                self.stage.run(jobmgr_argv("logout", f"p{len(hosts) - 1:02d}"), codes=(0, 1, 5, 6))
            time.sleep(SETTLED)
            began = time.time()
            timed = self.stage.run(jobmgr_argv("poll", name, "-q"), codes=(0, 1, 5, 6))
            answered = [when for host, when in jobmgr.contacts(name).items() if host != dead.name]
            return [Timed(max(answered) - began, timed.processor, timed.peak, b"")]
        finally:
            dead.thaw()

    def s7(self) -> None:
        """A diamond: one task, then all but two, then one."""
        for number in self.plan.sizes:
            if number < 3:
                continue
            acts: list[tuple[str, Act]] = [
                (label, partial(floor.diamond, number)) for label, floor in self.floors.items()
            ]
            for label, jobmgr in self.jobmgrs.items():
                acts.append((label, partial(_diamond, jobmgr, number)))
            self.measure("S7", number, acts)
            self._others("S7", number, Cylc.diamond)

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
                self.measure("S8", milliseconds, self._far(name))
            finally:
                relay.close()
                self.stage.write_config()

    def _far(self, host: str) -> list[tuple[str, Act]]:
        master = self.stage.open_master(host)
        stage, sent = self.stage, b"x" * 4096
        acts: list[tuple[str, Act]] = [
            ("bare ssh, cold", lambda: stage.run([*stage.ssh(host), "wc -c"], sent)),
            ("bare ssh, warm", lambda: stage.run([*stage.ssh(host, master), "wc -c"], sent)),
            ("bare paramiko", lambda: stage.run(_paramiko(stage, host), sent)),
        ]
        for label, jobmgr in self.jobmgrs.items():
            if jobmgr.kind.transport != "local":
                jobmgr.platforms([host], at_once=20)
                acts.append((label, partial(self._far_poll, jobmgr, host, self._run_of(jobmgr, 20))))
        return acts

    def _run_of(self, jobmgr: Jobmgr, number: int) -> str:
        folder, name = jobmgr.suite(SWEEP.format(number=number, platform="p", script="exec sleep 3000"))
        self.stage.run(jobmgr_argv("submit", folder, "-q"))
        return name

    def _far_poll(self, jobmgr: Jobmgr, host: str, name: str) -> Timed:
        jobmgr.platforms([host], at_once=20)
        return jobmgr.timed("poll", name, "-q")


def _submit(jobmgr: Jobmgr, number: int) -> Timed:
    jobmgr.platforms()
    return jobmgr.submit(number)


def _diamond(jobmgr: Jobmgr, number: int) -> Timed:
    jobmgr.platforms()
    return jobmgr.diamond(number)


def _await_running(one: Any, what: str, number: int) -> None:
    """The floor's jobs are started by a process that outlives the call; wait until all run."""
    if not isinstance(one, Floor):
        return
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            one.poll(what, number)
            return
        except CommandFailed:
            time.sleep(0.2)


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

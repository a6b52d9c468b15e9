"""The progress of a play: what the events tell, kept until somebody draws it; and each event in words."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Struct

from jobmgr.core import events
from jobmgr.core.states import FINAL, State
from jobmgr.views import rows, text, times

GLYPHS = (
    (State.SUCCEEDED, "█"),
    (State.FAILED, "✗"),
    (State.SUBMIT_FAILED, "✗"),
    (State.KILLED, "✗"),
    (State.RUNNING, "▓"),
    (State.SUBMITTED, "▒"),
    (State.SUBMITTING, "▒"),
    (State.SUBMIT_UNKNOWN, "?"),
    (State.QUEUED, "▒"),
    (State.HELD, "░"),
    (State.WAITING, "░"),
    (State.REMOVED, "-"),
)
"""A bar reads from left to right: what is done, what is under way, what waits; without any colour."""

RECENT = 6
BACKGROUND = "background"
_ALWAYS_TOLD = frozenset({State.SUBMITTED, State.RUNNING, State.SUBMIT_UNKNOWN, *FINAL})


class Frame(Struct, frozen=True):
    """What one drawing shows."""

    run: str
    counts: Mapping[State, int]
    doubts: int
    tasks: tuple[tuple[str, Mapping[State, int]], ...]
    more_tasks: int
    recent: tuple[str, ...]
    troubles: tuple[str, ...]


class Progress:
    """Collects events; :meth:`frame` may be called from another thread than :meth:`apply`.

    ``drawn``: somebody asks for frames; else the latest news are not put into words.
    """

    def __init__(self, run: str, *, drawn: bool = True) -> None:
        self.run = run
        self._drawn = drawn
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._counts: dict[State, int] = {}
        self._doubts: set[str] = set()
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._troubles: dict[str, str] = {}

    def seed(self, found: Iterable[rows.Row]) -> None:
        """Start from what the store knows."""
        with self._lock:
            for row in found:
                key = f"{row.cycle}/{row.task}"
                self._put(key, row.state)
                if row.doubt:
                    self._doubts.add(key)

    def differs(self, counts: Mapping[State, int]) -> bool:
        """Whether the run has other counts than events have told of: another process changes it too."""
        with self._lock:
            return self._present() != {state: number for state, number in counts.items() if number}

    def missed(self, found: Iterable[rows.Row], now: float) -> list[events.Changed]:
        """What the store's rows say that no event has told, as events (still to be applied)."""
        with self._lock:
            return [
                events.Changed(
                    self.run,
                    row.id,
                    self._states.get(f"{row.cycle}/{row.task}"),
                    row.state,
                    row.detail,
                    row.native_id,
                    row.platform,
                    row.host,
                    row.since or now,
                    row.doubt,
                    row.runner,
                )
                for row in found
                if self._states.get(f"{row.cycle}/{row.task}") is not row.state
            ]

    def _put(self, key: str, state: State) -> None:
        before = self._states.get(key)
        if before is not None:
            self._counts[before] -= 1
        self._states[key] = state
        self._counts[state] = self._counts.get(state, 0) + 1

    def _present(self) -> dict[State, int]:
        return {state: number for state, number in self._counts.items() if number}

    def apply(self, event: events.Event) -> None:
        """Take one event in. Events of other runs count as news, not as states."""
        with self._lock:
            if isinstance(event, events.Changed) and event.run == self.run:
                key = rows_key(event.job_id)
                self._put(key, event.new)
                (self._doubts.add if event.doubt else self._doubts.discard)(key)
                self._troubles.pop(event.host, None) if not event.doubt else None
            elif isinstance(event, events.Trouble):
                self._troubles[event.host] = trouble(event.host, event.text, person=event.person)
            told = told_by(event, self.run) if self._drawn and not isinstance(event, events.Trouble) else ""
            if told:
                self._recent.append(told)

    def frame(self, room: int) -> Frame:
        """The state of things, with at most ``room`` task lines."""
        with self._lock:
            tasks, more = rows.by_task(self._states, room)
            return Frame(
                self.run,
                self._present(),
                len(self._doubts),
                tuple(tasks),
                more,
                tuple(self._recent),
                tuple(self._troubles.values()),
            )


def rows_key(job_id: str) -> str:
    """CYCLE/TASK of a job's ID."""
    return "/".join(job_id.split("/")[:2])


def bar(counts: Mapping[State, int], width: int) -> list[tuple[State, str]]:
    """The pieces of a bar, ``width`` characters together. A state with any job has at least one character."""
    present = [(state, glyph, counts[state]) for state, glyph in GLYPHS if counts.get(state)]
    total = sum(number for _, _, number in present)
    if not present or width < len(present):
        return []
    sizes = [max(1, number * width // total) for _, _, number in present]
    while sum(sizes) > width:
        sizes[sizes.index(max(sizes))] -= 1
    remainders = [
        (number * width / total - size, index)
        for index, ((_, _, number), size) in enumerate(zip(present, sizes, strict=True))
    ]
    for _, index in sorted(remainders, reverse=True):
        if sum(sizes) == width:
            break
        sizes[index] += 1
    sizes[sizes.index(max(sizes))] += width - sum(sizes)
    return [(state, glyph * size) for (state, glyph, _), size in zip(present, sizes, strict=True)]


def trouble(host: str, words: str, *, person: bool) -> str:
    """A host that could not be asked; where only a person can help, with the command to type."""
    said = text.one_line(words).rstrip(".")
    prefix = "" if said.startswith(f"{host}:") else f"{host}: "
    if person and "jobmgr login" not in said:
        return f"{prefix}{said}. Not tried again until you act: jobmgr login {host}"
    return f"{prefix}{said}"


def place(platform: str, native_id: str, runner: str) -> str:
    """``wizard (pid 4711)`` where the native ID is a process, ``hpc (812345)`` elsewhere."""
    if not native_id:
        return platform
    return f"{platform} (pid {native_id})" if runner == BACKGROUND else f"{platform} ({native_id})"


def told_by(event: events.Event, run: str = "") -> str:
    """An event in words, one line; empty for one that says nothing to a person. ``run`` need not be named."""
    match event:
        case events.Changed():
            return _changed(event, run)
        case events.Contact():
            return f"{text.one_line(event.host)}: {text.one_line(event.text)}"
        case events.Trouble():
            return trouble(event.host, event.text, person=event.person)
        case events.Installed():
            return (
                f"{event.host}: {event.files} file{'s' * (event.files != 1)} of {event.run} installed"
                if event.files
                else ""
            )
        case events.Retrieved():
            return _retrieved(event)
        case events.Note():
            return (
                text.one_line(event.text)
                if event.level == "info"
                else f"{event.level}: {text.one_line(event.text)}"
            )
        case events.Turn():
            return ""


def _changed(event: events.Changed, run: str) -> str:
    name = text.one_line(event.job_id if event.run == run else f"{event.run} {event.job_id}")
    if event.doubt and event.old == event.new:
        return f"{name} ?  {event.new.value}, {text.one_line(event.doubt)}"
    if event.new not in _ALWAYS_TOLD or event.old == event.new:
        return ""
    words = event.new.value
    if event.detail.startswith(words):
        return f"{name}  {text.one_line(event.detail)}"
    if event.new is State.SUBMITTED:
        words += f" to {place(event.platform, event.native_id, event.runner)}"
    elif event.new is State.RUNNING:
        words += f" on {place(event.platform, event.native_id, event.runner)}"
    return f"{name}  {words}{f': {text.one_line(event.detail)}' if event.detail else ''}"


def _retrieved(event: events.Retrieved) -> str:
    left = "".join(
        f"; left out {text.one_line(path)} ({text.one_line(why)})" for path, why in event.left_out[:3]
    )
    more = f"; and {len(event.left_out) - 3} more" if len(event.left_out) > 3 else ""
    if not event.files and not left:
        return ""
    files = f"{event.files} file{'s' * (event.files != 1)}"
    return f"{event.host}: {files} retrieved ({size(event.size)}){left}{more}"


def size(number: int) -> str:
    """``812 B``, ``4.1 kB``, ``12 MB``."""
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 9.95 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def stamped(told: str, moment: float, now: float) -> str:
    """A line of news with its local time in front."""
    return f"{times.clock(moment, now, seconds=True)}  {told}"

"""``Chaotic(transport)``: a transport that fails as networks and hosts do, as often as one says.

For acceptance tests of a site: whatever is injected here, each job has to run once and no state may become
wrong. docs/cli.md, "Faults on purpose", has the words. All chances of a call are drawn before it is made,
from the seed, the host and the number of the call, so that one process with a seed does the same again.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from jobmgr.core.nearest import hint
from jobmgr.errors import ConnectError, ConnectionLost, UsageError
from jobmgr.transport.base import Completed, Hold, OnChunk, Transport
from jobmgr_remote import wire

FAULTS: Mapping[str, str] = {
    "no-connection": "no connection comes about; nothing is sent",
    "cut-mid-request": "the host gets a part of the request, then the connection breaks",
    "cut-after-submit": "jobs-submit arrives and is carried out; nothing of its reply comes back",
    "cut-mid-reply": "a part of the reply arrives, or all of it, then the connection breaks",
    "duplicate-request": "the request arrives twice, one after the other or both at once",
    "noise": "a banner and other text stand before the reply",
    "slow": "the host hesitates, and the reply comes in small pieces",
    "empty-queue": "the queue answers, and knows none of the jobs",
}
"""Each fault, and what it does."""

SLOWNESS = 2.0
"""At most so many seconds are lost by ``slow``."""
PIECES = 200
NOISE_LIMIT = 64 * 1024

Tell = Callable[[str], None]


class Chaos(Struct, frozen=True):
    """What is to go wrong: the chance of each fault, by name, and the seed of the dice."""

    chances: Mapping[str, float] = field(default_factory=dict)
    seed: str = ""

    @classmethod
    def parse(cls, text: str) -> Chaos:
        """``seed=7,cut-mid-reply=0.2,noise``: a fault without a chance always happens, one that is not named
        never. Without a seed each process throws dice of its own. Raises UsageError.
        """
        chances: dict[str, float] = {}
        seed = secrets.token_hex(4)
        for part in filter(None, (word.strip() for word in text.split(","))):
            name, given, value = part.partition("=")
            if name == "seed" and value:
                seed = value
                continue
            if name not in FAULTS:
                raise UsageError(f"chaos: unknown fault {name!r}{hint(name, FAULTS)}")
            chances[name] = _chance(name, value) if given else 1.0
        if not chances:
            raise UsageError(f"chaos: no fault is named (known: {', '.join(FAULTS)})")
        return cls(chances, seed)

    def drawn(self, host: str, number: int) -> tuple[frozenset[str], random.Random]:
        """The faults of a host's call of that number, and dice for their details."""
        dice = random.Random(f"{self.seed}/{host}/{number}")
        faults = frozenset(name for name in FAULTS if dice.random() < self.chances.get(name, 0.0))
        return faults, dice


def _chance(name: str, text: str) -> float:
    try:
        chance = float(text)
    except ValueError:
        chance = -1.0
    if not 0.0 <= chance <= 1.0:
        raise UsageError(f"chaos: {name}: expected a chance between 0 and 1, found {text!r}")
    return chance


class Chaotic:
    """Another transport, with faults. ``tell`` hears of each, as ``wizard: cut-mid-reply (jobs-poll)``."""

    def __init__(
        self,
        transport: Transport,
        chaos: Chaos,
        tell: Tell | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.inner = transport
        self.name = transport.name
        self.host = transport.host
        self._chaos = chaos
        self._tell = tell
        self._sleep = sleep
        self._calls = 0
        self._lock = threading.Lock()

    def connect(self) -> None:
        self.inner.connect()

    def rsync_shell(self) -> list[str] | None:
        """rsync is left alone."""
        return self.inner.rsync_shell()

    def close(self) -> None:
        self.inner.close()

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        """As the transport itself, unless a fault was drawn."""
        with self._lock:
            self._calls += 1
            faults, dice = self._chaos.drawn(self.host, self._calls)
        call = _Call(self, command, faults, dice)
        return call.make(stdin, hold, idle_timeout, on_chunk)

    def note(self, fault: str, verb: str) -> None:
        """A fault is about to happen."""
        if self._tell is not None:
            self._tell(f"{self.host}: {fault} ({verb})")

    def pause(self, seconds: float) -> None:
        self._sleep(seconds)


class _Cut(Exception):
    """Thrown through the transport below, which closes its channel."""


class _Call:
    """One call and the faults that were drawn for it."""

    def __init__(self, transport: Chaotic, command: str, faults: frozenset[str], dice: random.Random) -> None:
        self.transport = transport
        self.command = command
        self.verb = next((verb for verb in wire.VERBS if command.rstrip("'").endswith(f" {verb}")), "install")
        self.faults = faults
        self.dice = dice

    def has(self, fault: str, applies: bool = True) -> bool:
        """Whether the fault happens now."""
        if fault not in self.faults or not applies:
            return False
        self.transport.note(fault, self.verb)
        return True

    def make(
        self, stdin: bytes, hold: Hold | None, idle_timeout: float, on_chunk: OnChunk | None
    ) -> Completed:
        """Make it. Raises ConnectError and ConnectionLost as a real network makes a transport do."""
        host = self.transport.host
        if self.has("no-connection"):
            raise ConnectError(f"{host}: no connection (chaos)")
        if self.has("cut-mid-request", bool(stdin)):
            self._inner(stdin[: self.dice.randrange(len(stdin))], None, idle_timeout, _ignore)
            raise ConnectionLost(f"{host}: the connection broke during the request (chaos)")
        slow = self.has("slow")
        if slow:
            self.transport.pause(self.dice.uniform(0.0, SLOWNESS))
        if self.has("duplicate-request", hold is None):
            return self._twice(stdin, idle_timeout, on_chunk, slow)
        return self._once(stdin, hold, idle_timeout, on_chunk, slow)

    def _twice(self, stdin: bytes, idle_timeout: float, on_chunk: OnChunk | None, slow: bool) -> Completed:
        def other() -> None:
            try:
                self._inner(stdin, None, idle_timeout, _ignore)
            except Exception as error:  # what becomes of the other copy is the host's affair
                self.transport.note(f"duplicate-request: {type(error).__name__}", self.verb)

        thread = threading.Thread(target=other, name="chaos-duplicate")
        at_once = self.dice.random() < 0.5
        thread.start()
        if not at_once:
            thread.join()
        try:
            return self._once(stdin, None, idle_timeout, on_chunk, slow)
        finally:
            thread.join()

    def _once(
        self, stdin: bytes, hold: Hold | None, idle_timeout: float, on_chunk: OnChunk | None, slow: bool
    ) -> Completed:
        out: list[bytes] = []
        take: OnChunk = on_chunk if on_chunk is not None else out.append
        if self.has("empty-queue", self.verb == wire.JOBS_POLL):
            take = _EmptyQueue(take)
        if slow:
            take = _pieces(take)
        if self.has("noise"):
            take(noise(self.dice))
        limit = None
        if self.has("cut-after-submit", self.verb == wire.JOBS_SUBMIT):
            # The host is heard to its end, and not listened to: it has done what was asked.
            take, limit = _ignore, -1
        elif self.has("cut-mid-reply"):
            limit = int(2 ** self.dice.uniform(0.0, 13.0))
            take = _cut_at(limit, take)
        try:
            done = self._inner(stdin, hold, idle_timeout, take)
        except _Cut:
            done = None
        if done is None or limit is not None:
            raise ConnectionLost(f"{self.transport.host}: the connection broke (chaos)")
        return Completed(done.exit_code, b"".join(out), done.stderr)

    def _inner(self, stdin: bytes, hold: Hold | None, idle_timeout: float, take: OnChunk) -> Completed:
        return self.transport.inner.run(self.command, stdin, hold, idle_timeout, take)


def _ignore(_chunk: bytes) -> None:
    """A reply that nobody hears."""


def noise(dice: random.Random) -> bytes:
    """What login files, banners and broken terminals say; its last line has no end."""
    size = int(2 ** dice.uniform(0.0, 16.0))
    words = [
        b"Welcome to wizard!\r\n",
        b"\x1b[2J\x1b]0;owned\x07",
        b"@jobmg",
        b'{"end":0}\n',
        b"\xff\xfe\x00",
        b"-" * 79 + b"\n",
    ]
    text = b"".join(dice.choice([*words, dice.randbytes(16)]) for _ in range(size // 16))
    return text.replace(wire.MARK.strip().encode(), b"@")[:NOISE_LIMIT]


def _pieces(take: OnChunk) -> OnChunk:
    def split(chunk: bytes) -> None:
        step = max(1, len(chunk) // PIECES)
        for at in range(0, len(chunk), step):
            take(chunk[at : at + step])

    return split


def _cut_at(limit: int, take: OnChunk) -> OnChunk:
    """Pass so many bytes on, then break."""
    left = limit

    def cut(chunk: bytes) -> None:
        nonlocal left
        take(chunk[:left])
        left -= len(chunk)
        if left < 0:
            raise _Cut

    return cut


class _EmptyQueue:
    """Rewrites evidence as it passes: every queue that was asked says that it does not know the job."""

    def __init__(self, take: OnChunk) -> None:
        self._take = take
        self._rest = b""

    def __call__(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if lines:
            self._take(b"".join(_emptied(line + b"\n") for line in lines))


def _emptied(line: bytes) -> bytes:
    for kind, value in wire.ReplyReader(wire.JOBS_POLL).feed(line):
        asked = isinstance(value, wire.Evidence) and value.queue.state not in (
            wire.Q_NOT_ASKED,
            wire.Q_COULD_NOT_ASK,
        )
        if kind == wire.JOB and asked:
            assert isinstance(value, wire.Evidence)
            nothing = wire.QueueEvidence(wire.Q_ABSENT, "", "", "")
            return wire.encode_reply(wire.JOB, value._replace(queue=nothing))
    return line

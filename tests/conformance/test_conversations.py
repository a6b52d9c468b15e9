"""Several requests over one run of a command, by every transport."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from jobmgr.errors import ConnectError, ConnectionLost, IdleTimeout
from jobmgr.transport import conversation
from jobmgr.transport.base import Completed, Hold, OnChunk, Transport
from jobmgr.transport.conversation import Conversation, Talks
from sshd_hosts import MakeSshd, transport_to

ECHO = "while read -r line; do case $line in end) echo bye; exit 7;; quiet) sleep 300;; esac; echo $$ $line.; done"
"""Answers each line by one that ends in a dot, and tells who it is."""


@pytest.fixture(params=["fabric", "openssh", "local"])
def transport(request: pytest.FixtureRequest, make_sshd: MakeSshd) -> Iterator[Transport]:
    made = make_sshd() if request.param != "local" else make_sshd(start=False)
    with contextlib.closing(transport_to(made, request.param)) as transport:
        yield transport


class Asking:
    """Says words to one host, by way of its conversations."""

    def __init__(self, transport: Transport) -> None:
        self.talks = Talks(transport)
        self.heard = b""

    def __call__(self, word: str, hold: Hold | None = None, idle: float = 20.0, more: bool = True) -> str | Completed:
        self.heard = b""

        def take(chunk: bytes) -> None:
            self.heard += chunk

        def over() -> bool:
            return self.heard.endswith(b".\n")

        def heard() -> bool:
            return bool(self.heard)

        done = self.talks.exchange(ECHO, word.encode() + b"\n", hold, idle, take, heard, over, more=more)
        return self.heard.decode() if done is None else done


@pytest.fixture
def ask(transport: Transport) -> Iterator[Asking]:
    made = Asking(transport)
    yield made
    made.talks.close()


def test_requests_in_a_row_are_answered_by_one_process(ask: Asking) -> None:
    answers = [str(ask(f"word {number}" + "x" * 100_000)).split() for number in range(3)]
    assert [answer[1:3] for answer in answers] == [["word", f"{n}" + "x" * 100_000 + "."] for n in range(3)]
    assert len({answer[0] for answer in answers}) == 1


def test_a_command_that_ends_says_how_and_the_next_request_starts_another(ask: Asking) -> None:
    first = str(ask("a")).split()[0]
    done = ask("end")
    assert isinstance(done, Completed)
    assert done.exit_code == 7
    assert str(ask("b")).split()[0] != first


def test_without_more_a_call_is_one_run(ask: Asking) -> None:
    done = ask("a", more=False)
    assert isinstance(done, Completed)
    assert done.exit_code == 0


def test_rest_is_not_silence_but_an_answer_that_does_not_come_is(ask: Asking) -> None:
    before = str(ask("a", idle=0.5)).split()[0]
    assert not threading.Event().wait(0.8)
    assert str(ask("b", idle=0.5)).split()[0] == before
    with pytest.raises(IdleTimeout):
        ask("quiet", idle=0.5)


def test_one_that_has_rested_too_long_is_left_alone(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    before = str(ask("a")).split()[0]
    monkeypatch.setattr(conversation, "FRESH", 0.0)
    assert str(ask("b")).split()[0] != before


def test_a_released_hold_says_stop_once_the_host_has_spoken(transport: Transport) -> None:
    command = "echo banner; read -r a; sleep 0.2; echo begun; read -r b; echo stop:$b.; read -r c; echo $c."
    heard = b""

    def take(chunk: bytes) -> None:
        nonlocal heard
        heard += chunk

    talk = Conversation(transport, command, 20.0)
    with Hold() as hold:
        hold.release()
        assert talk.exchange(b"first\n", hold, take, lambda: b"begun" in heard, lambda: heard.endswith(b".\n")) is None
    assert heard == b"banner\nbegun\nstop:.\n"
    assert talk.usable
    heard = b""
    assert talk.exchange(b"second\n", None, take, lambda: bool(heard), lambda: heard.endswith(b".\n")) is None
    assert heard == b"second.\n"
    talk.close()
    assert not talk.usable


def test_a_host_side_that_dies_at_rest_is_not_spoken_to(ask: Asking, transport: Transport) -> None:
    pid = str(ask("a")).split()[0]
    transport.run(f"kill -9 {pid}")
    until = time.monotonic() + 20
    while (resting := ask.talks._resting) is not None and resting.usable:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert str(ask("b")).split()[0] != pid


def test_whoever_waits_for_the_end_of_the_input_gets_it(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Login files that read it, say: then the host side is not heard."""
    monkeypatch.setattr(conversation, "UNHEARD", 0.1)
    talk = Conversation(transport, "echo banner; cat >/dev/null; exit 4", 60.0)
    done = talk.exchange(b"request\n", None, lambda _: None, lambda: False, lambda: False)
    assert done is not None
    assert done.exit_code == 4
    assert not talk.usable


# what cannot be had from a real host at the right moment ---------------------------------------------


class Scripted:
    """A transport whose run is a function."""

    name, host = "scripted", "wizard"

    def __init__(self, act: Callable[[Hold, OnChunk], Completed]) -> None:
        self._act = act

    def connect(self) -> None: ...
    def close(self) -> None: ...

    def rsync_shell(self) -> list[str] | None:
        return None

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        assert hold is not None
        assert on_chunk is not None
        return self._act(hold, on_chunk)


@pytest.mark.parametrize(
    "end", [ConnectError("no session"), ConnectionLost("cut"), Completed(128 + signal.SIGKILL, b"", b"")]
)
def test_a_later_request_may_have_arrived_whatever_ended_the_run(end: Completed | Exception) -> None:
    """A ConnectError would let it be sent to another host."""
    asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def act(hold: Hold, on_chunk: OnChunk) -> Completed:
        on_chunk(b"one.")
        asked.get(timeout=20)
        if isinstance(end, Exception):
            raise end
        return end

    talk = Conversation(Scripted(act), "x", 20.0)
    assert talk.exchange(b"a", None, lambda _: None, lambda: False, lambda: True) is None
    timer = threading.Timer(0.05, asked.put, (None,))
    timer.start()
    with pytest.raises(ConnectionLost, match=r"may have arrived|cut"):
        talk.exchange(b"b", None, lambda _: None, lambda: False, lambda: True)


def test_the_first_request_fails_as_any_call() -> None:
    def act(hold: Hold, on_chunk: OnChunk) -> Completed:
        raise ConnectError("refused")

    with pytest.raises(ConnectError, match="refused"):
        Conversation(Scripted(act), "x", 20.0).exchange(b"a", None, lambda _: None, lambda: False, lambda: True)

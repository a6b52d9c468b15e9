"""The transport that fails on purpose: each fault does what docs/cli.md says, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jobmgr.errors import ConnectError, ConnectionLost, UsageError
from jobmgr.transport.base import Completed, Hold, OnChunk
from jobmgr.transport.chaos import FAULTS, Chaos, Chaotic
from jobmgr_remote import wire

HELLO = wire.encode_reply(wire.HELLO, wire.Hello(1, "1", 1.0, "i", "h", "u", "/r", "ok", "3.11"))
EVIDENCE = wire.Evidence(
    "1/a/01", "t", wire.NO_FILE, wire.QueueEvidence(wire.Q_ACTIVE, "R", "", ""), wire.P_NOT_ASKED, wire.C_NONE,
    "7", True, False, wire.S_NONE, wire.NO_FOUND, None,
)  # fmt: skip
REPLY = HELLO + wire.encode_reply(wire.JOB, EVIDENCE) + wire.encode_reply(wire.END, 1)
REQUEST = b'{"a request": 1}\n' * 9


class Host:
    """Answers every call with the same reply, in two chunks."""

    name, host = "local", "wizard"

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def connect(self) -> None:
        pass

    def run(
        self, command: str, stdin: bytes = b"", hold: Hold | None = None, idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:  # fmt: skip
        self.heard.append(stdin)
        if on_chunk is None:
            return Completed(0, REPLY, b"")
        on_chunk(REPLY[:100])
        on_chunk(REPLY[100:])
        return Completed(0, b"", b"")

    def rsync_shell(self) -> list[str] | None:
        return None

    def close(self) -> None:
        pass


def call(spec: str, verb: str = "jobs-poll") -> tuple[Host, bytes, Exception | None, list[str]]:
    """One call; what the host heard, what came back, what was raised, and what was told."""
    host, told, got = Host(), list[str](), bytearray()
    chaotic = Chaotic(host, Chaos.parse(spec), told.append, sleep=lambda _seconds: None)
    error = None
    try:
        chaotic.run(f"/bin/sh -c '... {verb}'", REQUEST, None, 60.0, got.extend)
    except (ConnectError, ConnectionLost) as raised:
        error = raised
    return host, bytes(got), error, told


def test_without_its_fault_a_call_is_left_alone() -> None:
    assert call("noise=0,slow=0.0")[1:] == (REPLY, None, [])


def test_no_connection_sends_nothing() -> None:
    host, got, error, told = call("no-connection")
    assert (host.heard, got, type(error)) == ([], b"", ConnectError)
    assert told == ["wizard: no-connection (jobs-poll)"]


def test_a_cut_request_arrives_in_part() -> None:
    host, got, error, _ = call("cut-mid-request,seed=1")
    assert REQUEST.startswith(host.heard[0])
    assert len(host.heard[0]) < len(REQUEST)
    assert (got, type(error)) == (b"", ConnectionLost)


def test_after_a_submit_nothing_comes_back_and_other_verbs_are_spared() -> None:
    host, got, error, _ = call("cut-after-submit", "jobs-submit")
    assert (host.heard, got, type(error)) == ([REQUEST], b"", ConnectionLost)
    assert call("cut-after-submit", "jobs-poll")[1:3] == (REPLY, None)


@pytest.mark.parametrize("seed", range(8))
def test_a_cut_reply_is_a_beginning_of_it(seed: int) -> None:
    host, got, error, _ = call(f"cut-mid-reply,seed={seed}")
    assert host.heard == [REQUEST]
    assert REPLY.startswith(got)
    assert isinstance(error, ConnectionLost)


@pytest.mark.parametrize("seed", range(6))
def test_a_duplicate_is_the_same_request_and_one_reply(seed: int) -> None:
    host, got, error, _ = call(f"duplicate-request,seed={seed}")
    assert host.heard == [REQUEST, REQUEST]
    assert (got, error) == (REPLY, None)


@pytest.mark.parametrize("seed", range(12))
def test_noise_is_no_reply(seed: int) -> None:
    _, got, error, _ = call(f"noise,seed={seed}")
    assert error is None
    assert got.endswith(REPLY)
    reader = wire.ReplyReader("jobs-poll")
    assert [kind for kind, _ in reader.feed(got)] == [wire.HELLO, wire.JOB, wire.END]
    assert reader.ended


def test_slow_changes_no_byte() -> None:
    assert call("slow")[1:3] == (REPLY, None)


def test_an_empty_queue_knows_no_job_and_leaves_the_rest_of_the_evidence() -> None:
    _, got, _, _ = call("empty-queue,slow")
    records = wire.ReplyReader("jobs-poll").feed(got)
    absent = wire.QueueEvidence(wire.Q_ABSENT, "", "", "")
    assert records[1] == (wire.JOB, EVIDENCE._replace(queue=absent))
    assert len(records) == 3


def test_the_same_seed_does_the_same_again() -> None:
    chaos = Chaos.parse("noise=0.5,slow=0.5,cut-mid-reply=0.5,seed=7")
    first, again = ([chaos.drawn("h", n)[0] for n in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 4
    assert Chaos.parse("noise").seed != Chaos.parse("noise").seed


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cut-mid-repl=1", "nearest: cut-mid-reply"),
        ("noise=2", "between 0 and 1"),
        ("noise=nan", "between 0 and 1"),
        ("noise=often", "'often'"),
        ("seed=3", "no fault is named"),
        ("", "no fault is named"),
    ],
)
def test_a_wrong_word_is_answered(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        Chaos.parse(spec)


def test_every_fault_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs/cli.md").read_text()
    for name in FAULTS:
        assert f"| `{name}` |" in text


def test_a_reply_without_a_listener_comes_as_the_result() -> None:
    make: Callable[[str], Chaotic] = lambda spec: Chaotic(Host(), Chaos.parse(spec))  # noqa: E731
    assert make("slow=0").run("x jobs-poll").stdout == REPLY
    assert make("noise,seed=2").run("x jobs-poll").stdout.endswith(REPLY)

"""New connections per second, backoff, and places on a connection."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    HostKeyError,
    UnsupportedError,
)
from jobmgr.transport import pace, patient_socket
from jobmgr.transport.base import Completed, Hold, OnChunk
from jobmgr.transport.environment import for_ssh, scrubbed
from jobmgr.transport.flocked import StillLocked, flocked
from jobmgr.transport.pace import PER_SECOND, reserve, wait_for_turn
from jobmgr.transport.retrying import Retrying, delay
from jobmgr.transport.sessions import CALM, NoSession, Patience, SessionGate

times = st.floats(min_value=0, max_value=1e6)


@given(st.lists(times, min_size=1, max_size=60))
def test_never_more_than_eight_starts_within_a_second(arrivals: list[float]) -> None:
    latest: tuple[float, ...] = ()
    starts = []
    for now in sorted(arrivals):
        latest, start = reserve(latest, now)
        assert start >= now
        starts.append(start)
    assert starts == sorted(starts)
    for first, ninth in zip(starts, starts[PER_SECOND:], strict=False):
        assert ninth - first >= 1 - 1e-6


@given(st.lists(times, max_size=PER_SECOND - 1), times)
def test_the_first_eight_do_not_wait(latest: list[float], now: float) -> None:
    assert reserve(latest, now)[1] == now


def test_times_of_another_boot_are_forgotten() -> None:
    latest, start = reserve([1e9] * 20, 5.0)
    assert start == 5.0
    assert latest == (5.0,)


def test_what_is_no_time_is_ignored(tmp_path: Path) -> None:
    wait_for_turn(str(tmp_path), "h:22")
    (file,) = tmp_path.iterdir()
    boot = file.read_text().split()[0]
    file.write_text(f"{boot} garbage 1.0 x")
    wait_for_turn(str(tmp_path), "h:22")
    assert len(file.read_text().split()) == 3
    assert os.stat(file).st_mode & 0o077 == 0


def test_times_of_an_earlier_boot_keep_nobody_waiting(tmp_path: Path) -> None:
    wait_for_turn(str(tmp_path), "h:22")
    (file,) = tmp_path.iterdir()
    began = time.monotonic()
    file.write_text(" ".join(["another-boot", *[f"{began + 300:.3f}"] * PER_SECOND]))
    wait_for_turn(str(tmp_path), "h:22")
    assert time.monotonic() - began < 60


def test_a_lock_that_stays_taken_is_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with (
        flocked(path, 1.0),
        pytest.raises(StillLocked),
        flocked(path, 0.05),
    ):
        pass
    with flocked(path, 1.0):
        pass


def test_turns_that_stay_locked_are_a_connect_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PATIENCE", 0.05)
    wait_for_turn(str(tmp_path), "h:22")
    (file,) = tmp_path.iterdir()
    with flocked(str(file), 1.0), pytest.raises(ConnectTimeout, match=r"h:22: .* has been locked for 0.05 s"):
        wait_for_turn(str(tmp_path), "h:22")


def test_a_copy_of_the_descriptor_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As a child has it between fork and exec."""
    path = str(tmp_path / "lock")
    with flocked(path, 1.0) as fd:
        copy = os.dup(fd)
    try:
        with flocked(path, 1.0):
            pass
    finally:
        os.close(copy)


def test_the_next_one_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path, got = str(tmp_path / "lock"), threading.Event()

    def take() -> None:
        with flocked(path, 20.0):
            got.set()

    with flocked(path, 1.0):
        waiting = threading.Thread(target=take)
        waiting.start()
    assert got.wait(20)
    waiting.join(20)


# a connection whose other end takes nothing -------------------------------------------------------------


def test_a_send_that_nobody_takes_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_socket, "LIMIT", 0.3)
    ours, theirs = patient_socket.patient_pair()
    with ours, theirs:
        ours.settimeout(0.05)
        until = time.monotonic() + 20
        with pytest.raises(ConnectionAbortedError, match="took nothing"):
            send_without_end(ours, until)
        assert ours.recv(1) == b""


def send_without_end(ours: patient_socket.PatientSocket, until: float) -> None:
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            ours.send(b"x" * 65536)


def test_each_byte_that_is_taken_counts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_socket, "LIMIT", 0.3)
    ours, theirs = patient_socket.patient_pair()
    with ours, theirs:
        ours.settimeout(0.01)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            try:
                ours.send(b"x" * 65536)
            except TimeoutError:
                theirs.recv(1 << 20)


def test_each_sshd_has_its_own_pace(tmp_path: Path) -> None:
    for port in range(3):
        wait_for_turn(str(tmp_path), f"h:{port}")
    assert len(list(tmp_path.iterdir())) == 3


# retrying ---------------------------------------------------------------------------------------------


class Flaky:
    """A transport that fails to connect with each of ``failures`` in turn, then works."""

    name = "flaky"
    host = "wizard"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.connects = 0
        self.runs = 0
        self.closed = False

    def connect(self) -> None:
        self.connects += 1
        if self.failures:
            raise self.failures.pop(0)

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        self.runs += 1
        raise ConnectionLost("may have arrived")

    def rsync_shell(self) -> list[str] | None:
        return ["x"]

    def close(self) -> None:
        self.closed = True


def test_connection_failures_are_repeated_with_growing_pauses() -> None:
    pauses: list[float] = []
    flaky = Flaky(ConnectError("1"), ConnectTimeout("2"))
    Retrying(flaky, attempts=4, sleep=pauses.append, chance=lambda: 1.0).connect()
    assert flaky.connects == 3
    assert pauses == [0.5, 1.0]


def test_the_last_failure_is_raised() -> None:
    flaky = Flaky(ConnectError("1"), ConnectError("2"), ConnectError("3"))
    with pytest.raises(ConnectError, match="2"):
        Retrying(flaky, attempts=2, sleep=lambda _: None).connect()


@pytest.mark.parametrize("error", [AuthenticationError, HostKeyError, UnsupportedError])
def test_what_a_person_must_solve_is_not_repeated(error: type[ConnectError]) -> None:
    flaky = Flaky(error("no"))
    with pytest.raises(error):
        Retrying(flaky, attempts=9, sleep=lambda _: None).connect()
    assert flaky.connects == 1


def test_a_request_that_may_have_arrived_is_not_repeated() -> None:
    flaky = Flaky()
    with pytest.raises(ConnectionLost):
        Retrying(flaky, attempts=9, sleep=lambda _: None).run("x")
    assert flaky.runs == 1


class NotSentOnce(Flaky):
    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        self.runs += 1
        if self.runs == 1:
            raise ConnectTimeout("no session was opened")
        return Completed(0, stdin, b"")


def test_a_request_that_was_certainly_not_sent_is_repeated() -> None:
    flaky = NotSentOnce()
    assert Retrying(flaky, sleep=lambda _: None).run("x", b"in").stdout == b"in"
    assert flaky.runs == 2


def test_the_rest_is_handed_through() -> None:
    flaky = Flaky()
    patient = Retrying(flaky)
    assert (patient.name, patient.host, patient.rsync_shell()) == ("flaky", "wizard", ["x"])
    patient.close()
    assert flaky.closed


@given(st.integers(0, 50), st.floats(0, 0.999))
def test_pauses_are_bounded_and_spread(attempt: int, chance: float) -> None:
    pause = delay(attempt, 0.5, 10.0, chance)
    full = min(10.0, 0.5 * 2**attempt)
    assert full / 2 <= pause <= full


# sessions -----------------------------------------------------------------------------------------------


def test_a_full_gate_lets_the_next_in_when_one_leaves() -> None:
    gate = SessionGate(1)
    with gate.session(0):
        with pytest.raises(NoSession), gate.session(0):
            pass
        waiting = threading.Thread(target=pass_through, args=(gate, passed := threading.Event()))
        waiting.start()
        assert not passed.is_set()
    assert passed.wait(20)
    waiting.join(20)
    assert gate.open == 0


def pass_through(gate: SessionGate, passed: threading.Event) -> None:
    with gate.session(20):
        passed.set()


def test_a_refusal_lowers_the_limit_but_never_below_one() -> None:
    gate = SessionGate(8)
    with gate.session(0), gate.session(0), gate.session(0):
        gate.refused()
    assert gate.limit == 2
    with gate.session(0):
        gate.refused()
        gate.refused()
    assert gate.limit == 1


def test_the_limit_comes_back_after_a_calm() -> None:
    gate = SessionGate(2)
    with gate.session(0), gate.session(0):
        gate.refused()
    assert gate.limit == 1
    for _ in range(2 * CALM):
        with gate.session(0):
            pass
    assert gate.limit == 2


def test_patience_ends() -> None:
    assert Patience(0).pause() is False
    assert Patience(0.01).pause() is True


# environment ----------------------------------------------------------------------------------------------


def test_own_variables_are_scrubbed() -> None:
    assert scrubbed({"JOBMGR_TOKEN": "x", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_an_ssh_that_must_not_ask_cannot_ask() -> None:
    found = for_ssh(
        {"DISPLAY": ":0", "SSH_ASKPASS": "x", "SSH_TTY": "t", "SSH_AUTH_SOCK": "s", "JOBMGR_X": ""}
    )
    assert found == {"SSH_AUTH_SOCK": "s", "SSH_ASKPASS_REQUIRE": "never"}

"""However a turn of the engine ends, it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from jobmgr.service import engine as engine_module
from jobmgr.service.context import RunContext
from jobmgr.service.engine import Engine
from jobmgr.service.workers import Workers


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(cast(RunContext, None))
    yield made
    made.close(0.0)


def start(engine: Engine, name: str, finish: Any, gate: threading.Event | None = None) -> threading.Event:
    """Start work that waits for ``gate`` and then brings its name; the event that comes back: it is through."""
    through = threading.Event()

    def work() -> str:
        if gate is not None:
            gate.wait(60)
        through.set()
        return name

    assert engine._start(("test", name), work, finish)
    return through


def await_inbox(engine: Engine, number: int) -> None:
    until = time.monotonic() + 20
    while engine._inbox.qsize() < number:
        assert time.monotonic() < until
        time.sleep(0.005)


def turn(engine: Engine) -> None:
    with engine:
        while engine.busy:
            engine.step(5.0)


def test_what_arrived_with_a_result_that_could_not_be_stored_is_not_forgotten(engine: Engine) -> None:
    stored: list[str] = []

    def finish(name: str) -> None:
        if name == "b":
            raise OSError("no space left")
        stored.append(name)

    for name in "abcd":
        start(engine, name, finish).wait(20)
    await_inbox(engine, 4)
    with pytest.raises(OSError, match="no space left"):
        turn(engine)
    assert sorted(stored) == ["a", "c", "d"]
    assert not engine.busy


def test_an_error_while_it_closes_is_raised_once_all_is_done(engine: Engine) -> None:
    stored: list[str] = []

    def finish(name: str) -> None:
        stored.append(name)
        if name == "a":
            raise OSError("no space left")

    for name in "abc":
        start(engine, name, finish)
    with pytest.raises(OSError, match="no space left"):
        engine.close()
    assert sorted(stored) == ["a", "b", "c"]


def test_a_poll_that_has_brought_nothing_new_is_no_news(engine: Engine) -> None:
    start(engine, "a", lambda name: None)
    assert engine.step(20.0)
    assert engine.has_news
    assert engine._start(("poll", "p", "h"), list, lambda answers: None)
    assert engine.step(20.0)
    assert not engine.has_news
    assert not engine.step(0.0)


def test_an_interrupt_that_loses_a_result_does_not_keep_it_waiting(engine: Engine) -> None:
    start(engine, "a", lambda name: None).wait(20)
    await_inbox(engine, 1)
    engine._inbox.get_nowait()  # the interrupt comes here
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), engine:
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10
    assert not engine.busy


def test_after_an_error_a_worker_that_does_not_end_is_left_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LEAVE", 0.1)
    gate = threading.Event()
    start(engine, "slow", lambda name: None, gate)
    with pytest.raises(KeyboardInterrupt), engine:
        raise KeyboardInterrupt
    assert engine.busy
    gate.set()


def test_without_an_error_workers_are_waited_for(engine: Engine) -> None:
    stored: list[str] = []
    gate = threading.Event()
    with engine:
        start(engine, "slow", stored.append, gate)
        threading.Timer(0.2, gate.set).start()
    assert stored == ["slow"]


def test_no_more_threads_than_the_limit_and_all_work_is_done() -> None:
    workers, gate = Workers(3), threading.Event()
    seen: set[str] = set()
    done = threading.Semaphore(0)

    def work() -> None:
        gate.wait(20)
        seen.add(threading.current_thread().name)
        done.release()

    for _ in range(10):
        workers.submit(work)
    gate.set()
    assert all(done.acquire(timeout=20) for _ in range(10))
    assert len(seen) <= 3
    workers.close()


def test_threads_are_used_again() -> None:
    workers = Workers(8)
    names: set[str] = set()
    for _ in range(5):
        through = threading.Event()
        workers.submit(lambda through=through: (names.add(threading.current_thread().name), through.set()))  # type: ignore[misc]
        assert through.wait(20)
        until = time.monotonic() + 20
        while workers._idle._value == 0 and time.monotonic() < until:
            time.sleep(0.001)
    assert len(names) == 1
    workers.close()

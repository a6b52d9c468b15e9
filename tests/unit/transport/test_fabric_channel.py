"""The bell of a channel: what arrives on either of two streams is told, whenever it comes."""

from __future__ import annotations

import select
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from paramiko.buffered_pipe import BufferedPipe

from jobmgr.transport.fabric_channel import _Bell

SECONDS = 2.0
"""``Channel.fileno()`` in the bell's place stalls within a tenth of that."""


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_what_comes_on_two_streams_at_once_is_always_told(hasty_threads: None) -> None:
    streams = BufferedPipe(), BufferedPipe()
    bell = _Bell(SimpleNamespace(in_buffer=streams[0], in_stderr_buffer=streams[1]))
    until = time.monotonic() + SECONDS
    fed, took = [0, 0], [0, 0]

    def feed() -> None:
        while time.monotonic() < until:
            for number, stream in enumerate(streams):
                stream.feed(b"x")
                fed[number] += 1
            if fed[0] % 25 == 0:
                time.sleep(0.0002)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    while feeder.is_alive() or took != fed:
        if not select.select([bell.fileno()], [], [], 20.0)[0]:
            assert took == fed, "something came, and was not told"
            break  # the last byte came just before the feeder's end
        bell.hear()
        for number, stream in enumerate(streams):
            if stream.read_ready():
                took[number] += len(stream.read(1 << 16))
    bell.close()


def test_the_end_of_a_stream_rings_and_a_bell_that_is_closed_does_not() -> None:
    streams = BufferedPipe(), BufferedPipe()
    bell = _Bell(SimpleNamespace(in_buffer=streams[0], in_stderr_buffer=streams[1]))
    streams[0].close()
    assert select.select([bell.fileno()], [], [], 20.0)[0]
    bell.hear()
    assert not select.select([bell.fileno()], [], [], 0)[0]
    bell.close()
    streams[1].feed(b"late")

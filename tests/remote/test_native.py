"""The C parts of json and signal do what the modules do, and spare the host side these modules."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_side import PACKAGE, Host, host_in
from jobmgr_remote import native, wire

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES)
def test_what_is_written_is_what_json_writes(value: object) -> None:
    text = native.dumps(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert native.loads(text) == json.loads(text)
    assert native.raw_decode(text + "rest") == json.JSONDecoder().raw_decode(text + "rest")
    assert native.loads(f" \n{json.dumps(value, indent=1)}\t\r ") == json.loads(text)


@given(st.text() | st.text("[]{}\",:0123456789.eE+-tfn\\u \n"))
def test_what_json_refuses_is_refused(text: str) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            native.loads(text)
    else:
        assert repr(native.loads(text)) == repr(wanted)


@pytest.mark.parametrize("text", ["NaN", "[Infinity, -Infinity]", '"\\ud800"', '{"a": 1, "a": 2}'])
def test_what_only_json_takes_is_taken(text: str) -> None:
    assert repr(native.loads(text)) == repr(json.loads(text))


def test_nothing_else_can_be_written() -> None:
    with pytest.raises(TypeError, match="bytes is not JSON"):
        native.dumps({"a": b"x"})


def test_the_numbers_of_signals_are_the_same() -> None:
    for one in signal.Signals:
        if hasattr(native.signals, one.name):
            assert getattr(native.signals, one.name) == one
    assert native.signals.SIG_DFL == signal.SIG_DFL


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path) as made:
        yield made


SPARED = {"collections", "enum", "json", "re", "signal", "subprocess", "typing"}


@pytest.mark.parametrize("verb", [wire.JOBS_POLL, wire.JOBS_KILL])
def test_a_look_at_a_host_loads_what_it_needs_and_no_more(verb: str, host: Host) -> None:
    """Imports are most of what a poll of a few jobs costs."""
    item = host.job("sleep 100")
    host.submit(item)
    argv = [sys.executable, "-I", "-S", "-X", "importtime", str(PACKAGE / "__main__.py"), verb]
    done = subprocess.run(argv, input=host.request(verb, [item]), env=host.env, capture_output=True, check=True)
    reader = wire.ReplyReader(verb)
    reader.feed(done.stdout)
    assert (reader.count, reader.ended) == (1, True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    assert {"jobmgr_remote.native", "jobmgr_remote.records"} <= loaded
    assert SPARED & loaded == set()

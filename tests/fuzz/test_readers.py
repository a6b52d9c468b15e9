"""Wild input for every reader of foreign text: what is known to be right, damaged by the dice.

The corpus are the files of tests/data, and those of tests/data/fuzz, where inputs that once made a reader
fail are kept. Each is read as it is, and damaged: cut, doubled, mixed with others and with what is special to
the format. A reader answers, or raises the one error that it promises. ``make fuzz`` takes FUZZ_EXAMPLES
tries instead of some, with new dice each time.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jobmgr.core.decide import decide
from jobmgr.core.evidence import JobView, Look
from jobmgr.core.states import State
from jobmgr.errors import ConfigError, PlatformError, Problem, SuiteError
from jobmgr.platforms.load import load_platforms
from jobmgr.suite.load import load_suite
from jobmgr_remote import fence, hostconf, layout, status, wire
from jobmgr_remote.runners import base
from runner_cases import all_cases

DATA = Path(__file__).parents[1] / "data"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))
fuzzed = settings(
    max_examples=EXAMPLES, deadline=None, derandomize="FUZZ_EXAMPLES" not in os.environ, print_blob=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

SPECIAL = [
    b"\n", b"\r", b"\0", b"\x1b[2J", b"\xff", b"\xed\xa0\x80", b"\\", b"\\x", b"'", b'"', b"{", b"}", b"[", b"]",
    b":", b"|", b"^", b"=", b"- ", b"&a ", b"*a", b"!!python/object:os.system ", b"%", b"..", b"/", b"/../..", b"~",
    b"-1", b"NaN", b"1e999", b"9" * 400, b"null", b"\t", b"@jobmgr ", b'@jobmgr {"end":0}\n', b"<<: ", b"? ", b"--- ",
    b"JOBMGR_EXIT=SUCCEEDED\n", b"$(id)", b"[" * 2000, b"{" * 2000, b"a" * 5000, "é".encode(), "\u202e".encode(),
    "\u2028".encode(),
]  # fmt: skip


def corpus(*patterns: str) -> list[bytes]:
    found = [path.read_bytes() for pattern in patterns for path in sorted(DATA.glob(pattern)) if path.is_file()]
    assert found, patterns
    return found


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """One of the files after up to six blows."""
    data = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 200)))
        blow = draw(st.sampled_from(["cut", "drop", "double", "put", "mix", "flip"]))
        if blow == "cut":
            data = data[:at]
        elif blow == "drop":
            data = data[:at] + data[to:]
        elif blow == "double":
            data = data[:to] + data[at:]
        elif blow == "put":
            data = data[:at] + draw(st.sampled_from(SPECIAL)) + data[at:]
        elif blow == "mix":
            other = draw(st.sampled_from(files))
            start = draw(st.integers(0, len(other)))
            data = data[:at] + other[start : start + 300] + data[to:]
        elif data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
    return data


REPLIES = corpus("wire/reply.txt", "fuzz/*.reply")
REQUESTS = corpus("wire/request.txt", "fuzz/*.request")
STATUSES = corpus("status/*", "fuzz/*.status")
SUITES = corpus("validate/*.yaml", "../../suites/*/suite.yaml", "fuzz/*.yaml")
PLATFORMS = corpus("fuzz/platforms*.yaml")
HOST_CONFS = corpus("fuzz/*.conf")
CASES = all_cases()
VIEW = JobView("1/sim/01", "0f0e0d0c-1111-4222-8333-444455556666", "slurm", True, State.SUBMITTED)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[one:other] for one, other in pairwise(places)]


def reply(verb: str, data: bytes, cuts: list[int]) -> None:
    """However a reply is chopped up, the same is read; and every decision about it is made."""
    whole = wire.ReplyReader(verb).feed(data)
    reader = wire.ReplyReader(verb)
    assert [one for part in split(data, cuts) for one in reader.feed(part)] == whole
    assert len(reader.noise) <= 4096
    for _kind, value in whole:
        if isinstance(value, wire.Evidence):
            view = replace(VIEW, job=value.job, token=value.token)
            assert decide(view, Look(value, 1.7e9, "i", "ok", False, "")).rule


@fuzzed
@given(verb=st.sampled_from(wire.VERBS), data=damaged(REPLIES), cuts=st.lists(st.integers(0, 3000), max_size=5))
def test_replies(verb: str, data: bytes, cuts: list[int]) -> None:
    reply(verb, data, cuts)


def request(data: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        wire.read_request(io.BytesIO(data))


@fuzzed
@given(data=damaged(REQUESTS))
def test_requests(data: bytes) -> None:
    request(data)


def job_status(data: bytes) -> None:
    with contextlib.suppress(status.Unreadable):
        parsed = status.parse(data)
        assert all("\n" not in key for key in parsed.facts)
        status.parse_exit(parsed.facts.get(status.EXIT, ""))


@fuzzed
@given(data=damaged(STATUSES))
def test_job_status(data: bytes) -> None:
    job_status(data)


def refused_or_read(read: Callable[[], object], error: type[ConfigError]) -> None:
    problems: tuple[object, ...] = ()
    try:
        read()
    except error as refused:
        problems = refused.problems or ("nothing is said",)
    assert all(isinstance(one, Problem) and str(one).isprintable() for one in problems), problems


@fuzzed
@given(data=damaged(SUITES))
def test_suite_files(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "suite.yaml"
    file.write_bytes(data)
    refused_or_read(lambda: load_suite(file), SuiteError)


@fuzzed
@given(data=damaged(PLATFORMS))
def test_platform_files(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "platforms.yaml"
    file.write_bytes(data)
    refused_or_read(lambda: load_platforms((file,), file, set), PlatformError)


@fuzzed
@given(data=damaged(HOST_CONFS))
def test_host_conf(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        hostconf.parse(data.decode("utf-8", "replace"))


@fuzzed
@given(data=damaged([b"0f0e0d0c-1111-4222-8333-444455556666 1/a/01 at 1.0 12 34 b:1:2 h\n", b"12 12 34 b:1:2 h\n"]))
def test_journal_and_claims(data: bytes) -> None:
    entry = fence.parse_entry(data)
    assert entry is None or layout.is_token(entry.token)
    fence.parse_claim(data.decode("utf-8", "replace"))


@fuzzed
@given(data=st.data(), code=st.one_of(st.none(), st.integers(-64, 255)))
def test_output_of_queues(data: st.DataObject, code: int | None) -> None:
    case = data.draw(st.sampled_from(CASES))
    alike = [one.out.encode() for one in CASES if one.runner == case.runner]
    out = data.draw(damaged([case.out.encode(), *alike])).decode("utf-8", "replace")
    err = data.draw(damaged([case.err.encode(), b""])).decode("utf-8", "replace")
    runner = importlib.import_module(f"jobmgr_remote.runners.{case.runner}")
    ids = case.ids or ["1"]
    assert runner.parse_submit(code, out, err).state in (base.SUBMITTED, base.FAILED, base.LIMIT, base.UNKNOWN)
    for call in [*runner.poll_calls(ids), *runner.history_calls(ids)]:
        answer = runner.parse_poll(call, ids, code, out, err)
        assert set(answer.seen) <= set(ids)
        assert all("\n" not in row.raw for row in answer.seen.values())
    assert set(runner.parse_kill(ids, code, out, err)) <= set(ids)


def test_the_corpus_itself(tmp_path: Path) -> None:
    for data in REPLIES:
        for verb in wire.VERBS:
            reply(verb, data, [1, 100, 1000])
    for data in REQUESTS:
        request(data)
    for data in STATUSES:
        job_status(data)
    for number, data in enumerate(PLATFORMS):
        file = tmp_path / f"{number}.yaml"
        file.write_bytes(data)
        refused_or_read(lambda file=file: load_platforms((file,), file, set), PlatformError)


def test_an_endless_line_of_a_host_is_read_in_bounded_memory() -> None:
    reader = wire.ReplyReader(wire.JOBS_POLL)
    chunk = b"x" * (1 << 20)
    tracemalloc.start()
    try:
        for _ in range(64):
            assert reader.feed(chunk) == []
        assert tracemalloc.get_traced_memory()[1] < 4 * wire.MAX_REPLY_LINE
    finally:
        tracemalloc.stop()
    assert [kind for kind, _ in reader.feed(b"\n" + wire.encode_reply(wire.END, 0))] == [wire.END]

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import wire

DATA = Path(__file__).parent.parent / "data" / "wire"
RUN = wire.Run("$HOME/jobmgr-run", "sweep", "3b0ae0f6-2f0e-4ab9-8f0a-0d0f3c1c2b3a", "c1", 2, "ada@lap")
FILE = wire.FileEvidence(
    wire.FILE_OK,
    321,
    {"TOKEN": "t", "EXIT": "FAILED/3"},
    (("2026-11-20T12:00:00Z", "INFO", "a|b\nü"),),
    4,
    1,
    "",
)
EVIDENCE = wire.Evidence(
    "1/sim/01",
    "t",
    FILE,
    wire.QueueEvidence(wire.Q_ENDED, "COMPLETED", "", ""),
    wire.P_GONE,
    wire.C_STARTED,
    "42",
    True,
    False,
    wire.S_NONE,
    wire.NO_FOUND,
    (wire.Listed("work/1/sim/x", 7, "file"),),
)
REPLY: list[tuple[str, str, Any]] = [
    (
        wire.JOBS_POLL,
        wire.HELLO,
        wire.Hello(1, "1.0.0", 1.5, "b:1:2", "wizard", "ada", "/home/ada/r", "ok", "3.6.8"),
    ),
    (wire.JOBS_POLL, wire.JOB, EVIDENCE),
    (wire.SCAN, wire.JOB, EVIDENCE._replace(files=None)),
    (
        wire.JOBS_SUBMIT,
        wire.JOB,
        wire.Submitted("1/sim/01", "t", wire.R_SUBMITTED, "42", "", "2026-11-20T12:00:00Z"),
    ),
    (wire.JOBS_KILL, wire.JOB, wire.Killed("1/sim/01", "t", wire.K_KILLED, "", EVIDENCE)),
    (wire.JOBS_KILL, wire.JOB, wire.Killed("1/sim/01", "t", wire.K_COULD_NOT, "cannot see pid 3", None)),
    (wire.CAT_LOG, wire.DATA, {"b64": "eA==", "offset": 0}),
    (wire.JOBS_POLL, wire.NOTE, wire.Note("warning", "noexec", "text")),
    (wire.REMOTE_INIT, wire.INIT, {"shared": False, "cores": 2}),
    (wire.JOBS_POLL, wire.BEAT, 1795176000),
    (wire.JOBS_POLL, wire.ERROR, wire.Error(wire.E_ACTIVE, "1 job is alive")),
]
VERB_OF = {type(value): verb for verb, kind, value in REPLY if kind == wire.JOB}

text = st.text(st.characters(blacklist_categories=("Cs",)), max_size=30)
facts = st.dictionaries(text, text, max_size=4)
messages = st.lists(st.tuples(text, text, text), max_size=3).map(tuple)
files = st.one_of(
    st.none(), st.lists(st.builds(wire.Listed, text, st.integers(0, 1 << 60), text), max_size=3).map(tuple)
)
count = st.integers(0, 1 << 40)
evidence = st.builds(
    wire.Evidence,
    text,
    text,
    st.builds(wire.FileEvidence, text, count, facts, messages, count, count, text),
    st.builds(wire.QueueEvidence, text, text, text, text),
    text,
    text,
    text,
    st.booleans(),
    st.booleans(),
    text,
    st.builds(wire.Found, text, text, text, st.booleans()),
    files,
)
job_lines = st.one_of(
    evidence,
    st.builds(wire.Submitted, text, text, text, text, text, text),
    st.builds(wire.Killed, text, text, text, text, st.one_of(st.none(), evidence)),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=12), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=15,
)


def read(
    data: bytes, verb: str = wire.JOBS_POLL, chunk: int = 0
) -> tuple[wire.ReplyReader, list[tuple[str, Any]]]:
    reader = wire.ReplyReader(verb)
    records: list[tuple[str, Any]] = []
    for at in range(0, len(data), chunk or max(1, len(data))):
        records += reader.feed(data[at : at + (chunk or len(data))])
    return reader, records


def a_reply() -> bytes:
    return b"".join(
        [
            wire.encode_reply(wire.HELLO, REPLY[0][2]),
            wire.encode_reply(wire.JOB, EVIDENCE),
            wire.encode_reply(wire.BEAT, 1),
            wire.encode_reply(wire.JOB, EVIDENCE._replace(job="1/sim/02")),
            wire.encode_reply(wire.END, 2),
        ]
    )


# --- golden files ------------------------------------------------------------------------------------


def test_golden_request() -> None:
    items = [{"job": "1/sim/01", "script": "echo 'ü'\n"}, {"job": "1/sim/02"}]
    made = wire.encode_request(wire.JOBS_SUBMIT, RUN, {"max_active": None}, items, {"runner": "slurm"})
    assert made == (DATA / "request.txt").read_bytes()
    request = wire.read_request(io.BytesIO(made))
    assert request == wire.Request(
        1, "jobs-submit", RUN, {"max_active": None}, [{"runner": "slurm", **item} for item in items], True
    )


def test_golden_reply() -> None:
    made = b"".join(wire.encode_reply(kind, value) for _, kind, value in REPLY) + wire.encode_reply(
        wire.END, 5
    )
    assert made == (DATA / "reply.txt").read_bytes()


@pytest.mark.parametrize("verb, kind, value", REPLY)
def test_every_record_comes_back_as_it_was(verb: str, kind: str, value: Any) -> None:
    _, records = read(wire.encode_reply(kind, value), verb)
    assert records == [(kind, value)]
    assert type(records[0][1]) is type(value)


# --- round trips --------------------------------------------------------------------------------------


@given(job_lines)
def test_any_job_line_comes_back_as_it_was(value: Any) -> None:
    data = wire.encode_reply(wire.JOB, value)
    assert data.isascii()
    assert data.count(b"\n") == 1
    _, records = read(data, VERB_OF[type(value)])
    assert records == [(wire.JOB, value)]


@given(
    st.lists(
        st.dictionaries(text, st.one_of(text, count, st.none(), st.lists(text, max_size=3)), max_size=4),
        max_size=4,
    )
)
def test_any_items_come_back_as_they_were(items: list[dict[str, Any]]) -> None:
    request = wire.read_request(io.BytesIO(wire.encode_request("jobs-poll", RUN, {}, items)))
    assert (request.items, request.complete, request.run) == (items, True, RUN)


def test_an_items_own_value_wins_over_the_common_one() -> None:
    made = wire.encode_request("jobs-poll", RUN, {}, [{"a": 1}, {}], {"a": 2, "b": 3})
    assert wire.read_request(io.BytesIO(made)).items == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]


# --- truncation -----------------------------------------------------------------------------------------


def test_a_request_cut_anywhere_is_incomplete_and_holds_only_whole_items() -> None:
    made = wire.encode_request("jobs-submit", RUN, {}, [{"job": "a"}, {"job": "b"}])
    header = made.index(b"\n") + 1
    for length in range(len(made)):
        if length < header:
            with pytest.raises(wire.WireError):
                wire.read_request(io.BytesIO(made[:length]))
            continue
        request = wire.read_request(io.BytesIO(made[:length]))
        assert not request.complete
        assert len(request.items) == made[header:length].count(b'{"item"') - (
            not made[:length].endswith(b"\n") and b'{"item"' in made[:length].rpartition(b"\n")[2]
        )


def test_a_reply_cut_anywhere_keeps_what_arrived_and_says_that_it_is_cut() -> None:
    data = a_reply()
    for length in range(len(data)):
        reader, records = read(data[:length])
        assert not reader.ended
        assert len(records) == data[:length].count(b"\n")


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_chunks_do_not_matter(chunk: int) -> None:
    reader, records = read(a_reply(), chunk=chunk)
    assert reader.ended
    assert [kind for kind, _ in records] == ["hello", "job", "beat", "job", "end"]


def test_an_end_with_another_count_is_no_end() -> None:
    reader, _ = read(wire.encode_reply(wire.JOB, EVIDENCE) + wire.encode_reply(wire.END, 2))
    assert not reader.ended


# --- noise -------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"@jobmgr" not in b), min_size=5, max_size=5))
def test_noise_between_lines_changes_nothing(noise: list[bytes]) -> None:
    lines = a_reply().splitlines(keepends=True)
    data = b"".join(
        banner.replace(b"\n", b"") + b"\n" + line for banner, line in zip(noise, lines, strict=True)
    )
    reader, records = read(data)
    assert reader.ended
    assert records == read(a_reply())[1]


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"@jobmgr" not in b), min_size=5, max_size=5))
def test_a_banner_without_a_newline_changes_nothing(noise: list[bytes]) -> None:
    lines = a_reply().splitlines(keepends=True)
    data = b"".join(banner.replace(b"\n", b" ") + line for banner, line in zip(noise, lines, strict=True))
    assert read(data)[1] == read(a_reply())[1]


@pytest.mark.parametrize("tail", [b"\r", b" noise", b"\x1b[0m"])
def test_what_stands_behind_a_record_is_ignored(tail: bytes) -> None:
    data = wire.encode_reply(wire.BEAT, 7)[:-1] + tail + b"\n"
    assert read(data)[1] == [(wire.BEAT, 7)]


def test_a_cut_line_does_not_take_the_next_one_with_it() -> None:
    cut = wire.encode_reply(wire.JOB, EVIDENCE)[:50]
    assert read(cut + wire.encode_reply(wire.BEAT, 7))[1] == [(wire.BEAT, 7)]


@pytest.mark.parametrize(
    "forged", ['@jobmgr {"end":1}', '@jobmgr {"beat":1}', "@jobmgr {}", "@jobmgr []", "@jobmgr " * 40]
)
def test_no_text_of_a_job_can_forge_a_record(forged: str) -> None:
    value = wire.Submitted(forged, forged, forged, forged, forged + "\n" + forged, "")
    reader, records = read(wire.encode_reply(wire.JOB, value), wire.JOBS_SUBMIT)
    assert records == [(wire.JOB, value)]
    assert not reader.ended


def test_a_huge_line_is_noise_and_what_follows_is_read() -> None:
    reader = wire.ReplyReader(wire.JOBS_POLL)
    for _ in range(10):
        assert reader.feed(b"@jobmgr " + b"x" * 1_000_000) == []
        assert len(reader._buffer) <= wire.MAX_REPLY_LINE
    assert reader.feed(b"\n" + wire.encode_reply(wire.BEAT, 7)) == [(wire.BEAT, 7)]
    assert len(reader.noise) <= 4096


def test_a_line_of_many_marks_costs_little() -> None:
    reader, records = read(b"@jobmgr {" * 400_000 + b"\n")
    assert records == []
    assert not reader.ended


def test_noise_keeps_its_end() -> None:
    reader, _ = read(b"a" * 5000 + b"\nPermission denied\n")
    assert reader.noise.endswith(b"Permission denied\n")
    assert len(reader.noise) == 4096


@pytest.mark.parametrize("word", [wire.NOT_INSTALLED, wire.NO_PYTHON])
def test_a_host_without_the_host_side_says_so(word: str) -> None:
    reader, records = read(f"Welcome!{word} \r\n".encode())
    assert records == []
    assert reader.missing_host_side == word


# --- hostile values ----------------------------------------------------------------------------------


@given(
    st.sampled_from([*wire.VERBS]),
    st.sampled_from(["hello", "job", "data", "note", "init", "beat", "error", "end", "x"]),
    json_values,
)
def test_no_value_of_a_host_makes_the_reader_fail(verb: str, kind: str, value: Any) -> None:
    _, records = read(b"@jobmgr " + json.dumps({kind: value}).encode() + b"\n", verb)
    for found, content in records:
        if found == wire.JOB and verb in (wire.JOBS_POLL, wire.SCAN):
            assert isinstance(content, wire.Evidence)


@pytest.mark.parametrize(
    "line",
    [
        b'{"end":"0"}',
        b'{"end":true}',
        b'{"end":1.0}',
        b'{"hello":"aaaaaaaaa"}',
        b'{"hello":[1]}',
        b'{"note":{}}',
        b'{"hello":[1,"v",NaN,"i","h","u","d","ok","3"]}',
        b'{"hello":[1,"v",1e999,"i","h","u","d","ok","3"]}',
        b'{"data":[]}',
        b'{"init":7}',
        b'{"beat":null}',
        b'{"end":0,"x":1}',
        b"[]",
        b"7",
        b"",
        b"{",
        b"[" * 100000,
        b'{"job":["1/a/01","t",null,null,"gone","none","",true,false,"none",null,null]}',
    ],
)
def test_wrong_shapes_are_noise(line: bytes) -> None:
    reader, records = read(b"@jobmgr " + line + b"\n")
    assert records == []
    assert reader.noise
    assert not reader.ended


@given(evidence)
def test_longer_arrays_of_later_versions_are_understood(value: wire.Evidence) -> None:
    longer = json.loads(json.dumps(value))
    longer.append("later")
    for at in (2, 3, 10):
        longer[at].append("later")
    if value.files is not None:
        for row in longer[11]:
            row.append("later")
    _, records = read(b"@jobmgr " + json.dumps({"job": longer}).encode() + b"\n")
    assert records == [(wire.JOB, value)]


def test_text_that_is_no_unicode_is_made_printable_but_in_file_names() -> None:
    value = EVIDENCE._replace(
        native_id="\ud800",
        file=FILE._replace(facts={"A": "\udcff"}),
        files=(wire.Listed("a\udcff", 1, "file"),),
    )
    _, ((_, found),) = read(wire.encode_reply(wire.JOB, value))
    assert (found.native_id, found.file.facts) == ("?", {"A": "?"})
    assert found.files[0].path == "a\udcff"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"jobmgr":"1"}\n',
        b'{"jobmgr":true}\n',
        b'{"jobmgr":1,"run":[1]}\n{"end":0}\n',
        b'{"jobmgr":1,"options":7}\n',
        b'{"jobmgr":1,"common":"x"}\n',
        b'{"jobmgr":1}\n{"item":7}\n',
        b'{"jobmgr":1}\nnoise\n',
        b'{"jobmgr":1}\n{"other":1}\n',
        b"\xff\n",
        b'{"jobmgr":1}\n\xc3\xbc\n',
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.read_request(io.BytesIO(data + b"\xff"))


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_a_request_fail_otherwise(data: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        wire.read_request(io.BytesIO(data))


def test_an_end_with_the_wrong_count_is_incomplete() -> None:
    assert not wire.read_request(io.BytesIO(b'{"jobmgr":1}\n{"end":1}\n')).complete

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import status

GOLDEN = Path(__file__).parent.parent / "data" / "status" / "requeued.status"
HEAD = status.header("t", "background", "2026-11-20T12:00:00Z")
text = st.text(st.characters(blacklist_categories=("Cs",)), max_size=80)
times = st.just("2026-11-20T12:00:00Z")


def parse(body: str, head: str = HEAD) -> status.Status:
    return status.parse((head + body).encode())


def test_golden_file() -> None:
    found = status.parse(GOLDEN.read_bytes())
    assert dict(found.facts) == {
        "STATUS_VERSION": "1",
        "TOKEN": "3b0ae0f6-2f0e-4ab9-8f0a-0d0f3c1c2b3a",
        "RUNNER": "slurm",
        "SUBMIT_TIME": "2026-11-20T12:00:00Z",
        "ATTEMPT": "2",
        "PID": "812",
        "START_IDENTITY": "4711",
        "INSTANCE": "9f3c:4026531836:22",
        "HOSTNAME": "node7",
        "NATIVE_ID": "42",
        "START_TIME": "2026-11-20T12:10:00Z",
        "ELAPSED": "12.04",
        "CPU": "11.97",
        "MAX_RSS": "104857600",
        "EXIT_TIME": "2026-11-20T12:10:12Z",
        "EXIT": "FAILED/3",
    }
    assert found.attempts == 2
    assert found.messages == (
        status.Message("2026-11-20T12:01:00.125Z", "WARNING", "line\nbreak | bar \\ back"),
        status.Message("2026-11-20T12:10:05Z", "EVENT", "ready"),
    )
    assert dict(found.unknown) == {"COLOUR": "blue"}


@given(text)
def test_escaped_values_are_one_line_and_come_back(value: str) -> None:
    escaped = status.escape(value)
    assert not any(c in escaped for c in "\n\r\0\x1b")
    assert status.unescape(escaped) == value


@given(text)
def test_what_is_no_escape_stays_as_it_is(value: str) -> None:
    assert status.unescape(value.replace("\\", "")) == value.replace("\\", "")


@pytest.mark.parametrize("torn", ["\\", "\\x", "\\x1", "\\xzz", "\\q", "a\\"])
def test_broken_escapes_stay_as_they_are(torn: str) -> None:
    assert status.unescape(torn) == torn


@given(st.lists(st.tuples(times, st.sampled_from(status.SEVERITIES), text), max_size=6))
def test_messages_come_back_and_forge_nothing(messages: list[tuple[str, str, str]]) -> None:
    found = parse("".join(status.message(*message) for message in messages))
    assert found.messages == tuple(status.Message(*message) for message in messages)
    assert dict(found.facts) == dict(parse("").facts)


@pytest.mark.parametrize(
    "forged",
    [
        "x\nJOBMGR_EXIT=SUCCEEDED",
        "x\rJOBMGR_EXIT=SUCCEEDED",
        "x\\nJOBMGR_EXIT=SUCCEEDED",
        "\n\nJOBMGR_TOKEN=z",
        "\0\x1b[2J",
    ],
)
def test_a_message_cannot_forge_a_line(forged: str) -> None:
    found = parse(status.message("2026-11-20T12:00:00Z", "INFO", forged))
    assert status.EXIT not in found.facts
    assert found.facts["TOKEN"] == "t"
    assert found.messages[0].text == forged


def test_long_messages_are_cut_and_many_are_bounded() -> None:
    line = status.message("t", "INFO", "x" * 10000)
    assert len(line) < 5000
    found = parse(status.message("t", "INFO", "x") * 1500)
    assert len(found.messages) == status.MAX_MESSAGES


@pytest.mark.parametrize("value", ["", "no bars", "time|LOUD|text", "time|INFO"])
def test_a_message_of_another_form_is_kept_as_text(value: str) -> None:
    (message,) = parse(f"JOBMGR_MESSAGE={value}\n").messages
    assert (message.severity, message.text) == ("INFO", value)


def test_facts_are_those_of_the_latest_attempt() -> None:
    found = parse("JOBMGR_ATTEMPT=1\nJOBMGR_PID=1\nJOBMGR_EXIT=FAILED/3\nJOBMGR_ATTEMPT=2\nJOBMGR_PID=2\n")
    assert found.facts["PID"] == "2"
    assert status.EXIT not in found.facts
    assert found.facts["TOKEN"] == "t"
    assert found.attempts == 2


def test_a_file_cut_anywhere_is_unreadable_at_most_in_its_first_line() -> None:
    whole = HEAD + "JOBMGR_ATTEMPT=1\nJOBMGR_PID=12\nJOBMGR_EXIT=FAILED/3\n"
    data = whole.encode()
    first = data.index(b"\n") + 1
    full = status.parse(data).facts
    for length in range(len(data)):
        if length < first:
            with pytest.raises(status.Unreadable):
                status.parse(data[:length])
            continue
        found = status.parse(data[:length]).facts
        assert all(full[key] == value for key, value in found.items())
        assert len(found) == data[:length].count(b"\n")


def test_a_torn_line_that_was_healed_is_left_out() -> None:
    for torn in ("JOBM", "JOBMGR_EXIT=SUCC", "JOBMGR_MESSAGE=t|INFO|x"):
        found = parse(f"JOBMGR_PID=1\n{torn}\n\nJOBMGR_EXIT=FAILED/3\n")
        assert found.facts["PID"] == "1"
        assert found.facts["EXIT"] == "FAILED/3"
        assert found.messages == ()


def test_empty_lines_at_odd_places_harm_nothing() -> None:
    assert parse("\n\n\n").facts["STATUS_VERSION"] == "1"
    assert status.parse(b"JOBMGR_STATUS_VERSION=1\n\nJOBMGR_TOKEN=t\n").facts["TOKEN"] == "t"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"garbage\n",
        b"JOBMGR_TOKEN=t\n",
        b"JOBMGR_STATUS_VERSION=1",
        b"\0" * 1000,
        b"\n" + HEAD.encode(),
        HEAD.encode() + b"garbage\nJOBMGR_EXIT=SUCCEEDED\n",
        HEAD.encode() + b"OTHER_KEY=1\n",
        HEAD.encode() + b"JOBMGR_KEY\n",
    ],
)
def test_garbage_is_unreadable(data: bytes) -> None:
    with pytest.raises(status.Unreadable):
        status.parse(data)


@given(st.binary(max_size=300))
def test_no_bytes_make_parsing_fail_otherwise(data: bytes) -> None:
    for content in (data, HEAD.encode() + data):
        with contextlib.suppress(status.Unreadable):
            status.parse(content)


def test_bytes_that_are_no_unicode_do_not_spoil_a_file() -> None:
    found = status.parse(HEAD.encode() + b"JOBMGR_MESSAGE=t|INFO|\xff\xfe\nJOBMGR_EXIT=SUCCEEDED\n")
    assert found.facts["EXIT"] == "SUCCEEDED"
    assert found.messages[0].text == "��"


def test_messages_of_other_nodes_are_merged_by_time() -> None:
    main = parse(status.message("2026-11-20T12:00:02Z", "INFO", "two"))
    other = parse(status.message("2026-11-20T12:00:01Z", "INFO", "one") + "JOBMGR_EXIT=SUCCEEDED\n")
    merged = status.merge(main, [other])
    assert [m.text for m in merged.messages] == ["one", "two"]
    assert merged.facts == main.facts


@pytest.mark.parametrize(
    "record, kind, value",
    [
        ("SUCCEEDED", "SUCCEEDED", ""),
        ("FAILED/3", "FAILED", "3"),
        ("SIGNAL/TERM", "SIGNAL", "TERM"),
        ("ABORTED/a/b", "ABORTED", "a/b"),
        ("VACATED/XCPU", "VACATED", "XCPU"),
    ],
)
def test_exit_records(record: str, kind: str, value: str) -> None:
    assert status.parse_exit(record) == status.Exit(kind, value)


@pytest.mark.parametrize("record", ["", "succeeded", "DONE", "/3"])
def test_what_is_no_exit_record(record: str) -> None:
    assert status.parse_exit(record) is None


@given(
    st.lists(
        st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), min_size=1, max_size=60),
        min_size=1,
        max_size=4,
    )
)
def test_the_program_for_jobs_writes_what_is_read_here(texts: list[str]) -> None:
    import tempfile

    from jobmgr_remote import jobfile

    program = Path(jobfile.__file__).parent / "job" / "jobmgr-message.sh"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.status"
        file.write_text(HEAD)
        for one in texts:
            subprocess.run(
                ["bash", program, "--", one],
                check=True,
                env={"JOBMGR_LOG_DIR": folder, "JOBMGR_TOKEN": "t", "PATH": "/bin:/usr/bin"},
            )
        found = status.parse(file.read_bytes())
    assert [(m.severity, m.text) for m in found.messages] == [("INFO", one) for one in texts]

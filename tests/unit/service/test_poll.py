"""What one call tells of a job more than once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobmgr.service.poll import rounds
from jobmgr_remote import wire
from tests.unit.core.cases import evidence, file

HELLO = wire.Hello._make(None for _ in wire.Hello._fields)


def told(job: str, first: int, messages: int) -> wire.Evidence:
    texts = tuple(("2026-11-20T11:20:04Z", "EVENT", str(number)) for number in range(first, first + messages))
    return evidence(job=job, file=file(messages=texts, message_count=first + messages, size=first + messages))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2))))
def test_no_message_is_lost_and_the_last_word_comes_last(steps: list[tuple[str, int]]) -> None:
    counts = dict.fromkeys("abc", 0)
    sequence = []
    for job, messages in steps:
        sequence.append(told(job, counts[job], messages))
        counts[job] += messages
    seen: dict[str, list[str]] = {job: [] for job in "abc"}
    last: dict[str, wire.Evidence] = {}
    answers = rounds((HELLO, one) for one in sequence)
    for answer in answers:
        assert answer.hello is HELLO
        for job, one in answer.evidence.items():
            seen[job].extend(message[2] for message in one.file.messages)
            last[job] = one
    assert seen == {job: [str(number) for number in range(count)] for job, count in counts.items()}
    assert last == {one.job: one for one in sequence}


def test_jobs_without_messages_are_concluded_at_once() -> None:
    assert len(rounds((HELLO, told(job, 0, 0)) for job in "abcabcaabbcc")) == 1
    assert rounds([]) == []

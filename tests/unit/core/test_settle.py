"""A submit whose outcome is not known: a job starts once, not twice, and not never."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from jobmgr.core.decide import decide
from jobmgr.core.evidence import Facts, Find, JobView, Look, PollAgain, Resend, Retrieve, Revoke, Verdict
from jobmgr.core.settle import SECOND_LOOK, answer
from jobmgr.core.states import State
from jobmgr_remote import wire
from tests.unit.core.cases import (
    ELSEWHERE,
    HERE,
    NOW,
    TOKEN,
    evidence,
    file,
    found,
    look,
    no_file,
    unsettled,
    view,
)
from tests.unit.core.test_decide import after

S = State
JOB = "1/sim/01"
NOTHING = evidence(file=no_file(), fenced=False)
FENCED = evidence()
ABSENT = evidence(found=wire.FOUND_ABSENT)
SENT = unsettled(state=S.SUBMITTING)


def kinds(verdict: Verdict) -> set[type]:
    return {type(action) for action in verdict.actions}


# --- the answer to a submit ------------------------------------------------------------------------------


def reply(result: str, native_id: str = "", text: str = "", token: str = TOKEN) -> wire.Submitted:
    return wire.Submitted(JOB, token, result, native_id, text, "2026-11-20T11:20:00Z")


@pytest.mark.parametrize("result", [wire.R_SUBMITTED, wire.R_ALREADY])
def test_an_acknowledged_job_is_submitted(result: str) -> None:
    verdict = answer(SENT, reply(result, "77"))
    assert (verdict.state, verdict.native_id, verdict.acknowledged) == (S.SUBMITTED, "77", True)


@pytest.mark.parametrize(
    "result, words",
    [
        (wire.R_FAILED, "sbatch: error: invalid partition"),
        (wire.R_FOREIGN, ""),
        (wire.R_REFUSED, "no background jobs here"),
    ],
)
def test_a_refused_job_is_submit_failed_and_safe_to_retry(result: str, words: str) -> None:
    verdict = answer(SENT, reply(result, text=words))
    assert (verdict.state, verdict.retry_safe, kinds(verdict)) == (S.SUBMIT_FAILED, True, {Retrieve})
    assert words in verdict.detail
    assert verdict.detail


def test_a_full_queue_makes_the_job_wait() -> None:
    verdict = answer(SENT, reply(wire.R_LIMIT))
    assert (verdict.state, verdict.detail) == (S.QUEUED, "the queue is full")
    assert kinds(verdict) == set()
    assert answer(replace(SENT, kill_intended=True), reply(wire.R_LIMIT)).state is S.KILLED


def test_a_revoked_token_cannot_start() -> None:
    assert answer(SENT, reply(wire.R_REVOKED)).state is S.SUBMIT_FAILED
    assert answer(replace(SENT, kill_intended=True), reply(wire.R_REVOKED)).state is S.KILLED


@pytest.mark.parametrize(
    "result, text", [(wire.R_UNKNOWN, "timed out"), (wire.R_UNKNOWN, ""), ("a new word", "x")]
)
def test_a_runner_that_did_not_tell_is_asked_for_the_token(result: str, text: str) -> None:
    verdict = answer(SENT, reply(result, text=text))
    assert verdict.state is S.SUBMIT_UNKNOWN
    assert Find in kinds(verdict)
    assert text in verdict.doubt


def test_no_connection_sends_later_and_no_answer_asks_first() -> None:
    unsent = answer(SENT, None, sent=False, error="connection refused")
    assert (unsent.state, unsent.doubt, kinds(unsent)) == (
        S.SUBMITTING,
        "unreachable (connection refused)",
        {Resend},
    )
    assert answer(SENT, None, sent=False).doubt == "unreachable"
    lost = answer(SENT, None, error="timed out")
    assert (lost.state, kinds(lost)) == (S.SUBMIT_UNKNOWN, {PollAgain})
    assert lost.doubt == "no answer to the submit (timed out)"
    assert answer(SENT, None).doubt == "no answer to the submit"


def test_a_repeated_request_that_was_not_sent_is_sent_later() -> None:
    verdict = answer(unsettled(), None, sent=False, error="refused")
    assert (verdict.state, kinds(verdict)) == (S.SUBMIT_UNKNOWN, {Resend})


def test_an_answer_about_another_token_is_no_answer() -> None:
    assert answer(SENT, reply(wire.R_SUBMITTED, "9", token="x")).state is S.SUBMIT_UNKNOWN


def test_an_answer_that_comes_late_moves_nothing_backwards() -> None:
    running = view(S.RUNNING)
    for late in (reply(wire.R_SUBMITTED, "812345"), reply(wire.R_FAILED), None):
        assert answer(running, late).state is S.RUNNING


# --- looks -----------------------------------------------------------------------------------------------


def test_a_host_that_knows_nothing_gets_the_identical_request_again() -> None:
    for missing in (NOTHING, NOTHING._replace(file=no_file(wire.FILE_DIRECTORY_MISSING))):
        verdict = decide(unsettled(), look(missing))
        assert (verdict.state, verdict.rule, kinds(verdict)) == (S.SUBMIT_UNKNOWN, "resend", {Resend})


def test_resends_come_less_and_less_often() -> None:
    waits = []
    for tries in (1, 2, 3):
        (again,) = decide(unsettled(tries=tries), look(NOTHING)).actions
        assert isinstance(again, Resend)
        waits.append(again.after)
    assert waits == sorted(set(waits))


@pytest.mark.parametrize(
    "seen",
    [
        NOTHING._replace(fenced=True),
        NOTHING._replace(file=file()),
        NOTHING._replace(file=no_file(wire.FILE_UNREADABLE)),
    ],
)
def test_a_host_that_knows_something_is_never_sent_the_request_again(seen: wire.Evidence) -> None:
    verdict = decide(unsettled(), look(seen))
    assert (verdict.rule, kinds(verdict)) == ("find", {Find, PollAgain})


def test_without_a_known_instance_absence_proves_nothing() -> None:
    assert decide(unsettled(instance=""), look(NOTHING)).rule == "find"
    assert decide(unsettled(), look(NOTHING, instance="")).rule == "resend"


def test_a_found_token_is_adopted() -> None:
    verdict = decide(unsettled(), look(evidence(found=found(wire.FOUND_ID, "4242"))))
    assert (verdict.state, verdict.rule, verdict.native_id, verdict.acknowledged) == (
        S.SUBMITTED,
        "adopted",
        "4242",
        True,
    )


@pytest.mark.parametrize(
    "error, doubt",
    [
        ("munge is down", "the queue could not be asked: munge is down"),
        ("", "the queue could not be asked"),
    ],
)
def test_a_queue_that_cannot_be_asked_settles_nothing(error: str, doubt: str) -> None:
    known = unsettled(grace_since=NOW - 600, grace_instance=HERE)
    verdict = decide(known, look(evidence(found=found(wire.FOUND_COULD_NOT_ASK, error=error))))
    assert (verdict.state, verdict.rule, verdict.doubt, kinds(verdict)) == (
        S.SUBMIT_UNKNOWN,
        "find-failed",
        doubt,
        {Find},
    )


@pytest.mark.parametrize("state", [wire.FOUND_ABSENT, wire.FOUND_CANNOT])
def test_absent_twice_with_the_submitter_dead_is_revoked(state: str) -> None:
    seen = evidence(found=state)
    first = decide(unsettled(), look(seen))
    assert (first.rule, kinds(first)) == ("first-absence", {Find, PollAgain})
    known = after(unsettled(), first)
    early = decide(known, look(seen, SECOND_LOOK - 1))
    assert early.rule == "first-absence"
    late = decide(known, look(seen, SECOND_LOOK))
    assert (late.state, late.rule, kinds(late)) == (S.SUBMIT_UNKNOWN, "revoke", {Revoke, PollAgain})
    won = decide(after(known, late), look(seen._replace(claim=wire.C_REVOKED), 61))
    assert (won.state, won.retry_safe) == (S.SUBMIT_FAILED, True)
    refused = decide(
        after(known, late),
        look(evidence(file=file(started=True), claim=wire.C_STARTED, queue=wire.Q_ACTIVE), 61),
    )
    assert refused.state is S.RUNNING


def test_a_living_submitter_begins_the_absence_anew() -> None:
    known = unsettled(grace_since=NOW - 600, grace_instance=HERE)
    verdict = decide(known, look(evidence(found=found(wire.FOUND_ABSENT, alive=True))))
    assert (verdict.rule, verdict.grace_since) == ("submitter-busy", 0.0)
    assert Revoke not in kinds(verdict)


def test_the_two_looks_are_of_the_same_instance() -> None:
    known = unsettled(grace_since=NOW - 600, grace_instance=ELSEWHERE)
    assert decide(known, look(ABSENT)).rule == "first-absence"


def test_after_a_restart_of_the_host_a_background_job_is_lost_and_a_batch_job_is_looked_up() -> None:
    lost = decide(unsettled(batch=False), look(NOTHING, instance=ELSEWHERE))
    assert (lost.state, lost.rule, lost.facts.lost, lost.retry_safe) == (
        S.FAILED,
        "lost-restart",
        True,
        False,
    )
    assert Revoke in kinds(lost)
    assert decide(unsettled(), look(NOTHING, instance=ELSEWHERE)).rule == "find"


def test_a_kill_of_what_the_host_has_not_seen_revokes_at_once() -> None:
    for seen in (NOTHING, FENCED, ABSENT):
        verdict = decide(unsettled(kill_intended=True), look(seen))
        assert (verdict.state, verdict.rule) == (S.SUBMIT_UNKNOWN, "kill-unseen")
        assert Revoke in kinds(verdict)
    found_it = decide(unsettled(kill_intended=True), look(evidence(found=found(wire.FOUND_ID, "4242"))))
    assert found_it.state is S.SUBMITTED


# --- a host that does anything, and a network that loses anything ------------------------------------------


@dataclass
class Host:
    """What a host keeps of one token: the promises of its side of the fence."""

    fenced: bool = False
    queued: bool = False
    claim: str = wire.C_NONE
    starts: int = 0


class Submitting(RuleBasedStateMachine):
    """One job, from its intent to its settlement; requests and answers get lost or come late."""

    def __init__(self) -> None:
        super().__init__()
        self.host = Host()
        self.view: JobView = unsettled(state=S.SUBMITTING)
        self.clock = 0.0
        self.may_send = True
        self.under_way = 0
        self.asked_to_find = False

    @rule()
    def send(self) -> None:
        if self.may_send and self.view.state in (S.SUBMITTING, S.SUBMIT_UNKNOWN):
            self.may_send = False
            self.under_way += 1
            self._take(answer(self.view, None))

    @rule(dies=st.sampled_from(["", "before the runner", "after the runner"]))
    def a_request_arrives(self, dies: str) -> None:
        if not self.under_way:
            return
        self.under_way -= 1
        if self.host.fenced or self.host.claim != wire.C_NONE:
            return
        self.host.fenced = True
        if dies != "before the runner":
            self.host.queued = True

    @rule()
    def the_queue_starts_it(self) -> None:
        if self.host.queued:
            self.host.queued = False
            if self.host.claim == wire.C_NONE:
                self.host.claim = wire.C_STARTED
                self.host.starts += 1

    @rule(seconds=st.sampled_from([0.0, 20.0, 70.0]), answers=st.booleans())
    def poll(self, seconds: float, answers: bool) -> None:
        self.clock += seconds
        verdict = decide(self.view, look(self._evidence(), self.clock) if answers else Look(None))
        revoke = Revoke in {type(action) for action in verdict.actions}
        self._take(verdict)
        if revoke and self.host.claim == wire.C_NONE:
            self.host.claim = wire.C_REVOKED

    def _evidence(self) -> wire.Evidence:
        started = self.host.claim == wire.C_STARTED
        there = file(started=started) if self.host.fenced else no_file()
        state = wire.FOUND_NOT_ASKED
        if self.asked_to_find:
            state = wire.FOUND_ID if self.host.queued else wire.FOUND_ABSENT
        queue = wire.Q_ACTIVE if started else wire.Q_NOT_ASKED
        return evidence(
            file=there,
            queue=queue,
            fenced=self.host.fenced,
            claim=self.host.claim,
            found=found(state, "77" if self.host.queued else ""),
        )

    def _take(self, verdict: Verdict) -> None:
        kinds_of = {type(action) for action in verdict.actions}
        self.may_send = Resend in kinds_of
        self.asked_to_find = Find in kinds_of
        self.view = after(self.view, verdict)

    @invariant()
    def it_starts_once_at_most(self) -> None:
        assert self.host.starts <= 1

    @invariant()
    def a_retry_is_safe_only_where_nothing_can_start(self) -> None:
        if self.view.state is S.SUBMIT_FAILED and self.view.retry_safe:
            assert self.host.claim == wire.C_REVOKED
            assert self.host.starts == 0


TestSubmitting = Submitting.TestCase
TestSubmitting.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_late_acknowledgement_of_a_lost_job_keeps_its_story_and_has_it_looked_at() -> None:
    lost = JobView(
        "1/a/01", "t", "background", False, State.FAILED, rule="lost-restart", detail="lost: (may have run)",
        facts=Facts(lost=True),
    )  # fmt: skip
    verdict = answer(lost, wire.Submitted("1/a/01", "t", wire.R_SUBMITTED, "", "", ""))
    assert (verdict.state, verdict.detail, verdict.rule) == (State.FAILED, lost.detail, "lost-restart")
    assert verdict.actions == (PollAgain("1/a/01", 0.0),)

"""Settling a submit whose outcome is not known, so that a job starts once: not twice, and not never.

A request that was sent may have arrived, whatever the network said. Three things can be relied on: the host
writes the token into its journal and syncs it *before* it calls a runner; whatever starts with a token claims
it first; and a claim can be made only once. So:

(a) The host knows nothing of the token, and has not been restarted since: the runner was not called. The
    identical request is sent again; should the first one still be on its way, the journal lets only one of
    them through.
(b) The host knows the token, but no native id: the runner is asked for it. If the token is found, the job is
    adopted. If it is absent in two looks, at least :data:`SECOND_LOOK` seconds apart, with the process that
    submitted dead, the token is revoked: a claim is made that says so. If that succeeds, nothing can start
    any more and a new job is safe; if it is refused, the job did start, and what it wrote is read again.
(c) The host was restarted since: absence proves nothing. A background job is then lost (it may have run) and
    never retried by itself; for a batch job the queue is asked, as in (b).

A kill that is intended does not wait: the token is revoked at once.
"""

from __future__ import annotations

from msgspec.structs import replace

from jobmgr_remote import wire

from .evidence import Find, JobView, Look, PollAgain, Resend, Retrieve, Revoke, Verdict, keep
from .retry import backoff
from .states import FINAL, UNSETTLED, State
from .words import line

SECOND_LOOK = 60.0
"""Seconds between the two looks that both must find a token absent before it is revoked."""

SUBMITTER_BUSY = 10.0
"""Seconds until the next look while the process that submits is still at it."""

RULES = {
    "not-sent": "The request was certainly not sent, because no connection came about. It is sent later.",
    "submit-no-answer": (
        "The request may have arrived, but no answer came. The host is asked before anything is sent again."
    ),
    "acknowledged": "The host has answered that it has the job.",
    "submit-refused": "The host has answered that the job was not submitted.",
    "submit-limit": (
        "The queue takes no more jobs at present. It was not submitted; it waits, and the same job is "
        "submitted as soon as there is room."
    ),
    "submit-revoked": (
        "The token was revoked on the host before the job could start. Nothing of it can start any more."
    ),
    "submit-undecided": "The runner did not tell whether it has the job. The host looks the token up.",
    "resend": (
        "The host has no status file, journal entry or claim of the job and was not restarted since: "
        "it was not submitted. The identical request is sent again."
    ),
    "find": (
        "The host has begun to submit the job, but knows no native id. The runner is asked for its token."
    ),
    "adopted": "The runner has a job with this token: it was submitted after all.",
    "find-failed": "The runner could not be asked for the token. Nothing is concluded from that.",
    "submitter-busy": "The process that submits the job on the host is still at work.",
    "first-absence": "The runner does not know the token. A second look, 60 s later, must agree.",
    "revoke": (
        "The token was absent twice and the process that submitted it is dead. It is revoked: "
        "if that succeeds, nothing of it can start any more."
    ),
    "kill-unseen": "It is to be killed, and the host knows no job of that token. The token is revoked.",
    "lost-restart": (
        "The host was restarted while the submit was under way: the job may have run. It is not retried by "
        "itself."
    ),
}


def answer(view: JobView, reply: wire.Submitted | None, sent: bool = True, error: str = "") -> Verdict:
    """What a ``jobs-submit`` call means for one of its jobs.

    ``reply``: the job's reply line, None if there was none. ``sent``: False if no connection came about, so
    that the request was certainly not sent. ``error``: what went wrong with the call, for users.
    """
    if reply is None:
        return _unanswered(view, sent, line(error))
    result, text = reply.result, line(reply.text)
    if reply.token != view.token:
        return _unanswered(view, True, "the answer was about another job")
    if result in (wire.R_SUBMITTED, wire.R_ALREADY):
        native_id = line(reply.native_id) or view.native_id
        if view.state in UNSETTLED:
            verdict = keep(view, "acknowledged")
            return replace(
                verdict,
                state=State.SUBMITTED, native_id=native_id, acknowledged=True, detail=""
            )
        # It came late. What was declared lost may live after all: its record will tell.
        again = (PollAgain(view.job, 0.0),) if view.state in FINAL and view.facts.lost else ()
        verdict = keep(view, view.rule or "acknowledged")
        return replace(verdict, native_id=native_id, acknowledged=True, actions=again)
    if view.state not in (State.SUBMITTING, State.SUBMIT_UNKNOWN):
        return keep(view, "acknowledged")
    if result == wire.R_REVOKED:
        state = State.KILLED if view.kill_intended else State.SUBMIT_FAILED
        return replace(keep(view, "submit-revoked"), state=state, detail=text, retry_safe=True)
    if result == wire.R_LIMIT:
        return _no_room(view, text or "the queue is full")
    if result in (wire.R_FAILED, wire.R_FOREIGN, wire.R_REFUSED):
        return _refused(view, "submit-refused", text or _REFUSALS[result], result)
    doubt = (
        f"the runner did not tell whether it has the job: {text}"
        if text
        else "the runner did not tell whether it has it"
    )
    return replace(
        keep(view, "submit-undecided", doubt),
        state=State.SUBMIT_UNKNOWN,
        acknowledged=False,
        actions=(Find(view.job), PollAgain(view.job, SUBMITTER_BUSY)),
    )


_REFUSALS = {
    wire.R_FAILED: "the runner refused it",
    wire.R_FOREIGN: "its directory on the host belongs to another job",
    wire.R_REFUSED: "refused by the host's policy",
}


def _unanswered(view: JobView, sent: bool, error: str) -> Verdict:
    if view.state not in (State.SUBMITTING, State.SUBMIT_UNKNOWN):
        return keep(view, "submit-no-answer")
    if not sent:
        doubt = f"unreachable ({error})" if error else "unreachable"
        return replace(keep(view, "not-sent", doubt), actions=(Resend(view.job, backoff(view.tries)),))
    doubt = f"no answer to the submit ({error})" if error else "no answer to the submit"
    return replace(
        keep(view, "submit-no-answer", doubt),
        state=State.SUBMIT_UNKNOWN,
        actions=(PollAgain(view.job, 0.0),),
    )


def _refused(view: JobView, rule: str, text: str, reason: str) -> Verdict:
    return replace(
        keep(view, rule),
        state=State.SUBMIT_FAILED,
        detail=text,
        retry_safe=True,
        facts=replace(view.facts, reason=reason),
        actions=(Retrieve(view.job),),
    )


def _no_room(view: JobView, text: str) -> Verdict:
    """It is certainly not in the queue. That is nobody's failure: the same job, with its token, waits."""
    state = State.KILLED if view.kill_intended else State.QUEUED
    return replace(keep(view, "submit-limit"), state=state, detail=text, retry_safe=view.kill_intended)


def settle(view: JobView, look: Look, seen: Verdict) -> Verdict:
    """What follows from one look at a job that neither has started nor was ever acknowledged.

    ``seen`` is the verdict that changes nothing but what was seen. The caller has made sure that there is an
    answer about the job, that its token is not revoked, that nothing has started, and that no native id is
    known.
    """
    evidence = look.evidence
    assert evidence is not None, "settling needs an answer"
    unknown = State.SUBMIT_UNKNOWN
    if evidence.found.state == wire.FOUND_ID and line(evidence.found.native_id):
        return replace(
            clear(seen),
            state=State.SUBMITTED,
            rule="adopted",
            native_id=line(evidence.found.native_id),
            acknowledged=True,
            detail="",
        )
    if view.kill_intended:
        return replace(
            seen,
            state=unknown, rule="kill-unseen", actions=(Revoke(view.job), PollAgain(view.job, 0.0))
        )
    restarted = bool(view.instance and look.instance and view.instance != look.instance)
    if restarted and not view.batch:
        return _lost(view, seen)
    if not _known_to_host(evidence) and not restarted and view.instance:
        wait = backoff(view.tries)
        return replace(clear(seen), state=unknown, rule="resend", actions=(Resend(view.job, wait),))
    return _looked_up(view, look, replace(seen, state=unknown))


def _known_to_host(evidence: wire.Evidence) -> bool:
    nothing = (wire.FILE_MISSING, wire.FILE_DIRECTORY_MISSING)
    return evidence.fenced is not False or evidence.file.state not in nothing or evidence.claim != wire.C_NONE


def _looked_up(view: JobView, look: Look, seen: Verdict) -> Verdict:
    """Case (b): by the runner's answer about the token."""
    found = look.evidence.found if look.evidence is not None else wire.NO_FOUND
    again = (Find(view.job), PollAgain(view.job, SUBMITTER_BUSY))
    if found.state == wire.FOUND_COULD_NOT_ASK:
        error = line(found.error)
        doubt = f"the queue could not be asked: {error}" if error else "the queue could not be asked"
        return replace(seen, rule="find-failed", doubt=doubt, actions=(Find(view.job),))
    if found.state not in (wire.FOUND_ABSENT, wire.FOUND_CANNOT):
        return replace(
            seen,
            rule="find",
            doubt="not known whether the runner has it",
            actions=(Find(view.job), PollAgain(view.job, 0.0)),
        )
    if found.submitter_alive is not False:
        return replace(clear(seen), rule="submitter-busy", doubt="it is still being submitted", actions=again)
    first, over = negative(view, look, SECOND_LOOK)
    seen = replace(seen, grace_since=first, grace_instance=look.instance)
    if not over:
        remaining = max(1.0, first + SECOND_LOOK - look.time)
        actions = (Find(view.job), PollAgain(view.job, remaining))
        return replace(seen, rule="first-absence", doubt="the runner does not know it", actions=actions)
    actions_now = (Revoke(view.job), PollAgain(view.job, 0.0))
    return replace(seen, rule="revoke", doubt="the runner does not know it", actions=actions_now)


def _lost(view: JobView, seen: Verdict) -> Verdict:
    text = "lost: the host was restarted during the submit (may have run)"
    facts = replace(seen.facts, lost=True, reason="lost")
    return replace(
        clear(seen),
        state=State.FAILED,
        rule="lost-restart",
        detail=text,
        facts=facts,
        actions=(Revoke(view.job), PollAgain(view.job, 0.0), Retrieve(view.job)),
    )


def negative(view: JobView, look: Look, wait: float) -> tuple[float, bool]:
    """Since when looks have been negative (host clock), and whether that is for at least ``wait`` seconds.

    The first negative look starts the time; only a later one of the same instance ends it. A clock that was
    set back starts it anew.
    """
    since = view.grace_since
    if since <= 0 or view.grace_instance != look.instance or not look.time >= since:
        return look.time, False
    return since, look.time - since >= wait


def clear(verdict: Verdict) -> Verdict:
    """The verdict without a row of negative looks: this one was not negative."""
    if not verdict.grace_since and not verdict.grace_instance:
        return verdict
    return replace(verdict, grace_since=0.0, grace_instance="")

"""From evidence to verdict: one pure function, one table, the first row that matches wins.

:data:`ROWS` is the table; each row is a function that returns a verdict or None, and its docstring is the
row. The same table for readers is in docs/architecture.md, "How a verdict is reached".

What holds for every row: no answer is not bad news; a job ends only by a record in its job.status, or by two
negative looks of the same instance of the host, :data:`GRACE` seconds apart; a final state is revised only
where :func:`_guard` says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from jobmgr_remote import status, wire

from . import settle
from .clock import parse_utc
from .evidence import (
    Action,
    Facts,
    Find,
    JobView,
    Look,
    PollAgain,
    Resend,
    Retrieve,
    Revoke,
    Verdict,
    keep,
    with_since,
)
from .settle import clear, negative
from .states import FINAL, UNSETTLED, State, can
from .words import line

__all__ = [
    "Action",
    "Facts",
    "Find",
    "JobView",
    "Look",
    "PollAgain",
    "Resend",
    "Retrieve",
    "Revoke",
    "Verdict",
    "GRACE",
    "GRACE_NETWORK",
    "ROWS",
    "RULES",
    "decide",
    "with_since",
]

BY_SIGNAL = 128
"""bash's exit code of a command that a signal ended: this and the signal's number."""
ENDING_AGAIN = 10.0
"""Seconds until a queue is asked again why a job has failed that it still lists as running."""
GRACE = 30.0
"""Seconds between the first negative look and the one that ends a job."""

GRACE_NETWORK = 90.0
"""The same where the run directory is on a network file system, whose attribute caches live up to 60 s."""

FENCE_AGAIN = 60.0
"""Seconds until a host that has not revoked a token is asked again to."""

LATE = 600.0
"""An answer older than the latest one by up to this many seconds came late; by more, the host's clock was set
back.
"""

# Words by which queues say that a job came to its own end. Without an exit record this is no success:
# the wrapper died.
_COMPLETED = frozenset(
    {"", "completed", "complete", "done", "finished", "exited", "c", "f", "e", "0", "ok", "none"}
)

# What queue, process and spool together say about a job.
WAITING, ACTIVE, ENDED, ABSENT, BLIND = "waiting", "active", "ended", "absent", "blind"

RULES = {
    "no-answer": "No answer changes nothing.",
    "foreign": "The job's directory on the host belongs to another job. That says nothing about this one.",
    "run-missing": (
        "The run directory is missing on the host, or another run's is in its place. That says nothing "
        "about jobs."
    ),
    "late-answer": "This answer is older than one that was already used.",
    "final": "The state is final; what was seen now does not revise it.",
    "succeeded": "job.status says SUCCEEDED. That counts, whatever the queue says.",
    "killed": "It was to be killed, and is gone.",
    "restart": "job.status tells an end, but the queue is about to start the job again.",
    "failed": "job.status says FAILED or ABORTED.",
    "ending": (
        "job.status tells a failure by a signal, and the queue has not said why yet; it is asked once more, for "
        "the grace time at most."
    ),
    "vacating": "job.status tells a signal, and the queue still holds the job: it may start it again.",
    "signal": "job.status tells a signal, and the job is gone.",
    "vacated": "The queue took the job off its machine, and did not start it again.",
    "revoked": "The token was revoked before the job started. Nothing of it can start any more.",
    "requeued": "It had started, and now waits in the queue again.",
    "running": "job.status says that it has started, and queue or process agree.",
    "running-unseen": "job.status says that it has started; whether it still runs could not be seen.",
    "ended": (
        "It had started, the queue says that it has ended, and no exit record came within the grace time."
    ),
    "lost": (
        "It had started, and is gone without an exit record, in two looks of the same instance of the host."
    ),
    "submitted": "It has not started yet, and its queue has it.",
    "submitted-unseen": "It has not started yet as far as is known; its queue could not be asked.",
    "submit-ended": "The queue says that it has ended, and it never started.",
    "submit-vanished": (
        "The queue no longer lists it, in two looks of the same instance of the host, and it never started."
    ),
    "never-started": (
        "It has not started, and nothing on the host is going to start it. Its token is revoked."
    ),
    "lost-before-start": "The host was restarted before the job is known to have started. It may have run.",
    "no-file": "Its status file cannot be used, though it was there before. Queue and process decide.",
    "no-file-lost": (
        "Its status file is gone, and so is the job, in two looks of the same instance of the host."
    ),
    "grace": (
        "A first negative look. A second one of the same instance of the host, after the grace time, must "
        "agree."
    ),
    **settle.RULES,
}
"""The name of each rule and its sentence, for ``jobmgr why``."""


class Case(Struct, frozen=True):
    """One look, made ready for the rows.

    ``usable``: the file counts; if not, ``trouble`` says why. ``facts``: the file's, or else those known
    before. ``started``: the user's part of the job is known to have begun; ``claimed``: at least the wrapper
    has. ``presence``: WAITING, ACTIVE, ENDED, ABSENT or BLIND. ``seen``: the verdict that changes nothing but
    what was seen.
    """

    view: JobView
    look: Look
    evidence: wire.Evidence
    usable: bool
    trouble: str
    facts: Facts
    exit: status.Exit | None
    started: bool
    claimed: bool
    known: bool
    native_id: str
    presence: str
    seen: Verdict

    @property
    def settled(self) -> bool:
        """Whether the host is known to have taken the job."""
        return (
            self.view.state not in UNSETTLED
            or self.view.acknowledged
            or bool(self.view.batch and self.native_id)
        )

    @property
    def reason(self) -> str:
        """The queue's own word for why, "" if it is none that explains anything."""
        said = line(self.evidence.queue.reason)
        return "" if said.lower() in _COMPLETED else said


def decide(view: JobView, look: Look) -> Verdict:
    """What follows from one look at one job. Never raises, whatever a host has sent.

    The same look a second time changes nothing more; an older one never moves a state backwards.
    """
    evidence = look.evidence
    if evidence is None and look.run_state != "ok" and not look.error:
        return _run_missing(view, look)
    if evidence is None or not _well_formed(evidence) or not (math.isfinite(look.time) and look.time > 0):
        doubt = (
            f"unreachable ({line(look.error)})" if look.error else "the host's answer does not tell about it"
        )
        return _unchanged(view, "no-answer", doubt)
    if evidence.token != view.token or evidence.job != view.job or evidence.file.state == wire.FILE_FOREIGN:
        return _unchanged(view, "foreign", "its directory on the host belongs to another job")
    if look.run_state != "ok" and not _killed_without_record(view, look, evidence):
        return _run_missing(view, look)
    if look.instance == view.look_instance and 0 < view.look_time - look.time <= LATE:
        return keep(view, "late-answer")
    case = _case(view, look, evidence)
    verdicts = (row(case) for row in ROWS)
    return _guard(case, next(verdict for verdict in verdicts if verdict is not None))


def _killed_without_record(view: JobView, look: Look, evidence: wire.Evidence) -> bool:
    """Whether a kill, which alone brings evidence without a run directory, has left nothing of the job."""
    gone = evidence.queue.state in (wire.Q_ABSENT, wire.Q_ENDED) if view.batch else evidence.process == wire.P_GONE
    return look.run_state == "absent" and bool(view.kill_intended) and gone


def _run_missing(view: JobView, look: Look) -> Verdict:
    doubt = _RUN_DOUBTS.get(line(look.run_state), "the run directory is missing on the host")
    return replace(_unchanged(view, "run-missing", doubt), host_doubt=True)


def _unchanged(view: JobView, rule: str, doubt: str) -> Verdict:
    return replace(keep(view, rule, doubt), actions=_fencing(view))


def _fencing(view: JobView) -> tuple[Action, ...]:
    """What is still to be asked of the host behind a final state: to revoke what may yet start."""
    open_end = view.state is State.SUBMIT_FAILED or (view.state is State.FAILED and view.facts.lost)
    return _revoke(view.job, FENCE_AGAIN) if open_end and not view.retry_safe else ()


_RUN_DOUBTS = {
    "unmounted": "the run directory is missing on the host (not mounted?)",
    "foreign": "another run's directory stands in its place on the host",
}


# --- making a case ------------------------------------------------------------------------------------


def _well_formed(evidence: object) -> bool:
    return (
        isinstance(evidence, wire.Evidence)
        and isinstance(evidence.file, wire.FileEvidence)
        and isinstance(evidence.queue, wire.QueueEvidence)
        and isinstance(evidence.found, wire.Found)
        and isinstance(evidence.file.facts, dict)
        and _count(evidence.file.size) is not None
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else None


def _seen_messages(view: JobView, file: wire.FileEvidence) -> int:
    """How many messages are known by now: if some before those of this answer are not, they are asked for again."""
    count = _count(file.message_count) or 0
    return count if count - len(file.messages) <= view.seen_messages <= count else view.seen_messages


def _case(view: JobView, look: Look, evidence: wire.Evidence) -> Case:
    file = evidence.file
    trouble = _trouble(view, file)
    usable = not trouble
    facts = _facts(view, file) if usable else view.facts
    native_id = line(evidence.native_id) or line(file.facts.get(status.NATIVE_ID) if usable else "")
    native_id = (
        native_id or (line(file.facts.get(status.PID)) if usable and not view.batch else "") or view.native_id
    )
    claimed = evidence.claim == wire.C_STARTED
    started = facts.start_time is not None
    presence = _presence(view, evidence, started or claimed)
    if view.batch and 0 < facts.attempts <= facts.superseded and presence in (WAITING, ACTIVE, BLIND):
        facts, started = _put_behind(facts)
    seen = replace(
        keep(view, view.rule),
        facts=facts,
        native_id=native_id,
        acknowledged=view.acknowledged or (usable and bool(native_id)),
        seen_size=max(view.seen_size, file.size) if usable else view.seen_size,
        seen_messages=_seen_messages(view, file) if usable else view.seen_messages,
        look_time=look.time,
        look_instance=look.instance,
    )
    known = view.seen_size > 0 or view.acknowledged or view.state not in UNSETTLED
    return Case(
        view,
        look,
        evidence,
        usable,
        trouble,
        facts,
        status.parse_exit(facts.exit_record),
        started,
        claimed,
        known,
        native_id,
        presence,
        seen,
    )


def _trouble(view: JobView, file: wire.FileEvidence) -> str:
    """Why the status file does not count; "" if it does."""
    if file.state == wire.FILE_OK:
        return "its status file is older than one seen before" if file.size < view.seen_size else ""
    if file.state == wire.FILE_DIRECTORY_MISSING:
        return "its log directory on the host is missing"
    if file.state == wire.FILE_MISSING:
        return "its status file is missing"
    error = line(file.error)
    return f"its status file cannot be read: {error}" if error else "its status file cannot be read"


def _facts(view: JobView, file: wire.FileEvidence) -> Facts:
    """The facts of a file that counts, on top of what was known."""
    said = file.facts
    attempts = max(_count(file.attempts) or 0, view.facts.attempts)
    start = parse_utc(said.get(status.START_TIME))
    exit_record = line(said.get(status.EXIT))
    if start is None and not exit_record and attempts <= view.facts.attempts:
        return view.facts  # it knew more already, and nothing has begun since
    kind, _, value = exit_record.partition("/")
    return Facts(
        start_time=start,
        exit_time=parse_utc(said.get(status.EXIT_TIME)),
        exit_record=exit_record if status.parse_exit(exit_record) else "",
        exit_code=_exit_code(value) if kind == status.FAILED else 0 if kind == status.SUCCEEDED else None,
        signal=value if kind in (status.SIGNAL, status.VACATED) else "",
        reason=value if kind == status.ABORTED else "",
        elapsed=_number(said.get(status.ELAPSED)),
        cpu=_number(said.get(status.CPU)),
        max_rss=_whole(said.get(status.MAX_RSS)),
        hostname=line(said.get(status.HOSTNAME)),
        attempts=attempts,
        superseded=view.facts.superseded,
    )


def _put_behind(facts: Facts) -> tuple[Facts, bool]:
    """Facts of an attempt before the restart, while the queue holds the next one, which has not begun."""
    if facts.exit_record == status.SUCCEEDED:
        return facts, facts.start_time is not None
    return Facts(attempts=facts.attempts, superseded=facts.superseded), False


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) and len(text) < 40 else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def _whole(text: object) -> int | None:
    return (
        int(text) if isinstance(text, str) and len(text) < 19 and text.isascii() and text.isdigit() else None
    )


def _exit_code(text: str) -> int | None:
    code = _whole(text)
    return code if code is not None and code < 256 else None


def _presence(view: JobView, evidence: wire.Evidence, begun: bool) -> str:
    """What queue, process and spool together say; whatever shows the job counts more than what does not."""
    queue, process = evidence.queue.state, evidence.process
    if view.batch:
        if queue == wire.Q_WAITING and evidence.claim == wire.C_REVOKED:
            # It waits in vain: the wrapper of a revoked token ends at once.
            return ACTIVE if process == wire.P_ALIVE else ABSENT
        if queue == wire.Q_WAITING:
            return WAITING
        if queue in (wire.Q_ACTIVE, wire.Q_UNKNOWN) or process == wire.P_ALIVE:
            return ACTIVE
        if queue == wire.Q_ENDED:
            return ENDED
        # Another job under our id: the queue has forgotten ours and uses the number again.
        return ABSENT if queue in (wire.Q_ABSENT, wire.Q_OTHER_JOB) else BLIND
    if process == wire.P_ALIVE:
        return ACTIVE
    if evidence.spool in (wire.S_QUEUED, wire.S_TAKEN) and not begun:
        return ACTIVE
    if process in (wire.P_GONE, wire.P_NOT_OURS, wire.P_REBOOTED):
        return ABSENT
    return BLIND


# --- helpers of the rows --------------------------------------------------------------------------------


def _final(
    case: Case, state: State, rule: str, detail: str, facts: Facts, *, retry_safe: bool | None = None
) -> Verdict:
    return replace(
        clear(case.seen),
        state=state,
        rule=rule,
        detail=detail,
        doubt="",
        facts=facts,
        retry_safe=case.seen.retry_safe if retry_safe is None else retry_safe,
        actions=(Retrieve(case.view.job),),
    )


def _after_grace(case: Case, doubt: str, verdict: Callable[[], Verdict]) -> Verdict:
    """The verdict, if this look and a first one of the same instance are far enough apart; else patience."""
    grace = GRACE_NETWORK if case.look.network_fs else GRACE
    since, over = negative(case.view, case.look, grace)
    if over:
        return verdict()
    again = PollAgain(case.view.job, max(1.0, since + grace - case.look.time))
    return replace(
        case.seen,
        rule="grace",
        doubt=doubt,
        grace_since=since,
        grace_instance=case.look.instance,
        actions=(again,),
    )


def _lost(case: Case, rule: str, why: str) -> Verdict:
    facts = replace(case.facts, lost=True, reason="lost")
    return _fenced(case, _final(case, State.FAILED, rule, f"lost: {why}", facts))


def _fenced(case: Case, verdict: Verdict) -> Verdict:
    """A final verdict without an exit record: nothing may start behind it. A claim by a start stands for
    good.
    """
    if case.claimed or case.evidence.claim == wire.C_REVOKED:
        return replace(verdict, retry_safe=True)
    return replace(verdict, actions=(*_revoke(case.view.job), *verdict.actions))


def _blind_doubt(case: Case) -> str:
    """Why nobody could see whether the job is there."""
    if case.view.batch:
        if case.evidence.queue.state == wire.Q_COULD_NOT_ASK:
            error = line(case.evidence.queue.error)
            return f"the queue could not be asked: {error}" if error else "the queue could not be asked"
        return "the queue was not asked"
    return _PROCESS_DOUBTS.get(line(case.evidence.process), "its process was not looked for")


_PROCESS_DOUBTS = {
    wire.P_OTHER_HOST: "it runs on another machine, where its process cannot be seen",
    wire.P_CANNOT_SEE: "the host does not let its process be seen",
}


def _gone_words(case: Case) -> str:
    """How the job is gone, for a detail."""
    if case.view.batch:
        if case.evidence.queue.state == wire.Q_OTHER_JOB:
            return "the queue uses its id for another job"
        if case.evidence.queue.state == wire.Q_WAITING:
            return "its token was revoked"
        return "the queue no longer lists it"
    if case.evidence.process == wire.P_REBOOTED:
        return "the host was restarted"
    return "its process is gone"


def _queue_words(case: Case) -> str:
    """What the queue shows, for the DETAIL column."""
    if not case.view.batch:
        return "waits for a slot" if case.evidence.spool == wire.S_QUEUED else ""
    raw, reason = line(case.evidence.queue.raw), line(case.evidence.queue.reason)
    return f"{raw} ({reason})" if raw and reason else raw or reason


_NO_MORE = re.compile(r"(?:failed|nonzeroexitcode|(?:exit[ _](?:code|status)|completion code) ([0-9]+))", re.I)
"""A queue's reason that says no more than the exit record, if the code is the same."""


def _reason_beside(case: Case) -> str:
    """The queue's reason, where it adds something to the exit record."""
    if case.presence != ENDED:
        return ""
    again = _NO_MORE.fullmatch(case.reason)
    repeats = again and case.exit and again.group(1) in (None, case.exit.value)
    return "" if repeats else case.reason


def _and_reason(case: Case, text: str) -> str:
    reason = _reason_beside(case)
    return f"{text}, {reason}" if reason else text


# --- the rows, in their order ---------------------------------------------------------------------------


def _row_succeeded(case: Case) -> Verdict | None:
    """SUCCEEDED -> succeeded, whatever the queue says."""
    if case.exit is None or case.exit.kind != status.SUCCEEDED:
        return None
    return _final(case, State.SUCCEEDED, "succeeded", "", case.facts, retry_safe=True)


def _row_killed(case: Case) -> Verdict | None:
    """Kill intended + gone, absent, ended, or revoked, without SUCCEEDED -> killed, at once."""
    if not case.view.kill_intended:
        return None
    by_itself = case.exit is not None and case.exit.kind in (status.FAILED, status.ABORTED)
    if by_itself:
        # It came to its own end before the kill reached it, unless the host has left its mark.
        gone = case.evidence.killed is True and case.presence != WAITING
    elif case.exit is not None and not case.view.batch:
        gone = case.presence != ACTIVE
    else:
        # What never began and has no id may still come to the host: settled or revoked first.
        reachable = case.started or case.claimed or bool(case.view.batch and case.native_id)
        gone = case.presence in (ABSENT, ENDED) and reachable
    if not gone and (case.evidence.claim != wire.C_REVOKED or case.started):
        return None
    detail = f"signal {case.facts.signal}" if case.facts.signal else ""
    verdict = _final(case, State.KILLED, "killed", detail, case.facts)
    return replace(_fenced(case, verdict), retry_safe=True)


def _row_restart(case: Case) -> Verdict | None:
    """FAILED, ABORTED, SIGNAL, VACATED + waiting -> submitted: the queue starts it again."""
    if case.exit is None or case.presence != WAITING:
        return None
    return _again(case, "restart")


def _again(case: Case, rule: str) -> Verdict:
    facts = Facts(attempts=case.facts.attempts, superseded=max(case.facts.attempts, 1))
    return replace(
        clear(case.seen),
        state=State.SUBMITTED,
        rule=rule,
        detail=_queue_words(case),
        doubt="",
        facts=facts,
    )


def _row_failed(case: Case) -> Verdict | None:
    """FAILED, ABORTED otherwise -> failed, with code or text."""
    if case.exit is None or case.exit.kind not in (status.FAILED, status.ABORTED):
        return None
    facts = case.facts
    if case.exit.kind == status.ABORTED:
        detail = case.exit.value or "aborted"
    else:
        detail = _and_reason(case, f"exit {case.exit.value}" if case.exit.value else "failed")
        facts = replace(facts, reason=_reason_beside(case))
    return _final(case, State.FAILED, "failed", detail, facts, retry_safe=True)


def _at_least_running(case: Case) -> State:
    """The state of a job that has started and is not decided about yet."""
    return case.view.state if case.view.state not in UNSETTLED else State.RUNNING


def _row_ending(case: Case) -> Verdict | None:
    """FAILED by a signal (137: out of memory?) + active, could-not-ask -> as it was, until the queue says why or
    grace is over.
    """
    if case.exit is None or case.exit.kind != status.FAILED or not case.view.batch:
        return None
    if case.presence not in (ACTIVE, BLIND):
        return None
    if case.view.state in FINAL or not case.exit.value.isdigit() or int(case.exit.value) <= BY_SIGNAL:
        return None
    since, over = negative(case.view, case.look, GRACE)
    if over:
        return None
    return replace(
        case.seen,
        state=_at_least_running(case),
        rule="ending",
        doubt=_blind_doubt(case) if case.presence == BLIND else "",
        detail=f"exit {case.exit.value}, and the queue has not said why yet",
        grace_since=since,
        grace_instance=case.look.instance,
        actions=(PollAgain(case.view.job, max(1.0, min(ENDING_AGAIN, since + GRACE - case.look.time))),),
    )


def _row_vacating(case: Case) -> Verdict | None:
    """SIGNAL, VACATED + active, unknown, could-not-ask -> unchanged; doubt if it could not be asked."""
    if case.exit is None or case.presence not in (ACTIVE, BLIND):
        return None
    if case.presence == BLIND and not case.view.batch:
        return None  # nothing starts a background job again
    doubt = _blind_doubt(case) if case.presence == BLIND else ""
    seen = case.seen if case.presence == BLIND else clear(case.seen)
    detail = f"signal {case.exit.value}"
    return replace(seen, state=_at_least_running(case), rule="vacating", doubt=doubt, detail=detail)


def _row_signal(case: Case) -> Verdict | None:
    """SIGNAL + absent, ended; background: gone -> failed: signal, with the queue's reason."""
    if case.exit is None or (case.exit.kind != status.SIGNAL and case.view.batch):
        return None
    facts = replace(case.facts, reason=_reason_beside(case))
    detail = _and_reason(case, f"signal {case.exit.value}")
    return _final(case, State.FAILED, "signal", detail, facts, retry_safe=True)


def _row_vacated(case: Case) -> Verdict | None:
    """VACATED + ended -> failed with reason; + absent -> lost after grace."""
    if case.exit is None:
        return None
    if case.presence == ENDED:
        detail = f"vacated by signal {case.exit.value}" + (f", {case.reason}" if case.reason else "")
        facts = replace(case.facts, reason=case.reason or "vacated")
        return _final(case, State.FAILED, "vacated", detail, facts, retry_safe=True)
    why = f"vacated by signal {case.exit.value}, and {_gone_words(case)}"
    return _after_grace(case, _gone_words(case), lambda: _lost(case, "vacated", why))


def _row_revoked(case: Case) -> Verdict | None:
    """The token was revoked, not started -> submit-failed: nothing of it can start any more."""
    if case.evidence.claim != wire.C_REVOKED or case.started:
        return None
    detail = case.view.detail if case.view.state in FINAL else "never started; revoked on the host"
    facts = replace(case.facts, reason=case.facts.reason or "revoked")
    return _final(case, State.SUBMIT_FAILED, "revoked", detail, facts, retry_safe=True)


def _row_no_file(case: Case) -> Verdict | None:
    """The file is missing, unreadable or stale, but was known before -> by queue and process; absent + grace
    -> lost.
    """
    if case.usable or not case.known:
        return None
    running = case.started or case.view.state is State.RUNNING
    if case.presence in (WAITING, ACTIVE):
        state = State.RUNNING if running else State.SUBMITTED
        return replace(clear(case.seen), state=state, rule="no-file", doubt=case.trouble)
    if case.presence == BLIND:
        return replace(case.seen, rule="no-file", doubt=f"{case.trouble}; {_blind_doubt(case)}")
    if case.presence == ENDED and case.reason:
        facts = replace(case.facts, reason=case.reason)
        return _after_grace(
            case,
            case.trouble,
            lambda: _final(case, State.FAILED, "no-file", case.reason, facts, retry_safe=running),
        )
    why = "status file gone" if case.evidence.file.state != wire.FILE_UNREADABLE else "status file unreadable"
    why += "" if running else " (may have run)"
    return _after_grace(case, case.trouble, lambda: _lost(case, "no-file-lost", why))


def _row_requeued(case: Case) -> Verdict | None:
    """Started + waiting -> submitted (requeue after a node failure)."""
    if not case.started or case.presence != WAITING:
        return None
    return _again(case, "requeued")


def _row_running(case: Case) -> Verdict | None:
    """Started + active, unknown, alive (stopped included) -> running."""
    if not case.started or case.presence != ACTIVE:
        return None
    doubt = ""
    if case.view.batch and case.evidence.queue.state in (wire.Q_ABSENT, wire.Q_ENDED, wire.Q_OTHER_JOB):
        doubt = "the queue does not have it, but its process is alive"
    return replace(
        clear(case.seen),
        state=State.RUNNING, rule="running", doubt=doubt, detail=_running_words(case)
    )


def _running_words(case: Case) -> str:
    return line(case.evidence.queue.raw) if case.evidence.queue.state == wire.Q_UNKNOWN else ""


def _row_running_unseen(case: Case) -> Verdict | None:
    """Started + could-not-ask, other-host, cannot-see -> running, doubt."""
    if not case.started or case.presence != BLIND:
        return None
    seen = _remembering(case, _remembered(case)).seen
    return replace(seen, state=State.RUNNING, rule="running-unseen", doubt=_blind_doubt(case), detail="")


def _row_ended(case: Case) -> Verdict | None:
    """Started + ended(reason), after grace -> failed: reason; "COMPLETED" without an exit record is lost."""
    if not (case.started or case.claimed) or case.presence != ENDED:
        return None
    said = line(case.evidence.queue.raw) or "ended"
    doubt = f"the queue says {case.reason or said}, and there is no exit record"

    def verdict() -> Verdict:
        if not case.reason:
            return _lost(case, "ended", f"the queue says {said}, but there is no exit record")
        return _final(
            case, State.FAILED, "ended", case.reason, replace(case.facts, reason=case.reason), retry_safe=True
        )

    return _after_grace(_remembering(case, case.reason), doubt, verdict)


def _remembering(case: Case, reason: str) -> Case:
    """The case whose facts hold the queue's reason: it may have forgotten the job at the second look."""
    seen = replace(case.seen, facts=replace(case.seen.facts, reason=reason))
    return replace(case, seen=seen) if reason and case.started else case


def _remembered(case: Case) -> str:
    """The reason that the queue gave at the first negative look."""
    return case.view.facts.reason if case.view.batch and case.view.grace_since else ""


def _row_lost(case: Case) -> Verdict | None:
    """Started + absent, gone, not-ours, rebooted, after grace -> failed: lost; with the reason that the queue gave
    before it forgot the job, if it did.
    """
    if not (case.started or case.claimed) or case.presence != ABSENT:
        return None
    reason = _remembered(case)
    if reason:
        facts = replace(case.facts, reason=reason)
        return _after_grace(
            _remembering(case, reason),
            f"the queue said {reason}, and there is no exit record",
            lambda: _final(case, State.FAILED, "ended", reason, facts, retry_safe=True),
        )
    words = _gone_words(case)
    doubt = f"{words}, and there is no exit record"
    return _after_grace(case, doubt, lambda: _lost(case, "lost", f"{words} without an exit record"))


def _row_submitted(case: Case) -> Verdict | None:
    """Not started, id + waiting, active, unknown, alive (background: in the spool) -> submitted, queue's
    words shown.
    """
    if case.presence not in (WAITING, ACTIVE):
        return None
    return replace(
        clear(case.seen),
        state=State.SUBMITTED,
        rule="submitted",
        detail=_queue_words(case),
        acknowledged=True,
    )


def _row_submitted_unseen(case: Case) -> Verdict | None:
    """Not started, id + could-not-ask, other-host, cannot-see -> unchanged, doubt."""
    if case.presence != BLIND or not (case.settled or case.claimed):
        return None
    # A native id or a claim proves that an unsettled submit has arrived.
    state = State.SUBMITTED if case.view.state in UNSETTLED else case.view.state
    return replace(
        case.seen,
        state=state, rule="submitted-unseen", doubt=_blind_doubt(case), acknowledged=True
    )


def _row_submit_ended(case: Case) -> Verdict | None:
    """Not started, id + ended -> submit-failed, with reason."""
    if case.presence != ENDED or not case.native_id:
        return None
    said = case.reason or line(case.evidence.queue.raw) or "ended in the queue"

    def verdict() -> Verdict:
        facts = replace(case.facts, reason=case.reason)
        return _fenced(case, _final(case, State.SUBMIT_FAILED, "submit-ended", said, facts))

    # "COMPLETED" means that it ran after all: its file may be on its way here.
    return (
        verdict()
        if case.reason
        else _after_grace(case, f"the queue says {said}, and it never reported", verdict)
    )


def _row_submit_vanished(case: Case) -> Verdict | None:
    """Not started, batch id + absent, after grace -> submit-failed."""
    if not case.view.batch or not case.native_id or case.presence != ABSENT:
        return None
    words = _gone_words(case)

    def verdict() -> Verdict:
        return _fenced(
            case, _final(case, State.SUBMIT_FAILED, "submit-vanished", f"never started; {words}", case.facts)
        )

    return _after_grace(case, words, verdict)


def _row_never_started(case: Case) -> Verdict | None:
    """Not started, background + gone -> revoke: won -> submit-failed; rebooted -> lost (may have run)."""
    if case.view.batch or not case.settled or case.presence != ABSENT:
        return None
    view, look = case.view, case.look
    changed = bool(view.instance and look.instance and view.instance != look.instance)
    if case.evidence.process == wire.P_REBOOTED or changed:
        why = "the host was restarted before it reported its start (may have run)"
        return _after_grace(case, "the host was restarted", lambda: _lost(case, "lost-before-start", why))
    doubt = "nothing on the host is going to start it"
    if view.kill_intended:
        return replace(case.seen, rule="never-started", doubt="", actions=_revoke(view.job))
    return _after_grace(
        case,
        doubt,
        lambda: replace(
            case.seen,
            rule="never-started",
            doubt=doubt,
            actions=_revoke(view.job),
        ),
    )


def _revoke(job: str, after: float = 0.0) -> tuple[Action, ...]:
    return Revoke(job), PollAgain(job, after)


def _row_settle(case: Case) -> Verdict | None:
    """Fenced, no id, not started; or missing and never acknowledged -> settled as core/settle.py says."""
    if case.view.state not in UNSETTLED:
        return replace(case.seen, rule="submitted-unseen", doubt="its id in the queue is not known")
    return settle.settle(case.view, case.look, case.seen)


ROWS: tuple[Callable[[Case], Verdict | None], ...] = (
    _row_succeeded,
    _row_killed,
    _row_restart,
    _row_ending,
    _row_failed,
    _row_vacating,
    _row_signal,
    _row_vacated,
    _row_revoked,
    _row_no_file,
    _row_requeued,
    _row_running,
    _row_running_unseen,
    _row_ended,
    _row_lost,
    _row_submitted,
    _row_submitted_unseen,
    _row_submit_ended,
    _row_submit_vanished,
    _row_never_started,
    _row_settle,
)
"""The table, once it is known that there is an answer, and that it is about this job."""


# --- what no row may do ---------------------------------------------------------------------------------


def _guard(case: Case, verdict: Verdict) -> Verdict:
    """Keep final states final, but for the revisions that are allowed; never move backwards."""
    view = case.view
    if view.state not in FINAL:
        if can(view.state, verdict.state):
            return verdict
        return replace(case.seen, rule="late-answer")
    if _may_revise(case, verdict):
        return replace(verdict, revised=True)
    if verdict.rule == "grace" and _provisional(case):
        return verdict
    if case.evidence.claim == wire.C_REVOKED or (view.facts.lost and case.claimed):
        return replace(keep(view, view.rule), retry_safe=True)
    shows = case.presence in (WAITING, ACTIVE) and (case.exit is None or case.presence == WAITING)
    if view.state is State.SUCCEEDED or not shows:
        return replace(keep(view, view.rule or "final"), actions=_fencing(view))
    doubt = f"declared {view.state}, but the host still has something of it"
    return replace(keep(view, "final", doubt), actions=_fencing(view) or (PollAgain(view.job, FENCE_AGAIN),))


def _may_revise(case: Case, verdict: Verdict) -> bool:
    """Whether a final state gives way.

    Lost and submit-failed to an exit record, failed to a restart by the queue, and a submit-failed that was
    not fenced yet to a claim: the revocation was refused, because the job did start.
    """
    view = case.view
    if view.state not in (State.FAILED, State.SUBMIT_FAILED) or not can(view.state, verdict.state):
        return False
    if _provisional(case):
        return verdict.state is not State.SUBMIT_FAILED
    if not case.usable:
        return False
    fresh = case.facts.attempts > max(view.facts.attempts, view.facts.superseded)
    if verdict.rule in _BY_RECORD and case.exit is not None and not verdict.facts.lost:
        return view.state is State.SUBMIT_FAILED or view.facts.lost or fresh
    if verdict.rule in ("restart", "requeued"):
        return True
    return verdict.rule == "running" and fresh and view.facts.attempts > 0


def _provisional(case: Case) -> bool:
    """A submit-failed that was not fenced, and now turns out to have started."""
    return case.view.state is State.SUBMIT_FAILED and not case.view.retry_safe and case.claimed


_BY_RECORD = ("succeeded", "failed", "signal", "vacated")

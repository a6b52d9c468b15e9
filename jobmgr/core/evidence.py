"""The records that decisions are made of: what is known, what was seen, what follows.

All times are seconds since the epoch, by the clock of the *host* unless it says otherwise; durations are
seconds. What is made for every look at every job is a named tuple: ten thousand jobs are decided about at once.
"""

from __future__ import annotations

from msgspec import Struct

from jobmgr_remote import wire

from .states import State


class Facts(Struct, frozen=True):
    """What job.status told about the latest attempt of a job, and how it ended.

    ``exit_code``: the script's own; ``signal``: a name such as ``TERM``; ``reason``: the queue's or the
    wrapper's word for why; ``exit_record``: the record as it stands in the file (``FAILED/3``), empty without
    one. ``elapsed`` and ``cpu`` in seconds, ``max_rss`` as job.status has it. ``attempts``: how many have
    started; ``superseded``: after a restart by the queue, the attempts before it, whose records no longer
    count while the queue holds the job. ``lost``: final without an exit record.
    """

    start_time: float | None = None
    exit_time: float | None = None
    exit_record: str = ""
    exit_code: int | None = None
    signal: str = ""
    reason: str = ""
    elapsed: float | None = None
    cpu: float | None = None
    max_rss: int | None = None
    hostname: str = ""
    attempts: int = 0
    lost: bool = False
    superseded: int = 0


NO_FACTS = Facts()


class JobView(Struct, frozen=True):
    """What the controller knows about a job when it looks at new evidence.

    ``batch``: a batch system runs it (False: ``background``). ``instance``: the life of the host when the
    submit was sent, "" unknown. ``acknowledged``: the host has answered that it has the job. ``tries``: how
    often the submit request was sent. ``seen_size`` and ``seen_messages``: what was seen of job.status.
    ``look_time`` and ``look_instance``: the latest look that counted. ``grace_since`` (0 = none) and
    ``grace_instance``: the first of a row of negative looks. ``retry_safe``: a final state behind which
    nothing can start any more.
    """

    job: str
    token: str
    runner: str
    batch: bool
    state: State
    native_id: str = ""
    instance: str = ""
    acknowledged: bool = False
    kill_intended: bool = False
    tries: int = 0
    seen_size: int = 0
    seen_messages: int = 0
    look_time: float = 0.0
    look_instance: str = ""
    grace_since: float = 0.0
    grace_instance: str = ""
    retry_safe: bool = False
    rule: str = ""
    detail: str = ""
    facts: Facts = NO_FACTS


class Look(Struct, frozen=True):
    """What one call to a host told about one job.

    ``evidence`` is None if the job had no reply line (or the host did not answer; ``error`` says why).
    ``time``, ``instance`` and ``run_state`` are those of the host's hello; ``network_fs``: its run directory
    is on a network file system.
    """

    evidence: wire.Evidence | None
    time: float = 0.0
    instance: str = ""
    run_state: str = "ok"
    network_fs: bool = False
    error: str = ""


class Revoke(Struct, frozen=True):
    """Ask the host to claim the token as ``revoked``, so that nothing of it can start any more."""

    job: str


class Find(Struct, frozen=True):
    """Ask the host to look the token up in the runner (``find`` in the next poll)."""

    job: str


class Resend(Struct, frozen=True):
    """Send the identical submit request again, to the same host."""

    job: str
    after: float = 0.0


class PollAgain(Struct, frozen=True):
    """Look at the job again after so many seconds, whatever its polling interval."""

    job: str
    after: float


class Retrieve(Struct, frozen=True):
    """Bring logs and outputs home: the job has ended."""

    job: str


Action = Revoke | Find | Resend | PollAgain | Retrieve


class Verdict(Struct, frozen=True):
    """What follows from one look: the whole new record of what a poll may change.

    ``rule`` names the row of the table that decided (:data:`jobmgr.core.decide.RULES` has its sentence).
    ``detail`` is for the DETAIL column, ``doubt`` is "" or a text for users about what could not be asked or
    does not fit; ``host_doubt``: the doubt concerns the whole host. ``revised``: a final state was changed.
    """

    state: State
    rule: str
    detail: str = ""
    doubt: str = ""
    host_doubt: bool = False
    facts: Facts = NO_FACTS
    native_id: str = ""
    acknowledged: bool = False
    seen_size: int = 0
    seen_messages: int = 0
    look_time: float = 0.0
    look_instance: str = ""
    grace_since: float = 0.0
    grace_instance: str = ""
    retry_safe: bool = False
    revised: bool = False
    actions: tuple[Action, ...] = ()


def keep(view: JobView, rule: str, doubt: str = "", host_doubt: bool = False) -> Verdict:
    """The verdict that changes nothing but the doubt."""
    return Verdict(
        state=view.state,
        rule=rule,
        detail=view.detail,
        doubt=doubt,
        host_doubt=host_doubt,
        facts=view.facts,
        native_id=view.native_id,
        acknowledged=view.acknowledged,
        seen_size=view.seen_size,
        seen_messages=view.seen_messages,
        look_time=view.look_time,
        look_instance=view.look_instance,
        grace_since=view.grace_since,
        grace_instance=view.grace_instance,
        retry_safe=view.retry_safe,
    )


def with_since(doubt: str, since: str) -> str:
    """A doubt with the time of its beginning: ``unreachable (timed out)`` -> ``unreachable since 11:51 (timed
    out)``.
    """
    if not doubt or not since:
        return doubt
    places = [at for at in (doubt.find(" ("), doubt.find(": ")) if at >= 0]
    at = min(places, default=len(doubt))
    return f"{doubt[:at]} since {since}{doubt[at:]}"

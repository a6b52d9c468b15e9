"""Jobs: taking submit numbers, applying decisions, reading many at once, and the history."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..core.states import ACTIVE, State, can
from .records import Change, Event, Job, JobLine, Message, NewSubmit, Retrieval, StateCount, job_id
from .runs import NEXT_VERSION, Runs, insert_events, insert_listed, insert_outputs, marks

_COLUMNS = ("id", *Job._fields[1:])
# INDEXED BY stands where SQLite, which cannot know how few rows there are, would read all jobs of a state.
_SELECT = "SELECT {} FROM jobs".format(", ".join(_COLUMNS))
_STATES = {state.value: state for state in State}
_STATE = Job._fields.index("state")
_FLAGS = tuple(
    Job._fields.index(name)
    for name in ("acknowledged", "lost", "retry_safe", "followed", "find", "revoke", "resend")
)
# Never changed by a decision: what names the job, and what other methods set.
_KEPT = frozenset(
    {
        "number",
        "cycle",
        "task",
        "submit",
        "token",
        "submit_time",
        "kill_intended",
        "changed",
        "doubt_since",
        "followed",
    }
)
_SET = tuple(name for name in Job._fields if name not in _KEPT)
_UPDATE = "UPDATE jobs SET {}, changed = ?, doubt_since = ?, followed = ? WHERE id = ?".format(
    ", ".join(f"{name} = ?" for name in _SET)
)
_SET_AT = tuple(Job._fields.index(name) for name in _SET)
_WITH_LATEST = (
    " FROM instances AS i LEFT JOIN jobs AS j"
    " ON j.cycle = i.cycle AND j.task = i.task AND j.submit = i.last_submit"
)
_CHUNK = 500  # SQLite's limit of variables is 999 in old versions

FIRST_LOOK = 60.0
"""Seconds after which a submit that was never answered becomes due for a poll: its controller may have died.
"""


def new_token() -> str:
    """A job's token: a random UUID, lower case."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Jobs(Runs):
    """The part of the store that is about jobs."""

    # --- writing ------------------------------------------------------------------------------------

    def take_submits(
        self,
        submits: Sequence[NewSubmit],
        now: float,
        token: Callable[[], str] = new_token,
    ) -> list[Job]:
        """Take the next submit number for each instance and make its job, ``submitting``: the intent,
        committed.

        An instance whose latest job is still active, that does not exist, or that another process has given a
        job meanwhile (``NewSubmit.after``), gets none: the jobs that are
        returned are all that may be sent. Two processes never get the same number. A job that a full queue has
        refused is taken again, with its number and its token.
        """
        taken, events = list[int](), list[Event]()
        with self.writing() as db:
            for submit in submits:
                made = _take(db, submit, now, token())
                if made is not None:
                    taken.append(made[0])
                    events.append(made[1])
            insert_events(db, events)
            return list(_by_number(db, taken))

    def apply(self, changes: Sequence[Change], now: float, listed: Iterable[Retrieval] = ()) -> set[int]:
        """Make the changes of a batch, with their history, messages and outputs, and note the files that
        these jobs have to bring home. Returns the numbers of the jobs changed.

        Left out: a job whose state has changed, or that was marked to be killed, since it was read (the next
        look counts), and a transition that the table does not know (a line in the history says so).
        """
        with self.writing() as db:
            present = {
                row[0]: row[1:]
                for chunk in _chunks([change.old.number for change in changes])
                for row in db.execute(
                    "SELECT id, state, doubt, doubt_since, rule, changed, followed, kill_intended FROM jobs"
                    f" WHERE id IN ({marks(chunk)})",
                    chunk,
                )
            }
            made, events = list[Change](), list[Event]()
            for change in changes:
                stored = present.get(change.old.number)
                if stored is None or _overtaken(change.old, stored):
                    continue
                if can(change.old.state, change.new.state):
                    made.append(change)
                    events.extend(_history(change, stored, now))
                else:
                    events.append(_refused(change, now))
            db.executemany(_UPDATE, [_update(change, present[change.old.number], now) for change in made])
            insert_events(db, events)
            _note_details(db, made, now)
            _mirror(db, [change.new for change in made if change.new.state is not change.old.state], now)
            numbers = {change.old.number for change in made}
            insert_listed(db, [entry for entry in listed if entry.number in numbers])
            return numbers

    def confirm(self, next_polls: Mapping[int, float | None], now: float) -> None:
        """Running jobs, by number, were asked about and are as they were; when they are due again.

        Left out: jobs that are in another state by now, to be killed, or in doubt.
        """
        with self.writing() as db:
            db.executemany(
                "UPDATE jobs SET polls = polls + 1, errors = 0, last_polled = ?, last_answer = ?, next_poll = ?"
                " WHERE id = ? AND state = 'running' AND kill_intended IS NULL AND doubt = ''",
                [(now, now, at, number) for number, at in next_polls.items()],
            )

    def move(self, numbers: Iterable[int], host: str, instance: str = "") -> None:
        """Name another host in the intent of jobs whose request was certainly not sent."""
        with self.writing() as db:
            db.executemany(
                "UPDATE jobs SET host = ?, instance = ?"
                " WHERE id = ? AND state = 'submitting' AND acknowledged = 0",
                [(host, instance, number) for number in numbers],
            )

    def set_specs(self, specs: Mapping[int, str]) -> None:
        """Replace the stored submit requests of jobs, by number."""
        with self.writing() as db:
            db.executemany(
                "INSERT INTO specs (job_id, spec) VALUES (?, ?)"
                " ON CONFLICT (job_id) DO UPDATE SET spec = excluded.spec",
                list(specs.items()),
            )

    def mark_kill_intent(self, numbers: Iterable[int], now: float, text: str = "kill asked for") -> list[Job]:
        """Note, before any host is asked, that these jobs are to be killed. Returns those that are still
        active.

        They become due for a poll, so that a kill that was not answered is followed up.
        """
        with self.writing() as db:
            active = [job for job in _by_number(db, list(numbers)) if job.state in ACTIVE]
            db.executemany(
                "UPDATE jobs SET kill_intended = coalesce(kill_intended, ?), next_poll = ? WHERE id = ?",
                [(now, now, job.number) for job in active],
            )
            insert_events(
                db,
                [
                    Event(now, job.id, "kill", job.state.value, job.state.value, "", text, "", job.number)
                    for job in active
                    if job.kill_intended is None
                ],
            )
            return [
                job._replace(kill_intended=now if job.kill_intended is None else job.kill_intended, next_poll=now)
                for job in active
            ]

    def set_followed(self, numbers: Iterable[int]) -> None:
        """Note that what follows the final state of these jobs was done (graph, retry)."""
        with self.writing() as db:
            db.executemany("UPDATE jobs SET followed = 1 WHERE id = ?", [(number,) for number in numbers])

    def set_next_poll(self, polls: Mapping[int, float | None]) -> None:
        """Set when jobs are due for a poll; None = not at all."""
        with self.writing() as db:
            db.executemany("UPDATE jobs SET next_poll = ? WHERE id = ?", [(at, n) for n, at in polls.items()])

    def restore(self, jobs: Sequence[Job], now: float) -> int:
        """Put jobs into the store that were found on hosts; makes missing cycles and instances. Returns how
        many are new.

        Their ``number`` is ignored. The instances take the highest submit number as their latest.
        """
        with self.writing() as db:
            before = db.execute("SELECT count(*) FROM jobs").fetchone()[0]
            for job in jobs:
                db.execute("INSERT OR IGNORE INTO cycles (cycle, created) VALUES (?, ?)", (job.cycle, now))
                db.execute(
                    "INSERT OR IGNORE INTO instances (cycle, task, state, changed, version)"
                    f" VALUES (?, ?, ?, ?, {NEXT_VERSION})",
                    (job.cycle, job.task, job.state.value, now),
                )
                db.execute(
                    f"UPDATE instances SET last_submit = max(last_submit, ?), version = {NEXT_VERSION}"
                    " WHERE cycle = ? AND task = ?",
                    (job.submit, job.cycle, job.task),
                )
            db.executemany(
                f"INSERT OR IGNORE INTO jobs ({', '.join(_COLUMNS[1:])}) VALUES ({marks(_COLUMNS[1:])})",
                [(*job[1:_STATE], job.state.value, *job[_STATE + 1 :]) for job in jobs],
            )
            _mirror(db, jobs, now)
            added: int = db.execute("SELECT count(*) FROM jobs").fetchone()[0] - before
            return added

    # --- reading ------------------------------------------------------------------------------------

    def jobs_where(
        self,
        states: Iterable[State] | None = None,
        platform: str | None = None,
        host: str | None = None,
        numbers: Sequence[int] | None = None,
        cycle: str | None = None,
        task: str | None = None,
        latest: bool = False,
    ) -> list[Job]:
        """Jobs that fit every filter, by number (the order in which they were made).

        ``latest``: only the latest one of each instance.
        """
        where, values = ["1"], list[object]()
        if states is not None:
            chosen = [state.value for state in states]
            where.append(f"state IN ({marks(chosen)})")
            values.extend(chosen)
        for column, value in (("platform", platform), ("host", host), ("cycle", cycle), ("task", task)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if latest:
            where.append(
                "submit ="
                " (SELECT last_submit FROM instances AS i WHERE i.cycle = jobs.cycle AND i.task = jobs.task)"
            )
        condition = " AND ".join(where)
        with self.reading() as db:
            if numbers is None:
                return [_job(row) for row in db.execute(f"{_SELECT} WHERE {condition} ORDER BY id", values)]
            return [
                _job(row)
                for chunk in _chunks(sorted(set(numbers)))
                for row in db.execute(
                    f"{_SELECT} WHERE {condition} AND id IN ({marks(chunk)}) ORDER BY id", [*values, *chunk]
                )
            ]

    def job(self, cycle: str, task: str, submit: int = 0) -> Job | None:
        """One job; submit number 0 = the latest one of the instance."""
        with self.reading() as db:
            row = db.execute(
                f"{_SELECT} WHERE cycle = ? AND task = ? AND (submit = ? OR ? = 0)"
                " ORDER BY submit DESC LIMIT 1",
                (cycle, task, submit, submit),
            ).fetchone()
        return None if row is None else _job(row)

    def job_of_token(self, token: str) -> Job | None:
        """The job that carries a token."""
        with self.reading() as db:
            row = db.execute(f"{_SELECT} WHERE token = ?", (token,)).fetchone()
        return None if row is None else _job(row)

    def due_polls(self, now: float, watched: Iterable[tuple[str, str]] = ()) -> list[Job]:
        """The jobs that are due for a poll, host by host, the longest due first.

        Left out: submitted and running jobs on ``watched`` (platform, host), whose changes are told anyhow,
        but not those of which a poll is to ask more than that.
        """
        but, values = _not_watched(watched)
        with self.reading() as db:
            rows = db.execute(
                f"{_SELECT} WHERE next_poll IS NOT NULL AND next_poll <= ?{but}"
                " ORDER BY platform, host, next_poll, id",
                (now, *values),
            ).fetchall()
        return [_job(row) for row in rows]

    def to_resend(self) -> list[Job]:
        """Jobs whose submit request is to be sent again."""
        with self.reading() as db:
            rows = db.execute(
                f"{_SELECT} INDEXED BY jobs_resend WHERE resend = 1"
                " AND state IN ('submitting', 'submit-unknown') ORDER BY id"
            ).fetchall()
        return [_job(row) for row in rows]

    def to_kill_again(self, before: float) -> list[Job]:
        """Jobs that were to be killed by ``before``, and whose host had not heard of it when it was last asked."""
        with self.reading() as db:
            rows = db.execute(
                f"{_SELECT} WHERE kill_intended <= ? AND state IN ('submitted', 'running') ORDER BY id", (before,)
            ).fetchall()
        return [_job(row) for row in rows]

    def to_follow(self) -> list[Job]:
        """Jobs with a final state whose consequences (graph, retry) were not drawn yet."""
        with self.reading() as db:  # word for word as the index jobs_follow has it
            rows = db.execute(
                f"{_SELECT} INDEXED BY jobs_follow WHERE followed = 0"
                " AND state IN ('succeeded', 'failed', 'submit-failed', 'killed') ORDER BY id"
            ).fetchall()
        return [_job(row) for row in rows]

    def next_due(
        self, watched: Iterable[tuple[str, str]] = (), until: float | None = None
    ) -> float | None:
        """The earliest time at which a poll, a retry or a retrieval is due; None if nothing is.

        ``watched``: as for :meth:`due_polls`. ``until``: polls that are due later do not matter (cheaper where
        there are many).
        """
        but, values = _not_watched(watched)
        if until is not None:
            but, values = f" AND next_poll <= ?{but}", [until, *values]
        with self.reading() as db:
            (due,) = db.execute(
                "SELECT min(at) FROM ("
                f" SELECT min(next_poll) AS at FROM jobs WHERE next_poll IS NOT NULL{but} UNION ALL"
                " SELECT min(not_before) FROM instances WHERE state IN ('waiting', 'queued') UNION ALL"
                " SELECT min(not_before) FROM retrievals WHERE state = 'pending')",
                values,
            ).fetchone()
        return None if due is None else float(due)

    def active_counts(self) -> dict[tuple[str, str], int]:
        """How many jobs are active, by (platform, host)."""
        active = [state.value for state in ACTIVE]
        with self.reading() as db:
            rows = db.execute(
                f"SELECT platform, host, count(*) FROM jobs WHERE state IN ({marks(active)})"
                " GROUP BY platform, host",
                active,
            ).fetchall()
        return {(platform, host): count for platform, host, count in rows}

    def lines(self) -> list[JobLine]:
        """What ``status`` shows: a line per instance, with its latest job, in the order of the instances."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT i.cycle, i.task, coalesce(j.submit, 0), i.state,"
                " CASE WHEN j.state = i.state THEN j.changed ELSE i.changed END,"
                " CASE WHEN j.state = i.state THEN j.detail ELSE i.detail END,"
                " coalesce(j.doubt, ''), j.doubt_since, coalesce(j.platform, ''), coalesce(j.host, ''),"
                " coalesce(j.native_id, ''), j.last_answer,"
                " CASE WHEN j.state = i.state THEN NULL ELSE i.not_before END, j.start_time, j.exit_time,"
                " j.elapsed, j.exit_code, j.submit_time, j.cpu, j.max_rss, coalesce(j.token, ''),"
                f" coalesce(j.runner, ''), coalesce(j.detail, ''){_WITH_LATEST} ORDER BY i.position"
            ).fetchall()
        states = _STATES
        return [JobLine._make((*row[:3], states[row[3]], *row[4:])) for row in rows]

    def state_counts(self) -> list[StateCount]:
        """The states of all instances, in the order in which they first appear."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT i.state, count(*), count(j.id), coalesce(sum(j.doubt != ''), 0), max(j.last_answer)"
                f"{_WITH_LATEST} GROUP BY i.state ORDER BY min(i.position)"
            ).fetchall()
        return [StateCount(_STATES[state], *rest) for state, *rest in rows]

    def specs(self, numbers: Sequence[int]) -> dict[int, str]:
        """The submit requests (JSON) of jobs, by number."""
        with self.reading() as db:
            return {
                number: spec
                for chunk in _chunks(list(numbers))
                for number, spec in db.execute(
                    f"SELECT job_id, spec FROM specs WHERE job_id IN ({marks(chunk)})", chunk
                )
            }

    def last_look(self, number: int) -> tuple[float, str] | None:
        """When a host last told something about the job, and what (JSON); None if none ever did."""
        with self.reading() as db:
            row = db.execute("SELECT time, evidence FROM looks WHERE job_id = ?", (number,)).fetchone()
        return None if row is None else (row[0], row[1])

    def messages(self, number: int) -> list[Message]:
        """What a job announced, in its order."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT number, time, severity, text FROM messages WHERE job_id = ? ORDER BY number",
                (number,),
            ).fetchall()
        return [Message(*row) for row in rows]

    def history(self, number: int) -> list[Event]:
        """All that happened to one job, in the order of time."""
        return self._events("WHERE job_id = ?", (number,))

    def histories(self, numbers: Sequence[int]) -> dict[int, list[Event]]:
        """The same for many jobs, by their numbers."""
        found: dict[int, list[Event]] = {number: [] for number in numbers}
        for chunk in _chunks(numbers):
            for event in self._events(f"WHERE job_id IN ({marks(chunk)})", chunk):
                if event.number is not None:
                    found[event.number].append(event)
        return found

    def events_since(self, last: int = 0) -> tuple[int, list[Event]]:
        """Events after a position (0 = from the beginning), and the position to go on from."""
        with self.reading() as db:
            (end,) = db.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
            return int(end), self._events("WHERE id > ? AND id <= ?", (last, end))

    def subject_history(self, subject: str) -> list[Event]:
        """All events about one subject: ``CYCLE/TASK`` of an instance, ``PLATFORM/HOST``, "" for the run."""
        return self._events("WHERE subject = ?", (subject,))

    def add_events(self, events: Iterable[Event]) -> None:
        """Add lines to the history."""
        with self.writing() as db:
            insert_events(db, events)

    def _events(self, where: str, values: Sequence[object]) -> list[Event]:
        with self.reading() as db:
            rows = db.execute(
                "SELECT time, subject, kind, old, new, rule, text, evidence, job_id FROM events"
                f" {where} ORDER BY id",
                values,
            ).fetchall()
        return [Event(*row) for row in rows]


def _not_watched(watched: Iterable[tuple[str, str]]) -> tuple[str, list[Any]]:
    """The end of a WHERE clause, and its values, that leaves out what a long poll tells anyhow."""
    places = sorted(set(watched))
    if not places:
        return "", []
    return (
        f" AND NOT ((platform, host) IN (VALUES {', '.join(['(?, ?)'] * len(places))})"
        " AND state IN ('submitted', 'running') AND find = 0 AND revoke = 0 AND grace_since = 0)"
    ), [part for place in places for part in place]


def _take(db: Any, submit: NewSubmit, now: float, token: str) -> tuple[int, Event] | None:
    """Make one job; its number, and the intent for the history. None if its instance may not have one now."""
    row = db.execute(
        "SELECT i.last_submit, j.state, j.id FROM instances AS i LEFT JOIN jobs AS j"
        " ON j.cycle = i.cycle AND j.task = i.task AND j.submit = i.last_submit"
        " WHERE i.cycle = ? AND i.task = ?",
        (submit.cycle, submit.task),
    ).fetchone()
    if row is None or (row[1] is not None and _STATES[row[1]] in ACTIVE):
        return None
    if submit.after is not None and submit.after != row[0]:
        return None
    if row[1] == State.QUEUED.value:
        return _take_again(db, submit, now, row[2], row[0])
    number = row[0] + 1
    state = State.SUBMITTING.value
    cursor = db.execute(
        "INSERT INTO jobs (cycle, task, submit, token, platform, host, transport, runner, state, changed,"
        " instance, submit_time, next_poll) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            submit.cycle,
            submit.task,
            number,
            token,
            submit.platform,
            submit.host,
            submit.transport,
            submit.runner,
            state,
            now,
            submit.instance,
            now,
            now + FIRST_LOOK,
        ),
    )
    key: int = cursor.lastrowid
    db.execute("INSERT INTO specs (job_id, spec) VALUES (?, ?)", (key, submit.spec))
    return key, _intend(db, submit, now, key, number, "")


def _take_again(db: Any, submit: NewSubmit, now: float, key: int, number: int) -> tuple[int, Event]:
    """The same for a job that certainly is in no queue: it may even go to another host."""
    db.execute(
        "UPDATE jobs SET platform = ?, host = ?, transport = ?, runner = ?, instance = ?, state = ?, changed = ?,"
        " detail = '', next_poll = ? WHERE id = ?",
        (
            submit.platform,
            submit.host,
            submit.transport,
            submit.runner,
            submit.instance,
            State.SUBMITTING.value,
            now,
            now + FIRST_LOOK,
            key,
        ),
    )
    db.execute("UPDATE specs SET spec = ? WHERE job_id = ?", (submit.spec, key))
    return key, _intend(db, submit, now, key, number, State.QUEUED.value)


def _intend(db: Any, submit: NewSubmit, now: float, key: int, number: int, old: str) -> Event:
    """The instance shows its new job; the intent, for the history."""
    state = State.SUBMITTING.value
    db.execute(
        "UPDATE instances SET state = ?, detail = '', not_before = NULL, manual = 0, last_submit = ?,"
        f" changed = ?, version = {NEXT_VERSION} WHERE cycle = ? AND task = ?",
        (state, number, now, submit.cycle, submit.task),
    )
    subject = job_id(submit.cycle, submit.task, number)
    text = f"to {submit.host} ({submit.runner or 'no runner chosen'})"
    return Event(now, subject, "submit", old, state, "", text, "", key)


def _update(change: Change, stored: Sequence[Any], now: float) -> tuple[object, ...]:
    """The values of one row of _UPDATE."""
    new, old = change.new, change.old
    moved = new.state is not old.state
    values = [new[at] for at in _SET_AT]
    values[_SET.index("state")] = new.state.value
    _, doubt, doubt_since, rule, changed, followed, _ = stored
    if not new.doubt:
        since = None
    else:
        since = doubt_since if doubt and rule == new.rule else now
    values.extend((now if moved else changed, since, change.ends_all if moved else followed, old.number))
    return tuple(values)


def _history(change: Change, stored: Sequence[Any], now: float) -> Iterator[Event]:
    """The line of the history for a change that somebody would want to read about."""
    new, old = change.new, change.old
    _, doubt, _, rule, _, _, _ = stored
    doubt_turned = bool(new.doubt) is not bool(doubt) or (bool(new.doubt) and rule != new.rule)
    if new.state is old.state and not doubt_turned and not change.text:
        return
    text = change.text or "; ".join(part for part in (new.detail, new.doubt) if part)
    yield Event(
        now,
        old.id,
        change.kind,
        old.state.value,
        new.state.value,
        new.rule,
        text,
        change.evidence,
        old.number,
    )


def _overtaken(old: Job, stored: Sequence[Any]) -> bool:
    """Whether somebody has decided about the job, or asked for its end, since it was read."""
    state: str = stored[0]
    kill_intended: float | None = stored[6]
    return state != old.state.value or (kill_intended is not None and old.kill_intended is None)


def _refused(change: Change, now: float) -> Event:
    return Event(
        now,
        change.old.id,
        "refused",
        change.old.state.value,
        change.new.state.value,
        change.new.rule,
        "this state may not follow that one; nothing was changed",
        change.evidence,
        change.old.number,
    )


def _note_details(db: Any, made: Sequence[Change], now: float) -> None:
    db.executemany(
        "INSERT INTO looks (job_id, time, evidence) VALUES (?, ?, ?)"
        " ON CONFLICT (job_id) DO UPDATE SET time = excluded.time, evidence = excluded.evidence",
        [(change.old.number, now, change.evidence) for change in made if change.evidence],
    )
    db.executemany(
        "INSERT OR IGNORE INTO messages (job_id, number, time, severity, text) VALUES (?, ?, ?, ?, ?)",
        [
            (change.old.number, message.number, message.time, message.severity, message.text)
            for change in made
            for message in change.messages
        ],
    )
    reached = [(change.old.cycle, change.old.task, output) for change in made for output in change.outputs]
    insert_outputs(db, reached, now)


def _mirror(db: Any, jobs: Sequence[Job], now: float) -> None:
    """Give a job's state to its instance, if it is the latest job there and the instance was not removed."""
    db.executemany(
        "UPDATE instances SET state = ?, detail = '', not_before = NULL, changed = ?,"
        f" version = {NEXT_VERSION} WHERE cycle = ? AND task = ? AND last_submit = ? AND state != 'removed'",
        [(job.state.value, now, job.cycle, job.task, job.submit) for job in jobs],
    )


def _by_number(db: Any, numbers: Sequence[int]) -> Iterator[Job]:
    for chunk in _chunks(numbers):
        for row in db.execute(f"{_SELECT} WHERE id IN ({marks(chunk)}) ORDER BY id", chunk):
            yield _job(row)


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(values), _CHUNK):
        yield values[at : at + _CHUNK]


def _job(row: Sequence[Any]) -> Job:
    values = list(row)
    values[_STATE] = _STATES[values[_STATE]]
    for at in _FLAGS:
        values[at] = values[at] == 1
    return Job._make(values)

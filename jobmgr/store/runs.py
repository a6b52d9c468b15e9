"""The run itself: its metadata, cycles, task instances and what they have reached."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..core.states import BEFORE_JOB, State, can, may_wait_again
from .db import Database
from .records import Event, Instance, InstanceChange, Retrieval

NEXT_VERSION = "(SELECT coalesce(max(version), 0) + 1 FROM instances)"
"""The version of a row that is changed now. Every statement that changes an instance sets it."""

_STATES = {state.value: state for state in State}
_INSTANCE = "cycle, task, state, detail, not_before, tries, submit_tries, hold, manual, last_submit, changed"


class Runs(Database):
    """The part of the store that is about the run and its task instances."""

    # --- metadata -----------------------------------------------------------------------------------

    def meta(self, key: str, default: Any = None) -> Any:
        """One value of the run's metadata (any JSON value), or ``default``."""
        with self.reading() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def all_meta(self) -> dict[str, Any]:
        """The whole metadata of the run."""
        with self.reading() as db:
            return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM meta")}

    def set_meta(self, values: Mapping[str, Any]) -> None:
        """Set some of the metadata; None as a value is stored as such."""
        with self.writing() as db:
            db.executemany(
                "INSERT INTO meta (key, value) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                meta_rows(values),
            )

    # --- cycles and instances -----------------------------------------------------------------------

    def add_cycle(self, cycle: str, tasks: Iterable[str], now: float, state: State = State.WAITING) -> int:
        """Add a cycle with its task instances; those that are there already stay as they are.

        Returns how many instances are new.
        """
        with self.writing() as db:
            return put_cycle(db, cycle, tasks, now, state)

    def cycles(self) -> list[str]:
        """All cycles, in the order in which they were added."""
        with self.reading() as db:
            return [row[0] for row in db.execute("SELECT cycle FROM cycles ORDER BY position")]

    def instances(
        self,
        states: Iterable[State] | None = None,
        cycle: str | None = None,
        keys: Sequence[tuple[str, str]] | None = None,
        changed_since: float | None = None,
    ) -> list[Instance]:
        """Task instances, in the order in which they were added: all, or those that fit every filter."""
        where, values = ["1"], list[object]()
        if states is not None:
            chosen = [state.value for state in states]
            where.append(f"state IN ({marks(chosen)})")
            values.extend(chosen)
        if cycle is not None:
            where.append("cycle = ?")
            values.append(cycle)
        if changed_since is not None:
            where.append("changed >= ?")
            values.append(changed_since)
        wanted = None if keys is None else set(keys)
        source = "instances"
        if wanted is not None and len(wanted) <= _FEW:
            source, named, parts = _by_keys(source, wanted)
            where.append(named)
            values = [*parts, *values]
        with self.reading() as db:
            rows = db.execute(
                f"SELECT {_INSTANCE} FROM {source} WHERE {' AND '.join(where)} ORDER BY position", values
            ).fetchall()
        found = (_instance(row) for row in rows)
        return [instance for instance in found if wanted is None or instance.key in wanted]

    def instances_since(self, version: int) -> tuple[int, list[Instance]]:
        """The instances that were changed after a version (all after -1), in the order in which they were
        added, and the version to go on from. Costs what has changed, not what there is.
        """
        with self.reading() as db:
            (latest,) = db.execute("SELECT coalesce(max(version), 0) FROM instances").fetchone()
            rows = db.execute(
                f"SELECT {_INSTANCE} FROM instances INDEXED BY instances_version"
                " WHERE version > ? ORDER BY position",
                (version,),
            ).fetchall()
        return int(latest), [_instance(row) for row in rows]

    def set_instances(self, changes: Sequence[InstanceChange], now: float) -> set[tuple[str, str]]:
        """Change instances. A state that may not follow the stored one (a job is at work) is not set.

        ``removed`` may follow anything; an instance whose job has ended may wait, be held or queued again.
        Returns the keys of those that were changed as asked.
        """
        made = set[tuple[str, str]]()
        updates, events = list[tuple[object, ...]](), list[Event]()
        with self.writing() as db:
            for change in changes:
                row = db.execute(
                    "SELECT state FROM instances WHERE cycle = ? AND task = ?", (change.cycle, change.task)
                ).fetchone()
                if row is None:
                    continue
                old = State(row[0])
                new = old if change.state is None else change.state
                if not _may_become(old, new):
                    continue
                made.add((change.cycle, change.task))
                updates.append(
                    (
                        new.value,
                        change.detail,
                        change.state is not None,
                        change.not_before,
                        change.tries,
                        change.submit_tries,
                        change.hold,
                        change.manual,
                        now,
                        change.cycle,
                        change.task,
                    )
                )
                if new is not old or change.text:
                    subject = f"{change.cycle}/{change.task}"
                    events.append(Event(now, subject, "instance", old.value, new.value, "", change.text))
            db.executemany(
                "UPDATE instances SET state = ?, detail = coalesce(?, detail),"
                " not_before = CASE WHEN ? THEN ? ELSE not_before END, tries = coalesce(?, tries),"
                " submit_tries = coalesce(?, submit_tries), hold = coalesce(?, hold),"
                f" manual = coalesce(?, manual), changed = ?, version = {NEXT_VERSION}"
                " WHERE cycle = ? AND task = ?",
                updates,
            )
            insert_events(db, events)
        return made

    def counts(self) -> dict[State, int]:
        """How many task instances are in each state (those with none are left out)."""
        with self.reading() as db:
            rows = db.execute("SELECT state, count(*) FROM instances GROUP BY state").fetchall()
        return {State(state): count for state, count in rows}

    # --- what was reached ---------------------------------------------------------------------------

    def outputs(self, cycle: str | None = None, since: int = -1) -> dict[tuple[str, str], frozenset[str]]:
        """What each instance has reached: outputs (``started``, ...) and events of its own; of all or of a cycle,
        and of those only that were changed after a version, as :meth:`instances_since` has it.
        """
        source, where, values = "outputs", "1", list[object]()
        if since >= 0:
            # CROSS JOIN: SQLite is to go by what has changed, and not through the whole table.
            source = "instances INDEXED BY instances_version CROSS JOIN outputs USING (cycle, task)"
            where, values = "version > ?", [since]
        if cycle is not None:
            where, values = f"{where} AND cycle = ?", [*values, cycle]
        reached = dict[tuple[str, str], set[str]]()
        with self.reading() as db:
            rows = db.execute(f"SELECT cycle, task, output FROM {source} WHERE {where}", values).fetchall()
        for row_cycle, task, output in rows:
            reached.setdefault((row_cycle, task), set()).add(output)
        return {key: frozenset(names) for key, names in reached.items()}

    def add_outputs(self, reached: Iterable[tuple[str, str, str]], now: float) -> None:
        """Note what instances have reached: (cycle, task, output). Saying it twice is fine."""
        with self.writing() as db:
            insert_outputs(db, reached, now)

    def remove_outputs(self, keys: Iterable[tuple[str, str]]) -> None:
        """Forget what instances have reached: a person runs them again."""
        with self.writing() as db:
            db.executemany("DELETE FROM outputs WHERE cycle = ? AND task = ?", list(keys))


# Up to so many keys it is faster to ask for each than to read all. SQLite's limit of variables is 999.
_FEW = 300


def _by_keys(table: str, keys: Collection[tuple[str, str]]) -> tuple[str, str, list[object]]:
    """Source, condition and values of a query for the rows of these (cycle, task).

    CROSS JOIN: SQLite is to look for one key after the other, and not through the whole table.
    """
    if not keys:
        return table, "0", []
    source = f"(VALUES {', '.join(['(?, ?)'] * len(keys))}) CROSS JOIN {table}"
    return source, "cycle = column1 AND task = column2", [part for key in keys for part in key]


def _may_become(old: State, new: State) -> bool:
    if new is State.REMOVED or can(old, new):
        return True
    return new in BEFORE_JOB and (may_wait_again(old) or old is State.REMOVED)


def meta_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, json.dumps(value, ensure_ascii=False)) for key, value in values.items()]


def marks(values: Sequence[object]) -> str:
    """``?, ?, ?`` for so many values."""
    return ", ".join("?" * len(values))


def insert_outputs(db: Any, reached: Iterable[tuple[str, str, str]], now: float) -> None:
    """Note what was reached. An instance that has reached something new counts as changed."""
    fresh = [
        (now, cycle, task)
        for cycle, task, output in reached
        if db.execute(
            "INSERT OR IGNORE INTO outputs (cycle, task, output, time) VALUES (?, ?, ?, ?)",
            (cycle, task, output, now),
        ).rowcount
    ]
    db.executemany(
        f"UPDATE instances SET changed = ?, version = {NEXT_VERSION} WHERE cycle = ? AND task = ?", fresh
    )


RETRIEVAL = "job_id, path, size, type, state, error, tries, not_before"


def retrieval_values(row: Retrieval) -> tuple[object, ...]:
    """A record as it is stored: a name that is not UTF-8 as its bytes."""
    values = (row.number, row.path, row.size, row.type, row.state, row.error, row.tries, row.not_before)
    if row.path.isascii() and row.error.isascii():
        return values
    return tuple(
        value if not isinstance(value, str) or _is_text(value) else value.encode("utf-8", "surrogateescape")
        for value in values
    )


def retrieval_of(values: Iterable[Any]) -> Retrieval:
    """The record that :func:`retrieval_values` was stored from."""
    read: list[Any] = [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in values]
    return Retrieval(*read)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def insert_listed(db: Any, rows: Iterable[Retrieval]) -> None:
    """Files to bring home; one that is known with at least this size stays as it is."""
    db.executemany(
        f"INSERT INTO retrievals ({RETRIEVAL}) VALUES ({marks(RETRIEVAL.split(','))})"
        " ON CONFLICT (job_id, path) DO UPDATE SET size = excluded.size, type = excluded.type,"
        " state = excluded.state, error = excluded.error, tries = excluded.tries,"
        " not_before = excluded.not_before"
        " WHERE excluded.size > retrievals.size OR excluded.type != retrievals.type",
        [retrieval_values(row) for row in rows],
    )


def insert_events(db: Any, events: Iterable[Event]) -> None:
    db.executemany(
        "INSERT INTO events (time, job_id, subject, kind, old, new, rule, text, evidence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(e.time, e.number, e.subject, e.kind, e.old, e.new, e.rule, e.text, e.evidence) for e in events],
    )


def _instance(row: Sequence[Any]) -> Instance:
    return Instance(
        row[0],
        row[1],
        _STATES[row[2]],
        row[3],
        row[4],
        row[5],
        row[6],
        bool(row[7]),
        bool(row[8]),
        row[9],
        row[10],
    )


def put_cycle(
    db: sqlite3.Connection, cycle: str, tasks: Iterable[str], now: float, state: State = State.WAITING
) -> int:
    """Add a cycle and its task instances inside the caller's transaction; how many instances are new."""
    before = db.total_changes
    db.execute("INSERT OR IGNORE INTO cycles (cycle, created) VALUES (?, ?)", (cycle, now))
    cycles_added = db.total_changes - before
    (version,) = db.execute(f"SELECT {NEXT_VERSION}").fetchone()
    db.executemany(
        "INSERT OR IGNORE INTO instances (cycle, task, state, changed, version) VALUES (?, ?, ?, ?, ?)",
        [(cycle, task, state.value, now, version) for task in tasks],
    )
    return db.total_changes - before - cycles_added

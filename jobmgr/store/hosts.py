"""Hosts of a run, and the files that are to be brought home from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import astuple

from .jobs import Jobs
from .records import PENDING, Host, Retrieval
from .runs import RETRIEVAL, insert_listed, marks, retrieval_of, retrieval_values

_HOST = Host.__struct_fields__
_HOST_FLAGS = tuple(_HOST.index(name) for name in ("contact_installed", "shared"))
_PUT_HOST = "INSERT INTO hosts ({}) VALUES ({}) ON CONFLICT (platform, host) DO UPDATE SET {}".format(
    ", ".join(_HOST), marks(_HOST), ", ".join(f"{name} = excluded.{name}" for name in _HOST[2:])
)


class Hosts(Jobs):
    """The part of the store that is about hosts and retrievals."""

    def hosts(self) -> list[Host]:
        """All hosts that this run has to do with."""
        with self.reading() as db:
            rows = db.execute(f"SELECT {', '.join(_HOST)} FROM hosts ORDER BY platform, host").fetchall()
        return [_host(row) for row in rows]

    def host(self, platform: str, host: str) -> Host:
        """What is known of a host; an empty record if nothing is."""
        with self.reading() as db:
            row = db.execute(
                f"SELECT {', '.join(_HOST)} FROM hosts WHERE platform = ? AND host = ?", (platform, host)
            ).fetchone()
        return Host(platform, host) if row is None else _host(row)

    def set_host(self, host: Host) -> None:
        """Store what is known of a host: the whole record."""
        with self.writing() as db:
            db.execute(_PUT_HOST, astuple(host))

    def retrievals(
        self,
        states: Iterable[str] = (PENDING,),
        due: float | None = None,
        number: int | None = None,
    ) -> list[Retrieval]:
        """Files to bring home in these states; with ``due`` only those whose ``not_before`` has come."""
        chosen = list(states)
        where, values = [f"state IN ({marks(chosen)})"], list[object](chosen)
        if due is not None:
            where.append("(not_before IS NULL OR not_before <= ?)")
            values.append(due)
        if number is not None:
            where.append("job_id = ?")
            values.append(number)
        with self.reading() as db:
            rows = db.execute(
                f"SELECT {RETRIEVAL} FROM retrievals WHERE {' AND '.join(where)} ORDER BY job_id, path",
                values,
            ).fetchall()
        return [retrieval_of(row) for row in rows]

    def put_retrievals(self, rows: Sequence[Retrieval]) -> None:
        """Store files to bring home, or their new state: whole records, keyed by job and path."""
        with self.writing() as db:
            db.executemany(
                f"INSERT INTO retrievals ({RETRIEVAL}) VALUES ({marks(RETRIEVAL.split(','))})"
                " ON CONFLICT (job_id, path) DO UPDATE SET size = excluded.size, type = excluded.type,"
                " state = excluded.state, error = excluded.error, tries = excluded.tries,"
                " not_before = excluded.not_before",
                map(retrieval_values, rows),
            )

    def add_retrievals(self, rows: Sequence[Retrieval]) -> int:
        """As :meth:`put_retrievals`, but a file that is known with at least this size stays as it is. Returns
        how many are due.
        """
        with self.writing() as db:
            before = db.total_changes
            insert_listed(db, rows)
            return db.total_changes - before


def _host(row: Sequence[Any]) -> Host:
    values = list(row)
    for at in _HOST_FLAGS:
        values[at] = bool(values[at])
    return Host(*values)

"""The store of a run: everything the controller remembers, in one SQLite file.

All SQL statements are in this package. A cache in the end: the hosts' ``job.status`` files are the truth, and
``jobmgr recover`` rebuilds a store from them. Every method is one transaction, for any number of rows, and
may be called from any thread; see :mod:`jobmgr.store.db` for durability, journal and locks. All raise
:class:`~jobmgr.errors.StoreError` if the file cannot be used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from .db import build, connect
from .hosts import Hosts
from .runs import meta_rows, put_cycle


class Store(Hosts):
    """An open store. Use it as a context manager, or close it."""

    @classmethod
    def create(
        cls,
        path: str,
        meta: Mapping[str, Any],
        network_fs: bool | None = None,
        first_cycle: tuple[str, Sequence[str], float] | None = None,
    ) -> Store:
        """Make the store of a new run, with its metadata, and open it. Its folder must be there.

        ``first_cycle``: its label, its tasks, and the time now. A crash leaves either no store or a whole
        one. ``network_fs``: None finds out by itself.
        """

        def fill(db: sqlite3.Connection) -> None:
            db.executemany("INSERT INTO meta VALUES (?, ?)", meta_rows(meta))
            if first_cycle is not None:
                put_cycle(db, *first_cycle)

        build(path, fill, network_fs)
        return cls.open(path, network_fs=network_fs)

    @classmethod
    def open(cls, path: str, readonly: bool = False, network_fs: bool | None = None) -> Store:
        """Open the store of a run. ``readonly``: beside a writer, and in a folder that cannot be written."""
        return cls(connect(path, readonly, network_fs), path, readonly)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

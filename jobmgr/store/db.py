"""Opening, creating and upgrading a store file, and its transactions.

**Durability.** ``synchronous=FULL``: an intent that was committed before a request went out must outlive a
loss of power, or the same job could be submitted twice. A batch is one transaction, so this is one sync per
batch.

**Journal.** WAL, so that ``status`` reads beside a writing ``play``. WAL needs memory shared between all
processes that use the file; on a network file system it is the plain rollback journal (``DELETE``), and one
machine at a time.

**Threads.** One connection, serialised by a lock: every method of the store may be called from any thread,
and takes the lock for one short transaction. Nothing in here waits for anything but the disk and other
processes' transactions.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import RLock

from ..errors import StoreError
from .filesystem import network_type

SCHEMA_VERSION = 1
APPLICATION_ID = 0x6A6F626D  # "jobm": tells a store from any other SQLite file
BUSY_TIMEOUT = 30.0

Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: Mapping[int, Migration] = {}
"""From each schema version to the next: ``MIGRATIONS[1]`` makes a version 1 store a version 2 one."""


def schema() -> str:
    """The SQL text that makes an empty store of the present version."""
    with open(os.path.join(os.path.dirname(__file__), "schema.sql"), encoding="utf-8") as stream:
        return stream.read()


class Database:
    """An open store file: its connection, lock and transactions. Use it as a context manager, or close it."""

    def __init__(self, connection: sqlite3.Connection, path: str, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._connection = connection
        self._lock = RLock()

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one or more SELECTs that see one state of the store."""
        with self._lock, errors(self.path):
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._roll_back()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, inside one transaction: all of it is on the disk afterwards, or nothing of it."""
        with self._lock, errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                self._roll_back()

    def _roll_back(self) -> None:
        """Undo what was not committed; SQLite may have done so itself."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


@contextmanager
def errors(path: str) -> Iterator[None]:
    """Turn SQLite's errors about a store into a :class:`~jobmgr.errors.StoreError` that says what to do."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a bug of ours, not a state of the file
    except sqlite3.DatabaseError as error:
        raise StoreError(explain(path, str(error))) from error


def explain(path: str, text: str) -> str:
    """One line about an SQLite error: what it means for this file, and the fix."""
    if "not a database" in text or "malformed" in text or "no such table" in text or "no such column" in text:
        return f"{path}: the store is damaged ({text}); move it away, then: {recover_hint(path)}"
    if "unable to open" in text:
        return f"{path}: the store cannot be read ({text}); check the owner and permissions of its folder"
    if "readonly" in text:
        return f"{path}: the store cannot be written ({text}); check the owner and permissions of its folder"
    if "is locked" in text:
        return f"{path}: another process has kept the store locked for {BUSY_TIMEOUT:.0f} s; try again"
    if "disk is full" in text or ("disk I/O error" in text and _is_full(os.path.dirname(path))):
        return f"{path}: no space left for the store; make room and repeat the command"
    if "locking protocol" in text or "disk I/O error" in text:
        return f"{path}: {text}; {_NO_LOCKS}"
    return f"{path}: the store cannot be used: {text}"


def _is_full(folder: str) -> bool:
    """Whether there is no room even for the index that SQLite makes beside a store that is merely read."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < ROOM


ROOM = 1 << 16
_NO_LOCKS = (
    "if a quota is exceeded, make room; if its file system has no locks, put the run root on one that has "
    "(--run-root DIR or JOBMGR_RUN_ROOT), or have it mounted with locking"
)


def recover_hint(path: str) -> str:
    """The command that rebuilds the store of a run directory, for messages."""
    run = os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(path))))
    return f"jobmgr recover {run} --from PLATFORM"


def connect(path: str, readonly: bool = False, network_fs: bool | None = None) -> sqlite3.Connection:
    """Open an existing store; upgrade an older one. Raises StoreError (missing, damaged, newer, no locks)."""
    if not os.path.isfile(path):
        raise StoreError(f"{path}: there is no store; rebuild it from the hosts: {recover_hint(path)}")
    connection = _open_readonly(path) if readonly else _open(path)
    try:
        with errors(path):
            _check_version(connection, path)
            connection.execute("PRAGMA foreign_keys=ON")
            if not readonly:
                _set_journal(connection, network_type(path) != "" if network_fs is None else network_fs)
                migrate(connection, MIGRATIONS)
    except BaseException:
        connection.close()
        raise
    return connection


def _open(path: str) -> sqlite3.Connection:
    with errors(path):
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)


def _open_readonly(path: str) -> sqlite3.Connection:
    """Open for reading beside a writer; in a folder that cannot be written, as it stands on the disk."""
    name = os.path.abspath(path)
    for character in "%?#":
        name = name.replace(character, f"%{ord(character):02x}")
    # A WAL store whose folder cannot be written cannot be opened at all if its -shm file is missing;
    # immutable=1 reads the file itself, which is whole as of the last checkpoint.
    for mode in ("mode=ro", "immutable=1"):
        try:
            return _probe(f"file:{name}?{mode}")
        except sqlite3.DatabaseError as error:
            closed = "unable to open" in str(error) or "readonly" in str(error)
            if not closed or mode != "mode=ro":
                raise StoreError(explain(path, str(error))) from error
    raise AssertionError("the second mode returns or raises")


def _probe(uri: str) -> sqlite3.Connection:
    """Open a database by its URI and read from it once, for only that tells whether it can be read."""
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: sqlite3.Connection, path: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise StoreError(f"{path}: this is no jobmgr store; move it away, then: {recover_hint(path)}")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: a newer jobmgr wrote this store (version {version}, this one knows {SCHEMA_VERSION}); "
            "use that jobmgr for this run, or upgrade this one"
        )


def _set_journal(connection: sqlite3.Connection, network_fs: bool) -> None:
    wanted = "delete" if network_fs else "wal"
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != wanted:
        # Refused while others have the file open: then it stays as it is until the next command.
        with suppress(sqlite3.OperationalError):
            connection.execute(f"PRAGMA journal_mode={wanted}")
    connection.execute("PRAGMA synchronous=FULL")


def migrate(
    connection: sqlite3.Connection, migrations: Mapping[int, Migration], target: int = SCHEMA_VERSION
) -> None:
    """Bring an older store up to ``target``, all steps in one transaction. Does nothing to a store of that
    version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version >= target:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Once more: another process may have done it while this one waited.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in range(version, target):
            migrations[step](connection)
        connection.execute(f"PRAGMA user_version={max(version, target)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def build(path: str, fill: Callable[[sqlite3.Connection], None], network_fs: bool | None = None) -> None:
    """Make a new store at a path: whole, or not at all.

    It is built beside (0600), filled by ``fill``, written out, and then linked to its name. Raises StoreError
    if there is one already, or if the file system has no locks.
    """
    if network_fs is None:
        network_fs = network_type(os.path.dirname(path)) != ""
    beside = f"{path}.new-{os.getpid()}"
    try:
        _empty_file(beside)
        connection = sqlite3.connect(beside, isolation_level=None)
        try:
            _fill(connection, fill, network_fs)
        finally:
            connection.close()
        _sync(beside)
        _put_in_place(beside, path)
    except OSError as error:
        raise StoreError(f"{path}: the store cannot be made: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise StoreError(explain(path, str(error))) from error
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.unlink(beside + ending)


def _fill(
    connection: sqlite3.Connection, fill: Callable[[sqlite3.Connection], None], network_fs: bool
) -> None:
    connection.execute("PRAGMA synchronous=OFF")  # it is synced as a whole before it gets its name
    connection.executescript(schema())
    connection.execute("BEGIN")
    fill(connection)
    connection.execute("COMMIT")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute(f"PRAGMA journal_mode={'delete' if network_fs else 'wal'}")


def _empty_file(path: str) -> None:
    """Create a file that only its owner can read, and see whether it can be locked."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise StoreError(
                f"{path}: files cannot be locked here ({error.strerror}); {_NO_LOCKS}"
            ) from error
        raise
    finally:
        os.close(descriptor)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(beside: str, path: str) -> None:
    """Give the file its name, unless another process was first."""
    try:
        os.link(beside, path)
    except FileExistsError as error:
        raise StoreError(f"{path}: there is a store already") from error
    except OSError:
        # No hard links here (some network file systems): the window between look and rename is small.
        if os.path.exists(path):
            raise StoreError(f"{path}: there is a store already") from None
        os.rename(beside, path)
    _sync(os.path.dirname(path) or ".")

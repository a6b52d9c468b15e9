"""The store file: made whole or not at all, refused when it cannot be trusted, shared by processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmgr.core.states import State
from jobmgr.errors import StoreError
from jobmgr.store import Store, db
from jobmgr.store.filesystem import network_type
from jobmgr.store.records import Change, NewSubmit
from measured import unmeasured

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'remote'}"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a run named sweep has its store."""
    folder = tmp_path / "sweep" / ".service"
    folder.mkdir(parents=True)
    return folder / "suite.db"


def create(path: Path, **meta: object) -> None:
    Store.create(str(path), meta, network_fs=False).close()


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )


# --- making ------------------------------------------------------------


def test_a_store_is_private_and_nothing_lies_beside_it(path: Path) -> None:
    before = os.umask(0)
    try:
        with Store.create(str(path), {"a": 1}, network_fs=False) as store:
            store.set_meta({"b": 2})
            assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)
    assert os.listdir(path.parent) == ["suite.db"]


def test_a_store_is_never_made_over_another(path: Path) -> None:
    create(path, first=True)
    with pytest.raises(StoreError, match="there is a store already"):
        create(path)
    with Store.open(str(path)) as store:
        assert store.all_meta() == {"first": True}


def test_a_crash_while_it_is_made_leaves_no_store(path: Path) -> None:
    code = """
        import os, signal, sys
        from jobmgr.store.db import build
        build(sys.argv[1], lambda db: os.kill(os.getpid(), signal.SIGKILL), False)
    """
    process = python(code, path)
    assert process.wait() == -signal.SIGKILL
    assert process.stdout is not None
    process.stdout.close()
    assert not path.exists()
    create(path, second=True)


def test_without_hard_links_it_is_renamed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    create(path)
    with pytest.raises(StoreError, match="there is a store already"):
        create(path)
    assert os.listdir(path.parent) == ["suite.db"]


def test_a_folder_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        create(tmp_path / "nowhere" / "suite.db")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_with_the_fix(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with pytest.raises(StoreError, match="--run-root DIR or JOBMGR_RUN_ROOT"):
        create(path)
    assert os.listdir(path.parent) == []


# --- opening ------------------------------------------------------------


def test_no_store_names_recover(path: Path) -> None:
    with pytest.raises(StoreError, match="jobmgr recover sweep --from PLATFORM"):
        Store.open(str(path))


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(
    "content", [b"", b"not a database at all, but long enough to be one" * 50, b"SQLite format 3\0"]
)
def test_a_damaged_file_names_recover(path: Path, content: bytes, readonly: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="jobmgr recover sweep --from PLATFORM"):
        Store.open(str(path), readonly, network_fs=False)


def test_damage_inside_names_recover(path: Path) -> None:
    with Store.create(str(path), {}, network_fs=True) as store:
        store.add_cycle("1", [f"t{n}" for n in range(2000)], 1.0)
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with (
        pytest.raises(StoreError, match="jobmgr recover sweep"),
        Store.open(str(path), network_fs=True) as store,
    ):
        store.lines()


def test_another_database_is_no_store(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE jobs (id)")
    connection.close()
    with pytest.raises(StoreError, match="this is no jobmgr store"):
        Store.open(str(path))


@pytest.mark.parametrize("readonly", [False, True])
def test_a_newer_store_is_refused_with_the_fix(path: Path, readonly: bool) -> None:
    create(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={db.SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match="a newer jobmgr wrote this store"):
        Store.open(str(path), readonly)


def test_an_older_store_is_brought_up_in_one_step_or_not_at_all(path: Path) -> None:
    create(path)
    connection = sqlite3.connect(path, isolation_level=None)

    def add(to: sqlite3.Connection) -> None:
        to.execute("ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT ''")

    def fail(to: sqlite3.Connection) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        db.migrate(connection, {1: add, 2: fail}, target=3)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    db.migrate(connection, {1: add, 2: lambda _: None}, target=3)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    assert connection.execute("SELECT colour FROM jobs").fetchall() == []
    db.migrate(connection, {}, target=3)
    connection.close()


def test_every_older_version_has_its_migration() -> None:
    assert set(db.MIGRATIONS) == set(range(1, db.SCHEMA_VERSION))


@pytest.mark.parametrize("network, mode", [(False, "wal"), (True, "delete")])
def test_the_journal_fits_the_file_system(path: Path, network: bool, mode: str) -> None:
    Store.create(str(path), {}, network_fs=not network).close()
    with Store.open(str(path), network_fs=network) as store, store.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_the_file_system_is_looked_up_if_nobody_says(path: Path) -> None:
    with Store.create(str(path), {}) as store:
        assert store.meta("x") is None


def test_odd_names_of_folders(tmp_path: Path) -> None:
    folder = tmp_path / "a ?#%41 b"
    folder.mkdir()
    create(folder / "suite.db", odd=1)
    with Store.open(str(folder / "suite.db"), readonly=True) as store:
        assert store.meta("odd") == 1


# --- reading beside a writer ------------------------------------------------------------


@pytest.mark.parametrize("network", [False, True])
def test_a_reader_sees_what_a_writer_has_committed(path: Path, network: bool) -> None:
    Store.create(str(path), {"n": 1}, network_fs=network).close()
    with Store.open(str(path), network_fs=network) as writer, Store.open(str(path), readonly=True) as reader:
        assert reader.meta("n") == 1
        writer.set_meta({"n": 2})
        assert reader.meta("n") == 2
        with pytest.raises(StoreError, match="cannot be written"):
            reader.set_meta({"n": 3})


def test_a_reader_is_not_held_up_by_an_open_transaction(path: Path) -> None:
    with Store.create(str(path), {"n": 1}, network_fs=False) as writer, writer.writing() as connection:
        connection.execute("UPDATE meta SET value = '2'")
        with Store.open(str(path), readonly=True) as reader:
            assert reader.meta("n") == 1


def test_reading_and_writing_nest(path: Path) -> None:
    with Store.create(str(path), {"n": 1}, network_fs=False) as store:
        with store.writing() as connection:
            connection.execute("UPDATE meta SET value = '2'")
            assert store.meta("n") == 2
        assert store.meta("n") == 2


@pytest.fixture
def sealed() -> Iterator[Path]:
    """A store in a folder that cannot be written, reachable for other users."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suite.db"
        create(path, n=1)
        path.chmod(0o444)
        os.chmod(folder, 0o555)
        yield path
        os.chmod(folder, 0o755)


AS_ANOTHER = """
    import os, sys
    from jobmgr.errors import StoreError
    from jobmgr.store import Store
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    try:
        with Store.open(sys.argv[1], readonly=True) as store:
            print(store.meta("n"))
    except StoreError as error:
        print(error)
"""


def test_a_store_in_a_folder_that_cannot_be_written_is_read(sealed: Path) -> None:
    assert python(AS_ANOTHER, sealed).communicate()[0] == "1\n"


def test_a_store_that_cannot_be_read_says_why(sealed: Path) -> None:
    sealed.chmod(0)
    assert "check the owner and permissions" in python(AS_ANOTHER, sealed).communicate()[0]


# --- several processes ------------------------------------------------------------


def test_two_processes_take_different_submit_numbers(path: Path) -> None:
    with Store.create(str(path), {}, network_fs=False) as store:
        store.add_cycle("1", ["a"], 1.0)
    code = """
        import sys
        from jobmgr.core.states import State
        from jobmgr.store import Store
        from jobmgr.store.records import Change, NewSubmit
        taken = 0
        with Store.open(sys.argv[1], network_fs=False) as store:
            while taken < 25:
                for job in store.take_submits([NewSubmit("1", "a", "p", "h", "slurm", "{}")], 2.0):
                    store.apply([Change(job, job._replace(state=State.SUBMIT_FAILED))], 3.0)
                    print(job.submit, flush=True)
                    taken += 1
    """
    processes = [python(code, path) for _ in range(2)]
    numbers = [int(word) for process in processes for word in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(numbers) == list(range(1, 51))


def test_a_writer_that_is_killed_in_the_middle_leaves_whole_transactions(path: Path) -> None:
    with Store.create(str(path), {}, network_fs=False) as store:
        store.add_cycle("1", [f"t{n}" for n in range(200)], 1.0)
        jobs = store.take_submits([NewSubmit("1", f"t{n}", "p", "h", "slurm", "{}") for n in range(200)], 2.0)
        store.apply([Change(job, job._replace(state=State.RUNNING)) for job in jobs], 2.0)
    code = """
        import sys
        from jobmgr.store import Store
        from jobmgr.store.records import Change
        with Store.open(sys.argv[1], network_fs=False) as store:
            for round in range(1, 1000000):
                jobs = store.jobs_where()
                changes = [Change(job, job._replace(seen_size=round), text=f"round {round}") for job in jobs]
                store.apply(changes, 3.0)
                print(round, flush=True)
    """
    for _ in range(3):
        process = python(code, path)
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        with Store.open(str(path), network_fs=False) as store:
            sizes = {job.seen_size for job in store.jobs_where()}
            assert len(sizes) == 1
            rounds = [event.text for event in store.history(jobs[0].number) if event.text.startswith("round")]
            assert rounds == [
                event.text for event in store.history(jobs[-1].number) if event.text.startswith("round")
            ]
            with store.reading() as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_transaction_waits_for_another_process_and_then_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT", 0.05)
    with Store.create(str(path), {}, network_fs=False) as one, Store.open(str(path), network_fs=False) as two:
        with one.writing(), pytest.raises(StoreError, match="another process has kept the store locked"):
            two.set_meta({"a": 1})
        two.set_meta({"a": 1})


# --- messages ------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("database disk image is malformed", "jobmgr recover sweep"),
        ("attempt to write a readonly database", "permissions"),
        ("locking protocol", "--run-root"),
        ("database or disk is full", "make room"),
        ("something new", "something new"),
    ],
)
def test_errors_say_what_to_do(path: Path, text: str, words: str) -> None:
    assert words in db.explain(str(path), text)


def test_a_store_that_is_only_read_on_a_full_disk_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite calls that an I/O error: it has no room for the index beside the store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert "make room and repeat" not in db.explain(str(path), "disk I/O error")
    assert "--run-root" in db.explain(str(path), "disk I/O error")
    real = os.statvfs(path.parent)
    full = real[:4] + (0,) + real[5:]
    monkeypatch.setattr(db.os, "statvfs", lambda _: os.statvfs_result(full))
    assert "no space left for the store; make room" in db.explain(str(path), "disk I/O error")


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
filer:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local ext4 rw 0 0
ada@host: /mnt/with\\040space fuse.sshfs rw 0 0
lustre /scratch lustre rw 0 0
/dev/sdc1 /scratch ext4 rw 0 0
short line
"""


@pytest.mark.parametrize(
    "folder, kind",
    [
        ("/var/x", ""),
        ("/home/ada/run", "nfs4"),
        ("/home", "nfs4"),
        ("/homework", ""),
        ("/home/local/x", ""),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/scratch/x", ""),
    ],
)
def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(folder: str, kind: str) -> None:
    assert network_type(folder, MOUNTS) == kind


def test_without_proc_a_file_system_counts_as_local(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", gone)
    assert network_type("/home") == ""


def test_the_store_loads_nothing_heavy() -> None:
    code = """
        import sys
        import jobmgr.store
        print(sorted({"yaml", "fabric", "asyncio", "urllib", "rich"} & set(sys.modules)))
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=unmeasured(ENVIRONMENT),
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "[]\n"

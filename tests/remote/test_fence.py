"""The fence: one start per token, revocation, the journal, locks."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import fence, layout, lock, proc, wire

TOKEN = "11111111-2222-3333-4444-555555555555"
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
entries = st.builds(
    fence.Entry,
    st.uuids().map(str),
    words,
    words,
    st.integers(0, 2**40).map(float),
    st.integers(1, 2**22),
    words,
    words,
    words,
)


def claim_as_a_job(run_dir: str, token: str, line: str) -> bool:
    """What the wrapper's noclobber redirection does."""
    fence.make_folders(os.path.dirname(fence.token_file(run_dir, token, layout.CLAIM)))
    try:
        fd = os.open(
            fence.token_file(run_dir, token, layout.CLAIM), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
        )
    except FileExistsError:
        return False
    os.write(fd, line.encode())
    os.close(fd)
    return True


def test_a_token_that_nobody_has_met_has_no_claim(tmp_path: Path) -> None:
    assert fence.read_claim(str(tmp_path), TOKEN) == fence.NO_CLAIM


def test_a_claim_tells_who_has_started(tmp_path: Path) -> None:
    claim_as_a_job(str(tmp_path), TOKEN, "812345 4711 99 boot:1:2 node7\n")
    assert fence.read_claim(str(tmp_path), TOKEN) == fence.Claim(
        wire.C_STARTED, "812345", 4711, "99", "boot:1:2", "node7"
    )


def test_the_claim_of_an_element_of_a_job_array_counts(tmp_path: Path) -> None:
    folder = tmp_path / layout.token_dir(TOKEN)
    folder.mkdir(parents=True)
    (folder / "claim.7").write_text("8[7] 1 2 b h\n")
    assert fence.read_claim(str(tmp_path), TOKEN).state == wire.C_STARTED
    assert not fence.revoke(str(tmp_path), TOKEN)
    assert os.listdir(folder) == ["claim.7"]


def test_an_array_that_has_not_started_can_be_revoked(tmp_path: Path) -> None:
    assert fence.revoke(str(tmp_path), TOKEN)
    assert os.listdir(tmp_path / layout.token_dir(TOKEN)) == [layout.CLAIM]


def test_a_claim_that_stays_empty_is_a_start(tmp_path: Path) -> None:
    claim_as_a_job(str(tmp_path), TOKEN, "")
    assert fence.read_claim(str(tmp_path), TOKEN).state == wire.C_STARTED
    assert not fence.revoke(str(tmp_path), TOKEN)


@given(st.binary(max_size=60))
def test_no_content_of_a_claim_crashes(content: bytes) -> None:
    claim = fence.parse_claim(content.decode("utf-8", "replace"))
    assert claim.state in (wire.C_STARTED, wire.C_REVOKED)


def test_what_is_revoked_cannot_start_and_what_has_started_cannot_be_revoked(tmp_path: Path) -> None:
    assert fence.revoke(str(tmp_path), TOKEN)
    assert fence.revoke(str(tmp_path), TOKEN)
    assert not claim_as_a_job(str(tmp_path), TOKEN, "1 2 3 4 5\n")
    assert fence.read_claim(str(tmp_path), TOKEN).state == wire.C_REVOKED
    other = str(uuid.uuid4())
    assert claim_as_a_job(str(tmp_path), other, "1 2 3 4 5\n")
    assert not fence.revoke(str(tmp_path), other)


def _race(run_dir: str, token: str, gate: object, results: object, number: int) -> None:
    gate.wait()  # type: ignore[attr-defined]
    won = fence.revoke(run_dir, token) if number % 2 else claim_as_a_job(run_dir, token, "1 2 3 4 5\n")
    results.put((number % 2, won))  # type: ignore[attr-defined]


def test_of_starts_and_revocations_at_once_exactly_one_side_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(15):
        token = str(uuid.uuid4())
        gate, results = context.Barrier(4), context.Queue()
        racers = [
            context.Process(target=_race, args=(str(tmp_path), token, gate, results, number))
            for number in range(4)
        ]
        for racer in racers:
            racer.start()
        got = [results.get() for _ in racers]
        for racer in racers:
            racer.join()
        starts = sum(won for revoking, won in got if not revoking)
        revoked = any(won for revoking, won in got if revoking)
        assert starts + revoked == 1, got


def test_revocation_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert fence.revoke(str(tmp_path), TOKEN)
    assert os.listdir(tmp_path / layout.token_dir(TOKEN)) == [layout.CLAIM]


@given(st.lists(entries, unique_by=lambda entry: entry.token, max_size=5))
def test_the_journal_gives_back_what_was_written(many: list[fence.Entry]) -> None:
    assert [fence.parse_entry(fence.format_entry(entry).encode()) for entry in many] == many


@given(st.binary(max_size=200))
def test_no_line_of_a_journal_crashes(raw: bytes) -> None:
    fence.parse_entry(raw)


def an_entry(token: str = TOKEN) -> fence.Entry:
    return fence.Entry(token, "1/t/01", "slurm", 1.5, 7, "9", "b:1:2", "h")


def journal_in(folder: Path) -> Path:
    (folder / layout.SERVICE).mkdir()
    return folder / layout.JOURNAL_FILE


def test_a_torn_line_swallows_no_later_entry(tmp_path: Path) -> None:
    path = journal_in(tmp_path)
    path.write_bytes(fence.format_entry(an_entry()).encode()[:-20])
    assert fence.read_journal(str(tmp_path)) == {}
    other = an_entry(str(uuid.uuid4()))
    fence.append_journal(str(tmp_path), [other])
    assert fence.read_journal(str(tmp_path)) == {other.token: other}


def test_a_released_token_is_as_if_it_had_never_been_there(tmp_path: Path) -> None:
    journal_in(tmp_path)
    fence.append_journal(str(tmp_path), [an_entry()])
    fence.release(str(tmp_path), [(TOKEN, "1/t/01", "slurm")])
    assert fence.read_journal(str(tmp_path)) == {}
    fence.append_journal(str(tmp_path), [an_entry()])
    assert TOKEN in fence.read_journal(str(tmp_path))


def test_a_batch_that_cannot_be_made_durable_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal_in(tmp_path)
    fence.append_journal(str(tmp_path), [an_entry()])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        fence.append_journal(str(tmp_path), [an_entry(str(uuid.uuid4()))])
    assert path.read_bytes() == before


def test_a_submitter_lives_only_as_itself() -> None:
    parent = proc.look(os.getppid())
    assert parent
    mine = an_entry()._replace(pid=parent.pid, start=parent.start, instance=proc.instance())
    assert fence.submitter_lives(mine)
    assert not fence.submitter_lives(mine._replace(start="1"))
    assert not fence.submitter_lives(mine._replace(instance="other:1:2"))
    assert not fence.submitter_lives(None)


def test_native_id_and_kill_mark_lie_beside_the_claim(tmp_path: Path) -> None:
    run_dir = str(tmp_path)
    assert (fence.read_native_id(run_dir, TOKEN), fence.has_kill_mark(run_dir, TOKEN)) == ("", False)
    fence.write_kill_mark(run_dir, TOKEN, "2026-11-20T12:00:00Z")
    fence.write_native_id(run_dir, TOKEN, "812345;cluster")
    assert (fence.read_native_id(run_dir, TOKEN), fence.has_kill_mark(run_dir, TOKEN)) == (
        "812345;cluster",
        True,
    )
    assert (tmp_path / layout.token_dir(TOKEN)).stat().st_mode & 0o777 == 0o700


def test_a_link_that_cannot_be_made_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        fence.revoke(str(tmp_path), TOKEN)
    assert os.listdir(tmp_path / layout.token_dir(TOKEN)) == []


def test_a_link_that_was_made_and_reported_as_refused_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an NFS server answers when it gets the same question twice."""
    link = os.link

    def twice(source: str, target: str) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", twice)
    assert fence.revoke(str(tmp_path), TOKEN)
    monkeypatch.undo()
    assert fence.read_claim(str(tmp_path), TOKEN).state == wire.C_REVOKED


def test_a_claim_that_vanishes_while_it_is_compared_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    assert fence._same_file(str(tmp_path / "mine"), str(tmp_path / "mine"))
    assert not fence._same_file(str(tmp_path / "mine"), str(tmp_path / "gone"))


def test_a_file_that_is_there_is_not_created_again(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    assert fence.create_directly(str(path), "one")
    assert not fence.create_directly(str(path), "two")
    assert path.read_text() == "one"


@pytest.mark.parametrize("change", [(3, "soon"), (4, "me"), (0, "no-token")])
def test_a_line_of_the_journal_with_a_word_that_makes_no_sense_is_left_out(change: tuple[int, str]) -> None:
    words = fence.format_entry(an_entry()).split()
    words[change[0]] = change[1]
    assert fence.parse_entry((" ".join(words) + "\n").encode()) is None


def test_a_release_that_cannot_be_written_leaves_the_job_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [(TOKEN, "1/t/01", "slurm")]
    fence.release(str(tmp_path), jobs)  # there is no journal: nothing to release
    assert os.listdir(tmp_path) == []
    journal_in(tmp_path)
    fence.append_journal(str(tmp_path), [an_entry()])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fence, "write_all", full)
        fence.release(str(tmp_path), jobs)
    fence.release(str(tmp_path), [])
    assert TOKEN in fence.read_journal(str(tmp_path))


@pytest.mark.parametrize(("number", "counts"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_syncs_no_folders_is_as_good_as_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, counts: bool
) -> None:
    def refused(_: int) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "fsync", refused)
    if counts:
        with pytest.raises(OSError, match="refused"):
            fence.sync_folder(str(tmp_path))
    else:
        fence.sync_folder(str(tmp_path))


def test_a_folder_that_another_call_makes_meanwhile_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir
    path = tmp_path / "a" / "b"

    def slow(name: str, mode: int) -> None:
        mkdir(name, mode)
        if name == str(path.parent):
            mkdir(str(path), mode)  # somebody else, at the same time

    monkeypatch.setattr(os, "mkdir", slow)
    assert not fence.make_folders(str(path))
    assert path.is_dir()


# --- locks -------------------------------------------------------------------------------------------


def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)


@pytest.mark.parametrize("with_flock", [True, False])
def test_a_lock_is_held_by_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_flock: bool
) -> None:
    if not with_flock:
        no_flock(monkeypatch)
    path = str(tmp_path / "lock")
    with lock.Lock(path), pytest.raises(lock.Held), lock.Lock(path, 0.01):
        pass
    with lock.Lock(path, 0):
        pass


def test_a_lock_file_of_a_dead_process_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_flock(monkeypatch)
    held = tmp_path / "lock.held"
    held.write_text(f"{os.getpid()} 1 {proc.instance()}\n")
    with lock.Lock(str(tmp_path / "lock"), 1.0):
        assert held.read_text().split()[1] == proc.own().start


def test_a_lock_file_of_another_host_is_taken_over_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_flock(monkeypatch)
    held = tmp_path / "lock.held"
    held.write_text("1 1 elsewhere:1:2\n")
    with pytest.raises(lock.Held), lock.Lock(str(tmp_path / "lock"), 0.01):
        pass
    os.utime(held, (1, 1))
    with lock.Lock(str(tmp_path / "lock"), 1.0):
        pass


def test_a_lock_whose_file_system_fails_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"), lock.Lock(str(tmp_path / "lock"), 0):
        pass


def test_a_lock_that_was_not_had_leaves_no_descriptor_open(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with lock.Lock(path):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(lock.Held), lock.Lock(path, 0):
            pass
        assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_lock_file_that_vanishes_while_it_is_looked_at_was_not_left_behind(tmp_path: Path) -> None:
    one = lock.Lock(str(tmp_path / "lock"))
    assert not one._left_behind(str(tmp_path / "lock.held"))
    lock._unlink(str(tmp_path / "lock.held"))

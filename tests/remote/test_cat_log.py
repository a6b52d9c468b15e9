from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_side import Host
from interpreters import oldest_and_newest
from jobmgr_remote import layout, status, wire
from jobmgr_remote.commands import cat_log
from jobs_on_disk import until
from measured import host_python

JOB = "1/t/01"
TOKEN = "3b0ae0f6-2f0e-4ab9-8f0a-0d0f3c1c2b3a"


def python_of(request: pytest.FixtureRequest, folder: Path) -> str:
    return host_python(folder) if request.param == "measured" else str(request.param)


@pytest.fixture(params=[*oldest_and_newest(), "measured"], ids=lambda path: Path(path).name)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    yield from made_host(tmp_path, python_of(request, tmp_path))


@pytest.fixture
def one_host(tmp_path: Path) -> Iterator[Host]:
    yield from made_host(tmp_path, host_python(tmp_path))


def made_host(tmp_path: Path, python: str) -> Iterator[Host]:
    made = Host(tmp_path / "home", python)
    made.initialise()
    folder = made.run_dir / layout.job_dir(JOB)
    folder.mkdir(parents=True)
    (folder / "job.status").write_text(status.header(TOKEN, "background", "2026-11-20T12:00:00Z"))
    yield made
    made.end()


def folder(host: Host) -> Path:
    return host.run_dir / layout.job_dir(JOB)


def cat(host: Host, **options: Any) -> bytes:
    answer = host.call(wire.CAT_LOG, job=JOB, **options)
    assert answer.error is None, (answer.error, answer.stderr)
    assert answer.ended
    return b"".join(base64.b64decode(row["b64"]) for row in answer.of(wire.DATA))


def refused(host: Host, **options: Any) -> wire.Error:
    answer = host.call(wire.CAT_LOG, **{"job": JOB, **options})
    assert answer.error is not None
    assert answer.of(wire.DATA) == []
    return answer.error


@pytest.mark.parametrize(
    "data", [b"", b"x", bytes(range(256)) * 5000, b"\xff\xfe\0\n" * 7], ids=["empty", "one", "binary", "odd"]
)
def test_any_bytes_arrive_as_they_are(host: Host, data: bytes) -> None:
    (folder(host) / "job.out").write_bytes(data)
    assert cat(host) == data


def test_a_large_file_comes_in_bounded_lines(one_host: Host) -> None:
    data = os.urandom(2_000_000)
    (folder(one_host) / "job.out").write_bytes(data)
    answer = one_host.call(wire.CAT_LOG, job=JOB)
    rows = answer.of(wire.DATA)
    assert max(len(row["b64"]) for row in rows) <= wire.MAX_DATA
    assert [row["offset"] for row in rows] == list(range(0, len(data), cat_log.CHUNK))
    assert b"".join(base64.b64decode(row["b64"]) for row in rows) == data


@pytest.mark.parametrize(
    "name, file", [*cat_log.NAMES.items(), ("job.err", "job.err"), ("extra/a b.txt", "extra/a b.txt")]
)
def test_files_by_their_names(one_host: Host, name: str, file: str) -> None:
    path = folder(one_host) / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("content")
    assert cat(one_host, file=name) == b"content"


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"offset": 4}, b"45\n789"),
        ({"offset": 100}, b""),
        ({"offset": 2, "max_bytes": 3}, b"234"),
        ({"max_bytes": 4}, b"0123"),
        ({"tail_lines": 1}, b"789"),
        ({"tail_lines": 2}, b"012345\n789"),
        ({"tail_lines": 9}, b"012345\n789"),
        ({"tail_lines": 0}, b""),
    ],
)
def test_parts_of_a_file(one_host: Host, options: dict[str, int], expected: bytes) -> None:
    (folder(one_host) / "job.out").write_bytes(b"012345\n789")
    assert cat(one_host, **options) == expected


@given(st.lists(st.sampled_from([b"", b"x", b"ab" * 40000]), max_size=8), st.booleans(), st.integers(1, 10))
def test_tail_offset_counts_lines(lines: list[bytes], last_newline: bool, wanted: int) -> None:
    import io

    data = b"\n".join(lines) + (b"\n" if last_newline and lines else b"")
    expected = b"".join(data.splitlines(keepends=True)[-wanted:])
    assert data[cat_log.tail_offset(io.BytesIO(data), wanted) :] == expected


def test_the_list_names_regular_files(one_host: Host) -> None:
    (folder(one_host) / "job.out").write_text("12345")
    (folder(one_host) / "sub").mkdir()
    (folder(one_host) / "sub/x").write_text("1")
    (folder(one_host) / "link").symlink_to("/etc/passwd")
    answer = one_host.call(wire.CAT_LOG, job=JOB, mode="list")
    rows = answer.of(wire.DATA)
    assert [(row["name"], row["size"]) for row in rows] == [
        ("job.out", 5),
        ("job.status", (folder(one_host) / "job.status").stat().st_size),
        ("sub/x", 1),
    ]
    assert rows[0]["time"] == (folder(one_host) / "job.out").stat().st_mtime


def test_the_path(one_host: Host) -> None:
    answer = one_host.call(wire.CAT_LOG, job=JOB, mode="path", file="status")
    assert answer.of(wire.DATA) == [{"path": str(folder(one_host) / "job.status")}]


@pytest.mark.parametrize(
    "name", ["../02/job.out", "/etc/passwd", "a/../../x", "..", "", 7, "a\nb", "leads-out", "dir-out/passwd"]
)
def test_names_that_lead_out_are_refused(one_host: Host, name: object) -> None:
    (folder(one_host) / "leads-out").symlink_to("/etc/passwd")
    (folder(one_host) / "dir-out").symlink_to("/etc")
    error = refused(one_host, file=name, mode="path" if name == "" else "cat")
    assert error.code in (wire.E_USAGE, wire.E_NOT_FOUND)


def test_a_link_inside_is_fine(one_host: Host) -> None:
    (folder(one_host) / "real").write_text("x")
    (folder(one_host) / "alias").symlink_to("real")
    assert cat(one_host, file="alias") == b"x"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_refused(one_host: Host, make: Callable[[Path], None]) -> None:
    make(folder(one_host) / "odd")
    assert refused(one_host, file="odd").code == wire.E_NOT_FOUND


@pytest.mark.parametrize(
    "options, code",
    [
        ({"job": "1/t/02"}, wire.E_NOT_FOUND),
        ({"job": "../x/01"}, wire.E_USAGE),
        ({"job": None}, wire.E_USAGE),
        ({"file": "nowhere"}, wire.E_NOT_FOUND),
        ({"file": "nowhere", "mode": "path"}, wire.E_NOT_FOUND),
        ({"mode": "sing"}, wire.E_USAGE),
        ({"file": "status", "offset": -1}, wire.E_USAGE),
        ({"file": "status", "tail_lines": "x"}, wire.E_USAGE),
        ({"token": "00000000-0000-0000-0000-000000000000"}, wire.E_FOREIGN),
    ],
)
def test_refusals(one_host: Host, options: dict[str, Any], code: str) -> None:
    assert refused(one_host, **options).code == code


def test_the_own_token_is_welcome_and_so_is_a_job_without_one(one_host: Host) -> None:
    assert cat(one_host, token=TOKEN, file="status")
    (folder(one_host) / "job.status").write_text("garbage")
    assert cat(one_host, token=TOKEN, file="status") == b"garbage"


# --- follow -------------------------------------------------------------------------------------------


class Following:
    """A follow that is under way."""

    def __init__(self, host: Host, **options: Any) -> None:
        self.process = host.start(wire.CAT_LOG)
        self.reader = wire.ReplyReader(wire.CAT_LOG)
        self.records: list[tuple[str, Any]] = []
        assert self.process.stdin
        self.process.stdin.write(host.request(wire.CAT_LOG, job=JOB, mode="follow", **options))
        self.process.stdin.flush()

    def more(self) -> bool:
        """Take what has come; False at the end of the reply."""
        assert self.process.stdout
        data = os.read(self.process.stdout.fileno(), 65536)
        self.records += self.reader.feed(data)
        return bool(data)

    @property
    def text(self) -> bytes:
        return b"".join(base64.b64decode(v["b64"]) for k, v in self.records if k == wire.DATA)

    @property
    def notes(self) -> list[str]:
        return [v.code for k, v in self.records if k == wire.NOTE]

    def until(self, text: bytes) -> None:
        while not self.text.endswith(text):
            assert self.more()

    def to_end(self) -> None:
        while self.more():
            pass
        assert self.process.wait(30) == 0
        assert self.reader.ended

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream
            stream.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def follow() -> Iterator[Callable[..., Following]]:
    running = []

    def start(host: Host, **options: Any) -> Following:
        running.append(Following(host, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()


Follow = Callable[..., Following]


def add(path: Path, text: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(text)


def finish(host: Host) -> None:
    add(folder(host) / "job.status", b"JOBMGR_EXIT=SUCCEEDED\n")


def test_a_follow_sends_what_is_there_and_what_comes_until_the_job_has_ended(
    host: Host, follow: Follow
) -> None:
    out = folder(host) / "job.out"
    out.write_bytes(b"one\n")
    log = follow(host)
    log.until(b"one\n")
    add(out, b"two\n")
    log.until(b"two\n")
    add(out, b"last")
    finish(host)
    log.to_end()
    assert log.text == b"one\ntwo\nlast"


def test_a_follow_of_a_finished_job_ends_at_once(one_host: Host, follow: Follow) -> None:
    (folder(one_host) / "job.out").write_bytes(b"x" * 1000000)
    finish(one_host)
    log = follow(one_host)
    log.to_end()
    assert log.text == b"x" * 1000000


def test_a_follow_ends_when_its_stdin_ends(one_host: Host, follow: Follow) -> None:
    (folder(one_host) / "job.out").write_bytes(b"x")
    log = follow(one_host)
    log.until(b"x")
    assert log.process.stdin
    log.process.stdin.close()
    log.to_end()


def test_a_follow_ends_when_nobody_reads_any_more(one_host: Host, follow: Follow) -> None:
    out = folder(one_host) / "job.out"
    out.write_bytes(b"x")
    log = follow(one_host)
    log.until(b"x")
    assert log.process.stdout
    log.process.stdout.close()
    for _ in range(3):
        add(out, b"more")
    until(lambda: log.process.poll() is not None or add(out, b"."))


def test_a_follow_waits_for_a_file_that_is_not_there_yet(one_host: Host, follow: Follow) -> None:
    log = follow(one_host)
    until(lambda: log.more() and log.records)
    (folder(one_host) / "job.out").write_bytes(b"late")
    log.until(b"late")
    finish(one_host)
    log.to_end()


def test_a_follow_ends_if_the_job_ended_without_the_file(one_host: Host, follow: Follow) -> None:
    finish(one_host)
    log = follow(one_host)
    log.to_end()
    assert log.text == b""


def test_a_follow_begins_where_it_is_told(one_host: Host, follow: Follow) -> None:
    (folder(one_host) / "job.out").write_bytes(b"1\n2\n3\n4\n")
    finish(one_host)
    first, second = follow(one_host, tail_lines=2), follow(one_host, offset=6)
    first.to_end()
    second.to_end()
    assert (first.text, second.text) == (b"3\n4\n", b"4\n")


def test_a_file_that_is_cut_is_followed_from_its_beginning(one_host: Host, follow: Follow) -> None:
    out = folder(one_host) / "job.out"
    out.write_bytes(b"long text\n")
    log = follow(one_host)
    log.until(b"long text\n")
    out.write_bytes(b"new")
    log.until(b"new")
    finish(one_host)
    log.to_end()
    assert log.notes == ["truncated"]


def test_a_file_that_is_replaced_is_followed_on(one_host: Host, follow: Follow) -> None:
    out = folder(one_host) / "job.out"
    out.write_bytes(b"old\n")
    log = follow(one_host)
    log.until(b"old\n")
    out.rename(folder(one_host) / "job.out.1")
    out.write_bytes(b"a rather longer new one\n")
    log.until(b"new one\n")
    finish(one_host)
    log.to_end()
    assert log.notes == ["replaced"]


def test_a_follow_ends_with_the_jobs_directory(one_host: Host, follow: Follow) -> None:
    (folder(one_host) / "job.out").write_bytes(b"x")
    log = follow(one_host)
    log.until(b"x")
    folder(one_host).rename(one_host.home / "gone")
    log.to_end()


def test_an_unreadable_status_does_not_end_a_follow(one_host: Host, follow: Follow) -> None:
    out = folder(one_host) / "job.out"
    out.write_bytes(b"x")
    (folder(one_host) / "job.status").write_text("garbage\n")
    log = follow(one_host)
    log.until(b"x")
    add(out, b"y")
    log.until(b"y")

"""What all verbs have in common: hello, checks, owner and epoch, errors, the end of the reply."""

from __future__ import annotations

import _thread
import io
import json
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_side import Host, host_in
from jobmgr_remote import layout, runners, session, wire


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as one:
        yield one


def serve(verb: str, data: bytes) -> tuple[int, list[tuple[str, object]]]:
    out = io.BytesIO()
    code = session.serve(verb, io.BytesIO(data), out)
    return code, wire.ReplyReader(verb).feed(out.getvalue())


def error_of(records: list[tuple[str, object]]) -> wire.Error:
    (error,) = (value for kind, value in records if kind == wire.ERROR)
    assert isinstance(error, wire.Error)
    assert records[-1][0] == wire.END
    return error


def test_hello_comes_first_and_tells_who_where_and_when(host: Host) -> None:
    before = time.time()
    answer = host.call(wire.JOBS_POLL)
    assert answer.records[0][0] == wire.HELLO
    assert answer.hello.run_dir == str(host.run_dir)
    assert answer.hello.run_state == session.RUN_OK
    assert answer.hello.hostname == os.uname()[1]
    assert before <= answer.hello.time <= time.time()
    assert answer.ended
    assert answer.code == 0


def test_another_wire_version_is_refused_with_the_fix(host: Host) -> None:
    data = host.request(wire.JOBS_POLL).replace(b'{"jobmgr":1', b'{"jobmgr":7', 1)
    code, records = serve(wire.JOBS_POLL, data)
    error = error_of(records)
    assert (code, error.code) == (1, wire.E_VERSION)
    assert "upgrade the jobmgr on this host" in error.text


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{}\n", b"[1]\n", b'{"jobmgr":1', b"\xff\xfe\n", b'{"jobmgr":"1"}\n']
)
def test_what_is_no_request_is_a_usage_error(data: bytes) -> None:
    code, records = serve(wire.JOBS_POLL, data)
    assert code == 1
    assert error_of(records).code == wire.E_USAGE


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "../x"},
        {"suite": "a b"},
        {"suite": ""},
        {"uuid": "x"},
        {"controller": ""},
        {"controller": 7},
        {"epoch": -1},
        {"epoch": "1"},
        {"epoch": True},
        {"root": "relative"},
        {"root": 3},
        {"root": "/a\nb"},
    ],
)
def test_a_run_that_cannot_be_one_is_refused(host: Host, change: dict[str, object]) -> None:
    code, records = serve(wire.JOBS_POLL, host.request(wire.JOBS_POLL, run=host.run._replace(**change)))
    assert code == 1
    assert error_of(records).code == wire.E_USAGE


def test_a_variable_that_the_host_does_not_have_is_named(host: Host) -> None:
    code, records = serve(
        wire.JOBS_POLL, host.request(wire.JOBS_POLL, run=host.run._replace(root="$NO_SUCH_THING/x"))
    )
    assert code == 1
    assert error_of(records) == wire.Error(
        wire.E_HOST, "$NO_SUCH_THING is not set on this host (in '$NO_SUCH_THING/x')"
    )


def test_the_run_root_is_expanded_on_the_host(host: Host) -> None:
    host.env["SCRATCH"] = str(host.home / "scratch")
    for root in ("$SCRATCH/runs", "${SCRATCH}/runs", "~/scratch//runs/", "$HOME/scratch/runs"):
        answer = host.call(wire.JOBS_POLL, run=host.run._replace(root=root))
        assert answer.hello.run_dir == str(host.home / "scratch/runs/s")


def test_a_run_directory_that_is_not_there_is_absent_and_one_without_its_root_unmounted(host: Host) -> None:
    other = host.run._replace(suite="other")
    assert host.call(wire.JOBS_POLL, run=other).hello.run_state == session.RUN_ABSENT
    away = host.run._replace(root="$HOME/away")
    assert host.call(wire.JOBS_POLL, run=away).hello.run_state == session.RUN_UNMOUNTED
    os.symlink(host.home / "not-mounted", host.run_dir.parent / "other")
    assert host.call(wire.JOBS_POLL, run=other).hello.run_state == session.RUN_UNMOUNTED


@pytest.mark.parametrize("verb", [wire.JOBS_SUBMIT, wire.REMOTE_TIDY, wire.SCAN, wire.CAT_LOG])
def test_verbs_that_need_the_run_say_that_it_is_not_initialised(host: Host, verb: str) -> None:
    answer = host.call(verb, run=host.run._replace(suite="other"))
    assert answer.error
    assert answer.error.code == wire.E_NOT_FOUND
    assert answer.error.text.startswith("run directory not initialised")


def test_a_run_that_was_deleted_has_nothing_to_clean_and_one_that_is_not_mounted_may_have(host: Host) -> None:
    deleted = host.run._replace(suite="other")
    assert host.call(wire.REMOTE_TIDY, run=deleted, clean=True).error is None
    answer = host.call(wire.REMOTE_TIDY, run=host.run._replace(root="$HOME/away"), clean=True)
    assert answer.error
    assert answer.error.code == wire.E_NOT_FOUND


def test_another_runs_directory_in_the_way_is_foreign(host: Host) -> None:
    other = host.run._replace(uuid="00000000-0000-0000-0000-000000000000")
    answer = host.call(wire.JOBS_SUBMIT, [host.job()], run=other)
    assert answer.error
    assert answer.error.code == wire.E_FOREIGN
    assert host.call(wire.JOBS_POLL, run=other).hello.run_state == session.RUN_FOREIGN


def own(host: Host, epoch: int, controller: str = "controller") -> None:
    owner = {"uuid": host.run.uuid, "controller": controller, "epoch": epoch, "owner": "bob@pc", "time": "T"}
    (host.run_dir / layout.OWNER_FILE).write_text(json.dumps(owner))


@pytest.mark.parametrize(("epoch", "controller"), [(2, "other"), (2, "controller"), (1, "other")])
def test_a_run_that_was_taken_over_is_not_changed_by_its_old_owner(
    host: Host, epoch: int, controller: str
) -> None:
    own(host, epoch, controller)
    answer = host.call(wire.JOBS_SUBMIT, [host.job()])
    assert answer.error == wire.Error(wire.E_TAKEN_OVER, "taken over by bob@pc on T")
    assert host.call(wire.JOBS_KILL, [host.job()]).error == answer.error
    assert not list(host.run_dir.glob("log/**/job"))
    assert host.call(wire.JOBS_POLL).error is None


def test_an_old_owner_may_poll_but_not_revoke(host: Host) -> None:
    item = host.job()
    own(host, 2, "other")
    (one,) = host.poll(dict(item, revoke=True))
    assert one.claim == wire.C_NONE


def test_a_higher_epoch_takes_the_run_over(host: Host) -> None:
    own(host, 1, "other")
    answer = host.call(wire.JOBS_KILL, run=host.run._replace(epoch=5))
    assert answer.error is None
    owner = json.loads((host.run_dir / layout.OWNER_FILE).read_text())
    assert (owner["epoch"], owner["controller"], owner["owner"]) == (5, "controller", "ada@lap")


def test_a_torn_owner_file_locks_nobody_out(host: Host) -> None:
    (host.run_dir / layout.OWNER_FILE).write_text('{"epoch": 9')
    assert host.call(wire.JOBS_KILL).error is None


def test_a_bug_is_an_error_line_and_a_traceback(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(host.home))
    monkeypatch.setattr(session, "check_owner", lambda *_: 1 / 0)
    code, records = serve(wire.JOBS_POLL, host.request(wire.JOBS_POLL))
    assert code == session.EXIT_BUG
    assert error_of(records) == wire.Error(wire.E_BUG, "ZeroDivisionError: division by zero")
    assert "Traceback" in capsys.readouterr().err


def test_called_for_one_verb_and_asked_for_another_is_refused(host: Host) -> None:
    _, records = serve(wire.JOBS_KILL, host.request(wire.JOBS_POLL))
    assert error_of(records).code == wire.E_USAGE
    assert error_of(serve("rm", b"")[1]).code == wire.E_USAGE


def test_a_caller_that_goes_away_stops_nobody(host: Host) -> None:
    items = [host.job(task=f"t{n}") for n in range(30)]
    process = host.start(wire.JOBS_SUBMIT)
    assert process.stdin
    assert process.stdout
    process.stdout.close()
    process.stdin.write(host.request(wire.JOBS_SUBMIT, items))
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stderr
    assert process.stderr.read() == b""
    process.stderr.close()
    host.wait_exit(*items)


def test_items_that_arrived_whole_are_acted_on_and_a_torn_one_is_not(host: Host) -> None:
    items = [host.job(task="a"), host.job(task="b")]
    data = host.request(wire.JOBS_SUBMIT, items)
    process = host.start(wire.JOBS_SUBMIT)
    out, _ = process.communicate(data[: data.index(b'"job":"1/b') + 40], timeout=60)
    reader = wire.ReplyReader(wire.JOBS_SUBMIT)
    jobs = [value.job for kind, value in reader.feed(out) if kind == wire.JOB]  # type: ignore[attr-defined]
    assert jobs == ["1/a/01"]
    host.wait_exit(items[0])


def start_traced(work: Callable[[], None], arguments: tuple[()]) -> None:
    """A thread whose lines are measured, which those of ``_thread`` itself are not."""
    threading.Thread(target=work, args=arguments).start()


def test_heartbeats_come_while_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT", 0.02)
    out = io.BytesIO()
    monkeypatch.setattr(_thread, "start_new_thread", start_traced)
    reply = session.Reply(out)
    reply.start_beating()
    deadline = time.monotonic() + 20
    while out.getvalue().count(b'"beat"') < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    reply.end()
    kinds = [kind for kind, _ in wire.ReplyReader("x").feed(out.getvalue())]
    assert kinds.count(wire.BEAT) >= 3
    assert kinds[-1] == wire.END


def test_heartbeats_stop_when_the_work_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT", 0.002)
    monkeypatch.setattr(session, "STUCK", -1.0)
    out = io.BytesIO()
    monkeypatch.setattr(_thread, "start_new_thread", start_traced)
    reply = session.Reply(out)
    reply.start_beating()
    time.sleep(0.05)
    reply.end()
    assert b"beat" not in out.getvalue()


class Writes(io.RawIOBase):
    """A stdout that keeps each write apart."""

    def __init__(self) -> None:
        self.made: list[bytes] = []

    def write(self, data: Any) -> int:
        self.made.append(bytes(data))
        return len(data)


def answer_about(job: str) -> wire.Submitted:
    return wire.Submitted(job, "", wire.R_SUBMITTED, "", "", "")


def test_answers_of_the_same_moment_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TOGETHER", 3600.0)
    out = Writes()
    reply = session.Reply(out)
    reply.start_beating()
    reply.job(answer_about("1/a/01"))
    reply.job(answer_about("1/b/01"))
    assert out.made == []
    reply.note("info", "x", "behind them")
    assert [line.count(b"\n") for line in out.made] == [3]
    reply.job(answer_about("x" * session.FULL))
    assert len(out.made) == 2
    reply.job(answer_about("1/c/01"))
    reply.end()
    assert [line.count(b"\n") for line in out.made] == [3, 1, 2]


def test_no_answer_waits_for_what_the_host_does_next(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Writes()
    monkeypatch.setattr(_thread, "start_new_thread", start_traced)
    reply = session.Reply(out)
    reply.start_beating()
    for number in (1, 2):
        reply.job(answer_about(f"1/a/{number:02d}"))
        deadline = time.monotonic() + 20
        while len(out.made) < number and time.monotonic() < deadline:
            time.sleep(0.001)  # the host is at something else
        assert len(out.made) == number
    reply.end()


@given(
    st.dictionaries(
        st.sampled_from(["job", "token", "runner", "native_id", "work_dir", "instance"]),
        st.text() | st.none(),
    )
)
def test_no_item_is_accepted_that_could_leave_the_run_directory(item: dict[str, object]) -> None:
    try:
        session.check_item(item)
    except ValueError:
        return
    assert layout.is_token(item["token"])
    work_dir = str(item.get("work_dir") or "w")
    assert os.path.normpath("/r/" + work_dir).startswith("/r")
    assert ".." not in work_dir.split("/")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    session.write_beside(str(path), "one")
    session.write_beside(str(path), "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "in").touch()
    with pytest.raises(OSError):
        session.write_beside(str(tmp_path / "d"), "three")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d", "x"]


def test_a_reply_waits_for_a_pipe_that_is_full() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    reply = session.Reply(os.fdopen(writing, "wb", 0))
    got = bytearray()

    def read() -> None:
        while chunk := os.read(reading, 65536):
            got.extend(chunk)
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        reply.data({"x": "y" * 50000})
    reply.end()
    reply._stdout.close()  # type: ignore[attr-defined]
    reader.join(60)
    os.close(reading)
    assert len(wire.ReplyReader("x").feed(bytes(got))) == 21
    assert not reply.closed


def test_user_and_home_come_from_the_password_file_where_the_environment_is_bare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    entry = pwd.getpwuid(os.getuid())
    assert session.home_folder() == entry.pw_dir.rstrip("/")
    assert session.user_name(entry.pw_dir) == entry.pw_name

    def nobody(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert session.user_name("/home/x") == str(os.getuid())
    with pytest.raises(session.Refused, match="no home directory"):
        session.home_folder()


def test_what_a_held_stdin_still_says_is_thrown_away_and_its_end_is_seen(host: Host) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin:
        one = session.Host(host.run, stdin)
        assert not one.stdin_ended()
        os.write(writing, b"words")
        assert not one.stdin_ended(0.05)
        os.close(writing)
        assert one.stdin_ended(10)
    assert one.stdin_ended()


def test_a_verb_that_got_lost_on_the_way_is_told_with_the_likely_cause() -> None:
    code, records = serve("", b"")
    assert code == 1
    assert error_of(records).code == wire.E_USAGE
    assert ".profile" in error_of(records).text


RUNNER = """
NAME = "mine"
VERSION_ARGV, CARRIER, SHARED_STATUS, VACATION_SIGNALS = ["true"], "", False, ()
ID_VARIABLE = INDEX_VARIABLE = ""
TIMEOUT, MAX_IDS = 1.0, 10
def directives(job): return ["#MINE " + job["job"]]
submit_call = parse_submit = poll_calls = history_calls = parse_poll = directives
kill_calls = parse_kill = find_call = parse_find = directives
"""


@pytest.fixture
def no_added_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_added", {})


@pytest.mark.usefixtures("no_added_runners")
def test_a_runner_that_comes_with_the_request_is_one_of_this_call() -> None:
    session.add_runners(None)
    session.add_runners({"mine": RUNNER})
    assert runners.get("mine").directives({"job": "1/t/01"}) == ["#MINE 1/t/01"]  # type: ignore[attr-defined]
    with pytest.raises(runners.UnknownRunner, match="mine"):
        runners.get("yours")


@pytest.mark.usefixtures("no_added_runners")
@pytest.mark.parametrize(
    ("sources", "code", "text"),
    [
        (["mine"], wire.E_USAGE, "not a table"),
        ({"background": RUNNER}, wire.E_POLICY, "cannot be named 'background'"),
        ({"mine": 7}, wire.E_POLICY, "cannot be named 'mine'"),
        ({"mine": "def ("}, wire.E_POLICY, "runner mine: SyntaxError"),
        ({"mine": "1 / 0"}, wire.E_POLICY, "runner mine: ZeroDivisionError: division by zero"),
        ({"mine": "NAME = 'mine'"}, wire.E_POLICY, "runner mine has no VERSION_ARGV"),
    ],
)
def test_what_is_no_runner_is_refused_with_the_reason(sources: object, code: str, text: str) -> None:
    with pytest.raises(session.Refused, match=text) as refused:
        session.add_runners(sources)
    assert refused.value.code == code


@pytest.mark.usefixtures("no_added_runners")
def test_a_restricted_key_takes_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBMGR_RESTRICTED", "1")
    with pytest.raises(session.Refused, match="takes no code"):
        session.add_runners({"mine": RUNNER})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"token": "x"}, "not a token"),
        ({"native_id": "1\n2"}, "native_id: not a text"),
        ({"runner": "r" * 5000}, "runner: not a text"),
        ({"instance": 7}, "instance: not a text"),
        ({"native_id": "--all"}, "native_id: not an id"),
        ({"work_dir": "../up"}, "up"),
    ],
)
def test_an_item_is_refused_with_the_key_that_is_wrong(
    host: Host, change: dict[str, object], text: str
) -> None:
    assert session.check_item(host.job(native_id="7", work_dir="work/x"))
    with pytest.raises(ValueError, match=text):
        session.check_item({**host.job(), **change})


def test_a_version_is_marked_as_in_use_once_a_day(tmp_path: Path) -> None:
    session.mark_use(str(tmp_path / "jobmgr-remote-gone"))
    folder = tmp_path / "jobmgr-remote-1"
    folder.mkdir()
    os.utime(folder, (1, 1))
    session.mark_use(str(folder))
    assert time.time() - folder.stat().st_mtime < 3600
    yesterday = time.time() - session.MARK_AGAIN / 2
    os.utime(folder, (yesterday, yesterday))
    session.mark_use(str(folder))
    assert folder.stat().st_mtime == pytest.approx(yesterday, abs=1)


def test_a_host_that_cannot_read_its_files_says_which(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(host.home))
    uuid_file = host.run_dir / layout.UUID_FILE
    uuid_file.unlink()
    uuid_file.mkdir()
    code, records = serve(wire.JOBS_POLL, host.request(wire.JOBS_POLL))
    assert (code, error_of(records).code) == (1, wire.E_HOST)
    assert "Is a directory" in error_of(records).text
    assert "Traceback" in capsys.readouterr().err


# --- several requests in a row ------------------------------------------------------------------------


def answered(process: subprocess.Popen[bytes], verb: str) -> wire.ReplyReader:
    """Read one reply to its end."""
    reader = wire.ReplyReader(verb)
    assert process.stdout is not None
    while not reader.ended:
        line = process.stdout.readline()
        assert line, "the host side has gone"
        reader.feed(line)
    return reader


def test_one_process_answers_several_requests_that_say_so(host: Host) -> None:
    with host.start(wire.REMOTE_INIT, bufsize=0) as process:
        assert process.stdin is not None
        for verb in (wire.REMOTE_INIT, wire.JOBS_SUBMIT, wire.JOBS_POLL):
            process.stdin.write(host.request(verb, more=True))
            assert answered(process, verb).more
        process.stdin.write(wire.STOP + host.request(wire.JOBS_POLL))  # a stop that came too late
        assert not answered(process, wire.JOBS_POLL).more
        assert process.wait(20) == 0


def test_the_next_request_may_be_none(host: Host) -> None:
    with host.start(wire.JOBS_POLL, bufsize=0) as process:
        assert process.stdin is not None
        process.stdin.write(host.request(wire.JOBS_POLL, more=True))
        assert answered(process, wire.JOBS_POLL).more
        process.stdin.close()
        assert process.wait(20) == 0


def test_the_next_request_is_waited_for_and_not_for_ever(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PATIENCE", 0.05)
    reading, writing = os.pipe()
    with open(reading, "rb") as stream:
        assert session.next_comes(stream) is False
        os.write(writing, b"x")
        assert session.next_comes(stream) is True
        assert stream.read(1) == b"x"
        os.close(writing)
        assert session.next_comes(stream) is False


def test_an_empty_line_ends_a_wait_and_keeps_the_process(host: Host) -> None:
    (job,) = [host.job("exec sleep 300")]
    host.submit(job)
    host.wait_started(job)
    with host.start(wire.JOBS_POLL, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(host.request(wire.JOBS_POLL, [job], more=True, wait=100, stream=True))
        assert b"hello" in process.stdout.readline()
        process.stdin.write(wire.STOP)
        assert answered(process, wire.JOBS_POLL).more
        process.stdin.write(host.request(wire.JOBS_POLL, [job]))
        assert answered(process, wire.JOBS_POLL).count == 1
        assert process.wait(20) == 0


def test_a_refusal_and_a_verb_that_is_none_end_the_process(host: Host) -> None:
    refused = host.request(wire.JOBS_POLL, more=True).replace(b'"jobmgr":1', b'"jobmgr":7')
    nonsense = host.request("no-verb", more=True)
    for last in (refused, nonsense):
        with host.start(wire.JOBS_POLL, bufsize=0) as process:
            assert process.stdin is not None
            process.stdin.write(host.request(wire.JOBS_POLL, more=True))
            assert answered(process, wire.JOBS_POLL).more
            process.stdin.write(last)
            assert not answered(process, wire.JOBS_POLL).more
            assert process.wait(20) == 1


def test_a_request_leaves_the_umask_to_the_next_one(host: Host) -> None:
    """A batch system keeps the umask of whoever submits."""
    with host.start(wire.REMOTE_INIT, bufsize=0, umask=0o027) as process:
        assert process.stdin is not None
        process.stdin.write(host.request(wire.REMOTE_INIT, more=True))
        assert answered(process, wire.REMOTE_INIT).more
        assert "Umask:\t0027\n" in Path(f"/proc/{process.pid}/status").read_text()

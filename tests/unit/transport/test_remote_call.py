"""One call of the host side: the command line, the shipment, the reply, and what went wrong in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import interpreters
from jobmgr.errors import ConnectionLost, IdleTimeout, JobmgrError, NotFoundError, RefusedError, RemoteError
from jobmgr.transport import remote_call
from jobmgr.transport.archive import archive_name
from jobmgr.transport.base import Completed, Hold, OnChunk
from jobmgr.transport.local import Local
from jobmgr.transport.remote_call import RemoteSettings, call
from jobmgr_remote import wire
from needs import need

RUN = wire.Run("$HOME/jobmgr-run", "s", str(uuid.uuid4()), "controller", 1, "ada@lap")


class Counting:
    """A transport that counts its calls and may answer by itself."""

    name = "counting"

    def __init__(self, inner: Local | None = None, answer: Callable[[OnChunk], int] | None = None) -> None:
        self.inner = inner
        self.answer = answer
        self.commands: list[str] = []
        self.host = "wizard"

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def rsync_shell(self) -> list[str] | None:
        return None

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        self.commands.append(command)
        assert on_chunk
        if self.answer:
            return Completed(self.answer(on_chunk), b"", b"the end of stderr\n")
        assert self.inner
        return self.inner.run(command, stdin, hold, idle_timeout, on_chunk)


def poll(transport: Any, remote: RemoteSettings | None = None, **more: Any) -> remote_call.Reply:
    return call(transport, wire.JOBS_POLL, RUN, {}, [], remote=remote, **more)


def test_the_first_call_ships_the_host_side_and_the_next_is_one_call(tmp_path: Path) -> None:
    transport = Counting(Local(home=str(tmp_path)))
    first = poll(transport)
    assert first.shipped
    assert first.hello
    assert len(transport.commands) == 3
    second = poll(transport)
    assert not second.shipped
    assert len(transport.commands) == 4
    assert os.listdir(tmp_path / ".jobmgr" / "remote") == [archive_name()]


def test_a_platforms_own_python_is_used(tmp_path: Path) -> None:
    oldest = interpreters.oldest_and_newest()[0]
    reply = poll(Local(home=str(tmp_path)), RemoteSettings(python=oldest))
    assert reply.hello
    version = subprocess.run([oldest, "-V"], stdout=subprocess.PIPE, check=True).stdout.split()[1].decode()
    assert reply.hello.python == version


def test_a_host_without_python_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        RemoteError, match=r"localhost has no Python 3.6 or newer; .*python: in platforms.yaml"
    ):
        poll(Local(home=str(tmp_path)), RemoteSettings(python="/nowhere/python3"))
    assert not list((tmp_path / ".jobmgr" / "remote").iterdir())


def test_a_python_that_is_too_old_says_which_it_is(tmp_path: Path) -> None:
    python = interpreters.find("2.7")
    need(python, "Python 2.7 is not installed")
    with pytest.raises(RemoteError, match=r"is Python 2\.7; 3\.6 or newer is needed"):
        poll(Local(home=str(tmp_path)), RemoteSettings(python=str(python)))


@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "tcsh", "csh", "fish", "zsh"])
def test_every_login_shell_takes_the_command_line(tmp_path: Path, shell: str, login: bool) -> None:
    path = shutil.which(shell)
    need(path, f"{shell} is not installed")
    settings = RemoteSettings(use_login_shell=login)
    archive = remote_call.host_archive()
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    def run(command: str, data: bytes) -> bytes:
        return subprocess.run(
            [str(path), "-c", command], input=data, stdout=subprocess.PIPE, env=env, check=True
        ).stdout

    request = wire.encode_request(wire.JOBS_POLL, RUN, {}, [])
    assert wire.NOT_INSTALLED.encode() in run(remote_call.verb_command(wire.JOBS_POLL, settings), request)
    assert b"installed" in run(remote_call.install_command(archive.name, settings), archive.data)
    reader = wire.ReplyReader(wire.JOBS_POLL)
    reader.feed(run(remote_call.verb_command(wire.JOBS_POLL, settings), request))
    assert reader.ended


def test_a_profile_may_chatter_read_and_change_things(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text(
        "echo welcome; printf 'no newline: '; cat; export MODULES=loaded\n"
    )
    transport = Local(home=str(tmp_path))
    reply = poll(transport, RemoteSettings(use_login_shell=True))
    assert reply.hello
    assert "welcome" in reply.noise
    assert not reply.truncated


def test_a_profile_that_ends_the_shell_is_shown(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text("echo This account is disabled; exit 9\n")
    with pytest.raises(RemoteError, match=r"no answer \(exit code 9\); it said: This account is disabled"):
        poll(Local(home=str(tmp_path)), RemoteSettings(use_login_shell=True))


def test_a_remote_command_is_used_as_it_is_and_never_receives_code() -> None:
    def not_installed(on_chunk: OnChunk) -> int:
        on_chunk(wire.NOT_INSTALLED.encode() + b"\n")
        return 0

    transport = Counting(answer=not_installed)
    with pytest.raises(RemoteError, match="is sent no code"):
        poll(transport, RemoteSettings(remote_command="/opt/bin/jobmgr-remote"))
    assert transport.commands == ["/opt/bin/jobmgr-remote jobs-poll"]


def test_the_command_line_is_one_line_that_no_shell_changes() -> None:
    for login in (False, True):
        for settings in (
            RemoteSettings(use_login_shell=login),
            RemoteSettings("/opt/my python/bin/python3", login),
        ):
            for command in (
                remote_call.verb_command("jobs-poll", settings),
                remote_call.install_command("n", settings),
            ):
                assert not set("\n!\\") & set(command)


@given(st.text(max_size=20))
def test_no_python_key_escapes_its_quotes(text: str) -> None:
    try:
        command = remote_call.verb_command("jobs-poll", RemoteSettings(python=text or "python3"))
    except RemoteError:
        return
    assert command.count("'") == 2
    assert "$(" not in text
    assert "`" not in text


HELLO = wire.encode_reply(wire.HELLO, wire.Hello(1, "1.0.0", 1.0, "b:1:2", "h", "ada", "/r", "ok", "3.6.0"))
ANSWER = wire.Submitted("1/t/01", "t", wire.R_SUBMITTED, "", "", "T")


def says(*chunks: bytes, code: int = 0, error: JobmgrError | None = None) -> Counting:
    def answer(on_chunk: OnChunk) -> int:
        for chunk in chunks:
            on_chunk(chunk)
        if error:
            raise error
        return code

    return Counting(answer=answer)


def submit(transport: Counting, **more: Any) -> remote_call.Reply:
    return call(transport, wire.JOBS_SUBMIT, RUN, {}, [], **more)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (wire.E_TAKEN_OVER, RefusedError, "wizard: the run was"),
        (wire.E_FOREIGN, RefusedError, "choose another --name"),
        (wire.E_ACTIVE, RefusedError, "wizard: why"),
        (wire.E_POLICY, RefusedError, "wizard: why"),
        (wire.E_NOT_FOUND, NotFoundError, "wizard: why"),
        (wire.E_TOO_OLD, RemoteError, "has no Python"),
        (wire.E_VERSION, RemoteError, "wizard: why"),
        (wire.E_HOST, RemoteError, "wizard: why"),
        (wire.E_BUG, RemoteError, "a bug in the host side: why (the end of stderr)"),
        ("something-new", RemoteError, "wizard: why"),
    ],
)
def test_a_refusal_is_an_error_of_its_kind(code: str, kind: type[JobmgrError], words: str) -> None:
    with pytest.raises(JobmgrError) as caught:
        submit(
            says(
                HELLO, wire.encode_reply(wire.ERROR, wire.Error(code, "why")), wire.encode_reply(wire.END, 0)
            )
        )
    assert type(caught.value) is kind
    assert words in str(caught.value)


def test_answers_that_arrived_count_whatever_came_after() -> None:
    job = wire.encode_reply(wire.JOB, ANSWER)
    bug = wire.encode_reply(wire.ERROR, wire.Error(wire.E_BUG, "why"))
    for transport in (
        says(HELLO, job),
        says(HELLO, job, bug, wire.encode_reply(wire.END, 1)),
        says(HELLO, job, error=ConnectionLost("gone")),
        says(HELLO, job, error=IdleTimeout("silent")),
    ):
        reply = submit(transport)
        assert reply.records == [(wire.JOB, ANSWER)]
        assert reply.truncated
        assert reply.failure


@pytest.mark.parametrize("error", [ConnectionLost("gone"), IdleTimeout("silent")])
def test_a_call_that_broke_before_any_answer_says_so(error: JobmgrError) -> None:
    with pytest.raises(type(error)):
        submit(says(HELLO, error=error))


def test_records_are_handed_on_as_they_come_behind_a_banner() -> None:
    got: list[str] = []
    chunks = [b"Welcome! " + HELLO, wire.encode_reply(wire.BEAT, 1), wire.encode_reply(wire.JOB, ANSWER)]
    reply = submit(says(*chunks, wire.encode_reply(wire.END, 1)), on_record=lambda kind, _: got.append(kind))
    assert got == [wire.HELLO, wire.BEAT, wire.JOB, wire.END]
    assert reply.hello
    assert not reply.truncated


def test_an_answer_of_something_else_is_shown() -> None:
    with pytest.raises(RemoteError, match=r"exit code 1\); it said: ssh: not today"):
        submit(says(b"\x1b]0;ssh: not today\n".replace(b"\x1b]0;", b""), code=1))
    with pytest.raises(RemoteError, match="it said: the end of stderr"):
        submit(says(code=1))


def test_control_characters_of_a_host_are_not_passed_on() -> None:
    assert remote_call.last_lines("a\x1b[31mb\n\n  c \x07") == "a?[31mb / c ?"


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".jobmgr").write_text("in the way")
    with pytest.raises(RemoteError, match=r"could not be installed .*\.jobmgr"):
        poll(Local(home=str(tmp_path)))

"""Processes: identity, signals, commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_side import await_that
from jobmgr_remote import proc


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"], env={"JOBMGR_TOKEN": "tok", "A": "b"})
    yield process
    process.kill()
    process.wait()


def test_a_name_with_blanks_and_parentheses_does_not_mislead() -> None:
    raw = b"12 (a) R 1 (b) S 3 4 5 0 -1 " + b" ".join(b"%d" % n for n in range(9, 60))
    found = proc.parse_stat(raw, 0)
    assert found == proc.Process(12, 3, 4, 5, "22", "S", 0)


@given(st.binary(max_size=300))
def test_no_stat_line_crashes(raw: bytes) -> None:
    try:
        proc.parse_stat(raw, 0)
    except ValueError:
        pytest.fail("not a process, and said so by an exception")


def test_a_process_is_itself_only_with_its_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    found = proc.look(sleeper.pid)
    assert found
    assert proc.is_alive(sleeper.pid, found.start)
    assert not proc.is_alive(sleeper.pid, str(int(found.start) - 1))
    assert found.ppid == os.getpid()


def test_a_zombie_does_not_live() -> None:
    process = subprocess.Popen(["true"])
    await_that(lambda: proc.look(process.pid).state == "Z")  # type: ignore[union-attr]
    zombie = proc.look(process.pid)
    assert zombie
    assert not proc.is_alive(process.pid, zombie.start)
    process.wait()
    assert proc.look(process.pid) is None


def test_the_token_of_the_environment_proves_a_job_where_start_times_are_shifted(
    sleeper: subprocess.Popen[bytes],
) -> None:
    await_that(lambda: proc.variable(proc.environment(sleeper.pid), "JOBMGR_TOKEN"))
    assert proc.is_job_process(sleeper.pid, "1", "tok")
    assert not proc.is_job_process(sleeper.pid, "1", "other")
    assert not proc.is_job_process(sleeper.pid, "1", "")
    assert not proc.is_job_process(0, "1", "tok")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"A=1\0B=2\0", "1"),
        (b"B=2\0A=1\0", "1"),
        (b"B=2\0A=1", "1"),
        (b"BA=1\0", ""),
        (b"B=A=1\0", ""),
        (b"", ""),
        (None, ""),
    ],
)
def test_a_variable_is_found_by_its_whole_name(data: bytes | None, value: str) -> None:
    assert proc.variable(data, "A") == value


def test_a_signal_reaches_that_very_process_only(sleeper: subprocess.Popen[bytes]) -> None:
    found = proc.look(sleeper.pid)
    assert found
    assert proc.send(found._replace(start="1"), signal.SIGKILL) == ""
    assert proc.is_alive(found.pid, found.start)
    assert proc.send(found, signal.SIGKILL) == ""
    assert sleeper.wait(20) == -signal.SIGKILL
    assert proc.send(found, signal.SIGKILL) == ""


def test_without_pidfds_the_same_holds(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    found = proc.look(sleeper.pid)
    assert found
    assert proc.send(found._replace(start="1"), signal.SIGKILL) == ""
    assert proc.send(found, signal.SIGTERM) == ""
    assert sleeper.wait(20) == -signal.SIGTERM


def test_a_process_that_may_not_be_signalled_is_named(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(os, "kill", refused)
    found = proc.look(sleeper.pid)
    assert found
    assert proc.send(found, signal.SIGTERM) == f"Operation not permitted (pid {found.pid})"


def test_instances_compare_part_by_part_and_the_unseen_fits_anything() -> None:
    mine = proc.instance()
    assert mine.count(":") == 2
    assert proc.same_instance(mine, mine)
    assert proc.same_instance("", mine)
    assert proc.same_instance("b:1:-", "b:1:22")
    assert not proc.same_instance("b:1:2", "b:1:3")
    assert not proc.same_instance("b:1:2", "c:1:2")


def test_a_command_is_run_with_scrubbed_environment_and_english_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOBMGR_TOKEN", "t")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    done = proc.run(["sh", "-c", "env; echo oops >&2; exit 3"], 20, env=(("EXTRA", "1"),))
    assert done.code == 3
    assert "JOBMGR_TOKEN" not in done.out
    assert "LC_ALL=C\n" in done.out
    assert "EXTRA=1\n" in done.out
    assert done.err == "oops\n"


def test_a_command_reads_the_file_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"text\xff")
    assert proc.run(["cat"], 20, str(tmp_path / "in")).out == "text\ufffd"


def test_a_command_that_is_not_there_could_not_start() -> None:
    done = proc.run(["/nowhere/sbatch"], 20)
    assert done == proc.Done(None, "", "could not start /nowhere/sbatch: No such file or directory")


def test_a_command_that_takes_too_long_is_ended_with_its_children() -> None:
    script = "import subprocess,sys; p=subprocess.Popen(['sleep','1234']); print(p.pid, flush=True); p.wait()"
    before = time.monotonic()
    done = proc.run([sys.executable, "-c", script], 1.0)
    assert done.code is None
    assert done.err.startswith("timed out after 1 s")
    assert time.monotonic() - before < 20
    children = [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_sleep_1234(pid)]
    assert children == []


def _is_sleep_1234(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001234\0"
    except OSError:
        return False


def test_a_program_is_found_on_path_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "bash"
    mine.write_text("")
    monkeypatch.setenv("PATH", f"relative:{tmp_path}")
    assert proc.find_program("bash") != str(mine)
    mine.chmod(0o755)
    assert proc.find_program("bash") == str(mine)
    assert proc.find_program("no-such-program") == ""


def test_of_a_host_without_proc_nothing_is_known_and_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither /proc nor what it tells: as under a hidepid that hides even the own entries."""

    def hidden(path: str, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", hidden)
        patch.setattr(os, "stat", hidden)
        patch.setattr("builtins.open", hidden)
        instance, seen, mine = proc.instance(), proc.can_see(), proc.own()
        environment = proc.environment(os.getpid())
        alive = proc.is_alive(os.getpid(), mine.start)
    assert instance == "-:-:-"
    assert not seen
    assert (mine.pid, mine.ppid, mine.start) == (os.getpid(), os.getppid(), proc.UNKNOWN)
    assert environment is None
    assert not alive
    assert proc.same_instance(instance, proc.instance())


def test_a_process_that_ends_while_it_is_looked_at_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise ProcessLookupError(3, "No such process")

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", gone)
        found, environment = proc.look(os.getpid()), proc.environment(os.getpid())
    assert found is None
    assert environment is None


def test_an_environment_of_many_pages_is_read_to_its_end() -> None:
    value = "x" * 100000
    env = {"A": value, "B": value, "JOBMGR_TOKEN": "tok"}
    size = sum(len(name) + len(text) + 2 for name, text in env.items())
    env["PAD"] = "p" * (-(size + len("PAD=") + 1) % 4096)  # whole pages: its end shows only at a second look
    process = subprocess.Popen(["sleep", "1000"], env=env)
    try:
        await_that(lambda: proc.variable(proc.environment(process.pid), "PAD"))
        data = proc.environment(process.pid)
        assert data
        assert proc.variable(data, "JOBMGR_TOKEN") == "tok"
        assert proc.variable(data, "B") == value
        assert proc.variable(data, "PAD") == env["PAD"]
    finally:
        process.kill()
        process.wait()


def test_a_signal_works_where_the_kernel_has_no_pidfds(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing, raising=False)
    found = proc.look(sleeper.pid)
    assert found
    assert proc.send(found, signal.SIGTERM) == ""
    assert sleeper.wait(20) == -signal.SIGTERM


def test_a_process_that_ends_just_before_the_signal_needs_none(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ProcessLookupError(3, "No such process")

    found = proc.look(sleeper.pid)
    assert found
    monkeypatch.setattr(os, "pidfd_open", gone, raising=False)
    assert proc.send(found, signal.SIGTERM) == ""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(os, "kill", gone)
    assert proc.send(found, signal.SIGTERM) == ""


def test_a_command_that_ignores_the_first_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "TERM_TO_KILL", 0.3)
    done = proc.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], 0.5)
    assert done == proc.Done(None, "", "timed out after 0.5 s: sh")


def test_a_command_that_says_that_it_only_waits_is_ended_and_what_it_said_is_kept() -> None:
    began = time.monotonic()
    done = proc.run(["sh", "-c", "echo 7; echo full, waiting >&2; sleep 1000; echo 8"], 60, until="full,")
    assert done == proc.Done(-signal.SIGTERM, "7\n", "full, waiting\n")
    assert time.monotonic() - began < 30


def test_a_command_that_does_not_say_so_comes_to_its_own_end() -> None:
    done = proc.run(["sh", "-c", "echo 7; echo no >&2; exit 3"], 60, until="full,")
    assert done == proc.Done(3, "7\n", "no\n")


@pytest.mark.parametrize("text", ["sleep 1000", "exec >&- 2>&-; sleep 1000"])
def test_a_command_that_says_nothing_is_ended_in_time(text: str) -> None:
    assert proc.run(["sh", "-c", text], 0.5, until="full,") == proc.Done(None, "", "timed out after 0.5 s: sh")


def test_what_a_command_said_before_its_time_was_over_is_kept() -> None:
    argv = ["env", "-u", "X", "-u", "Y", "sh", "-c", "echo no munge >&2; exec sleep 60"]
    assert proc.run(argv, 0.5) == proc.Done(None, "", "timed out after 0.5 s: sh\nno munge")

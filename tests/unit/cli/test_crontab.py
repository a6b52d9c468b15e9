from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.cli import bounded_log, crontab
from jobmgr.cli.main import main
from jobmgr.errors import RefusedError
from needs import need

MARK = crontab.mark("/home/ada/jobmgr-run")
OURS = crontab.line(5, ["/opt/bin/jobmgr", "tick", "--all"], MARK)
FOREIGN = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=6).map(
    b"\n".join
)


def test_the_line_has_absolute_words_quoted_for_sh_and_cron() -> None:
    line = crontab.line(1, ["/o p/jobmgr", "100%"], crontab.mark("/r%"))
    assert line == r"* * * * * '/o p/jobmgr' '100\%' # jobmgr tick: /r\%".replace("'100", "100").replace(
        "\\%' ", "\\% "
    )


def test_a_path_with_a_newline_is_refused() -> None:
    with pytest.raises(RefusedError, match="newline"):
        crontab.line(5, ["/a\nb"], MARK)


@given(FOREIGN)
def test_foreign_lines_keep_every_byte(foreign: bytes) -> None:
    with_ours = crontab.with_line(foreign, MARK, OURS)
    assert crontab.find(with_ours, MARK) == OURS
    without = crontab.with_line(with_ours, MARK, None)
    assert without in (foreign, foreign + b"\n")
    other = crontab.line(15, ["/x"], MARK)
    replaced = crontab.with_line(with_ours, MARK, other)
    assert crontab.with_line(replaced, MARK, None) == without


def test_a_second_install_replaces_and_keeps_the_place() -> None:
    table = b"# mine\n" + os.fsencode(OURS) + b"\n0 1 * * * other\n"
    new = crontab.line(15, ["/x"], MARK)
    assert crontab.with_line(table, MARK, new) == b"# mine\n" + os.fsencode(new) + b"\n0 1 * * * other\n"


def test_lines_of_other_run_roots_and_comments_are_foreign() -> None:
    other = os.fsencode(crontab.line(5, ["/x"], crontab.mark("/other")))
    commented = b"#" + os.fsencode(OURS)
    table = other + b"\n" + commented + b"\n"
    assert crontab.find(table, MARK) is None
    assert crontab.with_line(table, MARK, None) == table


@pytest.fixture
def user() -> Iterator[str]:
    """A throw-away user with a crontab of its own."""
    need(os.geteuid() == 0, "needs root, to make a user with a crontab of its own")
    need(shutil.which("crontab"), "crontab is not installed")
    need(shutil.which("useradd"), "useradd is not installed")
    name = f"jm{os.getpid()}"
    subprocess.run(["useradd", "-m", name], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["crontab", "-u", name, "-r"], check=False, capture_output=True)
        subprocess.run(["userdel", "-r", name], check=False, capture_output=True)


def _as(user: str, *words: str, table: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["runuser", "-u", user, "--", *words], input=table, capture_output=True, check=False, cwd="/"
    )


def _cron_as(user: str, folder: Path, *words: str) -> tuple[int, bytes]:
    """``jobmgr cron`` in a child that becomes the user (who need not be able to read this Python's files)."""
    import jobmgr.api  # loaded while its files can be read
    import jobmgr.cli.commands.cron
    import jobmgr.views.jsonlines  # noqa: F401

    entry = pwd.getpwnam(user)
    answer = folder / "answer"
    child = os.fork()
    if not child:
        code = 99
        try:
            out = os.open(answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.initgroups(user, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            os.chdir("/")
            os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)
            sys.stdout = os.fdopen(1, "w")
            sys.stderr = os.fdopen(2, "w")
            code = main(["cron", *words, "--run-root", f"{entry.pw_dir}/my runs"])
            sys.stdout.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answer.read_bytes()


@pytest.mark.privileged
def test_install_show_and_remove_with_the_real_crontab(user: str, tmp_path: Path) -> None:
    foreign = b"# kept as it is\t \nMAILTO=ada\n5 4 * * * echo 100\\% \xff\n"
    assert _as(user, "crontab", "-", table=foreign).returncode == 0

    code, said = _cron_as(user, tmp_path, "install", "--every", "7")
    assert code == 0, said
    table = _as(user, "crontab", "-l").stdout
    assert table.startswith(foreign)
    (line,) = table[len(foreign) :].decode().splitlines()
    assert line.startswith("*/7 * * * * /")
    assert "/my runs' tick --all --log" in line
    assert line in _cron_as(user, tmp_path, "show")[1].decode()

    assert _cron_as(user, tmp_path, "install")[0] == 0
    assert _as(user, "crontab", "-l").stdout.count(b"tick --all") == 1

    assert _cron_as(user, tmp_path, "remove")[0] == 0
    assert _as(user, "crontab", "-l").stdout == foreign
    assert b"there was no line" in _cron_as(user, tmp_path, "remove")[1]


@pytest.mark.privileged
def test_a_crontab_that_only_held_our_line_is_gone_afterwards(user: str, tmp_path: Path) -> None:
    assert _cron_as(user, tmp_path, "install")[0] == 0
    assert _cron_as(user, tmp_path, "remove")[0] == 0
    done = _as(user, "crontab", "-l")
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_log_keeps_its_newer_half_from_the_start_of_a_line(tmp_path: Path) -> None:
    log = tmp_path / "cron.log"
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    bounded_log.shorten(log, 10**6)
    assert log.read_text().startswith("line 0\n")
    bounded_log.shorten(log, 1000)
    kept = log.read_text().splitlines()
    assert len(log.read_text()) <= 500
    assert kept[-1] == "line 999"
    assert kept[0].startswith("line ")
    assert [path.name for path in tmp_path.iterdir()] == ["cron.log"]


def test_a_log_that_is_not_there_needs_no_shortening(tmp_path: Path) -> None:
    bounded_log.shorten(tmp_path / "none")

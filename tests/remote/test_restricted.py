"""What a forced command makes of what a caller asks for."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_side import PACKAGE, Answer, Host, host_in
from jobmgr.transport.archive import archive_name, host_archive
from jobmgr.transport.remote_call import RemoteSettings, install_command, verb_command
from jobmgr_remote import restricted, session, wire

LOOK = restricted.Limits(("",), True, False, "jobmgr-remote")
FULL = restricted.Limits(("",), False, False, "jobmgr-remote")
CHANGING = [verb for verb in wire.VERBS if verb not in restricted.LOOKING]


# --- the forms of a controller -------------------------------------------------------------------------


@pytest.mark.parametrize("verb", wire.VERBS)
@pytest.mark.parametrize(
    "settings",
    [
        RemoteSettings(),
        RemoteSettings(python="/opt/py/bin/python3"),
        RemoteSettings(python="$HOME/py/bin/python3"),
        RemoteSettings(use_login_shell=True),
        RemoteSettings(remote_command="jobmgr-remote"),
    ],
)
def test_every_command_line_of_the_controller_is_understood(verb: str, settings: RemoteSettings) -> None:
    asked = restricted.understand(verb_command(verb, settings))
    assert (asked.kind, asked.verb, asked.login) == ("verb", verb, settings.use_login_shell)
    assert asked.name == ("" if settings.remote_command else archive_name())


@pytest.mark.parametrize("login", [False, True])
def test_a_shipment_is_understood_and_refused(login: bool) -> None:
    asked = restricted.understand(
        install_command("jobmgr-remote-1.0.0-0123456789ab", RemoteSettings(use_login_shell=login))
    )
    assert (asked.kind, asked.name) == ("install", "jobmgr-remote-1.0.0-0123456789ab")
    for limits in (LOOK, FULL):
        with pytest.raises(restricted.Forbidden, match="takes no code"):
            restricted.allow(asked, limits)
    restricted.allow(asked, FULL._replace(allow_install=True))


def test_a_platform_may_call_its_host_side_by_another_name() -> None:
    words = ["--called", "$HOME/opt/jm -x"]
    called = restricted.parse_options(words).called
    assert restricted.understand("$HOME/opt/jm -x cat-log", called).verb == "cat-log"
    with pytest.raises(restricted.Forbidden):
        restricted.understand("$HOME/opt/jm -y cat-log", called)


@pytest.mark.parametrize("verb", CHANGING)
def test_a_key_that_may_only_look_changes_nothing(verb: str) -> None:
    asked = restricted.Asked("verb", verb)
    restricted.allow(asked, FULL)
    with pytest.raises(restricted.Forbidden, match="may only look"):
        restricted.allow(asked, LOOK)


SHIPPED = verb_command("jobs-poll", RemoteSettings())


@pytest.mark.parametrize(
    "command",
    [
        "",
        "id",
        "/bin/bash",
        "internal-sftp",
        "/usr/lib/openssh/sftp-server",
        "scp -t /tmp",
        "git-upload-pack x",
        "jobmgr-remote",
        "jobmgr-remote install",
        "jobmgr-remote restricted",
        "jobmgr-remote jobs-poll; id",
        "jobmgr-remote jobs-poll\nid",
        "jobmgr-remote jobs-poll && id",
        "jobmgr-remote jobs-poll $(id)",
        "jobmgr-remote  jobs-poll",
        " jobmgr-remote jobs-poll",
        "jobmgr-remote ../../../bin/sh",
        "/tmp/jobmgr-remote jobs-poll",
        "env X=1 jobmgr-remote jobs-poll",
        SHIPPED + "; id",
        SHIPPED + "\n",
        "id; " + SHIPPED,
        SHIPPED.replace("jobs-poll", "jobs-poll' id '"),
        SHIPPED.replace("'", '"'),
        SHIPPED.replace("/bin/sh", "/bin/bash"),
        SHIPPED.replace(".jobmgr/remote/", "../../tmp/"),
        "/bin/sh -c 'id' jobmgr-remote jobs-poll",
        "rsync --daemon",
        "rsync --server --daemon .",
        "rsync --server . /etc/passwd",
        "rsync --server --sender -logDtpre.iLsfxC . /etc/",
        "rsync --server --sender -strRLe.iLsfxCIvu",
        "rsync --server --sender -strkRe.iLsfxCIvu",
        "rsync --server --sender -strRe.iLsfxCIvu . /etc",
        "rsync --server --sender -strR --rsh=id",
        "rsync --server -strR -e id",
        "rsync --server --sender --log-file=/tmp/x -strR",
        "rsync --server --config=/tmp/x -strR",
        "rsync --server --sender -strRe.iLsfxCIvu; id",
        "rsync  --server --sender -strR",
        "/tmp/rsync --server --sender -strR",
        "echo x; exec rsync --server --sender -strR",
        "echo jobmgr-rsync-begins; exec rsync --server --sender -strR; id",
    ],
)
def test_all_else_is_refused(command: str) -> None:
    with pytest.raises(restricted.Forbidden):
        restricted.allow(restricted.understand(command), FULL)


@given(st.text(string.printable, max_size=60))
def test_no_text_is_taken_for_a_command_by_accident(text: str) -> None:
    with pytest.raises(restricted.Forbidden):
        restricted.understand(text)


@pytest.mark.parametrize(
    "words", [["--poll-only", "--allow-install"], ["--x"], ["--run-root"], ["jobs-poll"]]
)
def test_a_line_that_does_not_fit_is_an_error(words: list[str]) -> None:
    with pytest.raises(ValueError):
        restricted.parse_options(words)


def test_variables_by_which_programs_are_changed_do_not_get_through() -> None:
    bad = [
        "LD_PRELOAD",
        "PYTHONPATH",
        "RSYNC_RSH",
        "BASH_ENV",
        "ENV",
        "JOBMGR_LOGIN",
        "BASH_FUNC_rsync%%",
        "IFS",
    ]
    environ = dict.fromkeys([*bad, "PATH", "HOME", "LANG", "ENVIRONMENT"], "x")
    restricted.clean(environ)  # type: ignore[arg-type]
    assert set(environ) == {"PATH", "HOME", "LANG", "ENVIRONMENT"}


# --- rsync -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        "--rsync-path=x", "-e", "--rsh=x", "--log-file=/x", "--partial-dir=/x", "--temp-dir=/x", "--copy-links",
        "-L", "-k", "--copy-dirlinks", "--keep-dirlinks", "--daemon", "--config=/x", "--files-from=/etc/passwd",
        "--backup-dir=/x", "--link-dest=/x", "--compare-dest=/x", "--copy-dest=/x", "--write-devices",
        "--remove-source-files", "--delete", "--no-implied-dirs", "--copy-unsafe-links", "--timeout=x",
        "--password-file=/x", "--read-batch=/x", "--exclude-from=/x", "--filter=. /x", "--inplace", "-s",
    ],
)  # fmt: skip
@pytest.mark.parametrize("sender", [True, False])
def test_options_of_rsync_that_reach_other_files_are_refused(option: str, sender: bool) -> None:
    with pytest.raises(restricted.Forbidden):
        restricted.check_options([option], sender)


def test_a_list_of_names_is_refused_with_the_word_that_the_controller_knows() -> None:
    with pytest.raises(restricted.Forbidden, match=wire.RSYNC_NAMES):
        restricted.check_options(["--timeout=120", "--from0", "--files-from=-"], sender=True)


def arguments(data: bytes) -> tuple[list[str], bytes]:
    """What is read of a stream, and what is left of it."""
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    with open(read, "rb", 0) as stream:
        words = restricted.read_arguments(stream.fileno())
        return words, stream.read()


def test_arguments_are_read_and_not_one_byte_more() -> None:
    words, rest = arguments(b"rsync\0--timeout=9\0.\0/a b/\xff\0\0\x20\0\0\0rest")
    assert words == ["rsync", "--timeout=9", ".", os.fsdecode(b"/a b/\xff")]
    assert rest == b"\x20\0\0\0rest"
    assert restricted.split_arguments(words) == (["--timeout=9"], [words[-1]])


@pytest.mark.parametrize("data", [b"", b"rsync\0.\0", b"x" * (restricted.MAX_ARGUMENTS + 2)])
def test_arguments_that_do_not_end_are_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "stdin"
    file.write_bytes(data)
    with file.open("rb", 0) as stream, pytest.raises(restricted.Forbidden):
        restricted.read_arguments(stream.fileno())


@pytest.mark.parametrize("words", [[], ["rsync"], ["sh", ".", "/x"], ["rsync", "--x", "/a"]])
def test_arguments_of_another_shape_are_refused(words: list[str]) -> None:
    with pytest.raises(restricted.Forbidden):
        restricted.split_arguments(words)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "jobmgr-run"
    (made / "s/.service").mkdir(parents=True)
    (made / "s/log/job").mkdir(parents=True)
    (made / "s/log/job/out").write_text("x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    return made


def may(path: Path | str, root: Path) -> bool:
    return restricted.may_touch(str(path), [str(root)], True)


def test_paths_inside_the_run_root_are_allowed(root: Path) -> None:
    for path in ("s/", "s", "s/./log/job/out", "s/log/new/file", "s/./a;b $(c) [d]", "s/./-x", "s/././log"):
        assert may(f"{root}/{path}", root)


def test_paths_that_lead_out_are_not(root: Path) -> None:
    for path in ("/etc/passwd", "s/log", f"{root}", f"{root}/", f"{root}/.", f"{root}x/s", f"{root}/../outside/secret",
                 f"{root}/s/../../outside/secret", f"{root}/./../outside", "", "~/x", f"{root}/s/a\nb"):  # fmt: skip
        assert not may(path, root)


def test_links_are_not_followed(root: Path) -> None:
    (root / "s/out").symlink_to(root.parent / "outside")
    (root / "s/file").symlink_to(root.parent / "outside/secret")
    (root / "s/inside").symlink_to("log")
    (root / "t").symlink_to(root.parent / "outside")
    for path in ("s/out/secret", "s/out", "s/out/", "s/out/./secret", "s/./out/secret", "s/file", "s/inside/job",
                 "t", "t/secret"):  # fmt: skip
        assert not may(f"{root}/{path}", root)


def test_links_that_remote_init_has_made_are(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "scratch/jobmgr-run/s/work"
    target.mkdir(parents=True)
    (root / "s/work").symlink_to(target)
    assert not may(f"{root}/s/work/1/t/out", root)
    (root / "s/.service/links").write_text(json.dumps(["work", str(target)]) + "\n")
    assert may(f"{root}/s/./work/1/t/out", root)
    (target / "deeper").symlink_to(tmp_path / "outside")
    assert not may(f"{root}/s/./work/deeper/secret", root)


def test_a_run_root_that_is_a_link_itself_counts_by_both_names(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "link"
    other.symlink_to(root)
    assert restricted.may_touch(f"{other}/s/log", [str(other)], True)
    assert restricted.may_touch(f"{root}/s/log", [str(other)], True)


# --- the log, and the requests --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_log_is_bounded_and_no_caller_can_forge_a_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restricted, "MAX_LOG", 2000)
    for _ in range(20):
        restricted.log("allowed", "x\n2026-01-01T00:00:00Z allowed \x1b[2J" + "y" * 1000)
    rows = (home / restricted.LOG).read_text().splitlines()
    assert all(" allowed - x\\n2026" in row and "\x1b" not in row for row in rows)
    files = sorted((home / ".jobmgr").iterdir())
    assert [file.name for file in files] == ["restricted.log", "restricted.log.1"]
    assert sum(file.stat().st_size for file in files) < 5000
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def forced(host: Host, command: str, stdin: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    """What sshd does for a bound key."""
    return subprocess.run(
        [host.python, "-I", "-S", str(PACKAGE), "restricted", *words],
        input=stdin,
        capture_output=True,
        env={**host.env, "SSH_ORIGINAL_COMMAND": command},
        timeout=100,
    )


def call(host: Host, verb: str, *words: str, run: wire.Run | None = None, **more: object) -> Answer:
    """A call through the forced command; ``items`` and options as of ``Host.request``."""
    items = more.pop("items", ())
    request = host.request(verb, items, run, **more)  # type: ignore[arg-type]
    done = forced(host, f"jobmgr-remote {verb}", request, *words)
    return Answer(verb, done.returncode, done.stdout, done.stderr)


def test_another_run_root_is_refused(tmp_path: Path) -> None:
    with host_in(tmp_path / "home") as host:
        assert call(host, wire.JOBS_POLL).error is None
        for words, asked in (((), "/tmp"), (("--run-root", "$HOME/other"), host.run.root)):
            answer = call(host, wire.JOBS_POLL, *words, run=host.run._replace(root=asked))
            assert answer.error
            assert answer.error.code == wire.E_POLICY
            assert "restricted to the run root" in answer.error.text
        assert (
            call(host, wire.JOBS_POLL, "--run-root", "$HOME/x", "--run-root", "$HOME/jobmgr-run").error
            is None
        )


def test_a_poll_of_a_key_that_may_only_look_revokes_nothing_and_starts_nothing(tmp_path: Path) -> None:
    with host_in(tmp_path / "home") as host:
        job = host.job()
        (evidence,) = call(
            host, wire.JOBS_POLL, "--poll-only", items=[{**job, "revoke": True, "find": True}], max_active=7
        ).jobs
        assert evidence.claim == wire.C_NONE
        assert not (host.run_dir / ".service/jobs").exists()
        assert not (host.home / ".jobmgr/spool").exists()


def test_code_that_travels_with_a_request_is_refused(tmp_path: Path) -> None:
    with host_in(tmp_path / "home") as host:
        for words in ((), ("--poll-only",)):
            answer = call(host, wire.JOBS_POLL, *words, runners={"own": "raise SystemExit"})
            assert answer.error
            assert answer.error.code == wire.E_POLICY


def test_an_id_that_a_queue_command_would_take_for_an_option_is_no_id() -> None:
    item = {"job": "1/t/01", "token": "1493ee1a-b333-456d-88cc-c1f5fa4e7429", "native_id": "-u root"}
    with pytest.raises(ValueError, match="native_id"):
        session.check_item(item)


# --- as sshd starts it ------------------------------------------------------------------------------------

READ, WRITE = "rsync --server --sender -strRe.iLsfxCIvu", "rsync --server -strRpe.iLsfxCIvu"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as made:
        (made.run_dir / "file").write_text("mine")
        (made.run_dir / "out").symlink_to(tmp_path)
        yield made


def sent(*paths: Path | str, options: Sequence[str] = ("--timeout=5",)) -> bytes:
    words = ["rsync", *options, ".", *map(str, paths), "", ""]
    return "\0".join(words).encode()


@pytest.mark.parametrize("command", [READ, WRITE])
def test_rsync_is_started_with_checked_paths(host: Host, command: str) -> None:
    done = forced(host, command, sent(f"{host.run_dir}/"))
    assert int.from_bytes(done.stdout[:4], "little") >= 30  # rsync's own first word: its protocol
    assert f"allowed - {command} {host.run_dir}/" in (host.home / restricted.LOG).read_text()


def test_rsync_behind_a_shell_that_prints_is_marked(host: Host) -> None:
    command = f"echo {wire.RSYNC_BEGINS}; exec {READ}"
    assert forced(host, command, sent(host.run_dir)).stdout.startswith(wire.RSYNC_BEGINS.encode() + b"\n")


def test_one_path_that_leads_out_does_not_stop_the_others(host: Host) -> None:
    done = forced(host, READ, sent(f"{host.run_dir}/./file", f"{host.run_dir}/./out/x"))
    assert done.stdout
    assert f"{host.run_dir}/./out/x is outside the run root, or behind a link".encode() in done.stderr
    assert "refused - rsync: outside the run root" in (host.home / restricted.LOG).read_text()


@pytest.mark.parametrize(
    "command, stdin, words",
    [
        (READ, sent("/etc"), []),
        (READ, sent(), []),
        (READ, b"", []),
        (READ, sent("/etc", options=["--files-from=-"]), []),
        (WRITE, sent("{run}/a", "{run}/b"), []),
        (WRITE, sent("{run}/"), ["--poll-only"]),
        (READ, sent("{run}/"), ["--run-root", "$NOT_SET/x"]),
    ],
)
def test_what_rsync_may_not_do_is_refused(host: Host, command: str, stdin: bytes, words: list[str]) -> None:
    done = forced(host, command, stdin.replace(b"{run}", str(host.run_dir).encode()), *words)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"jobmgr: refused: ")


def test_a_host_without_rsync_says_so_as_a_shell_would(host: Host) -> None:
    host.env["PATH"] = "/nowhere"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(PACKAGE), "restricted"],
        input=sent(f"{host.run_dir}/"),
        capture_output=True,
        env={**host.env, "SSH_ORIGINAL_COMMAND": READ},
    )
    assert (done.returncode, done.stderr) == (127, b"rsync: command not found\n")


def test_a_new_version_is_taken_and_answers_under_the_same_limits(host: Host) -> None:
    archive = host_archive()
    install, poll = (
        install_command(archive.name, RemoteSettings()),
        verb_command("jobs-poll", RemoteSettings()),
    )
    request = host.request(wire.JOBS_POLL)
    assert forced(host, poll, request, "--allow-install").stdout == wire.NOT_INSTALLED.encode() + b"\n"
    assert b"not an archive" in forced(host, install, b"", "--allow-install").stdout
    assert b'"installed"' in forced(host, install, archive.data, "--allow-install").stdout
    done = forced(host, poll, request, "--allow-install")
    assert Answer(wire.JOBS_POLL, done.returncode, done.stdout, done.stderr).error is None
    done = forced(host, poll, request, "--allow-install", "--run-root", "/tmp")
    assert b"restricted to the run root /tmp" in done.stdout


def test_a_login_shell_makes_the_environment(host: Host) -> None:
    (host.home / ".bash_profile").write_text("echo noise; export MARK=from-profile\n")
    command = verb_command("jobs-poll", RemoteSettings(use_login_shell=True))
    done = forced(host, command, host.request(wire.JOBS_POLL), "--poll-only")
    assert done.stdout.startswith(b"noise\n")
    assert Answer(wire.JOBS_POLL, 0, done.stdout, b"").ended


def test_a_line_that_is_wrong_ends_with_the_code_for_usage(host: Host) -> None:
    done = forced(host, "jobmgr-remote scan", b"", "--poll-onyl")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"unknown option '--poll-onyl'" in done.stderr

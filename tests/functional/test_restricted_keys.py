"""Keys that authorized_keys binds to jobmgr: a real sshd, both transports, and attempts to break out."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from host_side import await_that
from jobmgr.api import Run, Session
from jobmgr.core.states import State
from jobmgr.errors import JobmgrError, RsyncError
from jobmgr.transport import rsync
from jobmgr.transport.private_sshd import PrivateSshd
from jobmgr.transport.remote_call import RemoteSettings, install_command, verb_command
from restricted_hosts import install, log, make_plain, restrict, session_at, ssh
from sshd_hosts import MakeSshd, transport_to

SUITE = """\
graph: "make => slow"
tasks:
  make:
    script: |
      mkdir -p out; echo result > "out/a [b].txt"; ln -s /etc/passwd out/link
      jobmgr-message half-way
    outputs: ["out/*"]
    platform: wizard
  slow:
    script: sleep 600
    platform: wizard
"""


def state(run: Run, task: str) -> State | None:
    """A task's state after a look and a turn; None if it has no job yet."""
    run.poll()
    run.tick()
    return next((row.state for row in run.rows() if row.task == task), None)


def suite(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "bin").mkdir()
    (folder / "bin/tool").write_text("#!/bin/sh\n")
    return folder


@pytest.fixture(params=["fabric", "openssh"])
def bound(request: pytest.FixtureRequest, make_sshd: MakeSshd, tmp_path: Path) -> tuple[PrivateSshd, Session]:
    """A host that takes our key for jobmgr only, and the session of a user there."""
    sshd = make_plain(make_sshd)
    install(sshd)
    session = session_at(sshd, tmp_path / "home", transport=request.param)
    restrict(sshd, session.authorized_key("wizard").line)
    return sshd, session


def test_the_whole_product_works_with_a_bound_key(bound: tuple[PrivateSshd, Session], tmp_path: Path) -> None:
    sshd, session = bound
    with session:
        run = session.submit(suite(tmp_path / "sweep"))
        await_that(lambda: state(run, "slow") is State.RUNNING)
        assert run.job("1/make").state is State.SUCCEEDED
        at_home = session.run_root / "sweep/work/1/make/out"
        assert (at_home / "a [b].txt").read_text() == "result\n"
        assert not os.path.lexists(at_home / "link")
        assert b"half-way" in run.job("1/make").log("status")
        assert run.job("1/slow").log("out") == b""
        assert [one.result for one in run.kill()] == ["killed"]
        assert run.job("1/slow").state is State.KILLED
        assert run.retrieve().unreachable == {}
        run.tidy()
        run.clean()
        assert not Path(sshd.home, "jobmgr-run/sweep").exists()
    assert not [row for row in log(sshd).splitlines() if " refused " in row]
    said = log(sshd)
    for word in ("remote-init", "jobs-submit", "jobs-poll", "jobs-kill", "cat-log", "remote-tidy", "rsync"):
        assert f"allowed 127.0.0.1 {word}" in said


def test_a_key_that_may_only_look_looks_and_fetches(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_plain(make_sshd)
    session = session_at(sshd, tmp_path / "home", transport="openssh")
    with session:
        run = session.submit(suite(tmp_path / "sweep"))
        await_that(lambda: state(run, "slow") is State.RUNNING)
        restrict(sshd, session.authorized_key("wizard", poll_only=True).line)
        session.logout("wizard")
    with session_at(sshd, tmp_path / "home", transport="fabric") as bound:
        run = bound.open("sweep")
        assert state(run, "slow") is State.RUNNING
        assert run.retrieve().unreachable == {}
        assert (bound.run_root / "sweep/work/1/make/out/a [b].txt").exists()
        assert b"half-way" in run.job("1/make").log("status")
        before = Path(sshd.home, "jobmgr-run/sweep/.service/journal").read_bytes()
        for act in (run.kill, lambda: bound.run("wizard", ["true"]).why()):
            assert "may only look" in _tried(act)
        assert Path(sshd.home, "jobmgr-run/sweep/.service/journal").read_bytes() == before
        transport = transport_to(sshd, "fabric")
        (tmp_path / "new").write_text("x")
        with pytest.raises(RsyncError, match="may not write"):
            rsync.push(transport, str(tmp_path), f"{sshd.home}/jobmgr-run/sweep", ["new"])
        transport.close()
    assert not Path(sshd.home, "jobmgr-run/sweep/new").exists()


def _tried(act: object) -> str:
    try:
        return str(act())  # type: ignore[operator]
    except JobmgrError as error:
        return str(error)


# --- breaking out ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def caged(make_module_sshd: MakeSshd, tmp_path_factory: pytest.TempPathFactory) -> PrivateSshd:
    """A host with a bound key that may do all that a bound key may, and a secret outside its run root."""
    sshd = make_plain(make_module_sshd, sshd_options={"AcceptEnv": "*", "PermitUserEnvironment": "yes"})
    install(sshd)
    with session_at(sshd, tmp_path_factory.mktemp("home"), transport="openssh") as session:
        restrict(sshd, session.authorized_key("wizard").line)
    run_dir = Path(sshd.home, "jobmgr-run/s")
    (run_dir / ".service").mkdir(parents=True)
    (run_dir / "file").write_text("mine")
    (run_dir / "out").symlink_to(sshd.home)
    Path(sshd.home, "secret").write_text("secret")
    return sshd


COMMANDS = {
    "a shell": "touch $HOME/got-out",
    "no command": "",
    "a separator": "jobmgr-remote jobs-poll; touch $HOME/got-out",
    "a newline": "jobmgr-remote jobs-poll\ntouch $HOME/got-out",
    "a substitution": "jobmgr-remote $(touch $HOME/got-out)",
    "a pipe": "jobmgr-remote jobs-poll | tee $HOME/got-out",
    "another body": '/bin/sh -c \'D="$HOME/.jobmgr/remote/jobmgr-remote-1.0.0-0123456789ab"; '
    'touch "$HOME/got-out"\' jobmgr-remote jobs-poll',
    "rsync's shell": "rsync --server --sender -e 'touch $HOME/got-out' . /",
    "rsync's daemon": "rsync --server --daemon --config=/tmp/x .",
    "rsync's log": "rsync --server --log-file=$HOME/got-out -strR",
    "rsync's path": "touch $HOME/got-out; rsync --server -strR",
    "sftp": "/usr/lib/openssh/sftp-server",
    "scp": "scp -f secret",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_command_gets_out(caged: PrivateSshd, command: str) -> None:
    done = ssh(caged, command, b'{"end":0}\n')
    assert not Path(caged.home, "got-out").exists()
    assert b"secret" not in done.stdout
    assert done.returncode != 0


def test_what_is_refused_is_logged(caged: PrivateSshd) -> None:
    ssh(caged, "cat /etc/shadow")
    assert "refused 127.0.0.1 not a command of jobmgr: cat /etc/shadow" in log(caged)


def test_a_shipment_is_refused(caged: PrivateSshd, tmp_path: Path) -> None:
    done = ssh(caged, install_command("jobmgr-remote-9.9.9-0123456789ab", RemoteSettings()), b"code")
    assert b"takes no code" in done.stdout
    assert not list(Path(caged.home, ".jobmgr/remote").glob("*9.9.9*"))


def test_another_version_that_lies_there_is_not_started(caged: PrivateSshd) -> None:
    name = "jobmgr-remote-0.0.1-0123456789ab"
    other = Path(caged.home, ".jobmgr/remote", name, "jobmgr_remote")
    other.mkdir(parents=True)
    for file in (other / "__main__.py", other.parent / "__main__.py"):
        file.write_text("print('secret')\n")
    command = verb_command("jobs-poll", RemoteSettings())
    ours = command.split("remote/")[1].split('"')[0]
    done = ssh(caged, command.replace(ours, name), b"")
    assert b"secret" not in done.stdout
    assert b"no header line" in done.stdout


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "PYTHONPATH", "RSYNC_RSH", "BASH_ENV", "SSH_ORIGINAL_COMMAND"]
)
def test_no_variable_gets_through(caged: PrivateSshd, name: str, tmp_path: Path) -> None:
    env = {**os.environ, name: "touch $HOME/got-out" if name != "LD_PRELOAD" else "/nowhere.so"}
    done = subprocess.run(
        ["ssh", "-F", caged.ssh_config_path, f"-oSendEnv={name}", "-oBatchMode=yes", caged.name, "id"],
        env={**env, "LD_PRELOAD": ""} if name != "LD_PRELOAD" else env,
        capture_output=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1
    assert not Path(caged.home, "got-out").exists()


def test_no_terminal_no_forwarding_no_subsystem(caged: PrivateSshd) -> None:
    assert b"PTY allocation request failed" in ssh(caged, "", b"", "-tt").stderr
    assert b"not a command of jobmgr" in ssh(caged, "sftp", b"", "-s").stdout
    forward = ssh(caged, "", b"", "-W", f"127.0.0.1:{caged.port}")
    assert forward.returncode != 0
    assert b"SSH-2.0" not in forward.stdout
    remote = ssh(caged, "id", b"", "-R", "0:127.0.0.1:9", "-oExitOnForwardFailure=yes")
    assert remote.returncode == 255


def pulled(sshd: PrivateSshd, folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """rsync by hand, as somebody who has the key would try it."""
    shell = shlex.join(["ssh", "-F", sshd.ssh_config_path, "-oBatchMode=yes"])
    return subprocess.run(
        ["rsync", "-e", shell, *words, f"{folder}/"],
        capture_output=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def test_rsync_reads_inside_the_run_root(caged: PrivateSshd, tmp_path: Path) -> None:
    done = pulled(caged, tmp_path, "-rts", f"wizard:{caged.home}/jobmgr-run/s/file")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "file").read_text() == "mine"


READS = {
    "outside": ["-rts", "wizard:{home}/secret"],
    "up": ["-rts", "wizard:{root}/../secret"],
    "up in the middle": ["-rts", "wizard:{root}/s/../../secret"],
    "the root itself": ["-rts", "wizard:{root}/"],
    "home": ["-rts", "wizard:secret"],
    "tilde": ["-rts", "wizard:~/secret"],
    "through a link": ["-rts", "wizard:{root}/s/out/secret"],
    "through a link as its folder": ["-rtsR", "wizard:{root}/s/out/./secret"],
    "a link with a slash": ["-rts", "wizard:{root}/s/out/"],
    "copy links": ["-rtsL", "wizard:{root}/s/"],
    "copy links, long": ["-rts", "--copy-unsafe-links", "wizard:{root}/s/"],
    "copy dirlinks": ["-rtsk", "wizard:{root}/s/"],
    "paths on the command line": ["-rt", "--old-args", "wizard:{root}/s/../../secret"],
    "a pattern": ["-rts", "wizard:{root}/s/*/secret"],
    "a list of the host": ["-rts", "--files-from=:{home}/secret", "wizard:{root}/s/"],
    "partial dir": ["-rts", "--partial-dir={home}", "wizard:{root}/s/"],
    "remove the source": ["-rts", "--remove-source-files", "wizard:{root}/s/file"],
    "archive": ["-as", "wizard:{root}/s/"],
}


@pytest.mark.parametrize("words", READS.values(), ids=READS.keys())
def test_rsync_reads_nothing_else(caged: PrivateSshd, tmp_path: Path, words: list[str]) -> None:
    root = f"{caged.home}/jobmgr-run"
    pulled(caged, tmp_path, *(word.format(home=caged.home, root=root) for word in words))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_text() != "mine"]
    assert Path(root, "s/file").exists()


def test_a_list_of_names_that_leads_through_a_link_is_not_followed(
    caged: PrivateSshd, tmp_path: Path
) -> None:
    """Neither as jobmgr sends it, nor by hand."""
    (tmp_path / "list").write_text("out/secret\nout/./secret\nfile\n")
    pulled(
        caged, tmp_path / "b", "-rts", f"--files-from={tmp_path}/list", f"wizard:{caged.home}/jobmgr-run/s"
    )
    assert not list(tmp_path.rglob("secret"))
    transport = transport_to(caged, "fabric")
    result = rsync.pull(
        transport, f"{caged.home}/jobmgr-run/s", str(tmp_path / "c"), ["out/secret", "out/./secret", "file"]
    )
    transport.close()
    assert "behind a link" in result.stderr
    assert [path.name for path in (tmp_path / "c").rglob("*") if path.is_file()] == ["file"]


def test_files_alike_come_by_folder_where_a_list_is_refused(caged: PrivateSshd, tmp_path: Path) -> None:
    run = Path(caged.home, "jobmgr-run/s")
    for task in ("a", "b"):
        logs = run / f"log/job/1/{task}/01"
        logs.mkdir(parents=True)
        for name in ("job.out", "job.err", "other"):
            (logs / name).write_text(task)
    wanted = ["log/job/1/a/01/job.out", "log/job/1/b/01/job.err", "log/job/1/gone/01/job.out", "file"]
    with contextlib.closing(transport_to(caged, "fabric")) as transport:
        result = rsync.pull(transport, str(run), str(tmp_path / "c"), wanted, alike="log/job")
    assert (result.exit_code, result.refused) == (0, ())
    came = {f"{path.parent.parent.name}/{path.name}" for path in (tmp_path / "c/log").rglob("job.*")}
    assert came == {"a/job.out", "a/job.err", "b/job.out", "b/job.err"}
    assert (tmp_path / "c/file").is_file()
    assert not list((tmp_path / "c").rglob("other"))


WRITES = {
    "outside": "wizard:{home}/",
    "the root itself": "wizard:{root}/",
    "up": "wizard:{root}/s/../../",
    "through a link": "wizard:{root}/s/out/",
    "below a link": "wizard:{root}/s/out/.ssh/",
}


@pytest.mark.parametrize("target", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize(
    "options",
    [["-rts"], ["-rtsK"], ["-rtsl"], ["-rts", "--temp-dir=/tmp"], ["-rts", "-M--log-file=/tmp/x"],
     ["-rts", "--backup", "--backup-dir=/tmp"], ["-rts", "--link-dest=/"], ["-rts", "--inplace"]],
)  # fmt: skip
def test_rsync_writes_nothing_else(
    caged: PrivateSshd, tmp_path: Path, target: str, options: list[str]
) -> None:
    (tmp_path / "got-out").write_text("x")
    shell = shlex.join(["ssh", "-F", caged.ssh_config_path, "-oBatchMode=yes"])
    to = target.format(home=caged.home, root=f"{caged.home}/jobmgr-run")
    done = subprocess.run(
        ["rsync", "-e", shell, *options, f"{tmp_path}/got-out", to],
        capture_output=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode != 0
    assert not list(Path(caged.home).rglob("got-out"))


# --- the line, and its options ------------------------------------------------------------------------------


def test_a_key_that_may_install_takes_a_new_version_along(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_plain(make_sshd)
    install(sshd)
    with session_at(sshd, tmp_path / "home", transport="fabric") as session:
        line = session.authorized_key("wizard", allow_install=True).line
        older = Path(sshd.home, ".jobmgr/remote/jobmgr-remote-0.9.0-0123456789ab")
        newest = next(Path(sshd.home, ".jobmgr/remote").glob("jobmgr-remote-*"))
        newest.rename(older)
        restrict(sshd, line.replace(newest.name, older.name))
        job = session.run("wizard", ["true"])
        job.wait(60)
        assert job.state is State.SUCCEEDED
    assert newest.is_dir()
    assert "allowed 127.0.0.1 install" in log(sshd)


def test_a_login_environment_reaches_the_jobs_of_a_bound_key(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_plain(make_sshd)
    install(sshd)
    Path(sshd.home, ".bash_profile").write_text("export FROM_PROFILE=yes\necho noise\n")
    with session_at(sshd, tmp_path / "home", transport="fabric", use_login_shell="true") as session:
        restrict(sshd, session.authorized_key("wizard").line)
        job = session.run("wizard", ["sh", "-c", "echo $FROM_PROFILE"])
        job.wait(60)
        assert job.log("out") == b"yes\n"


def test_the_run_root_of_the_platform_stands_in_the_line(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_plain(make_sshd)
    install(sshd)
    with session_at(sshd, tmp_path / "home", transport="openssh", run_root="$HOME/my runs") as session:
        line = session.authorized_key("wizard").line
        assert "--run-root '$HOME/my runs'" in line
        restrict(sshd, line)
        job = session.run("wizard", ["true"])
        job.wait(60)
        assert job.state is State.SUCCEEDED
        assert Path(sshd.home, "my runs").is_dir()
    with session_at(sshd, tmp_path / "other", transport="openssh") as session:
        assert "restricted to the run root" in _tried(lambda: session.run("wizard", ["true"]).why())


def test_the_key_is_that_of_the_configuration_or_the_one_that_is_named(
    make_sshd: MakeSshd, tmp_path: Path
) -> None:
    sshd = make_plain(make_sshd)
    with session_at(sshd, tmp_path / "home") as session:
        key = session.authorized_key("wizard")
        public = Path(sshd.identity_path + ".pub").read_text().split()[1]
        assert public in key.line
        assert key.source == sshd.identity_path
        assert public in session.authorized_key("wizard", key=sshd.identity_path + ".pub").line
        for bad in ({"key": str(tmp_path / "no")}, {"poll_only": True, "allow_install": True}):
            with pytest.raises(JobmgrError):
                session.authorized_key("wizard", **bad)  # type: ignore[arg-type]
        with pytest.raises(JobmgrError, match="this machine"):
            session.authorized_key("localhost")


def test_a_bound_key_works_behind_login_files_that_print(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_plain(make_sshd, start=False)
    sshd._options["SetEnv"] = f'"HOME={sshd.home}"'
    sshd.start()
    install(sshd)
    Path(sshd.home, ".bashrc").write_text("echo welcome to wizard\n")
    with session_at(sshd, tmp_path / "home", transport="openssh") as session:
        restrict(sshd, session.authorized_key("wizard").line)
        assert b"welcome" in ssh(sshd, "id").stdout
        job = session.run("wizard", ["sh", "-c", "echo result > out.txt"], outputs=["out.txt"])
        job.wait(60)
        assert job.state is State.SUCCEEDED
        assert list(session.run_root.rglob("out.txt"))


def test_a_host_side_that_the_site_has_installed_is_what_the_line_starts(
    make_sshd: MakeSshd, tmp_path: Path
) -> None:
    sshd = make_plain(make_sshd)
    package = Path(__file__).resolve().parents[2] / "remote/jobmgr_remote/__main__.py"
    Path(sshd.home, "jm").write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {package} "$@"\n')
    Path(sshd.home, "jm").chmod(0o755)
    with session_at(sshd, tmp_path / "home", transport="fabric", remote_command="$HOME/jm") as session:
        line = session.authorized_key("wizard").line
        assert line.startswith("command=\"$HOME/jm restricted --called '$HOME/jm'\",restrict ssh-ed25519 ")
        restrict(sshd, line)
        job = session.run("wizard", ["true"])
        job.wait(60)
        assert job.state is State.SUCCEEDED
    assert not Path(sshd.home, ".jobmgr/remote").exists()


def test_parts_of_the_run_directory_may_lie_elsewhere(make_sshd: MakeSshd, tmp_path: Path) -> None:
    sshd = make_plain(make_sshd)
    install(sshd)
    settings = {"symlinks": "{log: $HOME/scratch, work: $HOME/scratch}"}
    with session_at(sshd, tmp_path / "home", transport="fabric", **settings) as session:
        restrict(sshd, session.authorized_key("wizard").line)
        job = session.run("wizard", ["sh", "-c", "echo result | tee out.txt"], outputs=["out.txt"])
        job.wait(60)
        assert job.log("out") == b"result\n"
        assert list(session.run_root.rglob("out.txt"))
    assert list(Path(sshd.home, "scratch").rglob("out.txt"))

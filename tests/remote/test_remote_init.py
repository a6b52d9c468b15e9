from __future__ import annotations

import base64
import io
import json
import os
import stat
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_side import Answer, Host
from interpreters import oldest_and_newest
from jobmgr_remote import layout, machine, proc, session, wire
from jobmgr_remote.commands import remote_init
from measured import host_python
from needs import need, need_root


def python_of(request: pytest.FixtureRequest, folder: Path) -> str:
    return host_python(folder) if request.param == "measured" else str(request.param)


@pytest.fixture(params=[*oldest_and_newest(), "measured"], ids=lambda path: Path(path).name)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host that has never seen the run."""
    home = tmp_path / "home"
    home.mkdir()
    made = Host(home, python_of(request, tmp_path))
    yield made
    made.end()


@pytest.fixture
def one_host(tmp_path: Path) -> Host:
    home = tmp_path / "home"
    home.mkdir()
    return Host(home, host_python(tmp_path))


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, chunk: int = 700) -> list[dict[str, Any]]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            info.mode = 0o777
            archive.addfile(info, io.BytesIO(member[1]))
    data = buffer.getvalue()
    return [{"tar": base64.b64encode(data[at : at + chunk]).decode()} for at in range(0, len(data), chunk)]


def init(host: Host, items: list[dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
    answer = host.call(wire.REMOTE_INIT, items or [], **options)
    assert answer.error is None, (answer.error, answer.stderr)
    assert answer.ended
    (found,) = answer.of(wire.INIT)
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_everything_is_made_private_and_told(host: Host) -> None:
    host.env["PATH"] = "/usr/bin:/bin"
    found = init(host, tar(("contact", b"c"), ("bin/tool", b"t"), ("x/y", b"y")))
    for folder in ("", ".service", "log/job", "work", "share", "share/cycle", ".service/bin"):
        assert mode(host.run_dir / folder) == 0o700
    service = host.run_dir / layout.SERVICE
    assert [mode(service / name) for name in ("contact", "bin/tool", "x/y")] == [0o600, 0o700, 0o600]
    assert (service / "contact").read_bytes() == b"c"
    assert (host.run_dir / layout.UUID_FILE).read_text() == host.run.uuid + "\n"
    owner = json.loads((host.run_dir / layout.OWNER_FILE).read_text())
    assert (owner["uuid"], owner["controller"], owner["epoch"]) == (host.run.uuid, "controller", 1)
    assert found["shared"] is False
    assert found["home"] == str(host.home)
    assert found["cores"] >= 1
    assert found["bash"].endswith("/bash")
    assert machine.parse_version(found["bash_version"]) >= (4, 2)
    assert set(found["batch"]) <= set(machine.BATCH_COMMANDS)
    assert found["free_bytes"] > 0
    assert found["links"] == {}


def test_a_repeated_call_changes_nothing_but_the_service_files(host: Host) -> None:
    init(host, tar(("contact", b"old")))
    (host.run_dir / "work/result").write_text("kept")
    before = (host.run_dir / layout.OWNER_FILE).read_text()
    init(host, tar(("contact", b"new")))
    assert (host.run_dir / "work/result").read_text() == "kept"
    assert (host.run_dir / layout.OWNER_FILE).read_text() == before
    assert (host.run_dir / ".service/contact").read_text() == "new"
    assert not [name for name in os.listdir(host.run_dir / ".service") if name.startswith(".")]


def test_looking_makes_nothing(host: Host) -> None:
    found = init(host, make=False)
    assert found["cores"] >= 1
    assert not (host.home / "jobmgr-run").exists()


def test_another_runs_directory_is_refused(host: Host) -> None:
    init(host)
    other = host.run._replace(uuid=str(uuid.uuid4()))
    answer = host.call(wire.REMOTE_INIT, run=other)
    assert answer.error is not None
    assert answer.error.code == wire.E_FOREIGN


def test_a_lower_epoch_is_refused_and_a_higher_one_recorded(host: Host) -> None:
    init(host)
    taker = host.run._replace(epoch=2, controller="other", owner="bob@pc")
    assert host.call(wire.REMOTE_INIT, run=taker).error is None
    answer = host.call(wire.REMOTE_INIT)
    assert answer.error is not None
    assert answer.error.code == wire.E_TAKEN_OVER
    assert "bob@pc" in answer.error.text


def test_a_folder_that_is_no_run_directory_is_not_taken_over(host: Host) -> None:
    host.run_dir.mkdir(parents=True)
    (host.run_dir / "thesis.tex").touch()
    answer = host.call(wire.REMOTE_INIT)
    assert answer.error is not None
    assert answer.error.code == wire.E_FOREIGN
    assert os.listdir(host.run_dir) == ["thesis.tex"]


@pytest.mark.parametrize("leftover", [[], [".service"]])
def test_what_an_interrupted_call_left_is_gone_on_with(one_host: Host, leftover: list[str]) -> None:
    one_host.run_dir.mkdir(parents=True)
    for name in leftover:
        (one_host.run_dir / name).mkdir()
        (one_host.run_dir / name / "uuid").touch()
    init(one_host)
    assert (one_host.run_dir / layout.UUID_FILE).read_text() == one_host.run.uuid + "\n"


def test_two_runs_that_come_at_once_get_one_owner(one_host: Host) -> None:
    runs = [one_host.run._replace(uuid=str(uuid.uuid4())) for _ in range(6)]
    processes = [one_host.start(wire.REMOTE_INIT) for _ in runs]
    for process, run in zip(processes, runs, strict=True):
        assert process.stdin
        process.stdin.write(one_host.request(wire.REMOTE_INIT, run=run))
        process.stdin.flush()
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        answers.append(Answer(wire.REMOTE_INIT, process.returncode, out, err))
    winners = [run.uuid for run, answer in zip(runs, answers, strict=True) if answer.error is None]
    assert len(winners) == 1
    assert {a.error.code for a in answers if a.error} == {wire.E_FOREIGN}
    assert (one_host.run_dir / layout.UUID_FILE).read_text().strip() == winners[0]


# --- shared directories ------------------------------------------------------------------------------


def test_a_shared_directory_is_found_by_the_probe_and_nothing_in_it_is_touched(host: Host) -> None:
    service = host.run_dir / layout.SERVICE
    service.mkdir(parents=True)
    (service / "suite.db").write_text("store")
    (service / "probe-1").touch()
    (host.run_dir / "suite.yaml").write_text("suite")
    (host.run_dir / "log").mkdir(mode=0o755)
    found = init(
        host, tar(("contact", b"c")), probe=".service/probe-1", symlinks={"run": "$HOME/x", "log": "$HOME/x"}
    )
    assert found["shared"] is True
    assert (service / "suite.db").read_text() == "store"
    assert mode(host.run_dir / "log") == 0o755
    assert not (host.home / "x").exists()


def test_a_directory_of_the_same_name_is_not_shared(host: Host) -> None:
    init(host)
    assert init(host, probe=".service/probe-1")["shared"] is False


@pytest.mark.parametrize("probe", ["../x", "/etc/passwd", 7, "a\nb"])
def test_bad_probes(one_host: Host, probe: object) -> None:
    answer = one_host.call(wire.REMOTE_INIT, probe=probe)
    assert answer.error is not None
    assert answer.error.code == wire.E_USAGE


# --- symlinks ----------------------------------------------------------------------------------------


def test_symlinks_are_made_where_the_hosts_variables_say(host: Host) -> None:
    host.env["SCRATCH"] = str(host.home / "scratch")
    links = {"work": "$SCRATCH", "share": "${SCRATCH}/deep", "share/cycle": "$HOME/cycles", "log": "$SCRATCH"}
    found = init(host, symlinks=links)
    base = host.home / "scratch/jobmgr-run/s"
    assert os.readlink(host.run_dir / "work") == str(base / "work")
    assert os.readlink(host.run_dir / "share") == str(host.home / "scratch/deep/jobmgr-run/s/share")
    assert os.readlink(host.run_dir / "share/cycle") == str(host.home / "cycles/jobmgr-run/s/share/cycle")
    assert (base / "log/job").is_dir()
    assert mode(base / "work") == 0o700
    assert (base / ".jobmgr-uuid").read_text().strip() == host.run.uuid
    assert set(found["links"]) == set(links)
    assert init(host, symlinks=links)["links"] == found["links"]


def test_the_run_directory_itself_may_be_a_link(host: Host) -> None:
    init(host, symlinks={"run": str(host.home / "big")})
    assert os.readlink(host.run_dir) == str(host.home / "big/jobmgr-run/s")
    assert (host.home / "big/jobmgr-run/s/.service/uuid").exists()


def test_what_is_there_already_is_not_replaced_by_a_link(host: Host) -> None:
    init(host)
    answer = host.call(wire.REMOTE_INIT, symlinks={"work": "$HOME/x"})
    assert [note.code for note in answer.of(wire.NOTE)] == ["link"]
    assert not (host.run_dir / "work").is_symlink()


def test_a_link_to_elsewhere_stays_as_it_is(host: Host) -> None:
    init(host, symlinks={"work": "$HOME/x"})
    answer = host.call(wire.REMOTE_INIT, symlinks={"work": "$HOME/y"})
    assert [note.code for note in answer.of(wire.NOTE)] == ["link"]
    assert "/x/" in os.readlink(host.run_dir / "work")


def test_a_target_that_is_not_mounted_is_refused(host: Host) -> None:
    init(host, symlinks={"work": "$HOME/x"})
    (host.home / "x").rename(host.home / "gone")
    answer = host.call(wire.REMOTE_INIT, symlinks={"work": "$HOME/x"})
    assert answer.error is not None
    assert "not mounted" in answer.error.text


def test_a_run_root_that_is_not_mounted_is_refused(host: Host) -> None:
    (host.home / "jobmgr-run").symlink_to("/nowhere/at/all")
    answer = host.call(wire.REMOTE_INIT)
    assert answer.error is not None
    assert "not mounted" in answer.error.text


def test_a_target_of_another_run_is_refused(host: Host) -> None:
    base = host.home / "x/jobmgr-run/s"
    base.mkdir(parents=True)
    (base / ".jobmgr-uuid").write_text(str(uuid.uuid4()))
    answer = host.call(wire.REMOTE_INIT, symlinks={"work": "$HOME/x"})
    assert answer.error is not None
    assert answer.error.code == wire.E_FOREIGN


@pytest.mark.parametrize(
    "links", [{"etc": "/x"}, {"work": "$HOME/../x"}, {"work": ""}, {"work": 7}, {"work": "relative"}]
)
def test_bad_symlinks(one_host: Host, links: dict[str, Any]) -> None:
    answer = one_host.call(wire.REMOTE_INIT, symlinks=links)
    assert answer.error is not None
    assert answer.error.code == wire.E_USAGE


def test_an_unset_variable_is_named(one_host: Host) -> None:
    answer = one_host.call(wire.REMOTE_INIT, symlinks={"work": "$NO_SUCH/x"})
    assert answer.error is not None
    assert "$NO_SUCH is not set" in answer.error.text


# --- the tar -----------------------------------------------------------------------------------------


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", b"x"),
        ("/etc/evil", b"x"),
        ("bin/../../evil", b"x"),
        ("bin//x", b"x"),
        ("bin/./x", b"x"),
        ("uuid", b"x"),
        ("owner", b"x"),
        ("./journal", b"x"),
        ("jobs/x", b"x"),
        ("suite.db", b"x"),
        ("suite.db-wal", b"x"),
        special("a", tarfile.SYMTYPE, "/etc/passwd"),
        special("a", tarfile.LNKTYPE, "contact"),
        special("a", tarfile.CHRTYPE),
        special("a", tarfile.FIFOTYPE),
    ],
    ids=lambda m: m[0] if isinstance(m, tuple) else m.type.decode(),
)
def test_unsafe_members_are_refused_before_anything_is_written(one_host: Host, member: Any) -> None:
    answer = one_host.call(wire.REMOTE_INIT, tar(("contact", b"c"), member))
    assert answer.error is not None
    assert answer.error.code == wire.E_USAGE
    assert not one_host.run_dir.exists()


def test_folders_in_a_tar_are_fine(one_host: Host) -> None:
    init(one_host, tar(special("bin", tarfile.DIRTYPE), ("bin/a", b"x")))
    assert (one_host.run_dir / ".service/bin/a").read_bytes() == b"x"


def test_unpacking_follows_no_link(one_host: Host, tmp_path: Path) -> None:
    init(one_host)
    outside = tmp_path / "outside"
    outside.mkdir()
    (one_host.run_dir / ".service/bin").symlink_to(outside)
    answer = one_host.call(wire.REMOTE_INIT, tar(("bin/evil", b"x")))
    assert answer.error is not None
    assert os.listdir(outside) == []
    target = tmp_path / "file"
    target.write_text("mine")
    (one_host.run_dir / ".service/contact").symlink_to(target)
    init(one_host, tar(("contact", b"x")))
    assert target.read_text() == "mine"


@pytest.mark.parametrize(
    "items", [[{"tar": "!"}], [{"tar": 3}], [{}], [{"tar": base64.b64encode(b"x" * 600).decode()}]]
)
def test_broken_tars(one_host: Host, items: list[dict[str, Any]]) -> None:
    answer = one_host.call(wire.REMOTE_INIT, items)
    assert answer.error is not None
    assert answer.error.code == wire.E_USAGE


def test_a_tar_that_is_cut_off(one_host: Host) -> None:
    answer = one_host.call(wire.REMOTE_INIT, tar(("contact", b"x" * 5000))[:3])
    assert answer.error is not None
    assert answer.error.code == wire.E_USAGE


def test_a_tar_of_too_many_or_too_large_members(one_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_init, "MAX_MEMBERS", 3)
    with pytest.raises(session.Refused):
        remote_init.read_tar(tar(*((str(n), b"") for n in range(5))))
    monkeypatch.setattr(remote_init, "MAX_TAR", 1000)
    with pytest.raises(session.Refused):
        remote_init.read_tar(tar(("a", b"")))


def test_a_request_that_is_cut_off_makes_nothing(one_host: Host) -> None:
    data = one_host.request(wire.REMOTE_INIT, tar(("contact", b"x")))
    process = one_host.start(wire.REMOTE_INIT)
    out, err = process.communicate(data[: data.rindex(b'{"end"')], timeout=60)
    answer = Answer(wire.REMOTE_INIT, process.returncode, out, err)
    assert answer.error is not None
    assert not one_host.run_dir.exists()


# --- what a host can do -------------------------------------------------------------------------------


def test_batch_commands_are_told(one_host: Host, tmp_path: Path) -> None:
    for name in ("sbatch", "bsub"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    one_host.env["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    assert {"sbatch", "bsub"} <= set(init(one_host)["batch"])


@pytest.mark.parametrize(
    "version, refused",
    [("3.2.57(1)-release", True), ("4.1.0", True), ("4.2.46(2)-release", False), ("x", True)],
)
def test_an_old_bash_is_refused_by_name(one_host: Host, tmp_path: Path, version: str, refused: bool) -> None:
    (tmp_path / "bash").write_text(f"#!/bin/sh\necho '{version}'\n")
    (tmp_path / "bash").chmod(0o755)
    one_host.env["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    answer = one_host.call(wire.REMOTE_INIT)
    assert (answer.error is not None) is refused
    if answer.error:
        assert answer.error.code in (wire.E_TOO_OLD, wire.E_HOST)
        assert "bash" in answer.error.text
        assert "4.2 or newer" in answer.error.text


def test_a_host_without_bash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "find_program", lambda name: "")
    with pytest.raises(session.Refused, match="no bash"):
        machine.find_bash()


@pytest.mark.parametrize(
    "options, code", [("noexec", "noexec"), ("size=1m", "space"), ("size=100m,nr_inodes=50", "inodes")]
)
def test_what_is_wrong_with_a_file_system_is_said(one_host: Host, options: str, code: str) -> None:
    need_root()
    root = one_host.home / "jobmgr-run"
    root.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", root], stderr=subprocess.DEVNULL)
    need(done.returncode == 0, "tmpfs cannot be mounted")
    try:
        answer = one_host.call(wire.REMOTE_INIT)
        assert code in [note.code for note in answer.of(wire.NOTE)]
        assert answer.of(wire.INIT)[0]["file_system"] == "tmpfs"
    finally:
        subprocess.run(["umount", "-l", root], check=True)


def test_a_read_only_home(one_host: Host) -> None:
    need_root()
    root = one_host.home / "jobmgr-run"
    root.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", root], stderr=subprocess.DEVNULL)
    need(done.returncode == 0, "tmpfs cannot be mounted")
    try:
        answer = one_host.call(wire.REMOTE_INIT)
        assert answer.error is not None
        assert answer.error.code == wire.E_HOST
        assert "Read-only" in answer.error.text
        assert "read-only" in [
            note.code for note in one_host.call(wire.REMOTE_INIT, make=False).of(wire.NOTE)
        ]
    finally:
        subprocess.run(["umount", "-l", root], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root folder of a made-up system."""
    for folder in ("proc/self", "etc/systemd/logind.conf.d", "run/systemd/system", "var/lib/systemd/linger"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return tmp_path / "root"


def test_no_proc(tmp_path: Path) -> None:
    with pytest.raises(session.Refused, match="no /proc"):
        machine.abilities("/home/ada", f"{tmp_path}/")


MOUNTS = """\
rootfs / rootfs rw 0 0
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw,nosuid,hidepid=2 0 0
srv:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb /home/a\\040b xfs rw 0 0
lustre@tcp:/x /scratch lustre rw 0 0
broken
"""


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/etc", "ext4"),
        ("/", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/x", "nfs4"),
        ("/homes", "ext4"),
        ("/home/a b/c", "xfs"),
        ("/scratch/x", "lustre"),
    ],
)
def test_file_system_of_a_path(root: Path, path: str, kind: str) -> None:
    (root / "proc/mounts").write_text(MOUNTS)
    assert machine.file_system(path, f"{root}/") == kind


def test_file_system_that_cannot_be_told(root: Path) -> None:
    assert machine.file_system("/home", f"{root}/") == ""
    assert machine.hidepid(f"{root}/") == ""


@pytest.mark.parametrize(
    "options, value",
    [("hidepid=2", "2"), ("rw,hidepid=invisible,gid=3", "invisible"), ("rw,hidepid=0", ""), ("rw", "")],
)
def test_hidepid(root: Path, options: str, value: str) -> None:
    (root / "proc/mounts").write_text(f"proc /proc proc {options} 0 0\n")
    assert machine.hidepid(f"{root}/") == value


@pytest.mark.parametrize(
    "main, dropin, kills",
    [
        ("", "", False),
        ("KillUserProcesses=yes\n", "", True),
        ("#KillUserProcesses=yes\n", "", False),
        ("KillUserProcesses=yes\n", "[Login]\nKillUserProcesses=no\n", False),
        ("", "[Login]\nKillUserProcesses = Yes\n", True),
    ],
)
def test_kill_user_processes(root: Path, main: str, dropin: str, kills: bool) -> None:
    (root / "etc/systemd/logind.conf").write_text("[Login]\n" + main)
    (root / "etc/systemd/logind.conf.d/site.conf").write_text(dropin)
    assert machine.kills_at_logout(f"{root}/") is kills


def test_a_system_without_systemd_kills_nobody(tmp_path: Path) -> None:
    assert machine.kills_at_logout(f"{tmp_path}/") is False


@pytest.mark.parametrize(
    "lingers, user, warned", [(False, "ada", True), (True, "ada", False), (False, "root", False)]
)
def test_lingering_users_are_not_warned(root: Path, lingers: bool, user: str, warned: bool) -> None:
    if lingers:
        (root / "var/lib/systemd/linger" / user).touch()
    found = {
        "noexec": False,
        "read_only": False,
        "free_bytes": 1 << 40,
        "free_inodes": None,
        "hidepid": "",
        "kills_at_logout": True,
    }
    codes = [code for _, code, _ in machine.warnings(found, user, "/home/ada", f"{root}/")]
    assert codes == (["logout-kills"] if warned else [])


def test_every_warning_has_its_words() -> None:
    found = {
        "noexec": True,
        "read_only": True,
        "free_bytes": 1000000,
        "free_inodes": 5,
        "hidepid": "1",
        "kills_at_logout": False,
    }
    rows = machine.warnings(found, "ada", "/x")
    assert [code for _, code, _ in rows] == ["noexec", "read-only", "space", "inodes", "hidepid"]
    assert "1 MB" in rows[2][2]


# --- what the file system refuses -----------------------------------------------------------------------


@pytest.fixture
def here(one_host: Host, monkeypatch: pytest.MonkeyPatch) -> session.Host:
    """The same host as the host side sees it, in this process, with a run directory."""
    monkeypatch.setenv("HOME", str(one_host.home))
    one_host.initialise()
    made = session.Host(one_host.run, None)
    made.root = str(one_host.run_dir.parent)
    made.run_dir = str(one_host.run_dir)
    return made


def test_a_probe_is_not_seen_where_nothing_can_be_listed(one_host: Host, here: session.Host) -> None:
    assert not remote_init.sees_probe(here, "no-such-folder/probe")
    Path(here.path("probe")).touch()
    assert remote_init.sees_probe(here, "probe")
    here.run_dir += "-gone"
    assert not remote_init.sees_probe(here, "probe")


@pytest.mark.parametrize("left", ["", "\n"])
def test_an_empty_uuid_that_a_full_disk_has_left_is_filled(here: session.Host, left: str) -> None:
    Path(here.path(layout.UUID_FILE)).write_text(left)
    remote_init.claim_uuid(here)
    assert Path(here.path(layout.UUID_FILE)).read_text() == here.run.uuid + "\n"
    assert os.listdir(here.path(layout.SERVICE)) == ["uuid"]


def test_the_run_is_claimed_where_there_are_no_hard_links(
    here: session.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    os.unlink(here.path(layout.UUID_FILE))
    remote_init.claim_uuid(here)
    assert Path(here.path(layout.UUID_FILE)).read_text() == here.run.uuid + "\n"
    assert os.listdir(here.path(layout.SERVICE)) == ["uuid"]


def test_a_run_that_somebody_claims_at_the_same_time_is_his(
    here: session.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.unlink(here.path(layout.UUID_FILE))

    def slower(_: str, path: str) -> None:
        Path(path).write_text(str(uuid.uuid4()) + "\n")
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", slower)
    with pytest.raises(session.Refused, match="belongs to another run"):
        remote_init.claim_uuid(here)
    assert os.listdir(here.path(layout.SERVICE)) == ["uuid"]


def test_rows_about_links_that_make_no_sense_are_left_out(here: session.Host) -> None:
    rows = ['["work", "/scratch/s/work"]', '["work"', "7", '["home", "/x"]', '["log", 7]']
    Path(here.path(layout.LINKS_FILE)).write_text("\n".join(rows))
    assert remote_init.read_links(here) == {"work": "/scratch/s/work"}


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (header("big", remote_init.MAX_TAR + 1), "big is too large"),
        (header("cut", 100) + b"x" * 10, "cannot be read"),
        (header("cut", 100), "cannot be read"),
    ],
)
def test_a_tar_that_promises_more_than_it_holds_is_refused(data: bytes, text: str) -> None:
    with pytest.raises(session.Refused, match=text):
        remote_init.tar_members(data)


def test_a_service_file_that_cannot_take_its_place_leaves_nothing_half_done(here: session.Host) -> None:
    os.mkdir(here.path(layout.SERVICE) + "/settings")
    with pytest.raises(IsADirectoryError):
        remote_init.unpack(here, [("settings", b"x")])
    assert sorted(os.listdir(here.path(layout.SERVICE))) == ["settings", "uuid"]


def test_a_link_is_made_below_a_folder_that_is_missing(here: session.Host, tmp_path: Path) -> None:
    target = f"{tmp_path}/scratch/jobmgr-run/s/share/cycle"
    reply = session.Reply(io.BytesIO())
    assert remote_init.make_link(reply, here, "share/cycle", target) == [("share/cycle", target)]
    assert os.readlink(here.path("share/cycle")) == target
    assert os.path.isdir(target)


# --- the suite's files ------------------------------------------------------------------------------


def suite_file(path: str, data: bytes = b"x", program: bool = False) -> dict[str, Any]:
    return {
        "path": path,
        "data": base64.b64encode(data).decode(),
        "time": 1_600_000_000_123_456_789,
        "program": program,
    }


def test_a_small_suite_is_written_where_rsync_would_put_it(host: Host) -> None:
    files = [
        suite_file("suite.yaml", b"tasks"),
        suite_file("bin/tool", b"t", program=True),
        suite_file("a/b/c"),
    ]
    assert init(host, files=files)["installed"] is True
    assert (host.run_dir / "suite.yaml").read_bytes() == b"tasks"
    assert [mode(host.run_dir / path) for path in ("suite.yaml", "bin/tool", "a", "a/b")] == [
        0o600,
        0o700,
        0o700,
        0o700,
    ]
    assert (host.run_dir / "a/b/c").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert init(host, files=[suite_file("suite.yaml", b"anew")])["installed"] is True
    assert (host.run_dir / "suite.yaml").read_bytes() == b"anew"
    assert init(host)["installed"] is False
    assert not [path for path in host.run_dir.rglob(".*") if path.name != ".service"]


@pytest.mark.parametrize("path", ["a/file", "a", "folder"])
def test_what_is_in_the_way_of_a_suites_file_is_left_to_rsync(
    one_host: Host, tmp_path: Path, path: str
) -> None:
    init(one_host)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (one_host.run_dir / "folder").mkdir()
    os.symlink(elsewhere, one_host.run_dir / "a")
    assert init(one_host, files=[suite_file(path)])["installed"] is False
    assert list(elsewhere.iterdir()) == []
    assert (one_host.run_dir / "a").is_symlink()


@pytest.mark.parametrize(
    "bad",
    ["../x", "/etc/x", "a/../x", "a//b", "./a", "", "log/job/1", "work/x", "share/x", ".service/owner", ".service",
     "a\nb", 7, None],
)  # fmt: skip
def test_a_suites_file_that_is_none_refuses_the_call(one_host: Host, bad: Any) -> None:
    answer = one_host.call(wire.REMOTE_INIT, [], files=[suite_file("good"), suite_file(bad)])
    assert answer.error is not None
    assert answer.error.code == wire.E_USAGE
    assert not (one_host.run_dir / "good").exists()


def test_nothing_is_installed_over_the_controllers_own_files(one_host: Host) -> None:
    service = one_host.run_dir / ".service"
    service.mkdir(parents=True)
    (service / "probe").touch()
    (one_host.run_dir / "suite.yaml").write_text("mine")
    found = init(one_host, probe=".service/probe", files=[suite_file("suite.yaml", b"other")])
    assert (found["shared"], found["installed"]) == (True, False)
    assert (one_host.run_dir / "suite.yaml").read_text() == "mine"

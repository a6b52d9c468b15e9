"""Files over every transport, by the real rsync on both ends."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmgr.errors import ConnectError, RsyncError
from jobmgr.transport import rsync
from jobmgr.transport.base import Transport
from jobmgr.transport.rsync import Arrival, Listed
from sshd_hosts import MakeSshd, end_masters, transport_to


@pytest.fixture(params=["fabric", "openssh", "local"])
def transport(request: pytest.FixtureRequest, make_sshd: MakeSshd) -> Iterator[Transport]:
    made = make_sshd(start=request.param != "local")
    with contextlib.closing(transport_to(made, request.param)) as transport:
        yield transport


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The directory on the host (which is this machine), with a name that a shell would trip over."""
    path = tmp_path / "on the host's $(side)"
    path.mkdir()
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    path = tmp_path / "at home; true"
    path.mkdir()
    return path


def fill(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_listed_files_come_and_no_others(transport: Transport, there: Path, here: Path) -> None:
    fill(there, log__job_out="out", log__job_err="err", secret="no")
    result = rsync.pull(transport, str(there), str(here), ["log/job.out", "log/job.err"])
    assert (result.exit_code, result.refused, result.partial) == (0, (), False)
    assert names(here) == {"log/job.out", "log/job.err"}
    assert (here / "log/job.out").read_text() == "out"


def test_names_of_all_kinds_travel(transport: Transport, there: Path, here: Path) -> None:
    odd = ["a b", "-rf", "new\nline", "qu'o\"te", "$(id)", "ä", "*", "[x]", "a;b", "\\back", "!", "#c", "~"]
    for name in odd:
        (there / name).write_text(name)
    rsync.pull(transport, str(there), str(here), odd)
    assert names(here) == set(odd)


def test_a_listed_directory_comes_whole(transport: Transport, there: Path, here: Path) -> None:
    fill(there, d__a="1", d__e__b="2", other="3")
    rsync.pull(transport, str(there), str(here), ["d"])
    assert names(here) == {"d/a", "d/e/b"}


def test_a_file_that_vanished_is_no_error(transport: Transport, there: Path, here: Path) -> None:
    fill(there, a="1")
    assert rsync.pull(transport, str(there), str(here), ["a", "gone", "no/such/dir/x"]).exit_code == 0
    assert names(here) == {"a"}


def test_files_alike_come_by_folder_and_nothing_else_does(
    transport: Transport, there: Path, here: Path
) -> None:
    fill(there, log__a__1__out="1", log__a__1__err="2", log__a__1__secret="no", log__b__1__out="3", w__x__out="4")
    fill(there, log__a__1__sub__out="no", log__c__1__out="no", w__x__secret="no", log__b__1__big="x" * 5000)
    (there / "log/b/1/err").symlink_to("/etc/passwd")
    wanted = ["log/a/1/out", "log/a/1/err", "log/b/1/out", "log/b/1/big", "w/x/out", "log/gone/1/out"]
    result = rsync.pull(transport, str(there), str(here), wanted, alike="log", max_size=1000)
    assert (result.exit_code, result.refused) == (0, ())
    assert names(here) == {"log/a/1/out", "log/a/1/err", "log/b/1/out", "w/x/out"}
    assert rsync.pull(transport, str(there), str(here), [*wanted, "log/a/1/sub/out"], alike="log").exit_code == 0
    assert names(here) == {*wanted, "log/a/1/sub/out"} - {"log/gone/1/out"}


def test_a_folder_at_home_that_is_a_link_keeps_its_files_out_of_those_alike(
    transport: Transport, there: Path, here: Path, tmp_path: Path
) -> None:
    fill(there, log__a__1__out="1", log__b__1__out="2")
    (tmp_path / "elsewhere").mkdir()
    (here / "log").mkdir()
    (here / "log/a").symlink_to(tmp_path / "elsewhere")
    result = rsync.pull(transport, str(there), str(here), ["log/a/1/out", "log/b/1/out"], alike="log")
    assert result.refused == ("log/a/1/out",)
    assert (here / "log/b/1/out").read_text() == "2"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_modes_are_the_owners_alone_and_times_are_kept(transport: Transport, there: Path, here: Path) -> None:
    fill(there, d__a="1")
    (there / "d/a").chmod(0o6777)
    os.utime(there / "d/a", (1_000_000_000, 1_000_000_000))
    rsync.pull(transport, str(there), str(here), ["d/a"])
    found = (here / "d/a").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_mtime == 1_000_000_000
    assert stat.S_IMODE((here / "d").stat().st_mode) == 0o700


def test_links_and_special_files_stay_away(transport: Transport, there: Path, here: Path) -> None:
    fill(there, a="1", d__b="2")
    (there / "link").symlink_to("/etc/passwd")
    (there / "dirlink").symlink_to("/etc")
    os.mkfifo(there / "pipe")
    rsync.pull(transport, str(there), str(here), ["a", "link", "dirlink", "dirlink/passwd", "pipe", "d"])
    assert names(here) <= {"a", "d/b", "dirlink/passwd"}
    assert not (here / "link").exists()
    assert not any(path.is_symlink() for path in here.rglob("*"))


def test_too_large_files_are_left_out_and_not_taken_for_arrived(
    transport: Transport, there: Path, here: Path
) -> None:
    fill(there, small="1", big="x" * 5000)
    assert rsync.pull(transport, str(there), str(here), ["small", "big"], max_size=1000).exit_code == 0
    assert names(here) == {"small"}
    listing = [Listed("small", 1), Listed("big", 5000)]
    assert [one.path for one in rsync.missing(listing, str(here))] == ["big"]
    assert rsync.missing(listing, str(here), 1000) == ()
    assert rsync.arrival(listing[1], str(here), 1000) is Arrival.TOO_LARGE


def test_a_file_that_cannot_be_read_leaves_the_rest_and_says_so(
    transport: Transport, there: Path, here: Path
) -> None:
    fill(there, a="1", d="2")
    (here / "d").mkdir()
    (here / "d/in-the-way").write_text("")
    result = rsync.pull(transport, str(there), str(here), ["a", "d"])
    assert result.partial
    assert "in-the-way" in result.stderr or "d" in result.stderr
    assert (here / "a").read_text() == "1"
    assert [one.path for one in rsync.missing([Listed("a", 1), Listed("d", 1)], str(here))] == ["d"]


# nothing gets out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a//b", "nul\0x"])
def test_names_that_lead_out_are_refused(transport: Transport, there: Path, here: Path, name: str) -> None:
    fill(there, a="1")
    result = rsync.pull(transport, str(there), str(here), [name, "a"])
    assert result.refused == (name,)
    assert names(here) == {"a"}
    assert names(there.parent) == {f"{there.name}/a", f"{here.name}/a"}


def test_a_link_at_home_is_not_followed_out(
    transport: Transport, there: Path, here: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (here / "d").symlink_to(outside)
    (here / "f").symlink_to(outside / "kept")
    fill(there, d__new="1", f="new text", e__deep__x="2")
    result = rsync.pull(transport, str(there), str(here), ["d/new", "f", "e"])
    assert result.refused == ("d/new",)
    assert (outside / "kept").read_text() == "kept"
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (here / "f").read_text() == "new text"
    assert not (here / "f").is_symlink()


def test_a_listed_directory_does_not_lead_out_by_a_link_below_it(
    transport: Transport, there: Path, here: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (here / "d").mkdir()
    (here / "d/sub").symlink_to(outside)
    fill(there, d__sub__x="1")
    rsync.pull(transport, str(there), str(here), ["d"])
    assert list(outside.iterdir()) == []


# the other way round -----------------------------------------------------------------------------------


def test_a_suite_is_installed_without_what_is_excluded(transport: Transport, there: Path, here: Path) -> None:
    fill(here, suite_yaml="s", bin__tool="#!/bin/sh", log__old="x", data__log__kept="k")
    (here / "bin/tool").chmod(0o755)
    (here / "lnk").symlink_to("/etc/passwd")
    rsync.push(transport, str(here), str(there), exclude=["/log/"])
    assert names(there) == {"suite.yaml", "bin/tool", "data/log/kept"}
    assert stat.S_IMODE((there / "bin/tool").stat().st_mode) == 0o700
    assert stat.S_IMODE((there / "suite.yaml").stat().st_mode) == 0o600


def test_chosen_files_are_pushed(transport: Transport, there: Path, here: Path) -> None:
    fill(here, a="1", b__c="2", b__d="3", **{"#d": "4", ";e": "5"})
    result = rsync.push(transport, str(here), str(there), ["a", "b/c", "#d", ";e", "../x"])
    assert names(there) == {"a", "b/c", "#d", ";e"}
    assert result.refused == ("../x",)


def test_nothing_to_do_connects_nowhere(transport: Transport, there: Path, here: Path) -> None:
    assert rsync.pull(transport, str(there), str(here), []).exit_code == 0
    assert rsync.push(transport, str(here), str(there), []).exit_code == 0


def test_a_directory_that_is_not_there_is_an_error_with_code_and_words(
    transport: Transport, tmp_path: Path, here: Path
) -> None:
    with pytest.raises(RsyncError, match=r"exit \d+.*(No such file|change_dir)"):
        rsync.pull(transport, str(tmp_path / "absent"), str(here), ["a"])


def test_an_rsync_that_is_interrupted_says_so(
    transport: Transport, there: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C ends it, which goes to all processes of the terminal."""
    program = tmp_path / "bin" / "rsync"
    program.parent.mkdir()
    said = "rsync error: received SIGINT, SIGTERM, or SIGHUP (code 20) at rsync.c(713) [Receiver=3.2.7]"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{said}' >&2\nexit 20\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(RsyncError, match=r"rsync was interrupted; the next time"):
        rsync.pull(transport, str(there), str(here), ["a"])


# what differs by transport ------------------------------------------------------------------------------


def test_local_to_the_same_directory_does_nothing(there: Path, make_sshd: MakeSshd) -> None:
    local = transport_to(make_sshd(start=False), "local")
    fill(there, a="1")
    assert rsync.pull(local, str(there), str(there) + "/.", ["a"]).exit_code == 0
    assert (there / "a").read_text() == "1"


@pytest.mark.parametrize("kind", ["fabric", "openssh"])
def test_no_rsync_on_the_host_is_named(
    make_sshd: MakeSshd, kind: str, there: Path, here: Path, tmp_path: Path
) -> None:
    sshd = make_sshd(force_command_prefix=f"PATH={tmp_path}")
    transport = transport_to(sshd, kind)
    with contextlib.closing(transport), pytest.raises(RsyncError, match="wizard: no rsync on the host"):
        rsync.pull(transport, str(there), str(here), ["a"])


def test_over_openssh_rsync_shares_the_connection(make_sshd: MakeSshd, there: Path, here: Path) -> None:
    sshd = make_sshd()
    transport = transport_to(sshd, "openssh")
    fill(there, a="1")
    rsync.pull(transport, str(there), str(here), ["a"])
    transport.run("true")
    assert sshd.logins() == 1


@pytest.mark.parametrize("kind", ["fabric", "openssh"])
def test_a_host_that_is_away_is_a_connect_error(
    make_sshd: MakeSshd, kind: str, there: Path, here: Path
) -> None:
    sshd = make_sshd()
    transport = transport_to(sshd, kind)
    sshd.stop()
    with pytest.raises(ConnectError):
        rsync.pull(transport, str(there), str(here), ["a"])


def test_a_temporary_directory_with_spaces_is_avoided(
    make_sshd: MakeSshd, there: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "my tmp"
    spaced.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spaced))
    sshd = make_sshd()
    fill(there, a="1")
    rsync.pull(transport_to(sshd, "openssh"), str(there), str(here), ["a"])
    assert names(here) == {"a"}
    end_masters(sshd.path("c"))


def test_login_shells_let_rsync_through(make_sshd: MakeSshd, there: Path, here: Path) -> None:
    fill(there, a="1")
    for shell in ("/bin/dash", "/bin/tcsh"):
        if os.path.exists(shell):
            sshd = make_sshd(shell=shell)
            (here / "a").unlink(missing_ok=True)
            rsync.pull(transport_to(sshd, "openssh"), str(there), str(here), ["a"])
            assert names(here) == {"a"}


def test_names_may_travel_as_paths_in_portions(
    transport: Transport, there: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a host with a restricted key wants them."""
    monkeypatch.setattr(rsync, "MAX_NAMES", 200)
    monkeypatch.setattr(rsync, "_WANT_PATHS", {transport})
    wanted = ["log/job.out", "-dash", "a [b]*", "#hash", "quote'd $(x);", "sp ace/x:y", "ünï"]
    for name in [*wanted, "secret"]:
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_text(name)
    result = rsync.pull(transport, str(there), str(here), [*wanted, "gone", "../secret"], max_size=100)
    assert names(here) == set(wanted)
    assert all((here / name).read_text() == name for name in wanted)
    assert result.refused == ("../secret",)
    assert result.exit_code in (0, 23, 24)

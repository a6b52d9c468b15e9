"""The worked example, whole: what Cylc's document tells about remote jobs, held against the product."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shells import ROOT, Shell, eventually, processes_in

SUITEX = ROOT / "suites" / "suitex" / "suite.yaml"

# The trees of the document, as far as jobs go; job-activity.log and the scheduler's own log are not in them.
JOB_FILES = {"job", "job.err", "job.out", "job.status"}


def shortened() -> str:
    """The shipped suite with shorter sleeps; the remote jobs leave a file, so that work directories stay."""
    text = SUITEX.read_text()
    text, changed = re.subn(r"sleep (2|10)$", "sleep 0.3", text, flags=re.MULTILINE)
    assert changed == 4
    assert "script: sleep 30" in text
    running = 'jobmgr status "$JOBMGR_SUITE" REMOTES | grep -c "^1.*running"'
    text = text.replace("sleep 5\n", f'until [ "$({running})" = 2 ]; do sleep 0.2; done; sleep 1\n')
    return text.replace("script: sleep 30", "script: touch xxx; echo seen from afar; sleep 30")


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> "dir", "file" or the target of a link; .service is not unfolded."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith(".service/"):
            continue
        found[name] = str(path.readlink()) if path.is_symlink() else "dir" if path.is_dir() else "file"
    return found


def documented(*tasks: str, files: tuple[str, ...] = ()) -> dict[str, str]:
    """The document's run directory after these jobs: the same on both sides."""
    found = {
        ".service": "dir", "log": "dir", "log/job": "dir", "log/job/1": "dir", "work": "dir", "work/1": "dir",
        "share": "dir", "share/cycle": "dir", "suite.yaml": "file", "lib": "dir", "lib/data.txt": "file",
    }  # fmt: skip
    for task in tasks:
        found |= {f"log/job/1/{task}": "dir", f"log/job/1/{task}/01": "dir", f"log/job/1/{task}/NN": "01"}
        found |= {f"log/job/1/{task}/01/{name}": "file" for name in JOB_FILES}
    for path in files:
        found |= {str(Path(path).parent): "dir", path: "file"}
    return found


def test_suitex_plays_to_its_end_as_the_document_tells(ssh_user: Shell) -> None:
    folder = ssh_user.suite("suitex", shortened(), {"lib/data.txt": "a file of the suite\n"})
    out = ssh_user("play", folder, code=None)

    # What the master did: it read the remote log, polled, killed and removed the jobs of its own suite.
    said = ssh_user("log", "suitex", "1/master")
    assert "seen from afar" in said
    assert "2 polled" in said
    assert re.search(r"1/remote-a/01 +killed", said)
    assert re.search(r"1/remote-b/01 +killed", said)
    assert re.search(r"1/remote-a +removed", said)
    assert re.search(r"suitex finished in .*: 2 succeeded, 2 removed", out), out
    for task in ("remote-a", "remote-b"):
        assert "SIGNAL/TERM" in ssh_user("log", "suitex", f"1/{task}", "status")
    assert processes_in(ssh_user.host.home) == []

    # The trees: the same names on both sides; extras are under .service alone.
    away = tree(ssh_user.remote_root / "suitex")
    assert away == documented("remote-a", "remote-b", files=("work/1/remote-a/xxx", "work/1/remote-b/xxx"))
    here = {path: kind for path, kind in tree(ssh_user.run_root / "suitex").items()
            if not path.endswith("job-activity.log")}  # fmt: skip
    assert here == documented("delayer", "master", "remote-a", "remote-b")

    # Contact was there while the suite played, and is gone with it.
    assert not (ssh_user.remote_root / "suitex/.service/contact").exists()


def test_what_the_hosts_are_asked_is_what_the_document_lists(user: Shell) -> None:
    """Service files and (few, small) source files, one submit, one log, one poll, one kill, one retrieval, one tidy:
    the submit in the session of the first call, the tidy in that of a poll if it still stands.
    """
    user("play", user.suite("suitex", shortened()), code=None)
    calls = [call for call in user.calls() if call not in ("jobs-poll", "remote-tidy")]
    assert calls == ["remote-init", "install", "remote-init", "cat-log", "jobs-kill", "rsync"]


def test_the_shipped_suite_is_the_documents() -> None:
    text = SUITEX.read_text()
    assert re.search(r"^graph: delayer => master & REMOTES$", text, re.MULTILINE)
    assert re.findall(r"sleep \d+", text) == [f"sleep {n}" for n in (30, 10, 5, 2, 2, 2)]


TWO_HOSTS = """\
tasks:
  here: {platform: localhost, script: "sleep 300"}
  there: {platform: wizard, script: "touch xxx; mkdir -p $JOBMGR_SHARE_DIR/d; sleep 300"}
"""


@pytest.fixture
def live(user: Shell) -> Shell:
    """A run with a live job here and on a host, nobody watching."""
    user("submit", user.suite("live", TWO_HOSTS))
    eventually(lambda: set(user.states("live", "--poll").values()) == {"running"})
    return user


def test_a_restart_installs_contact_again_where_jobs_live(live: Shell) -> None:
    contact = live.remote_root / "live/.service/contact"
    assert contact.is_file()
    contact.unlink()
    live("play", "live", "--timeout", "1s", code=124)
    assert contact.is_file()


def test_new_cleans_the_hosts_first(live: Shell) -> None:
    left = live.remote_root / "live" / "work" / "1" / "there" / "xxx"
    assert left.exists()
    refused = live.done("play", "./live", "--new")
    assert refused.returncode == 7
    assert left.exists()
    live("kill", "live")
    live.forget_calls()
    live.suite("live", TWO_HOSTS.replace("touch xxx", "true").replace("sleep 300", "true"))
    live("play", "./live", "--new")
    assert live.calls()[:2] == ["remote-tidy", "remote-init"]
    assert not left.exists()
    assert live.states("live") == {"1/here/01": "succeeded", "1/there/01": "succeeded"}


def test_tidy_refuses_while_jobs_are_active_and_takes_the_contact_file_away(live: Shell) -> None:
    contact = live.remote_root / "live/.service/contact"
    refused = live.done("tidy", "live")
    assert refused.returncode == 7
    assert "1/there/01" in refused.stderr
    assert contact.exists()
    live("kill", "live")
    live("tidy", "live")
    assert not contact.exists()
    assert (live.remote_root / "live/log/job/1/there/01/job.status").exists()


def test_clean_of_one_side_leaves_the_other(live: Shell) -> None:
    away, here = live.remote_root / "live", live.run_root / "live"
    refused = live.done("clean", "live", "--yes")
    assert refused.returncode == 7
    assert "1/there/01" in refused.stderr
    live("kill", "live")
    would = live.done("clean", "live", "--dry-run")
    assert str(away) in would.stdout + would.stderr
    assert str(here) in would.stdout + would.stderr
    assert away.exists()
    assert here.exists()
    live("clean", "live", "--remote", "--yes")
    assert not away.exists()
    assert here.exists()
    live("clean", "live", "--local", "--yes")
    assert not here.exists()
    assert live.done("status", "live").returncode == 4


def test_clean_follows_its_own_links_and_no_others(user: Shell) -> None:
    scratch = Path(user.host.home) / "scratch"
    treasure = Path(user.host.home) / "treasure"
    treasure.mkdir()
    (treasure / "kept").touch()
    user.platforms(
        "platforms:\n  wizard:\n    hosts: [wizard]\n    runner: background\n"
        "    symlinks: {work: $HOME/scratch}\n"
    )
    script = 'touch result; ln -s "$HOME/treasure" in-work; ln -s "$HOME/treasure" $JOBMGR_SHARE_DIR/in-share'
    folder = user.suite("linked", f"tasks: {{a: {{platform: wizard, script: '{script}'}}}}\n")
    user("play", folder)
    work = user.remote_root / "linked" / "work"
    assert work.is_symlink()
    target = work.resolve()
    assert (target / "1/a/result").exists()
    assert target.is_relative_to(scratch)
    user("clean", "linked", "--yes")
    assert not (user.remote_root / "linked").exists()
    assert not target.exists()
    assert (treasure / "kept").exists()

"""The store is a cache: it is rebuilt from the hosts, on this machine or on another one."""

from __future__ import annotations

from jobmgr.errors import EXIT_NO_ANSWER, EXIT_NOT_FOUND, EXIT_REFUSED
from shells import Shell, at_work, eventually

MIXED = """\
graph: |
  good & bad:failed & gate => last
defaults: {platform: wizard}
tasks:
  good: {script: echo done}
  bad: {script: exit 3, retry_delays: [0s]}
  gate: {script: 'until [ -e "$JOBMGR_SHARE_DIR/go" ]; do sleep 0.1; done'}
  last: {script: 'echo "$JOBMGR_JOB" >> "$JOBMGR_SHARE_DIR/ran"'}
"""
STATES = {
    "1/good/01": "succeeded", "1/bad/02": "failed", "1/gate/01": "running", "1/last": "waiting",
}  # fmt: skip


def mixed(user: Shell) -> None:
    """A run with every kind of job, two submits of one of them."""
    user.suite("mixed", MIXED)
    user("play", "./mixed", "--timeout", "1s", code=124)

    def there() -> bool:
        user("tick", "mixed")
        return user.states("mixed", "--poll") == STATES

    eventually(there)


def test_a_lost_store_is_rebuilt_from_the_hosts_and_the_run_goes_on(user: Shell) -> None:
    mixed(user)
    before = {r["id"]: r for r in user.records("status", "mixed") if r["type"] == "job"}
    for path in (user.run_root / "mixed/.service").glob("suite.db*"):
        path.unlink()
    lost = user.done("status", "mixed")
    assert lost.returncode == 4
    assert "jobmgr recover mixed" in lost.stderr
    user("recover", "mixed", "--from", "wizard")
    after = {r["id"]: r for r in user.records("status", "mixed") if r["type"] == "job"}
    assert {job: row["state"] for job, row in after.items()} == STATES
    for key in ("token", "native_id", "exit_code", "host", "submit", "exit_time"):
        assert [row[key] for row in after.values()] == [before[job][key] for job in after], key
    for job, row in after.items():  # the host's own word, a moment after the intent
        there = user.remote_root / "mixed/log/job" / job / "job.status"
        told = f"JOBMGR_SUBMIT_TIME={row['submit_time']}\n" in there.read_text() if there.exists() else None
        assert told is (True if before[job]["submit_time"] else None), job
    (user.remote_root / "mixed/share/go").touch()
    user("play", "mixed", code=None)
    assert user.states("mixed")["1/last/01"] == "succeeded"
    assert (user.remote_root / "mixed/share/ran").read_text() == "1/last/01\n"
    assert user("log", "mixed", "1/good") == "done\n"


def test_a_run_that_was_taken_over_is_refused_to_its_old_controller(user: Shell) -> None:
    mixed(user)
    heir = user.beside("heir")
    heir("recover", "mixed", "--from", "wizard")
    assert heir.states("mixed") == STATES

    for words in (["kill", "mixed", "1/gate"], ["submit", "mixed", "1/good"], ["retry", "mixed", "1/bad"]):  # fmt: skip
        refused = user.done(*words)
        assert "taken over by" in refused.stdout + refused.stderr, (words, refused)
        assert refused.returncode == 7, (words, refused)
    # Looking is allowed.
    user("poll", "mixed", "1/gate")
    assert user("log", "mixed", "1/good/01") == "done\n"
    assert heir.states("mixed", "--poll")["1/gate/01"] == "running"

    (user.remote_root / "mixed/share/go").touch()
    heir("play", "mixed", code=None)
    assert heir.states("mixed")["1/last/01"] == "succeeded"
    assert (user.remote_root / "mixed/share/ran").read_text() == "1/last/01\n"


def test_a_run_is_taken_over_from_all_of_its_hosts_or_from_none() -> None:
    waits = "'until [ -e $JOBMGR_SHARE_DIR/go ]; do sleep 0.1; done; echo ran >> $JOBMGR_SHARE_DIR/ran'"
    tasks = "".join(f"  {name}: {{platform: {name}, script: {waits}}}\n" for name in ("wizard", "far"))
    with at_work("wizard", "far", min_polling_interval="1s", connect_timeout="2s") as user:
        user("submit", user.suite("two", f"tasks:\n{tasks}"))
        eventually(lambda: set(user.states("two", "--poll").values()) == {"running"})
        heir = user.beside("heir")
        user.hosts["far"].freeze()
        taken = heir.done("recover", "two", "--from", "wizard", "far")
        assert taken.returncode == EXIT_NO_ANSWER, taken
        assert "far: " in taken.stderr
        assert "nothing was rebuilt" in taken.stderr
        assert heir.done("play", "two").returncode == EXIT_NOT_FOUND
        assert user.states("two", "1/wizard", "--poll") == {"1/wizard/01": "running"}  # it is the old one's still

        user.hosts["far"].thaw()
        heir("recover", "two", "--from", "wizard", "far")
        eventually(lambda: set(heir.states("two", "--poll").values()) == {"running"})
        for host in ("wizard", "far"):
            assert user.done("kill", "two", f"1/{host}").returncode == EXIT_REFUSED
        for host in ("wizard", "far"):
            share = user.folder / host / "jobmgr-run/two/share"
            (share / "go").touch()
            eventually((share / "ran").exists)
        heir("play", "two")
        assert set(heir.states("two").values()) == {"succeeded"}
        for host in ("wizard", "far"):
            assert (user.folder / host / "jobmgr-run/two/share/ran").read_text() == "ran\n"


def test_a_host_that_was_away_during_the_take_over_runs_nothing_twice() -> None:
    """The old controller's cron ticks on, and is the first to meet the host when that is back."""
    script = 'echo "$JOBMGR_JOB" >> "$JOBMGR_SHARE_DIR/ran"; until [ -e "$JOBMGR_SHARE_DIR/go" ]; do sleep 0.1; done'
    task = f"script: '{script}', submit_retry_delays: [0s, 0s]"
    text = "".join(f"  {name}: {{platform: {host}, {task}}}\n" for name, host in
                   {"near": "wizard", "old": "far", "later": "far", "last": "far"}.items())  # fmt: skip
    often = {"polling_interval": "1s", "queued_polling_interval": "1s", "long_poll": "false"}
    with at_work("wizard", "far", **often) as user:
        path = user.suite("two", f"graph: |\n  old\n  near => later\n  later => last\ntasks:\n{text}")
        user("submit", path)
        eventually(lambda: list(user.states("two", "--poll").values()).count("running") == 2)
        heir = user.beside("heir", **often)
        user.hosts["far"].freeze()
        heir("recover", "two", "--from", "wizard")
        user.hosts["far"].thaw()

        share, far = (user.folder / host / "jobmgr-run/two/share" for host in ("wizard", "far"))
        (share / "go").touch()
        eventually(lambda: user("tick", "two", code=None) and "1/later/01" in user.states("two"))
        # Now the heir: it raises the epoch there, and leaves alone what is there already.
        eventually(
            lambda: (
                heir("tick", "two", code=None)
                and list(heir.states("two").values()).count("submit-failed") == 2
            )
        )
        for name in ("old", "later"):
            assert "far has it from another controller, and it may have run" in heir("why", "two", f"1/{name}")
        refused = user.done("kill", "two", "1/old")
        assert (refused.returncode, "taken over by" in refused.stderr) == (EXIT_REFUSED, True)
        (far / "go").touch()
        eventually(lambda: user.states("two", "--poll")["1/later/01"] == "succeeded")  # it may look
        user("tick", "two", code=None)
        heir("tick", "two", code=None)
        assert sorted((far / "ran").read_text().split()) == ["1/later/01", "1/old/01"]
        assert (share / "ran").read_text() == "1/near/01\n"


def test_ad_hoc_runs_of_two_controllers_do_not_collide(user: Shell) -> None:
    heir = user.beside("heir")
    user("run", "wizard", "--wait", "--", "echo", "one")
    heir("run", "wizard", "--wait", "--", "echo", "two")
    assert user("log", "adhoc", "1/echo") == "one\n"
    assert heir("log", "adhoc", "1/echo") == "two\n"
    assert len([p for p in user.remote_root.iterdir() if p.name.startswith("adhoc")]) == 2
    for path in (user.run_root / "adhoc/.service").glob("suite.db*"):
        path.unlink()
    user("recover", "adhoc", "--from", "wizard")
    assert user.states("adhoc") == {"1/echo/01": "succeeded"}
    user("clean", "adhoc", "--yes")
    assert heir("log", "adhoc", "1/echo", "job").startswith("#!")


def test_what_no_host_knows_is_not_recovered(user: Shell) -> None:
    done = user.done("recover", "never", "--from", "wizard")
    assert done.returncode == 4
    assert "never" in done.stderr
    eventually(lambda: not (user.run_root / "never").exists(), 1)

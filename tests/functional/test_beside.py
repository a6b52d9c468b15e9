"""Commands beside a play, from other processes: each does its work, and the play takes notice."""

from __future__ import annotations

from shells import Shell, eventually

BUSY = """\
graph: |
  a & b => c => d
  last
defaults: {platform: wizard}
tasks:
  a: {script: sleep 300}
  b: {script: 'until [ -e "$JOBMGR_SHARE_DIR/go" ]; do sleep 0.1; done'}
  last: {script: 'until [ -e "$JOBMGR_SHARE_DIR/end" ]; do sleep 0.1; done'}
  c: {script: "true"}
  d: {script: "true"}
  extra: {script: "echo asked for", manual: true}
"""


def test_a_person_steers_a_run_that_is_played(user: Shell) -> None:
    user.suite("busy", BUSY)
    with user.started("play", "./busy") as play:
        eventually(lambda: user.states("busy").get("1/a/01") == "running")
        assert "another" in user("tick", "busy")
        user("poll", "busy")

        user("hold", "busy", "1/c")
        assert "1/a/01  killed" in user("kill", "busy", "1/a")
        assert any(b"1/a/01  killed" in line for line in play.stdout)  # waits for play to have seen it
        user("retry", "busy", "1/a")
        eventually(lambda: user.states("busy").get("1/a/02") == "running")
        user("kill", "busy", "1/a")
        user("remove", "busy", "1/a")
        user("submit", "busy", "1/extra")
        eventually(lambda: user.states("busy").get("1/extra/01") == "succeeded")

        # Everything that c waits for is there, but it is held.
        (user.remote_root / "busy/share/go").touch()
        eventually(lambda: user.states("busy").get("1/b/01") == "succeeded")
        assert user.states("busy")["1/c"] == "held"
        user("release", "busy", "1/c")
        eventually(lambda: user.states("busy").get("1/d/01") == "succeeded")
        (user.remote_root / "busy/share/end").touch()
        out = play.communicate(timeout=60)[0].decode()
    assert play.returncode == 0, out
    assert user.states("busy") == {
        "1/a/02": "removed", "1/b/01": "succeeded", "1/last/01": "succeeded", "1/c/01": "succeeded",
        "1/d/01": "succeeded", "1/extra/01": "succeeded",
    }  # fmt: skip


def test_a_held_run_submits_nothing_until_it_is_released(user: Shell) -> None:
    user("submit", user.suite("still", "graph: a => b\ntasks: {a: {script: 'true'}, b: {script: 'true'}}\n"))
    user("hold", "still")
    eventually(lambda: user.states("still", "--poll").get("1/a/01") == "succeeded")
    user("tick", "still")
    assert user.states("still")["1/b"] == "waiting"
    assert "held" in user("why", "still", "1/b")
    user("release", "still")
    user("play", "still")
    assert user.states("still")["1/b/01"] == "succeeded"


def test_kill_without_ids_kills_everything_and_holds_the_run(user: Shell) -> None:
    user("submit", user.suite("all", "graph: a => b\ntasks: {a: {script: sleep 300}, b: {script: 'true'}}\n"))
    user("kill", "all")
    assert user.states("all") == {"1/a/01": "killed", "1/b": "waiting"}
    assert "held" in user("status", "all").splitlines()[0]


def test_ad_hoc_jobs_start_beside_one_that_is_waited_for(user: Shell) -> None:
    """Two terminals, one run: nobody waits for the other."""
    with user.started("run", "wizard", "--wait", "--name", "long", "--", "sleep", "600") as first:
        eventually(lambda: user.states("adhoc").get("1/long/01") == "running")
        user("run", "wizard", "--wait", "--name", "short", "--", "sh", "-c", "exit 3", code=3)
        user("kill", "adhoc", "long")
        assert first.wait(60) == 128 + 15


def test_a_second_play_says_at_once_who_is_at_work(user: Shell) -> None:
    folder = user.suite("one", "tasks: {a: {platform: wizard, script: sleep 600}}\n")
    with user.started("play", folder) as first:
        eventually(lambda: user.states("one").get("1/a/01") == "running")
        refused = user.done("play", "one")
        assert refused.returncode == 7
        assert "play (pid" in refused.stderr
        user("kill", "one")
        first.wait(60)

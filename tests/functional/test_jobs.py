"""What a suite may ask for, and what becomes of it on a real host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shells import Shell, at_work, eventually

SUITE = """\
parameters: {m: 1..3}
graph: |
  flaky => after
  talker:data_ready => reader
  slow:failed => rescue
  late
  sim<m> => post<m>
  post => sum
families:
  AWAY: {platform: wizard}
  SIMS: {inherit: AWAY}
tasks:
  flaky:
    inherit: AWAY
    retry_delays: [0s, 2*1s]
    script: echo "try $JOBMGR_SUBMIT_NUMBER"; [ "$JOBMGR_SUBMIT_NUMBER" = 03 ] || exit 4
  after: {inherit: AWAY, script: "true"}
  talker:
    inherit: AWAY
    events: [data_ready]
    script: |
      jobmgr-message data_ready
      jobmgr-message -s WARNING "nearly | there"
      until [ -e "$JOBMGR_SHARE_DIR/read" ]; do sleep 0.1; done
  reader: {inherit: AWAY, script: 'touch "$JOBMGR_SHARE_DIR/read"'}
  slow: {inherit: AWAY, time_limit: 1s, script: sleep 300}
  rescue: {inherit: AWAY, script: "true"}
  late:
    inherit: AWAY
    inputs: [~/late.txt]
    submit_retry_delays: [1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s]
    script: cat late.txt
  sim: {inherit: SIMS, parameters: [m], script: 'touch "$JOBMGR_SHARE_DIR/sim$JOBMGR_PARAM_m"'}
  post: {inherit: SIMS, parameters: [m], script: 'ls "$JOBMGR_SHARE_DIR/sim$JOBMGR_PARAM_m"'}
  sum: {inherit: AWAY, script: 'ls "$JOBMGR_SHARE_DIR"/sim* | wc -l'}
"""


@pytest.fixture(scope="module")
def played() -> Iterator[Shell]:
    """All of it, played to its end. The input of ``late`` comes when its first submit has failed."""
    with at_work() as user:
        with user.started("play", user.suite("all", SUITE)) as play:
            eventually(lambda: (user.run_root / "all/.service/suite.db").exists())
            eventually(lambda: user.records("status", "all", "1/late") and
                       "late.txt" in user("why", "all", "1/late", code=None))  # fmt: skip
            (user.home / "late.txt").write_text("better than never\n")
            out = play.communicate(timeout=90)[0].decode()
        assert play.returncode == 1, out
        yield user


def test_everything_ended_as_it_should(played: Shell) -> None:
    states = played.states("all")
    late = [job for job in states if job.startswith("1/late/")]
    assert states.pop(late[0]) == "succeeded"
    assert states.pop("1/slow/01") == "failed"
    assert set(states.values()) == {"succeeded"}
    assert set(states) == {
        "1/flaky/03", "1/after/01", "1/talker/01", "1/reader/01", "1/rescue/01", "1/sum/01",
        *(f"1/{task}_m{m}/01" for task in ("sim", "post") for m in (1, 2, 3)),
    }  # fmt: skip


def test_retries_follow_failures_and_submit_failures(played: Shell) -> None:
    for number, code in (("01", 4), ("02", 4), ("03", 0)):
        (row,) = played.records("status", "all", f"1/flaky/{number}")[1:]
        assert (row["exit_code"] or 0) == code
        assert played("log", "all", f"1/flaky/{number}") == f"try {number}\n"
    assert played("log", "all", "1/late") == "better than never\n"


def test_a_message_that_is_an_event_fires_the_graph_and_others_are_kept(played: Shell) -> None:
    told = played("why", "all", "1/talker")
    assert "nearly | there" in told
    assert "data_ready" in played("log", "all", "1/talker", "status")


def test_a_time_limit_is_named(played: Shell) -> None:
    assert "time limit" in played("why", "all", "1/slow")
    assert "time limit" in played("status", "all", "1/slow")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([":failed"], 1), (["SIMS"], 6), (["sim*"], 3), (["1/post_m[12]"], 2), (["AWAY:failed"], 1),
        (["sim", "post_m1"], 4), (["1/flaky/02"], 1), ([":succeeded"], 13),
    ],
)  # fmt: skip
def test_jobs_are_chosen_by_family_glob_and_state(played: Shell, words: list[str], count: int) -> None:
    assert len(played.states("all", *words)) == count


def test_why_tells_a_story_for_each_job(played: Shell) -> None:
    for job in played.states("all"):
        lines = played("why", "all", job).splitlines()
        assert re.match(rf"{re.escape(job)}: (succeeded|failed)", lines[0])
        assert any(line.startswith("rule: ") for line in lines)
        assert any("job.status" in line for line in lines)


JSON = [
    ["validate", "./all"], ["status"], ["status", "all"], ["why", "all", "1/slow"], ["poll", "all"],
    ["tick", "all"], ["tick", "--all"], ["wait", "all"], ["log", "all", "1/sum", "--list"],
    ["log", "all", "1/sum", "--path"], ["retrieve", "all"], ["submit", "./all", "--dry-run"],
    ["run", "wizard", "--suite", "json", "--dry-run", "--", "true"],
    ["run", "wizard", "--suite", "json", "--wait", "--", "true"], ["submit", "all", "1/after"],
    ["play", "json"], ["hold", "all", "1/sum"], ["release", "all", "1/sum"], ["retry", "json", "1/true"],
    ["kill", "json"], ["remove", "all", "1/slow"], ["tidy", "json"], ["platforms", "list"],
    ["platforms", "show", "wizard"], ["clean", "json", "--dry-run"], ["clean", "json", "--yes"],
]  # fmt: skip


def test_every_verb_speaks_json_lines(played: Shell) -> None:
    for words in JSON:
        for record in played.records(*words, code=None):
            assert record["schema"] == 1, words
            assert record["type"] != "error", (words, record)


def test_an_error_in_json_is_a_record_too(played: Shell) -> None:
    (record,) = played.records("status", "nothing", code=4)
    assert record["type"] == "error"
    assert record["exit"] == 4


# --- how many at once -------------------------------------------------------------------------------------


@pytest.fixture
def narrow() -> Iterator[Shell]:
    with at_work(max_active="1") as user:
        yield user


def test_max_active_jobs_run_one_after_the_other(narrow: Shell) -> None:
    script = 'echo in >> "$JOBMGR_SHARE_DIR/order"; sleep 0.2; echo out >> "$JOBMGR_SHARE_DIR/order"'
    path = narrow.suite(
        "narrow", f"tasks: {{s: {{platform: wizard, parameters: {{m: 1..4}}, script: '{script}'}}}}\n"
    )
    narrow("play", path)
    assert (narrow.remote_root / "narrow/share/order").read_text().split() == ["in", "out"] * 4


def test_max_submit_keeps_the_rest_queued_and_says_why() -> None:
    with at_work(max_submit="2") as user:
        script = 'until [ -e "$JOBMGR_SHARE_DIR/go" ]; do sleep 0.1; done'
        user("submit", user.suite(
            "few", f"tasks: {{s: {{platform: wizard, parameters: {{m: 1..3}}, script: '{script}'}}}}\n"
        ))  # fmt: skip
        states = user.states("few")
        assert sorted(states.values())[0] == "queued"
        assert len([job for job, state in states.items() if state == "queued"]) == 1
        assert "max_submit" in user("why", "few", "s:queued")
        (user.remote_root / "few/share/go").touch()
        user("play", "few")
        assert set(user.states("few").values()) == {"succeeded"}


# --- ad-hoc jobs ------------------------------------------------------------------------------------------


def test_inputs_go_along_and_outputs_come_to_where_they_are_wanted(ssh_user: Shell) -> None:
    (ssh_user.home / "in.txt").write_text("carried there\n")
    folder = ssh_user.home / "data dir"
    folder.mkdir()
    (folder / "more").write_text("and back\n")
    script = ssh_user.home / "go.sh"
    script.write_text(
        '#!/bin/sh\ncat in.txt "data dir/more" > a.out\nmkdir sub; cp a.out sub/b.out; echo "$1 $X"\n'
    )
    script.chmod(0o755)
    ssh_user("run", "wizard", "-i", "in.txt", "-i", "data dir", "-o", "*.out", "-o", "sub/*.out", "--to", "results",
             "--env", "X=it's set", "--wait", "--", "./go.sh", "a b")  # fmt: skip
    assert (ssh_user.home / "results/a.out").read_text() == "carried there\nand back\n"
    assert (ssh_user.home / "results/sub/b.out").exists()
    assert ssh_user("log", "adhoc", "1/go.sh") == "a b it's set\n"


def test_run_wait_is_125_when_nobody_can_tell(user: Shell) -> None:
    with user.started("run", "wizard", "--wait", "--", "sleep", "300") as waiting:
        eventually(lambda: (user.run_root / "adhoc/.service/suite.db").exists()
                   and user.states("adhoc") == {"1/sleep/01": "running"})  # fmt: skip
        user("kill", "adhoc", "1/sleep")
        assert waiting.wait(60) == 128 + 15
    missing = user.done("run", "wizard", "-i", "nowhere", "--wait", "--", "true")
    assert missing.returncode == 2
    assert "nowhere" in missing.stderr


# --- a file system that both sides see ----------------------------------------------------------------------


def test_a_host_that_sees_the_same_run_root_is_recognised(user: Shell) -> None:
    user.platforms(
        f"platforms:\n  wizard:\n    hosts: [wizard]\n    runner: background\n    run_root: {user.run_root}\n"
    )
    folder = user.suite(
        "same", "tasks: {a: {platform: wizard, script: 'echo out; touch x.txt', outputs: '*.txt'}}\n",
        {"bin/tool": "#!/bin/sh\n"},
    )  # fmt: skip
    user("play", folder)
    assert "rsync" not in user.calls()
    assert user("log", "same", "1/a") == "out\n"
    assert (user.run_root / "same/work/1/a/x.txt").exists()
    user("clean", "same", "--yes", "--remote")
    assert user("log", "same", "1/a") == "out\n"
    assert (user.run_root / "same/suite.yaml").exists()
    user("clean", "same", "--yes")
    assert not (user.run_root / "same").exists()
    assert Path(user.host.home, ".jobmgr").exists()

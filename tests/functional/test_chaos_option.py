"""``--chaos``: a site's own acceptance test, as docs/cli.md shows it."""

from __future__ import annotations

import pytest

from shells import at_work

SUITE = """\
graph: a & b => c
defaults:
  platform: wizard
  script: echo "$JOBMGR_JOB" >> "$JOBMGR_SHARE_DIR/ran"
tasks: {a: {}, b: {}, c: {}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_a_suite_comes_through_and_each_job_runs_once(transport: str) -> None:
    with at_work(transport=transport, polling_interval="1s", queued_polling_interval="1s") as user:
        suite = user.suite("sweep", SUITE)
        user.extra["JOBMGR_CHAOS"] = "cut-after-submit,noise,slow=0.2,duplicate-request=0.5,seed=3"
        done = user.done("play", suite)
        assert done.returncode == 0, done.stderr
        assert "chaos: wizard: cut-after-submit (jobs-submit)" in done.stdout + done.stderr
        assert sorted((user.remote_root / "sweep/share/ran").read_text().split()) == ["1/a/01", "1/b/01", "1/c/01"]


def test_wrong_faults_are_a_usage_error() -> None:
    with at_work() as user:
        done = user.done("status", "--chaos", "cut-mid-repl=0.5")
        assert done.returncode == 2
        assert "nearest: cut-mid-reply" in done.stderr
        assert len(done.stderr.splitlines()) == 1

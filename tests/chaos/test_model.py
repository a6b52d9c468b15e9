"""Random sequences of what people, cron and fate do to a run, held against what must be true at any time."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chaos.world import HOST, SCRIPT, STRIDE, Fault, World, steps, submitted, world
from jobmgr.api.run import Run
from jobmgr.errors import JobmgrError
from jobmgr_remote import status, wire

TASKS = ("t0", "t1")
VERBS = (wire.JOBS_SUBMIT, wire.JOBS_POLL, wire.JOBS_KILL, wire.REMOTE_INIT)
FOR_GOOD = ("succeeded", "killed")


def faults() -> st.SearchStrategy[Fault]:
    verbs = st.sampled_from(VERBS)
    at, moments = st.integers(1, 60), st.sampled_from(["before", "after"])
    return st.one_of(
        st.builds(lambda verb, n, when: steps("kill", n, when, verb=verb), verbs, at, moments),
        st.builds(lambda verb, n: steps("full", n, "on", verb=verb, errno=errno.ENOSPC), verbs, at),
        st.builds(lambda verb, n: Fault(verb, request_lines=n), verbs, st.integers(0, 3)),
        st.builds(lambda verb, n: Fault(verb, reply_lines=n), verbs, st.integers(0, 4)),
        st.builds(lambda verb, how: Fault(verb, twice=how), verbs, st.sampled_from(["after", "at once"])),
        st.builds(lambda n, when: Fault(plan={"slot": {"at": n, "when": when}}), at, moments),
        st.builds(lambda n: Fault(plan={"wrapper": n}), st.integers(1, 150)),
    )  # fmt: skip


class Model(RuleBasedStateMachine):
    """One run of two tasks on one host. ``world`` is set by the test."""

    world: World

    @initialize(hold=st.booleans())
    def begin(self, hold: bool) -> None:
        made = self.world
        made.arm()
        made.down = False
        self.session = made.session()
        self.session.__enter__()
        self.name = made.new_name()
        # A job that waits can be killed, and outlives a few rules; it ends when its file is there.
        self.gate = made.host.home / f"go-{self.name}"
        wait = f"; until [ -e {self.gate} ]; do sleep 0.05; done" if hold else ""
        suite = made.suite(len(TASKS))
        self.suite = type(suite)(
            name="s", tasks={name: type(task)(script=SCRIPT + wait, platform=HOST, submit_retry_delays="9*1s")
                             for name, task in suite.tasks.items()},
        )  # fmt: skip
        self.run_: Run = submitted(made, self.session, self.suite, self.name)
        self.final: dict[str, str] = {}
        self.recovered = False

    def teardown(self) -> None:
        if not hasattr(self, "run_"):
            return
        try:
            self.at_rest()
        finally:
            made = self.world
            made.down = False
            made.arm()
            self.session.__exit__()
            made.host.ask("!kill")
            made.host.settle()
            made.forget(self.name)
            self.gate.unlink(missing_ok=True)

    # --- what people and cron do -------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1.0, 31.0, STRIDE]))
    def tick(self, seconds: float) -> None:
        self.world.offset += seconds
        self.run_.tick()

    @rule()
    def poll(self) -> None:
        self.run_.poll()

    @rule(task=st.sampled_from(TASKS))
    def kill(self, task: str) -> None:
        with contextlib.suppress(JobmgrError):
            self.run_.kill([f"1/{task}"])

    @rule(task=st.sampled_from(TASKS))
    def retry(self, task: str) -> None:
        with contextlib.suppress(JobmgrError):
            self.run_.retry([f"1/{task}"])

    @rule(at=st.integers(1, 12), when=st.sampled_from(["before", "after"]))
    def crash(self, at: int, when: str) -> None:
        """The controller of a cron job dies in the middle of its tick."""
        self.world.offset += STRIDE
        self.world.in_child(lambda own: own.open(self.name).tick(), at, when)

    @precondition(lambda self: not self.world.down)
    @rule()
    def recover(self) -> None:
        """The store is lost, and built again from the host."""
        made = self.world
        self.session.close()
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made.home / "jobmgr-run" / self.name / f".service/suite.db{ending}")
        made.arm()
        self.session = made.session()
        try:
            self.session.recover(self.name, [HOST])
        except JobmgrError as error:
            note(f"recover: {error}")
        try:
            self.run_ = self.session.open(self.name)
        except JobmgrError:  # nothing of it has reached the host
            self.run_ = submitted(made, self.session, self.suite, self.name)
        self.recovered = True
        self.final = {}

    # --- what fate does ----------------------------------------------------------------------------

    @rule(fault=faults())
    def cut(self, fault: Fault) -> None:
        self.world.arm(fault)

    @rule()
    def lose(self) -> None:
        self.world.down = True

    @rule()
    def heal(self) -> None:
        self.world.down = False
        self.world.arm()

    @rule()
    def reboot(self) -> None:
        self.world.host.reboot()

    @rule()
    def let_jobs_end(self) -> None:
        self.gate.touch()

    # --- what must be true -------------------------------------------------------------------------

    def rows(self) -> dict[str, Any]:
        return {row.id: row for row in self.run_.rows()}

    def lines(self) -> list[str]:
        path = self.world.host.home / "jobmgr-run" / self.name / "share/ran"
        return path.read_text().split() if path.exists() else []

    @invariant()
    def no_job_runs_twice(self) -> None:
        lines = self.lines()
        assert len(lines) == len(set(lines)), lines

    @invariant()
    def none_is_forgotten(self) -> None:
        if not self.recovered:
            assert {row.task for row in self.rows().values()} == set(TASKS)

    @invariant()
    def no_final_state_is_revised_without_evidence(self) -> None:
        states = {job.id: job.state.value for job in self.run_._ctx.store.jobs_where()}
        for job, state in self.final.items():
            if state in FOR_GOOD:
                assert states[job] == state, (job, state, states[job])
        self.final = states

    def at_rest(self) -> None:
        """Everything heals; plain ticks follow; store and job.status agree."""
        made = self.world
        made.down = False
        made.arm()
        self.gate.touch()
        made.host.resume()
        made.settle(self.run_, 24)
        self.no_job_runs_twice()
        self.none_is_forgotten()
        lines = self.lines()
        for job in self.run_._ctx.store.jobs_where():
            path = made.host.home / "jobmgr-run" / self.name / "log/job" / job.id / "job.status"
            try:
                record = status.parse(path.read_bytes()).facts.get(status.EXIT, "")
            except (FileNotFoundError, status.Unreadable):
                record = ""
            story = (job.id, job.state.value, job.detail, record, lines)
            assert (record == "SUCCEEDED") == (job.state.value == "succeeded"), story
            assert record != "SUCCEEDED" or job.id in lines, story
            assert job.state.value != "submit-failed" or job.id not in lines, story


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with world() as one:
        yield one


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_happens_in_whatever_order(made: World) -> None:
    Model.world = made
    examples = int(os.environ.get("CHAOS_EXAMPLES", "25"))
    Model.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=14, deadline=None,
        derandomize="CHAOS_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip
    Model.TestCase().runTest()


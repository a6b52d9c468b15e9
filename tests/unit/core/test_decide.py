"""The decision table: one case for each row and for each alternative in a row, then what holds for all of them."""

# ruff: noqa: E501 -- a table is read by its columns
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jobmgr.core.decide import GRACE, GRACE_NETWORK, ROWS, RULES, decide, with_since
from jobmgr.core.evidence import Facts, JobView, Look, PollAgain, Retrieve, Revoke, Verdict
from jobmgr.core.states import ACTIVE, FINAL, State, can
from jobmgr_remote import wire
from tests.unit.core.cases import (
    ELSEWHERE,
    HERE,
    NOW,
    evidence,
    file,
    found,
    look,
    no_file,
    queue,
    unsettled,
    view,
)

S = State
SLURM = view()
RUNS = view(S.RUNNING)
BG = view(batch=False)
BG_RUNS = view(S.RUNNING, batch=False, native_id="4711")
RAN = Facts(start_time=NOW - 600, attempts=1)


def after_grace(known: JobView) -> JobView:
    """The view after a first negative look, 31 s before NOW."""
    return replace(known, grace_since=NOW - GRACE - 1, grace_instance=HERE)


KILL_RUNS = replace(RUNS, kill_intended=True)
KILL_BG = replace(BG_RUNS, kill_intended=True)
STARTED = file(started=True)
WAIT = queue(wire.Q_WAITING, "PENDING", "Resources")
OOM = queue(wire.Q_ENDED, "OUT_OF_MEMORY", "OUT_OF_MEMORY")
COMPLETED = queue(wire.Q_ENDED, "COMPLETED", "")
DOWN = queue(wire.Q_COULD_NOT_ASK, error="slurm_load_jobs error: Unable to contact slurm controller")

# (what it shows, view, evidence, state, rule, detail (begins with), doubt (begins with))
TABLE: list[tuple[str, JobView, wire.Evidence | None, State, str, str, str]] = [
    # no reply line; anything foreign; the run directory
    ("no reply line", RUNS, None, S.RUNNING, "no-answer", "", "the host's answer does not tell"),
    ("another token", RUNS, evidence(token="x"), S.RUNNING, "foreign", "", "its directory on the host"),
    ("another job", RUNS, evidence(job="1/b/01"), S.RUNNING, "foreign", "", "its directory on the host"),
    ("foreign file", RUNS, evidence(file=no_file(wire.FILE_FOREIGN), queue=wire.Q_ABSENT), S.RUNNING, "foreign", "",
     "its directory on the host"),
    # SUCCEEDED, whatever the queue says
    *[
        (f"succeeded + {state}", RUNS, evidence(file=file("SUCCEEDED"), queue=state), S.SUCCEEDED, "succeeded", "", "")
        for state in (wire.Q_WAITING, wire.Q_ACTIVE, wire.Q_ENDED, wire.Q_UNKNOWN, wire.Q_ABSENT, wire.Q_OTHER_JOB,
                      wire.Q_NOT_ASKED, wire.Q_COULD_NOT_ASK)
    ],
    ("succeeded, kill intended", KILL_RUNS, evidence(file=file("SUCCEEDED"), queue=wire.Q_ABSENT, killed=True), S.SUCCEEDED,
     "succeeded", "", ""),
    ("succeeded, never acknowledged", unsettled(), evidence(file=file("SUCCEEDED")), S.SUCCEEDED, "succeeded", "", ""),
    # a record, and the queue starts it again
    *[
        (f"{record} + waiting", RUNS, evidence(file=file(record), queue=WAIT), S.SUBMITTED, "restart",
         "PENDING (Resources)", "")
        for record in ("FAILED/1", "ABORTED/no work directory", "SIGNAL/TERM", "VACATED/XCPU")
    ],
    # FAILED by a signal, and the queue still has it: it may yet say why
    ("failed by a signal + active", RUNS, evidence(file=file("FAILED/137"), queue=wire.Q_ACTIVE), S.RUNNING, "ending",
     "exit 137", ""),
    ("failed by a signal + active, after grace", after_grace(RUNS), evidence(file=file("FAILED/137"), queue=wire.Q_ACTIVE),
     S.FAILED, "failed", "exit 137", ""),
    ("failed by a signal, never acknowledged", unsettled(), evidence(file=file("FAILED/137"), queue=wire.Q_ACTIVE), S.RUNNING,
     "ending", "exit 137", ""),
    ("failed by a signal + absent", RUNS, evidence(file=file("FAILED/137"), queue=wire.Q_ABSENT), S.FAILED, "failed", "exit 137", ""),
    ("failed by a signal + could-not-ask", RUNS, evidence(file=file("FAILED/137"), queue=wire.Q_COULD_NOT_ASK), S.RUNNING,
     "ending", "exit 137", "the queue could not be asked"),
    ("failed by a signal + could-not-ask, after grace", after_grace(RUNS),
     evidence(file=file("FAILED/137"), queue=wire.Q_COULD_NOT_ASK), S.FAILED, "failed", "exit 137", ""),
    ("failed with 128 + active", RUNS, evidence(file=file("FAILED/128"), queue=wire.Q_ACTIVE), S.FAILED, "failed", "exit 128", ""),
    ("failed by a signal in the background", BG_RUNS, evidence(file=file("FAILED/137"), process=wire.P_ALIVE), S.FAILED,
     "failed", "exit 137", ""),
    # FAILED, ABORTED otherwise
    *[
        (f"failed + {state}", RUNS, evidence(file=file("FAILED/3"), queue=state), S.FAILED, "failed", "exit 3", "")
        for state in (wire.Q_ACTIVE, wire.Q_ENDED, wire.Q_UNKNOWN, wire.Q_ABSENT, wire.Q_OTHER_JOB, wire.Q_COULD_NOT_ASK)
    ],
    ("failed with the queue's reason", RUNS, evidence(file=file("FAILED/137"), queue=OOM), S.FAILED, "failed",
     "exit 137, OUT_OF_MEMORY", ""),
    *[
        (f"failed, and the queue says {reason}", RUNS,
         evidence(file=file("FAILED/3"), queue=queue(wire.Q_ENDED, "FAILED", reason)), S.FAILED, "failed", detail, "")
        for reason, detail in (
            ("NonZeroExitCode", "exit 3"), ("FAILED", "exit 3"), ("exit code 3", "exit 3"), ("exit_status 3", "exit 3"),
            ("exit status 4", "exit 3, exit status 4"), ("exit status 3; no mail", "exit 3, exit status 3; no mail"),
        )
    ],
    ("aborted", RUNS, evidence(file=file("ABORTED/time limit (90 s)"), queue=wire.Q_ABSENT), S.FAILED, "failed",
     "time limit (90 s)", ""),
    ("failed in the background", BG_RUNS, evidence(file=file("FAILED/3"), process=wire.P_ALIVE), S.FAILED, "failed",
     "exit 3", ""),
    # SIGNAL, VACATED + active, unknown, could-not-ask
    *[
        (f"{record} + {asked.state}", RUNS, evidence(file=file(record), queue=asked), S.RUNNING, "vacating", "signal", doubt)
        for record in ("SIGNAL/TERM", "VACATED/XCPU")
        for asked, doubt in ((queue(wire.Q_ACTIVE), ""), (queue(wire.Q_UNKNOWN, "RQ2"), ""),
                             (DOWN, "the queue could not be asked: slurm_load_jobs"))
    ],
    ("signal + alive", BG_RUNS, evidence(file=file("SIGNAL/TERM"), process=wire.P_ALIVE), S.RUNNING, "vacating", "signal", ""),
    ("signal, never acknowledged", unsettled(), evidence(file=file("SIGNAL/TERM"), queue=wire.Q_ACTIVE), S.RUNNING,
     "vacating", "signal TERM", ""),
    # SIGNAL + absent, ended; background: gone
    ("signal + absent", RUNS, evidence(file=file("SIGNAL/TERM"), queue=wire.Q_ABSENT), S.FAILED, "signal", "signal TERM", ""),
    ("signal + other job", RUNS, evidence(file=file("SIGNAL/KILL"), queue=wire.Q_OTHER_JOB), S.FAILED, "signal",
     "signal KILL", ""),
    ("signal + ended", RUNS, evidence(file=file("SIGNAL/TERM"), queue=queue(wire.Q_ENDED, "TIMEOUT", "TIMEOUT")), S.FAILED,
     "signal", "signal TERM, TIMEOUT", ""),
    *[
        (f"signal + {process}", BG_RUNS, evidence(file=file("SIGNAL/TERM"), process=process), S.FAILED, "signal",
         "signal TERM", "")
        for process in (wire.P_GONE, wire.P_NOT_OURS, wire.P_REBOOTED, wire.P_CANNOT_SEE, wire.P_NOT_ASKED)
    ],
    # VACATED + ended / absent
    ("vacated + ended", RUNS, evidence(file=file("VACATED/XCPU"), queue=queue(wire.Q_ENDED, "PREEMPTED", "PREEMPTED")),
     S.FAILED, "vacated", "vacated by signal XCPU, PREEMPTED", ""),
    ("vacated + absent, at first", RUNS, evidence(file=file("VACATED/XCPU"), queue=wire.Q_ABSENT), S.RUNNING, "grace", "",
     "the queue no longer lists it"),
    ("vacated + absent, after grace", after_grace(RUNS), evidence(file=file("VACATED/XCPU"), queue=wire.Q_ABSENT), S.FAILED,
     "vacated", "lost: vacated by signal XCPU", ""),
    ("vacated in the background", BG_RUNS, evidence(file=file("VACATED/XCPU"), process=wire.P_GONE), S.FAILED, "signal",
     "signal XCPU", ""),
    # started + waiting
    ("started + waiting", RUNS, evidence(file=STARTED, queue=WAIT), S.SUBMITTED, "requeued", "PENDING (Resources)", ""),
    ("started + waiting, but revoked", after_grace(RUNS), evidence(file=STARTED, queue=WAIT, claim=wire.C_REVOKED), S.FAILED,
     "lost", "lost: its token was revoked", ""),
    ("failed + waiting, but revoked", RUNS, evidence(file=file("FAILED/3"), queue=WAIT, claim=wire.C_REVOKED), S.FAILED,
     "failed", "exit 3", ""),
    # started + active, unknown, alive
    ("started + active", SLURM, evidence(file=STARTED, queue=wire.Q_ACTIVE), S.RUNNING, "running", "", ""),
    ("started + unknown", SLURM, evidence(file=STARTED, queue=queue(wire.Q_UNKNOWN, "RQ2")), S.RUNNING, "running", "RQ2", ""),
    ("started + alive", BG, evidence(file=STARTED, process=wire.P_ALIVE), S.RUNNING, "running", "", ""),
    ("started + alive, not listed", SLURM, evidence(file=STARTED, queue=wire.Q_ABSENT, process=wire.P_ALIVE), S.RUNNING,
     "running", "", "the queue does not have it, but"),
    # started + could-not-ask, other-host, cannot-see
    ("started + could not ask", SLURM, evidence(file=STARTED, queue=DOWN), S.RUNNING, "running-unseen", "",
     "the queue could not be asked: slurm_load"),
    ("started + could not ask, no words", SLURM, evidence(file=STARTED, queue=wire.Q_COULD_NOT_ASK), S.RUNNING,
     "running-unseen", "", "the queue could not be asked"),
    ("started + not asked", SLURM, evidence(file=STARTED), S.RUNNING, "running-unseen", "", "the queue was not asked"),
    ("started + other host", BG, evidence(file=STARTED, process=wire.P_OTHER_HOST), S.RUNNING, "running-unseen", "",
     "it runs on another machine"),
    ("started + cannot see", BG, evidence(file=STARTED, process=wire.P_CANNOT_SEE), S.RUNNING, "running-unseen", "",
     "the host does not let"),
    ("started + not looked for", BG, evidence(file=STARTED), S.RUNNING, "running-unseen", "", "its process was not"),
    # started + ended, after grace
    ("started + ended, at first", RUNS, evidence(file=STARTED, queue=OOM), S.RUNNING, "grace", "",
     "the queue says OUT_OF_MEMORY"),
    ("started + ended", after_grace(RUNS), evidence(file=STARTED, queue=OOM), S.FAILED, "ended", "OUT_OF_MEMORY", ""),
    ("started + completed", after_grace(RUNS), evidence(file=STARTED, queue=COMPLETED), S.FAILED, "ended",
     "lost: the queue says COMPLETED", ""),
    ("claimed + ended", after_grace(SLURM), evidence(claim=wire.C_STARTED, queue=OOM), S.FAILED, "ended", "OUT_OF_MEMORY", ""),
    # started + absent, gone, not-ours, rebooted, after grace
    ("started + absent, at first", RUNS, evidence(file=STARTED, queue=wire.Q_ABSENT), S.RUNNING, "grace", "",
     "the queue no longer lists it, and"),
    ("started + absent", after_grace(RUNS), evidence(file=STARTED, queue=wire.Q_ABSENT), S.FAILED, "lost",
     "lost: the queue no longer lists it", ""),
    ("started + other job", after_grace(RUNS), evidence(file=STARTED, queue=wire.Q_OTHER_JOB), S.FAILED, "lost",
     "lost: the queue uses its id", ""),
    *[
        (f"started + {process}", after_grace(BG_RUNS), evidence(file=STARTED, process=process), S.FAILED, "lost", words, "")
        for process, words in ((wire.P_GONE, "lost: its process is gone"), (wire.P_NOT_OURS, "lost: its process is gone"),
                               (wire.P_REBOOTED, "lost: the host was restarted"))
    ],
    ("claimed + gone", after_grace(BG), evidence(claim=wire.C_STARTED, process=wire.P_GONE), S.FAILED, "lost", "lost: its", ""),
    # not started, id + waiting, active, unknown, alive
    ("waits", SLURM, evidence(queue=WAIT), S.SUBMITTED, "submitted", "PENDING (Resources)", ""),
    ("waits, raw alone", SLURM, evidence(queue=queue(wire.Q_WAITING, "qw")), S.SUBMITTED, "submitted", "qw", ""),
    ("not started + active", SLURM, evidence(queue=queue(wire.Q_ACTIVE, "CONFIGURING")), S.SUBMITTED, "submitted",
     "CONFIGURING", ""),
    ("not started + unknown", SLURM, evidence(queue=queue(wire.Q_UNKNOWN, "RQ2")), S.SUBMITTED, "submitted", "RQ2", ""),
    ("not started + alive", BG, evidence(process=wire.P_ALIVE, claim=wire.C_STARTED), S.SUBMITTED, "submitted", "", ""),
    ("in the spool", BG, evidence(spool=wire.S_QUEUED), S.SUBMITTED, "submitted", "waits for a slot", ""),
    ("taken from the spool", BG, evidence(spool=wire.S_TAKEN), S.SUBMITTED, "submitted", "", ""),
    ("in the spool, no answer before", unsettled(batch=False), evidence(spool=wire.S_QUEUED), S.SUBMITTED, "submitted",
     "waits for a slot", ""),
    # not started, id + could-not-ask, other-host, cannot-see
    ("not started + could not ask", SLURM, evidence(queue=DOWN), S.SUBMITTED, "submitted-unseen", "",
     "the queue could not be asked: slurm"),
    ("not started + other host", BG, evidence(process=wire.P_OTHER_HOST), S.SUBMITTED, "submitted-unseen", "",
     "it runs on another machine"),
    ("not started + cannot see", BG, evidence(process=wire.P_CANNOT_SEE), S.SUBMITTED, "submitted-unseen", "", "the host does"),
    ("an id beside the file settles", unsettled(), evidence(native_id="812345", queue=DOWN), S.SUBMITTED,
     "submitted-unseen", "", "the queue could not"),
    ("a claim settles", unsettled(batch=False), evidence(claim=wire.C_STARTED, process=wire.P_CANNOT_SEE), S.SUBMITTED,
     "submitted-unseen", "", "the host does not let"),
    # not started, id + ended
    ("not started + ended", SLURM, evidence(queue=queue(wire.Q_ENDED, "CANCELLED", "CANCELLED")), S.SUBMIT_FAILED,
     "submit-ended", "CANCELLED", ""),
    ("not started + completed, at first", SLURM, evidence(queue=COMPLETED), S.SUBMITTED, "grace", "", "the queue says COMPL"),
    ("not started + completed", after_grace(SLURM), evidence(queue=COMPLETED), S.SUBMIT_FAILED, "submit-ended", "COMPLETED", ""),
    # not started, batch id + absent, after grace
    ("not started + absent, at first", SLURM, evidence(queue=wire.Q_ABSENT), S.SUBMITTED, "grace", "", "the queue no longer"),
    ("not started + absent", after_grace(SLURM), evidence(queue=wire.Q_ABSENT), S.SUBMIT_FAILED, "submit-vanished",
     "never started; the queue no longer lists it", ""),
    ("not started + other job", after_grace(SLURM), evidence(queue=wire.Q_OTHER_JOB), S.SUBMIT_FAILED, "submit-vanished",
     "never started; the queue uses its id", ""),
    # not started, background + gone
    ("not started + gone, at first", BG, evidence(process=wire.P_GONE), S.SUBMITTED, "grace", "", "nothing on the host"),
    ("not started + gone", after_grace(BG), evidence(process=wire.P_GONE), S.SUBMITTED, "never-started", "", "nothing on the"),
    ("not started + not ours", after_grace(BG), evidence(process=wire.P_NOT_OURS), S.SUBMITTED, "never-started", "", "nothing"),
    ("not started + not looked for", after_grace(BG), evidence(), S.SUBMITTED, "submitted-unseen", "", "its process was not"),
    ("unreadable + not looked for", after_grace(BG), evidence(file=no_file(wire.FILE_UNREADABLE, "EIO")), S.SUBMITTED, "no-file",
     "", "its status file cannot be read: EIO; its process was not"),
    ("revoked", BG, evidence(claim=wire.C_REVOKED), S.SUBMIT_FAILED, "revoked", "never started; revoked", ""),
    ("revoked, no answer before", unsettled(), evidence(claim=wire.C_REVOKED), S.SUBMIT_FAILED, "revoked", "never st", ""),
    ("not started + rebooted", after_grace(BG), evidence(process=wire.P_REBOOTED), S.FAILED, "lost-before-start",
     "lost: the host was restarted", ""),
    ("no start, no kill of it yet", replace(BG, kill_intended=True), evidence(process=wire.P_GONE), S.SUBMITTED, "never-started", "", ""),
    # settled elsewhere: core/settle.py
    ("fenced, no id", unsettled(), evidence(found=wire.FOUND_NOT_ASKED, queue=wire.NO_QUEUE), S.SUBMIT_UNKNOWN, "find", "",
     "not known whether"),
    ("missing, never acknowledged", unsettled(), evidence(file=no_file(), fenced=False), S.SUBMIT_UNKNOWN, "resend", "", ""),
    ("acknowledged without an id", view(native_id=""), evidence(queue=wire.Q_ABSENT), S.SUBMITTED, "submitted-unseen", "",
     "its id in the queue is not known"),
    # missing, directory-missing, unreadable, stale, but known before
    *[
        (f"{trouble.state} + waiting", SLURM, evidence(file=trouble, queue=WAIT), S.SUBMITTED, "no-file", "", words)
        for trouble, words in ((no_file(), "its status file is missing"),
                               (no_file(wire.FILE_DIRECTORY_MISSING), "its log directory"),
                               (no_file(wire.FILE_UNREADABLE), "its status file cannot be read"),
                               (no_file(wire.FILE_UNREADABLE, "line 3"), "its status file cannot be read: line 3"),
                               (file(size=99), "its status file is older"))
    ],
    ("missing + active", RUNS, evidence(file=no_file(), queue=wire.Q_ACTIVE), S.RUNNING, "no-file", "", "its status file is"),
    ("missing + alive", BG_RUNS, evidence(file=no_file(), process=wire.P_ALIVE), S.RUNNING, "no-file", "", "its status file"),
    ("missing + could not ask", RUNS, evidence(file=no_file(), queue=DOWN), S.RUNNING, "no-file", "",
     "its status file is missing; the queue could not be asked"),
    ("missing + ended, at first", RUNS, evidence(file=no_file(), queue=OOM), S.RUNNING, "grace", "", "its status file"),
    ("missing + ended", after_grace(RUNS), evidence(file=no_file(), queue=OOM), S.FAILED, "no-file", "OUT_OF_MEMORY", ""),
    ("missing + completed", after_grace(RUNS), evidence(file=no_file(), queue=COMPLETED), S.FAILED, "no-file-lost",
     "lost: status file gone", ""),
    ("missing + absent, at first", RUNS, evidence(file=no_file(), queue=wire.Q_ABSENT), S.RUNNING, "grace", "", "its status"),
    ("missing + absent", after_grace(RUNS), evidence(file=no_file(), queue=wire.Q_ABSENT), S.FAILED, "no-file-lost",
     "lost: status file gone", ""),
    ("missing + absent, not started", after_grace(SLURM), evidence(file=no_file(), queue=wire.Q_ABSENT), S.FAILED,
     "no-file-lost", "lost: status file gone (may have run)", ""),
    ("directory missing + gone", after_grace(BG_RUNS), evidence(file=no_file(wire.FILE_DIRECTORY_MISSING),
     process=wire.P_GONE), S.FAILED, "no-file-lost", "lost: status file gone", ""),
    ("unreadable + absent", after_grace(RUNS), evidence(file=no_file(wire.FILE_UNREADABLE), queue=wire.Q_ABSENT), S.FAILED,
     "no-file-lost", "lost: status file unreadable", ""),
    # kill intended
    ("kill + absent", KILL_RUNS, evidence(file=STARTED, queue=wire.Q_ABSENT), S.KILLED, "killed", "", ""),
    ("kill + ended", KILL_RUNS, evidence(file=STARTED, queue=queue(wire.Q_ENDED, "CANCELLED", "CANCELLED")), S.KILLED,
     "killed", "", ""),
    ("kill + gone", KILL_BG, evidence(file=STARTED, process=wire.P_GONE), S.KILLED, "killed", "", ""),
    ("kill + signal", KILL_BG, evidence(file=file("SIGNAL/TERM"), process=wire.P_NOT_ASKED), S.KILLED, "killed",
     "signal TERM", ""),
    ("kill + signal, still there", KILL_BG, evidence(file=file("SIGNAL/TERM"), process=wire.P_ALIVE), S.RUNNING, "vacating",
     "signal", ""),
    ("kill + failed by the kill", KILL_BG, evidence(file=file("FAILED/1"), process=wire.P_GONE, killed=True), S.KILLED,
     "killed", "", ""),
    ("kill + failed before the kill", KILL_BG, evidence(file=file("FAILED/1"), process=wire.P_GONE), S.FAILED, "failed",
     "exit 1", ""),
    ("kill + missing + absent", KILL_RUNS, evidence(file=no_file(), queue=wire.Q_ABSENT), S.KILLED, "killed", "", ""),
    ("kill + queued, absent", replace(SLURM, kill_intended=True), evidence(queue=wire.Q_ABSENT), S.KILLED, "killed", "", ""),
    ("kill + revoked in the spool", replace(BG, kill_intended=True), evidence(claim=wire.C_REVOKED), S.KILLED, "killed", "", ""),
    ("kill + revoked, never seen", unsettled(kill_intended=True), evidence(claim=wire.C_REVOKED), S.KILLED, "killed", "", ""),
    ("kill + active", KILL_RUNS, evidence(file=STARTED, queue=wire.Q_ACTIVE), S.RUNNING, "running", "", ""),
    ("kill + rebooted", KILL_BG, evidence(file=STARTED, process=wire.P_REBOOTED), S.KILLED, "killed", "", ""),
    ("kill + queued, rebooted", replace(BG, kill_intended=True), evidence(process=wire.P_REBOOTED), S.SUBMITTED, "grace", "",
     "the host was restarted"),
    ("kill + pid used again", KILL_BG, evidence(file=STARTED, process=wire.P_NOT_OURS), S.KILLED, "killed", "", ""),
    ("kill + batch number used again", KILL_RUNS, evidence(file=STARTED, queue=wire.Q_OTHER_JOB), S.KILLED, "killed", "", ""),
    ("kill + queued, number used again", replace(SLURM, kill_intended=True), evidence(queue=wire.Q_OTHER_JOB), S.KILLED,
     "killed", "", ""),
    ("kill + requeued by a reboot", KILL_RUNS, evidence(file=STARTED, queue=WAIT, killed=True), S.SUBMITTED, "requeued",
     "PENDING (Resources)", ""),
    ("kill + could not ask", KILL_RUNS, evidence(file=STARTED, queue=DOWN), S.RUNNING, "running-unseen", "", "the queue could"),
]


@pytest.mark.parametrize(
    "known, seen, state, rule, detail, doubt", [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_truth_table(
    known: JobView, seen: wire.Evidence | None, state: State, rule: str, detail: str, doubt: str
) -> None:
    verdict = decide(known, look(seen))
    assert (verdict.state, verdict.rule) == (state, rule)
    assert verdict.detail.startswith(detail)
    assert verdict.doubt.startswith(doubt)
    assert bool(verdict.doubt) == bool(doubt)


def test_every_rule_has_a_case_in_the_table_or_a_test_of_its_own() -> None:
    elsewhere = {"run-missing", "late-answer", "final"}
    settled = {"not-sent", "submit-no-answer", "acknowledged", "submit-refused", "submit-limit", "submit-revoked",
               "submit-undecided", "adopted", "find-failed", "submitter-busy", "first-absence", "revoke", "kill-unseen",
               "lost-restart"}
    assert {row[4] for row in TABLE} | elsewhere | settled == set(RULES)


def test_every_row_says_what_it_is() -> None:
    assert all(row.__doc__ and "->" in row.__doc__ for row in ROWS)


@pytest.mark.parametrize("run_state, words", [
    ("unmounted", "not mounted?"), ("absent", "missing"), ("foreign", "another run's"), ("new-word", "missing"),
])
def test_a_missing_run_directory_changes_nothing_and_casts_doubt_on_the_host(run_state: str, words: str) -> None:
    verdict = decide(after_grace(RUNS), look(evidence(file=no_file(), queue=wire.Q_ABSENT), run_state=run_state))
    assert (verdict.state, verdict.rule, verdict.host_doubt) == (S.RUNNING, "run-missing", True)
    assert words in verdict.doubt


GONE_HERE = evidence(file=no_file(), process=wire.P_GONE, claim=wire.C_REVOKED)


@pytest.mark.parametrize("known, seen, run_state, state", [
    pytest.param(KILL_BG, GONE_HERE, "absent", S.KILLED, id="background, nothing left"),
    pytest.param(replace(BG, kill_intended=True), GONE_HERE, "absent", S.KILLED, id="background, not begun"),
    pytest.param(KILL_RUNS, evidence(file=no_file(), queue=wire.Q_ABSENT), "absent", S.KILLED, id="batch, cancelled"),
    pytest.param(KILL_RUNS, evidence(file=no_file(), queue=wire.Q_ACTIVE), "absent", S.RUNNING, id="batch, still there"),
    pytest.param(KILL_BG, GONE_HERE, "unmounted", S.RUNNING, id="it may come back"),
    pytest.param(BG_RUNS, GONE_HERE, "absent", S.RUNNING, id="nobody killed it"),
])
def test_what_a_kill_leaves_where_the_run_directory_was_deleted(
    known: JobView, seen: wire.Evidence, run_state: str, state: State
) -> None:
    assert decide(known, look(seen, run_state=run_state)).state is state


def test_no_answer_says_why_and_since_when() -> None:
    verdict = decide(RUNS, look(None, error="timed out"))
    assert verdict.doubt == "unreachable (timed out)"
    assert with_since(verdict.doubt, "11:51") == "unreachable since 11:51 (timed out)"
    assert with_since("the queue could not be asked: x (y)", "9:00") == "the queue could not be asked since 9:00: x (y)"
    assert with_since("unreachable", "9:00") == "unreachable since 9:00"
    assert with_since("unreachable", "") == "unreachable"
    assert with_since("", "9:00") == ""


MESSAGE = ("2026-11-20T11:20:04Z", "INFO", "here")


@pytest.mark.parametrize(
    ("known", "told", "count", "then"),
    [(0, 2, 2, 2), (2, 1, 3, 3), (1, 2, 3, 3), (1, 3, 3, 3), (0, 1, 2, 0), (3, 0, 3, 3), (4, 2, 2, 4)],
)
def test_messages_are_known_once_none_before_them_is_missing(known: int, told: int, count: int, then: int) -> None:
    view = replace(RUNS, seen_messages=known)
    verdict = decide(view, look(evidence(file=file(message_count=count, messages=(MESSAGE,) * told))))
    assert verdict.seen_messages == then


def test_facts_come_from_job_status() -> None:
    facts = {"START_TIME": "2026-11-20T11:20:03Z", "EXIT_TIME": "2026-11-20T11:20:05.5Z", "EXIT": "FAILED/3",
             "ELAPSED": "2.50", "CPU": "1.25", "MAX_RSS": "1048576", "HOSTNAME": "node7", "NATIVE_ID": "99", "PID": "1"}
    seen = evidence(file=file(facts=facts, attempts=1, message_count=4, messages=(MESSAGE,) * 4), queue=OOM)
    verdict = decide(RUNS, look(seen))
    told = verdict.facts
    assert told.exit_time is not None
    assert told.start_time is not None
    assert told.exit_time - told.start_time == 2.5
    assert (told.exit_code, told.signal, told.reason, told.exit_record) == (3, "", "OUT_OF_MEMORY", "FAILED/3")
    assert (told.elapsed, told.cpu, told.max_rss, told.hostname) == (2.5, 1.25, 1048576, "node7")
    assert (verdict.native_id, verdict.seen_size, verdict.seen_messages) == ("99", 500, 4)
    assert verdict.retry_safe
    assert verdict.actions == (Retrieve("1/sim/01"),)


def test_facts_that_make_no_sense_are_left_out() -> None:
    facts = {"START_TIME": "yesterday", "EXIT_TIME": "2026-13-45T99:00:00Z", "EXIT": "FAILED/many", "ELAPSED": "nan",
             "CPU": "1e", "MAX_RSS": "-5"}
    told = decide(RUNS, look(evidence(file=file(facts=facts, attempts=2)))).facts
    assert (told.start_time, told.exit_time, told.exit_code, told.elapsed, told.cpu, told.max_rss) == (None,) * 6


def test_the_native_id_of_a_background_job_is_its_pid() -> None:
    assert decide(BG, look(evidence(file=STARTED, process=wire.P_ALIVE))).native_id == "4711"


def test_a_queue_that_lags_is_asked_why_until_it_says_so() -> None:
    killed = file("FAILED/137")
    first = decide(RUNS, look(evidence(file=killed, queue=wire.Q_ACTIVE)))
    assert (first.state, first.actions) == (S.RUNNING, (PollAgain("1/sim/01", 10.0),))
    second = decide(after(RUNS, first), look(evidence(file=killed, queue=OOM), 10))
    assert (second.state, second.detail, second.facts.reason) == (S.FAILED, "exit 137, OUT_OF_MEMORY", "OUT_OF_MEMORY")


def test_a_reason_is_kept_when_the_queue_forgets_the_job_before_the_second_look() -> None:
    known = after(RUNS, decide(RUNS, look(evidence(file=STARTED, queue=OOM))))
    known = after(known, decide(known, look(evidence(file=STARTED, queue=DOWN), 10)))
    third = decide(known, look(evidence(file=STARTED, queue=wire.Q_ABSENT), 20))
    assert (third.state, third.doubt) == (S.RUNNING, "the queue said OUT_OF_MEMORY, and there is no exit record")
    known = after(known, third)
    told = decide(known, look(evidence(file=STARTED, queue=wire.Q_ABSENT), GRACE))
    assert (told.state, told.rule, told.detail, told.facts.lost) == (S.FAILED, "ended", "OUT_OF_MEMORY", False)


def test_a_reason_is_forgotten_when_the_job_turns_out_to_run() -> None:
    known = RUNS
    for at, state in ((0, OOM), (10, wire.Q_ACTIVE), (20, wire.Q_ABSENT)):
        known = after(known, decide(known, look(evidence(file=STARTED, queue=state), at)))
    assert decide(known, look(evidence(file=STARTED, queue=wire.Q_ABSENT), 20 + GRACE)).rule == "lost"


# --- grace -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network, wait", [(False, GRACE), (True, GRACE_NETWORK)])
def test_job_gone_without_exit_is_lost_only_after_grace(network: bool, wait: float) -> None:
    gone = evidence(file=STARTED, queue=wire.Q_ABSENT)
    first = decide(RUNS, look(gone, network_fs=network))
    assert (first.state, first.grace_since, first.grace_instance) == (S.RUNNING, NOW, HERE)
    assert first.actions == (PollAgain("1/sim/01", wait),)
    waiting = after(RUNS, first)
    assert decide(waiting, look(gone, wait - 1, network_fs=network)).state is S.RUNNING
    assert decide(waiting, look(gone, wait, network_fs=network)).state is S.FAILED


def test_grace_begins_again_after_a_positive_look() -> None:
    gone, there = (evidence(file=STARTED, queue=q) for q in (wire.Q_ABSENT, wire.Q_ACTIVE))
    known = after(RUNS, decide(RUNS, look(gone)))
    known = after(known, decide(known, look(there, 20)))
    assert known.grace_since == 0
    assert decide(known, look(gone, 40)).rule == "grace"


def test_grace_goes_on_while_nobody_can_be_asked() -> None:
    gone = evidence(file=STARTED, queue=wire.Q_ABSENT)
    known = after(RUNS, decide(RUNS, look(gone)))
    known = after(known, decide(known, look(evidence(file=STARTED, queue=DOWN), 20)))
    known = after(known, decide(known, look(None, 25)))
    assert decide(known, look(gone, 40)).rule == "lost"


def test_grace_begins_again_on_another_instance_or_a_clock_that_was_set_back() -> None:
    gone = evidence(file=STARTED, queue=wire.Q_ABSENT)
    known = after(RUNS, decide(RUNS, look(gone)))
    assert decide(known, look(gone, 40, instance=ELSEWHERE)).rule == "grace"
    back = decide(known, look(gone, -3600))
    assert (back.rule, back.grace_since) == ("grace", NOW - 3600)


# --- order of answers --------------------------------------------------------------------------------------


def test_an_older_answer_changes_nothing() -> None:
    known = after(SLURM, decide(SLURM, look(evidence(file=STARTED, queue=WAIT), 10)))
    verdict = decide(known, look(evidence(file=file("FAILED/1"), queue=wire.Q_ACTIVE), 5))
    assert (verdict.state, verdict.rule) == (S.SUBMITTED, "late-answer")


def test_a_clock_that_was_set_back_far_is_no_late_answer() -> None:
    known = replace(RUNS, look_time=NOW, look_instance=HERE)
    assert decide(known, look(evidence(file=file("SUCCEEDED")), -3600)).state is S.SUCCEEDED


def test_a_stale_file_does_not_take_back_a_start() -> None:
    known = replace(RUNS, seen_size=900)
    verdict = decide(known, look(evidence(file=file(size=300), queue=wire.Q_ACTIVE)))
    assert (verdict.state, verdict.seen_size, verdict.facts) == (S.RUNNING, 900, RUNS.facts)


def test_a_start_is_not_forgotten_when_the_file_no_longer_tells_it() -> None:
    verdict = decide(RUNS, look(evidence(file=file(attempts=1), queue=wire.Q_ACTIVE)))
    assert (verdict.state, verdict.facts.start_time) == (S.RUNNING, NOW - 600)


# --- restarts by the queue -----------------------------------------------------------------------------------


def test_the_record_before_a_restart_no_longer_counts_while_the_queue_holds_the_job() -> None:
    failed = file("FAILED/1", size=500)
    known = after(RUNS, decide(RUNS, look(evidence(file=failed, queue=WAIT))))
    assert (known.state, known.facts.exit_record, known.facts.superseded) == (S.SUBMITTED, "", 1)
    held = decide(known, look(evidence(file=failed, queue=wire.Q_ACTIVE), 60))
    assert (held.state, held.rule) == (S.SUBMITTED, "submitted")
    blind = decide(known, look(evidence(file=failed, queue=DOWN), 60))
    assert (blind.state, blind.rule) == (S.SUBMITTED, "submitted-unseen")
    runs = decide(known, look(evidence(file=file(started=True, attempts=2, size=700), queue=wire.Q_ACTIVE), 90))
    assert (runs.state, runs.facts.attempts) == (S.RUNNING, 2)
    gone = decide(known, look(evidence(file=failed, queue=wire.Q_ABSENT), 90))
    assert (gone.state, gone.detail) == (S.FAILED, "exit 1")
    good = decide(known, look(evidence(file=file("SUCCEEDED"), queue=wire.Q_ACTIVE), 90))
    assert good.state is S.SUCCEEDED


def test_a_failed_job_that_the_queue_starts_again_is_revised() -> None:
    failed = after(RUNS, decide(RUNS, look(evidence(file=file("FAILED/1"), queue=wire.Q_ABSENT))))
    again = decide(failed, look(evidence(file=file("FAILED/1"), queue=WAIT), 60))
    assert (again.state, again.rule, again.revised) == (S.SUBMITTED, "restart", True)
    seen_late = decide(failed, look(evidence(file=file(started=True, attempts=2, size=700), queue=wire.Q_ACTIVE), 60))
    assert (seen_late.state, seen_late.revised) == (S.RUNNING, True)
    second_end = decide(failed, look(evidence(file=file("SUCCEEDED", attempts=2, size=700)), 60))
    assert (second_end.state, second_end.revised) == (S.SUCCEEDED, True)


def test_a_new_attempt_that_has_not_started_yet_is_submitted() -> None:
    verdict = decide(RUNS, look(evidence(file=file(facts={"ATTEMPT": "2"}, attempts=2), queue=wire.Q_ACTIVE)))
    assert verdict.state is S.SUBMITTED


# --- final states ------------------------------------------------------------------------------------------


def lost() -> JobView:
    gone = evidence(file=STARTED, queue=wire.Q_ABSENT)
    known = after_grace(RUNS)
    return after(known, decide(known, look(gone)))


def test_a_lost_job_is_fenced_and_revised_by_its_exit_record() -> None:
    known = lost()
    assert known.facts.lost
    assert not known.retry_safe
    for record, state in (("SUCCEEDED", S.SUCCEEDED), ("FAILED/2", S.FAILED), ("SIGNAL/TERM", S.FAILED)):
        verdict = decide(known, look(evidence(file=file(record, size=700), queue=wire.Q_ABSENT), 60))
        assert (verdict.state, verdict.revised, verdict.facts.lost) == (state, True, False)


def test_a_lost_job_asks_for_its_fence_until_it_stands() -> None:
    known = lost()
    gone = evidence(file=STARTED, queue=wire.Q_ABSENT)
    for seen in (look(gone, 60), look(None, 60)):
        assert Revoke(known.job) in decide(known, seen).actions
    for claim in (wire.C_REVOKED, wire.C_STARTED):
        fenced = decide(known, look(gone._replace(claim=claim), 60))
        assert (fenced.state, fenced.retry_safe, fenced.actions) == (S.FAILED, True, ())


def test_a_submit_failed_that_was_revoked_is_safe_to_retry() -> None:
    known = after_grace(SLURM)
    vanished = decide(known, look(evidence(queue=wire.Q_ABSENT)))
    assert (vanished.retry_safe, Revoke("1/sim/01") in vanished.actions) == (False, True)
    fenced = decide(after(known, vanished), look(evidence(queue=wire.Q_ABSENT, claim=wire.C_REVOKED), 10))
    assert (fenced.state, fenced.retry_safe, fenced.rule) == (S.SUBMIT_FAILED, True, "submit-vanished")


def test_a_refused_revocation_means_that_it_did_start() -> None:
    known = replace(view(S.SUBMIT_FAILED), rule="submit-vanished")
    runs = decide(known, look(evidence(file=STARTED, queue=wire.Q_ACTIVE, claim=wire.C_STARTED)))
    assert (runs.state, runs.revised) == (S.RUNNING, True)
    gone = evidence(file=STARTED, queue=wire.Q_ABSENT, claim=wire.C_STARTED)
    first = decide(known, look(gone))
    assert (first.state, first.rule) == (S.SUBMIT_FAILED, "grace")
    assert decide(after(known, first), look(gone, 31)).facts.lost


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.KILLED])
def test_succeeded_and_killed_stay(state: State) -> None:
    known = view(state, facts=RAN, retry_safe=True)
    for seen in (evidence(file=file("FAILED/1", attempts=2), queue=WAIT), evidence(file=STARTED, queue=wire.Q_ACTIVE)):
        assert decide(known, look(seen)).state is state


def test_a_killed_job_that_still_shows_is_in_doubt() -> None:
    verdict = decide(view(S.KILLED, facts=RAN, retry_safe=True), look(evidence(file=STARTED, queue=wire.Q_ACTIVE)))
    assert verdict.doubt == "declared killed, but the host still has something of it"
    assert any(isinstance(action, PollAgain) for action in verdict.actions)


def test_a_failed_job_is_not_revised_by_the_same_attempt() -> None:
    known = after(RUNS, decide(RUNS, look(evidence(file=file("FAILED/1"), queue=wire.Q_ABSENT))))
    verdict = decide(known, look(evidence(file=file("SUCCEEDED")), 60))
    assert (verdict.state, verdict.revised, verdict.facts.exit_code) == (S.FAILED, False, 1)


def test_a_job_that_ran_is_never_submit_failed() -> None:
    known = replace(RUNS, facts=Facts())  # as a rebuilt store may have it
    verdict = decide(known, look(evidence(queue=queue(wire.Q_ENDED, "CANCELLED", "CANCELLED"))))
    assert (verdict.state, verdict.rule) == (S.RUNNING, "late-answer")


# --- what holds for all evidence -----------------------------------------------------------------------------

FILES = st.one_of(
    st.sampled_from([no_file(s) for s in (wire.FILE_MISSING, wire.FILE_UNREADABLE, wire.FILE_DIRECTORY_MISSING)]),
    st.builds(
        file,
        exit=st.sampled_from(["", "", "SUCCEEDED", "FAILED/1", "SIGNAL/TERM", "VACATED/XCPU", "ABORTED/x", "WHAT/x"]),
        started=st.booleans(), size=st.sampled_from([50, 100, 500, 900]), attempts=st.integers(0, 3),
    ),
)
QUEUES = st.builds(
    queue,
    st.sampled_from([wire.Q_WAITING, wire.Q_ACTIVE, wire.Q_ENDED, wire.Q_UNKNOWN, wire.Q_ABSENT, wire.Q_OTHER_JOB,
                     wire.Q_NOT_ASKED, wire.Q_COULD_NOT_ASK]),
    st.sampled_from(["", "R", "COMPLETED"]), st.sampled_from(["", "TIMEOUT", "COMPLETED"]),
)
PROCESSES = st.sampled_from([wire.P_ALIVE, wire.P_GONE, wire.P_NOT_OURS, wire.P_REBOOTED, wire.P_OTHER_HOST,
                             wire.P_CANNOT_SEE, wire.P_NOT_ASKED])
FOUNDS = st.builds(
    found, st.sampled_from([wire.FOUND_NOT_ASKED, wire.FOUND_ABSENT, wire.FOUND_COULD_NOT_ASK, wire.FOUND_ID,
                            wire.FOUND_CANNOT]),
    st.sampled_from(["", "77"]), st.just(""), st.booleans(),
)
EVIDENCE = st.builds(
    evidence, file=FILES, queue=QUEUES, process=PROCESSES, claim=st.sampled_from([wire.C_NONE, wire.C_STARTED, wire.C_REVOKED]),
    native_id=st.sampled_from(["", "812345"]), fenced=st.booleans(), killed=st.booleans(),
    spool=st.sampled_from([wire.S_NONE, wire.S_QUEUED, wire.S_TAKEN]), found=FOUNDS,
)
VIEWS = st.builds(
    view, state=st.sampled_from(sorted(ACTIVE | FINAL - {S.REMOVED})), batch=st.booleans(),
    native_id=st.sampled_from(["", "812345"]), acknowledged=st.booleans(), kill_intended=st.booleans(),
    seen_size=st.sampled_from([0, 100, 500]), grace_since=st.sampled_from([0.0, NOW - 31]),
    grace_instance=st.sampled_from([HERE, ELSEWHERE]), retry_safe=st.booleans(), tries=st.integers(0, 9),
    facts=st.builds(
        Facts, start_time=st.sampled_from([None, NOW - 600]), attempts=st.integers(0, 2), superseded=st.integers(0, 2),
        lost=st.booleans(), exit_record=st.sampled_from(["", "SIGNAL/TERM"]),
    ),
)
LOOKS = st.builds(
    look, EVIDENCE, at=st.sampled_from([0.0, 29.0, 61.0]), instance=st.sampled_from([HERE, ELSEWHERE]),
    network_fs=st.booleans(), run_state=st.sampled_from(["ok", "ok", "ok", "unmounted"]),
)


def after(known: JobView, verdict: Verdict) -> JobView:
    """The view once a verdict was stored."""
    return replace(known,
        state=verdict.state, native_id=verdict.native_id, acknowledged=verdict.acknowledged,
        seen_size=verdict.seen_size, seen_messages=verdict.seen_messages, look_time=verdict.look_time,
        look_instance=verdict.look_instance, grace_since=verdict.grace_since, grace_instance=verdict.grace_instance,
        retry_safe=verdict.retry_safe, rule=verdict.rule, detail=verdict.detail, facts=verdict.facts,
    )


@given(VIEWS, LOOKS)
def test_a_verdict_keeps_to_the_table_of_transitions_and_has_a_sentence(known: JobView, seen: Look) -> None:
    verdict = decide(known, seen)
    assert can(known.state, verdict.state)
    assert verdict.rule == known.rule or verdict.rule in RULES
    assert verdict.seen_size >= known.seen_size


@given(VIEWS, LOOKS)
def test_the_same_look_twice_changes_nothing_more(known: JobView, seen: Look) -> None:
    once = after(known, decide(known, seen))
    twice = decide(once, seen)
    assert (twice.state, twice.facts.exit_record, twice.facts.lost) == (once.state, once.facts.exit_record, once.facts.lost)


@given(VIEWS.filter(lambda known: known.state in ACTIVE), LOOKS)
def test_only_a_record_or_two_negative_looks_or_the_queues_word_end_a_job(known: JobView, seen: Look) -> None:
    verdict = decide(known, seen)
    if verdict.state not in FINAL:
        return
    said = seen.evidence
    assert said is not None
    record = bool(verdict.facts.exit_record)
    negative = known.grace_since > 0 and known.grace_instance == seen.instance
    word = said.queue.state == wire.Q_ENDED and known.batch
    killed = verdict.state is S.KILLED
    fenced = said.claim == wire.C_REVOKED
    restarted = verdict.rule == "lost-restart" and known.instance != seen.instance
    if negative and not (record or killed or fenced or restarted):
        absent = (wire.Q_ABSENT, wire.Q_OTHER_JOB, wire.Q_ENDED)
        gone = (wire.P_GONE, wire.P_NOT_OURS, wire.P_REBOOTED)
        assert said.queue.state in absent if known.batch else said.process in gone
    assert record or negative or word or killed or fenced or restarted


@given(VIEWS.filter(lambda known: known.state in ACTIVE), LOOKS)
def test_what_shows_a_job_never_ends_it_without_a_record(known: JobView, seen: Look) -> None:
    said = seen.evidence
    assert said is not None
    shown = known.batch and said.queue.state in (wire.Q_WAITING, wire.Q_ACTIVE, wire.Q_UNKNOWN)
    if (shown or said.process == wire.P_ALIVE) and said.claim != wire.C_REVOKED:
        verdict = decide(known, seen)
        assert verdict.state not in FINAL or verdict.facts.exit_record


@given(VIEWS, LOOKS)
def test_what_cannot_be_asked_never_ends_a_job(known: JobView, seen: Look) -> None:
    blind = replace(seen, evidence=evidence(
        file=file(started=True), queue=DOWN, process=wire.P_CANNOT_SEE, found=wire.FOUND_COULD_NOT_ASK))
    verdict = decide(replace(known, facts=Facts()), blind)
    assert verdict.state is known.state or verdict.state not in FINAL


@given(VIEWS.filter(lambda known: known.state in FINAL), LOOKS)
def test_final_states_give_way_only_as_the_table_says(known: JobView, seen: Look) -> None:
    verdict = decide(known, seen)
    if verdict.state is known.state:
        return
    assert known.state in (S.FAILED, S.SUBMIT_FAILED)
    assert verdict.revised


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5,
)
KNOWN_WORDS = st.sampled_from(["ok", "missing", "absent", "ended", "alive", "gone", "none", "started", "revoked", "id"])


@given(st.data(), VIEWS)
def test_decide_never_raises_whatever_a_host_has_sent(data: Any, known: JobView) -> None:
    part = ANYTHING | KNOWN_WORDS

    def some(kind: Any, **fixed: Any) -> Any:
        return kind(*(fixed.get(name, data.draw(part)) for name in kind._fields))

    facts = data.draw(st.dictionaries(st.sampled_from(["EXIT", "START_TIME", "PID", "ELAPSED", "x"]), part, max_size=4))
    told = some(
        wire.Evidence, job=known.job, token=known.token, queue=some(wire.QueueEvidence), found=some(wire.Found),
        file=some(wire.FileEvidence, facts=facts, size=data.draw(st.integers(-5, 900) | part),
                  state=data.draw(part | st.just("ok"))),
    )
    seen = Look(told, data.draw(st.floats() | st.just(NOW)), data.draw(st.sampled_from([HERE, ELSEWHERE])),
                data.draw(st.sampled_from(["ok", "", "x"])))
    verdict = decide(known, seen)
    assert len(verdict.detail) < 2000
    assert len(verdict.doubt) < 2000


def test_evidence_of_another_kind_is_no_answer() -> None:
    assert decide(RUNS, look(evidence(queue=None))).rule == "no-answer"
    assert decide(RUNS, look(evidence()._replace(file=None))).rule == "no-answer"
    assert decide(RUNS, look(evidence(file=file(size=-1)))).rule == "no-answer"
    assert decide(RUNS, replace(look(evidence()), time=float("nan"))).rule == "no-answer"

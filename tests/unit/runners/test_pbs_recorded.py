"""The recordings of a real OpenPBS server: every parser survives all of them, and reads what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from jobmgr_remote.runners import base, pbs

RECORDED = Path(__file__).parents[2] / "data/pbs/recorded"
CASES = sorted(path.stem for path in RECORDED.glob("*.cmd"))
TOKEN = "0f0e0d0c-1111-4222-8333-444455556666"


def recorded(number: str) -> tuple[list[str], int, str, str]:
    """Command, exit code, stdout, stderr as the host side decodes them."""
    name = next(name for name in CASES if name.startswith(number))
    text = {
        end: (RECORDED / f"{name}.{end}").read_bytes().decode("utf-8", "replace")
        for end in ("cmd", "out", "err", "rc")
    }
    try:
        words = shlex.split(text["cmd"].split("\n# stdin:")[0])
    except ValueError:
        words = text["cmd"].split()
    return words, int(text["rc"]), text["out"], text["err"]


def poll(number: str, ids: list[str]) -> base.Answer:
    _, code, out, err = recorded(number)
    return pbs.parse_poll(pbs.poll_calls(ids)[0], ids, code, out, err)


def test_there_are_259_cases() -> None:
    assert len(CASES) == 259


@pytest.mark.parametrize("name", CASES)
def test_no_recording_makes_a_parser_fail(name: str) -> None:
    words, code, out, err = recorded(name)
    ids = [word for word in words if re.match(r"[0-9]", word)] or ["1.pbs01"]
    answer = pbs.parse_poll(pbs.poll_calls(ids)[0], ids, code, out, err)
    assert set(answer.seen) <= set(ids)
    assert set(pbs.parse_kill(ids, code, out, err)) <= set(ids)
    assert pbs.parse_find([TOKEN], code, out, err).seen == {}
    assert pbs.parse_submit(code, out, err).state in (base.SUBMITTED, base.FAILED, base.LIMIT, base.UNKNOWN)


@pytest.mark.parametrize(
    "number, native", [("012", "1.pbs01"), ("013", "2.pbs01"), ("140", "30[].pbs01"), ("200", "64.pbs01")]
)
def test_submit_gives_the_id(number: str, native: str) -> None:
    assert pbs.parse_submit(*recorded(number)[1:]) == base.Outcome(base.SUBMITTED, native, "")


@pytest.mark.parametrize(
    "number", ["075", "076", "077", "078", "079", "080", "081", "084", "131", "133", "190", "193", "194"]
)
def test_refused_submit_is_a_failure_with_the_servers_words(number: str) -> None:
    outcome = pbs.parse_submit(*recorded(number)[1:])
    assert outcome.state == base.FAILED
    assert "qsub" in outcome.text


@pytest.mark.parametrize("number", ["191", "192"])
def test_queue_limit_is_not_a_failure(number: str) -> None:
    assert pbs.parse_submit(*recorded(number)[1:]).state == base.LIMIT


@pytest.mark.parametrize("number", ["161", "163", "231"])
def test_submit_without_a_server_is_unknown(number: str) -> None:
    assert pbs.parse_submit(*recorded(number)[1:]).state == base.UNKNOWN


@pytest.mark.parametrize("number", ["053", "160", "162", "165", "166", "229", "230", "311", "323"])
def test_poll_without_a_server_is_not_absence(number: str) -> None:
    answer = poll(number, ["1.pbs01", "2.pbs01"])
    assert answer.error
    assert not answer.seen
    assert not answer.absent


@pytest.mark.parametrize(
    "number, native", [("044", "99999.pbs01"), ("047", "99999"), ("148", "30[9].pbs01"), ("226", "73.pbs01")]
)
def test_unknown_id_is_absent(number: str, native: str) -> None:
    assert poll(number, [native]) == base.Answer({}, "", frozenset([native]))


def test_finished_job_without_history_option_is_left_to_the_history() -> None:
    assert poll("039", ["1.pbs01"]) == base.Answer({}, "", frozenset(["1.pbs01"]))


def test_server_without_history_says_nothing_about_a_job() -> None:
    answer = poll("224", ["1.pbs01"])
    assert not answer.seen


@pytest.mark.parametrize(
    "number, native, state, raw, reason",
    [
        ("028", "2.pbs01", "active", "R", "Job run at Fri Nov 20 at 18:28 on (pbs01:ncpus=1)"),
        (
            "042",
            "1.pbs01",
            "ended",
            "F",
            "",
        ),
        (
            "137",
            "28.pbs01",
            "waiting",
            "Q",
            "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 2 T: 2)",
        ),
        ("202", "64.pbs01", "waiting", "H", ""),
        ("206", "65", "waiting", "H", ""),
    ],
)
def test_text_output_is_read(number: str, native: str, state: str, raw: str, reason: str) -> None:
    row = poll(number, [native]).seen[native]
    assert (row.native_id, row.state, row.raw, row.reason) == (native, state, raw, reason)
    assert row.submit_time > 1795190000


def test_job_of_another_user_with_broken_text_hides_nobody() -> None:
    texts = [recorded(number)[2] for number in ("202", "028", "206", "137", "042")]
    ids = ["64.pbs01", "2.pbs01", "65.pbs01", "28.pbs01", "1.pbs01"]
    answer = pbs.parse_poll(pbs.poll_calls(ids)[0], ids, 0, "".join(texts), "")
    assert set(answer.seen) == set(ids)
    assert not answer.error


def test_folded_variables_give_the_token_back() -> None:
    out = recorded("028")[2].replace(
        "PBS_O_QUEUE=workq", "JOBMGR_TOKEN=0f0e0d0c-1111\n\t-4222-8333-444455556666"
    )
    assert pbs.parse_poll(pbs.poll_calls(["2"])[0], ["2"], 0, out, "").seen["2"].token == TOKEN


@pytest.mark.parametrize(
    "number, ids, failed",
    [
        ("057", ["4.pbs01"], {}),
        ("063", ["1.pbs01"], {}),
        ("065", ["99999"], {}),
        ("069", ["7.pbs01", "99999", "1.pbs01", "5.pbs01"], {}),
        ("151", ["30[].pbs01"], {}),
        ("170", ["52.pbs01", "53.pbs01"], {"52.pbs01": "Unauthorized Request  52.pbs01"}),
        ("219", ["72.pbs01"], {"72.pbs01": "Server could not connect to MOM 72.pbs01"}),
    ],
)
def test_kill_names_what_it_could_not(number: str, ids: list[str], failed: dict[str, str]) -> None:
    assert pbs.parse_kill(ids, *recorded(number)[1:]) == failed


@pytest.mark.parametrize("number", ["164", "232"])
def test_kill_without_a_server_fails_for_all(number: str) -> None:
    assert set(pbs.parse_kill(["1", "2"], *recorded(number)[1:])) == {"1", "2"}


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("1.pbs01", "1", True),
        ("1.pbs01", "1.pbs01.example.org", True),
        ("1.a@b", "1.a", True),
        ("1", "11", False),
        ("1.pbs01", "1.pbs02", False),
        ("30[].pbs01", "30[1].pbs01", False),
        ("30[].pbs01", "30[]", True),
        ("1.a", "not an id", False),
    ],
)
def test_ids_with_and_without_server(one: str, other: str, same: bool) -> None:
    assert pbs._same(one, other) is same


WALLTIME = "Job run at Fri Nov 20 at 18:30 on (pbs01:ncpus=1) and exceeded resource walltime"


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *[(word, "waiting") for word in "HQTW"],
        *[(word, "active") for word in "BERSU"],
        *[(word, "ended") for word in "FXC"],
        *[(word, "unknown") for word in ("M", "Z", "Q7", "running")],
    ],
)
@pytest.mark.parametrize("asked", ["1", "1.srv", "1.srv.example.org", "1.srv@east.example.org:15001"])
def test_every_state_by_each_way_to_write_the_id(word: str, state: str, asked: str) -> None:
    call = pbs.poll_calls([asked])[0]
    assert call.argv[-1] == asked
    answer = pbs.parse_poll(call, [asked], 0, f"Job Id: 1.srv\n    job_state = {word}\n", "")
    assert (answer.error, answer.seen[asked].state, answer.seen[asked].raw) == ("", state, word)


@pytest.mark.parametrize(
    ("status", "comment", "reason"),
    [
        ("0", "", ""),
        ("0", "Job run at Fri Nov 20 at 18:28 on (pbs01:ncpus=1:mem=65536kb) and finished", ""),
        ("0", WALLTIME, "exceeded resource walltime"),
        ("3", "Job run at Fri Nov 20 at 18:30 on (pbs01:ncpus=1)+(pbs02:ncpus=1) and failed", "exit status 3"),
        ("271", "", "exit status 271 (signal 15)"),
        ("265", "Job run at Fri Nov 20 at 18:30 on (pbs01:ncpus=1)", "exit status 265 (signal 9)"),
        ("-29", WALLTIME, "exit status -29 (killed: walltime); exceeded resource walltime"),
        ("-27", "", "exit status -27 (killed: memory)"),
        ("-1", "", "exit status -1 (failed before its files were staged)"),
        ("-12", "", "exit status -12 (by PBS itself)"),
        ("-99999", "node down: communication closed",
         "exit status -99999 (by PBS itself); node down: communication closed"),
        ("--1", "", "exit status --1"),
    ],
)  # fmt: skip
def test_exit_statuses_and_what_pbs_says_beside_them(status: str, comment: str, reason: str) -> None:
    said = f"    comment = {comment}\n" if comment else ""
    text = f"Job Id: 1.srv\n    job_state = F\n    Exit_status = {status}\n{said}"
    row = pbs.parse_poll(pbs.history_calls(["1"])[0], ["1"], 0, text, "").seen["1"]
    assert (row.state, row.reason) == ("ended", reason)


@pytest.mark.parametrize("history", [True, False])
def test_a_job_that_has_left_the_list_is_ended_or_absent_and_never_an_error(history: bool) -> None:
    def run(call: base.Call) -> tuple[int, str, str]:
        if "-x" not in call.argv:
            return 35, "", "qstat: 1.srv Job has finished, use -x or -H to obtain historical job information\n"
        if history:
            return 0, "Job Id: 1.srv\n    job_state = F\n    Exit_status = 271\n", ""
        return 1, "", "qstat: PBS is not configured to maintain job history\n"

    seen, errors = base.ask(pbs, ["1.srv"], run)
    assert errors == {}
    assert [row.reason for row in seen.values()] == (["exit status 271 (signal 15)"] if history else [])

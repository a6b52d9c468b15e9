from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jobmgr.core.platform_report import Attempt, Finding, HostLook, Level, Settings, report
from jobmgr.platforms import load

SETTINGS = Settings("hpc", ("hpc",), "auto", "background", True, "$HOME/jobmgr-run", "", 10.0, {})
FOUND: dict[str, Any] = {
    "lacks": "", "cores": 8, "bash": "/bin/bash", "bash_version": "5.2", "python": "3.9.1", "hidepid": "",
    "kills_at_logout": False, "lingers": False, "user": "ada", "write_error": "", "write_seconds": 0.01,
    "exec_error": "", "made_root": False, "noexec": False, "file_system": "xfs", "network_fs": "",
    "shared": False, "free_bytes": 1 << 40, "home_free_bytes": 1 << 40, "free_inodes": 1 << 20, "quota": "",
    "rsync": "rsync version 3.2.7", "home_id": "7", "runners": [{"name": "background", "version": "bash"}],
    "policy": {"min_polling_interval": 0.0, "max_wait": None, "deny_runners": [], "syslog": False},
}  # fmt: skip
SLURM = {"name": "slurm", "version": "slurm 22.05", "queue": "yes", "accounting": "yes"}
LOOK = HostLook(
    "hpc", (Attempt("fabric", 0.2), Attempt("openssh", 0.2)), "fabric", "fabric", "no reason",
    found=FOUND, version="1.0.0", rsync_seconds=(0.1, 0.1), sessions=8, asked_sessions=8,
)  # fmt: skip


def look(**found: Any) -> HostLook:
    return replace(LOOK, found={**FOUND, **found})


def of(topic: str, seen: HostLook, settings: Settings = SETTINGS) -> Finding:
    (finding,) = [one for one in report(settings, [seen]).findings if one.topic == topic]
    return finding


def test_a_good_host_is_ready() -> None:
    made = report(SETTINGS, [LOOK])
    assert {one.level for one in made.findings} == {Level.OK}
    assert made.exit_code == 0
    assert made.stanza == "platforms:\n  hpc: {}  # nothing needs to be said\n"


@pytest.mark.parametrize(
    "topic, level, found",
    [
        ("bash", Level.ERROR, {"lacks": "no bash on the PATH"}),
        ("run root", Level.ERROR, {"write_error": "/x: Read-only file system"}),
        ("run root", Level.WARNING, {"write_seconds": 4.0}),
        ("noexec", Level.WARNING, {"exec_error": "could not start: Permission denied"}),
        ("noexec", Level.WARNING, {"noexec": True}),
        ("file system", Level.INFO, {"file_system": "nfs4", "network_fs": "nfs4"}),
        ("space", Level.ERROR, {"free_bytes": 1 << 20}),
        ("space", Level.WARNING, {"free_bytes": 1 << 28}),
        ("space at home", Level.ERROR, {"home_free_bytes": 0}),
        ("inodes", Level.ERROR, {"free_inodes": 9}),
        ("inodes", Level.WARNING, {"free_inodes": 2000}),
        ("quota", Level.WARNING, {"quota": "/dev/sda1 1000* 900 1000 6days"}),
        ("quota", Level.INFO, {"quota": "/dev/sda1 10 900 1000"}),
        ("hidepid", Level.INFO, {"hidepid": "2"}),
        ("logout", Level.ERROR, {"kills_at_logout": True}),
        ("logout", Level.OK, {"kills_at_logout": True, "lingers": True}),
        ("site policy", Level.ERROR, {"policy": {"deny_runners": ["background"]}}),
        ("site policy", Level.INFO, {"policy": {"max_wait": 600}}),
    ],
)  # fmt: skip
def test_what_hurts_is_said_with_what_to_do(topic: str, level: Level, found: dict[str, Any]) -> None:
    finding = of(topic, look(**found))
    assert finding.level is level
    assert finding.advice or level in (Level.OK, Level.INFO)


def test_every_warning_and_error_has_advice() -> None:
    bad = replace(
        look(lacks="x", write_error="x", free_bytes=1, home_free_bytes=1, free_inodes=1, quota="*",
             kills_at_logout=True, hidepid="2", policy={"deny_runners": ["background"]}, runners=[SLURM]),
        noise="hello", clock_offset=900.0, sessions=1, rsync_error="no rsync", rsync_seconds=(),
    )  # fmt: skip
    made = report(replace(SETTINGS, runner_chosen=False), [bad])
    for one in made.findings:
        assert one.advice or one.level in (Level.OK, Level.INFO), one
    assert made.exit_code == 1


def test_a_host_for_a_person_ends_with_6_and_one_that_is_down_with_5() -> None:
    refused = HostLook("a", (Attempt("fabric", 1.0, "login refused", True),), "fabric")
    down = HostLook(
        "b", (Attempt("fabric", 1.0, "timed out"), Attempt("openssh", 1.0, "timed out")), "fabric"
    )
    silent = replace(LOOK, found={}, error="the host side gave no answer")
    assert report(SETTINGS, [LOOK, down, refused]).exit_code == 6
    assert report(SETTINGS, [LOOK, down]).exit_code == 5
    assert report(SETTINGS, [LOOK, silent]).exit_code == 5


def test_the_transport_that_works_is_recommended() -> None:
    seen = replace(
        LOOK,
        attempts=(Attempt("fabric", 1.0, "no such key type", True), Attempt("openssh", 1.0)),
        used="openssh",
    )
    made = report(SETTINGS, [seen])
    assert made.exit_code == 0
    assert "transport: openssh  # fabric does not get in" in made.stanza
    assert of("transport fabric", seen).level is Level.WARNING


def test_what_is_slow_or_not_needed_is_a_note() -> None:
    attempts = (Attempt("fabric", 9.0), Attempt("openssh", 0.1, "no ssh on this machine"))
    seen = replace(LOOK, attempts=attempts, host_key="verified", clock_offset=-20.0)
    made = report(replace(SETTINGS, transport="fabric"), [seen])
    notes = {one.topic for one in made.findings if one.level is Level.INFO}
    assert notes == {"transport fabric", "transport openssh", "clock"}
    assert "behind" in of("clock", seen).text
    assert "transport" not in {one.topic for one in made.findings}


def test_this_machine_wants_no_rsync_and_no_sessions() -> None:
    seen = HostLook("localhost", (Attempt("local", 0.0),), "local", "local", found={**FOUND, "shared": True})
    made = report(replace(SETTINGS, transport="local"), [seen])
    assert made.exit_code == 0
    assert not {"rsync", "sessions", "host key"} & {one.topic for one in made.findings}


def test_a_batch_system_without_accounting_is_as_good() -> None:
    seen = look(runners=[{**SLURM, "accounting": "no: disabled"}], policy={"syslog": True})
    assert of("runner slurm", seen).level is Level.OK
    assert "no accounting (disabled)" in of("runner slurm", seen).text
    assert "system log" in of("site policy", seen).text
    own = of("runner tide", look(), replace(SETTINGS, runner="tide"))
    assert own.level is Level.ERROR


def test_a_batch_system_that_nobody_chose_is_recommended() -> None:
    seen = look(runners=[SLURM, {"name": "at", "version": "3.2", "queue": "yes"}])
    settings = replace(SETTINGS, runner_chosen=False)
    assert of("runner", seen, settings).level is Level.ERROR
    assert "    runner: slurm  #" in report(settings, [seen]).stanza
    assert "runner:" not in report(SETTINGS, [seen]).stanza


def test_a_queue_that_does_not_answer_hurts_only_who_uses_it() -> None:
    seen = look(runners=[{**SLURM, "queue": "no: munge is down", "accounting": ""}])
    assert of("runner slurm", seen).level is Level.INFO
    finding = of("runner slurm", seen, replace(SETTINGS, runner="slurm"))
    assert finding.level is Level.ERROR
    assert "munge is down" in finding.text


def test_the_pace_that_the_site_demands_is_recommended() -> None:
    seen = look(policy={"min_polling_interval": 90.0})
    assert "min_polling_interval: 90s  # the site's policy" in report(SETTINGS, [seen]).stanza
    assert "min_polling" not in report(replace(SETTINGS, polls_every=90.0), [seen]).stanza


def test_hosts_with_different_homes_are_no_platform() -> None:
    other = replace(LOOK, host="login2", found={**FOUND, "home_id": "8"})
    made = report(SETTINGS, [LOOK, other])
    assert [one.topic for one in made.findings if one.level is Level.ERROR] == ["home directory"]


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(st.dictionaries(st.sampled_from(["A", "B"]), _TEXTS, min_size=1), _TEXTS.filter(str.strip))
def test_the_stanza_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], script: str
) -> None:
    chosen = {"runner": "slurm", "environment": environment, "init_script": script, "max_active": 3,
              "long_poll": True, "polling_interval": ["1m", "5m"]}  # fmt: skip
    made = report(replace(SETTINGS, name="a.b", hosts=("x", "y"), runner="slurm", chosen=chosen), [LOOK])
    file = tmp_path_factory.mktemp("p") / "platforms.yaml"
    file.write_text(made.stanza, encoding="utf-8")
    (platform,) = [load.load_platforms([Path(file)]).resolve("a.b")]
    assert dict(platform.environment) == environment
    assert (platform.init_script, platform.hosts, platform.max_active) == (script, ("x", "y"), 3)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(FOUND)), _JSON, min_size=1))
def test_no_answer_of_a_host_makes_the_judgement_fail(found: dict[str, Any]) -> None:
    report(SETTINGS, [look(**found)])

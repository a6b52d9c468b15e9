from __future__ import annotations

import contextlib
import io
import os
import syslog
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_side import Answer, Host, host_in
from jobmgr_remote import hostconf, session, wire
from jobmgr_remote.commands import jobs_poll


def test_no_file_demands_nothing(tmp_path: Path) -> None:
    assert hostconf.load(str(tmp_path / "host.conf")) == hostconf.DEFAULT
    assert hostconf.load(str(tmp_path / "no" / "folder")) == hostconf.DEFAULT


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "host.conf").write_text(
        "# policy\n[host]\nmin_polling_interval = 90s   # slow\nmax_wait=10m\n\n"
        "deny_runners = background, at\nsyslog = Yes\n"
    )
    assert hostconf.load(str(tmp_path / "host.conf")) == hostconf.HostConf(
        90.0, 600.0, ("background", "at"), True
    )


@pytest.mark.parametrize("text, seconds", [("0", 0), ("1.5", 1.5), ("2 m", 120), ("1h", 3600), ("1d", 86400)])
def test_durations(text: str, seconds: float) -> None:
    assert hostconf.parse(f"max_wait = {text}").max_wait == seconds


@pytest.mark.parametrize(
    "row", ["max_wait = soon", "max_wait = -1", "syslog = maybe", "max-wait = 1", "nonsense", "= 3"]
)
def test_a_policy_that_cannot_be_understood_is_an_error_that_names_the_line(row: str) -> None:
    with pytest.raises(hostconf.Malformed, match=r"/x:2: "):
        hostconf.parse("\n" + row, "/x")


@given(st.text(max_size=80))
def test_no_text_makes_parsing_fail_otherwise(text: str) -> None:
    with contextlib.suppress(hostconf.Malformed):
        hostconf.parse(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Host, Path]]:
    """A host whose site has a policy: the host side runs in this process, with another path of the file."""
    conf = tmp_path / "host.conf"
    load = hostconf.load
    monkeypatch.setattr(hostconf, "load", lambda: load(str(conf)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with host_in(tmp_path / "home") as host:
        yield host, conf


def serve(host: Host, verb: str, items: list[dict[str, Any]], **options: Any) -> Answer:
    out = io.BytesIO()
    read, write = os.pipe()
    os.write(write, host.request(verb, items, **options))
    with open(read, "rb") as stdin, open(write, "wb"):
        code = session.serve(verb, stdin, out)
    return Answer(verb, code, out.getvalue(), b"")


def test_denied_runners_are_refused(site: tuple[Host, Path]) -> None:
    host, conf = site
    conf.write_text("deny_runners = background")
    (answer,) = serve(host, wire.JOBS_SUBMIT, [host.job()]).jobs
    assert answer.result == wire.R_REFUSED
    assert "not allowed on this host" in answer.text


def test_a_broken_policy_refuses_every_call(site: tuple[Host, Path]) -> None:
    host, conf = site
    conf.write_text("deny_runner = background")
    answer = serve(host, wire.JOBS_SUBMIT, [host.job()])
    assert answer.error is not None
    assert answer.error.code == wire.E_POLICY
    assert "host.conf:1" in answer.error.text


def test_no_call_waits_longer_than_the_site_allows(site: tuple[Host, Path]) -> None:
    host, conf = site
    conf.write_text("max_wait = 0\nmin_polling_interval = 1")
    answer = serve(host, wire.JOBS_POLL, [host.job()], wait=3000)
    assert answer.ended
    assert len(answer.jobs) == 1


def test_a_long_poll_looks_as_seldom_as_the_site_demands(
    site: tuple[Host, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, conf = site
    conf.write_text("min_polling_interval = 77")
    pauses: list[float] = []
    monkeypatch.setattr(
        session.Host, "stdin_ended", lambda self, timeout=0.0: pauses.append(timeout) or len(pauses) > 2
    )
    monkeypatch.setattr(jobs_poll.Watch, "_look", lambda self, slow: set())
    serve(host, wire.JOBS_POLL, [host.job()], wait=3000)
    assert pauses == [77.0, 77.0, 77.0]


def test_news_make_the_looks_no_more_frequent(
    site: tuple[Host, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, conf = site
    conf.write_text("min_polling_interval = 77")
    jobs = [host.job(task="a"), host.job(task="b")]
    looks: list[set[int]] = [{0}, {1}]
    pauses: list[float] = []
    monkeypatch.setattr(
        session.Host, "stdin_ended", lambda self, timeout=0.0: pauses.append(timeout) or len(pauses) > 1
    )
    monkeypatch.setattr(jobs_poll.Watch, "_look", lambda self, slow: looks.pop(0))
    serve(host, wire.JOBS_POLL, jobs, wait=3000, stream=True)
    assert pauses == [77.0, 77.0]
    assert looks == []


def test_the_end_of_the_time_brings_no_look_of_its_own(
    site: tuple[Host, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, conf = site
    conf.write_text("min_polling_interval = 77")
    looks: list[bool] = []
    monkeypatch.setattr(session.Host, "stdin_ended", lambda self, timeout=0.0: False)
    monkeypatch.setattr(jobs_poll.Watch, "_look", lambda self, slow: looks.append(slow) or set())
    serve(host, wire.JOBS_POLL, [host.job()], wait=5)
    assert looks == [True]


def test_calls_are_told_to_the_system_log(site: tuple[Host, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    host, conf = site
    conf.write_text("syslog = on")
    rows: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda level, text: rows.append(text))
    serve(host, wire.JOBS_POLL, [])
    assert rows == [f"jobs-poll user={session.user_name('')} suite=s items=0"]

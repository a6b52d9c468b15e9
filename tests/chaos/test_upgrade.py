"""Files of older versions, kept from version 1 of the formats on: today's code goes on with them.

``tests/data/vN`` is a controller's home and a host's, as they were in the middle of a run: one job has
succeeded, one has failed, and one waits in the spool, with its job file and its wrapper. ``@FOLDER@`` and the
like stand for what differs from machine to machine. A new version of a format adds a folder here, and never
touches an old one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.world import HOST, STRIDE, World, world
from jobmgr.store import db
from jobmgr_remote import status, wire

DATA = Path(__file__).parents[1] / "data"
VERSIONS = sorted(path.name for path in DATA.glob("v[0-9]*"))


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose files are those of an older version."""
    with world() as made:
        instance = made.host.ask("!instance")
        words = {
            "@FOLDER@": str(made.folder),
            "@INSTANCE@": instance,
            "@INSTANCE-DIR@": instance.replace(":", "."),
            "@HOSTNAME@": os.uname()[1],
        }

        def said(text: str) -> str:
            for word, value in words.items():
                text = text.replace(word, value)
            return text

        source = DATA / request.param
        for path in sorted(source.rglob("*")):
            target = made.folder / said(str(path.relative_to(source)))
            if path.is_dir():
                target.mkdir(mode=0o700, exist_ok=True)
            elif path.name == "suite.sql":
                with sqlite3.connect(target.with_name("suite.db")) as store:
                    store.executescript(said(path.read_text()))
                store.close()
            else:
                target.write_text(said(path.read_text()))
                target.chmod(0o700 if "bin" in path.parts else 0o600)
        for spool in (made.host.home / ".jobmgr/spool").glob("*/*"):
            for name in ("slots", "taken"):  # empty folders are not kept
                (spool / name).mkdir(mode=0o700, exist_ok=True)
        run_dir = made.host.home / "jobmgr-run/old"
        for line in (run_dir / ".service/journal").read_text().splitlines():
            token, job = line.split()[:2]
            for folder in (run_dir / ".service/jobs" / token, run_dir / "work" / job.rpartition("/")[0]):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield made


def test_a_run_of_an_older_version_goes_on_to_its_end(old: World) -> None:
    with old.session() as session:
        run = session.open("old")
        before = {row.id: row.state.value for row in run.rows()}
        assert before == {"1/fine/01": "succeeded", "1/bad/01": "failed", "1/next/01": "submitted"}
        assert run.job("1/bad").exit_code == 3
        old.offset += STRIDE
        run.tick()  # the poll has the queued job started, by its own wrapper
        old.settle(run)
        assert {row.id: row.state.value for row in run.rows()} == {**before, "1/next/01": "succeeded"}
        assert old.ran("old") == {"1/fine": 1, "1/bad": 1, "1/next": 1}
        assert run.why("1/fine").lines
        run.retry(["1/bad"])
        old.settle(run)
        assert old.ran("old")["1/bad"] == 2


def test_the_store_is_brought_up_to_the_present_version(old: World) -> None:
    with old.session() as session:
        session.open("old").rows()
    with sqlite3.connect(old.home / "jobmgr-run/old/.service/suite.db") as store:
        assert store.execute("PRAGMA user_version").fetchone() == (db.SCHEMA_VERSION,)
    store.close()


def test_a_store_is_built_again_from_the_files_of_an_older_version(old: World) -> None:
    (old.home / "jobmgr-run/old/.service/suite.db").unlink()
    with old.session() as session:
        session.recover("old", [HOST])
        run = session.open("old")
        old.settle(run)
        states = {row.id: row.state.value for row in run.rows()}
        assert states == {"1/fine/01": "succeeded", "1/bad/01": "failed", "1/next/01": "succeeded"}
        assert old.ran("old") == {"1/fine": 1, "1/bad": 1, "1/next": 1}


def test_files_of_every_version_up_to_the_present_are_kept() -> None:
    present = max(db.SCHEMA_VERSION, int(status.VERSION), wire.PROTOCOL)
    assert [f"v{number}" for number in range(1, present + 1)] == VERSIONS


def test_a_host_side_serves_the_wire_version_before_its_own() -> None:
    """So that a host may be upgraded before the controllers that call it."""
    assert {wire.PROTOCOL, max(1, wire.PROTOCOL - 1)} <= set(wire.SERVED)

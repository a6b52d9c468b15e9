"""A run whose store was lost, and whose definition only the store had."""

from __future__ import annotations

import pytest

from chaos.world import HOST, submitted, world
from jobmgr.errors import RefusedError


def test_what_nobody_can_define_any_more_is_not_run_as_an_empty_job() -> None:
    with world() as made:
        with made.session() as session:
            run = submitted(made, session, made.suite(), made.new_name())
            made.settle(run)
        (made.home / "jobmgr-run" / run.name / ".service/suite.db").unlink()
        with made.session() as session:
            session.recover(run.name, [HOST])
            again = session.open(run.name)
            with pytest.raises(RefusedError, match="not known any more"):
                again.retry(["1/t0"])
            made.settle(again)
            made.held_to_be_right(again)

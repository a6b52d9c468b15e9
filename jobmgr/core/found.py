"""What job.status tells of a job that the controller did not know."""

from __future__ import annotations

from jobmgr.core.clock import parse_utc
from jobmgr.core.words import line
from jobmgr_remote import status, wire


def submission(evidence: wire.Evidence) -> tuple[str, str, float | None]:
    """(runner, instance of the host, time of the submit) as the file has them; "" and None where it does not
    tell.
    """
    facts = evidence.file.facts
    return (
        line(facts.get(status.RUNNER)),
        line(facts.get(status.INSTANCE)),
        parse_utc(facts.get(status.SUBMIT_TIME)),
    )

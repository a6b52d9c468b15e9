"""Colours of states. Every view says the same without them."""

from __future__ import annotations

from jobmgr.core.states import State

SGR = {
    State.SUCCEEDED: "32",
    State.RUNNING: "36",
    State.SUBMITTED: "34",
    State.SUBMITTING: "34",
    State.SUBMIT_UNKNOWN: "33",
    State.FAILED: "31",
    State.SUBMIT_FAILED: "31",
    State.KILLED: "35",
    State.HELD: "33",
    State.REMOVED: "2",
}
"""Parameters of the "select graphic rendition" sequence (ECMA-48), by state."""

BOLD, DIM, YELLOW = "1", "2", "33"


def paint(text: str, code: str | None, wanted: bool) -> str:
    """``text`` in a colour, if colours are wanted and there is one."""
    return f"\x1b[{code}m{text}\x1b[0m" if wanted and code else text

"""What calls of the library return, beside the rows of :mod:`jobmgr.service.report`. Frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field


class Resolved(Struct, frozen=True):
    """What a SUITE word means: ``kind`` is ``run`` or ``path``; ``note`` says which was taken where both were
    possible.
    """

    kind: str
    name: str
    path: Path | None
    note: str = ""


class DryRun(Struct, frozen=True):
    """A job that would be submitted: ``text`` is its job file, as far as it is known without asking the host.
    """

    job: str
    platform: str
    text: str


class TickResult(Struct, frozen=True):
    """What one turn did. ``busy``: another process is at work on the run, nothing was done.

    ``unreachable`` and ``person`` map hosts to why they gave no answer; for those in ``person`` a person must
    act. ``refused``: hosts that decline, because of another run's directory or a policy.
    """

    run: str
    busy: bool = False
    polled: int = 0
    changed: int = 0
    submitted: int = 0
    retrieved: int = 0
    unreachable: Mapping[str, str] = field(default_factory=dict)
    person: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class KillResult(Struct, frozen=True):
    """What became of one kill: ``killed``, ``already-finished``, ``not-found``, ``could-not``,
    ``no-answer`` or ``refused``; ``text``: why.
    """

    id: str
    result: str
    text: str


class RetrieveResult(Struct, frozen=True):
    """What came home: number of files, bytes; what was left out, with the reason; what is still to come."""

    files: int
    bytes: int
    left_out: Sequence[tuple[str, str]] = ()
    to_come: int = 0
    unreachable: Mapping[str, str] = field(default_factory=dict)
    person: Mapping[str, str] = field(default_factory=dict)


class HostResult(Struct, frozen=True):
    """What one host did: the paths that it removed, or the error text ("" = none)."""

    host: str
    removed: Sequence[str] = ()
    error: str = ""
    exit_code: int = 0


class CleanResult(Struct, frozen=True):
    """What was (or would be) deleted: (host, path), host "" for this machine; hosts that refused or gave no
    answer.
    """

    paths: Sequence[tuple[str, str]]
    failed: Sequence[HostResult] = ()

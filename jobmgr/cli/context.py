"""What a command works with: the options of every verb, the streams, the clock, a way to the library."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any, Protocol, TextIO

from msgspec import Struct

from jobmgr.core import events
from jobmgr.errors import EXIT_JOB_FAILED, EXIT_NO_ANSWER, EXIT_OK, EXIT_PERSON, EXIT_REFUSED

if TYPE_CHECKING:
    from jobmgr.api import Session

VARIABLES = {
    "platforms": "JOBMGR_PLATFORMS",
    "run_root": "JOBMGR_RUN_ROOT",
    "ssh_config": "JOBMGR_SSH_CONFIG",
    "chaos": "JOBMGR_CHAOS",
}
"""Option -> the variable that stands in for it."""


class Options(Struct, frozen=True):
    """The options of every verb, after the environment has filled the gaps."""

    platforms: str | None = None
    run_root: str | None = None
    ssh_config: str | None = None
    chaos: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: str = "auto"

    @classmethod
    def of(cls, args: argparse.Namespace, environ: Mapping[str, str]) -> Options:
        """Options win over the environment; an empty variable counts as absent.

        A job that runs on the controller itself and calls jobmgr means the run root that it belongs to.
        """
        paths = {
            name: getattr(args, name, None) or environ.get(variable) or None
            for name, variable in VARIABLES.items()
        }
        paths["run_root"] = paths["run_root"] or _run_root_of_job(environ.get("JOBMGR_SUITE_DIR", ""))
        return cls(
            **paths,
            json=getattr(args, "json", False),
            quiet=getattr(args, "quiet", False),
            verbose=getattr(args, "verbose", False),
            color=getattr(args, "color", "auto"),
        )


class Context:
    """One command at work. Results go to ``out``, all else to ``err``."""

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.options = options
        self.environ = environ
        self.out = out if out is not None else sys.stdout
        self.err = err if err is not None else sys.stderr
        self._troubles: set[str] = set()
        self.out_terminal = _is_terminal(self.out)
        self.err_terminal = _is_terminal(self.err)

    @property
    def json(self) -> bool:
        return self.options.json

    @property
    def colored(self) -> bool:
        """Whether ``out`` is to be coloured."""
        if self.options.color != "auto":
            return self.options.color == "always"
        return self.out_terminal and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"

    @property
    def live(self) -> bool:
        """Whether a picture that is drawn again and again makes sense on ``out``."""
        return (
            self.out_terminal
            and not self.json
            and not self.options.quiet
            and self.environ.get("TERM") not in (None, "", "dumb")
        )

    @property
    def width(self) -> int:
        """Columns of the terminal; 0, no limit, where there is none."""
        if not self.out_terminal:
            return 0
        import shutil  # here: it loads every kind of archive

        return shutil.get_terminal_size().columns

    @property
    def asks(self) -> bool:
        """Whether somebody is there to answer a question."""
        return self.out_terminal and _is_terminal(sys.stdin)

    def now(self) -> float:
        return time.time()

    def session(self, *, told: bool = True) -> Session:
        """The library. Its events are printed if ``told``, as lines on ``err`` or as JSON on ``out``."""
        return self.session_with(self.tell if told else None)

    def session_with(self, on_event: events.Emit | None, *, staying: bool = False) -> Session:
        """The library, with another listener; ``staying``: for a command that goes on asking the same hosts."""
        from jobmgr.api import Session

        return Session(
            platforms=self.options.platforms,
            run_root=self.options.run_root,
            ssh_config=self.options.ssh_config,
            chaos=self.options.chaos,
            on_event=on_event,
            staying=staying,
        )

    def show(self, *lines: str) -> None:
        """Results, for people; nothing under --json."""
        if not self.json:
            self.write("".join(f"{line}\n" for line in lines))

    def record(self, kind: str, **values: Any) -> None:
        """Results, for programs: one JSON line, only under --json."""
        if self.json:
            from jobmgr.views import jsonlines

            self.write(jsonlines.line(kind, **values) + "\n")

    def records(self, lines: Iterable[str]) -> None:
        """JSON lines that a view makes, only under --json; else they are not even made."""
        if self.json:
            self.write("".join(f"{line}\n" for line in lines))

    def write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()

    def write_bytes(self, data: bytes) -> None:
        """Bytes as they are, for a pipe."""
        raw: IO[bytes] = self.out.buffer
        self.out.flush()
        raw.write(data)
        raw.flush()

    def note(self, *lines: str) -> None:
        """News for people; silent under --quiet and --json."""
        if not (self.options.quiet or self.json):
            self.complain(*lines)

    def complain(self, *lines: str) -> None:
        """What must be said, whatever the options."""
        self.err.write("".join(f"{line}\n" for line in lines))
        self.err.flush()

    def tell(self, event: events.Event) -> None:
        """One event of the library as a line. A change of a job is told only with --verbose."""
        from jobmgr.views import jsonlines, progress

        if self.json:
            self.write(jsonlines.event(event) + "\n")
            return
        routine = isinstance(event, (events.Changed, events.Installed, events.Retrieved))
        if routine and not self.options.verbose:
            return
        if isinstance(event, events.Trouble):
            self.trouble(event.host, event.text, person=event.person)
            return
        told = progress.told_by(event)
        if told and not self.options.quiet:
            self.complain(told)

    def trouble(self, host: str, why: str, *, person: bool) -> None:
        """Why a host could not be asked, once in a command; under --json an event says it."""
        from jobmgr.views import progress

        said = progress.trouble(host, why, person=person)
        if not self.json and said not in self._troubles:
            self._troubles.add(said)
            self.complain(said)


def _run_root_of_job(suite_dir: str) -> str | None:
    """The folder above a run directory, if the run's store is in it, as it is only on the controller."""
    if suite_dir and os.path.isfile(os.path.join(suite_dir, ".service", "suite.db")):
        return os.path.dirname(os.path.abspath(suite_dir))
    return None


def _is_terminal(stream: TextIO) -> bool:
    try:
        return os.isatty(stream.fileno())
    except (OSError, ValueError):
        return False


class Turn(Protocol):
    """What a turn of the loop came to: hosts that gave no answer, and those for which a person must act."""

    @property
    def unreachable(self) -> Mapping[str, str]: ...
    @property
    def person(self) -> Mapping[str, str]: ...
    @property
    def refused(self) -> Mapping[str, str]: ...


def exit_after(turned: Turn | None, failed: bool) -> int:
    """The exit code of who submitted: as :func:`exit_of`, for the turn that did it."""
    if turned is None:
        return exit_of({}, {}, failed)
    if turned.refused and not turned.person:
        return EXIT_REFUSED
    return exit_of(turned.unreachable, turned.person, failed)


def exit_of(unreachable: Mapping[str, str], person: Mapping[str, str], failed: bool = False) -> int:
    """The exit code of who asked hosts: a person must act, else no answer, else a failed job, else 0."""
    if person:
        return EXIT_PERSON
    if unreachable:
        return EXIT_NO_ANSWER
    return EXIT_JOB_FAILED if failed else EXIT_OK

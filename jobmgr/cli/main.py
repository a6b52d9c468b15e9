"""The command line, ``jobmgr VERB ...``: the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from jobmgr import __version__
from jobmgr.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_USAGE,
    ConfigError,
    JobmgrError,
)

EXIT_PIPE_CLOSED = 141
"""As for any program that nobody reads on: 128 + SIGPIPE."""

COLLECT_AFTER = 20000
"""More objects than a start loads, which stay: to look through them again and again would be 5 % of a short command."""

_MACHINE = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.ENOTDIR,
        errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ELOOP,
    }
)  # fmt: skip
"""What this machine may refuse, with a file's name; nobody's bug."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Prints; raises nothing."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        gc.set_threshold(COLLECT_AFTER)
    if "_ARGCOMPLETE" in os.environ:
        from jobmgr.cli import complete

        complete.answer(os.environ)
    _open_what_is_closed()
    _never_fail_to_encode(sys.stdout)
    _never_fail_to_encode(sys.stderr)
    try:
        code = _command(words)
        sys.stdout.flush()
    except BaseException as error:
        code = _boundary(error, words)
    if argv is None:  # the process ends now: its last collections need not look through all that it has loaded
        gc.freeze()
    return code


def _command(words: Sequence[str]) -> int:
    from jobmgr.cli.context import Context, Options
    from jobmgr.cli.parser import main_parser, parse

    verb, args = parse(words)
    if getattr(args, "version", False):
        print(f"jobmgr {__version__}")
        return EXIT_OK
    if verb is None:
        main_parser().print_help()
        return EXIT_OK if not words else EXIT_USAGE
    context = Context(Options.of(args, os.environ), os.environ)
    return verb.load().run(args, context)


def _boundary(error: BaseException, words: Sequence[str]) -> int:
    """The message and the exit code of whatever ended a command."""
    if isinstance(error, SystemExit):  # a help text of argparse
        return error.code if isinstance(error.code, int) else EXIT_OK
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        _say(f"jobmgr: not UTF-8: {_printable(ascii(error.object)[:200])}; rename it, or use a UTF-8 locale")
        return EXIT_USAGE
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        _give_up_stdout()
        _say(f"jobmgr: cannot write the output: {error.strerror}; what the command did is done")
        return EXIT_REFUSED
    if isinstance(error, BrokenPipeError) or _terminal_gone(error):
        _give_up_stdout()
        return EXIT_PIPE_CLOSED
    if isinstance(error, KeyboardInterrupt):
        _say(str(error) or "interrupted; jobs that run go on")
        # Had the interrupt come in the middle of somebody's exec (a dataclass in the making), Python would
        # take it for unhandled and end by SIGINT instead of this exit code; the next exec makes it forget.
        exec("")
        return EXIT_INTERRUPTED
    if isinstance(error, JobmgrError):
        _report(error, words)
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _MACHINE and error.filename is not None:
        _say(f"jobmgr: {_where(error)}: {error.strerror}")
        return EXIT_REFUSED
    return _bug(error, words)


def _terminal_gone(error: BaseException) -> bool:
    """What was the terminal gives EIO once its window is closed."""
    return isinstance(error, OSError) and error.errno == errno.EIO and error.filename is None


def _where(error: OSError) -> str:
    names = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))
    ]
    return _printable(" -> ".join(names) or "a file")


def _report(error: JobmgrError, words: Sequence[str]) -> None:
    """An expected error: one line; every problem of a file has its own."""
    lines = [_printable(line) for line in str(error).splitlines()] or [type(error).__name__]
    if isinstance(error, ConfigError):
        number = len(error.problems)
        lines.append(f"{number} error{'s' * (number != 1)}; nothing was submitted")
    else:
        lines = [f"jobmgr: {' '.join(line.strip() for line in lines)}"]
    if "--json" in words[: words.index("--") if "--" in words else None]:
        from jobmgr.views import jsonlines

        print(jsonlines.line("error", exit=error.exit_code, text=str(error)), flush=True)
    _say(*lines)


def _bug(error: BaseException, words: Sequence[str]) -> int:
    from jobmgr.cli import bugs

    path = bugs.write(error, words)
    _say(
        f"jobmgr: internal error: {type(error).__name__}: {_printable(str(error))[:300]}",
        f"this is a bug of jobmgr; jobs that run go on. Please report it with {path or 'the text above'}",
    )
    return EXIT_BUG


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    from jobmgr.views import text

    return text.one_line(line)


def _say(*lines: str) -> None:
    try:
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody listens; the exit code still tells


def _give_up_stdout() -> None:
    """Nobody reads on: let what is still buffered vanish, so that the interpreter's end is silent."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_what_is_closed() -> None:
    """``>&-`` leaves no stream at all; then nobody wants to read it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end


def _never_fail_to_encode(stream: TextIO) -> None:
    """In a locale without ``·`` or ``…`` these are shown as escapes; the command does not end for it."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def build_parser() -> dict[str, argparse.ArgumentParser]:
    """Every parser by its verb, under the empty name the one before the verb; for the documentation."""
    from jobmgr.cli.parser import main_parser, verb_parser
    from jobmgr.cli.verbs import VERBS

    return {"": main_parser(), **{name: verb_parser(verb) for name, verb in VERBS.items()}}

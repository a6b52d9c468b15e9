"""The log of a bug: the traceback and what is needed to report it, in a file that only its owner reads."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from jobmgr import __version__

KEPT = 20
_SECRET = frozenset({"--env"})


def write(error: BaseException, words: Sequence[str]) -> str | None:
    """Write the log below ~/.jobmgr/bugs, else among the temporary files; its name, None if neither works."""
    name = time.strftime(f"%Y%m%dT%H%M%SZ-{os.getpid()}.txt", time.gmtime())
    text = _text(error, words)
    for folder in (Path("~/.jobmgr/bugs").expanduser(), Path(tempfile.gettempdir())):
        try:
            if folder.name == "bugs":
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _forget_old(folder)
                path = folder / name
            else:
                path = folder / f"jobmgr-bug-{name}"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
        except (OSError, RuntimeError):
            continue
        return str(path)
    traceback.print_exception(error)
    return None


def _forget_old(folder: Path) -> None:
    for old in sorted(folder.glob("*.txt"))[: -KEPT + 1]:
        old.unlink(missing_ok=True)


def _text(error: BaseException, words: Sequence[str]) -> str:
    shown = [
        f"{word.partition('=')[0]}=(left out)" if number and words[number - 1] in _SECRET else word
        for number, word in enumerate(words)
    ]
    return (
        f"jobmgr {__version__}, Python {sys.version.split()[0]}, {platform.platform()}\n"
        f"command: {shown!r}\n\n{''.join(traceback.format_exception(error))}"
    )

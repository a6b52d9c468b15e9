"""Platform files that have been checked are not checked again: what they came to is kept as JSON.

Reading and checking them costs a third of a short command's time (a YAML parser in Python). A copy
is used only for the same texts at the same places, checked by the same code; whatever is wrong with it, the
files are read as if it was not there. Files with mistakes, and those that name a runner of one's own (which
lies elsewhere and may change), are never kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from jobmgr.platforms.model import Platform, PlatformGroup
from jobmgr_remote import runners

FOLDER = Path(".cache/jobmgr")  # below the home directory
UNUSED = 30 * 86400.0
"""Seconds after which a copy that nobody has used is removed."""
_CHECKED_BY = tuple(
    Path(__file__).resolve().parent / name
    for name in (
        *("cache.py", "load.py", "model.py", "models.py"),
        *(
            "../core/checking.py",
            "../core/fields.py",
            "../core/model.py",
            "../core/model_fields.py",
            "../core/yaml_tree.py",
        ),
    )
)
"""The code whose work is kept: when it changes, copies of before do not count."""

Texts = Sequence[tuple[str, str]]
"""Path and content of each platform file."""
Known = tuple[dict[str, Platform], dict[str, PlatformGroup]]


class _Kept(msgspec.Struct):
    """What the file holds."""

    platforms: dict[str, Platform]
    groups: dict[str, PlatformGroup]


def path_of(folder: Path, texts: Texts) -> Path:
    """Where the copy for these files is."""
    made = hashlib.sha256(json.dumps(list(texts)).encode())
    for code in _CHECKED_BY:
        made.update(code.read_bytes())
    return folder / f"platforms-{made.hexdigest()[:32]}.json"


def recall(path: Path) -> Known | None:
    """What these files came to the last time; None if that is not known, or cannot be understood."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        if time.time() - path.stat().st_mtime > UNUSED / 2:
            os.utime(path)
    except (OSError, msgspec.MsgspecError):
        return None
    return kept.platforms, kept.groups


def keep(path: Path, platforms: Mapping[str, Platform], groups: Mapping[str, PlatformGroup]) -> None:
    """Keep what files came to, for :func:`recall`. A home that cannot be written to is no error."""
    if any(one.runner_file or one.runner not in runners.BUILT_IN for one in platforms.values()):
        return
    kept = msgspec.json.encode(_Kept(dict(platforms), dict(groups)))
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_unused(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(beside, flags, 0o600), "wb") as file:
            file.write(kept)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()


def _remove_unused(folder: Path) -> None:
    for old in folder.glob("platforms-*.json"):
        try:
            if time.time() - old.stat().st_mtime > UNUSED:
                old.unlink()
        except OSError:  # another process was faster
            pass

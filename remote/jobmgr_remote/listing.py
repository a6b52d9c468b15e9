"""What there is to bring home of a job: its logs, and what its ``outputs`` patterns match.

Patterns are relative to the work directory and never leave it: ``*``, ``?`` and ``[...]`` within a name,
``**`` for any number of folders; a folder that matches stands for all that is in it. Links are listed as
links and not followed.
"""

import os

from jobmgr_remote import layout, wire

MAX_ENTRIES = 100000
FILE, LINK, DIR, OTHER = "file", "link", "dir", "other"


def logs(run_dir: str, job: str) -> "list[wire.Listed]":
    """The files of the job's log directory."""
    folder = layout.job_dir(job)
    entries = [(entry, kind_of(entry)) for entry in _scan(run_dir + "/" + folder)]
    return [
        listed(folder, entry, kind)
        for entry, kind in entries
        if kind in (FILE, LINK) and not entry.name.endswith(".tmp")
    ]


def outputs(run_dir: str, work_dir: str, patterns: "list[str]") -> "list[wire.Listed]":
    """What the patterns match, each entry once, at most MAX_ENTRIES."""
    found = {}  # type: dict[str, wire.Listed]
    for pattern in patterns:
        try:
            parts = [part for part in layout.check_relative(pattern).split("/") if part not in ("", ".")]
        except ValueError:
            continue
        if parts:
            _match(run_dir, work_dir, parts, found)
    return [found[path] for path in sorted(found)]


def of_job(run_dir: str, item: dict) -> "tuple[wire.Listed, ...]":
    """Logs and outputs of the job of a request's item."""
    cycle, task, _ = layout.split_job_id(item["job"])
    work_dir = layout.check_relative(item.get("work_dir") or layout.default_work_dir(cycle, task))
    patterns = [text for text in item.get("outputs") or [] if isinstance(text, str)]
    return tuple(logs(run_dir, item["job"]) + outputs(run_dir, work_dir, patterns))


def _match(run_dir: str, folder: str, parts: "list[str]", found: "dict[str, wire.Listed]") -> None:
    """Add what matches ``parts`` below ``folder`` (relative to the run directory)."""
    if len(found) >= MAX_ENTRIES:
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        if rest:
            _match(run_dir, folder, rest, found)
        for entry in _scan(run_dir + "/" + folder):
            if kind_of(entry) == DIR:
                _match(run_dir, folder + "/" + entry.name, parts, found)
            elif not rest:
                _add(folder, entry, found)
        return
    matches = _matcher(first)
    for entry in _scan(run_dir + "/" + folder):
        if not matches(entry.name):
            continue
        if kind_of(entry) == DIR:
            _match(run_dir, folder + "/" + entry.name, rest or ["**"], found)
        elif not rest or kind_of(entry) == LINK:
            _add(folder, entry, found)


def _add(folder: str, entry: object, found: "dict[str, wire.Listed]") -> None:
    if len(found) < MAX_ENTRIES:
        one = listed(folder, entry, kind_of(entry))
        found[one.path] = one


def _matcher(pattern: str) -> object:
    """As a shell does it: a name that begins with a dot is matched only by a pattern that does."""
    if not any(c in pattern for c in "*?["):
        return lambda name: name == pattern
    import fnmatch
    import re

    match = re.compile(fnmatch.translate(pattern)).match
    return lambda name: bool(match(name)) and (pattern.startswith(".") or not name.startswith("."))


def listed(folder: str, entry: object, kind: str) -> wire.Listed:
    """An entry of a folder; its path is relative to the run directory."""
    try:
        size = entry.stat(follow_symlinks=False).st_size
    except OSError:
        size = 0
    return wire.Listed._make((folder + "/" + entry.name, size, kind))


def kind_of(entry: object) -> str:
    """``file``, ``link``, ``dir`` or ``other`` (devices, pipes, sockets)."""
    try:
        if entry.is_file(follow_symlinks=False):
            return FILE
        if entry.is_symlink():
            return LINK
        return DIR if entry.is_dir(follow_symlinks=False) else OTHER
    except OSError:
        return OTHER


def _scan(path: str) -> list:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # gone, or not ours to read
        return []

"""Asking rsync for many files alike by their folders.

Its receiving side holds each name that arrives against all that was asked for, so the names of N files take N * N
comparisons: 40,000 files in 10,000 folders by name take two and a half times as long as by folder, and more the more
there are. So where folders at one depth hold files of the same few names, the folders are asked for, and filter rules
(rsync(1), FILTER RULES) say which files of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

FEW = 32
"""At most so many different names of files; each is a rule that every file is held against."""
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
"""Names that mean themselves in a rule, also beside a wildcard."""


class Asked(Struct, frozen=True):
    """What to ask rsync for: ``paths`` (a folder ends in ``/``), and ``rules`` in the form of its ``--filter``."""

    paths: tuple[str, ...]
    rules: tuple[str, ...] = ()


def by_folder(paths: Iterable[str], below: str) -> Asked:
    """The same files with those below the folder ``below`` asked for by their folders, if they are alike.

    All paths are relative to one directory. Files that are not named, but lie in one of those folders under a name
    that files of another one have, are asked for as well. Not alike (names with other characters than letters,
    digits, ``.``, ``_``, ``-``; more than FEW names; folders at several depths): the paths as they are.
    """
    paths = tuple(paths)
    top = f"{below}/"
    folders: dict[str, None] = {}
    names: set[str] = set()
    others = []
    for path in paths:
        if path.startswith(top):
            folder, _, name = path.rpartition("/")
            folders[folder] = None
            names.add(name)
        elif top.startswith(f"{path}/"):  # it holds them, and all else that the rules would leave out
            return Asked(paths)
        else:
            others.append(path)
    depths = {folder.count("/") for folder in folders}
    if len(depths) != 1 or len(names) > FEW or not all(map(_PLAIN.fullmatch, names)):
        return Asked(paths)
    within = "/" + top + "*/" * (depths.pop() - below.count("/"))
    rules = [f"+ {within}{name}" for name in sorted(names)]
    return Asked((*others, *(f"{folder}/" for folder in folders)), (*rules, f"- {within}*"))

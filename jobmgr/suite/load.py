"""Reads suites: a file, or the objects of the library. The only part of ``jobmgr.suite`` that touches
files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobmgr.core import yaml_tree
from jobmgr.core.tasks import SuiteDef
from jobmgr.errors import Problem, SuiteError
from jobmgr.suite.api_model import Suite, suite_tree

if TYPE_CHECKING:
    from jobmgr.suite.check import KnownPlatforms

SUITE_FILE = "suite.yaml"


def suite_file(path: Path) -> Path:
    """The suite file that a path means: itself, or the ``suite.yaml`` in a folder."""
    return path / SUITE_FILE if path.is_dir() else path


def load_suite(path: Path, known_platforms: KnownPlatforms | None = None) -> SuiteDef:
    """The suite in a file or folder. Raises SuiteError with everything that is wrong.

    ``known_platforms`` says what is wrong with a platform's name, or None (``Platforms.problem``); without it
    names of platforms are not checked.
    """
    from jobmgr.suite.check import Source, build_suite  # only where something is checked

    file = suite_file(path)
    text = read_config(file, file.name)
    folder = file.resolve().parent
    root, problems = yaml_tree.parse_tree(text, file.name)
    if problems and not root.entries:
        raise SuiteError(problems)
    return build_suite(root, Source(file.name, folder.name, _reader(folder)), known_platforms, problems)


def suite_from_objects(suite: Suite, known_platforms: KnownPlatforms | None = None) -> SuiteDef:
    """The definition of a suite that a program has made. Raises SuiteError; the problems have no lines."""
    from jobmgr.suite.check import Source, build_suite  # only where something is checked

    folder = None if suite.folder is None else Path(suite.folder).resolve()
    label = f"suite {suite.name!r}"
    return build_suite(suite_tree(suite, label), Source(label, suite.name, _reader(folder)), known_platforms)


def read_config(file: Path, label: str) -> str:
    """The text of a configuration file. Raises SuiteError if it cannot be read or is not UTF-8."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SuiteError([Problem(label, 0, "", f"cannot read {file}: {error.strerror or error}")]) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SuiteError([Problem(label, line, "", "not UTF-8 text")]) from error


def _reader(folder: Path | None) -> Callable[[str], str]:
    def read(name: str) -> str:
        if folder is None:
            raise FileNotFoundError(2, "the suite has no folder (give Suite a folder)")
        return (folder / name).read_text(encoding="utf-8-sig")

    return read

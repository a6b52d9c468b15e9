"""Runners of one's own: found on the controller, shipped with each request that needs them.

A runner is one file of Python that fulfils the contract of ``jobmgr_remote/runners/base.py`` (docs/runners.md
has an annotated example). It is named by a platform's ``runner_file``, or by an entry point of the group
``jobmgr.runners`` whose name is the runner's and whose value is the module. The module is read here and never
run here, but for ``submit --dry-run``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from jobmgr.core.installed_runners import GROUP, entry_points
from jobmgr.errors import PlatformError, Problem
from jobmgr.platforms.model import Platform
from jobmgr_remote import runners


def is_known(name: str) -> bool:
    """Whether a runner of that name is built in or offered by an installed package."""
    return name in runners.BUILT_IN or name in entry_points()


def known_names() -> tuple[str, ...]:
    """All that :func:`is_known` knows, for suggestions."""
    return (*runners.BUILT_IN, *entry_points())


def sources(platform: Platform, names: Collection[str]) -> dict[str, str]:
    """The source text of those of these runners that are not built in, or that ``runner_file`` replaces.
    Raises PlatformError if one cannot be read.

    A platform with a ``remote_command`` is sent no code: there it has to be installed with the command, and
    none is returned.
    """
    wanted = {name for name in names if name and name not in runners.BUILT_IN}
    if platform.runner_file and platform.runner in names:
        wanted.add(platform.runner)  # also in place of a built-in one
    if not wanted or platform.remote_command:
        return {}
    return {name: _source(platform, name) for name in sorted(wanted)}


def register(platform: Platform, name: str) -> None:
    """Have a runner at hand in this process, to show the job files that it makes."""
    runners.add(sources(platform, [name]))


def _source(platform: Platform, name: str) -> str:
    if platform.runner_file and name == platform.runner:
        return _read(Path(platform.runner_file), platform, "runner_file")
    module = entry_points().get(name)
    if module is None:
        known = ", ".join(known_names())
        text = f"unknown runner '{name}' (known: {known})"
        raise PlatformError([Problem(platform.name, 0, "runner", text)])
    from importlib.util import find_spec

    found = find_spec(module)
    if found is None or found.origin is None:
        text = f"the entry point {name} of {GROUP} names a module that is not there: {module}"
        raise PlatformError([Problem(platform.name, 0, "runner", text)])
    return _read(Path(found.origin), platform, "runner")


def problem_of(path: Path) -> str:
    """Why a file cannot be a runner, as far as its text tells; "" if it may be one."""
    try:
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
    except OSError as error:
        return f"cannot read {path}: {error.strerror or error}"
    except (SyntaxError, ValueError) as error:
        return f"{path} is no Python: {error}"
    return ""


def _read(path: Path, platform: Platform, key: str) -> str:
    problem = problem_of(path)
    if problem:
        raise PlatformError([Problem(platform.name, 0, key, problem)])
    return path.read_text(encoding="utf-8")

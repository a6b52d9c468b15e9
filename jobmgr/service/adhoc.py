"""Ad-hoc jobs: from a command line to tasks of a run. Looks at files only to find out whether a command
travels along.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jobmgr.core.tasks import TaskDef
from jobmgr.errors import UsageError
from jobmgr.suite.api_model import Suite, Task
from jobmgr.suite.check import KnownPlatforms
from jobmgr.suite.load import suite_from_objects


def tasks_of(
    platform: str,
    command: Sequence[str],
    *,
    folder: Path,
    taken: Collection[str],
    known_platforms: KnownPlatforms,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    name: str | None = None,
    time_limit: int | float | str | None = None,
    env: Mapping[str, str] | None = None,
    directives: Sequence[str] = (),
    parameters: Mapping[str, object] | None = None,
) -> list[TaskDef]:
    """The tasks of one ad-hoc command: one, or one for each member of ``parameters``.

    ``folder`` is where relative inputs and ``./scripts`` are looked for; ``taken`` are names that the run has
    already. Raises UsageError for an empty command or an input that is not there, SuiteError for what a suite
    would refuse.
    """
    if not command or not command[0]:
        raise UsageError("there is no command to run")
    words = list(command)
    along = [str(_input(folder, path)) for path in inputs]
    script = folder / os.path.expanduser(words[0])
    if "/" in words[0] and not os.path.isabs(words[0]) and script.is_file():
        along.append(str(script.resolve()))
        words[0] = f"./{script.name}"
    base = _free(name or _name_of(words[0]), taken)
    limit = (
        None if time_limit is None else time_limit if isinstance(time_limit, str) else f"{int(time_limit)}s"
    )
    task = Task(
        script=shlex.join(words),
        platform=platform,
        inputs=along or None,
        outputs=list(outputs) or None,
        time_limit=limit,
        environment=dict(env) if env else None,
        directives=_directives(directives),
        parameters=dict(parameters) if parameters else None,  # type: ignore[arg-type]
    )
    made = suite_from_objects(Suite(name="adhoc", tasks={base: task}, folder=folder), known_platforms)
    return [made.tasks[member]._replace(base=base) for member in made.tasks]


def _input(folder: Path, path: str) -> Path:
    found = folder / os.path.expanduser(path)
    if not found.exists():
        raise UsageError(f"input {path} does not exist")
    return Path(os.path.abspath(found))


def _name_of(word: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", os.path.basename(word)).lstrip("_.+-") or "job"
    return re.sub(r"\.{2,}", ".", name)[:60]


def _free(name: str, taken: Collection[str]) -> str:
    bases = set(taken)
    if name not in bases:
        return name
    number = 2
    while f"{name}-{number}" in bases:
        number += 1
    return f"{name}-{number}"


def _directives(given: Sequence[str]) -> dict[str, str | None] | None:
    """``--directive=--exclusive`` is a flag, ``--directive=--constraint=gpu`` has a value."""
    made: dict[str, str | None] = {}
    for text in given:
        key, equals, value = text.partition("=")
        made[key] = value if equals else None
    return made or None

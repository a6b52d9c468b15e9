"""From a task of the suite and a platform to the item that jobs-submit reads. Pure."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Mapping, Sequence
from typing import Any

from jobmgr.core.tasks import TaskDef
from jobmgr.platforms.model import Platform
from jobmgr_remote import layout


def runner_of(task: TaskDef, platform: Platform) -> str:
    """The runner that somebody chose, or "" if nobody did (the host then refuses where it has a batch
    system).
    """
    if task.runner:
        return task.runner
    return "" if platform.origins.get("runner", "default") == "default" else platform.runner


def input_place(source_root: str, home: str, source: str) -> tuple[str, str, str]:
    """Where an input comes from and goes to: (folder at home, path in it, path in the run directory).

    An input below the suite's source folder keeps its place in the run directory (it is installed with the
    suite, so the folder is "" then); any other goes below ``.service/inputs``, one folder for each folder at
    home.
    """
    path = os.path.normpath(
        os.path.join(source_root, home + source[1:] if source.startswith("~/") else source)
    )
    root = os.path.normpath(source_root)
    if path.startswith(root + os.sep):
        relative = os.path.relpath(path, root)
        if relative.split(os.sep)[0] not in (layout.SERVICE, "log", layout.WORK, layout.SHARE):
            return "", relative, relative
    folder, name = os.path.split(path)
    return folder, name, f"{layout.INPUTS}/{hashlib.sha256(folder.encode()).hexdigest()[:12]}/{name}"


def job_item(
    task: TaskDef,
    platform: Platform,
    *,
    cycle: str,
    source_root: str,
    home: str,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The item of one job, without ``job`` and ``token``; keys whose value says nothing are left out."""
    environment = [*platform.environment, *task.environment]
    directives = dict(platform.directives)
    directives.update(task.directives)
    resources = dict(platform.resources)
    resources.update(task.resources)
    item: dict[str, Any] = {
        "runner": runner_of(task, platform),
        "script": task.script,
        "script_file": task.script_file,
        "init_script": task.init_script,
        "pre_script": task.pre_script,
        "post_script": task.post_script,
        "err_script": task.err_script,
        "exit_script": task.exit_script,
        "platform_init_script": platform.init_script,
        "environment": [list(pair) for pair in environment],
        "work_dir": work_dir(task, cycle),
        "time_limit": task.time_limit,
        "resources": resources,
        "directives": [[name, list(v) if isinstance(v, tuple) else v] for name, v in directives.items()],
        "parameters": [list(pair) for pair in task.parameters],
        "inputs": [[input_place(source_root, home, source)[2], target] for source, target in task.inputs],
        "events": list(task.events),
        **(extra or {}),
    }
    return {key: value for key, value in item.items() if value not in (None, "", [], {})}


def work_dir(task: TaskDef, cycle: str) -> str:
    """The job's working directory relative to the run directory, "" for the default one.

    The path parts ``CYCLE`` and ``TASK`` of ``work_dir`` stand for the job's own, as in the default
    ``work/CYCLE/TASK``.
    """
    own = {"CYCLE": cycle, "TASK": task.name}
    return "/".join(own.get(part, part) for part in task.work_dir.split("/"))


def split_common(items: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What all items of a batch share, and the items without it: long scripts travel once."""
    if len(items) < 2:
        return {}, list(items)
    first = items[0]
    common = {
        key: value
        for key, value in first.items()
        if key not in ("job", "token") and all(key in item and item[key] == value for item in items)
    }
    return common, [{key: value for key, value in item.items() if key not in common} for item in items]

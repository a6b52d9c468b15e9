"""The job file of a job that has not been submitted, as far as it is known without asking its host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobmgr_remote import jobfile, layout, runners


def job_file(item: Mapping[str, Any], default_runner: str, host: str, run_dir: str, suite: str) -> str:
    """The text of the job file for an item of jobs-submit; bash and hostname stand for the host's own."""
    runner = str(item.get("runner") or default_runner)
    full = {**item, "runner": runner}
    settings = {
        "bash": "/bin/bash",
        "wrapper": f"{layout.LIB}/wrapper.sh",
        "instance": "",
        "hostname": host,
        "clock_ticks": 100,
        "directives": _directives(runner, full),
    }
    return str(jobfile.render(full, {"run_dir": run_dir, "suite": suite}, settings))


def _directives(runner: str, item: dict[str, Any]) -> list[str]:
    module = runners.get(runner)
    return [str(line) for line in module.directives(item)] if hasattr(module, "directives") else []

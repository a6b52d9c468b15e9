"""The walls of the building: who may import whom (docs/architecture.md), and what must stay lazy.

Imports are read from the sources, wherever they stand: at the top, in a function, under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"jobmgr": ROOT / "jobmgr", "jobmgr_remote": ROOT / "remote" / "jobmgr_remote"}

EVERYONE = {"errors", "core"}
"""Pure, so allowed to all layers above them."""

PURE_REMOTE = {"jobmgr_remote.jobfile", "jobmgr_remote.layout", "jobmgr_remote.runners"}
"""What a file of the user's is checked against: job scripts, the rule for names, the runners' directives."""

ALLOWED = {
    "errors": set(),
    "core": {"errors", "jobmgr_remote.wire", "jobmgr_remote.status", "jobmgr_remote.layout"},
    "suite": EVERYONE | PURE_REMOTE,
    "platforms": EVERYONE | PURE_REMOTE,
    "transport": EVERYONE | {"jobmgr_remote.wire"},
    "store": EVERYONE,
    "service": EVERYONE
    | {"suite", "platforms", "transport", "store", "jobmgr_remote.wire", "jobmgr_remote.layout"},
    "views": EVERYONE | {"store"},
    "api": EVERYONE | {"service", "suite", "platforms", "store"},
    "cli": EVERYONE | {"api", "views", "suite", "platforms"},
    "__main__": {"cli"},
    "__init__": {"api", "suite"},
}
"""Layer -> what it may import besides itself, the standard library and the packages below.

``jobmgr.__version__`` and the root of ``jobmgr_remote`` (its version, its folder) are open to all.
"""

PACKAGE_HOMES = {
    "fabric": {"transport"},
    "invoke": {"transport"},
    "paramiko": {"transport"},
    "sh": {"transport"},
    "yaml": {"suite", "platforms", "core.yaml_tree"},
    "filelock": {"store", "service"},
    "msgspec": {"core", "store", "service", "suite", "platforms", "transport", "views", "api", "cli"},
    "rich": {"views", "cli"},
    "argcomplete": {"cli"},
}
"""Third-party package -> the layers and modules that may import it. One that is not here is no dependency."""

IMPURE = {
    "asyncio", "io", "logging", "multiprocessing", "os", "pathlib", "select", "selectors", "shutil", "signal",
    "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
"""``jobmgr.core`` decides; it does not look, wait or write."""

HEAVY = ("argcomplete", "fabric", "invoke", "paramiko", "rich", "sh", "yaml")
"""Loaded only by the commands that need them."""


def _modules() -> dict[str, Path]:
    """Dotted name -> file, of every module of ours."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)] = path
    return found


MODULES = _modules()
KNOWN = {name.removesuffix(".__init__") for name in MODULES}


def imported(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that ``source`` imports; ``from M import N`` is M.N if that is a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in KNOWN or base in PACKAGES else base


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, node.module] if node.module else above)


def layer_of(module: str) -> str:
    """``core`` for jobmgr.core.states, ``__init__`` for jobmgr itself, else ``jobmgr_remote``."""
    package, _, rest = module.partition(".")
    return package if package == "jobmgr_remote" else rest.partition(".")[0] or "__init__"


def wrong(module: str, target: str) -> str | None:
    """Why this module may not import ``target``; None if it may."""
    layer = layer_of(module)
    package = target.partition(".")[0]
    if package == "__future__" or package in sys.stdlib_module_names:
        return "is not pure" if layer == "core" and package in IMPURE else None
    if layer == "jobmgr_remote":
        return None if package == "jobmgr_remote" else "is not the standard library"
    if package == "jobmgr_remote":
        part = ".".join(target.split(".")[:2])
        if part in {"jobmgr_remote", "jobmgr_remote.__version__", *ALLOWED[layer]}:
            return None
        return f"is closed to {layer}"
    if package == "jobmgr":
        if target == "jobmgr.__version__" or layer_of(target) in {layer, *ALLOWED[layer]}:
            return None
        return f"is closed to {layer}"
    homes = PACKAGE_HOMES.get(package, set())
    return None if {layer, module.removeprefix("jobmgr.")} & homes else f"does not belong into {layer}"


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    layer = layer_of(module)
    if layer != "jobmgr_remote" and layer not in ALLOWED:
        return [f"{module}: no layer of the import table; say in ALLOWED what it may import"]
    found = ((line, target, wrong(module, target)) for line, target in imported(source, module, is_package))
    return [f"{module}:{line}: {target} {why}" for line, target, why in found if why]


def test_imports_keep_to_the_table() -> None:
    found = [
        problem
        for name, path in MODULES.items()
        for problem in violations(
            path.read_text(), name.removesuffix(".__init__"), is_package=path.name == "__init__.py"
        )
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("jobmgr_remote.wire", "import yaml"),
        ("jobmgr_remote.wire", "from jobmgr import errors"),
        ("jobmgr_remote.runners.at", "from ...jobmgr.core import states"),
        ("jobmgr.core.decide", "import time"),
        ("jobmgr.core.decide", "from os import path"),
        ("jobmgr.core.decide", "from jobmgr.store import db"),
        ("jobmgr.core.decide", "def f():\n    from jobmgr import store"),
        ("jobmgr.core.decide", "if TYPE_CHECKING:\n    from ..store.jobs import Row"),
        ("jobmgr.core.decide", "import jobmgr_remote.fence"),
        ("jobmgr.core.decide", "from jobmgr_remote import spool"),
        ("jobmgr.suite.load", "import jobmgr.service.poll"),
        ("jobmgr.transport.openssh", "import requests"),
        ("jobmgr.store.jobs", "import yaml"),
        ("jobmgr.core.decide", "import yaml"),
        ("jobmgr.cli.main", "from jobmgr import store"),
        ("jobmgr.cli.main", "from jobmgr import Session"),
        ("jobmgr.cli.main", "from ..service import submit"),
        ("jobmgr.errors", "from .core import states"),
        ("jobmgr.tools.thing", ""),
    ],
)
def test_forbidden_imports_are_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("jobmgr_remote.wire", "import json, os\nfrom jobmgr_remote import layout\nfrom . import status"),
        ("jobmgr.core.decide", "from jobmgr_remote.wire import X\nfrom .. import errors\nimport datetime"),
        ("jobmgr.suite.load", "import yaml\nfrom ..core.tasks import Task\nfrom jobmgr import errors"),
        ("jobmgr.transport.archive", "import jobmgr_remote, zipfile"),
        ("jobmgr.service.poll", "from jobmgr.store.jobs import x\nfrom jobmgr_remote import wire"),
        ("jobmgr.cli.main", "from jobmgr import __version__, api\nfrom jobmgr.cli.commands import play"),
    ],
)
def test_allowed_imports_pass(module: str, source: str) -> None:
    assert violations(source, module) == []


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    path = ":".join(str(folder.parent) for folder in PACKAGES.values())
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path.split(':')!r}\n{code}"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["jobmgr", "jobmgr.cli.main", "jobmgr.api", "jobmgr.store.jobs", "jobmgr.core.decide"]
)
def test_heavy_packages_are_loaded_only_when_needed(module: str) -> None:
    assert _loaded_by(f"import {module}").isdisjoint(HEAVY)


def test_import_of_the_library_loads_no_layer() -> None:
    ours = {name for name in _loaded_by("import jobmgr") if name.startswith("jobmgr.")}
    assert ours == set()

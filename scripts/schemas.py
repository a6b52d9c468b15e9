#!/usr/bin/env python3
"""``scripts/schemas.py [--write]``: hold schemas/*.schema.json against the models, or bring them up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "remote")]

from jobmgr.core.checking import schema_text  # noqa: E402 - importable only now
from jobmgr.core.model import Model  # noqa: E402
from jobmgr.platforms.models import PlatformsModel  # noqa: E402
from jobmgr.suite.models import SuiteModel  # noqa: E402

MODELS: dict[str, type[Model]] = {"suite": SuiteModel, "platforms": PlatformsModel}


def text(name: str) -> str:
    """The schema of ``suite`` or ``platforms`` as it is kept in the repository."""
    return schema_text(MODELS[name], f"jobmgr {name}.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1: a file is not what the model says, and ``--write`` was not given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files")
    parser.add_argument("--folder", type=Path, default=ROOT / "schemas", help="where they are kept")
    options = parser.parse_args(argv)
    old = []
    for name in MODELS:
        file = options.folder / f"{name}.schema.json"
        if options.write:
            file.write_text(text(name), encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text(name):
            old.append(str(file))
    for file in old:
        sys.stderr.write(f"{file} is out of date; run scripts/schemas.py --write\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())

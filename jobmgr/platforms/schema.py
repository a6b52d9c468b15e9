"""``python -m jobmgr.platforms.schema --write`` makes schemas/platforms.schema.json from the model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jobmgr.core.checking import schema_text
from jobmgr.platforms.models import PlatformsModel

FILE = Path(__file__).resolve().parents[2] / "schemas" / "platforms.schema.json"


def text() -> str:
    """The schema as it is kept in the repository."""
    return schema_text(PlatformsModel, "jobmgr platforms.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """``--write`` brings the file up to date; without it the exit code says whether it is (1: it is not)."""
    parser = argparse.ArgumentParser(description="Keep the JSON Schema in step with the model.")
    parser.add_argument("--write", action="store_true", help="write the file")
    parser.add_argument("--file", type=Path, default=FILE, help="where the schema is kept")
    options = parser.parse_args(argv)
    if options.write:
        options.file.write_text(text(), encoding="utf-8")
        return 0
    if options.file.exists() and options.file.read_text(encoding="utf-8") == text():
        return 0
    sys.stderr.write(f"{options.file} is out of date; run this command with --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

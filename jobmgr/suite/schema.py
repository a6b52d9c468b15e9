"""``python -m jobmgr.suite.schema --write`` makes schemas/suite.schema.json from the model."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobmgr.core import schemas
from jobmgr.suite.models import SuiteModel

NAME = "suite.schema.json"
TITLE = "jobmgr suite.yaml"


def text() -> str:
    """The schema as it is kept in the repository."""
    return schemas.schema_text(SuiteModel, TITLE)


def main(argv: Sequence[str] | None = None) -> int:
    return schemas.main(SuiteModel, TITLE, NAME, argv)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m jobmgr.platforms.schema --write`` makes schemas/platforms.schema.json from the model."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobmgr.core import schemas
from jobmgr.platforms.models import PlatformsModel

NAME = "platforms.schema.json"
TITLE = "jobmgr platforms.yaml"


def text() -> str:
    """The schema as it is kept in the repository."""
    return schemas.schema_text(PlatformsModel, TITLE)


def main(argv: Sequence[str] | None = None) -> int:
    return schemas.main(PlatformsModel, TITLE, NAME, argv)


if __name__ == "__main__":
    sys.exit(main())

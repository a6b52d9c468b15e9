"""One version, told by both sides."""

from __future__ import annotations

import pytest

import jobmgr
import jobmgr_remote


def test_both_sides_have_the_same_version() -> None:
    assert jobmgr.__version__ == jobmgr_remote.__version__


@pytest.mark.parametrize("name", [name for name in jobmgr.__all__ if name != "__version__"])
def test_public_names_are_there(name: str) -> None:
    assert getattr(jobmgr, name).__name__ == name
    assert name in dir(jobmgr)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = jobmgr.Nonsense

"""Fixtures: a user's shell with hosts behind real, private sshds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shells import Shell, at_work

TRANSPORTS = ("fabric", "openssh")


@pytest.fixture
def user() -> Iterator[Shell]:
    """A shell of its own for one test, with the host ``wizard``."""
    with at_work() as shell:
        yield shell


@pytest.fixture(scope="module")
def module_user() -> Iterator[Shell]:
    """One for all tests of a module, which use runs of different names."""
    with at_work() as shell:
        yield shell


@pytest.fixture(params=TRANSPORTS)
def ssh_user(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """A shell of its own, once with each transport."""
    with at_work(transport=request.param) as shell:
        yield shell

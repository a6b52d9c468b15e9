"""Fixtures for every test. Helpers that are no fixtures live in modules of their own beside this file."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from jobmgr.transport.private_sshd import PrivateSshd
from sshd_hosts import MakeSshd, sshd_factory

# A busy machine is slow, not wrong.
settings.register_profile("jobmgr", deadline=None, print_blob=True)
settings.load_profile("jobmgr")

# What the person at this terminal has set must not reach the tests; nor that commands compile themselves each time.
for _name in [name for name in os.environ if name.startswith("JOBMGR_")]:
    del os.environ[_name]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Nor what was started with nohup, or in the background: bash cannot trap a signal that was ignored when it began.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def make_sshd() -> Iterator[MakeSshd]:
    """Starts private sshds; keywords as of ``PrivateSshd``. All of them end with the test."""
    with sshd_factory() as make:
        yield make


@pytest.fixture(scope="module")
def make_module_sshd() -> Iterator[MakeSshd]:
    """The same for the tests of a module together."""
    with sshd_factory() as make:
        yield make


@pytest.fixture
def sshd(make_sshd: MakeSshd) -> PrivateSshd:
    """One private sshd, the host ``wizard``."""
    return make_sshd()

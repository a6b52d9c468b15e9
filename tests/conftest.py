"""Fixtures for every test. Helpers that are no fixtures live in modules of their own beside this file."""

from __future__ import annotations

import os

from hypothesis import settings

# A busy machine is slow, not wrong.
settings.register_profile("jobmgr", deadline=None, print_blob=True)
settings.load_profile("jobmgr")

# What the person at this terminal has set must not reach the tests.
for _name in [name for name in os.environ if name.startswith("JOBMGR_")]:
    del os.environ[_name]

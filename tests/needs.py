"""What a test needs of the machine it runs on: said once, skipped at home, an error in CI."""

from __future__ import annotations

import os

import pytest


def need(condition: object, reason: str) -> None:
    """Go on if ``condition`` holds; else skip the test, or fail it where ``CI`` is set.

    A suite that quietly skips half of itself is green for the wrong reason, so continuous
    integration has to bring everything: ``need(shutil.which("zsh"), "zsh is not installed")``.
    """
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"needed in CI: {reason}", pytrace=False)
    pytest.skip(reason)


def need_root() -> None:
    """For tests that make namespaces, mounts or users."""
    need(os.geteuid() == 0, "needs root")

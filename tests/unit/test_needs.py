"""A missing need is a skip at home and an error in CI."""

from __future__ import annotations

import pytest

from needs import need


@pytest.mark.parametrize("ci", ["", "true"])
def test_what_is_there_is_no_matter(ci: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    need("/usr/bin/zsh", "zsh is not installed")


@pytest.mark.parametrize("missing", [False, None, ""])
def test_missing_needs_skip_at_home(missing: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="zsh is not installed"):
        need(missing, "zsh is not installed")


def test_missing_needs_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="zsh is not installed"):
        need(None, "zsh is not installed")

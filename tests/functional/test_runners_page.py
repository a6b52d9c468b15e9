"""docs/runners.md: the words about each runner are its docstring, and the example is a runner that works."""

from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import pytest

from jobmgr_remote import runners
from jobmgr_remote.runners import base
from lab.fixtures import bare_host, need_lab
from lab.hosts import Host, wait_until

__all__ = ["bare_host"]

PAGE = (Path(__file__).parents[2] / "docs/runners.md").read_text(encoding="utf-8")
TOKEN = "0f0e0d0c-1111-4222-8333-444455556666"
OTHER = "0f0e0d0c-1111-4222-8333-444455556667"


@pytest.fixture(scope="module")
def example() -> types.ModuleType:
    """The example of the page, as a module."""
    source = re.findall(r"```python\n(.*?)```", PAGE, re.S)[-1]
    module = types.ModuleType("spooler")
    exec(compile(source, "docs/runners.md", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", runners.BUILT_IN)
def test_page_holds_the_runners_own_words(name: str) -> None:
    module = importlib.import_module(f"jobmgr_remote.runners.{name}")
    assert f"## {name}\n\n```text\n{(module.__doc__ or '').strip()}\n```\n" in PAGE


def test_example_offers_what_the_contract_asks_for(example: types.ModuleType) -> None:
    offered = (base.__doc__ or "").split("A module offers:")[1].split("Text arrives")[0]
    asked = re.findall(r"(?m)^``([A-Z_]{4,}``|[a-z_]+\()", offered)
    assert len(asked) > 15
    assert [name for name in asked if not hasattr(example, name.rstrip("`("))] == []


@pytest.mark.privileged
@pytest.mark.xdist_group("bare")
def test_example_runs_finds_and_kills_jobs(bare_host: Host, example: types.ModuleType) -> None:
    need_lab("tsp")

    def run(call: base.Call) -> tuple[int, str, str]:
        done = bare_host.run(call.argv, check=False)
        return done.returncode, done.stdout, done.stderr

    def submit(script: str, token: str) -> str:
        bare_host.run(["sh", "-c", 'printf "%s\\n" "$1" >"job-$2"', "sh", script, token])
        paths = [f"/home/ada/{name}-{token}" for name in ("job", "out", "err")]
        outcome = example.parse_submit(*run(example.submit_call({"token": token}, *paths)))
        assert outcome.state == base.SUBMITTED
        return outcome.native_id

    def state(native: str) -> str:
        seen, errors = base.ask(example, [native, "99"], run)
        assert errors == {}
        assert "99" not in seen
        return seen[native].state

    try:
        first, second = submit("sleep 4713", TOKEN), submit("echo second", OTHER)
        wait_until(lambda: state(first) == "active", "the first job runs")
        assert state(second) == "waiting"
        found = base.find(example, "ada", [TOKEN], run)
        assert found is not None
        assert found.seen[TOKEN].native_id == first
        assert base.kill(example, [first], run) == {}
        wait_until(lambda: state(second) == "ended", "the second job has run")
        assert state(first) == "ended"
        assert bare_host.run(["cat", f"out-{OTHER}"]).stdout == "second\n"
        assert base.kill(example, [first, second, "99"], run) == {}
    finally:
        bare_host.run(["tsp", "-K"], check=False)

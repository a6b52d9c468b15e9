"""What the documents say is true: it runs, and it is complete."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobmgr import errors
from jobmgr.transport.private_sshd import PrivateSshd
from jobmgr_remote import status, wire

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
PLATFORMS = "platforms: {localhost: {runner: background}, wizard: {runner: background}}\n"


def commands(text: str) -> list[tuple[str, int]]:
    """Each command of the ``console`` blocks, here-documents included, and its exit code (``# exit N``)."""
    found: list[tuple[str, int]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        lines = block.splitlines()
        while lines:
            line = lines.pop(0)
            if not line.startswith("$ "):
                continue
            command = line[2:]
            here = re.search(r"<<'(\w+)'", command)
            if here:
                while lines:
                    command += "\n" + lines[0]
                    if lines.pop(0) == here[1]:
                        break
            code = re.search(r"# exit (\d+)", command)
            found.append((command, int(code[1]) if code else 0))
    return found


def test_every_command_line_in_the_readme_runs(tmp_path: Path, make_sshd: Callable[..., PrivateSshd]) -> None:
    sshd = make_sshd()
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "platforms.yaml").write_text(PLATFORMS)
    environ = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "JOBMGR_PLATFORMS": str(tmp_path / "platforms.yaml"),
        "JOBMGR_SSH_CONFIG": str(sshd.ssh_config_path),
    }
    told = commands((ROOT / "README.md").read_text())
    assert len(told) > 12
    for command, code in told:
        done = subprocess.run(
            ["bash", "-c", command], cwd=home, env=environ, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if command.startswith("cat ") and "<<" not in command:
            assert done.stdout.strip() in (ROOT / "README.md").read_text()


def test_the_worked_example_of_the_library_runs(tmp_path: Path) -> None:
    program = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL)[1]
    environ = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=99
    )
    assert done.returncode == 0, done.stderr
    assert "1/total/01 succeeded" in done.stdout


def test_the_two_commands_of_the_readme_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_every_error_class_is_in_the_librarys_table_with_its_exit_code() -> None:
    text = (ROOT / "docs/library.md").read_text()
    rows = {
        name: int(code)
        for names, code in re.findall(r"^\| (`[^|]+) \| (\d+) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    classes = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.JobmgrError)
    }
    assert rows == {name: classes[name] for name in rows}
    told_apart_by_the_base = {"Busy"}
    assert set(classes) - set(rows) <= told_apart_by_the_base


@pytest.mark.parametrize("key", status.KEYS)
def test_every_key_of_job_status_is_documented(key: str) -> None:
    assert re.search(rf"`(JOBMGR_)?{key}`", (ROOT / "docs/protocol.md").read_text()), key


@pytest.mark.parametrize("word", [*wire.VERBS, *wire.ERROR_CODES, *status.EXIT_KINDS])
def test_every_verb_error_code_and_exit_kind_is_documented(word: str) -> None:
    assert word in (ROOT / "docs/protocol.md").read_text()


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_between_the_documents_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        goal = page if not path else (page.parent / path)
        assert goal.exists(), f"{page.name}: {target}"
        if anchor and goal.suffix == ".md":
            assert anchor in anchors(goal.read_text()), f"{page.name}: {target}"


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_the_shell_quotes_of_the_readme_are_sound() -> None:
    for command, _ in commands((ROOT / "README.md").read_text()):
        if "\n" not in command:
            shlex.split(command, comments=True)

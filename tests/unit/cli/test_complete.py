"""Completion as a shell asks for it: by argcomplete's variables, the answer on file descriptor 8."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobmgr.cli import complete
from jobmgr.cli.verbs import VERBS
from needs import need

ROOT = Path(__file__).resolve().parents[3]


def words_for(line: str, folder: Path) -> set[str]:
    answer = folder / "answer"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "remote")]),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_SHELL": "fish",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
        "COMP_TYPE": "9",
        "JOBMGR_RUN_ROOT": str(folder / "runs"),
    }
    subprocess.run([sys.executable, "-m", "jobmgr"], env=environment, cwd=folder, check=False, timeout=60)
    words = answer.read_bytes().decode().replace("\x0b", "\n").splitlines()
    return {word.partition("\t")[0].rstrip() for word in words}


def test_verbs_are_completed(tmp_path: Path) -> None:
    assert words_for("jobmgr ", tmp_path) >= set(VERBS)
    assert words_for("jobmgr stat", tmp_path) == {"status"}


def test_options_of_the_verb_are_completed(tmp_path: Path) -> None:
    assert words_for("jobmgr play --n", tmp_path) == {"--name", "--new"}
    assert "--platforms" in words_for("jobmgr --pl", tmp_path)


def test_choices_files_and_states_are_completed(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    assert words_for("jobmgr completion z", tmp_path) == {"zsh"}
    assert words_for("jobmgr validate sw", tmp_path) == {"sweep/"}
    assert words_for("jobmgr status sweep :fa", tmp_path) == {":failed"}
    assert words_for("jobmgr log sweep 1/a e", tmp_path) == {"err"}


def test_a_completer_that_fails_completes_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    assert words_for("jobmgr status ", tmp_path) <= {"-h", "--help"}


def test_files_are_listed_below_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / ".hidden").write_text("")
    assert complete.files(f"{tmp_path}/") == [f"{tmp_path}/a.yaml"]
    assert complete.files(f"{tmp_path}/.h") == [f"{tmp_path}/.hidden"]
    assert complete.files("/nowhere/x") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_the_code_to_source_is_accepted_by_its_shell(shell: str) -> None:
    need(shutil.which(shell), f"{shell} is not installed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "remote")])}
    code = subprocess.run(
        [sys.executable, "-m", "jobmgr", "completion", shell],
        env=environment,
        capture_output=True,
        check=True,
    ).stdout
    assert b"jobmgr" in code
    options = {"bash": ["-n"], "zsh": ["-n"], "fish": ["--no-execute"], "tcsh": ["-f"]}[shell]
    done = subprocess.run([shell, *options], input=code, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr

"""What is kept of platform files is what the files say, or it is not used."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobmgr.errors import PlatformError
from jobmgr.platforms import cache
from jobmgr.platforms.load import Platforms, load_platforms

TEXT = """
platforms:
  hpc:
    hosts: [login1, ada@login2.example.org]
    runner: slurm
    symlinks: {work: /scratch/ada, share/cycle: $SCRATCH/c}
    use_login_shell: yes
    ssh_options: {ServerAliveInterval: 30}
    polling_interval: [1m, 3*5m]
    max_submit: 100
    retrieve_max_size: 1G
    memory: 4g
    directives: {--exclusive: , --mail-type: [END, FAIL]}
    environment: {OMP: "4", EMPTY: ""}
  wizard:
groups:
  any: {platforms: [hpc, wizard], selection: random}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "platforms.yaml"
    path.write_text(TEXT)
    return path


def load(file: Path) -> Platforms:
    return load_platforms([file], cache_folder=file.parent / "cache")


def kept(file: Path) -> list[Path]:
    return sorted((file.parent / "cache").glob("*"))


def facts(platforms: Platforms) -> object:
    shown = {name: platforms.show(name) for name in platforms.platforms}
    origins = {name: one.origins for name, one in platforms.platforms.items()}
    return platforms.platforms, origins, platforms.groups, shown


def test_a_kept_copy_says_what_the_files_say(file: Path) -> None:
    first = load(file)
    assert len(kept(file)) == 1
    again = load(file)
    assert facts(again) == facts(first) == facts(load_platforms([file]))
    assert {one.name for one in again.candidates("any", random.Random(1))} == {"hpc", "wizard"}


def test_the_second_time_no_yaml_is_read(file: Path) -> None:
    load(file)
    code = (
        "import sys; from pathlib import Path; from jobmgr.platforms.load import load_platforms\n"
        "load_platforms([Path(sys.argv[1])], cache_folder=Path(sys.argv[1]).parent / 'cache')\n"
        "sys.exit('yaml' in sys.modules)"
    )
    search = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code, file], env={"PYTHONPATH": search}, check=True)


def test_a_changed_file_is_read(file: Path) -> None:
    load(file)
    file.write_text(TEXT.replace("max_submit: 100", "max_submit: 7"))
    assert load(file).platforms["hpc"].max_submit == 7


def test_mistakes_are_told_each_time(file: Path) -> None:
    load(file)
    file.write_text(TEXT + "  rest: {platforms: [nowhere]}\n")
    for _ in range(2):
        with pytest.raises(PlatformError):
            load(file)
    assert len(kept(file)) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: "",
        lambda kept: "[]",
        lambda kept: "nonsense",
        lambda kept: json.dumps({"platforms": {"hpc": 1}, "groups": {}}),
        lambda kept: json.dumps({"platforms": {"hpc": {"name": "hpc"}}, "groups": {}}),
        lambda kept: json.dumps({**json.loads(kept), "groups": {"any": []}}),
        lambda kept: kept[: len(kept) // 2],
    ],
)
def test_a_spoilt_copy_is_not_used(file: Path, spoil) -> None:
    first = load(file)
    (copy,) = kept(file)
    copy.write_text(spoil(copy.read_text()))
    assert facts(load(file)) == facts(first)
    assert facts(load(file)) == facts(first)


def test_copies_are_private(file: Path) -> None:
    old = os.umask(0)
    try:
        load(file)
    finally:
        os.umask(old)
    (copy,) = kept(file)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_had_is_no_error(file: Path) -> None:
    (file.parent / "cache").write_text("a file")
    assert facts(load(file)) == facts(load_platforms([file]))


def test_runners_of_ones_own_are_looked_at_each_time(file: Path) -> None:
    (file.parent / "mine.py").write_text("NAME = 'mine'\n")
    file.write_text("platforms: {hpc: {runner: mine, runner_file: mine.py}}\n")
    load(file)
    assert kept(file) == []
    (file.parent / "mine.py").unlink()
    with pytest.raises(PlatformError):
        load(file)


def test_copies_that_nobody_uses_are_removed(file: Path) -> None:
    load(file)
    (old,) = kept(file)
    long_ago = time.time() - cache.UNUSED - 1
    os.utime(old, (long_ago, long_ago))
    file.write_text(TEXT.replace("100", "101"))
    load(file)
    assert old not in kept(file)
    assert len(kept(file)) == 1


def test_other_checks_have_another_copy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.path_of(file.parent, [("a", "b")])
    assert before == cache.path_of(file.parent, [("a", "b")])
    assert before != cache.path_of(file.parent, [("ab", "")])
    monkeypatch.setattr(cache, "_CHECKED_BY", (Path(__file__),))
    assert cache.path_of(file.parent, [("a", "b")]) != before

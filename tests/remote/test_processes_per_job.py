"""What a background job costs its host, counted in processes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_side import PACKAGE, Host, host_in
from jobmgr_remote import wire
from needs import need

FEW, MANY = 3, 23


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as made:
        yield made


def counted(host: Host, trace: Path, number: int) -> tuple[int, int]:
    """(processes made, programs started) for a batch of so many jobs, from the call to the end of its slots."""
    items = [host.job(":", task=f"t{number}_{index}") for index in range(number)]
    call = ["-e", "trace=process", "-o", str(trace), host.python, "-I", "-S", str(PACKAGE), wire.JOBS_SUBMIT]
    request = host.request(wire.JOBS_SUBMIT, items, max_active=1)
    subprocess.run(["strace", "-f", "-qq", *call], input=request, env=host.env, check=True, timeout=100)
    assert {host.exit_of(item) for item in items} == {"SUCCEEDED"}
    text = trace.read_text()
    made = re.findall(r"(?:\b(?:clone3?|v?fork)\(.*|<\.\.\. (?:clone3?|v?fork) resumed>.*) = [1-9]\d*$", text, re.M)
    return len(made), len(re.findall(r"execve\(.* = 0$|execve resumed>.* = 0$", text, re.M))


def test_a_job_costs_one_process_and_the_start_of_one_program(
    host: Host, tmp_path: Path
) -> None:
    need(shutil.which("strace"), "strace is not installed")
    few, many = (counted(host, tmp_path / f"trace{number}", number) for number in (FEW, MANY))
    assert [(more - less) / (MANY - FEW) for less, more in zip(few, many, strict=True)] == [1, 1]

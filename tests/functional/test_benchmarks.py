"""The benchmarks' harness, once around with the smallest numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from needs import need

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_harness_goes_round_and_leaves_nothing(tmp_path: Path) -> None:
    need(shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"), "sshd is not installed")
    before = set(Path("/tmp").glob("jm-bench-*"))
    words = [
        "--quick",
        "--sizes",
        "1",
        "--repeats",
        "1",
        "--hosts",
        "2",
        "--kinds",
        "openssh, warm",
        "--most-parallel",
        "0",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--scenarios", "S1,S2,S5,S8", "--no-picture"]
        + ["--out", str(tmp_path), "--name", "smoke"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/remote"},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "smoke.json").read_text())["rows"]
    measured = {row["scenario"] for row in rows if row["all_seconds"]}
    assert measured == {"S1", "S2", "S3", "S5", "S8"}, done.stderr
    assert "openssh, warm" in (tmp_path / "smoke.txt").read_text()
    assert set(Path("/tmp").glob("jm-bench-*")) <= before

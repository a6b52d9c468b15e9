"""jobmgr as a user has it: installed by pip in an environment without the tools of its development.

These would be measured too: what a dependency finds there it imports, and each .pth file is read at each start.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-dev.lock"
ENVIRONMENT = ROOT / ".build/bench/jobmgr"


def program(folder: Path = ENVIRONMENT) -> Path:
    """Install this checkout as it is now, with its dependencies at the locked versions; the program."""
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not (folder / "bin/jobmgr").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, "-c", str(LOCK), str(ROOT)], check=True)
    else:
        subprocess.run([*pip, "--force-reinstall", "--no-deps", str(ROOT)], check=True)
    return folder / "bin/jobmgr"

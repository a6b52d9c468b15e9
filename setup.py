"""Build hook: a wheel carries the host side as the archive that hosts are sent.

All else is in pyproject.toml. An editable installation makes the archive from the sources, when it is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(ROOT / "remote")]

from jobmgr.transport import archive  # noqa: E402 - importable only now


class BuildWithArchive(build_py):
    """``build_py``, and then ``jobmgr/_host/jobmgr-remote-VERSION-DIGEST12.pyz`` beside the modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = self._archive_file()
        for old in target.parent.glob(f"*{archive.SUFFIX}"):
            old.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.build(archive.package_folder()).data)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, str(self._archive_file())]

    def _archive_file(self) -> Path:
        name = archive.build(archive.package_folder()).name
        return Path(self.build_lib, "jobmgr", "_host", f"{name}{archive.SUFFIX}")


setup(cmdclass={"build_py": BuildWithArchive})

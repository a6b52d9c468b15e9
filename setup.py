"""Build hooks. All else is in pyproject.toml.

- A wheel carries the host side ready-made, as the archive that hosts are sent (jobmgr/transport/archive.py).
- An editable installation is two lines in a .pth file. The import hook that setuptools writes for a layout of
  two folders costs 10 ms at each start of the command line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command import editable_wheel as editable
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
HOST_ROOT = ROOT / "remote"
sys.path[:0] = [str(ROOT), str(HOST_ROOT)]

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


class EditableByPath(editable.editable_wheel):
    """``editable_wheel`` by search path; by setuptools' own choice where that cannot be had."""

    def _select_strategy(self, name: str, tag: str, build_lib: str) -> object:
        by_path = getattr(editable, "_StaticPth", None)
        if by_path is None:
            return super()._select_strategy(name, tag, build_lib)
        return by_path(self.distribution, name, [ROOT, HOST_ROOT])


setup(cmdclass={"build_py": BuildWithArchive, "editable_wheel": EditableByPath})

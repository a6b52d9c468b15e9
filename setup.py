"""Build hooks. All else is in pyproject.toml.

- A wheel carries the host side ready-made, as the archive that hosts are sent (jobmgr/transport/archive.py).
- An editable installation is two lines in a .pth file. The import hook that setuptools writes for a layout of
  two folders costs 10 ms at each start of the command line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import copyfile, copymode

from setuptools import setup
from setuptools.command import editable_wheel as editable
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
HOST_ROOT = ROOT / "remote"
sys.path[:0] = [str(ROOT), str(HOST_ROOT)]

from jobmgr.transport import archive  # noqa: E402 - importable only now


class BuildWithArchive(build_py):
    """``build_py``, then ``_host/jobmgr-remote-VERSION-DIGEST12.pyz`` and ``_suites`` beside the modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = self._archive_file()
        for old in target.parent.glob(f"*{archive.SUFFIX}"):
            old.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.build(archive.package_folder()).data)
        for source, copy in self._suites().items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(source, copy)
            copymode(source, copy)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return [*outputs, str(self._archive_file()), *map(str, self._suites().values())]

    def _suites(self) -> dict[Path, Path]:
        """Each file of the worked examples, and where the wheel has it."""
        folder = ROOT / "suites"
        files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".pyc")
        return {path: Path(self.build_lib, "jobmgr", "_suites", path.relative_to(folder)) for path in files}

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

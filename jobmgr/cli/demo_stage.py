"""The stage of the demo: a private host, a home and a run root of its own, and the real commands on it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import jobmgr_remote
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_REFUSED, NotFoundError, RefusedError
from jobmgr.views import text

PACKAGE = Path(__file__).resolve().parents[1]
SUITE_FOLDERS = (PACKAGE / "_suites", PACKAGE.parent / "suites")
"""Where the worked examples are: in an installed package, in the source tree."""

TIDY_TIME = 60.0

PLATFORMS = """\
platforms:
  wizard:
    hosts: [wizard]
    runner: background
  localhost:
    runner: background
    # The task master calls jobmgr itself.
    environment:
      PATH: {path}
"""


def suites_folder() -> Path:
    """The folder of the worked examples. Raises NotFoundError if this installation has none."""
    for folder in SUITE_FOLDERS:
        if (folder / "suitex" / "suite.yaml").is_file():
            return folder
    raise NotFoundError("the worked examples are not part of this installation")


class Stage:
    """A private host for as long as the block lasts; afterwards nothing of it is left.

    The host is a process of its own, which tidies up as soon as this one has ended, however it ends.
    Raises RefusedError if there can be no host here.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.suite = suites_folder() / "suitex"

    def __enter__(self) -> Stage:
        self._host = subprocess.Popen(
            [sys.executable, "-m", "jobmgr.transport.private_host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _python_path()},
            start_new_session=True,
        )
        try:
            assert self._host.stdout is not None
            places = json.loads(self._host.stdout.readline() or b"null")
            if places is None:
                raise self._no_host()
            self._set(places)
        except BaseException:
            self._close()
            raise
        return self

    def _no_host(self) -> RefusedError:
        assert self._host.stderr is not None
        said = self._host.stderr.read().decode("utf-8", "replace").strip()
        return RefusedError(
            f"no private host: {said.splitlines()[-1] if said else f'exit code {EXIT_REFUSED}'}"
        )

    def _set(self, places: dict[str, str]) -> None:
        directory = Path(places["directory"])
        home = Path(places["home"])
        self.host_home = Path(places["host_home"])
        self.run_root = home / "jobmgr-run"
        platforms = directory / "platforms.yaml"
        settings = {
            "HOME": str(home),
            "JOBMGR_RUN_ROOT": str(self.run_root),
            "JOBMGR_PLATFORMS": str(platforms),
            "JOBMGR_SSH_CONFIG": places["ssh_config"],
            "PYTHONPATH": _python_path(),
        }
        program = directory / "bin" / "jobmgr"
        program.parent.mkdir()
        program.write_text(_program(settings))
        program.chmod(0o700)
        platforms.write_text(PLATFORMS.format(path=json.dumps(f"{program.parent}:$PATH")))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBMGR_")}
        self._environment = {**inherited, **settings}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        """Let go of the host, and wait until it has tidied up; a second Ctrl-C does not hurry it."""
        assert self._host.stdin is not None
        self._host.stdin.close()
        while True:
            try:
                self._host.wait(TIDY_TIME)
            except KeyboardInterrupt:
                continue
            except subprocess.TimeoutExpired:
                self._host.kill()
                continue
            break
        for stream in (self._host.stdout, self._host.stderr):
            if stream is not None:
                stream.close()

    def say(self, *lines: str) -> None:
        """A remark between the commands."""
        self._context.show(*lines)

    def jobmgr(self, *words: str) -> int:
        """Show a command and run it, on the terminal that the demo has; its exit code."""
        shown = " ".join(shlex.quote(word) for word in words)
        self._context.show(f"$ jobmgr {shown}")
        self._context.out.flush()
        options = ["--json"] if self._context.json else []
        child = subprocess.Popen(
            [sys.executable, "-m", "jobmgr", *options, "--color", self._context.options.color, *words],
            env=self._environment,
        )
        try:
            code = child.wait()
        except KeyboardInterrupt:
            _ended(child)
            raise
        self._context.show("")
        return code

    def tree(self, where: str, folder: Path) -> None:
        """The files of a run directory, as a tree."""
        self._context.show(f"The run directory {where} ({folder}):", *drawn(folder), "")
        self._context.record(
            "tree", where=where, folder=str(folder), files=[str(path) for path in _below(folder)]
        )


def _ended(child: subprocess.Popen[bytes]) -> None:
    """Wait for a child that was interrupted as well; end it if it was not, or takes its time."""
    child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _program(settings: Mapping[str, str]) -> str:
    """The text of a program ``jobmgr`` that is this very one, on this stage."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    return f'#!/bin/sh\n{exports}exec {shlex.quote(sys.executable)} -m jobmgr "$@"\n'


def _python_path() -> str:
    """Where a new interpreter finds jobmgr and its host side, installed or in the source tree."""
    remote = Path(jobmgr_remote.__file__).resolve().parents[1]
    folders = [
        str(PACKAGE.parent),
        str(remote),
        *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
    ]
    return os.pathsep.join(dict.fromkeys(folders))


def _below(folder: Path) -> Iterable[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def drawn(folder: Path, indent: str = "") -> list[str]:
    """The tree below a folder: links with their target, what belongs to jobmgr alone not unfolded."""
    lines = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return [f"{indent}(not there)"]
    for entry in entries:
        name = text.one_line(entry.name)
        if entry.is_symlink():
            lines.append(f"{indent}|__{name} -> {text.one_line(os.readlink(entry.path))}")
        elif entry.is_dir():
            lines.append(f"{indent}|__{name}/")
            if not indent.strip() and name == ".service":
                lines.append(
                    f"{indent}|  |__… ({sum(len(files) for _, _, files in os.walk(entry.path))} files)"
                )
                continue
            lines += drawn(Path(entry.path), f"{indent}|  ")
        else:
            lines.append(f"{indent}|__{name}")
    return lines

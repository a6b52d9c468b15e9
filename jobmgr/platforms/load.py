"""Reads platform files and answers questions about names of platforms.

Files are read in the order given, each key of a platform in a later file replacing that of an earlier one.
A file that is missing is passed over unless it is :func:`load_platforms`'s ``required`` one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from jobmgr.core import yaml_tree
from jobmgr.core.durations import format_duration
from jobmgr.core.fields import PORTABLE_KEYS, bad_name, portable
from jobmgr.core.nearest import hint
from jobmgr.core.yaml_tree import Keys
from jobmgr.errors import PlatformError, Problem
from jobmgr.platforms import cache, third_party
from jobmgr.platforms.model import DEFAULT, LOCALHOST, Platform, PlatformGroup, Shown, with_runner_defaults
from jobmgr_remote import layout

SYSTEM_FILE = Path("/etc/jobmgr/platforms.yaml")
USER_FILE = Path(".config/jobmgr/platforms.yaml")  # below the home directory

SshHosts = Callable[[], set[str]]
"""The literal Host names of the ssh configuration (``ssh_hosts.literal_hosts``); only called when needed."""


class Platforms(Struct, frozen=True):
    """All configured platforms and groups, and the rule for names that are not configured."""

    platforms: Mapping[str, Platform] = field(default_factory=dict)
    groups: Mapping[str, PlatformGroup] = field(default_factory=dict)
    ssh_hosts: SshHosts = set

    def names(self) -> tuple[str, ...]:
        """Every configured platform and group, and ``localhost``."""
        return tuple(dict.fromkeys([*self.platforms, *self.groups, LOCALHOST]))

    def problem(self, name: str) -> str | None:
        """``unknown platform 'hcp' (nearest: hpc)``, or None if the name can be resolved."""
        if name in self.platforms or name in self.groups or name == LOCALHOST or "." in name or "@" in name:
            return None
        literal = self.ssh_hosts()
        if name in literal:
            return None
        like = hint(name, {*self.names(), *literal})
        also = "" if "nearest" in like else "; a host that ssh knows can be written USER@HOST"
        return f"unknown platform '{name}'{like}{also}"

    def resolve(self, name: str) -> Platform:
        """The platform of that name: a configured one, ``localhost``, or a host that ssh knows (a literal
        Host of its configuration, or anything with ``.`` or ``@``). Raises PlatformError for other names,
        and for groups."""
        if name in self.platforms:
            return self.platforms[name]
        if name in self.groups:
            raise PlatformError(
                [Problem(name, 0, "", "is a group of platforms; one of them must be chosen first")]
            )
        text = self.problem(name)
        if text is not None:
            raise PlatformError([Problem("platforms", 0, "", text)])
        return default_platform(name)

    def candidates(self, name: str, rng: random.Random) -> tuple[Platform, ...]:
        """The platforms that ``name`` may mean, in the order in which they are to be tried: one, or a
        group's."""
        group = self.groups.get(name)
        if group is None:
            return (self.resolve(name),)
        return tuple(self.resolve(member) for member in ordered(group.platforms, group.selection, rng))

    def show(self, name: str) -> tuple[Shown, ...]:
        """Every key of a platform with its value and where it comes from. Raises PlatformError."""
        platform = self.resolve(name)
        rows = []
        for key in Platform.__struct_fields__:
            if key not in ("name", "origins", "resources"):
                value = getattr(platform, key)
                rows.append(Shown(key, _shown(key, value), platform.origins.get(key, DEFAULT)))
        rows += [Shown(key, value, platform.origins.get(key, DEFAULT)) for key, value in platform.resources]
        return tuple(rows)


def ordered(names: Sequence[str], selection: str, rng: random.Random) -> tuple[str, ...]:
    """``names`` in the order in which they are to be tried."""
    return tuple(rng.sample(list(names), len(names))) if selection == "random" else tuple(names)


def default_platform(name: str) -> Platform:
    """A platform of which nothing is configured but its name."""
    return with_runner_defaults(Platform(name, (name,), transport="local" if name == LOCALHOST else "auto"))


def standard_files(home: Path, extra: Path | None = None) -> tuple[Path, ...]:
    """The files of a user, in the order in which they are read."""
    return (SYSTEM_FILE, home / USER_FILE, *(() if extra is None else (extra,)))


def load_platforms(
    files: Iterable[Path],
    required: Path | None = None,
    ssh_hosts: SshHosts = set,
    cache_folder: Path | None = None,
) -> Platforms:
    """The platforms of ``files``. Raises PlatformError with everything that is wrong in any of them, and if
    the ``required`` one (given by ``--platforms``) is missing. What was checked before is taken from
    ``cache_folder``."""
    problems: list[Problem] = []
    read = [(file, _read(file, file == required, problems)) for file in files]
    texts = [(file, text) for file, text in read if text is not None]
    kept = None
    if texts and cache_folder is not None and not problems:
        kept = cache.path_of(cache_folder, [(str(file), text) for file, text in texts])
        known = cache.recall(kept)
        if known is not None:
            return Platforms(*known, ssh_hosts)
    loader = _Loader(problems)
    for file, text in texts:
        loader.add(file, text)
    made = loader.finish()
    if problems:
        raise PlatformError(problems)
    if kept is not None:
        cache.keep(kept, made.platforms, made.groups)
    return replace(made, ssh_hosts=ssh_hosts)


def _read(file: Path, required: bool, problems: list[Problem]) -> str | None:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            problems.append(Problem(str(file), 0, "", f"cannot be read: {error.strerror}"))
    except OSError as error:
        problems.append(Problem(str(file), 0, "", f"cannot be read: {error.strerror or error}"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(Problem(str(file), line, "", "not UTF-8 text"))
    return None


class _Loader(Struct):
    problems: list[Problem]
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: dict[str, dict[str, str]] = field(default_factory=dict)
    groups: dict[str, PlatformGroup] = field(default_factory=dict)
    group_places: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, file: Path, text: str) -> None:
        # imported only where there is a file to check
        from jobmgr.core.checking import check_model
        from jobmgr.platforms.models import PlatformsModel

        label = str(file)
        root, problems = yaml_tree.parse_tree(text, label)
        model, wrong, _ = check_model(PlatformsModel, root, label)
        self.problems += [*problems, *sorted(wrong, key=lambda problem: problem.line)]
        for name, platform in (model.platforms or {}).items():
            if self.good_name(root, label, ("platforms", name)):
                self.platform(root, file, name, platform)
        for name, group in (model.groups or {}).items():
            if self.good_name(root, label, ("groups", name)):
                self.group(root, label, name, group)

    def good_name(self, root: Keys, label: str, path: tuple[str, str]) -> bool:
        if layout.is_part(path[1]):
            return True
        self.problems.append(Problem(label, yaml_tree.line_of(root, path), ".".join(path), bad_name(path[1])))
        return False

    def platform(self, root: Keys, file: Path, name: str, model: Any) -> None:
        values = self.values.setdefault(name, {})
        origins = self.origins.setdefault(name, {})
        for key, value in model.given.items() if model is not None else ():
            if value is None:  # an empty value: back to the default
                values.pop(key, None)
                origins.pop(key, None)
                continue
            if key == "runner_file":
                value = str(file.resolve().parent / Path(value).expanduser())
            line = yaml_tree.line_of(root, ("platforms", name, key))
            text = third_party.problem_of(Path(value)) if key == "runner_file" else ""
            if text:
                self.problems.append(Problem(str(file), line, f"platforms.{name}.runner_file", text))
            if key == "runner" and not model.runner_file and not third_party.is_known(value):
                text = f"unknown runner '{value}'{hint(value, third_party.known_names())}"
                self.problems.append(Problem(str(file), line, f"platforms.{name}.runner", text))
            values[key] = value
            origins[key] = f"{file}:{line}"

    def group(self, root: Keys, label: str, name: str, model: Any) -> None:
        line = yaml_tree.line_of(root, ("groups", name))
        if model is None or not model.platforms:
            self.problems.append(Problem(label, line, f"groups.{name}", "has no platforms"))
            return
        self.groups[name] = PlatformGroup(name, model.platforms, model.selection or "ordered")
        self.group_places[name] = (label, line)

    def finish(self) -> Platforms:
        for name, group in self.groups.items():
            label, line = self.group_places[name]
            if name in self.values:
                self.problems.append(Problem(label, line, f"groups.{name}", f"'{name}' is a platform too"))
            for member in group.platforms:
                if (
                    member not in self.values
                    and member != LOCALHOST
                    and "." not in member
                    and "@" not in member
                ):
                    text = f"unknown platform '{member}'{hint(member, {*self.values, LOCALHOST})}"
                    self.problems.append(Problem(label, line, f"groups.{name}.platforms", text))
        made = {name: _platform(name, values, self.origins[name]) for name, values in self.values.items()}
        return Platforms(made, self.groups)


def _platform(name: str, values: Mapping[str, Any], origins: Mapping[str, str]) -> Platform:
    own = {key: value for key, value in values.items() if key not in PORTABLE_KEYS}
    texts = {key: str(value) for key, value in values.items() if key in PORTABLE_KEYS}
    base = replace(default_platform(name), resources=portable(texts), origins=dict(origins), **own)
    return with_runner_defaults(base if base.hosts else replace(base, hosts=(name,)))


def _shown(key: str, value: object) -> str:
    """A value as it would be written in a platform file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if key in ("connect_timeout", "min_polling_interval") and isinstance(value, int):
        return format_duration(value)
    if key in ("polling_interval", "queued_polling_interval") and isinstance(value, tuple):
        return ", ".join(format_duration(seconds) for seconds in value)
    if key == "retrieve_max_size" and isinstance(value, int):
        return _size(value)
    if isinstance(value, tuple):
        return ", ".join(f"{item[0]}={item[1]}" if isinstance(item, tuple) else str(item) for item in value)
    return "" if value is None else str(value)


def _size(count: int) -> str:
    unit, letter = next(
        (u, c) for u, c in ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")) if count % u == 0
    )
    return f"{count // unit}{letter}"

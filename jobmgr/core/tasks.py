"""What a suite is once it has been loaded: plain frozen records, no YAML.

The store keeps a :class:`SuiteDef` as JSON, and every ``tick`` reads it back; so members of a parametrised
task are kept as one template and their values, and a task's record is made when somebody asks for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from jobmgr.core import graph as graphs
from jobmgr.core.graph import Graph

Pairs = tuple[tuple[str, str], ...]
VERSION = 1


class TaskDef(NamedTuple):
    """One task of a run, parameters put in. A named tuple, because one is made for each of thousands of members.

    ``base``: the key of the suite file that it comes from; ``families``: all that it belongs to, ``base``
    included for a member of a parametrised task. Durations are seconds. ``work_dir`` is relative to the run
    directory, empty for the default; its words CYCLE and TASK stand for the job's. ``inputs`` are (source,
    target): source in the suite's folder, absolute or from ``~/``; target below the work directory.
    ``resources`` are the portable keys, normalised. A directive's value is None for a flag, a tuple where
    it is repeated.
    """

    name: str
    base: str
    families: tuple[str, ...] = ()
    platform: str = "localhost"
    runner: str | None = None
    script: str = ""
    script_file: str = ""
    init_script: str = ""
    pre_script: str = ""
    post_script: str = ""
    err_script: str = ""
    exit_script: str = ""
    environment: Pairs = ()
    parameters: Pairs = ()
    inputs: Pairs = ()
    outputs: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    work_dir: str = ""
    time_limit: int | None = None
    retry_delays: tuple[int, ...] = ()
    submit_retry_delays: tuple[int, ...] = ()
    polling_interval: tuple[int, ...] = ()
    resources: Pairs = ()
    directives: tuple[tuple[str, str | tuple[str, ...] | None], ...] = ()
    manual: bool = False


_DEFAULTS: Mapping[str, Any] = TaskDef._field_defaults


class Template(Struct, frozen=True):
    """A task key of the suite file and its members: ``task`` with ``{m}`` still in it, the parameters'
    names, and (name, values) of each member. A task without parameters has one member of its own name,
    without values."""

    task: TaskDef
    parameters: tuple[str, ...] = ()
    members: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def placeholders(self) -> re.Pattern[str] | None:
        """Matches ``{m}`` of the parameters, and never the shell's ``${m}``; None without parameters."""
        return _placeholders(self.parameters) if self.parameters else None

    def member(self, name: str, values: Sequence[str]) -> TaskDef:
        """The member with these values: ``{m}`` replaced in inputs, outputs, environment and directives."""
        pattern = self.placeholders()
        if pattern is None:
            return self.task
        pairs = tuple(zip(self.parameters, values, strict=True))
        return fill(self.task, pattern, dict(pairs), name=name, parameters=pairs)


@lru_cache(maxsize=64)
def _placeholders(parameters: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"(?<!\$)\{(" + "|".join(map(re.escape, parameters)) + r")\}")


def fill(task: TaskDef, pattern: re.Pattern[str], values: Mapping[str, str], **changes: Any) -> TaskDef:
    """``task`` with the values of its parameters put in where ``pattern`` finds their names; ``changes``
    are other fields to replace."""

    def put(text: str) -> str:
        return pattern.sub(lambda match: values[match[1]], text) if "{" in text else text

    def directive(value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if value is None:
            return None
        return put(value) if isinstance(value, str) else tuple(map(put, value))

    return task._replace(
        inputs=tuple((put(source), put(target)) for source, target in task.inputs),
        outputs=tuple(map(put, task.outputs)),
        environment=tuple((name, put(value)) for name, value in task.environment),
        directives=tuple((name, directive(value)) for name, value in task.directives),
        **changes,
    )


class TaskTable(Mapping[str, TaskDef]):
    """The tasks of a suite by name, in order; records are made on demand."""

    __slots__ = ("_places", "templates")

    def __init__(self, templates: Iterable[Template]) -> None:
        self.templates = tuple(templates)
        self._places: dict[str, tuple[int, tuple[str, ...]]] = {
            name: (index, values)
            for index, template in enumerate(self.templates)
            for name, values in template.members or ((template.task.name, ()),)
        }

    @classmethod
    def of(cls, tasks: Iterable[TaskDef]) -> TaskTable:
        """A table of tasks that are finished records."""
        return cls(Template(task) for task in tasks)

    def __getitem__(self, name: str) -> TaskDef:
        index, values = self._places[name]
        return self.templates[index].member(name, values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def names(self, index: int) -> tuple[str, ...]:
        """The names that the template number ``index`` makes."""
        template = self.templates[index]
        return tuple(name for name, _ in template.members) or (template.task.name,)

    def template_of(self, name: str) -> Template:
        """The template that makes ``name``; what all members share can be read there. Raises KeyError."""
        return self.templates[self._places[name][0]]


class SuiteDef(Struct, frozen=True):
    """A whole suite. ``families`` holds the members of every family and parametrised task, in order;
    ``install`` the patterns of source files, empty for all."""

    name: str
    tasks: Mapping[str, TaskDef]
    graph: Graph
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    description: str = ""
    install: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of JSON for the store."""
        table = self.tasks if isinstance(self.tasks, TaskTable) else TaskTable.of(self.tasks.values())
        value = {
            "version": VERSION,
            "name": self.name,
            "description": self.description,
            "install": self.install,
            "tasks": [_encode_template(template) for template in table.templates],
            "families": {name: _encode_family(members, table) for name, members in self.families.items()},
            "graph": graphs.to_json(self.graph),
        }
        return json.dumps(value, separators=(",", ":"))

    def with_tasks(self, tasks: Sequence[TaskDef]) -> SuiteDef:
        """The suite with more tasks, which wait for nothing; one of the same name is replaced."""
        table = self.tasks if isinstance(self.tasks, TaskTable) else TaskTable.of(self.tasks.values())
        new = dict.fromkeys(task.name for task in tasks)
        kept = [template for template in table.templates if template.task.name not in new]
        graph = replace(self.graph, prerequisites={**self.graph.prerequisites, **new})
        return replace(self, tasks=TaskTable([*kept, *map(Template, tasks)]), graph=graph)

    @classmethod
    def from_json(cls, text: str) -> SuiteDef:
        """Read back what :meth:`to_json` wrote. Raises ValueError for another version's text."""
        value = json.loads(text)
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise ValueError("not a suite definition of this version of jobmgr; start the run anew")
        table = TaskTable(_decode_template(code) for code in value["tasks"])
        families = {name: _decode_family(code, table) for name, code in value["families"].items()}
        graph = graphs.from_json(value["graph"], families)
        return cls(value["name"], table, graph, families, value["description"], tuple(value["install"]))


def _encode_template(template: Template) -> list[Any]:
    task = template.task
    said = {
        name: getattr(task, name) for name, default in _DEFAULTS.items() if getattr(task, name) != default
    }
    return [task.name, task.base, said, template.parameters, template.members]


def _decode_template(code: Sequence[Any]) -> Template:
    name, base, said, parameters, members = code
    task = TaskDef(name, base, **{key: _tuples(value) for key, value in said.items()})
    return Template(task, tuple(parameters), tuple((member, tuple(values)) for member, values in members))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _encode_family(members: tuple[str, ...], table: TaskTable) -> list[int | str]:
    """The members; the number of a template stands for all that it makes."""
    codes: list[int | str] = []
    position = 0
    starts = {table.names(index)[0]: index for index in range(len(table.templates))}
    while position < len(members):
        index = starts.get(members[position])
        names = table.names(index) if index is not None else ()
        if index is not None and members[position : position + len(names)] == names:
            codes.append(index)
            position += len(names)
        else:
            codes.append(members[position])
            position += 1
    return codes


def _decode_family(codes: Iterable[int | str], table: TaskTable) -> tuple[str, ...]:
    return tuple(name for code in codes for name in (table.names(code) if isinstance(code, int) else (code,)))

"""Checks a suite's tree and makes its definition, or reports everything that is wrong with it at once. Pure:
files that the suite names are read through :class:`Source`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from jobmgr.core import fields, yaml_tree
from jobmgr.core.checking import check_model
from jobmgr.core.graph import OUTPUTS, Graph, find_loops
from jobmgr.core.installed_runners import entry_points
from jobmgr.core.nearest import hint
from jobmgr.core.tasks import SuiteDef, TaskTable, Template
from jobmgr.core.yaml_tree import Items, Keys, Path, Text
from jobmgr.errors import Problem, SuiteError
from jobmgr.suite import expand, parameters
from jobmgr.suite.families import NoOrder, lineage
from jobmgr.suite.graph_text import Key, Names, parse_graph
from jobmgr.suite.models import SuiteModel, TaskModel
from jobmgr.suite.parameters import Member, Rows
from jobmgr_remote import layout, runners

KnownPlatforms = Callable[[str], str | None]
"""What is wrong with a platform's name (``unknown platform 'hcp' (nearest: hpc)``), or None if it is
known."""


class Source(Struct, frozen=True):
    """Where a suite comes from. ``file`` names it in problems; ``folder_name`` is the default name;
    ``read`` returns the text of a file of its folder by relative path, and raises OSError or
    UnicodeDecodeError."""

    file: str
    folder_name: str
    read: Callable[[str], str]


def build_suite(
    root: Keys,
    source: Source,
    known_platforms: KnownPlatforms | None = None,
    problems: Iterable[Problem] = (),
) -> SuiteDef:
    """The definition of the suite in ``root``. Raises SuiteError with all problems, ``problems`` first:
    those of the keys by line, then those of the graph."""
    check = _Check(root, source, known_platforms)
    suite = check.suite()
    found = [*problems, *check.found]
    if found or suite is None:
        in_graph = {id(p) for p in found if p.key == "graph" or p.key.startswith("graph[")}
        found.sort(key=lambda p: (id(p) in in_graph, p.file != source.file, p.line))
        raise SuiteError(list(dict.fromkeys(found)))
    return suite


class _Check(Struct):
    root: Keys
    source: Source
    known_platforms: KnownPlatforms | None
    found: list[Problem] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)
    excused: set[str] = field(default_factory=set)
    asked: dict[str, str | None] = field(default_factory=dict)

    def note(self, path: Path, text: str) -> None:
        line, key = yaml_tree.line_of(self.root, path), yaml_tree.dotted(self.root, path)
        self.found.append(Problem(self.source.file, line, key, text))

    def suite(self) -> SuiteDef | None:
        model, problems, self.broken = check_model(SuiteModel, self.root, self.source.file)
        self.found.extend(problems)
        families = {name: task or TaskModel() for name, task in (model.families or {}).items()}
        tasks = {name: task or TaskModel() for name, task in (model.tasks or {}).items()}
        self.names(families, tasks)
        tasks = {name: task for name, task in tasks.items() if layout.is_part(name)}
        if not tasks and not any(path[0] == "tasks" for path in self.broken) and not self.excused:
            self.note(("tasks",), "no tasks: a suite needs at least one")
        self.own_settings(model.defaults, families, tasks)
        order = self.inheritance(families, tasks)
        templates = [
            self.task(
                name, order[name], families, tasks, model.defaults or TaskModel(), model.parameters or {}
            )
            for name in tasks
        ]
        table = self.table(templates)
        groups = _groups(families, templates, order)
        graph = self.graph(model, table, groups)
        name = self.name(model)
        return SuiteDef(name, table, graph, groups, model.description or "", model.install or ())

    def name(self, model: SuiteModel) -> str:
        name = model.name or self.source.folder_name
        if model.name is None and not layout.is_part(name) and ("name",) not in self.broken:
            self.note(
                (), f"the folder's name cannot be the suite's: {fields.bad_name(name)}; write name: ..."
            )
        return name

    def names(self, families: Mapping[str, TaskModel], tasks: Mapping[str, TaskModel]) -> None:
        for section, names in (("families", families), ("tasks", tasks)):
            for name in names:
                if not layout.is_part(name):
                    self.note((section, name), fields.bad_name(name))
                    self.excused.add(name)
        for name in families:
            if name in tasks:
                self.note(("families", name), f"'{name}' is a task too")
        self.excused.update(str(p[1]) for p in self.broken if len(p) == 2 and p[0] in ("families", "tasks"))

    def own_settings(
        self, defaults: TaskModel | None, families: Mapping[str, TaskModel], tasks: Mapping[str, TaskModel]
    ) -> None:
        """What can be said about each mapping of task keys by itself, once, where it stands."""
        if defaults is not None:
            self.settings(("defaults",), defaults)
            if defaults.inherit:
                self.note(("defaults", "inherit"), "defaults inherit from nothing")
        for section, models in (("families", families), ("tasks", tasks)):
            for name, model in models.items():
                self.settings((section, name), model)
                for family in model.inherit or ():
                    if family not in families and family not in self.excused:
                        also = " (it is a task)" if family in tasks else hint(family, families)
                        also = also if families else also or " (no family is defined)"
                        self.note((section, name, "inherit"), f"unknown family '{family}'{also}")

    def settings(self, path: Path, model: TaskModel) -> None:
        if model.script and model.script_file:
            self.note((*path, "script_file"), "there is a script too; write one of them")
        elif model.script_file is not None:
            self.script_file((*path, "script_file"), model.script_file)
        if model.parameters and model.parameter_file:
            self.note((*path, "parameter_file"), "there are parameters too; write one of them")
        if model.runner is not None and model.runner not in (*runners.BUILT_IN, *entry_points()):
            near = hint(model.runner, (*runners.BUILT_IN, *entry_points()))
            self.note((*path, "runner"), f"unknown runner '{model.runner}'{near}")
        if model.platform is not None and self.known_platforms is not None:
            if model.platform not in self.asked:
                self.asked[model.platform] = self.known_platforms(model.platform)
            text = self.asked[model.platform]
            if text is not None:
                self.note((*path, "platform"), text)
        for event in model.events or ():
            if event in OUTPUTS:
                self.note((*path, "events"), f"'{event}' is an output of every task; choose another name")
            elif not all(letter.isalnum() or letter in "_-" for letter in event):
                self.note((*path, "events"), f"bad name '{event}': letters, digits, _ and - only")

    def script_file(self, path: Path, name: str) -> None:
        try:
            text = self.source.read(name)
        except UnicodeDecodeError:
            return  # a compiled program is as good as a script
        except OSError as error:
            self.note(path, f"cannot read {name}: {error.strerror or error}")
            return
        if not text.startswith(("#!", "\x7fELF")):
            self.note(path, f"{name} does not begin with '#!'; write the program that runs it there")

    def inheritance(
        self, families: Mapping[str, TaskModel], tasks: Mapping[str, TaskModel]
    ) -> dict[str, tuple[str, ...]]:
        """The families of each task and family, most specific first."""
        order: dict[str, tuple[str, ...]] = {}
        parents = {name: model.inherit or () for name, model in families.items()}
        looping: set[str] = set()
        for name in families:
            try:
                order[name] = lineage(name, parents)[1:]
            except NoOrder as error:
                order[name] = ()
                if not looping.intersection(_reached(name, parents)):
                    self.note(("families", name, "inherit"), str(error))
                looping.add(name)
        for name, model in tasks.items():
            try:
                # a task may bear a family's name by mistake, so it stands under one that no family can have
                order[name] = lineage(f" {name}", {**parents, f" {name}": model.inherit or ()})[1:]
            except NoOrder as error:
                order[name] = ()
                if not looping.intersection(_reached(name, {**parents, name: model.inherit or ()})):
                    self.note(("tasks", name, "inherit"), str(error))
        return order

    def task(
        self,
        name: str,
        order: tuple[str, ...],
        families: Mapping[str, TaskModel],
        tasks: Mapping[str, TaskModel],
        defaults: TaskModel,
        suite_parameters: Mapping[str, parameters.Values],
    ) -> Template:
        settings = expand.merged([defaults, *(families[family] for family in reversed(order)), tasks[name]])
        scripts = [(*where, key) for where in _places(name, order) for key in ("script", "script_file")]
        if not settings.get("script") and not settings.get("script_file") and self.broken.isdisjoint(scripts):
            if not any(where in self.broken for where in _places(name, order)):
                self.note(
                    ("tasks", name),
                    "has neither script nor script_file (for nothing to do write script: ':')",
                )
        path: Path = self.origin(
            name, order, "parameter_file" if "parameter_file" in settings else "parameters"
        )
        rows = self.rows(path, settings, suite_parameters)
        members: tuple[Member, ...] = ()
        if rows is not None:
            try:
                members = parameters.members(name, rows)
            except fields.Wrong as wrong:
                self.note(path, str(wrong))
        made = expand.template(name, order, settings, rows.names if rows and members else (), members)
        unsafe = expand.unsafe_member(made)
        if unsafe:
            self.note(("tasks", name), unsafe)
        return made

    def origin(self, name: str, order: tuple[str, ...], key: str) -> Path:
        """Where the setting ``key`` of a task is written."""
        for where in _places(name, order):
            if yaml_tree.find(self.root, (*where, key)) is not None:
                return (*where, key)
        return ("tasks", name)

    def rows(
        self, path: Path, settings: Mapping[str, Any], known: Mapping[str, parameters.Values]
    ) -> Rows | None:
        if settings.get("parameter_file") and settings.get("parameters"):
            return None  # told already
        if settings.get("parameter_file"):
            return self.parameter_file(path, settings["parameter_file"])
        wanted = settings.get("parameters")
        if not wanted:
            return None
        if not isinstance(wanted, dict):
            unknown = [name for name in wanted if name not in known]
            if any(path[:1] == ("parameters",) for path in self.broken):
                unknown = []
            for name in unknown:
                self.note(path, f"unknown parameter '{name}'{hint(name, known)}")
            wanted = {name: known[name] for name in wanted if name in known}
        try:
            return parameters.product(wanted) if wanted else None
        except fields.Wrong as wrong:
            self.note(path, str(wrong))
            return None

    def parameter_file(self, path: Path, name: str) -> Rows | None:
        try:
            text = self.source.read(name)
        except (OSError, UnicodeDecodeError) as error:
            self.note(
                path, f"cannot read {name}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
            )
            return None
        rows, problems = parameters.read_csv(text)
        self.found.extend(Problem(name, line, "", text) for line, text in problems)
        return rows

    def table(self, templates: list[Template]) -> TaskTable:
        made: dict[str, str] = {}
        for template in templates:
            for name in [member for member, _ in template.members] or [template.task.name]:
                if name in made:
                    text = f"makes the task {name}, which tasks.{made[name]} makes too"
                    self.note(("tasks", template.task.name), text)
                    break
                made[name] = template.task.name
        if len(made) > parameters.MOST_MEMBERS:
            self.note(("tasks",), f"the suite has {len(made)} tasks; at most {parameters.MOST_MEMBERS}")
        return TaskTable(templates)

    def graph(self, model: SuiteModel, table: TaskTable, groups: Mapping[str, tuple[str, ...]]) -> Graph:
        manual = [
            name for t, made in enumerate(table.templates) if made.task.manual for name in table.names(t)
        ]
        node = yaml_tree.find(self.root, ("graph",))
        if node is None or (isinstance(node, Text) and node.value is None) or ("graph",) in self.broken:
            automatic = set(manual)
            return Graph({name: None for name in table if name not in automatic}, groups, frozenset(manual))
        keys: dict[str, Key] = {}
        key_of: dict[str, str] = {}
        for made in table.templates:
            members = tuple(Member(*row) for row in made.members) or (Member(made.task.name, ()),)
            keys[made.task.name] = Key(made.parameters, members, made.task.events)
            key_of.update((member.name, made.task.name) for member in members)
        if ("tasks",) in self.broken or ("families",) in self.broken:
            return Graph({})
        graph, problems = parse_graph(_graph_lines(node), Names(keys, groups, key_of, self.excused), manual)
        for line, text in problems:
            self.found.append(Problem(self.source.file, line, "graph", text))
        self.loops(graph, key_of)
        self.not_named(graph, table, frozenset(manual))
        return graph

    def loops(self, graph: Graph, key_of: Mapping[str, str]) -> None:
        for loop in find_loops(graph):
            keys = [key_of[name] for name in loop]
            shown = keys if all(a != b for a, b in itertools.pairwise(keys)) else loop
            self.note(("graph",), f"dependency loop: {' => '.join(shown)}")

    def not_named(self, graph: Graph, table: TaskTable, manual: frozenset[str]) -> None:
        for number, made in enumerate(table.templates):
            missing = [
                name for name in table.names(number) if name not in graph.prerequisites and name not in manual
            ]
            if missing:
                whole = len(missing) == len(table.names(number))
                subject = "the graph does not name it" if whole else f"the graph does not name {missing[0]}"
                self.note(("tasks", made.task.name), f"{subject} (add it there, or write manual: true)")


def _places(name: str, order: tuple[str, ...]) -> list[Path]:
    """Where the settings of a task may stand, most specific first."""
    return [("tasks", name), *(("families", family) for family in order), ("defaults",)]


def _reached(name: str, parents: Mapping[str, Iterable[str]]) -> set[str]:
    reached: set[str] = set()
    queue = [name]
    while queue:
        current = queue.pop()
        for parent in parents.get(current, ()):
            if parent not in reached:
                reached.add(parent)
                queue.append(parent)
    return reached


def _groups(
    families: Mapping[str, TaskModel], templates: Iterable[Template], order: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """The members of every family and of every parametrised task."""
    groups: dict[str, list[str]] = {name: [] for name in families}
    for made in templates:
        names = [name for name, _ in made.members] or [made.task.name]
        for family in order[made.task.name]:
            groups[family].extend(names)
        if made.parameters:
            groups[made.task.name] = names
    return {name: tuple(members) for name, members in groups.items()}


def _graph_lines(node: yaml_tree.Node) -> list[tuple[int, str]]:
    texts = node.items if isinstance(node, Items) else [node]
    return [
        (item.line_at(offset), line)
        for item in texts
        if isinstance(item, Text)
        for offset, line in enumerate((item.value or "").split("\n"))
    ]

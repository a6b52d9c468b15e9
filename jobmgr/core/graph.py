"""The graph: what each task waits for, as pure records and functions. No text, no clock, no I/O.

``suite/graph_text.py`` makes a :class:`Graph` from what users write; ``service`` asks it what is ready.
All questions about a whole run look at each task and each edge at most once, so that 10,000 tasks are cheap;
a family stands as one :class:`Group` in expressions, never as 10,000 atoms in each of 10,000 tasks.

An expression has one of four values (:class:`Fact`). ``IGNORED`` belongs to removed tasks: what is left of
the expression decides, and if nothing is left, it is satisfied.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct, field

SUCCEEDED = "succeeded"
FAILED = "failed"
FINISHED = "finished"
STARTED = "started"
SUBMITTED = "submitted"
SUBMIT_FAILED = "submit-failed"
KILLED = "killed"

OUTPUTS = (SUCCEEDED, FAILED, FINISHED, STARTED, SUBMITTED, SUBMIT_FAILED, KILLED)
"""The outputs that every task has; its events come on top."""

NEGATIVE = frozenset((FAILED, SUBMIT_FAILED, KILLED))
"""What a removed task will certainly not do; all its other outputs are no longer waited for."""

OUTPUTS_OF_STATE: Mapping[str, frozenset[str]] = {
    "submitted": frozenset((SUBMITTED,)),
    "running": frozenset((SUBMITTED, STARTED)),
    "succeeded": frozenset((SUBMITTED, STARTED, SUCCEEDED, FINISHED)),
    "failed": frozenset((SUBMITTED, STARTED, FAILED, FINISHED)),
    "submit-failed": frozenset((SUBMIT_FAILED, FINISHED)),
    "killed": frozenset((KILLED, FINISHED)),
}
"""The outputs that a task has made by the time it stands in a state, as far as the state tells. ``failed``
and ``submit-failed`` count only once no retry is left: the caller does not pass them before. ``finished``
means: it ended, in whichever way. A kill is not a failure: ``a:failed => b`` does not fire, ``a:finished =>
b`` does."""


class Atom(Struct, frozen=True):
    """``task:output``."""

    task: str
    output: str


class Group(Struct, frozen=True):
    """``FAMILY:output`` of ``every`` member, or of any of them. ``members`` follows from ``name``."""

    name: str
    output: str
    every: bool
    members: tuple[str, ...]


class And(Struct, frozen=True):
    terms: tuple[Expr, ...]


class Or(Struct, frozen=True):
    terms: tuple[Expr, ...]


Expr = Atom | Group | And | Or


class Fact(enum.Enum):
    """What is known of an output, or of an expression of them."""

    DONE = "done"
    PENDING = "pending"
    NEVER = "never"
    IGNORED = "ignored"


FactOf = Callable[[str, str], Fact]
Combine = Callable[[Iterable[Fact]], Fact]
Memo = dict[tuple[str, str, bool], Fact]


def _all_of(facts: Iterable[Fact]) -> Fact:
    result = Fact.IGNORED
    for fact in facts:
        if fact is Fact.NEVER:
            return fact
        if fact is Fact.PENDING or (fact is Fact.DONE and result is Fact.IGNORED):
            result = fact
    return result


def _all_yet(facts: Iterable[Fact]) -> Fact:
    """As :func:`_all_of` where it is the same whether what is missing may still come."""
    result = Fact.IGNORED
    for fact in facts:
        if fact is Fact.NEVER or fact is Fact.PENDING:
            return fact
        if fact is Fact.DONE:
            result = fact
    return result


def _any_of(facts: Iterable[Fact]) -> Fact:
    result = Fact.IGNORED
    for fact in facts:
        if fact is Fact.DONE:
            return fact
        if fact is Fact.PENDING or (fact is Fact.NEVER and result is Fact.IGNORED):
            result = fact
    return result


def evaluate(expr: Expr, fact_of: FactOf, memo: Memo | None = None, all_of: Combine = _all_of) -> Fact:
    """The value of ``expr``. ``memo`` keeps the values of groups between calls with the same facts."""
    if isinstance(expr, Atom):
        return fact_of(expr.task, expr.output)
    if isinstance(expr, Group):
        return _group(expr, fact_of, {} if memo is None else memo, all_of)
    combine = all_of if isinstance(expr, And) else _any_of
    return combine(evaluate(term, fact_of, memo, all_of) for term in expr.terms)


def _group(group: Group, fact_of: FactOf, memo: Memo, all_of: Combine) -> Fact:
    key = (group.name, group.output, group.every)
    if key not in memo:
        combine = all_of if group.every else _any_of
        # Members run in their order: whether any is still missing is seen soonest from the end.
        memo[key] = combine(fact_of(member, group.output) for member in reversed(group.members))
    return memo[key]


def satisfied(expr: Expr | None, done: Callable[[str, str], bool]) -> bool:
    """Whether ``expr`` holds, given which ``(task, output)`` have happened. None holds always."""
    if expr is None:
        return True
    return evaluate(expr, lambda task, output: Fact.DONE if done(task, output) else Fact.PENDING) is Fact.DONE


class Progress(Struct, frozen=True):
    """What has happened in one cycle.

    ``outputs`` that tasks have made so far (events included); ``ended``: tasks that make no further ones
    (final state, no retry left); ``removed`` tasks.
    """

    outputs: Mapping[str, Collection[str]]
    ended: Collection[str] = frozenset()
    removed: Collection[str] = frozenset()

    def fact(self, task: str, output: str) -> Fact:
        """What is known of one output."""
        if output in self.outputs.get(task, ()):
            return Fact.DONE
        if task in self.removed:
            return Fact.NEVER if output in NEGATIVE else Fact.IGNORED
        return Fact.NEVER if task in self.ended else Fact.PENDING


class Graph(Struct, frozen=True, dict=True):  # dict: for cached_property
    """What each task waits for.

    ``prerequisites`` has every task of the graph (None: nothing to wait for); ``groups`` the members of
    each family and parametrised task that expressions name; ``manual`` tasks are never started by the
    graph.
    """

    prerequisites: Mapping[str, Expr | None]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    manual: frozenset[str] = frozenset()

    @cached_property
    def _index(self) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]:
        """Task -> tasks that name it; group -> tasks that name it; task -> groups that hold it."""
        by_task: dict[str, list[str]] = {}
        by_group: dict[str, list[str]] = {}
        for task, expr in self.prerequisites.items():
            for name, is_group in _names(expr):
                (by_group if is_group else by_task).setdefault(name, []).append(task)
        holding: dict[str, list[str]] = {}
        for group in by_group:
            for member in self.groups[group]:
                holding.setdefault(member, []).append(group)
        return by_task, by_group, holding

    def dependents(self, tasks: Iterable[str]) -> set[str]:
        """The tasks that wait for any of ``tasks``, directly or through a family."""
        by_task, by_group, holding = self._index
        found: set[str] = set()
        groups: set[str] = set()
        for task in tasks:
            found.update(by_task.get(task, ()))
            groups.update(holding.get(task, ()))
        for group in groups:
            found.update(by_group[group])
        return found

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All tasks, each after those that it waits for."""
        done: set[str] = set()
        ordered: list[str] = []
        for root in self.prerequisites:
            for node, leaving in _walk(self, root, done):
                if leaving and not node[1] and node[0] in self.prerequisites:
                    ordered.append(node[0])
        return tuple(ordered)

    def ready(self, candidates: Collection[str], progress: Progress) -> list[str]:
        """Those of ``candidates`` (waiting tasks) whose turn it is, in the order given.

        After a change only ``dependents(changed)`` need to be candidates.
        """
        memo: Memo = {}
        return [
            task
            for task in candidates
            if task not in self.manual
            and task in self.prerequisites
            and self._state(task, progress.fact, memo, _all_yet) in (Fact.DONE, Fact.IGNORED)
        ]

    def unreachable(self, waiting: Collection[str], progress: Progress) -> frozenset[str]:
        """Those of ``waiting`` that can not become ready any more, whatever the others still do: after
        ``a:failed => b`` and a success of ``a``, ``b`` and all that waits only for ``b``."""
        never: set[str] = set()
        memo: Memo = {}
        still = waiting if isinstance(waiting, (set, frozenset, dict)) else set(waiting)

        def fact(task: str, output: str) -> Fact:
            known = progress.fact(task, output)
            return Fact.NEVER if known is Fact.PENDING and task in never else known

        for task in self.order:
            if task in still and self._state(task, fact, memo) is Fact.NEVER:
                never.add(task)
        return frozenset(never)

    def can_still_run(self, task: str, waiting: Collection[str], progress: Progress) -> bool:
        """Whether the waiting ``task`` may become ready yet. For many tasks ask :meth:`unreachable` once."""
        return task not in self.unreachable(waiting, progress)

    def explain(self, task: str, progress: Progress, cycle: str) -> str:
        """``waits for 1/sim, 1/a (failed)``; empty if the task waits for nothing."""
        expr = self.prerequisites.get(task)
        if expr is None:
            return ""
        text = explain(expr, progress.fact, cycle)
        return f"waits for {text}" if text else ""

    def _state(self, task: str, fact_of: FactOf, memo: Memo, all_of: Combine = _all_of) -> Fact:
        expr = self.prerequisites[task]
        return Fact.DONE if expr is None else evaluate(expr, fact_of, memo, all_of)


def explain(expr: Expr, fact_of: FactOf, cycle: str) -> str:
    """What ``expr`` still waits for, for people; empty if it is satisfied."""
    if evaluate(expr, fact_of) in (Fact.DONE, Fact.IGNORED):
        return ""
    if isinstance(expr, Atom):
        return f"{cycle}/{expr.task}{_said(expr.output)}"
    if isinstance(expr, Group):
        return _explain_group(expr, fact_of, cycle)
    parts = [text for term in expr.terms if (text := explain(term, fact_of, cycle))]
    if isinstance(expr, And):
        shown = parts if len(parts) <= 4 else [*parts[:3], f"and {len(parts) - 3} more"]
        return ", ".join(shown)
    return parts[0] if len(parts) == 1 else f"({' or '.join(parts)})"


def _explain_group(group: Group, fact_of: FactOf, cycle: str) -> str:
    if not group.every:
        return f"any of {cycle}/{group.name}{_said(group.output)}"
    missing = sum(fact_of(m, group.output) in (Fact.PENDING, Fact.NEVER) for m in group.members)
    output = "" if group.output == SUCCEEDED else f"{group.output}, "
    return f"{cycle}/{group.name} ({output}{missing} of {len(group.members)} missing)"


def _said(output: str) -> str:
    return "" if output == SUCCEEDED else f" ({output})"


_Node = tuple[str, bool]  # name, is it a group


def _names(expr: Expr | None) -> Iterator[_Node]:
    """Every task and group of an expression, each once, in order."""
    seen: dict[_Node, None] = {}
    stack: list[Expr] = [] if expr is None else [expr]
    while stack:
        term = stack.pop()
        if isinstance(term, Atom):
            seen[(term.task, False)] = None
        elif isinstance(term, Group):
            seen[(term.name, True)] = None
        else:
            stack.extend(reversed(term.terms))
    return iter(seen)


def _below(graph: Graph, node: _Node) -> Iterator[_Node]:
    """What a task or a group waits for."""
    name, is_group = node
    if is_group:
        return iter([(member, False) for member in graph.groups[name]])
    return _names(graph.prerequisites.get(name))


def _walk(graph: Graph, root: str, done: set[str]) -> Iterator[tuple[_Node, bool]]:
    """Depth first towards what ``root`` waits for: (node, leaving?). ``done`` holds what was left already
    (groups with a leading ``*``) and is added to. A node on the current path is not entered again."""
    start: _Node = (root, False)
    if root in done:
        return
    path: dict[_Node, Iterator[_Node]] = {start: _below(graph, start)}
    yield start, False
    while path:
        node, children = next(reversed(path.items()))
        child = next((c for c in children if _mark(c) not in done), None)
        if child is None:
            del path[node]
            done.add(_mark(node))
            yield node, True
        elif child not in path:
            path[child] = _below(graph, child)
            yield child, False
        else:
            yield child, False  # a loop: the caller sees a node that it has entered and not left


def _mark(node: _Node) -> str:
    return f"*{node[0]}" if node[1] else node[0]


def find_loops(graph: Graph) -> list[tuple[str, ...]]:
    """Dependency loops, each as a path that ends where it begins (``("sim", "plot", "sim")``: sim comes
    before plot, and plot before sim). Of loops that share a task only one is told."""
    loops: list[tuple[str, ...]] = []
    told: set[str] = set()
    done: set[str] = set()
    for root in graph.prerequisites:
        path: dict[_Node, None] = {}
        for node, leaving in _walk(graph, root, done):
            if leaving:
                path.pop(node)
            elif node in path:
                nodes = list(path)
                tasks = [name for name, is_group in nodes[nodes.index(node) :] if not is_group]
                if not told.intersection(tasks):
                    told.update(tasks)
                    forwards = tasks[::-1]
                    loops.append((forwards[-1], *forwards))
            else:
                path[node] = None
    return loops


def conjunction(terms: Sequence[Expr]) -> Expr | None:
    """All of ``terms``, flat and each once; None for none of them."""
    flat: dict[Expr, None] = {}
    for term in terms:
        flat.update(dict.fromkeys(term.terms if isinstance(term, And) else (term,)))
    return None if not flat else next(iter(flat)) if len(flat) == 1 else And(tuple(flat))


def to_json(graph: Graph) -> dict[str, Any]:
    """The graph as JSON values, without the members of ``groups`` (the caller stores them). Expressions
    that several tasks share stand once; tasks that are exactly a group are written as its name."""
    by_expr: dict[Expr | None, list[str]] = {}
    for task, expr in graph.prerequisites.items():
        by_expr.setdefault(expr, []).append(task)
    whole = {members: name for name, members in graph.groups.items()}
    edges = [
        [None if expr is None else _encode(expr), whole.get(tuple(tasks), tasks)]
        for expr, tasks in by_expr.items()
    ]
    return {"edges": edges, "manual": sorted(graph.manual)}


def from_json(value: Mapping[str, Any], groups: Mapping[str, tuple[str, ...]]) -> Graph:
    """The graph that :func:`to_json` wrote; the order of the tasks may differ."""
    prerequisites: dict[str, Expr | None] = {}
    for code, tasks in value["edges"]:
        expr = None if code is None else _decode(code, groups)
        prerequisites.update(dict.fromkeys(groups[tasks] if isinstance(tasks, str) else tasks, expr))
    return Graph(prerequisites, groups, frozenset(value["manual"]))


def _encode(expr: Expr) -> Any:
    if isinstance(expr, Atom):
        return f"{expr.task}:{expr.output}"
    if isinstance(expr, Group):
        return ["all" if expr.every else "any", f"{expr.name}:{expr.output}"]
    return ["&" if isinstance(expr, And) else "|", *map(_encode, expr.terms)]


def _decode(code: Any, groups: Mapping[str, tuple[str, ...]]) -> Expr:
    if isinstance(code, str):
        return Atom(*code.split(":"))
    kind, *rest = code
    if kind in ("all", "any"):
        name, output = rest[0].split(":")
        return Group(name, output, kind == "all", groups[name])
    terms = tuple(_decode(part, groups) for part in rest)
    return And(terms) if kind == "&" else Or(terms)

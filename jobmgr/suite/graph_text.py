"""The text of a graph, parsed and resolved against the tasks of its suite. Pure.

    prepare => sim                      sim after prepare has succeeded; of a family: every member
    sim:failed => rescue                after another output
    a & (b | c) => d => e               chains, and, or, parentheses
    sim<m> => post<m>                   member by member
    sim<m=3> => look                    one member (or all that have m=3, if there are more parameters)
    FAM:failed-any => alarm             any member of a family; ``-all`` is the default
    lonely                              a task that waits for nothing and that nothing waits for

A statement goes on over the end of a line inside parentheses, and where a line ends or begins with ``=>``,
``&`` or ``|``. ``#`` starts a comment.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from jobmgr.core import graph as graphs
from jobmgr.core.graph import And, Atom, Expr, Graph, Group, Or
from jobmgr.core.nearest import hint
from jobmgr.suite.parameters import Member

DEEPEST = 50

_TOKEN = re.compile(
    r"(?P<blank>[ \t\r]+)|(?P<op>=>|&|\||\(|\))"
    r"|(?P<node>(?P<name>[A-Za-z0-9][A-Za-z0-9_.+@%-]*)(?:<(?P<params>[^<>\n]*)>)?(?::(?P<output>[A-Za-z0-9_-]*))?)"
)
_PARAMETER = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:=\s*([^\s=]+)\s*)?")


class Key(Struct, frozen=True):
    """A task key as the graph sees it. ``parameters`` and ``members``: of a parametrised one; a plain task
    has one member of its own name."""

    parameters: tuple[str, ...]
    members: tuple[Member, ...]
    events: tuple[str, ...] = ()


class Names(Struct, frozen=True):
    """What a graph may name: task keys; ``groups``, the members of families and parametrised keys; and the
    key that each member belongs to. Names in ``excused`` were found wrong elsewhere; nothing is said about
    them here."""

    keys: Mapping[str, Key]
    groups: Mapping[str, tuple[str, ...]]
    key_of: Mapping[str, str]
    excused: Collection[str] = frozenset()


class _Wrong(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


class _Token(Struct, frozen=True):
    kind: str  # "=>", "&", "|", "(", ")", "node", "bad", "end"
    line: int
    text: str
    node: Node | None = None


class Node(Struct, frozen=True):
    """``name<m, lr=3>:output`` as written; a parameter without a value is None."""

    name: str
    parameters: tuple[tuple[str, str | None], ...]
    output: str | None
    line: int
    text: str

    @property
    def free(self) -> tuple[str, ...]:
        """The parameters that run over all their values."""
        return tuple(name for name, value in self.parameters if value is None)


class _Both(Struct, frozen=True):
    operator: str
    terms: tuple[_Tree, ...]


_Tree = Node | _Both


def _tokens(lines: Iterable[tuple[int, str]]) -> list[_Token]:
    """The tokens of all lines; what cannot be read becomes one of kind "bad" with the problem as its text."""
    tokens: list[_Token] = []
    for number, raw in lines:
        try:
            tokens.extend(_line_tokens(raw.split("#", 1)[0], number))
        except _Wrong as wrong:
            tokens.append(_Token("bad", wrong.line, wrong.text))
        tokens.append(_Token("end", number, ""))
    return _joined(tokens)


def _line_tokens(text: str, number: int) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _Wrong(number, f"cannot read {text[position:].strip()[:40]!r}{_advice(text, position)}")
        position = match.end()
        if match["op"]:
            yield _Token(match["op"], number, match["op"])
        elif match["node"]:
            yield _Token("node", number, match["node"], _node(match, number))


def _advice(text: str, position: int) -> str:
    rest = text[position:]
    if rest.startswith(("->", "→", "-->", "=", ">")):
        return " (write => between what comes first and what comes after)"
    if rest.startswith("!"):
        return " (there is no 'not'; name an output, such as a:failed)"
    return ""


def _node(match: re.Match[str], line: int) -> Node:
    output = match["output"]
    if output == "":
        raise _Wrong(
            line,
            f"an output is missing after {match['name']!r}: one of {', '.join(graphs.OUTPUTS)}, or an event",
        )
    parameters: list[tuple[str, str | None]] = []
    if match["params"] is not None:
        for part in match["params"].split(","):
            found = _PARAMETER.fullmatch(part)
            if found is None:
                raise _Wrong(line, f"cannot read <{match['params']}>: write <m>, <m=3> or <m, lr=0.1>")
            parameters.append((found[1], found[2]))
    return Node(match["name"], tuple(parameters), output, line, match["node"])


def _joined(tokens: Sequence[_Token]) -> list[_Token]:
    """Line ends are dropped where a statement goes on."""
    kept: list[_Token] = []
    depth = 0
    for index, token in enumerate(tokens):
        depth = max(depth + {"(": 1, ")": -1}.get(token.kind, 0), 0)
        if token.kind == "end":
            following = next((t.kind for t in tokens[index + 1 :] if t.kind != "end"), "end")
            goes_on = bool(kept) and kept[-1].kind in ("=>", "&", "|", "(") and following != "end"
            if not kept or kept[-1].kind == "end" or goes_on or depth or following in ("=>", "&", "|"):
                continue
        kept.append(token)
    if kept and kept[-1].kind != "end":
        kept.append(_Token("end", kept[-1].line, ""))
    return kept


def _statements(tokens: Sequence[_Token]) -> Iterable[list[_Token]]:
    statement: list[_Token] = []
    for token in tokens:
        if token.kind == "end":
            if statement:
                yield statement
            statement = []
        else:
            statement.append(token)


class _Parser:
    """Recursive descent over one part of a chain: ``|`` binds less than ``&``."""

    def __init__(self, tokens: Sequence[_Token], line: int) -> None:
        self.tokens = tokens
        self.position = 0
        self.line = line

    def parse(self) -> _Tree:
        tree = self.operands("|", 0)
        if self.position < len(self.tokens):
            raise self.unexpected()
        return tree

    def operands(self, operator: str, depth: int) -> _Tree:
        terms = [self.operand(operator, depth)]
        while self.position < len(self.tokens) and self.tokens[self.position].kind == operator:
            self.position += 1
            terms.append(self.operand(operator, depth))
        return terms[0] if len(terms) == 1 else _Both(operator, tuple(terms))

    def operand(self, operator: str, depth: int) -> _Tree:
        if operator == "|":
            return self.operands("&", depth)
        if self.position >= len(self.tokens):
            raise _Wrong(self.line, "a task is missing at the end")
        token = self.tokens[self.position]
        self.position += 1
        if token.node is not None:
            return token.node
        if token.kind != "(":
            self.position -= 1
            raise self.unexpected()
        if depth >= DEEPEST:
            raise _Wrong(token.line, f"more than {DEEPEST} parentheses in one another")
        tree = self.operands("|", depth + 1)
        if self.position >= len(self.tokens):
            raise _Wrong(token.line, "a ')' is missing")
        if self.tokens[self.position].kind != ")":
            raise self.unexpected()
        self.position += 1
        return tree

    def unexpected(self) -> _Wrong:
        token = self.tokens[self.position]
        if token.kind == "node" and self.position and self.tokens[self.position - 1].kind == "node":
            before = self.tokens[self.position - 1].text
            return _Wrong(token.line, f"'=>', '&' or '|' is missing between {before!r} and {token.text!r}")
        return _Wrong(token.line, f"{token.text!r} is not expected here")


def _chain(statement: Sequence[_Token]) -> list[_Tree]:
    """The parts of ``a => b => c``."""
    parts: list[list[_Token]] = [[]]
    lines = [statement[0].line]
    for token in statement:
        if token.kind == "=>":
            parts.append([])
            lines.append(token.line)
        else:
            parts[-1].append(token)
    for token in statement:
        if token.kind == "bad":
            raise _Wrong(token.line, token.text)
    for line, part in zip(lines, parts, strict=True):
        if not part:
            raise _Wrong(line, "a task is missing beside '=>'")
    return [_Parser(part, part[0].line).parse() for part in parts]


def _nodes(tree: _Tree) -> list[Node]:
    return [tree] if isinstance(tree, Node) else [node for term in tree.terms for node in _nodes(term)]


def _or_line(tree: _Tree) -> int | None:
    """The line of an ``|``, if there is one."""
    if isinstance(tree, Node):
        return None
    if tree.operator == "|":
        return _nodes(tree)[0].line
    return next((line for term in tree.terms if (line := _or_line(term)) is not None), None)


_Values = dict[str, str]


class _Resolver(Struct):
    """Collects what each task waits for, statement by statement, and every problem on the way."""

    names: Names
    terms: dict[str, list[Expr]] = field(default_factory=dict)
    found: list[tuple[int, str]] = field(default_factory=list)
    outputs: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    indexes: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], list[str]]] = field(default_factory=dict)

    def statement(self, chain: Sequence[_Tree]) -> None:
        nodes = [node for tree in chain for node in _nodes(tree)]
        problems = [(node.line, text) for node in nodes for text in self.node_problems(node)]
        for tree in chain[1:] if len(chain) > 1 else chain:
            line = _or_line(tree)
            if line is not None:
                problems.append(
                    (line, "'|' is not possible on the right of '=>'; write one line for each task")
                )
        problems += [
            (node.line, f"the output of {node.text!r} has nothing that waits for it")
            for node in _nodes(chain[-1])
            if node.output is not None
        ]
        self.found.extend(problems)
        if problems or any(node.name in self.names.excused for node in nodes):
            self.mention(nodes)
            return
        if len(chain) == 1:
            for node in nodes:
                for task in self.members(node, {}) or self.all_members(node.name):
                    self.terms.setdefault(task, [])
        for left, right in itertools.pairwise(chain):
            self.edge(left, right)

    def mention(self, nodes: Iterable[Node]) -> None:
        """Tasks that a statement names take part in the graph, whatever else is wrong with it."""
        for node in nodes:
            for task in self.all_members(node.name):
                self.terms.setdefault(task, [])

    def edge(self, left: _Tree, right: _Tree) -> None:
        sources, targets = _nodes(left), _nodes(right)
        combos = self.combinations([*sources, *targets])
        if not combos:
            self.mention([*sources, *targets])
            return
        exprs = [self.expression(left, values) for values in combos]
        for node in sources:
            for values in combos if node.free else combos[:1]:
                for task in self.members(node, values):
                    self.terms.setdefault(task, [])
        for node in targets:
            if node.free:
                for values, expr in zip(combos, exprs, strict=True):
                    self.add(self.members(node, values), expr)
            else:
                self.add(self.members(node, {}), exprs[0] if len(exprs) == 1 else And(tuple(exprs)))

    def add(self, tasks: Iterable[str], expr: Expr) -> None:
        for task in tasks:
            self.terms.setdefault(task, []).append(expr)

    def node_problems(self, node: Node) -> list[str]:
        names = self.names
        if node.name in names.excused:
            return []
        if node.name not in names.groups and node.name not in names.key_of:
            known = {*names.keys, *names.groups, *(names.key_of if len(names.key_of) <= 1000 else ())}
            return [f"unknown task '{node.name}'{hint(node.name, known)}"]
        if not self.all_members(node.name):
            return [f"family '{node.name}' has no members"]
        return self.parameter_problems(node) or self.output_problems(node)

    def parameter_problems(self, node: Node) -> list[str]:
        if not node.parameters:
            return []
        key = self.names.keys.get(node.name)
        if key is None or not key.parameters:
            return [f"{node.text!r}: '{node.name}' has no parameters"]
        given = [name for name, _ in node.parameters]
        problems = [
            f"{node.text!r}: '{node.name}' has no parameter '{name}'{hint(name, key.parameters)}"
            for name in given
            if name not in key.parameters
        ]
        problems += [
            f"{node.text!r} names '{n}' twice" for n in sorted({n for n in given if given.count(n) > 1})
        ]
        if not problems and not any(self.matches(node, member.values) for member in key.members):
            fixed = ", ".join(f"{name}={value}" for name, value in node.parameters if value is not None)
            problems.append(f"'{node.name}' has no member with {fixed}")
        return problems

    def output_problems(self, node: Node) -> list[str]:
        if node.output is None:
            return []
        output, suffix = self.output_of(node)
        if suffix and not self.is_group(node):
            return [f"{node.text!r}: '-{suffix}' is for families and parametrised tasks"]
        if output in graphs.OUTPUTS:
            return []
        members = self.all_members(node.name)
        bases = {self.names.key_of[member] for member in members}
        without = sorted(base for base in bases if output not in self.names.keys[base].events)
        if not without:
            return []
        known = [*graphs.OUTPUTS, *(event for base in bases for event in self.names.keys[base].events)]
        whose = f"'{without[0]}'" if len(bases) == 1 else f"'{without[0]}' of '{node.name}'"
        return [f"{node.text!r}: {whose} has no output or event '{output}'{hint(output, known)}"]

    def output_of(self, node: Node) -> tuple[str, str]:
        """The output, and ``all``, ``any`` or nothing; an event may itself end with ``-any``."""
        output = node.output or graphs.SUCCEEDED
        if (node.name, output) not in self.outputs:
            head, _, tail = output.rpartition("-")
            bases = {self.names.key_of[member] for member in self.all_members(node.name)}
            is_event = any(output in self.names.keys[base].events for base in bases)
            split = (head, tail) if tail in ("all", "any") and not is_event else (output, "")
            self.outputs[(node.name, output)] = split
        return self.outputs[(node.name, output)]

    def is_group(self, node: Node) -> bool:
        return node.name in self.names.groups

    def all_members(self, name: str) -> tuple[str, ...]:
        if name in self.names.groups:
            return self.names.groups[name]
        return (name,) if name in self.names.key_of else ()

    def matches(self, node: Node, values: Sequence[str]) -> bool:
        given = dict(zip(self.names.keys[node.name].parameters, values, strict=True))
        return all(value is None or _same(given[name], value) for name, value in node.parameters)

    def index(self, node: Node, by: tuple[str, ...]) -> dict[tuple[str, ...], list[str]]:
        """The members that a node with fixed values leaves, by their values of the parameters ``by``."""
        cache = (node.text.partition(":")[0], by)
        if cache not in self.indexes:
            key = self.names.keys[node.name]
            places = [key.parameters.index(name) for name in by]
            index: dict[tuple[str, ...], list[str]] = {}
            for member in key.members:
                if self.matches(node, member.values):
                    index.setdefault(tuple(member.values[place] for place in places), []).append(member.name)
            self.indexes[cache] = index
        return self.indexes[cache]

    def members(self, node: Node, values: _Values) -> Sequence[str]:
        if not node.parameters or node.name not in self.names.keys:
            return self.all_members(node.name)
        if any(name not in values for name in node.free):
            return ()
        return self.index(node, node.free).get(tuple(values[name] for name in node.free), ())

    def combinations(self, nodes: Sequence[Node]) -> list[_Values]:
        """The values that the free parameters of a statement take together: those that all its nodes share. A
        value that one of them lacks is a problem, since members would silently wait for nothing."""
        combos: list[_Values] = [{}]
        known: tuple[str, ...] = ()
        for node in nodes:
            if node.free:
                combos = _join(combos, known, self.index(node, node.free), node.free)
                known = (*known, *(name for name in node.free if name not in known))
        for node in nodes:
            if node.free:
                kept = {tuple(values[name] for name in node.free) for values in combos}
                lost = next((row for row in self.index(node, node.free) if row not in kept), None)
                if lost is not None:
                    named = ", ".join(f"{name}={value}" for name, value in zip(node.free, lost, strict=True))
                    self.found.append(
                        (node.line, f"{node.text!r}: {named} has no counterpart on the other side")
                    )
                    return []
        return combos

    def expression(self, tree: _Tree, values: _Values) -> Expr:
        if isinstance(tree, _Both):
            terms = tuple(self.expression(term, values) for term in tree.terms)
            return And(terms) if tree.operator == "&" else Or(terms)
        output, suffix = self.output_of(tree)
        members = self.members(tree, values)
        if not self.is_group(tree) or (len(members) == 1 and tree.parameters):
            return Atom(members[0], output)
        if not tree.parameters:
            return Group(tree.name, output, suffix != "any", self.names.groups[tree.name])
        atoms = tuple(Atom(member, output) for member in members)
        return Or(atoms) if suffix == "any" else And(atoms)


def _same(value: str, wanted: str) -> bool:
    """``<m=7>`` means the value ``007`` too."""
    return value == wanted or (value.isdecimal() and wanted.isdecimal() and int(value) == int(wanted))


def _join(
    combos: Sequence[_Values], known: tuple[str, ...], rows: Iterable[tuple[str, ...]], names: tuple[str, ...]
) -> list[_Values]:
    """Each combination with each row that agrees with it on the names they share."""
    shared = [name for name in names if name in known]
    places = [names.index(name) for name in shared]
    by_shared: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in rows:
        by_shared.setdefault(tuple(row[place] for place in places), []).append(row)
    return [
        {**values, **dict(zip(names, row, strict=True))}
        for values in combos
        for row in by_shared.get(tuple(values[name] for name in shared), ())
    ]


def parse_graph(
    lines: Iterable[tuple[int, str]], names: Names, manual: Iterable[str] = ()
) -> tuple[Graph, list[tuple[int, str]]]:
    """The graph of ``lines`` (line number, text), and the problems as (line, text).

    A statement with a problem is left out; the graph then still holds all tasks that it names.
    """
    resolver = _Resolver(names)
    for statement in _statements(_tokens(lines)):
        try:
            resolver.statement(_chain(statement))
        except _Wrong as wrong:
            resolver.found.append((wrong.line, wrong.text))
            resolver.mention(token.node for token in statement if token.node is not None)
    prerequisites = {task: graphs.conjunction(terms) for task, terms in resolver.terms.items()}
    return Graph(prerequisites, names.groups, frozenset(manual)), resolver.found

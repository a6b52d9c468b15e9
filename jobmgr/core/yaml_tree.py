"""YAML text to a tree that knows the line of every key and value. Pure: takes text, reads no file.

A safe reader without implicit types: every scalar is text as it was typed (``on``, ``NO``, ``3.10``,
``0755`` and ``2026-11-20`` included), an empty value is ``None``. What makes a configuration file
hard to understand, or dangerous, is refused by name: duplicate keys, merge keys, aliases, tags, several
documents, keys that are not text, very deep nesting.

The event stream of PyYAML is used, not its composer, which is recursive and expands aliases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from jobmgr.errors import Problem

DEEPEST = 40

Path = tuple[str | int, ...]
Plain = None | str | list["Plain"] | dict[str, "Plain"]


class Text(Struct, frozen=True):
    """A scalar. ``value`` is None for an empty plain scalar; ``literal``: a ``|`` block, whose text
    starts on the line after ``line``."""

    line: int
    value: str | None
    literal: bool = False

    def line_at(self, offset: int) -> int:
        """The file's line of the text's line number ``offset`` (from 0), as well as it is known."""
        return self.line + 1 + offset if self.literal else self.line


class Items(Struct, frozen=True):
    """A sequence."""

    line: int
    items: list[Node] = field(default_factory=list)


class Keys(Struct, frozen=True):
    """A mapping, in file order; ``key_lines`` has the line of each key."""

    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)


Node = Text | Items | Keys


def plain(node: Node) -> Plain:
    """The tree as nested dicts, lists, texts and None."""
    if isinstance(node, Keys):
        return {key: plain(child) for key, child in node.entries.items()}
    if isinstance(node, Items):
        return [plain(child) for child in node.items]
    return node.value


def from_plain(value: Plain) -> Node:
    """A tree without lines (all 0), for settings that were made by a program."""
    if isinstance(value, dict):
        return Keys(0, {key: from_plain(child) for key, child in value.items()}, dict.fromkeys(value, 0))
    if isinstance(value, list):
        return Items(0, [from_plain(child) for child in value])
    return Text(0, value)


def printable(text: str) -> str:
    """``text`` on one line, with nothing in it that would act on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _step(node: Node | None, part: str | int) -> Node | None:
    if isinstance(node, Keys) and isinstance(part, str):
        return node.entries.get(part)
    if isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def find(root: Node, path: Path) -> Node | None:
    """The node at ``path``, or None."""
    node: Node | None = root
    for part in path:
        node = _step(node, part)
    return node


def line_of(root: Node, path: Path) -> int:
    """The line of what ``path`` names: of the key for a mapping's entry, of the item in a sequence;
    the line of the innermost part that exists, if the rest does not."""
    line, node = root.line, root
    for part in path:
        child = _step(node, part)
        if child is None:
            return line
        is_entry = isinstance(node, Keys) and isinstance(part, str)
        line = node.key_lines[part] if is_entry else child.line  # type: ignore[union-attr,index]
        node = child
    return line


def dotted(root: Node, path: Path) -> str:
    """``tasks.sim.retry_delays[1]``; indexes that the file does not have (a text taken as a list of
    one) are left out."""
    text = ""
    node: Node | None = root
    for part in path:
        in_list = isinstance(node, Items)
        if isinstance(part, str):
            text += f".{printable(part)}" if text else printable(part)
        elif in_list:
            text += f"[{part}]"
        node = _step(node, part)
    return text


class _Refused(Exception):
    """The rest of the file cannot be understood after this."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


class _Builder:
    """Turns the events of one document into a tree; notes problems, and goes on where it can."""

    def __init__(self, kinds: Any, events: Iterator[Any]) -> None:
        self.kinds = kinds  # the module yaml, for its classes of events
        self.events = events
        self.found: list[tuple[int, str]] = []

    def document(self) -> Node | None:
        """The only document's root; None for a file without any."""
        root: Node | None = None
        documents = 0
        for event in self.events:
            if isinstance(event, self.kinds.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Refused(_line(event), "a second document begins ('---'); one file, one document")
                root = self.node(next(self.events), 0)
        return root

    def node(self, event: Any, depth: int) -> Node:
        line = _line(event)
        if depth > DEEPEST:
            raise _Refused(line, f"nested more than {DEEPEST} levels deep")
        if isinstance(event, self.kinds.AliasEvent):
            self.found.append((line, f"alias '*{event.anchor}' is not supported (use defaults or families)"))
            return Text(line, None)
        if getattr(event, "tag", None) not in (None, "!"):
            self.found.append(
                (line, f"tag '{event.tag}' is not supported (values are converted by their key)")
            )
        if isinstance(event, self.kinds.SequenceStartEvent):
            return self.sequence(line, depth)
        if isinstance(event, self.kinds.MappingStartEvent):
            return self.mapping(line, depth)
        is_empty = event.value == "" and not event.style  # plain: None, or "" from libyaml
        return Text(line, None if is_empty else event.value, event.style == "|")

    def sequence(self, line: int, depth: int) -> Items:
        items = Items(line)
        for event in self.events:
            if isinstance(event, self.kinds.SequenceEndEvent):
                break
            items.items.append(self.node(event, depth + 1))
        return items

    def mapping(self, line: int, depth: int) -> Keys:
        keys = Keys(line)
        for event in self.events:
            if isinstance(event, self.kinds.MappingEndEvent):
                break
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            self.entry(keys, key, value, _line(event))
        return keys

    def entry(self, keys: Keys, key: Node, value: Node, line: int) -> None:
        if not isinstance(key, Text) or key.value is None:
            self.found.append((line, "a key must be text"))
        elif key.value == "<<":
            self.found.append((line, "merge key '<<' is not supported (use defaults or families)"))
        elif key.value in keys.entries:
            first = keys.key_lines[key.value]
            self.found.append((line, f"duplicate key '{printable(key.value)}' (first on line {first})"))
        else:
            keys.entries[key.value] = value
            keys.key_lines[key.value] = line


def _loader() -> Any:
    """libyaml's loader where it is: 20 times faster."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _unprintable(text: str) -> tuple[int, str] | None:
    """The line of the first character that no YAML file may hold, and its name."""
    from yaml.reader import Reader

    match = Reader.NON_PRINTABLE.search(text)
    if match is None:
        return None
    name = "a NUL byte" if match.group() == "\0" else f"the control character {ord(match.group()):#04x}"
    return text.count("\n", 0, match.start()) + 1, name


_ADVICE = {
    "mapping values are not allowed": "a text with ': ' in it wants quotes, or lines of its own below 'KEY: |'",
    "expected key": "look at the indentation here and above, and at quotes inside a text",
    "expected <block end>": "look at the indentation here and above, and at quotes inside a text",
    "expected ','": "is a bracket left open, or does a text in one want quotes?",
    "cannot start any token": "a text that begins like this wants quotes",
}
"""What a parser says -> what to do: the first that is part of its words counts."""


def _syntax(text: str, error: Exception) -> tuple[int, str]:
    """A parser's complaint, said for people who do not know the parser."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return 0, f"not valid YAML: {error}"
    lines = text.split("\n")
    for number in (mark.line, mark.line - 1):
        source = lines[number] if 0 <= number < len(lines) else ""
        if "\t" in source[: len(source) - len(source.lstrip())]:
            return number + 1, "indented with a tab; YAML wants spaces"
    problem = str(getattr(error, "problem", None) or error)
    advice = next((f" ({words})" for part, words in _ADVICE.items() if part in problem), "")
    begun = getattr(error, "context_mark", None)
    if begun is not None and "quoted" in str(getattr(error, "context", "")):
        advice = f" (is the quote of line {begun.line + 1} closed?)"
    return mark.line + 1, f"not valid YAML: {problem}{advice}"


def parse_tree(text: str, file: str) -> tuple[Keys, tuple[Problem, ...]]:
    """The tree of ``text``, and everything that is wrong with it (``file`` names it in the problems).

    With problems the tree holds what could be understood, so that a caller can check the rest and
    report all problems at once. The root is a mapping, empty if the file is not one.
    """
    import yaml  # here, so that whoever only needs a tree's types does not pay for it

    at_fault = _unprintable(text)
    if at_fault:
        return Keys(1), (Problem(file, at_fault[0], "", f"contains {at_fault[1]}"),)
    builder = _Builder(yaml, iter(yaml.parse(text, Loader=_loader())))
    try:
        root = builder.document()
    except yaml.YAMLError as error:
        return Keys(1), (Problem(file, *_with_empty_key(_syntax(text, error))),)
    except _Refused as refused:
        return Keys(1), (Problem(file, refused.line, "", refused.text),)
    problems = [Problem(file, line, "", what) for line, what in builder.found]
    if root is None or (isinstance(root, Text) and root.value is None):
        problems.append(Problem(file, 0, "", "the file is empty"))
    elif not isinstance(root, Keys):
        problems.append(Problem(file, root.line, "", "expected a mapping of keys at the top level"))
    return (root if isinstance(root, Keys) else Keys(1)), tuple(problems)


def _with_empty_key(found: tuple[int, str]) -> tuple[int, str, str]:
    return found[0], "", found[1]

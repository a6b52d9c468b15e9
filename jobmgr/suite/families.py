"""Inheritance: the order in which a task takes its settings. Pure.

As Python orders base classes (C3): the task itself, then its families in the order in which it names them,
each before the families that it inherits from itself; the defaults come last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class NoOrder(ValueError):
    """The families of a task contradict each other, or inherit from themselves."""


def lineage(name: str, parents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """``name`` and all its families, most specific first. Raises :class:`NoOrder`."""
    return tuple(_linear(name, parents, ()))


def _linear(name: str, parents: Mapping[str, Sequence[str]], path: tuple[str, ...]) -> list[str]:
    if name in path:
        loop = [*path[path.index(name) :], name]
        raise NoOrder(f"inheritance loop: {' inherits '.join(loop)}")
    own = [parent for parent in parents.get(name, ()) if parent in parents]
    queues = [_linear(parent, parents, (*path, name)) for parent in own] + [list(own)]
    ordered = [name]
    while queues := [queue for queue in queues if queue]:
        head = next((q[0] for q in queues if not any(q[0] in other[1:] for other in queues)), None)
        if head is None:
            raise NoOrder(f"its families contradict each other about their order: {', '.join(own)}")
        ordered.append(head)
        queues = [queue[1:] if queue[0] == head else queue for queue in queues]
    return ordered

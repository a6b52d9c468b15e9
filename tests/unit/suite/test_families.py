from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.suite.families import NoOrder, lineage


def test_a_task_comes_first_and_its_families_in_the_order_named():
    assert lineage("t", {"t": ("A", "B"), "A": ("ROOT",), "B": ("ROOT",), "ROOT": ()}) == (
        "t",
        "A",
        "B",
        "ROOT",
    )


def test_unknown_families_are_passed_over():
    assert lineage("t", {"t": ("A", "NOPE"), "A": ()}) == ("t", "A")


def test_a_loop_is_a_path():
    with pytest.raises(NoOrder, match="inheritance loop: A inherits B inherits A"):
        lineage("t", {"t": ("A",), "A": ("B",), "B": ("A",)})


def test_contradicting_orders_are_refused():
    with pytest.raises(NoOrder, match="contradict"):
        lineage("t", {"t": ("X", "Y"), "X": ("A", "B"), "Y": ("B", "A"), "A": (), "B": ()})


@given(st.lists(st.lists(st.integers(0, 6), max_size=3, unique=True), min_size=7, max_size=7))
def test_the_order_is_pythons(wanted):
    """Each family may inherit from those before it; python's own classes are the judge."""
    parents = {f"f{n}": tuple(f"f{m}" for m in mothers if m < n) for n, mothers in enumerate(wanted)}
    classes: dict[str, type] = {}
    for name, mothers in parents.items():
        try:
            classes[name] = type(name, tuple(classes[m] for m in mothers), {})
        except TypeError:
            with pytest.raises(NoOrder):
                lineage(name, parents)
            return
        except KeyError:
            return
        assert lineage(name, parents) == tuple(c.__name__ for c in classes[name].__mro__[:-1])

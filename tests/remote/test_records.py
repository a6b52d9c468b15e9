"""Named tuples of the host side are those of the standard library, as far as the host side goes."""

from __future__ import annotations

import collections
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import records

NAMES = ("job", "token", "size", "text")
MADE: Any = records.namedtuple("Made", " ".join(NAMES))
REAL: Any = collections.namedtuple("Made", NAMES)
LENIENT: Any = records.namedtuple("Made", " ".join(NAMES), defaults=(0, "t"))
REAL_LENIENT: Any = collections.namedtuple("Made", NAMES, defaults=(0, "t"))
VALUES = st.none() | st.integers() | st.text(max_size=3)
CALLS = st.tuples(st.lists(VALUES, max_size=5), st.dictionaries(st.sampled_from((*NAMES, "other")), VALUES))


def outcome(kind: Any, call: tuple[list[object], dict[str, object]]) -> tuple[object, ...]:
    try:
        made = kind(*call[0], **call[1])
    except TypeError:
        return ("TypeError",)
    return tuple(made), repr(made), made._asdict(), hash(made)


@given(CALLS)
def test_they_are_made_and_refused_alike(call: tuple[list[object], dict[str, object]]) -> None:
    assert outcome(MADE, call) == outcome(REAL, call)
    assert outcome(LENIENT, call) == outcome(REAL_LENIENT, call)


@given(st.lists(VALUES, min_size=4, max_size=4), st.dictionaries(st.sampled_from((*NAMES, "other")), VALUES))
def test_copies_with_other_values_are_alike(values: list[object], changes: dict[str, object]) -> None:
    one, model = MADE(*values), REAL(*values)
    assert [getattr(one, name) for name in NAMES] == values
    if "other" in changes:
        with pytest.raises(ValueError, match="no field other"):
            one._replace(**changes)
    else:
        changed = one._replace(**changes)
        assert tuple(changed) == tuple(model._replace(**changes))
        assert type(changed) is MADE
    assert one == model == tuple(values)


def test_they_are_tuples_in_all_else() -> None:
    one = MADE._make("abcd")
    assert copy.copy(one) == copy.deepcopy(one) == one
    assert one._fields == MADE.__match_args__ == NAMES
    with pytest.raises(AttributeError):
        one.job = "x"
    with pytest.raises(AttributeError):
        one.more = "x"
    with pytest.raises(TypeError, match="4 fields, not 3"):
        MADE._make("abc")
    match one:
        case MADE("a", "b", size, text):
            assert (size, text) == ("c", "d")


def test_a_subclass_adds_to_them() -> None:
    class More(MADE):
        __slots__ = ()

        @property
        def both(self) -> str:
            return str(self.job) + str(self.token)

    assert More("a", "b", "c", text="d").both == "ab"
    assert type(More("a", "b", "c", "d")._replace(job="x")) is More



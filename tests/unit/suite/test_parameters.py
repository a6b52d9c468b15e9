from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.fields import Wrong
from jobmgr.suite.parameters import Rows, chosen, members, product, read_csv, table, value_list


@pytest.mark.parametrize(
    "written, values",
    [
        ("1..4", ("1", "2", "3", "4")),
        ("0..100..50", ("0", "50", "100")),
        ("0..99..50", ("0", "50")),
        ("001..003", ("001", "002", "003")),
        ("-1..1", ("-1", "0", "1")),
        (["0.10", "0.01"], ("0.10", "0.01")),
        (["1..3", "7"], ("1", "2", "3", "7")),
        ("only", ("only",)),
        (["007", "NO", "on"], ("007", "NO", "on")),
    ],
)
def test_values_stay_as_they_were_typed(written, values):
    assert value_list(written) == values


@pytest.mark.parametrize(
    "written, complaint",
    [
        ("5..1", "is empty"), ("1..5..0", "is empty"), ("1..200000", "more than 100000"),
        ([], "at least one value"),
        (None, "at least one value"), (["a b"], "cannot stand in a task's name"), (["a/b"], "cannot stand"),
        (["1", "1"], "'1' twice"), ([["x"]], "found a list"), ({"a": "b"}, "expected a list"),
        ([None], "found nothing"),
    ],
)  # fmt: skip
def test_bad_values_are_refused(written, complaint):
    with pytest.raises(Wrong, match=complaint):
        value_list(written)


def test_a_table_tells_all_that_is_wrong_in_it():
    with pytest.raises(Wrong) as caught:
        table({"1m": ["x"], "n": "3..1", "ok": "1..2", "l": ["a", "b c"]})
    assert [path for path, _ in caught.value.wrongs] == [("1m",), ("n", 0), ("l", 1)]


def test_a_task_chooses_names_or_brings_its_own():
    assert chosen("m") == ("m",)
    assert chosen(["m", "lr"]) == ("m", "lr")
    assert chosen({"m": "1..2"}) == {"m": ("1", "2")}


def test_members_are_padded_so_that_their_names_sort():
    names = [member.name for member in members("sim", product({"m": value_list("1..500")}))]
    assert names[6] == "sim_m007"
    assert names == sorted(names)
    assert members("sim", product({"m": value_list("1..500")}))[6].values == ("7",)


def test_only_whole_numbers_are_padded():
    made = members("s", product({"lr": ("0.10", "10"), "k": ("a", "bb"), "n": ("-5", "10")}))
    assert made[0].name == "s_lr0.10_ka_n-05"
    assert made[-1].name == "s_lr10_kbb_n10"


parameter_tables = st.dictionaries(
    st.sampled_from(["m", "n", "lr"]),
    st.lists(st.from_regex(r"[A-Za-z0-9]{1,4}", fullmatch=True), min_size=1, max_size=4, unique=True).map(
        tuple
    ),
    min_size=1,
)


@given(parameter_tables)
def test_a_product_has_every_combination_once_and_in_order(parameters):
    rows = product(parameters)
    assert rows.rows == tuple(itertools.product(*parameters.values()))
    try:
        made = members("sim", rows)
    except Wrong:  # 1 and 01 have one name when padded
        numbers = [[int(v) for v in values if v.isdecimal()] for values in parameters.values()]
        assert any(len(set(column)) < len(column) for column in numbers)
        return
    assert len({member.name for member in made}) == len(rows.rows)
    assert all(member.name.startswith("sim_") for member in made)


def test_a_product_beyond_all_measure_is_refused():
    values = tuple(str(n) for n in range(1000))
    with pytest.raises(Wrong, match="1000000 members"):
        product({"a": values, "b": values})


def test_a_csv_gives_one_member_per_row():
    rows, problems = read_csv('city,temp,note\nrome,030,a note with /\noslo, -5,"commas, too"\n')
    assert problems == []
    assert rows == Rows(
        ("city", "temp", "note"), (("rome", "030", "a note with /"), ("oslo", "-5", "commas, too")), 1
    )
    assert [member.name for member in members("w", rows)] == ["w_cityrome", "w_cityoslo"]


def test_rows_are_named_by_as_many_columns_as_tell_them_apart():
    rows, _ = read_csv(
        "m,lr,free text is no problem here\n".replace(" ", "_") + "1,0.1,x y\n1,0.2,x y\n10,0.1,x y\n"
    )
    assert [member.name for member in members("s", rows)] == ["s_m01_lr0.1", "s_m01_lr0.2", "s_m10_lr0.1"]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", (0, "the file is empty; the first line names the parameters")),
        ("m\n", (0, "has a header, but no rows")),
        ("m,n\n1,2\n3\n", (3, "has 1 values for 2 parameters")),
        ("m,n\n1,2\n1,2\n", (3, "is the same row as line 2")),
        ("m m\n1\n", (1, "header: bad name 'm m': letters, digits and _ only, no digit first")),
        ("m,m\n1,2\n", (1, "header: names 'm' twice")),
        ("m\na b\n", (2, "m = 'a b' cannot stand in a task's name; put a column of plain names first")),
        ('m\n"x\n', (2, "not valid CSV: unexpected end of data")),
        ("m\nx\0y\n", (2, "contains a NUL byte")),
    ],
)
def test_a_bad_csv_is_told_with_its_line(text, problem):
    rows, problems = read_csv(text)
    assert rows is None
    assert problem in problems


def test_names_made_twice_or_too_long_are_refused():
    with pytest.raises(Wrong, match="makes the task s_m01 twice"):
        members("s", product({"m": ("1", "01")}))
    with pytest.raises(Wrong, match="too long"):
        members("s" * 150, product({"m": ("x" * 60,)}))
    with pytest.raises(Wrong, match=r"has '\.\.' in it"):
        members("s", product({"m": ("a..b",)}))

from __future__ import annotations

import pytest

from jobmgr.core import fields
from jobmgr.core.fields import Wrong
from jobmgr.core.nearest import hint, key_hint, nearest


@pytest.mark.parametrize(
    "read, value, result",
    [
        (fields.script, None, ""),
        (fields.script, "a\nb\té", "a\nb\té"),
        (fields.flag, "Yes", True),
        (fields.flag, "off", False),
        (fields.count, "007", 7),
        (fields.size, "4 gb", "4G"),
        (fields.size, "500MiB", "500M"),
        (fields.byte_count, "10M", 10 * 1024 * 1024),
        (fields.gpus, "a100:2", "a100:2"),
        (fields.environment, None, ()),
        (fields.directives, {"-x": None, "-y": "", "-z": ["a"]}, (("-x", None), ("-y", ""), ("-z", ("a",)))),
        (fields.work_dir, None, ""),
        (fields.work_dir, "./work/x/", "./work/x"),
        (fields.identifiers, "A", ("A",)),
        (fields.duration_list, None, ()),
        (fields.duration_list, "1m, 2*5s", (60, 5, 5)),
        (fields.input_pairs, ["d/"], (("d/", "d"),)),
        (fields.input_pairs, {"a": "b/", "c": "./", "~/d": None}, (("a", "b/a"), ("c", "c"), ("~/d", "d"))),
        (fields.target, "[::1]", "[::1]"),
        (fields.remote_command, "~/bin/jobmgr-remote", "~/bin/jobmgr-remote"),
        (fields.host_path, "${SCRATCH}/x", "${SCRATCH}/x"),
    ],
)
def test_values_are_converted(read, value, result):
    assert read(value) == result


@pytest.mark.parametrize(
    "read, value, complaint",
    [
        (fields.script, "a\0b", "NUL"),
        (fields.script, "\ud800", "surrogate"),
        (fields.script, {}, "expected text, found a mapping"),
        (fields.words, "a\x1b[31m", "control characters"),
        (fields.line, " ", "expected text, found nothing"),
        (fields.identifier, "a/b", "bad name 'a/b'"),
        (fields.identifier, "x" * 201, "at most 200"),
        (fields.identifier, "-x", "bad name"),
        (fields.identifier, "a..b", "bad name"),
        (fields.variable, "é", "bad name"),
        (fields.flag, None, "expected true or false, found nothing"),
        (fields.flag, "1", "expected true or false, found '1'"),
        (fields.count, "1.5", "whole number"),
        (fields.count, "٣", "whole number"),
        (fields.duration, [], "expected a duration such as 90s, 5m, 1h30m or PT5M, found a list"),
        (fields.duration_list, [None], "found nothing"),
        (fields.duration_list, {}, "expected a list"),
        (fields.positive_duration, "0s", "at least 1s"),
        (fields.size, "0G", "such as 500M or 4G"),
        (fields.size, "1.5G", "such as 500M or 4G"),
        (fields.size, None, "found nothing"),
        (fields.gpus, "a b:1", "TYPE:NUMBER"),
        (fields.directives, {"": "x"}, "found nothing"),
        (fields.relative_path, "~/x", "relative"),
        (fields.work_dir, ".service/x", "not a folder for jobs"),
        (fields.input_pairs, ["/"], "does not end with the name"),
        (fields.input_pairs, {"a": "/x"}, "must be relative"),
        (fields.symlinks, {"work": "scratch"}, "bad path"),
        (fields.ssh_options, {"A B": "c"}, "KEY=VALUE"),
        (fields.target, "a b", "bad host"),
        (fields.target, "$(x)", "bad host"),
        (fields.python_path, "-c", "bad path"),
        (fields.remote_command, "a\\b", "bad command"),
    ],
)
def test_other_values_are_refused(read, value, complaint):
    with pytest.raises(Wrong) as caught:
        read(value)
    assert complaint in str(caught.value)


def test_all_that_is_wrong_in_a_value_is_told_with_its_place():
    with pytest.raises(Wrong) as caught:
        fields.environment({"A": "ok", "1": "x", "B": ["y"]})
    assert [path for path, _ in caught.value.wrongs] == [("1",), ("B",)]


def test_long_values_are_cut_in_errors():
    assert len(fields.found("x" * 1000)) < 70


def test_the_nearest_name_is_told_whatever_its_case():
    assert nearest("HPC", {"hpc", "box"}) == "hpc"
    assert nearest("zzz", {"hpc"}) is None
    assert nearest("a1", [f"a{n}" for n in range(5000)]) is None
    assert hint("zzz", {"b", "a"}) == " (known: a, b)"
    assert hint("zzz", {f"n{n}" for n in range(20)}) == ""
    assert hint("zzz", ()) == ""
    assert key_hint("Time Limit", {"time_limit"}) == " (write time_limit)"
    assert key_hint("time_limt", {"time_limit"}) == " (nearest: time_limit)"

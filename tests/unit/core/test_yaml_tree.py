from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from jobmgr.core.yaml_tree import dotted, find, from_plain, line_of, parse_tree, plain

PLAIN_WORDS = [
    "on",
    "NO",
    "yes",
    "~",
    "null",
    "3.10",
    "0755",
    "1:30:00",
    "2026-11-20",
    "0x1F",
    "1e3",
    ".inf",
    "=",
    "True",
]


def read(text):
    root, problems = parse_tree(text, "f.yaml")
    assert problems == ()
    return plain(root)


def complaints(text):
    return [str(problem) for problem in parse_tree(text, "f.yaml")[1]]


@pytest.mark.parametrize("word", PLAIN_WORDS)
def test_every_scalar_arrives_as_typed(word):
    assert read(f"key: {word}\nlist: [{word}]\n") == {"key": word, "list": [word]}


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,20}", fullmatch=True))
@example("0o17")
@example("685_230.15")
@example("190:20:30")
def test_plain_text_is_never_converted(word):
    assert read(f"key: {word}\n") == {"key": word}


leaves = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcdef _", min_size=1), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abcxyz", min_size=1), trees, min_size=1))
def test_what_a_yaml_writer_quotes_is_read_back(value):
    class Quoted(yaml.SafeDumper):
        pass

    Quoted.add_representer(str, lambda d, s: d.represent_scalar("tag:yaml.org,2002:str", s, style='"'))
    Quoted.add_representer(type(None), lambda d, _: d.represent_scalar("tag:yaml.org,2002:null", ""))
    Quoted.ignore_aliases = lambda *_: True
    assert read(yaml.dump(value, Dumper=Quoted, allow_unicode=True)) == value


@given(st.dictionaries(st.text("ab", min_size=1), trees))
def test_settings_of_a_program_make_the_same_tree(value):
    assert plain(from_plain(value)) == value


def test_empty_is_none_and_quoted_empty_is_text():
    assert read("a:\nb: ''\nc: \"\"\n") == {"a": None, "b": "", "c": ""}


def test_keys_and_values_know_their_lines():
    root, _ = parse_tree("a: 1\ntasks:\n  sim:\n    delays:\n      - 1m\n      - soon\n", "f")
    assert line_of(root, ("tasks", "sim", "delays")) == 4
    assert line_of(root, ("tasks", "sim", "delays", 1)) == 6
    assert line_of(root, ("tasks", "sim", "nothing", "below")) == 3
    assert dotted(root, ("tasks", "sim", "delays", 1)) == "tasks.sim.delays[1]"
    assert dotted(root, ("a", 0)) == "a"


def test_lines_of_a_literal_block_are_lines_of_the_file():
    root, _ = parse_tree("x: 1\ngraph: |\n  a => b\n\n  c => d\n", "f")
    graph = find(root, ("graph",))
    lines = graph.value.split("\n")
    assert [graph.line_at(number) for number, line in enumerate(lines) if line] == [3, 5]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: duplicate key 'a' (first on line 1)"),
        ("t:\n  x: 1\n  x: 1\n", "f.yaml:3: duplicate key 'x' (first on line 2)"),
        ("a:\n\tb: 1\n", "f.yaml:2: indented with a tab; YAML wants spaces"),
        ("a: 1\n\tb: 1\n", "f.yaml:2: indented with a tab; YAML wants spaces"),
        ("", "f.yaml: the file is empty"),
        ("# only a comment\n", "f.yaml: the file is empty"),
        ("---\n", "f.yaml: the file is empty"),
        ("just text\n", "f.yaml:1: expected a mapping of keys at the top level"),
        ("- a\n- b\n", "f.yaml:1: expected a mapping of keys at the top level"),
        ("a: &x 1\nb: *x\n", "f.yaml:2: alias '*x' is not supported (use defaults or families)"),
        ("a:\n  <<: {b: 1}\n", "f.yaml:2: merge key '<<' is not supported (use defaults or families)"),
        (
            "a: !!int 3\n",
            "f.yaml:1: tag 'tag:yaml.org,2002:int' is not supported (values are converted by their key)",
        ),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document begins ('---'); one file, one document"),
        ("? [a, b]\n: 1\n", "f.yaml:1: a key must be text"),
        ("?\n: 1\n", "f.yaml:1: a key must be text"),
        ("a: 1\nb: x\0y\n", "f.yaml:2: contains a NUL byte"),
        ("a: x\x07y\n", "f.yaml:1: contains the control character 0x07"),
    ],
)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_what_is_refused_is_named(text, complaint, loader, monkeypatch):
    monkeypatch.setattr("jobmgr.core.yaml_tree._loader", lambda: loader)
    assert complaints(text) == [complaint]


@pytest.mark.parametrize(
    "text", ["a: [1, 2\n", "a: 'x\n", "a: b: c\n", "%FOO\n", "a: {\n", "@x: 1\n", "[" * 30000]
)
def test_broken_yaml_is_one_problem_with_a_line(text):
    (problem,) = parse_tree(text, "f.yaml")[1]
    assert "not valid YAML" in problem.text or "levels deep" in problem.text
    assert problem.line >= 1


def test_an_object_tag_makes_no_object():
    assert "is not supported" in complaints("a: !!python/object/apply:os.system ['true']\n")[0]


def test_a_bomb_of_aliases_is_refused_without_being_expanded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert len(complaints("\n".join(lines))) == 290


def test_deep_nesting_is_refused():
    assert complaints("a: " + "[" * 50 + "]" * 50) == ["f.yaml:1: nested more than 40 levels deep"]


def test_all_duplicates_are_told_at_once():
    assert len(complaints("a: 1\na: 2\nb: 1\nb: 2\n")) == 2


def test_five_megabytes_of_script_arrive_whole():
    line = "echo 'quotes' \"and\" $VARS \\ é\n"
    script = line * (5_000_000 // len(line.encode()))
    text = "script: |\n" + "".join(f"  {line}" for line in script.splitlines(keepends=True))
    assert read(text) == {"script": script}

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from jobmgr.cli import arguments, parser
from jobmgr.cli.context import Options
from jobmgr.cli.main import build_parser
from jobmgr.cli.verbs import VERBS
from jobmgr.errors import UsageError

COMMANDS = Path(parser.__file__).parent / "commands"


def parsed(*words: str) -> argparse.Namespace:
    return parser.parse(words)[1]


def test_every_module_of_commands_is_a_verb_and_the_other_way_round() -> None:
    modules = {path.stem for path in COMMANDS.glob("*.py")} - {"__init__"}
    assert modules == {name.replace("-", "_") for name in VERBS}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_parser_with_words_to_learn_from(name: str) -> None:
    built = parser.verb_parser(VERBS[name])
    assert built.epilog
    assert callable(VERBS[name].load().run)
    for action in built._actions:
        assert action.help
    built.format_help()


@pytest.mark.parametrize(
    "words",
    [
        ["--platforms", "p.yaml", "--run-root", "/r", "--json", "status", "sweep"],
        ["status", "--platforms", "p.yaml", "--run-root", "/r", "--json", "sweep"],
        ["status", "sweep", "--platforms=p.yaml", "--run-root=/r", "--json"],
        ["--platforms", "p.yaml", "status", "sweep", "--json", "--run-root", "/r"],
    ],
)
def test_options_of_every_verb_stand_before_or_after_it(words: list[str]) -> None:
    verb, args = parser.parse(words)
    assert verb is not None
    assert verb.name == "status"
    assert (args.suite, args.platforms, args.run_root, args.json) == ("sweep", "p.yaml", "/r", True)


def test_options_may_stand_between_the_words() -> None:
    args = parsed("status", "sweep", "--poll", ":failed", "--csv", "1/a")
    assert (args.suite, args.ids, args.poll, args.csv) == ("sweep", [":failed", "1/a"], True, True)
    args = parsed("log", "-f", "sweep", "1/a", "--tail", "3", "err")
    assert (args.id, args.name, args.follow, args.tail) == ("1/a", "err", True, 3)


def test_the_command_of_run_is_never_read_as_options() -> None:
    args = parsed("run", "wizard", "-o", "*.nc", "--", "ls", "--json", "-q", "--", "x")
    assert args.command == ["ls", "--json", "-q", "--", "x"]
    assert args.outputs == ["*.nc"]
    assert not hasattr(args, "json")


def test_options_of_run() -> None:
    args = parsed(
        "run", "hpc", "-i", "a.nc", "-i", "b", "--param", "m=1..9", "--env", "A=b=c", "--time-limit", "1h30m",
        "--directive=--exclusive", "--", "./model.sh",
    )  # fmt: skip
    assert args.inputs == ["a.nc", "b"]
    assert args.params == [("m", "1..9")]
    assert args.env == [("A", "b=c")]
    assert args.time_limit == 5400
    assert args.directives == ["--exclusive"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu"], "unknown verb 'statsu' (nearest: status)"),
        (["status", "sweep", "--nonsense"], "--nonsense"),
        (["play"], "SUITE"),
        (["play", "x", "--timeout", "5"], "expected a duration such as"),
        (["run", "hpc", "--env", "A", "--", "x"], "expected NAME=VALUE"),
        (["status", "sweep", "--", "x"], "only jobmgr run takes words behind --"),
        (["log", "s", "1/a", "-f", "--list"], "not allowed with"),
        (["cron", "install", "--every", "90"], "1 to 59"),
        (["remove", "sweep"], "ID"),
        (["recover", "sweep"], "--from"),
        (["--colour"], "--colour"),
        (["status", "--pol"], "--pol"),
    ],
)
def test_a_wrong_call_is_a_usage_error_on_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parser.parse(words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_help_of_jobmgr_lists_every_verb() -> None:
    text = build_parser()[""].format_help()
    for name, verb in VERBS.items():
        assert f"{name} " in text
        assert verb.summary in text


def test_options_win_over_the_environment_and_empty_is_absent() -> None:
    environment = {"JOBMGR_PLATFORMS": "env.yaml", "JOBMGR_RUN_ROOT": "/env", "JOBMGR_SSH_CONFIG": ""}
    options = Options.of(parsed("status", "--run-root", "/option"), environment)
    assert options == Options(platforms="env.yaml", run_root="/option", ssh_config=None)


@pytest.mark.parametrize("word", ["./sweep", "a/b", "suite.yaml", "."])
def test_a_path_is_no_name_of_a_run(word: str) -> None:
    with pytest.raises(UsageError, match="the name of a run"):
        arguments.name_only(word)


def test_a_job_on_the_controller_means_its_own_run_root(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "suitex"
    (run / ".service").mkdir(parents=True)
    environment = {"JOBMGR_SUITE_DIR": str(run)}
    assert Options.of(parsed("status"), environment).run_root is None
    (run / ".service" / "suite.db").write_text("")
    assert Options.of(parsed("status"), environment).run_root == str(tmp_path / "runs")
    assert Options.of(parsed("status", "--run-root", "/r"), environment).run_root == "/r"
    assert Options.of(parsed("status"), {**environment, "JOBMGR_RUN_ROOT": "/e"}).run_root == "/e"

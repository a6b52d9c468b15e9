from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from jobmgr.errors import PlatformError
from jobmgr.platforms.load import load_platforms, ordered, standard_files
from jobmgr.platforms.model import Platform

DATA = Path(__file__).resolve().parents[2] / "data" / "validate"


def cases(name):
    """(text, complaint) of each block of a file of cases."""
    blocks = [block.split("!! ") for block in (DATA / name).read_text().split("----\n")[1:]]
    return [pytest.param(text, complaint.strip(), id=complaint[:70].strip()) for text, complaint in blocks]


@pytest.fixture
def load(tmp_path):
    def load(*texts, ssh_hosts=("wizard",)):
        files = []
        for number, text in enumerate(texts, 1):
            file = tmp_path / f"p{number}.yaml"
            file.write_text(text)
            files.append(file)
        return load_platforms(files, ssh_hosts=lambda: set(ssh_hosts))

    return load


def complaints(load, *texts):
    with pytest.raises(PlatformError) as caught:
        load(*texts)
    return [re.sub(r"^/.*?/(?=p\d\.yaml)", "", str(problem)) for problem in caught.value.problems]


FULL = """
platforms:
  hpc:
    hosts: [login1, ada@login2.example.org]
    host_selection: random
    transport: openssh
    runner: slurm
    runner_file: my/slurm.py
    run_root: $SCRATCH/runs
    symlinks: {work: /scratch/ada, share/cycle: $SCRATCH/c}
    remote_command: $HOME/bin/jobmgr-remote --site x
    python: /opt/python3.9/bin/python3
    use_login_shell: yes
    ssh_options: {ServerAliveInterval: 30}
    connect_timeout: 20s
    polling_interval: [1m, 3*5m]
    queued_polling_interval: 10m
    min_polling_interval: 30s
    long_poll: true
    max_active: 4
    max_submit: 100
    retrieve_logs: false
    retrieve_max_size: 1G
    queue: long
    account: 0755
    memory: 4g
    nodes: 2
    directives: {--exclusive: , --mail-type: [END, FAIL]}
    environment: {OMP: 4}
    init_script: module load x
"""


def runner_at(folder):
    (folder / "my").mkdir()
    (folder / "my/slurm.py").write_text("NAME = 'slurm'\n")


def test_every_key_arrives(load, tmp_path):
    runner_at(tmp_path)
    platform = load(FULL).resolve("hpc")
    assert replace(platform, origins={}) == Platform(
        name="hpc",
        hosts=("login1", "ada@login2.example.org"),
        host_selection="random",
        transport="openssh",
        runner="slurm",
        runner_file=str(tmp_path / "my/slurm.py"),
        run_root="$SCRATCH/runs",
        symlinks=(("work", "/scratch/ada"), ("share/cycle", "$SCRATCH/c")),
        remote_command="$HOME/bin/jobmgr-remote --site x",
        python="/opt/python3.9/bin/python3",
        use_login_shell=True,
        ssh_options=("ServerAliveInterval=30",),
        connect_timeout=20,
        polling_interval=(60, 300, 300, 300),
        queued_polling_interval=(600,),
        min_polling_interval=30,
        long_poll=True,
        max_active=4,
        max_submit=100,
        retrieve_logs=False,
        retrieve_max_size=1 << 30,
        resources=(("queue", "long"), ("account", "0755"), ("nodes", "2"), ("memory", "4G")),
        directives=(("--exclusive", None), ("--mail-type", ("END", "FAIL"))),
        environment=(("OMP", "4"),),
        init_script="module load x",
    )
    assert platform.origins["runner"] == f"{tmp_path / 'p1.yaml'}:7"
    assert platform.chosen("runner")


def test_the_defaults_are_the_documented_ones(load):
    platform = load("platforms: {box: }").resolve("box")
    assert replace(platform, origins={}) == Platform("box", ("box",))
    assert (platform.transport, platform.runner, platform.run_root) == (
        "auto",
        "background",
        "$HOME/jobmgr-run",
    )
    assert (platform.polling_interval, platform.min_polling_interval, platform.long_poll) == ((30,), 10, True)
    assert (platform.connect_timeout, platform.retrieve_max_size) == (10, 10 * 1024 * 1024)
    assert not platform.chosen("runner")


def test_defaults_follow_the_runner(load):
    batch = load(
        "platforms: {hpc: {runner: slurm}, mine: {runner: slurm, long_poll: true, polling_interval: 5s}}"
    )
    assert (batch.resolve("hpc").polling_interval, batch.resolve("hpc").long_poll) == ((60,), False)
    assert batch.resolve("hpc").queued_polling_interval == (60,)
    assert (batch.resolve("mine").polling_interval, batch.resolve("mine").long_poll) == ((5,), True)


def test_a_task_with_another_runner_gets_that_runners_defaults(load):
    platform = load("platforms: {hpc: {runner: slurm, polling_interval: 5m}}").resolve("hpc")
    seen = platform.with_runner("background")
    assert (seen.runner, seen.polling_interval, seen.queued_polling_interval) == ("background", (300,), (30,))
    assert seen.long_poll
    assert seen.chosen("runner")


def test_later_files_override_key_by_key(load, tmp_path):
    platforms = load(
        "platforms: {hpc: {runner: slurm, hosts: [a, b], connect_timeout: 5s}, other: {}}",
        "platforms:\n  hpc:\n    hosts: c\n    connect_timeout:\n",
    )
    platform = platforms.resolve("hpc")
    assert (platform.runner, platform.hosts, platform.connect_timeout) == ("slurm", ("c",), 10)
    assert platform.origins == {"runner": f"{tmp_path / 'p1.yaml'}:1", "hosts": f"{tmp_path / 'p2.yaml'}:3"}
    assert platforms.names() == ("hpc", "other", "localhost")


def test_localhost_is_always_there_and_local(load):
    assert replace(load().resolve("localhost"), origins={}) == Platform("localhost", ("localhost",), transport="local")
    configured = load("platforms: {localhost: {max_active: 3}}").resolve("localhost")
    assert (configured.transport, configured.max_active) == ("local", 3)


@pytest.mark.parametrize("name", ["wizard", "ada@box", "box.example.org", "10.0.0.7"])
def test_names_that_ssh_knows_need_no_configuration(load, name):
    platform = load("platforms: {hpc: }").resolve(name)
    assert (platform.hosts, platform.transport) == ((name,), "auto")


def test_other_names_are_errors_with_the_nearest_known_one(load):
    platforms = load("platforms: {hpc: }")
    assert platforms.problem("hpc") is None
    assert platforms.problem("hcp") == "unknown platform 'hcp' (nearest: hpc)"
    assert platforms.problem("wizzard") == "unknown platform 'wizzard' (nearest: wizard)"
    with pytest.raises(PlatformError, match="unknown platform 'zzz' \\(known: hpc, localhost, wizard\\)"):
        platforms.resolve("zzz")


def test_the_ssh_configuration_is_read_only_for_names_that_need_it(tmp_path):
    def never():
        raise AssertionError

    file = tmp_path / "p.yaml"
    file.write_text("platforms: {hpc: }")
    platforms = load_platforms([file], ssh_hosts=never)
    for name in ("hpc", "localhost", "a@b", "x.y"):
        assert platforms.problem(name) is None


def test_groups_give_their_platforms_in_order(load):
    platforms = load(
        "platforms: {a: , b: , c: }\n"
        "groups: {any: {platforms: [c, a, b]}, mix: {platforms: [a, b, c], selection: random}}"
    )
    names = [platform.name for platform in platforms.candidates("any", random.Random(1))]
    assert names == ["c", "a", "b"]
    mixed = {tuple(p.name for p in platforms.candidates("mix", random.Random(seed))) for seed in range(40)}
    assert len(mixed) == 6
    assert [platform.name for platform in platforms.candidates("a", random.Random(1))] == ["a"]
    assert platforms.problem("any") is None
    with pytest.raises(PlatformError, match="is a group"):
        platforms.resolve("any")


def test_definition_order_is_ordered(load):
    platform = load("platforms: {a: {hosts: [x, y], host_selection: definition order}}").resolve("a")
    assert platform.host_selection == "ordered"
    assert ordered(platform.hosts, platform.host_selection, random.Random(1)) == ("x", "y")


def test_show_names_the_origin_of_each_value(load, tmp_path):
    runner_at(tmp_path)
    shown = {row.key: row for row in load(FULL).show("hpc")}
    place = tmp_path / "p1.yaml"
    assert (shown["runner"].value, shown["runner"].origin) == ("slurm", f"{place}:7")
    assert (shown["polling_interval"].value, shown["connect_timeout"].value) == ("1m, 5m, 5m, 5m", "20s")
    assert (shown["retrieve_max_size"].value, shown["retrieve_logs"].value) == ("1G", "false")
    assert (shown["memory"].value, shown["memory"].origin) == ("4G", f"{place}:26")
    assert shown["symlinks"].value == "work=/scratch/ada, share/cycle=$SCRATCH/c"
    bare = {row.key: row for row in load().show("localhost")}
    assert (bare["runner"].value, bare["runner"].origin) == ("background", "default")
    assert (bare["max_active"].value, bare["retrieve_max_size"].value) == ("", "10M")


def test_missing_files_are_passed_over_unless_asked_for(tmp_path):
    gone = tmp_path / "gone.yaml"
    assert load_platforms([gone]).names() == ("localhost",)
    with pytest.raises(PlatformError, match=r"gone\.yaml: cannot be read: No such file"):
        load_platforms([gone], required=gone)


def test_the_standard_files_come_in_order(tmp_path):
    assert [str(file) for file in standard_files(tmp_path, tmp_path / "x.yaml")] == [
        "/etc/jobmgr/platforms.yaml",
        f"{tmp_path}/.config/jobmgr/platforms.yaml",
        f"{tmp_path}/x.yaml",
    ]


@pytest.mark.parametrize("text, complaint", cases("platforms.cases"))
def test_what_is_wrong_is_told_with_file_line_and_key(load, text, complaint):
    (told,) = complaints(load, text)
    assert told.startswith(complaint)


def test_problems_of_all_files_are_told_at_once(load):
    told = complaints(load, "platforms: {a: {x: 1, nodes: two}}", "platforms: {b: {y: 1}}")
    assert [line.split(":")[0] for line in told] == ["p1.yaml", "p1.yaml", "p2.yaml"]

"""What ``ssh -G`` said is used again only while ssh would say the same."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobmgr.errors import ConnectError
from jobmgr.transport import kept_settings
from jobmgr.transport.kept_settings import LIFE, PREFIX, looked_into, read_settings
from jobmgr.transport.ssh_settings import SshOptions

Ask = Callable[[], str]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "more").mkdir()
    path = tmp_path / "config"
    write(path, f"Include {tmp_path}/more/*.conf\nHost w\n  HostName one\n")
    age(tmp_path / "more")
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that ssh was asked about."""
    seen = []
    ask = kept_settings.ask

    def counting(host: str, options: SshOptions) -> object:
        seen.append(host)
        return ask(host, options)

    monkeypatch.setattr(kept_settings, "ask", counting)
    return seen


def age(path: Path) -> None:
    """As if it had not been touched just now (its ctime cannot be set back)."""
    os.utime(path, (time.time() - 60, time.time() - 60))


def write(path: Path, text: str) -> None:
    path.write_text(text)
    age(path)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_settings, "SETTLED", 0.0)


def options(config: Path) -> SshOptions:
    return SshOptions(config_file=str(config), control_dir=str(config.parent / "private"))


def hostname(config: Path, host: str = "w") -> str:
    return read_settings(host, options(config)).hostname


def kept(config: Path) -> list[Path]:
    return sorted((config.parent / "private").glob(f"{PREFIX}*"))


def test_the_second_time_nobody_is_asked(config: Path, asked: list[str]) -> None:
    first = read_settings("w", options(config))
    assert read_settings("w", options(config)) == first == kept_settings.ask("w", options(config))[0]
    assert asked == ["w", "w"]  # the last one is the comparison's
    assert [path.stat().st_mode & 0o777 for path in kept(config)] == [0o600]


@pytest.mark.parametrize(
    "change",
    [
        lambda config: write(config, "Host w\n  HostName two\n"),
        lambda config: write(config.parent / "more/a.conf", "Host w\n  HostName two\n"),
        lambda config: os.replace(new(config, "HostName two\n"), config),
    ],
    ids=["written", "a file that Include finds now", "replaced"],
)
def test_a_changed_configuration_counts_at_once(config: Path, change: Callable[[Path], None]) -> None:
    assert hostname(config) == hostname(config) == "one"
    change(config)
    assert hostname(config) == "two"


def new(config: Path, text: str) -> Path:
    path = config.parent / "new"
    write(path, text)
    return path


def test_a_file_that_was_included_and_has_gone(config: Path) -> None:
    write(config.parent / "more/a.conf", "Host w\n  HostName two\n")
    assert hostname(config) == "two"
    (config.parent / "more/a.conf").unlink()
    assert hostname(config) == "one"


def test_other_hosts_and_options_are_other_questions(config: Path) -> None:
    assert (hostname(config), hostname(config, "v")) == ("one", "v")
    port = SshOptions(("Port=7",), config_file=str(config), control_dir=str(config.parent / "private"))
    assert (read_settings("w", port).port, read_settings("w", options(config)).port) == (7, 22)
    assert len(kept(config)) == 3


@pytest.mark.parametrize(
    "line",
    [
        'Match exec "true"', "Match localnetwork 10.0.0.0/8", "match=final", "CanonicalizeHostname yes",
        "Include /tmp/*/x", "Include ~ada/x", "IdentityAgent ${MINE}", "Include %d/x",
    ],
)  # fmt: skip
def test_what_depends_on_more_than_files_is_asked_each_time(line: str, tmp_path: Path) -> None:
    write(tmp_path / "config", f"Host a\n  Port 7\n{line}\n")
    assert looked_into([str(tmp_path / "config")], str(tmp_path / "config")) is None


def test_a_match_by_name_depends_on_files_alone(config: Path, asked: list[str]) -> None:
    text = "Match !host v originalhost=w user ada\n  Port 3\nMatch all\n  HostName one\nCanonicalizeHostname no\n"
    write(config, text)
    assert hostname(config) == hostname(config) == "one"
    assert asked == ["w"]


def test_the_users_and_the_systems_file_count_before_they_exist() -> None:
    assert looked_into([], None) == [os.path.expanduser("~/.ssh/config"), "/etc/ssh/ssh_config"]


def test_a_file_that_was_changed_just_now_may_change_again(
    config: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_settings, "SETTLED", 60.0)
    assert hostname(config) == hostname(config) == "one"
    assert asked == ["w", "w"]
    assert kept(config) == []


def test_an_answer_has_an_end_and_is_removed(config: Path, asked: list[str]) -> None:
    hostname(config)
    hostname(config, "v")
    for path in kept(config):
        os.utime(path, (time.time() - LIFE - 1,) * 2)
    hostname(config)
    assert asked == ["w", "v", "w"]
    assert len(kept(config)) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"stamps": {}, "settings": {"host": "evil"}}'])
def test_a_spoilt_copy_is_not_used(config: Path, text: str) -> None:
    hostname(config)
    (copy,) = kept(config)
    copy.write_text(text)
    assert hostname(config) == "one"


def test_a_folder_that_others_can_write_to_holds_nothing(config: Path, asked: list[str]) -> None:
    (config.parent / "private").mkdir(mode=0o755)
    (config.parent / "private").chmod(0o755)
    assert hostname(config) == hostname(config) == "one"
    assert asked == ["w", "w"]
    assert kept(config) == []


def test_a_refused_configuration_is_told_in_sshs_words_alone(config: Path) -> None:
    write(config, "Port many\n")
    with pytest.raises(ConnectError) as raised:
        hostname(config)
    assert "Bad" in str(raised.value)
    assert "debug1" not in str(raised.value)
    assert "OpenSSH" not in str(raised.value)

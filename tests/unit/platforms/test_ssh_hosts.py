from __future__ import annotations

from jobmgr.platforms.ssh_hosts import literal_hosts, ssh_config_files


def write(home, name, text):
    file = home / ".ssh" / name
    file.parent.mkdir(exist_ok=True)
    file.parent.chmod(0o700)
    file.parent.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_literal_names_count_and_patterns_do_not(tmp_path):
    config = write(
        tmp_path,
        "config",
        "Host wizard hpc *.example.org !secret\n  HostName 10.0.0.1\nHOST = other # Host not-this\n"
        '\thost "quoted" q?\n'
        "HostName nothost\nMatch host matched\n# Host commented\n",
    )
    assert literal_hosts([config], tmp_path) == {"wizard", "hpc", "other", "quoted"}


def test_includes_are_followed_with_globs_home_and_conditions(tmp_path):
    config = write(tmp_path, "config", "Host a\n  Include conf.d/*.conf ~/extra\nInclude missing\nHost z\n")
    (tmp_path / ".ssh/conf.d").mkdir()
    write(tmp_path, "conf.d/1.conf", "Host b\n")
    write(tmp_path, "conf.d/2.conf", "Host c\nInclude deeper\n")
    write(tmp_path, "deeper", "Host d\n")
    (tmp_path / "extra").write_text("Host e\n")
    assert literal_hosts([config], tmp_path) == {"a", "b", "c", "d", "e", "z"}


def test_a_file_that_includes_itself_ends(tmp_path):
    config = write(tmp_path, "config", "Host a\nInclude config\n")
    assert literal_hosts([config], tmp_path) == {"a"}


def test_missing_files_and_open_quotes_are_no_errors(tmp_path):
    config = write(tmp_path, "config", 'Host "a b\nHost c\n')
    assert "c" in literal_hosts([config, tmp_path / "gone"], tmp_path)


def test_the_files_of_a_user_are_those_of_openssh(tmp_path):
    assert [str(file) for file in ssh_config_files(tmp_path)] == [
        f"{tmp_path}/.ssh/config",
        "/etc/ssh/ssh_config",
    ]

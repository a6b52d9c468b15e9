"""Deleting a run at home."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobmgr.errors import RefusedError
from jobmgr.service.tidy import clean_local


def test_a_run_directory_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    link = tmp_path / "run"
    link.symlink_to("elsewhere")
    with pytest.raises(RefusedError, match="a symbolic link that jobmgr did not make"):
        clean_local(link)
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_links_in_a_run_directory_go_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    (tmp_path / "run" / "work").mkdir(parents=True)
    (tmp_path / "run" / "work" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "run" / "work" / "file").symlink_to(tmp_path / "elsewhere" / "precious")
    clean_local(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "precious").exists()

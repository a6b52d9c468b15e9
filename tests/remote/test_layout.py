from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import layout

TOKEN = "3b0ae0f6-2f0e-4ab9-8f0a-0d0f3c1c2b3a"


@pytest.mark.parametrize(
    "text", ["1", "20261120T0000Z", "sim_m007", "a.b", "a+b@c%d-e", "A" * layout.MAX_PART]
)
def test_parts(text: str) -> None:
    assert layout.is_part(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "-a",
        "_a",
        "a/b",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "a:b",
        "$a",
        "`a`",
        "A" * (layout.MAX_PART + 1),
        None,
        1,
        b"a",
    ],
)
def test_what_is_no_part(text: object) -> None:
    assert not layout.is_part(text)


def test_tokens() -> None:
    assert layout.is_token(TOKEN)
    for text in (TOKEN.upper(), TOKEN + "\n", TOKEN[:-1], "", None, TOKEN.replace("-", "")):
        assert not layout.is_token(text)


def test_job_ids() -> None:
    assert layout.split_job_id("1/sim/01") == ("1", "sim", "01")


@pytest.mark.parametrize(
    "job",
    [
        "",
        "1/sim",
        "1/sim/1",
        "1/sim/01/x",
        "../sim/01",
        "1/../01",
        "1/sim/xx",
        "/1/sim/01",
        "1/sim/01\n",
        None,
        7,
    ],
)
def test_what_is_no_job_id(job: object) -> None:
    with pytest.raises(ValueError):
        layout.split_job_id(job)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", "/a", "..", "a/../b", "../a", "a/..", "a\0b", "a\nb"])
def test_paths_that_lead_out(path: str) -> None:
    with pytest.raises(ValueError):
        layout.check_relative(path)


@given(st.text(max_size=30))
def test_a_checked_path_stays_below(path: str) -> None:
    try:
        layout.check_relative(path)
    except ValueError:
        return
    assert (os.path.normpath("/run/dir/" + path) + "/").startswith("/run/dir/")


def test_the_tree() -> None:
    assert layout.job_dir("1/sim/01") == "log/job/1/sim/01"
    assert layout.job_file("1/sim/01", layout.STATUS_FILE) == "log/job/1/sim/01/job.status"
    assert layout.token_dir(TOKEN) == ".service/jobs/" + TOKEN
    assert layout.default_work_dir("1", "sim") == "work/1/sim"

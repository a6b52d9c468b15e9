"""Records for the tests of the views: the fields of the library's own, made by hand."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from jobmgr.core.states import State


class Row(Struct, frozen=True):
    id: str
    state: State
    detail: str = ""
    doubt: str = ""
    since: float | None = None
    platform: str = "wizard"
    host: str = "wizard"
    native_id: str = ""
    exit_code: int | None = None
    submit_time: float | None = None
    start_time: float | None = None
    exit_time: float | None = None
    runner: str = "background"

    @property
    def cycle(self) -> str:
        return self.id.split("/")[0]

    @property
    def task(self) -> str:
        return self.id.split("/")[1]


class Overview(Struct, frozen=True):
    name: str = "sweep"
    counts: Mapping[State, int] = field(default_factory=dict)
    doubts: int = 0
    as_of: float | None = None
    held: bool = False
    finished: float | None = None
    waiting: tuple[tuple[str, str], ...] = ()


class WhyLine(Struct, frozen=True):
    time: float | None
    source: str
    text: str


class Why(Struct, frozen=True):
    job: Row
    lines: tuple[WhyLine, ...]
    rule: str
    next: str = ""

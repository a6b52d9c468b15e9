"""How a log is shown: whole, followed, listed, or as a path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK
from jobmgr.views import progress, table, text, times

if TYPE_CHECKING:
    from jobmgr.api import Run


def show(asked: Run, job: str, name: str, mode: str, tail: int | None, context: Context) -> int:
    """Print one log; ``mode`` is cat, follow, list or path."""
    if mode == "list":
        _list(asked, job, context)
    elif mode == "path":
        path = asked.log_path(job, name)
        context.record("log-path", run=asked.name, job=job, name=name, path=path)
        context.show(text.one_line(path) if context.out_terminal else path)
    elif mode == "follow" or tail is not None:
        _stream(asked.log_stream(job, name, mode == "follow", tail), asked.name, job, name, context)
    else:
        _stream(iter([asked.log(job, name)]), asked.name, job, name, context)
    return EXIT_OK


def _stream(chunks: Iterator[bytes], run: str, job: str, name: str, context: Context) -> None:
    escaper = text.Escaper()
    for chunk in chunks:
        if context.json:
            data = chunk.decode("utf-8", "backslashreplace")
            context.record("log", run=run, job=job, name=name, text=data)
        elif context.out_terminal:
            context.write(escaper.feed(chunk))
        else:
            context.write_bytes(chunk)
    if context.out_terminal and not context.json:
        context.write(escaper.end())


def _list(asked: Run, job: str, context: Context) -> None:
    found = asked.log_list(job)
    for one in found:
        context.record(
            "log-file",
            run=asked.name,
            job=job,
            name=one.name,
            size=one.size,
            time=times.utc(one.time),
            where=one.where,
        )
    now = context.now()
    lines = [(one.name, progress.size(one.size), times.clock(one.time, now), one.where) for one in found]
    context.show(*table.table(("NAME", "SIZE", "CHANGED", "WHERE"), lines, context.width))

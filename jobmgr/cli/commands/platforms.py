"""``jobmgr platforms``: which there are, and where each of their settings comes from."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from jobmgr.cli import complete
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK, UsageError
from jobmgr.views import table, text

EPILOG = """\
examples:
  jobmgr platforms list
  jobmgr platforms show hpc     each setting with its file and line, and which transport is used and why

Nothing is connected.
"""
_HIDDEN = frozenset({"name", "origins"})


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("what", choices=("list", "show"), help="all names, or one platform's settings")
    name = parser.add_argument("name", metavar="NAME", nargs="?", help="the platform to show")
    complete.attach(name, complete.platforms)


def run(args: argparse.Namespace, context: Context) -> int:
    if args.what == "list" and args.name is not None:
        raise UsageError("platforms list takes no name (platforms show does)")
    if args.what == "show" and args.name is None:
        raise UsageError("platforms show wants a NAME")
    with context.session() as session:
        if args.what == "show":
            return _show(session.platform(args.name), session.transport_choice(args.name), context)
        lines = []
        for name in session.platform_names():
            platform = session.platform(name)
            context.record("platform", name=name, hosts=list(platform.hosts), runner=platform.runner)
            hosts = ", ".join(platform.hosts)
            lines.append((name, platform.transport, platform.runner or "background", hosts))
    context.show(*table.table(("NAME", "TRANSPORT", "RUNNER", "HOSTS"), lines, context.width))
    return EXIT_OK


def _show(platform: Any, choices: list[tuple[str, str, str]], context: Context) -> int:
    origins: Mapping[str, object] = platform.origins
    values = {
        field.name: getattr(platform, field.name) for field in fields(platform) if field.name not in _HIDDEN
    }
    context.record(
        "platform",
        name=platform.name,
        settings={
            name: {"value": value, "origin": str(origins.get(name, "default"))}
            for name, value in values.items()
        },
        transports=[{"host": host, "transport": kind, "why": why} for host, kind, why in choices],
    )
    lines = [
        (name, shown(value), text.one_line(str(origins.get(name, "default"))))
        for name, value in values.items()
    ]
    context.show(platform.name, *table.table(("KEY", "VALUE", "ORIGIN"), lines, 0))
    context.show(*(f"{host}: transport {kind} ({text.one_line(why)})" for host, kind, why in choices))
    return EXIT_OK


def shown(value: object) -> str:
    """A setting on one line."""
    if value is None or value == "" or value == () or value == {}:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items())
    if isinstance(value, tuple) and all(isinstance(item, tuple) and len(item) == 2 for item in value):
        return ", ".join(f"{name}={shown(item)}" for name, item in value)
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value)
    return text.one_line(str(value))

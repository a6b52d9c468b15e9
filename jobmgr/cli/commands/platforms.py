"""``jobmgr platforms``: which there are, and where each of their settings comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jobmgr.cli import complete
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK, PlatformError, UsageError
from jobmgr.views import table, text

if TYPE_CHECKING:
    from jobmgr.api import Session

EPILOG = """\
examples:
  jobmgr platforms list
  jobmgr platforms show hpc     each setting with its file and line, and which transport is used and why

Nothing is connected.
"""
COLUMNS = ("transport", "runner", "hosts")


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
            _show(args.name, session, context)
        else:
            _list(session, context)
    return EXIT_OK


def _list(session: Session, context: Context) -> None:
    lines = []
    for name in session.platform_names():
        try:
            settings = {one.key: one.value for one in session.platform_show(name)}
        except PlatformError:  # a group has no settings of its own
            settings = {"hosts": "(group)"}
        context.record("platform", name=name, settings=settings)
        lines.append((name, *(text.one_line(settings.get(key, "")) for key in COLUMNS)))
    context.show(*table.table(("NAME", *(key.upper() for key in COLUMNS)), lines, context.width))


def _show(name: str, session: Session, context: Context) -> None:
    settings = session.platform_show(name)
    choices = session.transport_choice(name)
    context.record(
        "platform",
        name=name,
        settings={one.key: one.value for one in settings},
        origins={one.key: one.origin for one in settings},
        transports=[{"host": host, "transport": kind, "why": why} for host, kind, why in choices],
    )
    context.show(
        *table.table(("KEY", "VALUE", "ORIGIN"), [(one.key, one.value, one.origin) for one in settings], 0)
    )
    context.show(*(f"{host}: transport {kind} ({text.one_line(why)})" for host, kind, why in choices))

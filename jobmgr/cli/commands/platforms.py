"""``jobmgr platforms``: which there are, where each of their settings comes from, and whether they work."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jobmgr.cli import arguments, complete
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK, PlatformError, UsageError
from jobmgr.views import platform_check, table, text

if TYPE_CHECKING:
    from jobmgr.api import Session

EPILOG = """\
examples:
  jobmgr platforms list
  jobmgr platforms show hpc     each setting with its file and line, and which transport is used and why
  jobmgr platforms check hpc    try all that jobmgr needs there; says what to do, ends with the YAML to write
  jobmgr platforms authorized-key hpc [--poll-only]
                                the line for authorized_keys that binds your key to jobmgr's own commands

Only check connects. It leaves nothing on the hosts but the host side of jobmgr.
"""
COLUMNS = ("transport", "runner", "hosts")
NAMELESS, KEY_LINE = "list", "authorized-key"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.choice(
        parser,
        "what",
        (NAMELESS, "show", "check", KEY_LINE),
        "all names; one platform's settings; whether it works; a restricted key",
    )
    name = parser.add_argument("name", metavar="NAME", nargs="?", help="the platform")
    complete.attach(name, complete.platforms)
    key = parser.add_argument_group("authorized-key")
    key.add_argument("--poll-only", action="store_true", help="the key may look and fetch, and change nothing")
    key.add_argument(
        "--allow-install", action="store_true", help="the key may bring newer versions of the host side along"
    )
    key.add_argument("--key", metavar="FILE", help="the key; default: the first that ssh would offer")


def run(args: argparse.Namespace, context: Context) -> int:
    if args.what == NAMELESS and args.name is not None:
        raise UsageError("platforms list takes no name (platforms show does)")
    if args.what != NAMELESS and args.name is None:
        raise UsageError(f"platforms {args.what} wants a NAME")
    if args.what != KEY_LINE and (args.poll_only or args.allow_install or args.key):
        raise UsageError("--poll-only, --allow-install and --key belong to platforms authorized-key")
    with context.session() as session:
        if args.what == "check":
            return _check(args.name, session, context)
        if args.what == "show":
            _show(args.name, session, context)
        elif args.what == KEY_LINE:
            _authorized_key(args, session, context)
        else:
            _list(session, context)
    return EXIT_OK


def _check(name: str, session: Session, context: Context) -> int:
    report = session.platform_check(name)
    for one in report.findings:
        context.record(
            "finding",
            platform=name,
            host=one.host,
            topic=one.topic,
            level=one.level.value,
            text=one.text,
            advice=one.advice,
            seconds=one.seconds,
        )
    context.record("platform-check", platform=name, exit=report.exit_code, stanza=report.stanza)
    context.show(*platform_check.lines(report, colored=context.colored))
    return report.exit_code


def _authorized_key(args: argparse.Namespace, session: Session, context: Context) -> None:
    key = session.authorized_key(
        args.name, poll_only=args.poll_only, allow_install=args.allow_install, key=args.key
    )
    context.record("authorized-key", platform=args.name, line=key.line, key=key.source)
    context.show(key.line)
    context.note(
        f"the key of {key.source}; append the line to ~/.ssh/authorized_keys on the hosts of {args.name}, "
        "and remove other lines of this key there: the first one counts",
        "it starts the host side that is there: jobmgr platforms check installs it, before the key is bound",
        *([f"ssh would also offer {', '.join(key.others)} (--key FILE takes another)"] if key.others else []),
    )


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

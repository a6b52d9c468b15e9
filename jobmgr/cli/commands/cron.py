"""``jobmgr cron``: the crontab line that turns the loop while nobody is logged in."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from jobmgr.cli import arguments, crontab
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK

EPILOG = """\
examples:
  jobmgr cron install                every 5 minutes, for this run root
  jobmgr cron install --every 15
  jobmgr cron show

The line calls "jobmgr tick --all"; its output goes to ~/.jobmgr/cron.log, which is kept below 1 MB. Other
lines of the crontab are never touched.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.choice(parser, "what", ("install", "show", "remove"), "what to do with the line")
    parser.add_argument(
        "--every",
        metavar="MINUTES",
        type=_minutes,
        default=5,
        help="1 to 59 minutes between ticks (default 5)",
    )


def _minutes(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= 59:
        raise argparse.ArgumentTypeError(f"expected a number of minutes from 1 to 59, found {word!r}")
    return int(word)


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        root = str(Path(session.run_root).absolute())
    table = crontab.read()
    mark = crontab.mark(root)
    present = crontab.find(table, mark)
    if args.what == "install":
        line = crontab.line(args.every, _command(context, root), mark)
        crontab.write(crontab.with_line(table, mark, line))
        _told("installed", root, line, context)
        _warn(context)
    elif args.what == "remove":
        if present is not None:
            crontab.write(crontab.with_line(table, mark, None))
        _told("removed" if present is not None else "there was no line", root, present, context)
    else:
        _told("installed" if present is not None else "not installed", root, present, context)
    return EXIT_OK


def _told(what: str, root: str, line: str | None, context: Context) -> None:
    context.record("cron", what=what, run_root=root, line=line)
    if context.options.quiet:
        return
    context.show(f"{what} (run root {root})")
    if line is not None:
        context.show(line)


def _command(context: Context, root: str) -> list[str]:
    """argv of the tick, with absolute paths only: cron has another folder and another environment."""
    words = [*crontab.program(), "--run-root", root]
    if context.options.platforms:
        words += ["--platforms", str(Path(context.options.platforms).expanduser().absolute())]
    if context.options.ssh_config:
        words += ["--ssh-config", str(Path(context.options.ssh_config).expanduser().absolute())]
    return [*words, "tick", "--all", "--log", str(Path("~/.jobmgr/cron.log").expanduser())]


def _warn(context: Context) -> None:
    """cron has no ssh agent: say so where the keys seem to live in one."""
    if "SSH_AUTH_SOCK" not in context.environ or shutil.which("ssh-add") is None:
        return
    listed = subprocess.run(
        ["ssh-add", "-l"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=10,
        env=dict(os.environ),
    )
    if listed.returncode == 0:
        context.complain(
            "warning: your ssh agent holds keys, and cron has no agent. A host that needs one of them",
            "gives no answer then: use a key without a passphrase, or jobmgr login (cron shares it).",
        )

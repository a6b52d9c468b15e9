"""``jobmgr demo``: the worked example on a private host of this machine."""

from __future__ import annotations

import argparse
import signal
from types import FrameType
from typing import TYPE_CHECKING

from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from jobmgr.cli.demo_stage import Stage

EPILOG = """\
Starts a private, unprivileged sshd on the loopback interface as the host "wizard", with throw-away keys and a
home of its own, and plays suites/suitex on it: a local task reads a log on the host, polls the remote jobs,
kills them and removes them. Then it shows the table, the logs that came home and both directory trees.

It takes half a minute, needs sshd and rsync, and leaves nothing behind, also after Ctrl-C.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG


def run(args: argparse.Namespace, context: Context) -> int:
    from jobmgr.cli.demo_stage import Stage

    previous = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with Stage(context) as stage:
            return _perform(stage)
    except KeyboardInterrupt:
        context.note("demo stopped; nothing of it is left")
        return EXIT_INTERRUPTED
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does, with everything tidied up."""
    raise KeyboardInterrupt


def _perform(stage: Stage) -> int:
    stage.say(
        "A private sshd is the host wizard now; it has never seen jobmgr.",
        f"Its home: {stage.host_home}",
        "",
    )
    code = stage.jobmgr("play", str(stage.suite))
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    stage.jobmgr("status", "suitex")
    stage.say("What the task master did, by its own log, brought here:")
    stage.jobmgr("log", "suitex", "1/master")
    stage.jobmgr("log", "suitex", "1/master", "err")
    stage.say("What became of a remote job, by the log that its host kept:")
    stage.jobmgr("log", "suitex", "1/remote-a", "status")
    stage.jobmgr("why", "suitex", "1/remote-a")
    stage.tree("here", stage.run_root / "suitex")
    stage.tree("on wizard", stage.host_home / "jobmgr-run" / "suitex")
    return code

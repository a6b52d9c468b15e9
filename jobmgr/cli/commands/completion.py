"""``jobmgr completion``: the code that completes words in a shell."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK

EPILOG = """\
examples:
  bash    eval "$(jobmgr completion bash)"             in ~/.bashrc
  zsh     eval "$(jobmgr completion zsh)"              in ~/.zshrc, behind compinit
  fish    jobmgr completion fish | source              in ~/.config/fish/config.fish
  tcsh    jobmgr completion tcsh > ~/.jobmgr.tcsh      and: source ~/.jobmgr.tcsh in ~/.tcshrc

Completed are verbs, options, runs, platforms, files, job IDs and :STATEs.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.choice(parser, "shell", ("bash", "zsh", "fish", "tcsh"), "your shell")


def run(args: argparse.Namespace, context: Context) -> int:
    from argcomplete.shell_integration import shellcode

    context.write(shellcode(["jobmgr"], shell=args.shell).rstrip("\n") + "\n")
    return EXIT_OK

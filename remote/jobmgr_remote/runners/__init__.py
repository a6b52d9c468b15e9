"""The runners that this host side has, by name. base.py is the contract that each fulfils."""

import sys

#: Names as in ``runner: slurm``.
BUILT_IN = ("background", "at", "slurm", "pbs", "sge", "lsf", "loadleveler", "moab")
BACKGROUND = "background"
#: A host that has one of these has a batch system: what nobody chose a runner for would run on a login node.
BATCH_COMMANDS = ("sbatch", "qsub", "bsub")
#: What a module must have to be a runner (base.py says what each is).
CONTRACT = (
    "NAME",
    "VERSION_ARGV",
    "CARRIER",
    "SHARED_STATUS",
    "VACATION_SIGNALS",
    "ID_VARIABLE",
    "INDEX_VARIABLE",
    "TIMEOUT",
    "MAX_IDS",
    "directives",
    "submit_call",
    "parse_submit",
    "poll_calls",
    "history_calls",
    "parse_poll",
    "kill_calls",
    "parse_kill",
    "find_call",
    "parse_find",
)

_added = {}  # type: dict[str, object]


class UnknownRunner(ValueError):
    """No runner of that name; the text names the known ones."""


def get(name: str) -> object:
    """The module of a runner. Raises UnknownRunner."""
    if name in _added:
        return _added[name]
    if name not in BUILT_IN:
        raise UnknownRunner("unknown runner %r (known: %s)" % (name, ", ".join(BUILT_IN + tuple(_added))))
    return __import__("jobmgr_remote.runners." + name, fromlist=["NAME"])


def add(sources: "dict[str, str]") -> None:
    """Take runners that came with a request: name -> source text. Raises ValueError for what is no runner."""
    for name, source in sources.items():
        if name == BACKGROUND or not isinstance(source, str):
            raise ValueError("a runner cannot be named %r" % (name,))
        module = type(sys)("jobmgr_runner_" + name)
        try:
            exec(compile(source, "<runner %s>" % name, "exec"), module.__dict__)
        except Exception as error:
            raise ValueError("runner %s: %s: %s" % (name, type(error).__name__, error))
        missing = [part for part in CONTRACT if not hasattr(module, part)]
        if missing:
            raise ValueError("runner %s has no %s" % (name, ", ".join(missing)))
        _added[name] = module


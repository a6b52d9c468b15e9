"""The runners that this host side has, by name. base.py is the contract that each fulfils."""

#: Names as in ``runner: slurm``.
BUILT_IN = ("background", "at", "slurm", "pbs", "sge", "lsf", "loadleveler", "moab")
BACKGROUND = "background"
#: A host that has one of these has a batch system: what nobody chose a runner for would run on a login node.
BATCH_COMMANDS = ("sbatch", "qsub", "bsub")


class UnknownRunner(ValueError):
    """No runner of that name; the text names the known ones."""


def get(name: str) -> object:
    """The module of a runner. Raises UnknownRunner."""
    if name not in BUILT_IN:
        raise UnknownRunner("unknown runner %r (known: %s)" % (name, ", ".join(BUILT_IN)))
    return __import__("jobmgr_remote.runners." + name, fromlist=["NAME"])

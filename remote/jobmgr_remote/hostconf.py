"""``/etc/jobmgr/host.conf``: what the site that runs this machine demands of jobmgr, whoever uses it.

Lines ``key = value``; ``#`` begins a comment, ``[section]`` lines are allowed and mean nothing::

    min_polling_interval = 60     # seconds between two looks of a long poll; also 90s, 5m, 1h
    max_wait = 10m                # the longest time that one call may wait
    deny_runners = background, at # jobs of these are refused
    syslog = yes                  # say in the system log who did what

The file is the administrator's, so there is no variable and no option by which a user could choose another.
"""

from jobmgr_remote.records import namedtuple

PATH = "/etc/jobmgr/host.conf"

#: ``min_polling_interval`` and ``max_wait`` in seconds (None: no limit), ``deny_runners`` a tuple of names,
#: ``syslog`` a bool.
HostConf = namedtuple("HostConf", "min_polling_interval max_wait deny_runners syslog")
DEFAULT = HostConf(0.0, None, (), False)

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)\Z"
_BOOLEANS = {
    "yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False,
}


class Malformed(ValueError):
    """A line of the file does not say what it must; the text names file, line and key."""


def load(path: str = PATH) -> HostConf:
    """What the file says; the defaults if there is none. Raises Malformed, and OSError if it cannot be read.

    A file that cannot be understood stops the caller: a policy with a typing error is still a policy.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return parse(stream.read(), path)
    except (FileNotFoundError, NotADirectoryError):
        return DEFAULT


def parse(text: str, path: str = PATH) -> HostConf:
    """The same from the file's text."""
    found = {}
    for number, row in enumerate(text.splitlines(), 1):
        row = row.partition("#")[0].strip()
        if not row or (row.startswith("[") and row.endswith("]")):
            continue
        key, equals, value = row.partition("=")
        key = key.strip()
        if not equals or key not in _READERS:
            raise Malformed("%s:%d: not KEY = VALUE with a known key (%s): %s" % (
                path, number, ", ".join(sorted(_READERS)), row[:100],
            ))
        try:
            found[key] = _READERS[key](value.strip())
        except ValueError as error:
            raise Malformed("%s:%d: %s: %s" % (path, number, key, error))
    return DEFAULT._replace(**found)


def _duration(text: str) -> float:
    import re

    match = re.match(_DURATION, text)
    if not match:
        raise ValueError("not a duration (90, 90s, 5m, 1h): %r" % text)
    return float(match.group(1)) * _UNITS[match.group(2)]


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("neither yes nor no: %r" % text)
    return _BOOLEANS[text.lower()]


def _names(text: str) -> "tuple[str, ...]":
    return tuple(text.replace(",", " ").split())


_READERS = {
    "min_polling_interval": _duration, "max_wait": _duration, "deny_runners": _names, "syslog": _boolean,
}

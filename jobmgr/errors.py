"""Every error class of jobmgr and its exit code. Imports nothing of ours.

An error says whose fault it is and what to do next. The command line prints ``str(error)`` on one line
(several for :class:`ConfigError`) and ends with ``error.exit_code``; the table of exit codes is in
docs/cli.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

EXIT_OK = 0
EXIT_JOB_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3
EXIT_NOT_FOUND = 4
EXIT_NO_ANSWER = 5
EXIT_PERSON = 6
EXIT_REFUSED = 7
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_WAIT_TIME_LIMIT = 124
EXIT_WAIT_CANNOT_TELL = 125


class JobmgrError(Exception):
    """Base of all errors that a user or a caller of the library is expected to meet."""

    exit_code: int = EXIT_JOB_FAILED


class UsageError(JobmgrError):
    """The call itself is wrong: an option, an argument, a combination of them."""

    exit_code = EXIT_USAGE


class Problem(NamedTuple):
    """One thing that is wrong in a file: ``suite.yaml:4: tasks.sim: unknown key ...``.

    ``line`` counts from 1; 0 means that the problem belongs to the file as a whole.
    """

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class ConfigError(JobmgrError):
    """A suite or platform file is wrong; ``problems`` holds all that was found, in file order."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SuiteError(ConfigError):
    """A suite file is wrong."""


class PlatformError(ConfigError):
    """A platform file is wrong, or a platform name is not known."""


class NotFoundError(JobmgrError):
    """No such run, or an ID that matches nothing."""

    exit_code = EXIT_NOT_FOUND


class RefusedError(JobmgrError):
    """jobmgr or a host declines on purpose: active jobs, site policy, a run that was taken over."""

    exit_code = EXIT_REFUSED


class StoreError(JobmgrError):
    """The store cannot be used: a file system without locking, a newer schema, a damaged file."""

    exit_code = EXIT_REFUSED


class WaitTimeout(JobmgrError):
    """A wait of the library or of ``jobmgr wait`` ended before the jobs did; the jobs go on."""

    exit_code = EXIT_WAIT_TIME_LIMIT


class TransportError(JobmgrError):
    """A host could not be asked. No state of any job may change because of one."""

    exit_code = EXIT_NO_ANSWER


class ConnectError(TransportError):
    """No connection: name not resolved, refused, no route. The request was certainly not sent."""


class ConnectTimeout(ConnectError):
    """No connection in time. The request was certainly not sent."""


class AuthenticationError(ConnectError):
    """The host refused the login, or wants a person to type. Never repeated by itself."""

    exit_code = EXIT_PERSON


class HostKeyError(ConnectError):
    """The host key is unknown, has changed, or is revoked. Never repeated by itself."""

    exit_code = EXIT_PERSON


class UnsupportedError(ConnectError):
    """This transport cannot do what the ssh configuration of the host asks for; names what can."""

    exit_code = EXIT_PERSON


class IdleTimeout(TransportError):
    """Connected, then silence for too long. The request may have arrived."""


class ConnectionLost(TransportError):
    """The connection ended before the remote command did. The request may have arrived."""


class RemoteError(TransportError):
    """The host answered, but not with what was asked for (no Python, a broken reply, exit code)."""


class RsyncError(TransportError):
    """rsync failed; the text has its exit code and the end of its stderr, ``argv`` the command."""

    def __init__(self, text: str, argv: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.argv = tuple(argv)

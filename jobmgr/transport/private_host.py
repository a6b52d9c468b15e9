"""A host that lives as long as somebody holds its stdin: ``python -m jobmgr.transport.private_host``.

It makes a folder of its own for everything, starts a private sshd there as the host ``wizard``, and says on
stdout, in one JSON line, where things are: ``directory``, ``home`` (for the controller's side),
``host_home``, ``ssh_config``. When stdin ends, also because who held it was killed, it ends every
process that lives in the folder and removes it. Signals do not end it; letting go of its stdin does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time

from jobmgr.errors import JobmgrError
from jobmgr.transport.private_sshd import PrivateSshd, end_processes, start_time

NAME = "wizard"
ATTEMPTS = 50
PAUSE = 0.1


def main() -> int:
    """Serve until stdin ends. Returns 0, or the code of the error (on stderr) why there can be no host."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which sshd and its jobs would inherit
    # Short: a path of a socket has at most 107 bytes.
    directory = os.path.realpath(tempfile.mkdtemp(prefix="jobmgr-demo-"))
    try:
        home = os.path.join(directory, "home")
        os.mkdir(home, 0o700)
        with PrivateSshd(os.path.join(directory, "sshd"), os.path.join(directory, NAME), NAME) as sshd:
            places = {
                "directory": directory,
                "home": home,
                "host_home": sshd.home,
                "ssh_config": sshd.ssh_config_path,
            }
            sys.stdout.write(json.dumps(places) + "\n")
            sys.stdout.flush()
            while sys.stdin.buffer.read(4096):
                pass
            end_inhabitants(directory)
    except JobmgrError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    finally:
        remove(directory)
    return 0


def end_inhabitants(directory: str) -> None:
    """SIGKILL to every process whose HOME or working directory is inside the folder, until there is none."""
    for _ in range(ATTEMPTS):
        found = inhabitants(directory)
        if not found:
            return
        end_processes(found)


def inhabitants(directory: str) -> dict[int, str]:
    """pid -> start time of the processes that live in the folder, this one left out."""
    inside = directory + os.sep
    marker = f"HOME={inside}".encode()
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as file:
                lives_here = any(entry.startswith(marker) for entry in file.read().split(b"\0"))
            if lives_here or f"{os.readlink(f'/proc/{name}/cwd')}{os.sep}".startswith(inside):
                start = start_time(int(name))
                if start:
                    found[int(name)] = start
    return found


def remove(directory: str) -> None:
    """Delete the folder; again, if a process that just ended still made a file in it."""
    for _ in range(ATTEMPTS):
        end_inhabitants(directory)
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.lexists(directory):
            return
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main())

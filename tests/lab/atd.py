"""A lab host with atd."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .hosts import BATCH_COMMANDS, Lab, wait_until

_PREPARE = """
rm -f /etc/at.allow
cd /var/spool/cron
mkdir -p atjobs atspool
touch atjobs/.SEQ
chown daemon: atjobs atspool atjobs/.SEQ
chmod 1770 atjobs atspool
chmod 600 atjobs/.SEQ
"""


class AtHost:
    """``head`` is the host; ``nodes`` holds just it."""

    def __init__(self, lab: Lab, name: str = "atbox") -> None:
        hidden = [command for command in BATCH_COMMANDS if not command.startswith("at")]
        self.head = lab.host(name, hide=hidden)
        self.nodes = [self.head]
        self.head.at_boot(self._boot)

    def _boot(self) -> None:
        self.head.run(["sh", "-c", _PREPARE], user=None)
        self.start_queue()

    def start_queue(self) -> None:
        """Start atd."""
        self.head.daemon(["/usr/sbin/atd"])
        wait_until(lambda: self.head.processes("atd"), "atd runs")

    def stop_queue(self) -> None:
        """There is no atd; at takes jobs all the same."""
        pid = self.head.run(["cat", "/run/atd.pid"], user=None).stdout.strip()
        # Its children, of the same name, look after running jobs.
        self.head.run(["kill", pid], user=None)
        wait_until(lambda: int(pid) not in self.head.processes("atd"), "atd has ended")

    @contextlib.contextmanager
    def queue_stopped(self) -> Iterator[None]:
        """As long as this lasts, there is no atd."""
        self.stop_queue()
        try:
            yield
        finally:
            self.start_queue()

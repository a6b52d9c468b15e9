"""A Grid Engine of one lab host: master and execution daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .hosts import Host, Lab, wait_until

_QUEUE = """\
qname                 all.q
hostlist              @allhosts
seq_no                0
load_thresholds       NONE
suspend_thresholds    NONE
nsuspend              1
suspend_interval      00:05:00
priority              0
min_cpu_interval      00:05:00
processors            UNDEFINED
qtype                 BATCH INTERACTIVE
ckpt_list             NONE
pe_list               smp
rerun                 FALSE
slots                 64
tmpdir                /tmp
shell                 /bin/sh
prolog                NONE
epilog                NONE
shell_start_mode      posix_compliant
starter_method        NONE
suspend_method        NONE
resume_method         NONE
terminate_method      NONE
notify                00:00:60
owner_list            NONE
user_lists            NONE
xuser_lists           NONE
subordinate_list      NONE
complex_values        NONE
projects              NONE
xprojects             NONE
calendar              NONE
initial_state         default
s_rt                  INFINITY
h_rt                  INFINITY
s_cpu                 INFINITY
h_cpu                 INFINITY
s_fsize               INFINITY
h_fsize               INFINITY
s_data                INFINITY
h_data                INFINITY
s_stack               INFINITY
h_stack               INFINITY
s_core                INFINITY
h_core                INFINITY
s_rss                 INFINITY
h_rss                 INFINITY
s_vmem                INFINITY
h_vmem                INFINITY
"""
_PE = """\
pe_name            smp
slots              999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $pe_slots
control_slaves     FALSE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
"""
_GROUP = "group_name @allhosts\nhostlist {name}\n"
_PREPARE = """
cd /var/spool/gridengine
mkdir -p spooldb qmaster/job_scripts execd
chown -R sgeadmin: /var/lib/gridengine /var/spool/gridengine
"""
_SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
_GLOBAL = {
    "reporting_params": (
        "accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00 "
        "accounting_flush_time=00:00:00"
    ),
    "load_report_time": "00:00:02",
    "min_uid": "0",
    "min_gid": "0",
}
_MASTER_PORT = 6444


class GridEngine:
    """``head`` is the one host of it; ``nodes`` holds just it."""

    def __init__(self, lab: Lab, name: str = "grid") -> None:
        self.head = lab.host(name, prepare=self._prepare, hide=("sbatch", "squeue", "scancel", "sacct"))
        self._made = False
        self.nodes = [self.head]
        self.head.at_boot(self._boot)
        wait_until(self._ready, "Grid Engine's queue takes jobs")

    def _prepare(self, host: Host) -> None:
        root = host.state / "var/lib/gridengine/default/common"
        root.mkdir(parents=True, exist_ok=True)
        (root / "act_qmaster").write_text(host.name + "\n", encoding="ascii")

    def _boot(self) -> None:
        root = "/var/lib/gridengine"
        if not self._made:
            self._root(_PREPARE)
            self.head.run(
                [
                    "/usr/share/gridengine/scripts/init_cluster",
                    root,
                    "default",
                    "/var/spool/gridengine/spooldb",
                    "sgeadmin",
                ],
                user="sgeadmin",
            )
            self._prepare(self.head)
        self.start_queue()
        if not self._made:
            self._configure()
            self._made = True
        self.head.daemon(["/usr/sbin/sge_execd"])

    def _root(self, script: str) -> None:
        self.head.run(["sh", "-c", script], user=None)

    def _put(self, name: str, text: str) -> str:
        path = self.head.state / "root" / name
        path.write_text(text, encoding="ascii")
        return f"/root/{name}"

    def _configure(self) -> None:
        name = self.head.name
        self._sge("qconf", "-as", name)
        self._sge("qconf", "-ah", name)
        self._sge("qconf", "-Ahgrp", self._put("group", _GROUP.format(name=name)))
        self._sge("qconf", "-Ap", self._put("pe", _PE))
        self._sge("qconf", "-Aq", self._put("queue", _QUEUE))
        self._change("-ssconf", "-Msconf", _SCHEDULER)
        self._change("-sconf", "-Mconf", _GLOBAL)

    def _change(self, show: str, load: str, changes: dict[str, str]) -> None:
        changes = dict(changes)
        text = self.head.run(["env", "SGE_SINGLE_LINE=1", "qconf", show], user=None).stdout
        lines = []
        for line in text.splitlines():
            key = line.split(" ")[0]
            if line.startswith("#"):
                continue
            lines.append(f"{key} {changes.pop(key)}" if key in changes else line)
        lines += [f"{key} {value}" for key, value in changes.items()]
        path = self._put("global", "\n".join(lines) + "\n")
        self._sge("qconf", load, path)

    def _sge(self, *argv: str) -> None:
        self.head.run(list(argv), user=None)

    def _ready(self) -> bool:
        done = self.head.run(["qstat", "-f"], check=False)
        said = done.stdout
        return f"all.q@{self.head.name}" in said and " au" not in said and "-NA-" not in said

    def limit_submits(self, number: int) -> None:
        """At most so many jobs per user; 0 = no limit."""
        self._change("-sconf", "-Mconf", {"max_u_jobs": str(number)})

    def use_again(self, number: int) -> None:
        """The next job gets this number (2 at least), as after a crash; no job with it may be in the queue."""
        with self.queue_stopped():
            self._root(f"echo {number - 1} >/var/spool/gridengine/qmaster/jobseqnum")

    def start_queue(self) -> None:
        """Start sge_qmaster."""
        self.head.daemon(["/usr/sbin/sge_qmaster"])
        wait_until(lambda: self.head.listens(_MASTER_PORT), "sge_qmaster listens")
        # It writes its name into act_qmaster meanwhile, which is empty for a moment.
        wait_until(self._answers, "sge_qmaster answers")

    def _answers(self) -> bool:
        return self.head.run(["qconf", "-sh"], user=None, check=False).returncode == 0

    def stop_queue(self) -> None:
        """sge_qmaster ends in good order, or is killed if it does not."""
        self.head.run(["qconf", "-km"], user=None, check=False)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.head.listens(_MASTER_PORT), "sge_qmaster is gone", 5)
        self.head.kill("sge_qmaster")

    @contextlib.contextmanager
    def queue_stopped(self) -> Iterator[None]:
        """As long as this lasts, there is no sge_qmaster."""
        self.stop_queue()
        try:
            yield
        finally:
            self.start_queue()

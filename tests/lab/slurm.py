"""A Slurm cluster of lab hosts: ``head`` (slurmctld, also a node) and further nodes, the homes shared."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator

from .hosts import Host, Lab, wait_until

_PORT = 6817
_CONF = """\
ClusterName=lab
SlurmctldHost=head
AuthType=auth/munge
SlurmUser=slurm
SlurmctldPort=6817
SlurmdPort=6818
StateSaveLocation=/srv/slurm/state
SlurmdSpoolDir=/srv/slurm/spool
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/srv/slurm/slurmctld.log
SlurmdLogFile=/srv/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
DefMemPerCPU=400
ReturnToService=2
MpiDefault=none
KillWait=5
MinJobAge={min_job_age}
MessageTimeout=5
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
MaxArraySize=1001
MaxJobCount={max_jobs}
{accounting}
NodeName={nodes} CPUs=64 RealMemory=64000 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""
# What slurmd reports when the kernel has ended a job for its memory: that takes control groups, which lab hosts do
# not have. 253 is Slurm's SIG_OOM.
_OUT_OF_MEMORY = """
import ctypes, glob, sys
slurm = ctypes.CDLL(glob.glob("/usr/lib/*/slurm-wlm/libslurmfull.so")[0], ctypes.RTLD_GLOBAL)
slurm.slurm_init(None)
sys.exit(slurm.slurm_complete_job(int(sys.argv[1]), 253))
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=head
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/none
"""
_NO_ACCOUNTING = """\
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=/srv/slurm/jobcomp
"""
_PREPARE = """
mkdir -p /run/munge /srv/slurm/state /srv/slurm/spool
chmod 755 /run/munge
chown munge: /run/munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
chown -R slurm: /srv/slurm
"""
_PREPARE_SQL = """
id mysql >/dev/null 2>&1 || useradd -r mysql
mkdir -p /run/mysqld /srv/mysql
chown -R mysql: /run/mysqld /srv/mysql
"""
_SQL = """
setsid mariadbd --no-defaults --user=mysql --datadir=/srv/mysql --socket=/run/mysqld/mysqld.sock \\
    --skip-networking --innodb-buffer-pool-size=32M &
"""
_GRANTS = (
    "create database slurm_acct_db",
    "create user slurm@localhost identified by 'slurm'",
    "grant all on slurm_acct_db.* to slurm@localhost",
)
_ASSOCIATIONS = (
    ("cluster", "lab"),
    ("account", "science", "cluster=lab"),
    ("user", "ada", "account=science"),
)
_DBD = """\
AuthType=auth/munge
DbdHost=head
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile=/srv/slurm/slurmdbd.log
PidFile=/run/slurmdbd.pid
"""


class SlurmCluster:
    """``head`` is where jobs are submitted; ``nodes`` are all hosts, head first."""

    def __init__(
        self,
        lab: Lab,
        accounting: bool = False,
        nodes: int = 2,
        min_job_age: int = 300,
        max_jobs: int = 10000,
    ) -> None:
        self.lab = lab
        self.accounting = accounting
        home = lab.folder / "slurm-home"
        home.mkdir()
        self._munge_key = secrets.token_bytes(128)
        names = ["head", *(f"node{number}" for number in range(1, nodes))]
        self._conf = _CONF.format(
            nodes=",".join(names),
            accounting=_ACCOUNTING if accounting else _NO_ACCOUNTING,
            min_job_age=min_job_age,
            max_jobs=max_jobs,
        )
        self.nodes = [lab.host(name, home=home, prepare=self._prepare) for name in names]
        self.head = self.nodes[0]
        for node in self.nodes:
            node.at_boot(lambda node=node: self._boot(node))  # type: ignore[misc]
        wait_until(self._idle, "all Slurm nodes are idle")

    def _prepare(self, host: Host) -> None:
        (host.state / "etc/slurm").mkdir(exist_ok=True)
        (host.state / "etc/slurm/slurm.conf").write_text(self._conf, encoding="ascii")
        (host.state / "etc/munge/munge.key").write_bytes(self._munge_key)

    def _boot(self, host: Host) -> None:
        host.run(["sh", "-c", _PREPARE], user=None)
        self.start_munge(host)
        if host.name == "head":
            if self.accounting:
                self._boot_accounting(host)
            self.start_queue()
        wait_until(lambda: self.nodes_head().listens(_PORT), "slurmctld listens")
        host.daemon(["/usr/sbin/slurmd"])

    def start_munge(self, host: Host) -> None:
        """Start munged."""
        host.daemon(["/usr/sbin/munged", "--force"], user="munge")

    def stop_munge(self, host: Host) -> None:
        """Without munged no Slurm command works on the host."""
        host.kill("munged")

    def _boot_accounting(self, host: Host) -> None:
        host.run(["sh", "-c", _PREPARE_SQL], user=None)
        fresh = host.run(["test", "-d", "/srv/mysql/mysql"], user=None, check=False).returncode != 0
        if fresh:
            host.run(
                [
                    "mariadb-install-db",
                    "--user=mysql",
                    "--datadir=/srv/mysql",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ],
                user=None,
            )
        host.daemon(["sh", "-c", _SQL])
        wait_until(lambda: self._sql(host, "select 1").returncode == 0, "mariadb answers")
        if fresh:
            for line in _GRANTS:
                assert self._sql(host, line).returncode == 0
            (host.state / "etc/slurm/slurmdbd.conf").write_text(_DBD, encoding="ascii")
            host.run(["chown", "slurm:", "/etc/slurm/slurmdbd.conf"], user=None)
            host.run(["chmod", "600", "/etc/slurm/slurmdbd.conf"], user=None)
        self.start_accounting(host)
        if fresh:
            for words in _ASSOCIATIONS:
                self._manage("add", *words)

    def _sql(self, host: Host, text: str) -> subprocess.CompletedProcess[str]:
        argv = ["mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "-u", "root", "-e", text]
        return host.run(argv, user=None, check=False)

    def _manage(self, *words: str) -> None:
        argv = ["sacctmgr", "-i", *words]
        head = self.nodes_head()
        wait_until(lambda: head.run(argv, user=None, check=False).returncode == 0, " ".join(argv))

    def nodes_head(self) -> Host:
        """The head, also while the cluster is still being made."""
        return next(host for host in self.lab.hosts if host.name == "head")

    def start_accounting(self, host: Host) -> None:
        """Start slurmdbd and wait until it listens."""
        host.daemon(["/usr/sbin/slurmdbd"])
        wait_until(lambda: host.listens(6819), "slurmdbd listens")

    def limit_submits(self, number: int) -> None:
        """At most so many jobs of the user in the queue; -1 = no limit. Needs accounting."""
        self._manage("modify", "user", "ada", "set", f"MaxSubmitJobs={number}")

    def _idle(self) -> bool:
        done = self.head.run(["sinfo", "-h", "-N", "-p", "main", "-o", "%t"], check=False)
        return done.stdout.split() == ["idle"] * len(self.nodes)

    # --- how the queue ends jobs -------------------------------------------------------------------------

    def time_is_over(self, native_id: str) -> None:
        """A job's time limit is now. slurmctld looks at limits every 30 s, and gives whole minutes else."""
        self.head.run(["scontrol", "update", f"jobid={native_id}", "EndTime=now"], user=None)

    def preempt_on(self, node: str, cpus: int) -> None:
        """A job of the partition ``urgent`` wants so many processors of a node; those of ``low`` must go."""
        argv = ["sbatch", "--partition=urgent", f"--nodelist={node}", f"--cpus-per-task={cpus}", "--output=/dev/null"]
        self.head.run([*argv, "--wrap=true"])

    def out_of_memory(self, native_id: str) -> None:
        """slurmctld hears that a job ended for want of memory."""
        self.head.run(["/usr/bin/python3", "-c", _OUT_OF_MEMORY, native_id])

    @contextlib.contextmanager
    def node_down(self, node: Host) -> Iterator[None]:
        """The node is taken for dead; what ran there has not heard of it."""
        change = ["scontrol", "update", f"nodename={node.name}"]
        node.kill("slurmd")
        self.head.run([*change, "state=down", "reason=test"], user=None)
        try:
            yield
        finally:
            node.daemon(["/usr/sbin/slurmd"])
            self.head.run([*change, "state=resume"], user=None, check=False)

    def start_queue(self) -> None:
        """Start slurmctld."""
        head = self.nodes_head()
        head.daemon(["/usr/sbin/slurmctld"])
        wait_until(lambda: head.listens(_PORT), "slurmctld listens")

    def stop_queue(self) -> None:
        """slurmctld ends in good order (it saves its state): connection refused."""
        self.nodes_head().kill("slurmctld", "TERM")

    def crash_queue(self) -> None:
        """slurmctld dies without saving its state: it may use job ids again that it gave away last."""
        self.nodes_head().kill("slurmctld")

    @contextlib.contextmanager
    def queue_stopped(self) -> Iterator[None]:
        """As long as this lasts, there is no slurmctld."""
        self.stop_queue()
        try:
            yield
        finally:
            self.start_queue()

    @contextlib.contextmanager
    def munge_stopped(self) -> Iterator[None]:
        """As long as this lasts, there is no munged on the head: nobody there proves to be anybody."""
        self.stop_munge(self.head)
        try:
            yield
        finally:
            self.start_munge(self.head)

    @contextlib.contextmanager
    def room_for(self, jobs: int) -> Iterator[None]:
        """As long as this lasts, slurmctld takes no more than so many jobs, those of all users together."""
        conf = self.head.state / "etc/slurm/slurm.conf"
        lines = self._conf.splitlines()
        few = [f"MaxJobCount={jobs}" if line.startswith("MaxJobCount=") else line for line in lines]
        with self.queue_stopped():
            conf.write_text("\n".join([*few, ""]), encoding="ascii")
        try:
            yield
        finally:
            with self.queue_stopped():
                conf.write_text(self._conf, encoding="ascii")

    @contextlib.contextmanager
    def queue_frozen(self) -> Iterator[None]:
        """slurmctld accepts connections and says nothing."""
        head = self.nodes_head()
        head.kill("slurmctld", "STOP")
        try:
            yield
        finally:
            head.kill("slurmctld", "CONT")

    def logs(self) -> str:
        """The ends of the daemons' logs, for a test's failure."""
        parts = []
        for host in self.lab.hosts:
            for path in sorted((host.state / "srv/slurm").glob("*.log")):
                parts += [f"== {path}", path.read_text(encoding="utf-8", errors="replace")[-2000:]]
        return "\n".join(parts)

"""Machines for tests: one bridge, and hosts on it made of namespaces, each with an sshd.

Needs root. A lab takes the first free ``jmN`` bridge, so that several test runs live side by side; the hosts
end when the process that made them ends, however it ends, and the next lab removes a bridge that was left
behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
USER = "ada"
UID = 20001
BATCH_COMMANDS = (
    "sbatch",
    "squeue",
    "scancel",
    "sacct",
    "sinfo",
    "qsub",
    "qstat",
    "qdel",
    "qacct",
    "at",
    "atq",
    "atrm",
)
# What of /var a host has for itself; /srv is free for whatever else must outlive a reboot.
_VAR = (
    "lib/munge",
    "lib/gridengine",
    "log/munge",
    "spool/gridengine",
    "spool/cron",
)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Return once ``condition()`` is true; AssertionError after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain until {what}")
        time.sleep(0.05)


def _quiet(*argv: str) -> bool:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _check(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{argv}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _clear_up() -> None:
    """Remove the bridges and folders of labs whose process is gone."""
    for alias in Path("/sys/class/net").glob("jm*/ifalias"):
        pid, _, folder = alias.read_text(encoding="ascii").strip().partition(" ")
        if pid.isdigit() and not Path("/proc", pid).exists():
            _quiet("ip", "link", "delete", alias.parent.name)
            if folder.startswith("/var/tmp/jmlab-"):
                shutil.rmtree(folder, ignore_errors=True)


class Lab:
    """A network of hosts. ``with Lab() as lab: host = lab.host("wizard")``."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jmlab-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.hosts: list[Host] = []
        self.key = self.folder / "id"
        self.host_key = self.folder / "host_key"
        for path in (self.key, self.host_key):
            _check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path))
        self._take_bridge()

    def _take_bridge(self) -> None:
        with open("/run/lock/jobmgr-lab.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _clear_up()
            for number in range(100):
                name = f"jm{number}"
                if _quiet("ip", "link", "add", name, "type", "bridge"):
                    self.number, self.bridge = number, name
                    _check("ip", "link", "set", name, "alias", f"{os.getpid()} {self.folder}")
                    _check("ip", "address", "add", f"10.213.{number}.1/24", "dev", name)
                    _check("ip", "link", "set", name, "up")
                    return
        raise RuntimeError("no bridge could be made for the lab (is this root, with its own network?)")

    def host(
        self,
        name: str,
        home: Path | None = None,
        hide: Sequence[str] = (),
        prepare: Callable[[Host], None] | None = None,
    ) -> Host:
        """Start one more host. ``home``: a folder shared with another host; ``hide``: commands it shall lack.

        ``prepare(host)`` is called before the first start, to write below ``host.state``.
        """
        host = Host(self, name, f"10.213.{self.number}.{len(self.hosts) + 10}", home, hide)
        self.hosts.append(host)
        self._name_all()
        if prepare:
            prepare(host)
        host.start()
        return host

    def _name_all(self) -> None:
        lines = "127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in self.hosts)
        for host in self.hosts:
            (host.state / "etc/hosts").write_text(lines, encoding="ascii")

    def close(self) -> None:
        """End every host and leave nothing behind."""
        for host in self.hosts:
            host.stop()
        _quiet("ip", "link", "delete", self.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Host:
    """One machine: ``run`` works in it as root or a user, ``ssh_config`` leads to it by its name."""

    def __init__(self, lab: Lab, name: str, address: str, home: Path | None, hide: Sequence[str]) -> None:
        self.lab, self.name, self.address = lab, name, address
        self.state = lab.folder / name
        self.pid = 0
        self.veth = f"{lab.bridge}v{len(lab.hosts)}"
        self._process: subprocess.Popen[str] | None = None
        self._starters: list[Callable[[], None]] = []
        self.state.mkdir()
        self._make_files(home, hide)

    def _make_files(self, home: Path | None, hide: Sequence[str]) -> None:
        shutil.copytree("/etc", self.state / "etc", symlinks=True)
        _check("cp", "-a", "/etc/.", str(self.state / "etc"))
        for part in _VAR:
            outside = Path("/var", part)
            if outside.is_dir():
                inside = self.state / "var" / part
                inside.parent.mkdir(parents=True, exist_ok=True)
                _check("cp", "-a", str(outside), str(inside))
        (self.state / "root").mkdir(mode=0o700)
        (self.state / "srv").mkdir()
        if home is None:
            (self.state / "home").mkdir()
        else:
            (self.state / "home").symlink_to(home)
        self.home = (self.state / "home").resolve()
        with open(self.state / "etc/passwd", "a", encoding="ascii") as file:
            file.write(f"{USER}:x:{UID}:{UID}:{USER}:/home/{USER}:/bin/bash\n")
        with open(self.state / "etc/group", "a", encoding="ascii") as file:
            file.write(f"{USER}:x:{UID}:\n")
        with open(self.state / "etc/shadow", "a", encoding="ascii") as file:
            file.write(f"{USER}:*:20000:0:99999:7:::\n")
        self._make_home(self.home / USER)
        (self.state / "hidden").write_text("".join(f"/usr/bin/{name}\n" for name in hide), encoding="ascii")
        (self.state / "sshd_config").write_text(
            f"HostKey {self.lab.host_key}\nUsePAM yes\nUseDNS no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPidFile /run/sshd.pid\nSubsystem sftp internal-sftp\n"
            f"StrictModes no\nAuthorizedKeysFile {self.lab.key}.pub\n"
            # A command of the user's goes before the system's own: so tests count and disturb queue commands.
            f"SetEnv PATH=/home/{USER}/bin:/usr/local/bin:/usr/bin:/bin:/usr/games\n",
            encoding="ascii",
        )
        self.ssh_config = self.state / "ssh_config"
        known = self.state / "known_hosts"
        public = self.lab.host_key.with_suffix(".pub").read_text(encoding="ascii")
        known.write_text(f"{self.name} {public}", encoding="ascii")
        self.ssh_config.write_text(
            f"Host {self.name}\n  HostName {self.address}\n  HostKeyAlias {self.name}\n  User {USER}\n"
            f"  IdentityFile {self.lab.key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n",
            encoding="ascii",
        )
        self.new_boot_id()

    def _make_home(self, home: Path) -> None:
        if not home.exists():
            home.mkdir(mode=0o755)
            os.chown(home, UID, UID)

    def new_boot_id(self) -> None:
        """What a reboot changes."""
        (self.state / "boot_id").write_text(f"{uuid.uuid4()}\n", encoding="ascii")

    def start(self) -> None:
        """Bring the host up: namespaces, network, sshd, then what was registered by ``at_boot``."""
        with open(self.state / "console", "ab") as console:
            self._process = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--pid",
                    "--uts",
                    "--ipc",
                    "--net",
                    "--fork",
                    "--kill-child",
                    str(HERE / "init.sh"),
                    str(self.state),
                    self.name,
                    f"{self.address}/24",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            )
        self._expect("mounted")
        outer = self._process.pid
        self.pid = int(Path(f"/proc/{outer}/task/{outer}/children").read_text(encoding="ascii").split()[0])
        self._link()
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self._expect("up")
        for starter in self._starters:
            starter()

    def _expect(self, word: str) -> None:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        if line.strip() != word:
            raise RuntimeError(f"host {self.name} did not come up ({word}): {line!r} {self.console()}")

    def _link(self) -> None:
        _quiet("ip", "link", "delete", self.veth)
        _check("ip", "link", "add", self.veth, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        _check("ip", "link", "set", self.veth, "master", self.lab.bridge, "up")

    def at_boot(self, starter: Callable[[], None]) -> None:
        """Register what starts the host's daemons, and start them now."""
        self._starters.append(starter)
        starter()

    def stop(self) -> None:
        """End everything in the host (pulling the plug)."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # Never os.kill(0): that would be this process and its relatives.
            os.kill(self.pid or self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.pid = 0
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process = None
        _quiet("ip", "link", "delete", self.veth)

    # --- working in it ---------------------------------------------------------------------------------

    def argv(self, argv: Sequence[str], user: str | None = USER) -> list[str]:
        """The command line that runs ``argv`` inside the host from outside."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--", "/usr/bin/env", "-i"]
        home = "/root" if user in (None, "root") else f"/home/{user}"
        inside += [
            f"HOME={home}",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LC_ALL=C.UTF-8",
            f"USER={user or 'root'}",
            f"LOGNAME={user or 'root'}",
        ]
        if user not in (None, "root"):
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*inside, "/bin/sh", "-c", 'cd; exec "$@"', "sh", *argv]

    def run(
        self,
        argv: Sequence[str],
        user: str | None = USER,
        input: str = "",
        check: bool = True,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host; text in and out. CalledProcessError shows its stderr if ``check``."""
        done = subprocess.run(
            self.argv(argv, user),
            input=input,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {list(argv)}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def daemon(self, argv: Sequence[str], user: str | None = None) -> None:
        """Start a program that puts itself into the background; what it says goes to the console."""
        with open(self.state / "console", "ab") as console:
            done = subprocess.run(
                self.argv(argv, user), stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=60
            )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {list(argv)}: exit {done.returncode}: {self.console()}")

    def console(self) -> str:
        """The end of what daemons said at their start."""
        return (self.state / "console").read_text(encoding="utf-8", errors="replace")[-2000:]

    def listens(self, port: int) -> bool:
        """Whether something in the host listens on a TCP port."""
        wanted = f":{port:04X} "
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                if wanted in line[:70] and line.split()[3] == "0A":
                    return True
        return False

    def processes(self, name: str) -> list[int]:
        """The host's processes of that name, by their ids inside it."""
        done = self.run(["pgrep", "-x", name], user=None, check=False)
        return [int(word) for word in done.stdout.split()]

    def kill(self, name: str, signal_name: str = "KILL") -> None:
        """Signal the host's processes of that name; after KILL and TERM wait until they are gone."""
        for pid in self.processes(name):
            self.run(["kill", f"-{signal_name}", str(pid)], user=None, check=False)
        if signal_name in ("KILL", "TERM"):
            wait_until(lambda: not self._living(name), f"{name} is gone from {self.name}")

    def _living(self, name: str) -> list[str]:
        done = self.run(["ps", "-C", name, "-o", "stat="], user=None, check=False)
        return [word for word in done.stdout.split() if not word.startswith("Z")]

    # --- faults -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """The network cable is out as long as this lasts."""
        _check("ip", "link", "set", self.veth, "down")
        try:
            yield
        finally:
            _check("ip", "link", "set", self.veth, "up")

    def reboot(self) -> None:
        """All processes end, another boot id, /tmp and /run empty; /etc, /var and the homes stay."""
        self.stop()
        self.new_boot_id()
        self.start()

    def kill_sshd(self, sessions: bool = False) -> None:
        """The listening sshd ends (connections are refused); with ``sessions`` the open ones end as well."""
        if sessions:
            self.kill("sshd")
            return
        pid = self.run(["cat", "/run/sshd.pid"], user=None).stdout.strip()
        self.run(["kill", "-KILL", pid], user=None)
        wait_until(lambda: not self.listens(22), "sshd is gone")

    def start_sshd(self) -> None:
        """Start sshd again."""
        self.daemon(["/usr/sbin/sshd", "-f", str(self.state / "sshd_config")])
        wait_until(lambda: self.listens(22), "sshd listens")

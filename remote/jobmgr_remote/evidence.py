"""Evidence about jobs: what their files, the queue, the process table, the claims and the spool say. No
verdict is made here.

The order matters: the file is read, then the queue and the processes are asked, and where these say that a
job has ended or is not there, the file is read again, since it may have ended in between. Nothing that one
job's files hold can disturb another job: each is looked at by itself, and what cannot be understood is
``unreadable`` for that job alone.
"""

import os
import time

from jobmgr_remote import fence, layout, proc, runners, spool, status, wire

HEAD = 65536
TAIL = 4 * 1024 * 1024
#: A submit time that the queue tells may differ from ours by so many seconds.
CLOCKS_DIFFER = 600.0
TIMEOUT = 60.0
NOT_THERE = (wire.P_GONE, wire.P_NOT_OURS, wire.P_REBOOTED)


class Looker(object):
    """Looks at jobs of one run on this host; what serves many jobs is read once and kept until
    :meth:`forget`. ``keep_claims``: each job is looked at several times.
    """

    def __init__(self, host: object, spool: object, keep_claims: bool = False) -> None:
        self.host = host
        self.spool = spool
        self.run_dir = host.run_dir
        #: By token, those that have started, which do not change any more; None if they are not worth the memory.
        self._claims = {} if keep_claims else None  # type: dict[str, fence.Claim] | None
        self.forget()

    def forget(self) -> None:
        """The next look is a fresh one."""
        self._journal = None  # type: dict | None
        self._content = None  # type: object
        self._rescued = None  # type: set | None

    @property
    def journal(self) -> "dict[str, fence.Entry]":
        if self._journal is None:
            self._journal = fence.read_journal(self.run_dir)
        return self._journal

    @property
    def content(self) -> object:
        if self._content is None:
            self._content = self.spool.content()
        return self._content

    @property
    def rescued(self) -> "set[str]":
        if self._rescued is None:
            try:
                self._rescued = set(os.listdir(self.host.in_home(layout.HOST_RESCUE)))
            except OSError:
                self._rescued = set()
        return self._rescued

    # --- files -------------------------------------------------------------------------------------

    def file(self, item: dict) -> wire.FileEvidence:
        """What job.status and its companions say about the latest attempt. Never raises."""
        try:
            return self._file(item)
        except status.Unreadable as error:
            return wire.NO_FILE._replace(state=wire.FILE_UNREADABLE, error=str(error))
        except OSError as error:
            return wire.NO_FILE._replace(state=wire.FILE_UNREADABLE, error=error.strerror or str(error))

    def _file(self, item: dict) -> wire.FileEvidence:
        folder = self.run_dir + "/" + layout.job_dir(item["job"])
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return wire.NO_FILE._replace(state=wire.FILE_DIRECTORY_MISSING)
        token = item.get("token", "")
        main, size, others, elements = None, 0, [], []
        for name in names:
            if not is_status_name(name):
                continue
            data, length = read_bounded(folder + "/" + name)
            suffix = name[len(layout.STATUS_FILE) + 1 :]
            size += length
            if not suffix:
                main = status.parse(data)
            else:
                _add_parsed(data, elements if suffix.isdigit() else others)
        if main is None:
            return wire.NO_FILE
        found = main.facts.get(status.TOKEN, "")
        if not found:
            raise status.Unreadable("no token")
        if token and found != token:
            return wire.NO_FILE._replace(state=wire.FILE_FOREIGN, size=size, facts={status.TOKEN: found})
        if elements:
            main = merge_elements(main, elements)
        if others:
            main = status.merge(main, others)
        if status.EXIT not in main.facts and found in self.rescued:
            main = self._with_rescued(main, found)
        seen = item.get("seen_messages") or 0
        return wire.FileEvidence(
            wire.FILE_OK,
            size,
            dict(main.facts),
            main.messages[seen:],
            len(main.messages),
            main.attempts,
            "",
        )

    def status_size(self, item: dict) -> int:
        """The size that :meth:`file` would tell, without reading; 0 if there is nothing."""
        folder = self.run_dir + "/" + layout.job_dir(item["job"])
        try:
            return sum(
                os.stat(folder + "/" + name).st_size for name in os.listdir(folder) if is_status_name(name)
            )
        except OSError:
            return 0

    def _with_rescued(self, main: status.Status, token: str) -> status.Status:
        data, _ = read_bounded(self.host.in_home(layout.HOST_RESCUE) + "/" + token)
        try:
            rescued = status.parse(data)
        except status.Unreadable:
            return main
        if rescued.facts.get(status.TOKEN) != token:
            return main
        facts = main.facts.copy()
        facts.update(rescued.facts)
        return main._replace(facts=facts, attempts=max(main.attempts, rescued.attempts))

    # --- processes ---------------------------------------------------------------------------------

    def spool_state(self, token: str) -> str:
        name = self.content.by_token.get(token)
        if name is None:
            return wire.S_NONE
        return wire.S_TAKEN if self.content.entries[name] else wire.S_QUEUED

    def process(self, item: dict, facts: dict, claim: fence.Claim) -> str:
        """One of wire.P_* for a job whose processes run on the machine that it was submitted on."""
        pid, start = facts.get(status.PID, ""), facts.get(status.START_IDENTITY, "")
        instance, hostname = facts.get(status.INSTANCE, ""), facts.get(status.HOSTNAME, "")
        if not pid.isdigit():
            if claim.state != wire.C_STARTED or not claim.pid:
                return self._not_started(item, claim)
            pid, start, instance, hostname = str(claim.pid), claim.start, claim.instance, claim.hostname
        elsewhere = self.elsewhere(instance, hostname)
        if elsewhere:
            return elsewhere
        state = state_of_process(int(pid), start, item.get("token", ""))
        if state in (wire.P_GONE, wire.P_NOT_OURS) and self._is_held(item.get("token", "")):
            return wire.P_ALIVE  # its slot is about to record how it ended
        return state

    def _is_held(self, token: str) -> bool:
        return spool.live(self.content.entries.get(self.content.by_token.get(token, ""), "")) != ""

    def _not_started(self, item: dict, claim: fence.Claim) -> str:
        token = item.get("token", "")
        if claim.state == wire.C_REVOKED:
            return wire.P_GONE
        if self.spool_state(token) != wire.S_NONE:
            return wire.P_ALIVE
        entry = self.journal.get(token)
        if entry is not None:
            return self.elsewhere(entry.instance, entry.hostname) or wire.P_GONE
        return self.elsewhere(item.get("instance") or "", "") or wire.P_GONE

    def elsewhere(self, instance: str, hostname: str) -> str:
        """``other-host``, ``rebooted``, or "" for this life of this machine."""
        here = self.host
        if proc.same_instance(instance, here.instance):
            known = instance.partition(":")[0] not in ("", proc.UNKNOWN)
            return "" if known or not hostname or hostname == here.hostname else wire.P_OTHER_HOST
        return wire.P_OTHER_HOST if hostname and hostname != here.hostname else wire.P_REBOOTED

    def confirms(self, item: dict) -> bool:
        """Whether a background job that the caller has seen running still does, and its files have nothing new.
        Never raises: what is not as it should be is looked at in full.
        """
        try:
            file = self.file(item)
            seen = (item.get("seen_size") or 0, item.get("seen_messages") or 0)
            if file.state != wire.FILE_OK or (file.size, file.message_count) != seen or status.EXIT in file.facts:
                return False
            if not file.facts.get(status.PID) or self.process(item, file.facts, fence.NO_CLAIM) != wire.P_ALIVE:
                return False
            return not fence.has_kill_mark(self.run_dir, item["token"])
        except Exception:
            return False

    # --- all of it ---------------------------------------------------------------------------------

    def claim(self, token: str) -> fence.Claim:
        if self._claims and token in self._claims:
            return self._claims[token]
        try:
            found = fence.read_claim(self.run_dir, token)
        except OSError:
            return fence.NO_CLAIM
        if self._claims is not None and found.state == wire.C_STARTED and found.pid:
            self._claims[token] = found
        return found

    def first_look(self, item: dict) -> wire.Evidence:
        """Evidence without the queue: file, claim, process, spool, small files."""
        runner = item.get("runner") or runners.BACKGROUND
        file, claim, process = self._file_and_process(item, runner_shares_status(runner))
        return self._evidence(item, runner, file, claim, process)

    def glance(self, item: dict) -> wire.Evidence:
        """The same without the process, for who goes on to look at that."""
        runner = item.get("runner") or runners.BACKGROUND
        return self._evidence(item, runner, self.file(item), self.claim(item["token"]), wire.P_NOT_ASKED)

    def _evidence(
        self, item: dict, runner: str, file: wire.FileEvidence, claim: fence.Claim, process: str
    ) -> wire.Evidence:
        token = item["token"]
        native_id = item.get("native_id") or fence.read_native_id(self.run_dir, token)
        started = claim.state == wire.C_STARTED or status.ATTEMPT in file.facts
        return wire.Evidence(
            item["job"],
            token,
            file,
            wire.NO_QUEUE,
            process,
            claim.state,
            native_id,
            bool(native_id) or started or token in self.journal,
            fence.has_kill_mark(self.run_dir, token),
            self.spool_state(token) if runner == runners.BACKGROUND and not started else wire.S_NONE,
            wire.NO_FOUND,
            None,
        )

    def _file_and_process(self, item: dict, shared: bool) -> "tuple[wire.FileEvidence, fence.Claim, str]":
        """After a process that is not there the file is read again, until two readings agree."""
        file, claim = self.file(item), self.claim(item["token"])
        if shared or file.state == wire.FILE_FOREIGN:
            return file, claim, wire.P_NOT_ASKED
        while True:
            process = self.process(item, file.facts, claim)
            if process not in NOT_THERE or status.EXIT in file.facts:
                return file, claim, process
            before = (file, claim)
            file, claim = self.file(item), self.claim(item["token"])
            if (file, claim) == before:
                return file, claim, process

    def look(self, items: "list[dict]", progress: object) -> "list[wire.Evidence]":
        """All evidence, in the order of the items; a queue is asked once for all of its jobs."""
        found = dict(self.looks(items, progress))
        return [found[at] for at in range(len(items))]

    def looks(self, items: "list[dict]", progress: object) -> object:
        """The same as pairs (position of the item, evidence), as they come: a job for which no queue is asked does
        not wait for those of others.
        """
        found = {}  # type: dict[int, wire.Evidence]
        by_runner = {}  # type: dict[str, list[int]]
        for position, item in enumerate(items):
            runner = item.get("runner") or runners.BACKGROUND
            one = self.safe_look(item)
            progress()
            if runner == runners.BACKGROUND:
                yield position, one._replace(found=self._found_here(item, one)) if item.get("find") else one
            else:
                found[position] = one
                by_runner.setdefault(runner, []).append(position)
        for runner, positions in by_runner.items():
            self._ask_queue(runner, positions, items, found)
            self._ask_tokens(runner, [at for at in positions if items[at].get("find")], items, found)
        for position in sorted(found):
            yield position, found[position]

    def safe_look(self, item: dict, look: object = None) -> wire.Evidence:
        """:meth:`first_look` (or ``look``), with what goes wrong as evidence."""
        try:
            return (look or self.first_look)(item)
        except Exception as error:  # one bad job never affects another
            file = wire.NO_FILE._replace(
                state=wire.FILE_UNREADABLE, error="%s: %s" % (type(error).__name__, error)
            )
            return wire.Evidence(
                item["job"],
                item["token"],
                file,
                wire.NO_QUEUE,
                wire.P_NOT_ASKED,
                wire.C_NONE,
                item.get("native_id") or "",
                True,
                False,
                wire.S_NONE,
                wire.NO_FOUND,
                None,
            )

    def _ask_queue(
        self, name: str, positions: "list[int]", items: "list[dict]", found: "dict[int, wire.Evidence]"
    ) -> None:
        wanted = [
            at
            for at in positions
            if found[at].native_id
            and not found[at].file.facts.get(status.EXIT, "").startswith(status.SUCCEEDED)
        ]
        if not wanted:
            return
        try:
            runner = runners.get(name)
        except runners.UnknownRunner as error:
            for at in wanted:
                found[at] = found[at]._replace(
                    queue=wire.QueueEvidence(wire.Q_COULD_NOT_ASK, "", "", str(error))
                )
            return
        from jobmgr_remote.runners import base

        ids = [found[at].native_id for at in wanted]
        seen, errors = base.ask(runner, list(dict.fromkeys(ids)), command_runner(runner))
        for at in wanted:
            queue = queue_evidence(found[at], seen, errors)
            found[at] = found[at]._replace(queue=queue)
            if queue.state in (wire.Q_ABSENT, wire.Q_ENDED, wire.Q_OTHER_JOB):
                file = self.file(items[at])
                found[at] = found[at]._replace(file=file, claim=self.claim(items[at]["token"]).state)
                found[at] = found[at]._replace(file=with_element_exit(file))

    def _ask_tokens(
        self, name: str, positions: "list[int]", items: "list[dict]", found: "dict[int, wire.Evidence]"
    ) -> None:
        by_place = {}  # type: dict[str, list[int]]
        for at in positions:
            by_place.setdefault(self._place(name, items[at]), []).append(at)
        for place, there in by_place.items():
            self._ask_tokens_at(name, place, there, items, found)

    def _place(self, name: str, item: dict) -> str:
        """Where a job's own file sends it, for a runner that knows several places (clusters of one Slurm)."""
        try:
            place = getattr(runners.get(name), "place", None)
        except ValueError:
            return ""
        if place is None:
            return ""
        try:
            path = self.run_dir + "/" + layout.job_dir(item["job"]) + "/" + layout.JOB_FILE
            with open(path, "rb") as stream:
                return place(stream.read(65536).decode("utf-8", "replace"))
        except OSError:
            return ""

    def _ask_tokens_at(
        self,
        name: str,
        place: str,
        positions: "list[int]",
        items: "list[dict]",
        found: "dict[int, wire.Evidence]",
    ) -> None:
        from jobmgr_remote.runners import base

        try:
            runner = runners.get(name)
            tokens = [items[at]["token"] for at in positions]
            answer = base.find(runner, self.host.user, tokens, command_runner(runner), place)
        except ValueError as error:
            answer = base.Answer({}, str(error))
        for at in positions:
            token = items[at]["token"]
            busy = fence.submitter_lives(self.journal.get(token))
            found[at] = found[at]._replace(found=found_evidence(answer, token, busy))
            if found[at].found.state == wire.FOUND_ID and not self.host.stale:
                self._adopt(token, found[at].found.native_id)

    def _adopt(self, token: str, native_id: str) -> None:
        try:
            if not fence.read_native_id(self.run_dir, token):
                fence.write_native_id(self.run_dir, token, native_id)
        except OSError:
            pass

    def _found_here(self, item: dict, evidence: wire.Evidence) -> wire.Found:
        claim = self.claim(item["token"])
        busy = fence.submitter_lives(self.journal.get(item["token"]))
        if claim.state == wire.C_STARTED:
            return wire.Found(wire.FOUND_ID, str(claim.pid or ""), "", busy)
        if evidence.spool != wire.S_NONE:
            return wire.Found(wire.FOUND_ID, "", "", busy)
        return wire.Found(wire.FOUND_ABSENT, "", "", busy)


def is_status_name(name: str) -> bool:
    """``job.status``, ``job.status.HOSTNAME`` or ``job.status.INDEX``."""
    if not name.startswith(layout.STATUS_FILE):
        return False
    return name == layout.STATUS_FILE or (name[len(layout.STATUS_FILE)] == "." and not name.endswith(".tmp"))


def read_bounded(path: str) -> "tuple[bytes, int]":
    """A status file and its size; of a very long one, its head and its tail, cut at line ends."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        size = os.fstat(fd).st_size
        if size <= HEAD + TAIL:
            return _read(fd, HEAD + TAIL), size
        head = _read(fd, HEAD)
        os.lseek(fd, size - TAIL, os.SEEK_SET)
        tail = _read(fd, TAIL)
    finally:
        os.close(fd)
    return head[: head.rfind(b"\n") + 1] + tail[tail.find(b"\n") + 1 :], size


def _read(fd: int, length: int) -> bytes:
    data = os.read(fd, length)
    while data and len(data) < length:
        more = os.read(fd, length - len(data))
        if not more:
            break
        data += more
    return data


def _add_parsed(data: bytes, where: "list[status.Status]") -> None:
    try:
        where.append(status.parse(data))
    except status.Unreadable:  # being created, or another node's garbage: the main file counts
        pass


ELEMENT_EXIT = "ELEMENT_EXIT"


def merge_elements(main: status.Status, elements: "list[status.Status]") -> status.Status:
    """The elements of a user's job array as one job.

    It has started with the first. How all that are known have ended is kept aside (ELEMENT_EXIT) until the
    queue says that no more will come.
    """
    facts = main.facts.copy()
    started = [element for element in elements if element.facts.get(status.START_TIME)]
    if started:
        started.sort(key=lambda element: element.facts[status.START_TIME])
        for key, value in started[0].facts.items():
            if key not in (status.EXIT, status.EXIT_TIME):
                facts.setdefault(key, value)
    if elements and all(status.EXIT in e.facts for e in elements):
        bad = [e for e in elements if not e.facts[status.EXIT].startswith(status.SUCCEEDED)]
        facts[ELEMENT_EXIT] = (bad or elements)[0].facts[status.EXIT]
        facts.setdefault(ELEMENT_EXIT + "_TIME", max(e.facts.get(status.EXIT_TIME, "") for e in elements))
    messages = status.merge(main, elements).messages
    return main._replace(
        facts=facts, messages=messages, attempts=max([main.attempts] + [e.attempts for e in elements])
    )


def with_element_exit(file: wire.FileEvidence) -> wire.FileEvidence:
    """The queue has let go of a job array: how its elements ended is how the job ended."""
    if ELEMENT_EXIT not in file.facts or status.EXIT in file.facts:
        return file
    facts = dict(file.facts)
    facts[status.EXIT] = facts.pop(ELEMENT_EXIT)
    facts[status.EXIT_TIME] = facts.pop(ELEMENT_EXIT + "_TIME", "")
    return file._replace(facts=facts)


def runner_shares_status(name: str) -> bool:
    """Whether a runner's jobs may run on another machine than the one that submits (True if nobody knows the
    runner).
    """
    if name == runners.BACKGROUND:
        return False
    try:
        return bool(runners.get(name).SHARED_STATUS)
    except runners.UnknownRunner:
        return True


def command_runner(runner: object) -> object:
    """What ``runners.base`` wants for running a call: ``run(call) -> (code, out, err)``."""
    timeout = runner.TIMEOUT
    return lambda call: tuple(proc.run_call(call, timeout))


def queue_evidence(evidence: wire.Evidence, seen: dict, errors: dict) -> wire.QueueEvidence:
    """What a queue's answer says about one job."""
    native_id = evidence.native_id
    if native_id in seen:
        row = seen[native_id]
        state = row.state if is_ours(row, evidence) else wire.Q_OTHER_JOB
        return wire.QueueEvidence(state, row.raw, row.reason, "")
    if native_id in errors:
        return wire.QueueEvidence(wire.Q_COULD_NOT_ASK, "", "", errors[native_id])
    return wire.QueueEvidence(wire.Q_ABSENT, "", "", "")


def is_ours(row: object, evidence: wire.Evidence) -> bool:
    """Whether a queue's row is our job, and not a later one that was given the same number."""
    if row.token:
        return row.token == evidence.token
    ours = seconds_of(evidence.file.facts.get(status.SUBMIT_TIME, ""))
    if row.submit_time and ours:
        return abs(row.submit_time - ours) <= CLOCKS_DIFFER
    return True


def found_evidence(answer: object, token: str, busy: bool) -> wire.Found:
    """What a look-up by token says."""
    if answer is None:
        return wire.Found(wire.FOUND_CANNOT, "", "this runner carries no token", busy)
    if token in answer.seen:
        return wire.Found(wire.FOUND_ID, answer.seen[token].native_id, "", busy)
    if answer.error:
        return wire.Found(wire.FOUND_COULD_NOT_ASK, "", answer.error, busy)
    return wire.Found(wire.FOUND_ABSENT, "", "", busy)


def seconds_of(text: str) -> float:
    """A UTC time with Z in seconds since the epoch; 0 if it is none."""
    import calendar

    try:
        return float(calendar.timegm(time.strptime(text.split(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return 0.0


def state_of_process(pid: int, start: str, token: str) -> str:
    """``alive``, ``gone``, ``not-ours`` or ``cannot-see`` for a process of this life of this machine."""
    state = proc.state_of(pid, start)
    if state:
        return wire.P_GONE if state in proc.DEAD_STATES else wire.P_ALIVE
    found = proc.look(pid)
    if found is None:
        return wire.P_GONE if proc.can_see() else wire.P_CANNOT_SEE
    if found.state in proc.DEAD_STATES:
        return wire.P_GONE
    return wire.P_ALIVE if proc.is_job_process(pid, start, token) else wire.P_NOT_OURS

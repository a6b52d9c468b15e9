"""jobs-submit: write the files of many jobs, make the intent durable, give each job to its runner.

The order is the fence (fence.py): files and job.status, then the journal with one sync for all of them (of many
background jobs: for a few parts), then the runners, then each native id as it comes. A request that comes again finds
what is there: nothing is submitted twice.
"""

import os
import time

from jobmgr_remote import fence, hostconf, jobfile, layout, proc, runners, session, status, wire
from jobmgr_remote.spool import BY_SLOT, Queued, unlink

#: So many background jobs are made and queued first.
FIRST_PART = 64
#: Submit commands of batch systems that run at once.
AT_ONCE = 4
LOGIN_PREFIX = "login-"
NOT_OF_THE_LOGIN = ("JOBMGR_", "SSH_", "BASH_FUNC_")
NOT_KEPT = ("_", "PWD", "OLDPWD", "SHLVL", "SHELLOPTS", "BASHOPTS", "DISPLAY", "XDG_SESSION_ID")


class Cannot(Exception):
    """One job that is not submitted: ``result`` is one of wire.R_*."""

    def __init__(self, result: str, text: str, native_id: str = "") -> None:
        Exception.__init__(self, text)
        self.result = result
        self.text = text
        self.native_id = native_id


class Batch(object):
    """What is the same for all jobs of one request."""

    def __init__(self, request: wire.Request, reply: object, host: object) -> None:
        self.options = request.options
        self.reply = reply
        self.host = host
        self.run_dir = host.run_dir
        self.now = session.utc_now()
        self.run = {"run_dir": self.run_dir, "suite": request.run.suite}
        self.dry = bool(self.options.get("dry_run"))
        self.settings = {
            "bash": proc.find_program("bash"),
            "instance": host.instance,
            "hostname": host.hostname,
            "clock_ticks": os.sysconf("SC_CLK_TCK"),
        }
        if not self.settings["bash"]:
            raise session.Refused(wire.E_HOST, "this host has no bash")
        self.settings["wrapper"] = self._wrapper()
        self._folders = set()  # type: set[str]
        self._journal = None  # type: dict | None
        self._queued = None  # type: dict | None
        self._batch_command = None  # type: str | None
        self.login = ""
        #: The tokens of the jobs that are to be submitted.
        self.tokens = set()  # type: set[str]

    def _wrapper(self) -> str:
        if self.dry:
            return layout.LIB + "/" + jobfile.WRAPPER
        return jobfile.install_support(self.run_dir)

    @property
    def journal(self) -> "dict[str, fence.Entry]":
        if self._journal is None:
            self._journal = fence.read_journal(self.run_dir)
        return self._journal

    def in_spool(self, token: str) -> bool:
        if self._queued is None:
            from jobmgr_remote.runners import background

            self._queued = background.spool_of(self.host).content().by_token
        return token in self._queued

    def answer(self, item: dict, result: str, native_id: str = "", text: str = "") -> None:
        self.reply.job(
            wire.Submitted(
                str(item.get("job", "")),
                str(item.get("token", "")),
                result,
                native_id,
                text,
                self.now,
            )
        )

    def folder(self, path: str) -> bool:
        """Have a folder; True if it was made now. Each is looked at once per call."""
        if path in self._folders:
            return False
        made = fence.make_folders(path)
        self._folders.add(path)
        return made

    def batch_command(self) -> str:
        """The command by which this host shows that it has a batch system, or ""."""
        if self._batch_command is None:
            self._batch_command = next(
                (name for name in runners.BATCH_COMMANDS if proc.find_program(name)), ""
            )
        return self._batch_command

    def likely_runner(self) -> str:
        """The runner of the batch system that this host has."""
        if self.batch_command() == "qsub":
            return "sge" if proc.find_program("qconf") else "pbs"
        return {"sbatch": "slurm", "bsub": "lsf"}.get(self.batch_command(), "slurm")


def run(request: wire.Request, reply: object, host: object) -> None:
    """Answers with one wire.Submitted per item, as each is known."""
    batch = Batch(request, reply, host)
    if batch.dry:
        for item in request.items:
            _guarded(batch, item, _show)
        return
    for_queues = []
    with fence.journal_lock(batch.run_dir):
        if os.environ.get("JOBMGR_LOGIN"):
            batch.login = write_login(batch.run_dir)
        for part in parts(request.items):
            ready = _within_limit(batch, _prepare_all(batch, part))
            ready = _journal_all(batch, ready)
            _submit_background(batch, [item for item in ready if item["runner"] == runners.BACKGROUND])
            for_queues += [item for item in ready if item["runner"] != runners.BACKGROUND]
    _submit_batch(batch, for_queues)


def parts(items: "list[dict]") -> "list[list[dict]]":
    """The items of a request as they are carried through: the first background jobs run while the files of the next
    ones are written, each part twice as long as the one before. Jobs for queues are one part: a command of a batch
    system takes far longer than their files.
    """
    if any(item.get("runner") not in (None, "", runners.BACKGROUND) for item in items):
        return [items]
    found = []
    at, length = 0, FIRST_PART
    while at < len(items) or not found:
        found.append(items[at : at + length])
        at, length = at + length, 2 * length
    return found


def _guarded(batch: Batch, item: dict, work: object) -> object:
    """Do something for one job; what goes wrong with it is that job's answer, and nobody else's."""
    try:
        return work(batch, item)
    except Cannot as cannot:
        batch.answer(item, cannot.result, cannot.native_id, cannot.text)
    except ValueError as error:
        batch.answer(item, wire.R_FAILED, "", str(error))
    except OSError as error:
        batch.answer(item, wire.R_FAILED, "", session.os_error_text(error))
    return None


def _show(batch: Batch, item: dict) -> None:
    batch.answer(item, wire.R_SUBMITTED, "", _text(batch, _checked(batch, item)))


def _checked(batch: Batch, item: dict) -> dict:
    """The item with its runner. Raises ValueError or Cannot."""
    session.check_item(item)
    name = item.get("runner") or ""
    if not name and batch.batch_command():
        raise Cannot(
            wire.R_REFUSED,
            (
                "this host has %s, and nobody chose a runner: the job would run on a login node. "
                'Two lines below "platforms:" in platforms.yaml choose one: "%s:" and, indented, "runner: %s" '
                '(or "runner: background", if it is to run on this host itself)'
                % (batch.batch_command(), batch.options.get("platform") or "NAME", batch.likely_runner())
            ),
        )
    name = name or runners.BACKGROUND
    if name in batch.host.conf.deny_runners:  # type: ignore[attr-defined]
        raise Cannot(wire.R_REFUSED, "the runner %s is not allowed on this host (%s)" % (name, hostconf.PATH))
    return dict(item, runner=name)


def _text(batch: Batch, item: dict) -> str:
    """The text of the job file. Raises ValueError."""
    runner = runners.get(item["runner"])
    directives = runner.directives(dict(item, suite=batch.run["suite"]))
    sent_elsewhere = hasattr(runner, "place") and runner.place("\n".join(directives))
    settings = dict(
        batch.settings,
        directives=directives,
        place_variable=runner.PLACE_VARIABLE if sent_elsewhere else "",
        vacation_signals=runner.VACATION_SIGNALS,
        native_variable=runner.ID_VARIABLE,
        index_variable=runner.INDEX_VARIABLE,
    )
    if item["runner"] == runners.BACKGROUND and supervision(item) == BY_SLOT:
        settings["wrapper"] = jobfile.start_beside(settings["wrapper"])
    return jobfile.render(item, batch.run, settings)


# --- before the fence --------------------------------------------------------------------------------


def _prepare_all(batch: Batch, items: "list[dict]") -> "list[dict]":
    """Files of all jobs. Returns those that are to be submitted; the others have been answered."""
    ready = []
    for item in items:
        if item.get("token") in batch.tokens:  # the same job twice in one request
            continue
        made = _guarded(batch, item, _prepare)
        if made is not None:
            ready.append(made)
            batch.tokens.add(item["token"])
        batch.reply.progress()
    return ready


def _within_limit(batch: Batch, ready: "list[dict]") -> "list[dict]":
    """As many jobs for batch systems as ``max_submit`` allows; the others are answered: try later."""
    limit = batch.options.get("max_submit")
    if not limit:
        return ready
    kept, count = [], 0
    for item in ready:
        count += item["runner"] != runners.BACKGROUND
        if item["runner"] != runners.BACKGROUND and count > limit:
            batch.answer(item, wire.R_LIMIT, "", "max_submit (%d) is reached" % limit)
        else:
            kept.append(item)
    return kept


def _prepare(batch: Batch, item: dict) -> "dict | None":
    """Write the files of one job; None if it is there already (and answered)."""
    item = _checked(batch, item)
    text = _text(batch, item)
    token = item["token"]
    token_folder = batch.run_dir + "/" + layout.token_dir(token)
    batch.folder(batch.run_dir + "/" + layout.TOKENS)
    met = not batch.folder(token_folder)
    if met and _is_there(batch, item):
        return None
    folder = batch.run_dir + "/" + layout.job_dir(item["job"])
    batch.folder(os.path.dirname(folder))
    fresh = batch.folder(folder)
    _own_status(batch, item, folder)
    if not fresh:
        for name in (layout.OUT_FILE, layout.ERR_FILE):
            unlink(folder + "/" + name)
    write = session.write_new if fresh else session.write_beside
    write(folder + "/" + layout.JOB_FILE, text, 0o700)
    batch.folder(_work_dir(batch, item))  # here it costs nothing; the wrapper would have to start a program
    for source, target in _inputs(batch, item):
        _place_input(source, target)
    _point_latest(folder)
    return item


def _is_there(batch: Batch, item: dict) -> bool:
    """Whether a token that this host has met needs no submit any more; answers then. Raises Cannot."""
    token = item["token"]
    claim = fence.read_claim(batch.run_dir, token)
    if claim.state == wire.C_REVOKED or fence.has_kill_mark(batch.run_dir, token):
        raise Cannot(
            wire.R_REVOKED, "this job was revoked: it was killed or given up before it was submitted"
        )
    native_id = fence.read_native_id(batch.run_dir, token)
    if native_id or claim.state == wire.C_STARTED:
        batch.answer(item, wire.R_ALREADY, native_id or claim.native_id or str(claim.pid or ""))
        return True
    entry = batch.journal.get(token)
    if entry is None:
        return False  # an earlier request did not get as far as the fence
    if item["runner"] == runners.BACKGROUND and batch.in_spool(token):
        batch.answer(item, wire.R_ALREADY)
        return True
    if not proc.same_instance(entry.instance, batch.settings["instance"]):
        raise Cannot(wire.R_UNKNOWN, "an earlier request was cut short by a restart of %s" % entry.hostname)
    if item["runner"] != runners.BACKGROUND:
        raise Cannot(wire.R_UNKNOWN, "an earlier request may have submitted it")
    if fence.submitter_lives(entry):
        raise Cannot(wire.R_UNKNOWN, "another request is submitting it right now")
    return False  # it never got into the queue; its claim would fence a second copy


def _own_status(batch: Batch, item: dict, folder: str) -> None:
    """Create job.status exclusively, or find that it is ours. Raises Cannot if it is another job's."""
    path = folder + "/" + layout.STATUS_FILE
    text = status.header(item["token"], item["runner"], batch.now)
    try:
        session.write_new(path, text)
    except FileExistsError:
        token, readable = _token_of(path)
        if token == item["token"]:
            return
        if readable or os.path.getsize(path) > len(text):
            raise Cannot(wire.R_FOREIGN, "%s belongs to another job (token %s)" % (path, token or "unknown"))
        os.unlink(path)  # torn at its creation, so it never came to its journal entry
        session.write_new(path, text)


def _token_of(path: str) -> "tuple[str, bool]":
    try:
        with open(path, "rb") as file:
            found = status.parse(file.read(65536))
    except status.Unreadable:
        return "", False
    return found.facts.get(status.TOKEN, ""), status.TOKEN in found.facts


def _point_latest(folder: str) -> None:
    """The link ``NN`` beside the job's folder names the latest submit number."""
    parent, number = os.path.split(folder)
    path = parent + "/" + layout.LATEST
    try:
        os.symlink(number, path)
        return
    except FileExistsError:
        pass
    try:
        if os.readlink(path) == number:
            return
    except OSError:  # no link: leave it
        return
    temporary = "%s.%d.tmp" % (path, os.getpid())
    unlink(temporary)
    os.symlink(number, temporary)
    os.rename(temporary, path)


def _work_dir(batch: Batch, item: dict) -> str:
    cycle, task, _ = layout.split_job_id(item["job"])
    relative = item.get("work_dir") or layout.default_work_dir(cycle, task)
    return batch.run_dir + "/" + layout.check_relative(relative)


def _inputs(batch: Batch, item: dict) -> "list[tuple[str, str]]":
    """(source, target) of each input, absolute. Raises ValueError."""
    if not item.get("inputs"):
        return []
    work_dir = _work_dir(batch, item)
    pairs = []
    for source, target in item["inputs"]:
        name = target or os.path.basename(source.rstrip("/"))
        if name.endswith("/"):
            name += os.path.basename(source.rstrip("/"))
        pairs.append(
            (
                batch.run_dir + "/" + layout.check_relative(source),
                work_dir + "/" + layout.check_relative(name),
            )
        )
    return pairs


def _place_input(source: str, target: str) -> None:
    """Copy a file or a folder into the work directory. Files that are there and as new stay."""
    import shutil

    fence.make_folders(os.path.dirname(target))
    if os.path.isdir(source) and not os.path.islink(source):
        fence.make_folders(target)
        for name in sorted(os.listdir(source)):
            _place_input(source + "/" + name, target + "/" + name)
        return
    info = os.stat(source)
    try:
        old = os.stat(target)
        if (old.st_size, int(old.st_mtime)) == (info.st_size, int(info.st_mtime)):
            return
    except FileNotFoundError:
        pass
    temporary = "%s.%d.tmp" % (target, os.getpid())
    try:
        shutil.copy2(source, temporary)
        os.rename(temporary, target)
    except OSError:
        unlink(temporary)
        raise


def write_login(run_dir: str) -> str:
    """Keep what the login shell has set up, for the jobs of this batch; returns the file's path.

    The file is named by its content, so that batches with the same environment share it.
    """
    import re
    import zlib

    rows = []
    for name in sorted(os.environ):
        if (
            not re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", name)
            or name in NOT_KEPT
            or name.startswith(NOT_OF_THE_LOGIN)
        ):
            continue
        rows.append("export %s='%s'\n" % (name, os.environ[name].replace("'", "'\\''")))
    text = "".join(rows)
    data = text.encode("utf-8", "surrogateescape")
    path = "%s/%s/%s%08x%08x.sh" % (run_dir, layout.LIB, LOGIN_PREFIX, zlib.crc32(data), zlib.adler32(data))
    if not os.path.exists(path):
        session.write_beside(path, text)
    return path


def _journal_all(batch: Batch, ready: "list[dict]") -> "list[dict]":
    """Make the intent durable. If that cannot be done, no job of the batch is submitted."""
    if not ready:
        return []
    me = proc.own()
    try:
        fence.append_journal(
            batch.run_dir,
            [
                fence.Entry(
                    item["token"],
                    item["job"],
                    item["runner"],
                    time.time(),
                    me.pid,
                    me.start,
                    batch.settings["instance"],
                    batch.settings["hostname"],
                )
                for item in ready
            ],
        )
    except OSError as error:
        for item in ready:
            batch.answer(item, wire.R_FAILED, "", session.os_error_text(error))
        return []
    return ready


# --- behind the fence --------------------------------------------------------------------------------


def _submit_background(batch: Batch, ready: "list[dict]") -> None:
    """Queue the jobs.

    Only what stands in the queue can start, so what does not has failed, whatever went wrong.
    """
    from jobmgr_remote.runners import background

    if not ready:  # what an earlier request has queued may still wait for somebody to start it
        background.tend(batch.host, batch.options)
        return
    jobs = [Queued(batch.run_dir, item["job"], item["token"], batch.login, supervision(item)) for item in ready]
    trouble = ""
    try:
        failed = background.submit(batch.host, jobs, batch.options.get("max_active"))
    except OSError as error:
        trouble = session.os_error_text(error)
        queued = background.spool_of(batch.host).content().by_token
        failed = {item["token"]: error for item in ready if item["token"] not in queued}
    if trouble and len(failed) < len(ready):
        batch.reply.note("warning", "slots", "jobs are queued, but cannot be started now: " + trouble)
    for item in ready:
        error = failed.get(item["token"])
        batch.answer(
            item, *((wire.R_FAILED, "", session.os_error_text(error)) if error else (wire.R_SUBMITTED,))
        )


def supervision(item: dict) -> str:
    """Who looks after a job: the slot itself, or a wrapper where there is more to do."""
    more = item.get("time_limit") is not None or item.get("err_script") or item.get("exit_script")
    return "" if more else BY_SLOT


def _submit_batch(batch: Batch, ready: "list[dict]") -> None:
    """Give each job to its batch system, some at a time; the rest waits if the queue is full.

    One by one where the caller knows that there is little room (``in_order``): who comes first gets it.
    """
    if not ready:
        return
    from concurrent.futures import ThreadPoolExecutor

    full = []  # type: list[str]
    released = []
    with ThreadPoolExecutor(1 if batch.options.get("in_order") else AT_ONCE) as pool:
        for item, outcome in pool.map(lambda item: (item, _submit_one(batch, item, full)), ready):
            if outcome[0] in (wire.R_LIMIT, wire.R_FAILED):
                released.append(item)
            batch.answer(item, *outcome)
    # Certainly not in the queue: the same token may be submitted another time.
    fence.release(batch.run_dir, [(item["token"], item["job"], item["runner"]) for item in released])


def _submit_one(batch: Batch, item: dict, full: "list[str]") -> "tuple[str, str, str]":
    """(result, native id, text) of one job; its native id is on disk before anybody hears of it."""
    from jobmgr_remote.runners import base

    if full:
        return wire.R_LIMIT, "", full[0]
    runner = runners.get(item["runner"])
    folder = batch.run_dir + "/" + layout.job_dir(item["job"])
    files = [folder + "/" + name for name in (layout.JOB_FILE, layout.OUT_FILE, layout.ERR_FILE)]
    try:
        call = runner.submit_call(dict(item, suite=batch.run["suite"]), *files)
        outcome = runner.parse_submit(*proc.run_call(call, runner.TIMEOUT))
    except ValueError as error:
        return wire.R_FAILED, "", str(error)
    if outcome.state == base.SUBMITTED:
        try:
            fence.write_native_id(batch.run_dir, item["token"], outcome.native_id)
        except OSError as error:
            return (
                wire.R_SUBMITTED,
                outcome.native_id,
                "its id could not be recorded here: " + session.os_error_text(error),
            )
        return wire.R_SUBMITTED, outcome.native_id, ""
    if outcome.state == base.LIMIT:
        full.append(outcome.text)
        return wire.R_LIMIT, "", outcome.text
    return (wire.R_FAILED if outcome.state == base.FAILED else wire.R_UNKNOWN), "", outcome.text

"""jobs-kill: many jobs, each with all of its processes.

First a mark, so that nobody retries; then the token is revoked, if nothing has claimed it: such a job can
never start. What has started is ended: through the queue for a batch system's job, once the queue lists it as
ours; by ending.py for the processes of this machine, all jobs in one go.
"""

from jobmgr_remote import evidence, fence, proc, runners, session, status, wire
from jobmgr_remote.commands import jobs_poll
from jobmgr_remote.ending import LAST_LINES, Ending, Target
from jobmgr_remote.runners import background
from jobmgr_remote.spool import BY_SLOT, Keeper
from jobmgr_remote.takeover import Takeover

GRACE = 10.0
MAX_GRACE = 600.0


class Kill(object):
    """One job on its way out. ``troubles`` are what could not be done or seen, for humans."""

    def __init__(self, item: dict, before: wire.Evidence) -> None:
        self.item = item
        self.token = item["token"]
        self.before = before
        self.runner = item.get("runner") or runners.BACKGROUND
        self.revoked = False
        self.finished = False
        self.unknown = False
        self.ended = False
        self.troubles = []  # type: list[str]

    def result(self, after: wire.Evidence) -> "tuple[str, str]":
        """(one of wire.K_*, text). Who came to a good end while the kill was under way has not been killed."""
        if self.troubles:
            return wire.K_COULD_NOT, "; ".join(self.troubles)
        if self.unknown:
            return wire.K_NOT_FOUND, "this host has never met the job; it cannot start here any more"
        succeeded = after.file.facts.get(status.EXIT, "").startswith(status.SUCCEEDED)
        if succeeded or (self.finished and not self.ended):
            return wire.K_FINISHED, ""
        return wire.K_KILLED, "it had not started" if self.revoked else ""


def run(request: wire.Request, reply: object, host: object) -> None:
    """Answers with one wire.Killed per job, evidence of afterwards included.

    Where the run directory is not there nobody can say how the jobs ended, but what carries their tokens, or the
    ids that the caller knows, is ended all the same.
    """
    spool = background.spool_of(host)
    looker = evidence.Looker(host, spool, keep_claims=True)
    items = jobs_poll.checked(request.items, reply)
    kills = [Kill(item, looker.safe_look(item, looker.glance)) for item in items]
    if host.run_state == session.RUN_OK:
        for kill in kills:
            _mark_and_revoke(kill, host)
        spool.withdraw([kill.token for kill in kills if kill.revoked])
        keeper = spool.release([kill.token for kill in kills if not kill.troubles])
    else:
        spool.withdraw([kill.token for kill in kills])
        keeper = spool.keeper()
    _cancel(kills, host)
    with Takeover(spool, keeper, lambda: background.tend(host, request.options)) as takeover:
        _end_processes(kills, looker, takeover, request.options, reply)
        looker.forget()
        answer = _answer if host.run_state == session.RUN_OK else _answer_without_directory
        for position, one in looker.looks([kill.item for kill in kills], reply.progress):
            reply.job(answer(kills[position], one, host))
        reply.flush()


def _answer(kill: Kill, one: wire.Evidence, host: object) -> wire.Killed:
    result, text = kill.result(one)
    return wire.Killed(one.job, one.token, result, text, jobs_poll.with_files(kill.item, one, host))


def _answer_without_directory(kill: Kill, one: wire.Evidence, host: object) -> wire.Killed:
    """Only where the directory was deleted is there evidence: that nothing is left of the job. A file system that
    comes back may hold another story.
    """
    told = host.run_state == session.RUN_ABSENT and not kill.troubles
    if told and kill.runner == runners.BACKGROUND:
        one = one._replace(process=wire.P_GONE, claim=wire.C_REVOKED)
    if not told:
        kill.troubles.append("its run directory is not there, so nobody can say how it ended")
    result, text = kill.result(one)
    return wire.Killed(one.job, one.token, result, text, one if told else None)


def _mark_and_revoke(kill: Kill, host: object) -> None:
    """Sets ``finished``, ``revoked`` and ``unknown``."""
    before = kill.before
    exit_text = before.file.facts.get(status.EXIT, "")
    kill.finished = bool(exit_text)
    if exit_text.startswith(status.SUCCEEDED):
        return
    if before.file.state == wire.FILE_FOREIGN:  # what carries the token is the job's all the same
        kill.troubles.append("the job's directory belongs to another job, so nobody can say how it ended")
    try:
        if not kill.finished:
            fence.write_kill_mark(host.run_dir, kill.token, session.utc_now())
        if before.claim != wire.C_STARTED:
            kill.revoked = before.claim == wire.C_REVOKED or fence.revoke(host.run_dir, kill.token)
    except OSError as error:
        kill.troubles.append(session.os_error_text(error))
    kill.unknown = (
        kill.revoked and not before.fenced and before.file.state != wire.FILE_OK and not before.native_id
    )


# --- through the queue -------------------------------------------------------------------------------


def _cancel(kills: "list[Kill]", host: object) -> None:
    by_runner = {}  # type: dict[str, list[Kill]]
    for kill in kills:
        done = kill.finished and kill.before.file.facts[status.EXIT].startswith(status.SUCCEEDED)
        if kill.runner != runners.BACKGROUND and kill.before.native_id and not done:
            by_runner.setdefault(kill.runner, []).append(kill)
    for name, group in by_runner.items():
        try:
            _cancel_group(runners.get(name), group)
        except ValueError as error:
            for kill in group:
                kill.troubles.append(str(error))


def _cancel_group(runner: object, group: "list[Kill]") -> None:
    """Ask for the jobs, cancel those that the queue lists as ours."""
    from jobmgr_remote.runners import base

    command = evidence.command_runner(runner)
    seen, errors = base.ask(runner, [kill.before.native_id for kill in group], command)
    ours = {}  # type: dict[str, Kill]
    for kill in group:
        queue = evidence.queue_evidence(kill.before, seen, errors)
        if queue.state == wire.Q_COULD_NOT_ASK:
            kill.troubles.append("the queue could not be asked: " + queue.error)
        elif queue.state not in (wire.Q_ABSENT, wire.Q_ENDED, wire.Q_OTHER_JOB):
            ours[kill.before.native_id] = kill
            kill.ended = True
    if ours:
        for native_id, text in base.kill(runner, list(ours), command).items():
            if native_id in ours:
                ours[native_id].troubles.append(text)


# --- processes of this machine -----------------------------------------------------------------------


def _end_processes(
    kills: "list[Kill]", looker: evidence.Looker, takeover: Takeover, options: dict, reply: object
) -> None:
    """All jobs in one go; the tokens of jobs that could be revoked are looked for too, in case they are not
    alone.
    """
    by_token = {}  # type: dict[str, Kill]
    targets = []
    keeper = takeover.keeper
    left = looker.spool.orphans(keeper.slots)
    for kill in kills:
        if evidence.runner_shares_status(kill.runner):
            continue
        if kill.finished and kill.before.file.facts[status.EXIT].startswith(status.SUCCEEDED):
            continue
        target = _target(kill, looker, keeper, left)
        if target is not None:
            by_token[kill.token] = kill
            targets.append(target)
    grace = options.get("grace")
    grace = GRACE if grace is None else max(0.0, min(float(grace), MAX_GRACE))
    takeover.stop(targets)
    ending = Ending(targets, {slot.pid for slot in keeper.slots}, reply.progress, takeover)
    for token, troubles in ending.run(grace).items():
        by_token[token].troubles.extend(troubles)
        by_token[token].ended = by_token[token].ended or token in ending.ended
    troubled = {token for token, kill in by_token.items() if kill.troubles}
    takeover.finish(list(by_token), troubled, LAST_LINES)


def _target(kill: Kill, looker: evidence.Looker, keeper: Keeper, left: list) -> "Target | None":
    """Whose processes are to end; None (and a trouble) if the job is on another machine."""
    claim = looker.claim(kill.token)
    facts = kill.before.file.facts
    pid, start = claim.pid, claim.start
    instance, hostname = claim.instance, claim.hostname
    if not pid and facts.get(status.PID, "").isdigit():
        pid, start = int(facts[status.PID]), facts.get(status.START_IDENTITY, "")
        instance, hostname = facts.get(status.INSTANCE, ""), facts.get(status.HOSTNAME, "")
    elsewhere = looker.elsewhere(instance, hostname) if pid else ""
    if elsewhere == wire.P_OTHER_HOST:
        if not kill.finished:
            kill.troubles.append(
                "the job runs on %s, and this is %s"
                % (
                    hostname,
                    looker.host.hostname,
                )
            )
        return None
    slot = keeper.slot(kill.token)
    slot_pid = slot.pid if slot is not None and not elsewhere else 0
    found = proc.start_of_job(pid, start, kill.token) if not elsewhere else ""
    if not found:
        if pid and not kill.finished:  # meanwhile, perhaps
            kill.finished = status.EXIT in looker.file(kill.item).facts
        return Target(kill.token, 0, start, slot_pid, left, False)
    return Target(kill.token, pid, found, slot_pid, left, not _is_supervised(kill.token, pid, keeper))


def _is_supervised(token: str, pid: int, keeper: Keeper) -> bool:
    """Whether the job has no wrapper: its entry says so, or what it was started with (and has not replaced)."""
    entry = keeper.job(token)
    if entry is not None:
        return entry.supervision == BY_SLOT
    return bool(proc.variable(proc.environment(pid), proc.SLOT_VARIABLE))

"""jobs-kill records in the stead of slots that have nothing else to do; whatever happens, no slot stays stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host_side import Host, await_that, host_in
from jobmgr_remote import fence, layout, proc, spool, status, wire
from jobmgr_remote.ending import Target
from jobmgr_remote.lock import Held
from jobmgr_remote.takeover import Takeover

# Runs the host side and kills it before the step with this number; says in a file that it has come so far.
CUT = """\
import os, signal, sys
at, said, apart, package = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[-2]
sys.path[0] = os.path.dirname(package)
sys.argv[:] = sys.argv[-2:]
from jobmgr_remote import __main__, closing, fence, proc, spool, takeover
takeover.APART = apart
left = at
def step():
    global left
    left -= 1
    if left == 0:
        open(said, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
def counted(function):
    def call(*args, **named):
        step()
        return function(*args, **named)
    return call
for module, name in ((proc, "send"), (closing, "append"), (spool, "unlink"), (fence, "create_directly")):
    setattr(module, name, counted(getattr(module, name)))
__main__.main()
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path / "home") as one:
        yield one


def spool_of(host: Host) -> spool.Spool:
    return spool.Spool(str(host.home), os.uname()[1], proc.instance())


def running(host: Host, count: int = 1, script: str = "sleep 1000 & wait") -> list[dict[str, object]]:
    items = [host.job(script, task=f"t{number}") for number in range(count)]
    host.submit(*items, max_active=count)
    host.wait_started(*items)
    return items


def stopped(host: Host) -> list[int]:
    return [pid for pid in host.slots() if (process := proc.look(pid)) and process.state == proc.STOPPED]


def target_of(host: Host, item: dict[str, object]) -> Target:
    claim = fence.read_claim(str(host.run_dir), str(item["token"]))
    return Target(item["token"], claim.pid, claim.start, 1, [], False)


def released(host: Host, items: list[dict[str, object]]) -> Takeover:
    """What jobs-kill has before it ends these jobs."""
    for item in items:
        fence.write_kill_mark(str(host.run_dir), str(item["token"]), "now")
    queue = spool_of(host)
    return Takeover(queue, queue.release([str(item["token"]) for item in items]))


def end(host: Host, item: dict[str, object]) -> None:
    """End the job's processes and wait until its shell is a zombie."""
    pid = int(host.facts(item)[status.PID])
    os.killpg(pid, 15)
    await_that(lambda: (process := proc.look(pid)) is None or process.state in proc.DEAD_STATES)


def test_slots_do_not_wake_and_the_record_is_theirs(host: Host) -> None:
    items = running(host, 3, "i=0; while ((i < 100000)); do ((i += 1)); done; touch up$JOBMGR_TASK; sleep 1000 & wait")
    await_that(lambda: len(list(host.run_dir.rglob("upt*"))) == 3)
    assert [one.result for one in host.kill(*items)] == [wire.K_KILLED] * 3
    for item in items:
        facts = host.facts(item)
        assert list(facts)[-4:] == [status.ELAPSED, status.CPU, status.EXIT_TIME, status.EXIT]
        assert facts[status.EXIT] == "SIGNAL/TERM"
        assert 0.05 < float(facts[status.CPU]) <= float(facts[status.ELAPSED]) + 0.02 < 300
    await_that(lambda: host.processes() == [])
    assert os.listdir(host.spool / "queue") == os.listdir(host.spool / "taken") == []
    assert not any(name.isdigit() for name in os.listdir(host.spool / "slots"))


def test_a_slot_that_is_stopped_has_its_jobs_end_recorded_and_is_ended(host: Host) -> None:
    (item,) = running(host)
    with released(host, [item]) as takeover:
        takeover.stop([target_of(host, item)])
        await_that(lambda: stopped(host))
        (slot,) = stopped(host)
        takeover.tell(str(item["token"]))
        end(host, item)
        takeover.finish([str(item["token"])], set(), 60.0)
        assert host.exit_of(item) == "SIGNAL/TERM"
        assert stopped(host) == [slot], "it is ended at last"
    await_that(lambda: not host.slots())


def test_a_job_that_ends_before_it_is_signalled_has_its_own_end(host: Host) -> None:
    (item,) = running(host, 1, "until [ -e go ]; do sleep 0.02; done; exit 3")
    with released(host, [item]) as takeover:
        takeover.stop([target_of(host, item)])
        pid = int(host.facts(item)[status.PID])
        (host.run_dir / "go").touch()
        (host.run_dir / "work").mkdir(exist_ok=True)
        for folder in {host.run_dir, Path(os.readlink(f"/proc/{pid}/cwd"))}:
            (folder / "go").touch()
        await_that(lambda: (process := proc.look(pid)) is None or process.state in proc.DEAD_STATES)
        takeover.finish([str(item["token"])], set(), 60.0)
        assert host.exit_of(item) == "FAILED/3"


def test_what_could_not_be_ended_is_left_to_its_slot(host: Host) -> None:
    (item,) = running(host)
    token = str(item["token"])
    with released(host, [item]) as takeover:
        takeover.stop([target_of(host, item)])
        takeover.tell(token)
        takeover.finish([], {token}, 0.0)
        await_that(lambda: not stopped(host))
        end(host, item)
        await_that(lambda: host.exit_of(item))
    assert host.exit_of(item) == "SIGNAL/TERM"


def test_a_record_that_cannot_be_written_is_left_to_the_slot(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (item,) = running(host)
    token = str(item["token"])
    with released(host, [item]) as takeover:
        takeover.stop([target_of(host, item)])
        takeover.tell(token)
        end(host, item)
        monkeypatch.setattr("jobmgr_remote.closing.append", lambda path, data: False)
        takeover.finish([token], set(), 60.0)
        assert host.exit_of(item) == "SIGNAL/TERM"
    assert host.spool.joinpath("slots", "1").exists(), "nobody has ended it"


def test_work_that_comes_meanwhile_is_done_by_the_stopped_slot(host: Host) -> None:
    (item,) = running(host)
    token = str(item["token"])
    with released(host, [item]) as takeover:
        takeover.stop([target_of(host, item)])
        more = host.job("true", task="more")
        host.submit(more, max_active=1)
        takeover.tell(token)
        end(host, item)
        takeover.finish([token], set(), 60.0)
        assert host.exit_of(item) == "SIGNAL/TERM"
    host.wait_exit(more)
    assert host.exit_of(more) == "SUCCEEDED"


def test_word_of_work_that_others_have_done_keeps_no_slot(host: Host) -> None:
    first, second = running(host, 2)
    third = host.job("true", task="more")
    host.submit(third, max_active=3)  # both slots are told of it, and a third one does it
    host.wait_exit(third)
    await_that(lambda: len(host.slots()) == 2)
    tokens = [str(item["token"]) for item in (first, second)]
    with released(host, [first, second]) as takeover:
        takeover.stop([target_of(host, first), target_of(host, second)])
        for item, token in zip((first, second), tokens, strict=True):
            takeover.tell(token)
            end(host, item)
        takeover.finish(tokens, set(), 60.0)
        assert len(takeover._done) == 2
    await_that(lambda: not host.slots())


def test_a_number_that_is_another_slots_by_now_stays_registered(host: Host) -> None:
    (item,) = running(host)
    token = str(item["token"])
    with released(host, [item]) as takeover:
        takeover.stop([target_of(host, item)])
        takeover.tell(token)
        end(host, item)
        takeover.finish([token], set(), 60.0)
        assert len(takeover._done) == 1
        me = proc.own()
        (host.spool / "slots" / "1").write_text(f"{me.pid} {me.start}\n")
    assert (host.spool / "slots" / "1").exists()


def test_only_one_stops_slots_and_a_poll_does_not_disturb_it(host: Host) -> None:
    first, second = running(host, 2)
    with released(host, [first]) as one, released(host, [second]) as other:
        one.stop([target_of(host, first)])
        other.stop([target_of(host, second)])
        await_that(lambda: len(stopped(host)) == 1)
        assert [evidence.process for evidence in host.poll(first, second)] == [wire.P_ALIVE] * 2
        assert len(stopped(host)) == 1
    await_that(lambda: not stopped(host))


def test_a_job_with_a_wrapper_records_itself(host: Host) -> None:
    item = host.job("sleep 1000 & wait", time_limit=3600)
    host.submit(item)
    host.wait_started(item)
    with released(host, [item]) as takeover:
        takeover.stop([target_of(host, item)._replace(wrapper=True)])
        assert stopped(host) == []
    assert host.kill(item)[0].result == wire.K_KILLED
    assert host.exit_of(item) == "SIGNAL/TERM"


def test_slots_whose_jobs_kill_is_gone_go_on_with_the_next_call(host: Host) -> None:
    (item,) = running(host)
    takeover = released(host, [item])
    pid = os.fork()
    if pid == 0:
        takeover.__enter__()
        takeover.stop([target_of(host, item)])
        os._exit(0)
    os.waitpid(pid, 0)
    await_that(lambda: stopped(host))
    assert host.poll(item)[0].process == wire.P_ALIVE
    await_that(lambda: not stopped(host))


def test_many_slots_are_ended_by_a_process_for_which_nobody_waits(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = running(host, 3)
    tokens = [str(item["token"]) for item in items]
    monkeypatch.setattr("jobmgr_remote.takeover.APART", 3)
    then = host.home / "then"
    with released(host, items) as takeover:
        takeover._then = then.touch
        takeover.stop([target_of(host, item) for item in items])
        for item, token in zip(items, tokens, strict=True):
            takeover.tell(token)
            end(host, item)
        takeover.finish(tokens, set(), 60.0)
        monkeypatch.setattr(Takeover, "_end_slots", held_up(takeover._end_slots, host.home / "go"))
    assert len(stopped(host)) == 3, "they are left to the child"
    assert not then.exists()
    with pytest.raises(Held), spool_of(host).kill_lock():
        pass
    (host.home / "go").touch()
    await_that(then.exists)
    await_that(lambda: not host.slots())
    assert not any(name.isdigit() for name in os.listdir(host.spool / "slots"))
    with spool_of(host).kill_lock():
        pass


def held_up(function: Callable[..., None], until: Path) -> Callable[..., None]:
    def later(_self: object, *arguments: float) -> None:
        await_that(until.exists)
        function(*arguments)

    return later


@pytest.mark.slow
@pytest.mark.parametrize("apart", [64, 1], ids=["itself", "by a child"])
def test_a_kill_that_is_cut_at_any_step_leaves_no_slot_stopped_and_one_record(tmp_path: Path, apart: int) -> None:
    for at in range(1, 100):
        said = tmp_path / f"said{at}"
        with host_in(tmp_path / f"home{at}") as host:
            (item,) = running(host)
            host.through = [sys.executable, "-c", CUT, str(at), str(said), str(apart)]
            host.call(wire.JOBS_KILL, [item])
            host.through = []
            host.poll(item)
            await_that(lambda host=host: not stopped(host))
            (killed,) = host.kill(item)
            assert killed.result in (wire.K_KILLED, wire.K_FINISHED), (at, killed)
            text = (host.log_dir(item) / layout.STATUS_FILE).read_text()
            assert text.count("JOBMGR_EXIT=SIGNAL/TERM\n") == 1, (at, text)
            await_that(lambda host=host: host.processes() == [])
        if not said.exists():
            assert at > 10
            return
    raise AssertionError("it never came to its end")

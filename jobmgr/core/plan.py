"""What comes next in one cycle: the graph, seen against the states of its task instances. No I/O, no clock.

A :class:`Plan` is the loop's image of the store: it is told of every changed instance with :meth:`Plan.put`
and answers which tasks are to be submitted now, when to look again, and whether the cycle is at its end. A
change costs what depends on it, not the size of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from jobmgr.core.graph import OUTPUTS_OF_STATE, STARTED, SUBMITTED, Graph, Progress
from jobmgr.core.states import ACTIVE, BEFORE_JOB, State

_ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.SUBMIT_FAILED, State.KILLED})


class Instance(Struct, frozen=True):
    """One task in the cycle, as the store has it.

    ``state`` as in core/states.py; ``jobs``: the number of its latest job, 0 for none; ``not_before``: the
    time of its next try; ``started``: some job of it has started; ``events``: those its jobs have announced.
    """

    task: str
    state: State
    jobs: int = 0
    not_before: float = 0.0
    started: bool = False
    events: frozenset[str] = frozenset()


class Plan:
    """The image of one cycle. Times are seconds since the epoch, by the clock at home."""

    def __init__(self, graph: Graph, cycle: str, instances: Iterable[Instance] = ()) -> None:
        self.graph = graph
        self.cycle = cycle
        self._instances: dict[str, Instance] = {}
        self._outputs: dict[str, frozenset[str]] = {}
        self._ended: set[str] = set()
        self._removed: set[str] = set()
        self._fresh: dict[str, None] = {}
        self._again: dict[str, float] = {}
        self._active: set[str] = set()
        self._look_at: dict[str, None] = {}
        self._changed: set[str] = set()
        for instance in instances:
            self.put(instance)

    def put(self, instance: Instance) -> None:
        """Take note of an instance that is new or has changed."""
        task = instance.task
        if self._instances.get(task) == instance:
            return
        self._instances[task] = instance
        for index in (self._ended, self._removed, self._active):
            index.discard(task)
        self._fresh.pop(task, None)
        self._again.pop(task, None)
        if instance.state in ACTIVE:
            self._active.add(task)
        elif instance.state is State.REMOVED:
            self._removed.add(task)
        elif instance.state in _ENDED:
            self._ended.add(task)
        elif instance.state is not State.HELD:
            if instance.state is State.QUEUED or instance.jobs or task not in self.graph.prerequisites:
                if instance.state is State.QUEUED or instance.jobs:
                    self._again[task] = instance.not_before
            else:
                self._fresh[task] = None
                self._look_at[task] = None
        self._outputs[task] = _outputs(instance)
        self._changed.add(task)

    def ready(self, now: float) -> list[str]:
        """The tasks whose turn it is: by the graph, or because the time of their next try has come."""
        due = [task for task, when in self._again.items() if when <= now]
        if len(due) > 1:  # what had to wait keeps its place
            place = {task: at for at, task in enumerate(self._instances)}
            due.sort(key=place.__getitem__)
        self._look_at.update(dict.fromkeys(self.graph.dependents(self._changed)))
        self._changed = set()
        candidates = [task for task in self._fresh if task in self._look_at]
        fresh = self.graph.ready(candidates, self._progress())
        self._look_at = dict.fromkeys(fresh)  # until they are submitted they stay candidates
        return due + [task for task in fresh if self._instances[task].not_before <= now]

    def next_time(self) -> float | None:
        """When the next try of some task is due; None if nothing waits for its time."""
        return min(self._again.values(), default=None)

    def active(self) -> bool:
        """Whether any job of the cycle is at a host."""
        return bool(self._active)

    def finished(self) -> bool:
        """Whether nothing is active, nothing waits for its time, and nothing can become ready by itself any
        more.

        What waits for a manual task is not waited for: only a person can start that one.
        """
        if self._active or self._again or any(i.state is State.HELD for i in self._instances.values()):
            return False
        by_hand = {task for task in self._fresh if task in self.graph.manual}
        progress = Progress(self._outputs, self._ended | by_hand, self._removed)
        never = self.graph.unreachable(self._fresh, progress)
        return all(task in never or task in by_hand for task in self._fresh)

    def held(self) -> list[str]:
        """Tasks that a person holds."""
        return [task for task, instance in self._instances.items() if instance.state is State.HELD]

    def explain(self, task: str) -> str:
        """What a waiting task waits for, for people; "" if nothing."""
        return self.graph.explain(task, self._progress(), self.cycle)

    def not_run(self) -> list[str]:
        """Tasks that have had no job, in the order of the suite."""
        return [t for t, i in self._instances.items() if i.state in BEFORE_JOB and not i.jobs]

    def _progress(self) -> Progress:
        return Progress(self._outputs, self._ended, self._removed)


def _outputs(instance: Instance) -> frozenset[str]:
    reached = OUTPUTS_OF_STATE.get(instance.state.value, frozenset()) | instance.events
    if instance.started:
        reached |= {SUBMITTED, STARTED}
    return reached

"""What each task that waits for runs is promised, compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass, field

from virtual_clock import EPOCH
from virtual_network import Network
from virtual_triggerer import Deferred

from airflow_provider_trigger.cancel.cancellation import TIME_LIMIT
from airflow_provider_trigger.run.waited import WaitSettings

LATEST = 60.0
"""How long after its run's end a wait may last, in seconds, while no fault lasts."""

LATEST_IF_LOST = 90.0
"""The same where the query has lost the end, in seconds; while it works, 1 s more for each run."""


@dataclass(eq=False, kw_only=True)
class Planned:
    """
    A task that waits for runs.

    :param starts_at: when it starts them and waits
    :param ends_after: when each of its runs ends after that, in seconds
    :param kill_at: when it is ended from outside, infinite for never
    :param settings: how it waits
    :param latest: how long after the end of its runs it may wait, in seconds, while no fault lasts
    :param ends: the last status of each run
    """

    starts_at: float
    ends_after: list[float]
    kill_at: float
    settings: WaitSettings
    latest: float = LATEST
    ends: list[str] = field(default_factory=list)
    task: Deferred | None = None


class Promises:
    """
    Compare what became of tasks with the truth.

    :param faults: from when until when nothing can be noticed or canceled
    """

    def __init__(self, network: Network, faults: list[tuple[float, float]]) -> None:
        self._network = network
        self._faults = faults

    def broken(self, planned: Planned) -> list[str]:
        """Return which promises were broken to a task."""
        task = planned.task
        assert task is not None
        if task.error is not None:
            return [f"{task.run_ids} raised {task.error!r}"]
        if task.killed_at is not None:
            return [wrong for run_id in task.run_ids if (wrong := self._left_alive(run_id, task.killed_at))]
        if any(self._network.requested[run_id] for run_id in task.run_ids):
            return [f"{task.run_ids} canceled, although its task was not ended"]
        if task.event_at is None:
            return [f"{task.run_ids} waited for in vain: {planned.ends_after}"]
        return self._wrong_event(planned, task)

    def _left_alive(self, run_id: str, killed_at: float) -> str:
        until = self._end_of_faults(killed_at, TIME_LIMIT) + TIME_LIMIT
        state = self._network.engine.runs[run_id].state_at(self._server_time(until))
        if state and state.final:
            return ""
        return f"{run_id}, whose task ended at {killed_at:.1f}, is {state and state.status}"

    def _wrong_event(self, planned: Planned, task: Deferred) -> list[str]:
        assert task.event_at is not None
        wrong = []
        for run, end in zip(task.event["runs"], planned.ends, strict=True):
            state = self._network.engine.runs[run["run_id"]].state_at(self._server_time(task.event_at))
            if run["end"] != "final" or run["status"] != end or not state or not state.final:
                wrong.append(f"{run} at {task.event_at:.1f}, ends as {end}, is {state and state.status}")
        end_at = planned.starts_at + max(planned.ends_after)
        hung = [span for run_id in task.run_ids for span in self._network.hung.get(run_id, [])]
        late = task.event_at - self._end_of_faults(end_at, planned.latest, *hung)
        if late > planned.latest:
            wrong.append(f"{task.run_ids} end at {end_at:.1f}, noticed at {task.event_at:.1f}")
        return wrong

    def _end_of_faults(self, at: float, seconds: float, *spans: tuple[float, float]) -> float:
        """Return the end of faults that begin in some seconds, and of those that follow them."""
        for start, end in sorted([*self._faults, *spans]):
            if start < at + seconds and end > at:
                at = end
        return at

    def _server_time(self, at: float) -> float:
        return EPOCH + at + self._network.skew

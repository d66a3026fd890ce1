"""Workers that need no threads: a cancellation in milliseconds."""

from __future__ import annotations

import asyncio

from virtual_clock import Clock
from virtual_network import Network

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.cancel.jobs import Job
from airflow_provider_trigger.cancel.schedule import Schedule

GRACE = 0.5


class VirtualWorkers:
    """
    Do a schedule's jobs as :mod:`airflow_provider_trigger.cancel.workers` does: by events, not in threads.

    :param count: how many requests are in flight at a time
    :param kill_at: when the work is stopped from outside, infinite for never
    """

    def __init__(
        self, schedule: Schedule, network: Network, clock: Clock, *, count: int, kill_at: float
    ) -> None:
        self._schedule = schedule
        self._network = network
        self._clock = clock
        self._idle = count
        self._count = count
        self._kill_at = kill_at
        self._closed = False
        self._ended_at = float("inf")
        self._changed = asyncio.Event()

    def run(self) -> float:
        """Do all jobs, and return when the work ended."""
        while (until := self._proceed()) is not None:
            self._clock.next(until=until)
        return self._clock.now

    async def run_in_loop(self) -> None:
        """Do all jobs in virtual time that an event loop moves."""
        while (until := self._proceed()) is not None:
            self._changed.clear()
            seconds = min(max(0.0, until - self._clock.now), 300.0)
            timer = asyncio.get_running_loop().call_later(seconds, self._changed.set)
            await self._changed.wait()
            timer.cancel()

    def _proceed(self) -> float | None:
        """Begin what can begin; return until when nothing else does unless a reply comes, None at the end."""
        now = self._clock.now
        if now >= self._kill_at:
            self._schedule.stop()
        wake_at = self._begin_jobs()
        if self._schedule.check_deadline() is not None:
            self._ended_at = min(self._ended_at, now)
        if self._ended_at <= now and (self._idle == self._count or now >= self._ended_at + GRACE):
            self._closed = True
            return None
        kill_at = self._kill_at if self._kill_at > now else float("inf")
        return min(wake_at, kill_at, self._ended_at + GRACE)

    def _begin_jobs(self) -> float:
        """Give jobs to all idle workers, and return when the next one becomes ready."""
        while self._idle:
            job = self._schedule.take()
            if job is None:
                return float("inf")
            if not isinstance(job, Job):
                return self._clock.now + job
            self._idle -= 1
            self._drive(job, None)
        return float("inf")

    def _drive(self, job: Job, reply: Reply) -> None:
        if self._closed:
            return
        self._changed.set()
        try:
            step = job.steps.send(reply)
        except StopIteration as end:
            self._schedule.finish(job, end.value)
            self._idle += 1
        except TriggerDevError as error:
            self._schedule.finish(job, error=error)
            self._idle += 1
        else:
            if isinstance(step, Send) and self._schedule.end:
                self._idle += 1
            elif isinstance(step, Send):
                self._schedule.sent(job)
                self._network.send(step, lambda reply: self._drive(job, reply))
            elif step.for_turn:
                self._clock.at(self._clock.now + step.seconds, lambda: self._drive(job, None))
            else:
                self._schedule.park(job, step)
                self._idle += 1

"""The workers behind a server: they take queued runs, and do with them what their tasks' scripts say."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from . import defaults
from .durations import read_duration
from .runs import ServerRun
from .tasks import Outcome, internal_error


class Worker:
    """Take queued runs; which tasks and queues the deployed version has."""

    def __init__(self) -> None:
        self.version = defaults.VERSION
        self._versions = [self.version]
        self._unknown_tasks: set[str] = set()
        self._unknown_queues: set[str] = set()

    def has_version(self, version: str) -> bool:
        """
        Return whether a version was deployed.

        :param version: such as ``20261125.1``
        """
        return version in self._versions

    def forget_task(self, task_identifier: str) -> None:
        """
        Let the deployed version not have a task.

        :param task_identifier: the task
        """
        self._unknown_tasks.add(task_identifier)

    def forget_queue(self, name: str) -> None:
        """
        Let no version ever have a queue.

        :param name: the queue
        """
        self._unknown_queues.add(name)

    def deploy(self, task_identifier: str, runs: Iterable[ServerRun], *, now: float) -> None:
        """
        Deploy a new version, which has a task; runs that wait for a queue go on waiting.

        :param task_identifier: the task
        :param runs: all runs
        :param now: the time, in seconds since 1970
        """
        self._unknown_tasks.discard(task_identifier)
        day, _, number = self.version.partition(".")
        self.version = f"{day}.{int(number) + 1}"
        self._versions.append(self.version)
        for run in runs:
            waits = run.status == "PENDING_VERSION" and run.task_identifier == task_identifier
            if waits and not self._lacks(run):
                run.later(now + defaults.DEPLOY_DURATION, functools.partial(self.release, run))

    def queue(self, run: ServerRun, at: float) -> None:
        """
        Wait for a worker with a run that has become QUEUED; it may expire before.

        :param run: the run
        :param at: when it was queued, in seconds since 1970
        """
        expires_after, starts_after = read_duration(run.ttl), run.script.start_after
        if expires_after is not None:
            run.later(at + expires_after, functools.partial(_expire, run))
        if starts_after is not None:
            run.later(at + starts_after, functools.partial(self._take, run))

    def release(self, run: ServerRun, at: float) -> None:
        """
        Queue a run that waited: for its time, or for a version that has its task.

        :param run: the run
        :param at: when, in seconds since 1970
        """
        run.move("QUEUED", at)
        self.queue(run, at)

    def _take(self, run: ServerRun, at: float) -> None:
        run.stay()  # it no longer expires
        if self._lacks(run):
            run.move("PENDING_VERSION", at)
        else:
            run.version = run.options.get("lockToVersion") or self.version
            _attempt(run, 1, at)

    def _lacks(self, run: ServerRun) -> bool:
        """Return whether no deployed version has a run's task, or its queue."""
        queue = (run.options.get("queue") or {}).get("name")
        return run.task_identifier in self._unknown_tasks or queue in self._unknown_queues


def _expire(run: ServerRun, at: float) -> None:
    run.stay()
    run.move("EXPIRED", at)


def _attempt(run: ServerRun, number: int, at: float) -> None:
    """Begin an attempt. The events of a run don't read its state, which would let the next ones happen."""
    run.move("EXECUTING", at)
    after, limit = run.script.after, run.options.get("maxDuration")
    if limit is not None and (after is None or after > limit):
        run.later(at + limit, functools.partial(_end, run, internal_error("MAX_DURATION_EXCEEDED")))
    elif after is not None and run.script.waiting == 0:
        run.later(at + after, functools.partial(_finish_attempt, run, number))
    elif after is not None:
        run.later(at + after / 2, functools.partial(_suspend, run, number, after / 2))


def _suspend(run: ServerRun, number: int, rest: float, at: float) -> None:
    """Let a run wait in the middle of an attempt, and resume it."""
    run.move("WAITING", at)
    if run.script.waiting is not None:
        resumed = at + run.script.waiting
        run.later(resumed, functools.partial(run.move, "EXECUTING"))
        run.later(resumed + rest, functools.partial(_finish_attempt, run, number))


def _finish_attempt(run: ServerRun, number: int, at: float) -> None:
    script = run.script
    if not script.fails(number):
        _end(run, script.end(run.payload), at)
    elif number >= (run.options.get("maxAttempts") or script.attempts):
        _end(run, script.failure(), at)
    else:
        if script.requeues:
            run.move("QUEUED", at)
        run.later(at + script.retry_after, functools.partial(_attempt, run, number + 1))


def _end(run: ServerRun, outcome: Outcome, at: float) -> None:
    run.move(
        outcome.status,
        at,
        output=outcome.output,
        output_by_url=run.script.output_by_url,
        error=outcome.error,
    )

"""The workers behind a server: they take queued runs, and do with them what their tasks' scripts say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from . import settings
from .life import Life
from .queues import Queues
from .runs import ServerRun
from .server_time import ServerTime, read_duration
from .states import thrown
from .tasks import Outcome, internal_error


@dataclass(frozen=True, slots=True)
class Deployment:
    """What workers know from some time on."""

    since: float
    version: str = settings.VERSION
    unknown_tasks: frozenset[str] = frozenset()
    unknown_queues: frozenset[str] = frozenset()

    def lacks(self, run: ServerRun) -> bool:
        """Return whether no version has a run's task, or its queue."""
        queue = (run.options.get("queue") or {}).get("name")
        return run.task_identifier in self.unknown_tasks or queue in self.unknown_queues


class Worker:
    """Take queued runs; steps depend on the run and the deployment alone, not on when they are computed."""

    def __init__(self, time: ServerTime, queues: Queues) -> None:
        self._time = time
        self._queues = queues
        self._deployments = [Deployment(float("-inf"))]

    @property
    def latest(self) -> Deployment:
        """Return what workers know now."""
        return self._deployments[-1]

    def has_version(self, version: str) -> bool:
        """Return whether a version was deployed."""
        return any(deployment.version == version for deployment in self._deployments)

    def forget_task(self, task_identifier: str) -> None:
        """Let the deployed version lack a task."""
        self._learn(replace(self.latest, unknown_tasks=self.latest.unknown_tasks | {task_identifier}))

    def forget_queue(self, name: str) -> None:
        """Let no version ever have a queue."""
        self._learn(replace(self.latest, unknown_queues=self.latest.unknown_queues | {name}))

    def deploy(self, task_identifier: str, runs: Iterable[ServerRun]) -> None:
        """Deploy a new version, which has a task; runs that wait for a queue continue to wait."""
        day, _, number = self.latest.version.partition(".")
        known = self.latest.unknown_tasks - {task_identifier}
        self._learn(replace(self.latest, version=f"{day}.{int(number) + 1}", unknown_tasks=known))
        for run in runs:
            waits = run.status == "PENDING_VERSION" and run.task_identifier == task_identifier
            if waits and not self.latest.lacks(run):
                released = partial(self._then, run, settings.DEPLOY_DURATION, self.release)
                run.change(released)

    def _learn(self, deployment: Deployment) -> None:
        self._deployments.append(replace(deployment, since=self._time.now()))

    def _then(self, run: ServerRun, seconds: float, step: RunStep, life: Life, at: float) -> Life:
        """Return a life that has one more step, so many seconds after a time."""
        return life.then(self._time.after(seconds, at), partial(step, run))

    def queue(self, run: ServerRun, life: Life, at: float) -> Life:
        """Let a run that has become QUEUED wait for a worker; it may expire before."""
        expires_after = read_duration(run.ttl)
        if expires_after is not None:
            life = self._then(run, expires_after, _expire, life, at)
        return self.offer(run, life, at)

    def offer(self, run: ServerRun, life: Life, at: float) -> Life:
        """Let a worker take a queued run; the first one that does so has it."""
        starts_after = run.script.start_after
        return life if starts_after is None else self._then(run, starts_after, self._take, life, at)

    def release(self, run: ServerRun, life: Life, at: float) -> Life:
        """Queue a run that waited: for its time, or for a version that has its task."""
        return self.queue(run, life.moved(at, "QUEUED"), at)

    def _take(self, run: ServerRun, life: Life, at: float) -> Life:
        if self._queues.of(run).paused_at(at):
            return life
        life = life.without_plan()  # it no longer expires
        known = next(one for one in reversed(self._deployments) if one.since <= at)
        if known.lacks(run):
            return life.moved(at, "PENDING_VERSION")
        version = run.options.get("lockToVersion") or known.version
        return self._attempt(1, run, life.moved(at, "EXECUTING", version=version), at)

    def _attempt(self, number: int, run: ServerRun, life: Life, at: float) -> Life:
        """Plan how an attempt that has begun ends."""
        after, waiting, limit = run.script.after, run.script.waiting, run.options.get("maxDuration")
        if limit is not None and (after is None or after > limit):
            return self._then(run, limit, _exceed, life, at)
        if after is None:
            return life
        if run.script.waits_for_token:
            return self._then(run, after / 2, self._wait_for_token, life, at)
        if waiting is None:
            return self._then(run, after / 2, _suspend, life, at)
        finish = partial(self._finish, number)
        if waiting == 0:
            return self._then(run, after, finish, life, at)
        life = self._then(run, after / 2, _suspend, life, at)
        life = self._then(run, after / 2 + waiting, _resume, life, at)
        return self._then(run, after + waiting, finish, life, at)

    def _wait_for_token(self, run: ServerRun, life: Life, at: float) -> Life:
        token = run.token
        if token is None:
            return _fail(run, "Error", "Waitpoint not found", life, at)
        life = life.moved(at, "WAITING")
        return life if token.ends_at is None else life.then(max(at, token.ends_at), partial(self.resume, run))

    def resume(self, run: ServerRun, life: Life, at: float) -> Life:
        """Let a run continue whose token was completed or has timed out, if the run waits for it."""
        if life.state.status != "WAITING" or run.token is None:
            return life
        life = life.without_plan()
        if run.token.status == "TIMED_OUT":
            return _fail(run, "WaitpointTimeoutError", f"{run.token.id} timed out", life, at)
        finish = partial(self._finish, life.state.attempt_count)
        return self._then(run, (run.script.after or 0) / 2, finish, life.moved(at, "EXECUTING"), at)

    def _finish(self, number: int, run: ServerRun, life: Life, at: float) -> Life:
        script = run.script
        if not script.fails(number):
            return _end(run, run.outcome_at(at), life, at)
        if number >= (run.options.get("maxAttempts") or script.attempts):
            return _end(run, script.failure(), life, at)
        if script.requeues:
            life = life.moved(at, "QUEUED")
        return self._then(run, script.retry_after, partial(self._retry, number + 1), life, at)

    def _retry(self, number: int, run: ServerRun, life: Life, at: float) -> Life:
        return self._attempt(number, run, life.moved(at, "EXECUTING"), at)


def _expire(run: ServerRun, life: Life, at: float) -> Life:
    return life.without_plan().moved(at, "EXPIRED")


def _exceed(run: ServerRun, life: Life, at: float) -> Life:
    return _end(run, internal_error("MAX_DURATION_EXCEEDED"), life, at)


def _suspend(run: ServerRun, life: Life, at: float) -> Life:
    return life.moved(at, "WAITING")


def _resume(run: ServerRun, life: Life, at: float) -> Life:
    return life.moved(at, "EXECUTING")


def _fail(run: ServerRun, name: str, message: str, life: Life, at: float) -> Life:
    return _end(run, Outcome("FAILED", error=thrown(name, message)), life, at)


def _end(run: ServerRun, outcome: Outcome, life: Life, at: float) -> Life:
    by_url = run.script.output_by_url
    return life.moved(at, outcome.status, output=outcome.output, output_by_url=by_url, error=outcome.error)


# What happens to a run at a time; returns the life that follows.
RunStep = Callable[[ServerRun, Life, float], Life]

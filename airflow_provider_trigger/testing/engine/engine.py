"""What happens on a server: tasks are triggered, and workers execute their runs as the tasks' scripts say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Unpack

from .batches import Batch, Batches, BatchItem
from .environments import Environment
from .life import Life
from .queues import Queue
from .runs import ServerRun
from .server_time import moment, read_delay
from .settings import UNSET
from .states import internal
from .store import Store
from .tasks import TaskBehavior, TaskScript, TaskScripts
from .worker import Worker

# The options that a replay takes over; tags and metadata are those that the run has by then.
_KEPT_BY_REPLAYS = ("queue", "concurrencyKey", "machine", "region", "test")


@dataclass(kw_only=True, eq=False, repr=False)
class Engine(Store):
    """The model behind a :class:`TriggerDevServer`, which explains the parameters."""

    worker: Worker = field(init=False)
    batches: Batches = field(init=False)
    unknown_regions: set[str] = field(default_factory=set, init=False)
    _scripts: TaskScripts = field(default_factory=TaskScripts, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.worker = Worker(self.time, self.queues)
        self.batches = Batches(self._start_item, time=self.time, agenda=self.agenda)

    def on_task(
        self, task_identifier: str, *, times: int | None = None, **behavior: Unpack[TaskBehavior]
    ) -> None:
        """
        Say what a task does with the runs that are triggered from now on.

        A task that nothing is said about completes its runs in a moment and returns their payload, or
        ``{"done": True}`` without one. Runs made by :meth:`add_run` follow no task.

        :param times: only its next so many runs, behind those that something else was said about in this way;
            ``None`` for all others, instead of what was said before
        :param behavior: ``output``, ``after``, ``error``, ``failures``, ``crash`` and more, see
            :class:`TaskBehavior`
        :raises TypeError: an unknown argument, or one that is not a number of seconds
        """
        self.agenda.catch_up()
        with self._lock:
            self._scripts.add(task_identifier, TaskScript(**behavior), times=times)

    def unknown_task(self, task_identifier: str) -> None:
        """Let no deployed version have a task: its runs wait in PENDING_VERSION, until :meth:`deploy`."""
        self.worker.forget_task(task_identifier)

    def unknown_queue(self, name: str) -> None:
        """Let no version ever have a queue: runs that name it wait in PENDING_VERSION."""
        self.worker.forget_queue(name)

    def unknown_region(self, name: str) -> None:
        """Let there be no such region: a trigger that names it is rejected. All other names are known."""
        self.unknown_regions.add(name)

    def deploy(self, task_identifier: str) -> None:
        """Deploy a new version, which has a task; the runs that waited for it continue."""
        with self._lock:
            self.worker.deploy(task_identifier, self.runs.values())

    def trigger(
        self,
        task_identifier: str,
        *,
        payload: Any = UNSET,
        options: Mapping[str, Any] | None = None,
        environment: Environment | str | None = None,
        batch_id: str | None = None,
    ) -> tuple[ServerRun, bool]:
        """
        Trigger a task as any application would; return the run, and whether its key was in use already.

        :param payload: any JSON, also ``None``
        :param options: the API's options in its own spelling, valid ones
        :param environment: the environment, or its name; by default ``prod``
        :param batch_id: the batch that triggers it
        """
        self.agenda.catch_up()
        options, environment = options or {}, self.environments.find(environment)
        key = options.get("idempotencyKey")
        with self._lock:
            held = self.keys.find(environment, task_identifier, key) if key else None
            if held is not None:
                return held, True
            due = read_delay(options.get("delay"), self.time)
            script = self._scripts.take(task_identifier)
            run = self.add_run(
                "QUEUED" if due is None else "DELAYED",
                environment=environment,
                task_identifier=task_identifier,
                payload=payload,
                tags=options.get("tags") or (),
                metadata=options.get("metadata"),
                idempotency_key=key or None,
                ttl=options.get("ttl"),
                options=options,
                batch_id=batch_id,
                acknowledge_after=script.acknowledge_after,
                completes_despite_cancel=script.completes_despite_cancel,
            )
            run.script = script
            if script.waits_for_token:
                self._wait_for_token(run)
            run.change(partial(self.worker.queue, run) if due is None else partial(self._delay, run, due))
            return run, False

    def _wait_for_token(self, run: ServerRun) -> None:
        """Let a run wait for the token that its payload names, if its environment has it."""
        token_id = run.payload.get("token_id") if isinstance(run.payload, Mapping) else None
        token = self.tokens.get(str(token_id))
        if token is not None and token.environment == run.environment:
            run.token = token
            token.on_completion.append(partial(run.change, partial(self.worker.resume, run)))

    def _start_item(self, batch: Batch, item: BatchItem) -> ServerRun:
        """Trigger the run of a batch's item; one that cannot be triggered is a failed run without tags."""
        if item.failure is None:
            return self.trigger(
                item.task_identifier,
                payload=item.payload,
                options=item.options,
                environment=batch.environment,
                batch_id=batch.id,
            )[0]
        run = self.add_run(
            "SYSTEM_FAILURE",
            environment=batch.environment,
            started=False,
            task_identifier=item.task_identifier,
            payload=item.payload,
            batch_id=batch.id,
        )
        run.error, run.finished_at = internal(item.failure), run.created_at
        return run

    def replay(self, run: ServerRun) -> ServerRun:
        """Trigger a run like another one, as the dashboard does; return it. It has no idempotency key."""
        options = {name: run.options[name] for name in _KEPT_BY_REPLAYS if name in run.options}
        options |= {"tags": list(run.tags)} | ({} if run.metadata is None else {"metadata": run.metadata})
        return self.trigger(
            run.task_identifier, payload=run.payload, options=options, environment=run.environment
        )[0]

    def reschedule(self, run: ServerRun, due: float) -> bool:
        """
        Change when a delayed run is due; return whether it was delayed.

        :param due: when, in seconds since 1970
        """
        with self._lock:
            if run.status != "DELAYED":
                return False
            run.updated_at = moment(self.time.now())
            run.change(partial(self._delay, run, due))
            return True

    def queues_in(self, environment: Environment) -> list[Queue]:
        """Return the queues of an environment, by their names."""
        return self.queues.listed(environment, self._scripts)

    def pause_queue(self, queue: Queue, *, paused: bool) -> None:
        """Pause a queue, so that its queued runs stay QUEUED, or resume it; what executes continues."""
        with self._lock:
            waiting = [run for run in self.runs.values() if self.queues.of(run) is queue]
            waiting = [run for run in waiting if run.status == "QUEUED" and not run.attempt_count]
            queue.pause(self.time.now(), paused=paused)
            for run in waiting if not paused else ():
                run.change(partial(self.worker.offer, run))

    def _delay(self, run: ServerRun, due: float, life: Life, now: float) -> Life:
        """Let a delayed run be queued when it is due, and at no other time."""
        life = replace(life.without_plan(), state=replace(life.state, delayed_until=moment(due)))
        return life.then(due, partial(self.worker.release, run))

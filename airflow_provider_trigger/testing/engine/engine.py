"""The state of a whole server: its runs, what its tasks do, its bulk actions and rate limit, by one clock."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from . import defaults
from .bulk_actions import BulkActions
from .durations import read_delay
from .environments import Environment
from .live_state import moment
from .packets import ObjectStore
from .rate_limit import RateLimiter
from .runs import ServerRun
from .store import Store
from .tasks import TaskBehavior, TaskScript, TaskScripts
from .unset import UNSET
from .worker import Worker

# The options that a replay takes over; tags and metadata are those that the run has by then.
_KEPT_BY_REPLAYS = ("queue", "concurrencyKey", "machine", "region", "test")


@dataclass(kw_only=True, eq=False, repr=False)
class Engine(Store):
    """The model behind a :class:`TriggerDevServer`, which explains the parameters."""

    rate_limit: int | None = defaults.RATE_LIMIT
    refill: int = defaults.REFILL
    refill_interval: float = defaults.REFILL_INTERVAL
    list_lag: float = 0.0
    object_store: bool = True
    bulk_actions: bool = True
    bulk_lag: float = 0.0
    bulk_duration: float | None = defaults.BULK_DURATION
    bulk_rate: float | None = None
    bulk: BulkActions = field(init=False)
    packets: ObjectStore = field(init=False)
    worker: Worker = field(default_factory=Worker, init=False)
    _scripts: TaskScripts = field(default_factory=TaskScripts, init=False)
    _limiter: RateLimiter | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.packets = ObjectStore(self.clock)
        self.bulk = BulkActions(self, runs=self.runs, replay=self.replay, lock=self._lock, clock=self.clock)
        if self.rate_limit is not None:
            self._limiter = RateLimiter(
                limit=self.rate_limit, refill=self.refill, interval=self.refill_interval, clock=self.clock
            )

    def on_task(
        self, task_identifier: str, *, times: int | None = None, **behavior: Unpack[TaskBehavior]
    ) -> None:
        """
        Say what a task does with the runs that are triggered from now on.

        A task that nothing is said about completes its runs in a moment, with the output ``{"done": True}``.
        Runs made by :meth:`add_run` follow no task.

        :param task_identifier: the task
        :param times: only its next so many runs, behind those that something else was said about in this way;
            ``None`` for all others, instead of what was said before
        :param behavior: ``output``, ``after``, ``error``, ``failures``, ``crash`` and more, see
            :class:`TaskBehavior`
        """
        with self._lock:
            self._scripts.add(task_identifier, TaskScript(**behavior), times=times)

    def unknown_task(self, task_identifier: str) -> None:
        """
        Let no deployed version have a task: its runs wait in PENDING_VERSION, until :meth:`deploy`.

        :param task_identifier: the task
        """
        with self._lock:
            self._let_happen_what_is_due()
            self.worker.forget_task(task_identifier)

    def unknown_queue(self, name: str) -> None:
        """
        Let no version ever have a queue: runs that name it wait in PENDING_VERSION.

        :param name: the queue
        """
        with self._lock:
            self._let_happen_what_is_due()
            self.worker.forget_queue(name)

    def deploy(self, task_identifier: str) -> None:
        """
        Deploy a new version, which has a task; the runs that waited for it go on.

        :param task_identifier: the task
        """
        with self._lock:
            self._let_happen_what_is_due()
            self.worker.deploy(task_identifier, self.runs.values(), now=self.clock())

    def trigger(
        self,
        task_identifier: str,
        *,
        payload: Any = UNSET,
        options: Mapping[str, Any] | None = None,
        environment: Environment | str | None = None,
    ) -> tuple[ServerRun, bool]:
        """
        Trigger a task as any application would; return the run, and whether its key was in use already.

        :param task_identifier: the task
        :param payload: any JSON, also ``None``
        :param options: the API's options in its own spelling, valid ones
        :param environment: the environment, or its name; by default ``prod``
        """
        options, environment = options or {}, self._find_environment(environment)
        key = options.get("idempotencyKey")
        with self._lock:
            now = self.clock()
            held = self.keys.find(environment, task_identifier, key, now=now) if key else None
            if held is not None:
                return held, True
            due = read_delay(options.get("delay"), now=now)
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
                acknowledge_after=script.acknowledge_after,
                completes_despite_cancel=script.completes_despite_cancel,
            )
            run.script = script
            if due is None:
                self.worker.queue(run, now)
            else:
                self._delay(run, due)
            return run, False

    def reset_key(
        self, key: str, task_identifier: str, *, environment: Environment | str | None = None
    ) -> ServerRun | None:
        """
        Take an idempotency key from the run that holds it; return the run, ``None`` if there is none.

        :param key: the key
        :param task_identifier: the run's task
        :param environment: the run's environment, or its name; by default ``prod``
        """
        with self._lock:
            run = self.keys.release(self._find_environment(environment), task_identifier, key)
            if run is not None:
                run.updated_at = moment(self.clock())
            return run

    def replay(self, run: ServerRun) -> ServerRun:
        """
        Trigger a run like another one, as the dashboard does; return it. It has no idempotency key.

        :param run: the run to replay
        """
        options = {name: run.options[name] for name in _KEPT_BY_REPLAYS if name in run.options}
        options |= {"tags": list(run.tags)} | ({} if run.metadata is None else {"metadata": run.metadata})
        return self.trigger(
            run.task_identifier, payload=run.payload, options=options, environment=run.environment
        )[0]

    def reschedule(self, run: ServerRun, due: float) -> bool:
        """
        Change when a delayed run is due; return whether it was delayed.

        :param run: the run
        :param due: when, in seconds since 1970
        """
        with self._lock:
            if run.status != "DELAYED":
                return False
            run.stay()
            run.updated_at = moment(self.clock())
            self._delay(run, due)
            return True

    def take_tokens(self, count: int, environment: Environment | str | None = None) -> int:
        """
        Take tokens out of a key's bucket, as another user of the key would; return what is left.

        :param count: how many requests to simulate; 0 to take none
        :param environment: whose bucket; by default that of ``prod``
        """
        if self._limiter is None:
            raise RuntimeError("The server was made without a rate limit")
        key = self._find_environment(environment).secret_key
        for _ in range(count):
            self._limiter.take(key)
        return self._limiter.left(key)

    def _delay(self, run: ServerRun, due: float) -> None:
        run.delayed_until = moment(due)
        run.later(due, functools.partial(self.worker.release, run))

    def _let_happen_what_is_due(self) -> None:
        for run in self.runs.values():
            _ = run.state

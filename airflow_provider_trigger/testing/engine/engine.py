"""The state of a whole server: its runs, environments, bulk actions and rate limit, by one clock."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from . import defaults
from .bulk_actions import BulkActions
from .environments import Environment, EnvironmentKind, Environments, default_key, default_kind
from .live_state import moment
from .rate_limit import RateLimiter
from .runs import ServerRun, new_id
from .states import new_state


class Unset(enum.Enum):
    """Stand for an argument that is not given, where ``None`` has a meaning of its own."""

    UNSET = enum.auto()


UNSET = Unset.UNSET


class RunAttributes(TypedDict, total=False):
    """
    What a run is given unchanged; the defaults are those of :class:`ServerRun`.

    :param task_identifier: the task that it runs
    :param tags: its tags
    :param payload: its payload, any JSON; ``None`` for none
    :param metadata: its metadata, any JSON; ``None`` for none
    :param completes_despite_cancel: whether its worker completes the run when it is canceled
    """

    task_identifier: str
    tags: Sequence[str]
    payload: Any
    metadata: Any
    completes_despite_cancel: bool


@dataclass(kw_only=True, eq=False, repr=False)
class Engine:
    """The model behind a :class:`TriggerDevServer`, which explains the parameters."""

    secret_key: str = default_key(defaults.ENVIRONMENT)
    rate_limit: int | None = defaults.RATE_LIMIT
    refill: int = defaults.REFILL
    refill_interval: float = defaults.REFILL_INTERVAL
    acknowledge_after: float | None = defaults.ACKNOWLEDGE_AFTER
    force_after: float = defaults.FORCE_AFTER
    bulk_actions: bool = True
    bulk_lag: float = 0.0
    bulk_duration: float | None = defaults.BULK_DURATION
    bulk_rate: float | None = None
    clock: Callable[[], float] = time.time
    runs: dict[str, ServerRun] = field(default_factory=dict, init=False)
    environments: Environments = field(default_factory=Environments, init=False)
    environment: Environment = field(init=False)
    bulk: BulkActions = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)
    _limiter: RateLimiter | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.environment = self.add_environment(defaults.ENVIRONMENT, secret_key=self.secret_key)
        self.bulk = BulkActions(self, runs=self.runs, replay=self._replay, lock=self._lock, clock=self.clock)
        if self.rate_limit is not None:
            self._limiter = RateLimiter(
                limit=self.rate_limit, refill=self.refill, interval=self.refill_interval, clock=self.clock
            )

    def add_environment(
        self,
        name: str,
        *,
        secret_key: str | None = None,
        branch: str | None = None,
        kind: EnvironmentKind | None = None,
    ) -> Environment:
        """
        Add an environment and return it; its runs can't be seen with another environment's key.

        :param name: its name, such as ``dev``
        :param secret_key: its key; by default one made of the name
        :param branch: the preview branch that requests have to name, too, in ``x-trigger-branch``
        :param kind: ``dev``, ``staging``, ``preview`` or ``prod``; by default what the name begins with,
            else ``prod``
        """
        environment = Environment(
            name=name,
            secret_key=secret_key or default_key(name),
            branch=branch,
            kind=kind or default_kind(name, branch),
        )
        return self.environments.add(environment)

    def add_run(
        self,
        status: str = "EXECUTING",
        *,
        run_id: str | None = None,
        environment: Environment | str | None = None,
        acknowledge_after: float | Unset | None = UNSET,
        parent: ServerRun | str | None = None,
        started: bool | None = None,
        then: Sequence[tuple[float, str]] = (),
        **attributes: Unpack[RunAttributes],
    ) -> ServerRun:
        """
        Add a run that was triggered just now, and return it; it is also in :attr:`runs`.

        :param status: Trigger.dev's modern word; an unknown word is shown as it is, by a run that is alive
        :param run_id: its id; by default a new one
        :param environment: its environment, or its name, which is added if need be; by default ``prod``
        :param acknowledge_after: seconds until its worker acknowledges a cancel; ``None`` for never (the
            cancel is then enforced), by default as the server has it
        :param parent: the run that triggered it, or its id
        :param started: whether a worker has had it; by default what the status implies
        :param then: what becomes of it unless it is canceled, see :meth:`ServerRun.schedule`
        :param attributes: ``task_identifier``, ``tags``, ``payload`` and more, see :class:`RunAttributes`
        """
        run = ServerRun(
            id=run_id or new_id("run"),
            environment=self._find_environment(environment),
            initial=new_state(status, moment(self.clock()), started=started),
            clock=self.clock,
            lock=self._lock,
            acknowledge_after=self.acknowledge_after if acknowledge_after is UNSET else acknowledge_after,
            force_after=self.force_after,
            parent=self.runs[parent] if isinstance(parent, str) else parent,
            **attributes,
        )
        run.schedule(then)
        self.runs[run.id] = run
        return run

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

    def _replay(self, run: ServerRun) -> ServerRun:
        return self.add_run(
            "QUEUED",
            environment=run.environment,
            task_identifier=run.task_identifier,
            tags=run.tags,
            payload=run.payload,
            metadata=run.metadata,
        )

    def _find_environment(self, environment: Environment | str | None) -> Environment:
        if isinstance(environment, Environment):
            return environment
        if environment is None:
            return self.environment
        return self.environments.get(environment) or self.add_environment(environment)

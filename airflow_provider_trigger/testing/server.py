"""A local Trigger.dev server: its life, its runs, and its faults."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from .api import Api
from .app import App, RequestRecord
from .broken_connections import BrokenConnections
from .bulk import BulkActions
from .environments import Environment, Environments
from .http_thread import HttpThread, listen
from .rate_limit import RateLimiter
from .runs import Run, new_run_id
from .states import new_state
from .wrong_answers import WrongAnswers

DEFAULT_ENVIRONMENT = "prod"


class ServerDefault(enum.Enum):
    """Stand for "as the server has it", where ``None`` has a meaning of its own."""

    SERVER_DEFAULT = enum.auto()


SERVER_DEFAULT = ServerDefault.SERVER_DEFAULT


class TriggerDevServer(BrokenConnections, WrongAnswers):
    """
    A Trigger.dev server on this machine, for tests and demonstrations.

    It speaks real HTTP from a thread of its own and behaves as the real server does, as far as runs are
    retrieved, listed and canceled, one by one or in bulk. Use it as a context manager, or call :meth:`start`
    and :meth:`stop`.

    :param secret_key: the key of its ``prod`` environment; by default one that is obviously not real
    :param host: the address to listen on
    :param port: the port, 0 for any free one
    :param rate_limit: requests that a key has in a burst, ``None`` for no limit
    :param refill: requests that come back at a time
    :param refill_interval: seconds between two refills
    :param acknowledge_after: seconds after which a worker acknowledges a cancel, ``None`` for never
    :param force_after: seconds after which a cancel is enforced when no worker acknowledged it
    :param bulk_actions: whether it has bulk actions, which older servers don't
    :param bulk_lag: seconds from its creation in which bulk actions don't see a run, not even by its id; the
        real server's miss what was triggered a moment ago, here nothing is missed unless a test asks for it
    :param bulk_duration: seconds that a bulk action takes; its runs have their turn at the end, all together
    :param latency: seconds that every answer takes
    :param ssl_certfile: a certificate, to speak HTTPS
    :param ssl_keyfile: its private key
    :param clock: tells the time, in seconds since 1970; what runs and buckets go by
    """

    def __init__(
        self,
        *,
        secret_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        rate_limit: int | None = 750,
        refill: int = 250,
        refill_interval: float = 10.0,
        acknowledge_after: float | None = 0.2,
        force_after: float = 60.0,
        bulk_actions: bool = True,
        bulk_lag: float = 0.0,
        bulk_duration: float = 0.2,
        latency: float = 0.0,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.runs: dict[str, Run] = {}
        super().__init__(runs=self.runs, rate_limit=rate_limit, clock=clock)
        self._clock = clock
        self.host = host
        self.port = port
        self.acknowledge_after = acknowledge_after
        self.force_after = force_after
        self.bulk_actions = bulk_actions
        self.bulk_lag = bulk_lag
        self.bulk_duration = bulk_duration
        self.latency = latency
        self.requests: list[RequestRecord] = []
        self.environments = Environments()
        self.environment = self.environments.add(DEFAULT_ENVIRONMENT, secret_key=secret_key)
        self._lock = threading.RLock()
        self.bulk = self._make_bulk()
        self._ssl = {"ssl_certfile": ssl_certfile, "ssl_keyfile": ssl_keyfile}
        self._limiter = _make_limiter(rate_limit, refill, refill_interval, clock)
        self._thread: HttpThread | None = None

    @property
    def url(self) -> str:
        """Return the base URL, such as ``http://127.0.0.1:8030``."""
        scheme = "https" if self._ssl["ssl_certfile"] else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def secret_key(self) -> str:
        """Return the secret key of the ``prod`` environment."""
        return self.environment.secret_key

    def start(self) -> None:
        """Start to serve. After a :meth:`stop` it comes back on the same port, with the runs that it had."""
        if self._thread is not None:
            raise RuntimeError("The server is already running")
        listener = listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        thread = HttpThread(self._make_app, listener, **self._ssl)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Stop to serve: every connection is cut, whatever it waits for."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def add_environment(
        self, name: str, *, secret_key: str | None = None, branch: str | None = None
    ) -> Environment:
        """
        Add an environment and return it; its runs can't be seen with another environment's key.

        :param name: its name, such as ``dev``
        :param secret_key: its key; by default one made of the name
        :param branch: the preview branch that requests have to name beside the key, in ``x-trigger-branch``
        """
        return self.environments.add(name, secret_key=secret_key, branch=branch)

    def add_run(
        self,
        status: str = "EXECUTING",
        *,
        task_identifier: str = "hello-task",
        run_id: str | None = None,
        environment: Environment | str | None = None,
        tags: Sequence[str] = (),
        payload: Any = None,
        metadata: Any = None,
        acknowledge_after: float | ServerDefault | None = SERVER_DEFAULT,
        completes_despite_cancel: bool = False,
        parent: Run | str | None = None,
        started: bool | None = None,
        then: Sequence[tuple[float, str]] = (),
    ) -> Run:
        """
        Add a run that was triggered just now, and return it; it is also in :attr:`runs`.

        :param status: Trigger.dev's modern word; an unknown word is shown as it is, by a run that is alive
        :param task_identifier: the task that it runs
        :param run_id: its id; by default a new one
        :param environment: its environment, or its name, which is added if need be; by default ``prod``
        :param tags: its tags
        :param payload: its payload, any JSON; ``None`` for none
        :param metadata: its metadata, any JSON; ``None`` for none
        :param acknowledge_after: seconds until its worker acknowledges a cancel; ``None`` for never (the
            cancel is then enforced), by default as the server has it
        :param completes_despite_cancel: let the worker answer a cancel by completing the run
        :param parent: the run that triggered it, or its id
        :param started: whether a worker has had it; by default what the status implies
        :param then: what becomes of it unless it is canceled: pairs of seconds from now and a status
        """
        if parent is not None and not isinstance(parent, Run):
            parent = self.runs[parent]
        if isinstance(acknowledge_after, ServerDefault):
            acknowledge_after = self.acknowledge_after
        run = Run(
            id=run_id or new_run_id(),
            environment=self._environment_of(environment),
            initial=new_state(status, datetime.fromtimestamp(self._clock(), UTC), started=started),
            clock=self._clock,
            lock=self._lock,
            task_identifier=task_identifier,
            tags=tuple(tags),
            payload=payload,
            metadata=metadata,
            acknowledge_after=acknowledge_after,
            force_after=self.force_after,
            completes_despite_cancel=completes_despite_cancel,
            parent=parent,
        )
        run.schedule(then)
        self.runs[run.id] = run
        return run

    def take_tokens(self, count: int, environment: Environment | str | None = None) -> int:
        """
        Take tokens out of a key's bucket, as another user of the key would; return what is left.

        :param count: how many requests to pretend; 0 to look only
        :param environment: whose bucket; by default that of ``prod``
        """
        if self._limiter is None:
            raise RuntimeError("The server was made without a rate limit")
        key = self._environment_of(environment).secret_key
        for _ in range(count):
            self._limiter.take(key)
        return self._limiter.left(key)

    def _make_app(self, http: HttpThread) -> App:
        return App(
            api=Api(
                self.environments,
                self.runs,
                bulk=self.bulk,
                with_bulk=lambda: self.bulk_actions,
                clock=self._clock,
            ),
            faults=self._faults,
            limiter=self._limiter,
            requests=self.requests,
            latency=lambda: self.latency,
            clock=self._clock,
            stopped=http.stopped,
            hang_up=http.hang_up,
        )

    def _make_bulk(self) -> BulkActions:
        return BulkActions(
            runs=self.runs,
            replay=self._replay,
            lock=self._lock,
            clock=self._clock,
            lag=lambda: self.bulk_lag,
            duration=lambda: self.bulk_duration,
        )

    def _replay(self, run: Run) -> Run:
        return self.add_run(
            "QUEUED",
            task_identifier=run.task_identifier,
            environment=run.environment,
            tags=run.tags,
            payload=run.payload,
            metadata=run.metadata,
        )

    def _environment_of(self, environment: Environment | str | None) -> Environment:
        if isinstance(environment, Environment):
            return environment
        if environment is None:
            return self.environment
        return self.environments.get(environment) or self.add_environment(environment)


def _make_limiter(
    limit: int | None, refill: int, interval: float, clock: Callable[[], float]
) -> RateLimiter | None:
    if limit is None:
        return None
    return RateLimiter(limit=limit, refill=refill, interval=interval, clock=clock)

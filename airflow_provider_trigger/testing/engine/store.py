"""What a server has: its environments and runs, with their keys, bulk actions and rate limit."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

from . import settings, states
from .bulk_actions import BulkActions
from .environments import Environment, EnvironmentKind, Environments, RateLimiter
from .packets import ObjectStore
from .queues import Queue, Queues
from .runs import RunAttributes, ServerRun, new_id
from .server_time import Agenda, ServerTime, moment, read_delay, read_duration
from .settings import UNSET, Settings, Unset, default_key
from .waitpoints import ServerToken

# The same key stands for another run in another environment, and for another task.
Place = tuple[Environment, str, str]


@dataclass(frozen=True, slots=True)
class _Holder:
    run: ServerRun
    until: float


class IdempotencyKeys:
    """All keys in use, and the runs that hold them."""

    def __init__(self, time: ServerTime) -> None:
        self._time = time
        self._holders: dict[Place, _Holder] = {}

    def hold(self, run: ServerRun, *, lifetime: str | None) -> None:
        """Let a run hold its key if it has one; a malformed lifetime is ignored."""
        if run.idempotency_key:
            seconds = read_duration(lifetime)
            until = self._time.after(settings.KEY_LIFETIME if seconds is None else seconds, self._time.now())
            self._holders[run.environment, run.task_identifier, run.idempotency_key] = _Holder(run, until)

    def find(self, environment: Environment, task_identifier: str, key: str) -> ServerRun | None:
        """Return the run that a key stands for, ``None`` if a trigger with it makes a new run."""
        holder = self._holders.get((environment, task_identifier, key))
        if holder is None:
            return None
        if self._time.now() < holder.until and holder.run.status not in states.RELEASING_THEIR_KEY:
            return holder.run
        self.release(environment, task_identifier, key)
        return None

    def release(self, environment: Environment, task_identifier: str, key: str) -> ServerRun | None:
        """Take a key from the run that holds it, and return the run; ``None`` if no run holds it."""
        holder = self._holders.pop((environment, task_identifier, key), None)
        if holder is None:
            return None
        holder.run.idempotency_key = None
        return holder.run


@dataclass(kw_only=True, eq=False, repr=False)
class Store(Settings):
    """What a :class:`TriggerDevServer` has. Making a run is one step: :meth:`add_run`."""

    environments: Environments = field(default_factory=Environments, init=False)
    environment: Environment = field(init=False)
    keys: IdempotencyKeys = field(init=False)
    time: ServerTime = field(init=False)
    agenda: Agenda = field(init=False)
    bulk: BulkActions = field(init=False)
    packets: ObjectStore = field(init=False)
    queues: Queues = field(init=False)
    tokens: dict[str, ServerToken] = field(default_factory=dict, init=False)
    _runs: dict[str, ServerRun] = field(default_factory=dict, init=False)
    _limiter: RateLimiter | None = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def __post_init__(self) -> None:
        self.time = ServerTime(clock=self._now, speed=self.speed)
        self.environment = self.add_environment(settings.ENVIRONMENT, secret_key=self.secret_key)
        self.keys = IdempotencyKeys(self.time)
        self.packets = ObjectStore(self.time)
        self.queues = Queues()
        self.agenda = Agenda(self.time, lock=self._lock)
        self.bulk = BulkActions(self, runs=self._runs, time=self.time)
        self._limiter = None if self.rate_limit is None else RateLimiter(self, time=self.time)

    @property
    def runs(self) -> dict[str, ServerRun]:
        """Return all runs by id, with those that batches have triggered by now."""
        self.agenda.catch_up()
        return self._runs

    def add_environment(
        self,
        name: str,
        *,
        secret_key: str | None = None,
        branch: str | None = None,
        kind: EnvironmentKind | None = None,
    ) -> Environment:
        """
        Add an environment and return it; its runs cannot be seen with another environment's key.

        :param name: its name, such as ``dev``
        :param secret_key: its key; by default one made of the name
        :param branch: the preview branch that requests have to name, too, in ``x-trigger-branch``
        :param kind: ``dev``, ``staging``, ``preview`` or ``prod``; by default what the name begins with,
            else ``prod``
        """
        return self.environments.add(name, secret_key=secret_key, branch=branch, kind=kind)

    def add_key(self, scopes: Sequence[str], *, environment: Environment | str | None = None) -> str:
        """
        Add a secret key of few rights, and return it.

        :param scopes: of ``read:runs``, ``write:runs``, ``trigger:tasks``, ``trigger:tasks:<task id>``,
            ``batchTrigger:tasks``, ``read:query``, ``read:waitpoints``, ``write:waitpoints``
        :param environment: its environment, or its name, which is added if need be; by default ``prod``
        """
        found = self.environments.find(environment)
        key = f"{found.secret_key}_{len(self.environments)}"
        self.environments[key] = replace(found, secret_key=key, scopes=frozenset(scopes))
        return key

    def rotate_key(self, environment: Environment | str | None = None) -> str:
        """
        Give an environment a new secret key, and return it; its old key and the addresses of its tokens end.

        :param environment: it, or its name; by default ``prod``
        """
        found = self.environments.find(environment)
        found.secret_key = default_key(found.name) + secrets.token_hex(4)
        self.secret_key = self.environment.secret_key
        return found.secret_key

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
        output: Any = UNSET,
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
        :param output: what it has returned if it is ``COMPLETED``, any JSON, also ``None``
        :param attributes: ``task_identifier``, ``tags``, ``payload`` and more, see :class:`RunAttributes`
        :raises ValueError: an output for another status
        """
        if output is not UNSET and status != "COMPLETED":
            what = "let a task return it: on_task(…, output=…), then trigger(…)"
            raise ValueError(f"add_run: only a COMPLETED run has an output, not one that is {status}; {what}")
        run = ServerRun(
            id=run_id or new_id("run"),
            environment=self.environments.find(environment),
            initial_status=status,
            started=started,
            time=self.time,
            lock=self._lock,
            acknowledge_after=self.acknowledge_after if acknowledge_after is UNSET else acknowledge_after,
            force_after=self.force_after,
            parent=self.runs[parent] if isinstance(parent, str) else parent,
            **attributes,
        )
        if output is not UNSET:
            run.output = output
        run.schedule(then)
        with self._lock:
            self.runs[run.id] = run
            self.queues.of(run)
            self.keys.hold(run, lifetime=run.options.get("idempotencyKeyTTL"))
        return run

    def add_queue(
        self, name: str, *, limit: int | None = None, environment: Environment | str | None = None
    ) -> Queue:
        """
        Add a queue with a name of its own, and return it. Each task has one anyway.

        :param limit: its concurrency limit, which is shown, and does not hold runs back
        :param environment: its environment, or its name; by default ``prod``
        """
        queue = self.queues.add(self.environments.find(environment), "custom", name)
        queue.limit = limit
        return queue

    def reset_key(
        self, key: str, task_identifier: str, *, environment: Environment | str | None = None
    ) -> ServerRun | None:
        """
        Take an idempotency key from the run that holds it; return the run, ``None`` if there is none.

        :param environment: the run's environment, or its name; by default ``prod``
        """
        self.agenda.catch_up()
        with self._lock:
            run = self.keys.release(self.environments.find(environment), task_identifier, key)
            if run is not None:
                run.updated_at = moment(self.time.now())
            return run

    def create_token(
        self,
        *,
        timeout: str | float | None = None,
        tags: Sequence[str] = (),
        idempotency_key: str | None = None,
        key_lifetime: str | None = None,
        environment: Environment | str | None = None,
    ) -> tuple[ServerToken, bool]:
        """
        Return a new waitpoint token, or the one that an idempotency key stands for, and whether it is that.

        :param timeout: how long it waits, such as ``10m``, or until when, as an ISO date, or in milliseconds
            since 1970; as on the real server, another text and a date in the past mean no limit
        :param key_lifetime: how long the key stands for it, such as ``10m``; by default without a limit
        :param environment: its environment, or its name; by default ``prod``
        """
        environment, lifetime = self.environments.find(environment), read_duration(key_lifetime)
        with self._lock:
            now = self.time.now()
            for token in self.tokens.values():
                expired = token.key_expires_at is not None and token.key_expires_at <= now
                same = (token.environment, token.idempotency_key) == (environment, idempotency_key or UNSET)
                if same and not expired:
                    return token, True
            token = ServerToken(
                id=new_id("waitpoint"),
                environment=environment,
                tags=tuple(sorted(tags)),
                created=now,
                timeout_at=timeout / 1000 if isinstance(timeout, float) else read_delay(timeout, self.time),
                idempotency_key=idempotency_key or None,
                key_expires_at=None if lifetime is None else self.time.after(lifetime, now),
                server=self,
                time=self.time,
            )
            self.tokens[token.id] = token
            return token, False

    def complete_token(self, token: ServerToken | str, data: Any = UNSET) -> None:
        """
        Complete a waitpoint token, so that runs that wait for it continue.

        As on the real server, this has no effect if it was completed before, or has timed out.

        :param token: the token, or its id
        :param data: its output, any JSON, also ``None``; integers above 2^53 lose digits
        :raises KeyError: there is no such token
        """
        with self._lock:
            self.tokens[token if isinstance(token, str) else token.id].complete(data)

    def lose_in_query(self, *runs: ServerRun | str) -> None:
        """
        Let the query always show what runs are now, as the real server's does if it has lost their end.

        So the list finds such a run by no final status.

        :param runs: which runs, or their ids
        """
        for run in runs:
            self.runs[run if isinstance(run, str) else run.id].lost_since = self.time.now()

    def take_tokens(self, count: int, environment: Environment | str | None = None) -> int:
        """
        Take tokens out of a key's bucket, as another user of the key would; return what is left.

        :param count: how many requests to simulate; 0 to take none
        :param environment: whose bucket; by default that of ``prod``
        """
        if self._limiter is None:
            raise RuntimeError("The server was made without a rate limit")
        key = self.environments.find(environment).secret_key
        for _ in range(count):
            self._limiter.take(key)
        return self._limiter.left(key)

    def _now(self) -> float:
        return self.clock()  # which a test may set

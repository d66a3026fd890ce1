"""The environments and runs of a server, and the keys that runs hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from . import defaults
from .environments import Environment, EnvironmentKind, Environments, default_key, default_kind
from .idempotency import IdempotencyKeys
from .live_state import moment
from .runs import ServerRun, new_id
from .states import new_state
from .unset import UNSET, Unset


class RunAttributes(TypedDict, total=False):
    """
    What a run is given unchanged; the defaults are those of :class:`ServerRun`.

    :param task_identifier: the task that it runs
    :param tags: its tags
    :param payload: its payload, any JSON, also ``None``
    :param metadata: its metadata, any JSON; ``None`` for none
    :param idempotency_key: the key that it was triggered with
    :param ttl: how long it may be queued, such as ``10m``
    :param options: the options that it was triggered with, in the API's spelling
    :param completes_despite_cancel: whether its worker completes the run when it is canceled
    """

    task_identifier: str
    tags: Sequence[str]
    payload: Any
    metadata: Any
    idempotency_key: str | None
    ttl: str | None
    options: Mapping[str, Any]
    completes_despite_cancel: bool


@dataclass(kw_only=True, eq=False, repr=False)
class Store:
    """The runs behind a :class:`TriggerDevServer`, which explains the parameters."""

    secret_key: str = default_key(defaults.ENVIRONMENT)
    acknowledge_after: float | None = defaults.ACKNOWLEDGE_AFTER
    force_after: float = defaults.FORCE_AFTER
    clock: Callable[[], float] = time.time
    runs: dict[str, ServerRun] = field(default_factory=dict, init=False)
    environments: Environments = field(default_factory=Environments, init=False)
    environment: Environment = field(init=False)
    keys: IdempotencyKeys = field(default_factory=IdempotencyKeys, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def __post_init__(self) -> None:
        self.environment = self.add_environment(defaults.ENVIRONMENT, secret_key=self.secret_key)

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
        with self._lock:
            self.runs[run.id] = run
            self.keys.hold(run, lifetime=run.options.get("idempotencyKeyTTL"), now=self.clock())
        return run

    def _find_environment(self, environment: Environment | str | None) -> Environment:
        if isinstance(environment, Environment):
            return environment
        if environment is None:
            return self.environment
        return self.environments.get(environment) or self.add_environment(environment)

"""One clock, Trigger.dev, a triggerer, and tasks of Airflow, all in this process."""

from __future__ import annotations

import functools
import json
import logging
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from inspect import getattr_static
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import pytest
from airflow_task import IS_AIRFLOW_2, Task, Triggerer, first_poke, is_still_deferred
from asgiref.sync import SyncToAsync
from fake_log import Log
from hub import Hub, replace_names, virtual_time
from requests.adapters import HTTPAdapter
from trigger_dev import TriggerDev

import airflow_provider_trigger
from airflow_provider_trigger import _compat

try:
    from airflow.sdk import timezone
except ImportError:
    from airflow.utils import timezone  # type: ignore[attr-defined]

PACKAGE = "airflow_provider_trigger"
CONN_ID = "trigger_dev_default"

# A module that is imported within a world would keep its clock.
for _module in walk_packages(airflow_provider_trigger.__path__, f"{PACKAGE}."):
    if not _module.name.endswith("__main__"):
        with suppress(ImportError):  # not every Airflow has what watchers need
            import_module(_module.name)


class World:
    """
    What a test has: ``server`` has the runs, ``network`` the faults and what was sent.

    :param seed: of all that is drawn at random
    :param settings: of the server, and of the network before it
    """

    def __init__(self, hub: Hub, patch: pytest.MonkeyPatch, *, seed: int, **settings: Any) -> None:
        self.hub = hub
        self.chance = random.Random(seed)
        self.network = TriggerDev(hub, self.chance, **settings)
        self.server = self.network.server
        self.log = Log()
        self._patch = patch
        self.connect()

    def start(self) -> None:
        self.triggerer = Triggerer(self.hub)

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.hub.now - 1000.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.hub.sleep(seconds)

    def until(self, condition: Callable[[], object], *, within: float = 600.0) -> None:
        """Let time pass until a condition holds, which is checked ten times a second."""
        end = self.hub.now + within
        while not condition():
            assert self.hub.now < end, f"not within {within:.0f} s: {condition}"
            self.hub.sleep(0.1)

    def connect(
        self, key: str | None = None, conn_id: str = CONN_ID, *, host: str | None = None, **extra: Any
    ) -> None:
        """Set a connection to the server, with another key, another host or extra fields."""
        fields = {"conn_type": "trigger_dev", "host": host or self.network.url}
        fields["password"] = key or self.server.secret_key
        given = {"timeout": 10, "retry_for": 60} | extra
        self._patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**fields, "extra": given}))

    def disconnect(self, conn_id: str = CONN_ID) -> None:
        """Let Airflow find no such connection, as while its secrets backend fails."""
        self._patch.delenv(f"AIRFLOW_CONN_{conn_id.upper()}")

    def task(self, make: Callable[[], Any], **options: Any) -> Task:
        """Return a task that has not begun; see :class:`airflow_task.Task`."""
        return Task(self.hub, self.triggerer, make, **options)


@contextmanager
def new_world(*, seed: int = 0, **settings: Any) -> Iterator[World]:
    """Make a world; what happens in it does so within ``world.hub.run``."""
    with pytest.MonkeyPatch.context() as patch, virtual_time(PACKAGE) as hub:
        world = World(hub, patch, seed=seed, **settings)
        random.seed(seed)
        patch.setattr(HTTPAdapter, "send", _send_by(world.network))
        patch.setattr(SyncToAsync, "single_thread_executor", ThreadPoolExecutor(max_workers=1))
        replace_names({id(_compat.is_still_deferred): is_still_deferred}, (PACKAGE,), patch)
        patch.setattr(timezone, "utcnow", lambda: datetime.fromtimestamp(hub.time(), UTC))
        if IS_AIRFLOW_2:
            patch.setattr("airflow.sensors.base._orig_start_date", first_poke)
        _keep_logs(world.log, patch)
        yield world


def _send_by(network: TriggerDev) -> Callable[..., Any]:
    def send(adapter: HTTPAdapter, request: Any, **options: Any) -> Any:
        return network.send(adapter, request, options["timeout"])

    return send


def _keep_logs(log: Log, patch: pytest.MonkeyPatch) -> None:
    """Keep what operators, triggers and all others log."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.leveled.append((record.levelname.lower(), record.getMessage()))

    for name, module in list(sys.modules.items()):
        for kind in _logging(module) if name.startswith(PACKAGE) else ():
            patch.setattr(kind, "log", log)
    for one in logging.root.manager.loggerDict.values():
        if isinstance(one, logging.Logger):  # a process may be killed that has disabled it
            patch.setattr(one, "disabled", one.disabled)
    logger = logging.getLogger(PACKAGE)
    patch.setattr(logger, "handlers", [Handler()])
    patch.setattr(logger, "level", logging.INFO)
    patch.setattr(logger, "propagate", False)


@functools.cache
def _logging(module: ModuleType) -> list[type]:
    """Return the classes in a module that make their logs: Airflow's. Others are given theirs."""
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
    return [kind for kind in kinds if isinstance(getattr_static(kind, "log", None), property)]

"""Assets, which are datasets before Airflow 3: their events, and what a watcher is made of, and stores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import _compat

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseEventTrigger

__all__ = ["BaseEventTrigger", "Store", "add_to_asset_events", "store_of"]

_KEY = "trigger_dev_events_"


def __getattr__(name: str) -> Any:
    if name != "BaseEventTrigger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module("airflow.triggers.base"), name, None)
    version = _compat.airflow_version()
    # The triggerer of 3.0.4 never answers a request that sets a Variable, which blocks all triggers (read).
    if found is None or version == "3.0.4":
        raise ImportError(f"TriggerRunEventTrigger needs Airflow 3.0.5 or newer, this is {version}")
    return found


def add_to_asset_events(outlets: Iterable[Any], context: Context, *, key: str, value: Any) -> None:
    """
    Add something to the ``extra`` of the events of a task's assets; what has the key already stays.

    Aliases and references are left alone, and so is all where a context has no events.
    """
    try:
        from airflow.sdk import Asset
    except ImportError:  # Airflow 2
        from airflow.datasets import Dataset as Asset  # type: ignore[no-redef]
    events: Any = context.get("outlet_events")
    for outlet in outlets:
        if events is not None and isinstance(outlet, Asset):
            events[outlet].extra.setdefault(key, value)


def store_of(trigger: Any, *, name: str, digest: str) -> Store:
    """
    Return the store of a trigger that is running, in which it saves a JSON object.

    It loads a list: nothing or one object for each place, and what else somebody has put there. Its calls
    end although their caller is canceled: on Airflow 3.0 and 3.1 a trigger that is canceled while it talks to
    the supervisor breaks all others (measured).

    :param name: what identifies the watcher among those of an asset
    :param digest: what identifies it among all
    """
    state = getattr(trigger, "asset_state_store", None)  # Airflow 3.3 and newer
    if state is None:
        return _Variable(_KEY + digest, description=f"What the watcher {name!r} has seen")
    return _AssetStates(list(state._by_name.values()), _KEY + name)


class _AssetStates:
    """The state of each asset that the trigger watches, so that one more or less makes no difference."""

    def __init__(self, assets: list[Any], key: str) -> None:
        self._assets, self._key = assets, key

    async def load(self) -> list[Any]:
        stored = await asyncio.shield(asyncio.gather(*(asset.aget(self._key) for asset in self._assets)))
        return [value for value in stored if value is not None]

    async def save(self, value: dict[str, Any]) -> None:
        saves = (asset.aset(self._key, value) for asset in self._assets)
        replies = await asyncio.shield(asyncio.gather(*saves, return_exceptions=True))
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        if len(errors) == len(replies):  # one that is no longer active cannot be written
            raise errors[0]


class _Variable:
    def __init__(self, key: str, *, description: str) -> None:
        self._key, self._description = key, description

    async def load(self) -> list[Any]:
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable

        answer = await _ask(GetVariable(key=self._key))
        if not isinstance(answer, ErrorResponse):
            with suppress(ValueError, RecursionError):
                return [json.loads(answer.value)]
            return [answer.value]
        if answer.error != ErrorType.VARIABLE_NOT_FOUND:
            raise AirflowRuntimeError(answer)
        return []

    async def save(self, value: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.comms import PutVariable

        await _ask(PutVariable(key=self._key, value=json.dumps(value), description=self._description))


Store = _AssetStates | _Variable


async def _ask(message: Any) -> Any:
    # What the class `Variable` offers blocks the event loop, or deadlocks in it before 3.2.
    task_runner = import_module("airflow.sdk.execution_time.task_runner")
    return await asyncio.shield(task_runner.SUPERVISOR_COMMS.asend(message))

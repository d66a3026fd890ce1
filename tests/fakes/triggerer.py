"""How a triggerer of Airflow 3 stores events and answers requests, in virtual time (read in 3.0.6 to 3.4)."""

from __future__ import annotations

import asyncio
import random
from contextvars import ContextVar
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms


class Database:
    """
    What outlives a triggerer.

    :param assets: the names of the active assets
    """

    def __init__(self, *assets: str) -> None:
        self.variables: dict[str, str] = {}
        self.descriptions: dict[str, str] = {}
        self.states: dict[str, dict[str, Any]] = {name: {} for name in assets}
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.failure: Exception | None = None
        self.failing = ""
        """How the types of the requests begin that fail then."""

    def answer(self, message: Any) -> Any:
        """Do what a request asks for."""
        kind = message.type
        if kind == "GetConnection":
            return _missing("CONNECTION")  # those that there are come from the environment
        if self.failure is not None and kind.startswith(self.failing):
            raise self.failure
        if kind == "GetVariable":
            value = self.variables.get(message.key)
            return comms.VariableResult(key=message.key, value=value) if value else _missing("VARIABLE")
        if kind == "PutVariable":
            self.variables[message.key], self.descriptions[message.key] = message.value, message.description
            return None
        state = self.states.get(message.name)
        if kind == "GetAssetStateStoreByName":
            found = (state or {}).get(message.key)
            return _missing("ASSET_STORE") if found is None else comms.AssetStateStoreResult(value=found)
        assert kind == "SetAssetStateStoreByName", kind
        if state is None:
            raise AirflowRuntimeError(_error("API_SERVER_ERROR"))
        state[message.key] = message.value
        return comms.OKResponse(ok=True)


def _missing(what: str) -> Any:
    return _error(f"{what}_NOT_FOUND")


def _error(kind: str) -> Any:
    return comms.ErrorResponse(error=ErrorType[kind])


_current: ContextVar[Triggerer] = ContextVar("_current")


class Triggerer:
    """
    Runs one trigger.

    Its runner passes events on once a second; its supervisor takes one request at a time, answers it, and
    then stores the events that it has, which takes a while.

    :param chance: how long each takes
    :param longest: how long an answer takes now and then, in seconds
    """

    def __init__(self, database: Database, trigger: Any, chance: random.Random, *, longest: float) -> None:
        self._database = database
        self._chance = chance
        self._longest = longest
        self._loop = asyncio.get_running_loop()
        _current.set(self)
        self._sent: list[dict[str, Any]] = []
        self._requests = asyncio.Queue[tuple[Any, asyncio.Future[Any]]]()
        self.is_paused = False
        """Whether the Dag is paused: its events are dropped, and soon its trigger is canceled."""
        works = (self._run(trigger), self._pass_on(), self._supervise())
        self._tasks = [self._loop.create_task(work) for work in works]

    @staticmethod
    def of_task() -> Triggerer:
        """Return the one whose trigger runs."""
        return _current.get()

    def kill(self) -> None:
        """End it at once."""
        for task in self._tasks:
            task.cancel()
        self._database = Database()

    async def asend(self, message: Any) -> Any:
        """Send a request, and return its answer."""
        answer = self._loop.create_future()
        self._requests.put_nowait((message, answer))
        return await answer

    async def _run(self, trigger: Any) -> None:
        async for event in trigger.run():
            await asyncio.sleep(0)
            self._sent.append(event.payload)

    async def _pass_on(self) -> None:
        while True:
            sent, self._sent = self._sent, []
            await self.asend(sent)
            await asyncio.sleep(1)

    async def _supervise(self) -> None:
        while True:
            knows_of_pause = self.is_paused
            message, answer = await self._requests.get()
            is_slow = self._chance.random() < 0.1
            await asyncio.sleep(self._chance.uniform(0, self._longest if is_slow else 0.05))
            events = message if isinstance(message, list) else []
            try:
                reply = None if isinstance(message, list) else self._database.answer(message)
            except AirflowRuntimeError as error:
                answer.set_exception(error)
            else:
                answer.set_result(reply)
            if isinstance(message, list) and knows_of_pause:
                self._tasks[0].cancel()
            for event in events:
                await asyncio.sleep(0.02)
                if not self.is_paused:
                    self._database.events.append((self._loop.time(), event))

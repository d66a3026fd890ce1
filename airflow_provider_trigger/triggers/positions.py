"""The position of an asset watcher: up to where its events have arrived, kept across restarts."""

from __future__ import annotations

import asyncio
import math
import re
import time

from airflow_provider_trigger._compat import Store
from airflow_provider_trigger.hooks.connection import Environment, safe_text
from airflow_provider_trigger.log import Log, Outage
from airflow_provider_trigger.triggers.follower import Position

RETRY_PAUSE = 5.0  # seconds

# After this number of seconds an event is in Airflow's database: it takes some 10 s on a busy machine.
_ARRIVED_AFTER = 60.0


class Positions:
    """
    Load and store the position of one watcher.

    A position that is stored at once runs ahead of its events: a kill or a pause in between loses these
    (measured). So a position is stored a minute after its events were sent.
    """

    def __init__(self, store: Store, *, watcher: str, environment: Environment, log: Log) -> None:
        self.environment = environment
        self._store = store
        self._watcher = watcher
        _, *self._leads_to = environment  # without the connection's id, which may change
        self._log = log
        self._outage = Outage(
            f"{watcher}: its position cannot be stored", log, then="events are sent meanwhile"
        )
        self._next: Position | None = None
        self._has_begun = False
        self._passed: list[tuple[float, Position]] = []  # to store: when it was passed, and the position
        self._stored: Position | None = None
        self._key_of: str | None = None  # the start of the last key, such as tr_dev_
        self._task: asyncio.Task[None] | None = None

    def note_key(self, secret_key: str) -> None:
        """Warn if a key is of another environment than the key before."""
        environment = "".join(re.findall(r"^tr_[a-z]+_", secret_key))
        if self._key_of not in (None, environment):
            text = (
                "%s has a key of another environment now, whose ends it sends. What ends in the earlier one "
                "may never be sent, also if its key comes back"
            )
            self._log.warning(text, self._watcher)
        self._key_of = environment

    async def load(self) -> Position | None:
        """Return the position to continue from; None if the watcher begins."""
        if self._next is None and (stored := await self._store.load()):
            objects = [value for value in stored if isinstance(value, dict)]  # users can change a variable
            newest = max(objects, key=lambda value: str(value.get("saved_at")), default={})
            if newest.get("environment") == self._leads_to:
                self._next = self._stored = Position.from_json(newest)
            if self._next is None:
                text = "%s begins again: its connection leads elsewhere now, or what was stored is invalid"
                self._log.warning(text, self._watcher)
        return self._next

    async def begin(self, position: Position) -> None:
        """Store the first position before any event is sent; if that fails, try again later."""
        if self._has_begun:
            return
        self._has_begun, self._next = True, position
        how = "continues from" if self._stored else "begins at"
        try:
            await self._save(position)
        except Exception as error:
            self._failed(error)
            self._save_later(position, at=-math.inf)
        self._log.info("%s %s %s", self._watcher, how, position.until)

    def passed(self, position: Position) -> None:
        """Take in the position after events were sent."""
        self._next = position
        self._save_later(position, at=asyncio.get_running_loop().time())

    def close(self) -> None:
        """Store nothing more: the last events may not arrive."""
        if self._task is not None:
            self._task.cancel()

    def _save_later(self, position: Position, *, at: float) -> None:
        self._passed.append((at, position))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._save_arrived())

    async def _save_arrived(self) -> None:
        """Store each position once its events have arrived, until the last one is stored."""
        loop = asyncio.get_running_loop()
        while self._passed:
            await asyncio.sleep(RETRY_PAUSE)
            arrived = [position for at, position in self._passed if at + _ARRIVED_AFTER <= loop.time()]
            if not arrived:
                continue
            try:
                await self._save(arrived[-1])
            except Exception as error:
                self._failed(error)
            else:
                self._outage.worked(loop.time())
                del self._passed[: len(arrived)]

    async def _save(self, position: Position) -> None:
        marks = {"environment": self._leads_to, "saved_at": time.time()}
        await self._store.save(position.to_json() | marks)
        self._stored = position

    def _failed(self, error: Exception) -> None:
        # Any error: storing goes through Airflow's supervisor, its API and its database.
        since = f"continues from {self._stored.until}" if self._stored else "begins then"
        text = f"if the triggerer restarts first, it {since}: {safe_text(error)}"
        self._outage.failed(text, asyncio.get_running_loop().time())

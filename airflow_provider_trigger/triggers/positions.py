"""Store up to where a watcher has sent its events, and late enough that a kill loses none."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from airflow_provider_trigger._compat.watchers import Store
from airflow_provider_trigger.ends.position import Position
from airflow_provider_trigger.hooks.diagnosis import safe_text
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.outage import Outage

RETRY_PAUSE = 5.0
"""After what failed, in seconds."""

# A triggerer passes its events on this long after it was answered, in seconds: a second, and some more.
_PASSED_ON_AFTER = 2.5

# While nothing is sent, a position is stored so many seconds after the one before.
_IDLE_INTERVAL = 60.0


class Positions:
    """
    Load and store the position of one watcher.

    Airflow stores an event some time after a trigger has sent it: a position that is stored at once runs
    ahead of its events, and a kill in between loses them (measured). A triggerer passes events on to its
    supervisor a second after that has answered the last time; the supervisor takes one request after another,
    and stores events before the next one. So a save waits for an answer, until the next events were passed
    on, and for an answer: they are stored, or dropped as the watcher was paused. A watcher learns of a pause
    when the triggerer passes events on again: so this comes twice, and a canceled watcher saves nothing.

    :param watcher: its name in the log
    :param follows: which runs it follows, for the log
    :param digest: of its arguments
    """

    def __init__(self, store: Store, *, watcher: str, follows: str, digest: str, log: Log) -> None:
        self._store = store
        self._watcher = watcher
        self._follows = follows
        self._digest = digest
        self._log = log
        self._outage = Outage(f"{watcher}: its position cannot be stored", log)
        self._origin, self._remark = "begins at", ""
        self._stored: Position | None = None
        self._next: Position | None = None  # what is to be stored
        self._stored_at = -_IDLE_INTERVAL
        self._task: asyncio.Task[None] | None = None
        self._is_shared = self._is_elsewhere = False

    async def load(self) -> Position | None:
        """Return where it is, None if it begins."""
        if self._next is not None or self._is_elsewhere:
            return self._next
        stored = await self._store.load()
        newest = max(_objects(stored), key=lambda one: one.get("saved_at", 0), default={})
        position = Position.from_json(newest.get("position"))
        if position is not None:
            is_changed = newest.get("digest") != self._digest
            self._origin = "continues from"
            self._remark = ", where it was before its arguments were changed" if is_changed else ""
        elif stored:
            self._remark = "; what was stored of it is invalid"
        elif not self._store.outlives_arguments:
            self._remark = "; before Airflow 3.3 it begins anew when its arguments are changed"
        return position

    async def begin(self, position: Position) -> None:
        """Store where it begins or continues, before anything is sent."""
        if self._stored is None:
            await self._save(position)
            where = f"{self._origin} {position.until}{self._remark}"
            self._log.info("%s %s. It follows %s", self._watcher, where, self._follows)
            self._next = position

    def passed(self, position: Position, *, has_sent: bool) -> None:
        """Take in where it is now, and whether it has sent events on its way."""
        loop = asyncio.get_running_loop()
        is_due = has_sent or loop.time() >= self._stored_at + _IDLE_INTERVAL
        if is_due and position != self._stored:
            self._next = position
            if self._task is None or self._task.done():
                self._task = loop.create_task(self._save_late())

    def connection_changed(self, conn_id: str, *, is_elsewhere: bool) -> None:
        """Continue with another key; in another environment, where it was says nothing: begin there."""
        if not is_elsewhere:
            self._log.info("%s uses the values that connection %r has now", self._watcher, conn_id)
            return
        text = "%s begins anew, as connection %r leads to another environment now"
        self._log.warning(text, self._watcher, conn_id)
        self.close()
        self._next = self._stored = None
        self._is_elsewhere, self._origin, self._remark = True, "begins at", ""

    def close(self) -> None:
        """Store nothing more: what was sent last may not arrive."""
        if self._task is not None:
            self._task.cancel()

    async def _save_late(self) -> None:
        """Store each position two answers and pauses after it was passed, until the last one is stored."""
        loop = asyncio.get_running_loop()
        before_last: Position | None = None
        last: Position | None = None
        while self._stored != self._next:
            position = self._next
            try:
                self._check_owner(await self._store.load())
                if before_last is not None and before_last != self._stored:
                    await self._save(before_last)
            except Exception as error:
                # Any error: storing goes through Airflow's supervisor, its API and its database.
                self._outage.failed(safe_text(error), loop.time())
                before_last = last = None
                await asyncio.sleep(RETRY_PAUSE)
            else:
                self._outage.worked(loop.time())
                before_last, last = last, position
                await asyncio.sleep(_PASSED_ON_AFTER)

    async def _save(self, position: Position) -> None:
        value = {"position": position.to_json(), "digest": self._digest, "saved_at": time.time()}
        await self._store.save(value)
        self._stored, self._stored_at = position, asyncio.get_running_loop().time()

    def _check_owner(self, stored: list[Any]) -> None:
        if not self._is_shared and any(one.get("digest") != self._digest for one in _objects(stored)):
            self._is_shared = True
            self._log.error(
                "%s: another watcher of its asset has this name, and overwrites its position, so that events "
                "may be lost: give each a name of its own",
                self._watcher,
            )


def _objects(stored: list[Any]) -> list[dict[str, Any]]:
    return [one for one in stored if isinstance(one, dict)]  # users can change a variable

"""Send an event for each run that ends, so that an asset is updated (Airflow 3.0.5 and newer)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import (
    BaseEventTrigger,
    TriggerEvent,
    dag_runs_have_newest_events,
    store_of,
)
from airflow_provider_trigger.api.statuses import FINAL_STATUSES, SUCCESS_STATUSES, TODAYS_STATUSES
from airflow_provider_trigger.rules import Rule, checked, connection_id, naming, optional, text
from airflow_provider_trigger.sources.arguments import terms

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Environment
    from airflow_provider_trigger.triggers.follower import EndFilter
    from airflow_provider_trigger.triggers.positions import Positions

# Airflow's triggerer sends no heartbeat while it stores events, some 50 a second (measured).
_EVENTS_A_SECOND = 25

# An event is sent again after these seconds, before Airflow 3.4. A scheduler makes a Dag run within 6 s,
# also when it is busy (measured); later where the Dag has reached its max_active_runs.
_REPEATED_AFTER = (6.0, 30.0, 300.0)

# For each event loop: when its watchers may send their next events.
_free_at: WeakKeyDictionary[asyncio.AbstractEventLoop, float] = WeakKeyDictionary()


STATUSES = FINAL_STATUSES & TODAYS_STATUSES
RULES: dict[str, Rule] = {
    "name": text(),
    "task_identifiers": optional(terms("task identifier")),
    "tags": optional(terms("tag")),
    "statuses": terms("final status", STATUSES),
    "trigger_dev_conn_id": connection_id,
}


class TriggerRunEventTrigger(BaseEventTrigger):
    """
    Send an event for each run that ends, no matter who has started it; for the ``AssetWatcher`` of an asset.

    Each becomes an asset event, with ``{"run_id", "run_url", "status", "task_identifier", "tags",
    "created_at", "finished_at", "is_repeat"}`` as ``extra["payload"]``; times are ISO texts in UTC, or None.
    Airflow may make one Dag run of several events: read all of ``triggering_asset_events``. Before Airflow
    3.4, the last one of several is sent again with ``is_repeat``, so that a Dag run has them all: ignore it.
    It begins with what ends after its first start. A run is sent at least once, also when the triggerer is
    killed; one that is sent again then has the same run id. It needs Airflow 3.0.5 or newer, and a server
    with the query: what that does not show is not sent, such as a run that was canceled before its start.

    :param name: what identifies this watcher; Airflow takes triggers with equal arguments for one, and two
        with the same name for one asset overwrite each other's position
    :param task_identifiers: one or several ids of Trigger.dev tasks, of which a run has one; None for any
    :param tags: one or several tags, all of which a run must have; None for any
    :param statuses: the final statuses that count, such as ``FAILED``
    :param trigger_dev_conn_id: the connection
    :raises ValueError: when the Dag is parsed: neither ``task_identifiers`` nor ``tags``, or an invalid value
    :raises ImportError: of the module, in an older Airflow
    """

    def __init__(
        self,
        *,
        name: str,
        task_identifiers: str | Collection[str] | None = None,
        tags: str | Collection[str] | None = None,
        statuses: str | Collection[str] = SUCCESS_STATUSES,
        trigger_dev_conn_id: str = defaults.CONN_ID,
    ) -> None:
        super().__init__()
        self.name = name
        self.task_identifiers = task_identifiers
        self.tags = tags
        self.statuses = statuses
        self.trigger_dev_conn_id = trigger_dev_conn_id
        with naming(type(self).__name__):
            for argument, value in checked(RULES, {name: getattr(self, name) for name in RULES}).items():
                setattr(self, argument, sorted(value) if isinstance(value, tuple) else value)
            if self.task_identifiers is None and self.tags is None:
                raise ValueError("give task_identifiers, or tags, or both")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the path of the class, and its arguments as plain JSON."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in RULES}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Send events until Airflow cancels this. No error ends it: Airflow would restart it."""
        from airflow_provider_trigger.hooks.connection import safe_text
        from airflow_provider_trigger.hooks.fetching import fetch_shielded
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
        from airflow_provider_trigger.log import Outage
        from airflow_provider_trigger.triggers.feed import follow_ends
        from airflow_provider_trigger.triggers.follower import event_payload
        from airflow_provider_trigger.triggers.positions import RETRY_PAUSE

        then = "continues where it was, or begins then if it is new"
        outage = Outage(f"Watcher {self.name!r} does not work", self.log, then=then)
        repeats = _Repeats()
        with ExitStack() as stack:
            positions: Positions | None = None
            while True:
                try:
                    connection = await fetch_shielded(self.trigger_dev_conn_id)
                    hook = TriggerDevHook(self.trigger_dev_conn_id, connection=connection)
                    if positions is None or positions.environment != hook.settings.environment:
                        stack.close()
                        positions = stack.enter_context(closing(self._positions(hook.settings.environment)))
                    positions.note_key(hook.settings.secret_key)
                    position = await positions.load()
                    # Not `async with`: it would hide that a closing event loop closes this generator.
                    with follow_ends(hook.settings, self._filter(), position) as (feed, follower):
                        while not feed.is_outdated:
                            if follower.is_empty:
                                await feed.polled()
                            if follower.position is None:
                                continue
                            await positions.begin(follower.position)
                            outage.worked(asyncio.get_running_loop().time())
                            runs, position = follower.hand_over()
                            if not runs:
                                if repeat := repeats.due():
                                    yield TriggerEvent(repeat)  # type: ignore[no-untyped-call]
                                continue
                            await _turn(len(runs))
                            for run in runs:
                                payload = event_payload(run, hook.settings.run_url(run.id))
                                repeats.sent(payload)
                                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]
                            positions.passed(position)
                except Exception as error:
                    # Any error: Airflow's database and secrets backends raise what they like.
                    outage.failed(safe_text(error), asyncio.get_running_loop().time())
                await asyncio.sleep(RETRY_PAUSE)

    def _filter(self) -> EndFilter:
        from airflow_provider_trigger.triggers.follower import EndFilter

        return EndFilter(
            task_identifiers=tuple(self.task_identifiers or ()),
            tags=tuple(self.tags or ()),
            statuses=tuple(self.statuses),
        )

    def _positions(self, environment: Environment) -> Positions:
        from airflow_provider_trigger.triggers.positions import Positions

        digest = hashlib.sha256(json.dumps(self.serialize()).encode()).hexdigest()[:32]
        return Positions(
            store_of(self, name=self.name, digest=digest),
            watcher=f"Watcher {self.name!r}",
            environment=environment,
            log=self.log,
        )


class _Repeats:
    """
    Sends the newest event of a burst again.

    Before Airflow 3.4, a Dag run has the events up to the one that has queued it. Events that come between
    that one and the creation of the Dag run wait for the next event.
    """

    def __init__(self) -> None:
        self._payload: dict[str, Any] = {}
        self._sent_at = -math.inf
        self._due_at: list[float] = []

    def sent(self, payload: dict[str, Any]) -> None:
        """Take in an event. An event that comes long after the one before has a Dag run of its own."""
        now = asyncio.get_running_loop().time()
        pauses = () if dag_runs_have_newest_events() else _REPEATED_AFTER
        self._due_at = [now + pause for pause in pauses if now - self._sent_at < pause]
        self._payload, self._sent_at = payload, now

    def due(self) -> dict[str, Any] | None:
        """Return the event to send again now, if any."""
        now = asyncio.get_running_loop().time()
        if not self._due_at or now < self._due_at[0]:
            return None
        self._due_at, self._sent_at = [at for at in self._due_at if at > now], now
        return self._payload | {"is_repeat": True}


async def _turn(count: int) -> None:
    """Wait until a watcher of this event loop may send ``count`` events."""
    loop = asyncio.get_running_loop()
    at = max(loop.time(), _free_at.get(loop, 0.0))
    _free_at[loop] = at + count / _EVENTS_A_SECOND
    await asyncio.sleep(at - loop.time())

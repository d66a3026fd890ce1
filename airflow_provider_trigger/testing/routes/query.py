"""The query: what many runs show, by SQL; see :mod:`.query_language` for how much of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.responses import Response

from ..answers import error_answer, json_answer
from ..engine.engine import Engine
from ..engine.states import ALIVE, FINAL, State
from .calls import Call, InvalidBodyError, Route, read_json
from .query_language import Column, read_query, to_milliseconds
from .run_list import Entry, make_filters

_MOST_AT_ONCE = 3
_TOO_MANY = (
    f"You've exceeded your query concurrency of {_MOST_AT_ONCE} for this project. Please try again later."
)


class QueryCalls:
    """Answer the query."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [Route(re.compile(r"/api/v1/query"), act=self._query, accepts_tokens=False)]

    def _query(self, call: Call) -> Response:
        if call.at_once > _MOST_AT_ONCE:
            return error_answer(_TOO_MANY, status=429)
        try:
            given = read_json(call.body)
            selection = read_query(given.get("query") if isinstance(given, dict) else None, _COLUMNS)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        if not self._engine.query_database:
            return error_answer("connect ECONNREFUSED 127.0.0.1:8123", status=400)
        now = self._engine.time.now()
        entries = self._entries(call, now)
        for test in make_filters({"filter[createdAt][period]": str(given.get("period"))}, now=now):
            entries = list(filter(test, entries))
        columns = {name: _COLUMNS[name].value for name in selection.columns}
        rows = [
            {name: _show(value(entry)) for name, value in columns.items()}
            for entry in selection.select(entries)
        ]
        return json_answer({"format": "json", "results": rows})

    def _entries(self, call: Call, now: float) -> list[Entry]:
        """Return the environment's runs as the query sees them."""
        seen_until = self._engine.time.after(-self._engine.query_lag, now)
        return [
            (run, state)
            for run in list(self._engine.runs.values())
            if run.environment == call.environment
            and (state := run.state_at(min(seen_until, run.lost_since))) is not None
        ]


def _root_id(entry: Entry) -> str | None:
    return None if entry[0].parent is None else entry[0].root.id


def _parent_id(entry: Entry) -> str | None:
    return None if entry[0].parent is None else entry[0].parent.id


@functools.cache
def _word(status: str) -> str:
    """Return the query's own word for a status, such as ``Timed out``."""
    return status.replace("_", " ").capitalize()


def _show(value: Any) -> Any:
    is_time = isinstance(value, datetime)
    return value.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if is_time else value


def _queued_at(state: State) -> datetime:
    """Return when it came into its queue; a run that waits for a version was there before (read)."""
    return min(state.delayed_until or state.created_at, state.updated_at)


def _time(value: Callable[[State], datetime | None]) -> Column:
    return Column("time", lambda entry: to_milliseconds(value(entry[1])))


_WORDS = {word.lower(): word for word in map(_word, (*ALIVE, *FINAL))}
# The real server's other columns are not in use.
_COLUMNS = {
    "run_id": Column("text", lambda entry: entry[0].id),
    "status": Column("text", lambda entry: _word(entry[1].status), words=_WORDS),
    "is_finished": Column("boolean", lambda entry: entry[1].final),
    "task_identifier": Column("text", lambda entry: entry[0].task_identifier),
    # 1 before the first attempt, too.
    "attempt_count": Column("number", lambda entry: max(1, entry[1].attempt_count)),
    "triggered_at": _time(lambda state: state.created_at),
    "queued_at": _time(_queued_at),
    "dequeued_at": _time(lambda state: state.started_at),
    "executed_at": _time(lambda state: state.started_at if state.attempt_count else None),
    # Always None if it was canceled before it started.
    "completed_at": _time(lambda state: state.finished_at),
    "parent_run_id": Column("text", _parent_id),
    "root_run_id": Column("text", _root_id),
    "depth": Column("number", lambda entry: entry[0].depth),
    # What the real server's column holds was not recorded.
    "batch_id": Column("text", lambda entry: entry[0].batch_id),
    "tags": Column("list", lambda entry: entry[0].tags),
    # Empty also for a run that has one.
    "idempotency_key": Column("text", lambda entry: ""),
}

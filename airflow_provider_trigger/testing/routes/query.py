"""The query: statuses of many runs at once, by SQL of a few forms."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.responses import Response

from ..engine.engine import Engine
from ..engine.runs import ServerRun
from ..engine.states import State
from ..http.answers import error_answer, json_answer
from .calls import Call, Route
from .json_body import InvalidBodyError, read_json
from .run_filters import Entry, Test, make_filters

_MOST_AT_ONCE = 3
_TOO_MANY = (
    f"You've exceeded your query concurrency of {_MOST_AT_ONCE} for this project. Please try again later."
)

_TEXT = r"'((?:[^'\\]|\\.)*)'"
_QUERY = re.compile(r"\s*SELECT\s+([\w\s,]+?)\s+FROM\s+runs(?:\s+WHERE\s+(.*?))?\s*", re.DOTALL)
_IDS = rf"(?:=\s*{_TEXT}|IN\s*\(\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\))"
_FORMS: dict[re.Pattern[str], Callable[[set[str]], Test]] = {
    re.compile(rf"run_id\s*{_IDS}"): lambda texts: lambda entry: entry[0].id in texts,
    re.compile(rf"root_run_id\s*{_IDS}"): lambda texts: lambda entry: _root_id(entry[0]) in texts,
    re.compile(rf"parent_run_id\s*{_IDS}"): lambda texts: lambda entry: _parent_id(entry[0]) in texts,
    re.compile(rf"has\(tags,\s*{_TEXT}\)"): lambda texts: lambda entry: not texts.isdisjoint(entry[0].tags),
    # What the real server's column holds was not recorded.
    re.compile(rf"batch_id\s*=\s*{_TEXT}"): lambda texts: lambda entry: entry[0].batch_id in texts,
}
# As the real server's code says.
_MOST_ROWS = 10_000


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
            columns, test = _read(given.get("query") if isinstance(given, dict) else None)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        now = self._engine.time.now()
        tests = [test, *make_filters({"filter[createdAt][period]": str(given.get("period"))}, now=now)]
        rows = [
            {name: _COLUMNS[name](*entry) for name in columns}
            for entry in self._entries(call, now)
            if all(test(entry) for test in tests)
        ]
        return json_answer({"format": "json", "results": rows[:_MOST_ROWS]})

    def _entries(self, call: Call, now: float) -> list[Entry]:
        """Return the environment's runs as the query sees them."""
        seen_until = self._engine.time.after(-self._engine.query_lag, now)
        return [
            (run, state)
            for run in list(self._engine.runs.values())
            if run.environment == call.environment
            and (state := run.state_at(min(seen_until, run.lost_since))) is not None
        ]


def _read(query: object) -> tuple[list[str], Test]:
    """
    Return the columns that a query wants, and the test that its runs pass.

    :raises InvalidBodyError: for SQL of another form
    """
    match = _QUERY.fullmatch(query) if isinstance(query, str) else None
    columns = [name.strip() for name in match[1].split(",")] if match else []
    for name in columns:
        if name not in _COLUMNS:
            known = ", ".join(sorted(_COLUMNS))
            raise InvalidBodyError(f'Unknown column "{name}". Available columns: {known}')
    for form, make in _FORMS.items():
        if match and form.fullmatch(match[2] or ""):
            return columns, make({re.sub(r"\\(.)", r"\1", text) for text in re.findall(_TEXT, match[2])})
    raise InvalidBodyError(
        "Syntax error at line 1:0: the local server only knows SELECT … FROM runs WHERE has(tags, …), "
        "batch_id = …, and run_id, root_run_id or parent_run_id with = … or IN (…)"
    )


def _root_id(run: ServerRun) -> str | None:
    return None if run.parent is None else run.root.id


def _parent_id(run: ServerRun) -> str | None:
    return None if run.parent is None else run.parent.id


def _word(state: State) -> str:
    """Return the query's own word for a status, such as ``Timed out``."""
    return state.status.replace("_", " ").capitalize()


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _queued_at(state: State) -> datetime:
    """Return when it came into its queue; a run that waits for a version was there before (read)."""
    return min(state.delayed_until or state.created_at, state.updated_at)


# The real server's other columns are not in use. The form of its times was not recorded.
_COLUMNS: dict[str, Callable[[ServerRun, State], Any]] = {
    "run_id": lambda run, state: run.id,
    "status": lambda run, state: _word(state),
    "is_finished": lambda run, state: state.final,
    "task_identifier": lambda run, state: run.task_identifier,
    # 1 before the first attempt, too.
    "attempt_count": lambda run, state: max(1, state.attempt_count),
    "triggered_at": lambda run, state: _time(state.created_at),
    "queued_at": lambda run, state: _time(_queued_at(state)),
    "dequeued_at": lambda run, state: _time(state.started_at),
    "executed_at": lambda run, state: _time(state.started_at if state.attempt_count else None),
    "completed_at": lambda run, state: _time(state.finished_at),
    "parent_run_id": lambda run, state: _parent_id(run),
    "root_run_id": lambda run, state: _root_id(run),
    "depth": lambda run, state: run.depth,
    "batch_id": lambda run, state: run.batch_id,
    "tags": lambda run, state: list(run.tags),
    # Empty also for a run that has one.
    "idempotency_key": lambda run, state: "",
}

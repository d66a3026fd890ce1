"""Which runs a list selects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from typing import Any

from ..engine.durations import read_date
from ..engine.runs import ServerRun
from ..engine.states import FILTER_WORDS, OLD_WORDS, State

# How far back a list reaches that names no time, in seconds.
_DEFAULT_PERIOD = 7 * 86400.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

Entry = tuple[ServerRun, State]
Test = Callable[[Entry], bool]


class QueryError(ValueError):
    """An invalid query; it carries the details that the answer shows."""

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__("Query Error")
        self.details = details


def make_filters(query: Mapping[str, str], *, now: float) -> list[Test]:
    """
    Return the tests that a run passes which a list selects.

    :param query: ``filter[…]`` by ``tag``, ``status``, ``taskIdentifier``, ``queue``, ``isTest``, ``batch``
        and ``createdAt``; everything else is ignored
    :raises QueryError: for an invalid status or time
    """
    tests = [test for name, make in _FILTERS.items() if (test := make(query.get(name)))]
    return [*tests, _by_time(query, now)]


def _words(given: str | None) -> set[str]:
    return set(given.split(",")) if given else set()


def _by_tag(given: str | None) -> Test | None:
    wanted = _words(given)
    return (lambda entry: not wanted.isdisjoint(entry[0].tags)) if wanted else None


def by_status(given: str | None) -> Test | None:
    """
    Return the filter by status, ``None`` if it is not given.

    :param given: statuses, with commas
    :raises QueryError: an unknown status
    """
    wanted = read_statuses(given, FILTER_WORDS)
    if not wanted:
        return None
    return lambda entry: bool(wanted & {entry[1].status, OLD_WORDS.get(entry[1].status)})


def read_statuses(given: str | None, known: Set[str]) -> set[str]:
    """Return the statuses of a filter, none for all; QueryError for one that is not known."""
    unknown = [word for word in (given or "").split(",") if word and word not in known]
    if unknown:
        message = f"Invalid status values: {', '.join(unknown)}"
        raise QueryError([{"code": "custom", "message": message, "path": ["filter[status]"]}])
    return _words(given)


def _by_task(given: str | None) -> Test | None:
    wanted = _words(given)
    return (lambda entry: entry[0].task_identifier in wanted) if wanted else None


def _by_queue(given: str | None) -> Test | None:
    wanted = _words(given)
    return (lambda entry: f"task/{entry[0].task_identifier}" in wanted) if wanted else None


def _by_test(given: str | None) -> Test | None:
    return (lambda entry: False) if given == "true" else None


def _by_batch(given: str | None) -> Test | None:
    return (lambda entry: entry[0].batch_id == given) if given else None


def _read_moment(given: str) -> float:
    """Return a time in seconds since 1970: it is given in milliseconds, or as a date in ISO 8601."""
    try:
        return float(given) / 1000
    except ValueError:
        return read_date(given)


def _by_time(query: Mapping[str, str], now: float) -> Test:
    times: dict[str, float | None] = {}
    for name in ("from", "to"):
        path = f"filter[createdAt][{name}]"
        try:
            times[name] = _read_moment(query[path]) if path in query else None
        except ValueError:
            invalid = {"code": "invalid_date", "path": [path], "message": "Invalid date"}
            raise QueryError([invalid]) from None
    start, end = times["from"], times["to"]
    # A malformed period is ignored.
    match = re.fullmatch(r"(\d+)([smhdw])", query.get("filter[createdAt][period]", ""))
    if match is not None:
        start = now - int(match[1]) * _SECONDS[match[2]]
    elif start is None and end is None:
        start = now - _DEFAULT_PERIOD
    first, last = (float("-inf") if start is None else start), (float("inf") if end is None else end)
    return lambda entry: first <= entry[1].created_at.timestamp() <= last


_FILTERS: dict[str, Callable[[str | None], Test | None]] = {
    "filter[tag]": _by_tag,
    "filter[status]": by_status,
    "filter[taskIdentifier]": _by_task,
    "filter[queue]": _by_queue,
    "filter[isTest]": _by_test,
    "filter[batch]": _by_batch,
}

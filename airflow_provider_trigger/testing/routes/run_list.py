"""The list of runs: its filters and its pages."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial
from typing import Any

from ..engine.runs import ServerRun
from ..engine.server_time import read_date
from ..engine.states import FILTER_WORDS, OLD_WORDS, State
from .views import list_item

_LARGEST_PAGE = 100
# How far back a list reaches that names no time, in seconds.
_DEFAULT_PERIOD = 7 * 86400.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
Entry = tuple[ServerRun, State]
Test = Callable[[Entry], bool]
# Whether a run fits what is given; of the first three, one of the words with commas.
_FILTERS: dict[str, Callable[[str, Entry], bool]] = {
    "filter[tag]": lambda given, entry: not set(given.split(",")).isdisjoint(entry[0].tags),
    "filter[taskIdentifier]": lambda given, entry: entry[0].task_identifier in given.split(","),
    "filter[queue]": lambda given, entry: f"task/{entry[0].task_identifier}" in given.split(","),
    "filter[isTest]": lambda given, entry: given != "true",
    "filter[batch]": lambda given, entry: entry[0].batch_id == given,
}


def list_runs(
    runs: Iterable[ServerRun], query: Mapping[str, str], *, modern: bool, now: float, seen_until: float
) -> dict[str, Any]:
    """Return the body of a list's answer: one page, the newest run first."""
    size = page_size(query.get("page[size]"))
    tests = make_filters(query, now=now)
    seen = ((run, run.state_at(min(seen_until, run.lost_since))) for run in runs)
    # As on the real server, a replica that lags behind decides which runs are on the page, but each shows its
    # present state; with a filter by status, those with another one by now are left out. So a page can be
    # short, even empty, although others follow.
    entries = [(run, state) for run, state in seen if state is not None]
    fitting = [entry for entry in entries if all(test(entry) for test in tests)]
    fitting.sort(key=_place, reverse=True)
    start, end = _window(fitting, query, size)
    pagination = {}
    if end < len(fitting):
        pagination["next"] = _cursor(fitting[end - 1])
    if start > 0 and start < end:
        pagination["previous"] = _cursor(fitting[start])
    page = fitting[start:end]
    if "page[before]" in query:
        page.reverse()  # so does the real server: the page before comes with its oldest run first
    still_fits = by_status(query.get("filter[status]")) or (lambda entry: True)
    present = [(run, run.state) for run, _ in page]
    data = [list_item(*entry, modern=modern) for entry in present if still_fits(entry)]
    return {"data": data, "pagination": pagination}


def page_size(given: str | None) -> int:
    """Return how many items a page has; QueryError for an invalid size."""
    path = ["page[size]"]
    if given is None:
        return 25
    number = {"type": "number", "exact": False, "path": path}
    if not given.lstrip("-").isdigit():
        nan = {"code": "invalid_type", "expected": "number", "received": "nan"}
        raise QueryError([{**nan, "path": path, "message": "Expected number, received nan"}])
    if int(given) < 1:
        small = {"code": "too_small", **number}
        more = {"minimum": 0, "inclusive": False, "message": "Number must be greater than 0"}
        least = {"minimum": 1, "inclusive": True, "message": "Number must be greater than or equal to 1"}
        raise QueryError([small | more, small | least])
    if int(given) > _LARGEST_PAGE:
        most = {"maximum": _LARGEST_PAGE, "inclusive": True}
        text = f"Number must be less than or equal to {_LARGEST_PAGE}"
        raise QueryError([{"code": "too_big", **number, **most, "message": text}])
    return int(given)


def _window(entries: list[Entry], query: Mapping[str, str], size: int) -> tuple[int, int]:
    """Return where a page starts and ends; an unknown cursor leads past the end."""
    after, before = query.get("page[after]"), query.get("page[before]")
    places = [_place(entry) for entry in entries]
    if after is not None:
        place = _read_cursor(after)
        start = sum(other >= place for other in places) if place else len(places)
        return start, min(start + size, len(places))
    if before is not None:
        place = _read_cursor(before)
        end = sum(other > place for other in places) if place else 0
        return max(0, end - size), end
    return 0, min(size, len(places))


def _place(entry: Entry) -> tuple[int, str]:
    run, state = entry
    return int(state.created_at.timestamp() * 1000), run.id.removeprefix("run_")


def _cursor(entry: Entry) -> str:
    created, internal_id = _place(entry)
    text = json.dumps({"c": created, "r": internal_id}, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def _read_cursor(cursor: str) -> tuple[int, str] | None:
    try:
        place = json.loads(base64.b64decode(cursor))
        return int(place["c"]), str(place["r"])
    except (ValueError, KeyError, TypeError):
        return None


class QueryError(ValueError):
    """An invalid query; it carries the details that the answer shows."""

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__("Query Error")
        self.details = details


def make_filters(query: Mapping[str, str], *, now: float) -> list[Test]:
    """Return the tests that a run passes which a list selects."""
    tests = [partial(test, given) for name, test in _FILTERS.items() if (given := query.get(name))]
    status = by_status(query.get("filter[status]"))
    return [*tests, *([status] if status else []), _by_time(query, now)]


def by_status(given: str | None) -> Test | None:
    """Return the filter by status, ``None`` if it is not given."""
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
    return set(given.split(",")) if given else set()


def _read_moment(given: str) -> float:
    """Return a time in seconds since 1970: it is given in milliseconds, or as a date in ISO 8601."""
    try:
        return float(given) / 1000
    except ValueError:
        return read_date(given)


def looks_back(query: Mapping[str, str], now: float) -> float:
    """Return how many seconds a list looks back."""
    return now - _times(query, now)[0]


def _by_time(query: Mapping[str, str], now: float) -> Test:
    first, last = _times(query, now)
    return lambda entry: first <= entry[1].created_at.timestamp() <= last


def _times(query: Mapping[str, str], now: float) -> tuple[float, float]:
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
    return (float("-inf") if start is None else start), (float("inf") if end is None else end)

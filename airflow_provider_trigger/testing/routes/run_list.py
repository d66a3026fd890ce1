"""The list of runs: its filters and its pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..engine.runs import ServerRun
from ..engine.states import FILTER_WORDS, OLD_WORDS, State
from .pages import QueryError, page_size
from .periods import created_between, read_moment
from .views import list_item

Entry = tuple[ServerRun, State]


def list_runs(
    runs: Iterable[ServerRun], query: Mapping[str, str], *, modern: bool, now: float, lag: float
) -> dict[str, Any]:
    """
    Return the body of a list's answer: one page, the newest run first.

    As on the real server, a replica that lags behind decides which runs are on the page, but each item shows
    the run's present state; with a filter by status, those that have another one by now are left out. So a
    page can be short, even empty, although others follow.

    :param runs: the runs of the key's environment
    :param query: ``page[size]``, ``page[after]``, ``page[before]``, and ``filter[…]`` by ``tag``, ``status``,
        ``taskIdentifier``, ``queue``, ``isTest``, ``batch`` and ``createdAt``; everything else is ignored
    :param modern: whether the client named the modern API version
    :param now: the time, in seconds since 1970
    :param lag: how far the replica lags behind, in seconds
    :raises QueryError: for an invalid size, status or time
    """
    size = page_size(query.get("page[size]"))
    tests = [test for name, make in _FILTERS.items() if (test := make(query.get(name)))]
    tests.append(_by_time(query, now))
    entries = [(run, state) for run in runs if (state := run.state_at(now - lag)) is not None]
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
    still_fits = _by_status(query.get("filter[status]")) or (lambda entry: True)
    present = [(run, run.state) for run, _ in page]
    data = [list_item(*entry, modern=modern) for entry in present if still_fits(entry)]
    return {"data": data, "pagination": pagination}


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


Test = Callable[[Entry], bool]


def _words(given: str | None) -> set[str]:
    return set(given.split(",")) if given else set()


def _by_tag(given: str | None) -> Test | None:
    wanted = _words(given)
    return (lambda entry: not wanted.isdisjoint(entry[0].tags)) if wanted else None


def _by_status(given: str | None) -> Test | None:
    wanted = _words(given)
    unknown = [word for word in (given or "").split(",") if word and word not in FILTER_WORDS]
    if unknown:
        message = f"Invalid status values: {', '.join(unknown)}"
        raise QueryError([{"code": "custom", "message": message, "path": ["filter[status]"]}])
    if not wanted:
        return None
    return lambda entry: bool(wanted & {entry[1].status, OLD_WORDS.get(entry[1].status)})


def _by_task(given: str | None) -> Test | None:
    wanted = _words(given)
    return (lambda entry: entry[0].task_identifier in wanted) if wanted else None


def _by_queue(given: str | None) -> Test | None:
    wanted = _words(given)
    return (lambda entry: f"task/{entry[0].task_identifier}" in wanted) if wanted else None


def _by_test(given: str | None) -> Test | None:
    return (lambda entry: False) if given == "true" else None


def _by_batch(given: str | None) -> Test | None:
    return (lambda entry: False) if given else None


def _by_time(query: Mapping[str, str], now: float) -> Test:
    times: dict[str, float | None] = {}
    for name in ("from", "to"):
        path = f"filter[createdAt][{name}]"
        try:
            times[name] = read_moment(query[path]) if path in query else None
        except ValueError:
            invalid = {"code": "invalid_date", "path": [path], "message": "Invalid date"}
            raise QueryError([invalid]) from None
    first, last = created_between(times["from"], times["to"], query.get("filter[createdAt][period]"), now=now)
    return lambda entry: first <= entry[1].created_at.timestamp() <= last


_FILTERS: dict[str, Callable[[str | None], Test | None]] = {
    "filter[tag]": _by_tag,
    "filter[status]": _by_status,
    "filter[taskIdentifier]": _by_task,
    "filter[queue]": _by_queue,
    "filter[isTest]": _by_test,
    "filter[batch]": _by_batch,
}

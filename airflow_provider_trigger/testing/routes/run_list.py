"""The list of runs: its filters and its pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..engine.runs import ServerRun
from ..engine.states import FILTER_WORDS, OLD_WORDS, State
from .pages import QueryError, page_size
from .views import list_item

Entry = tuple[ServerRun, State]


def list_runs(runs: Iterable[ServerRun], query: Mapping[str, str], *, modern: bool) -> dict[str, Any]:
    """
    Return the body of a list's answer: one page, the newest run first.

    :param runs: the runs of the key's environment
    :param query: ``page[size]``, ``page[after]``, ``page[before]``, and ``filter[…]`` by ``tag``, ``status``,
        ``taskIdentifier``, ``queue``, ``isTest`` and ``batch``; everything else is ignored
    :param modern: whether the client named the modern API version
    :raises QueryError: for an invalid size or status
    """
    size = page_size(query.get("page[size]"))
    tests = [test for name, make in _FILTERS.items() if (test := make(query.get(name)))]
    entries = [(run, run.state) for run in runs]
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
    data = [list_item(run, state, modern=modern) for run, state in page]
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


_FILTERS: dict[str, Callable[[str | None], Test | None]] = {
    "filter[tag]": _by_tag,
    "filter[status]": _by_status,
    "filter[taskIdentifier]": _by_task,
    "filter[queue]": _by_queue,
    "filter[isTest]": _by_test,
    "filter[batch]": _by_batch,
}

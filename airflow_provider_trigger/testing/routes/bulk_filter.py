"""The filter of a bulk action."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..engine.runs import ServerRun
from ..engine.states import FILTER_WORDS, OLD_WORDS
from .periods import created_between, read_moment


def matching(runs: Iterable[ServerRun], given: Mapping[str, Any], *, now: float) -> list[ServerRun]:
    """
    Return the runs that fit a filter.

    :param runs: the runs to choose from
    :param given: the filter, valid; each of its fields holds one value or a list, of which any may fit
    :param now: the time, in seconds since 1970
    """
    first, last = (read_moment(given[name]) if name in given else None for name in ("from", "to"))
    start, end = created_between(first, last, given.get("period"), now=now)
    tests = [(test, _listed(given[name])) for name, test in _TESTS.items() if name in given]
    return [
        run
        for run in runs
        if start <= run.created_at.timestamp() <= end and all(test(run, values) for test, values in tests)
    ]


def invalid_fields(given: Mapping[str, Any]) -> list[str]:
    """
    Return the fields of a filter that don't hold what they should.

    :param given: the filter
    """
    return [name for name, value in given.items() if name in _CHECKS and not _CHECKS[name](value)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_texts(value: Any) -> bool:
    return all(isinstance(item, str) for item in _listed(value))


def _is_statuses(value: Any) -> bool:
    return _is_texts(value) and FILTER_WORDS.issuperset(_listed(value))


def _is_queues(value: Any) -> bool:
    return all(isinstance(item, dict) and {"type", "name"} <= item.keys() for item in _listed(value))


def _is_moment(value: Any) -> bool:
    try:
        read_moment(value)
    except ValueError:
        return False
    return True


def _has_status(run: ServerRun, wanted: list[Any]) -> bool:
    status = run.status
    return status in wanted or OLD_WORDS.get(status) in wanted


def _is_in_queue(run: ServerRun, wanted: list[Any]) -> bool:
    return {"type": "task", "name": run.task_identifier} in wanted


def _never(run: ServerRun, wanted: list[Any]) -> bool:
    """Match no run: this server's have nothing of the kind."""
    return False


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "status": _is_statuses,
    "queue": _is_queues,
    "isTest": lambda value: isinstance(value, bool),
    "from": _is_moment,
    "to": _is_moment,
    "period": lambda value: isinstance(value, str),
} | dict.fromkeys(
    ("tag", "taskIdentifier", "region", "version", "bulkAction", "schedule", "batch", "machine"), _is_texts
)
FIELDS = frozenset(_CHECKS)
_TESTS: dict[str, Callable[[ServerRun, list[Any]], bool]] = {
    "status": _has_status,
    "queue": _is_in_queue,
    "isTest": lambda run, wanted: False in wanted,
    "tag": lambda run, wanted: not set(wanted).isdisjoint(run.tags),
    "taskIdentifier": lambda run, wanted: run.task_identifier in wanted,
    "region": lambda run, wanted: run.environment.region in wanted,
} | dict.fromkeys(("version", "bulkAction", "schedule", "batch", "machine"), _never)

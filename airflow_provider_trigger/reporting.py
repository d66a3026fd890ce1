"""What to tell of a cancellation: in the log run by run, and in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult

if TYPE_CHECKING:
    from airflow_provider_trigger.sources.run_ids import RunIds


class Log(Protocol):
    """What Airflow's versions give a task to log with."""

    def info(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def warning(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def error(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102


MAX_LINES = 100
"""Up to so many runs get a line each; of more, only those that failed do, as many at most."""

_NAMED = 10


def summary(results: Iterable[CancelResult]) -> str:
    """Return, say, ``12 canceled, 3 already completed, 1 not found``."""
    counts = Counter(result.outcome for result in results)
    return (
        ", ".join(
            f"{counts[outcome]} {outcome.value.replace('_', ' ')}"
            for outcome in CancelOutcome
            if counts[outcome]
        )
        or "no runs"
    )


def failures(results: Iterable[CancelResult]) -> str:
    """Return why runs failed and which, those of one reason together, the most first."""
    by_reason: dict[str, list[str]] = {}
    for result in results:
        if result.error:
            # A reason tells the request, and that has the run's id in its path.
            reason = result.error.replace(result.run_id, "…")
            by_reason.setdefault(reason, []).append(result.run_id)
    most_first = sorted(by_reason.items(), key=lambda group: -len(group[1]))
    return enumeration((f"{enumeration(run_ids)}: {reason}" for reason, run_ids in most_first), " | ")


def enumeration(items: Iterable[object], separator: str = ", ") -> str:
    """Return the first few items, and how many there are beyond."""
    texts = [str(item) for item in items]
    more = f" … and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return separator.join(texts[:_NAMED]) + more


def missing(results: Iterable[CancelResult]) -> list[str]:
    """Return the ids of the runs that this key's environment does not have."""
    return [result.run_id for result in results if result.outcome is CancelOutcome.NOT_FOUND]


def doubt(results: Sequence[CancelResult], conn_id: str) -> str | None:
    """Return what to look at where not one of the runs is known, None where one is."""
    if not results or len(missing(results)) < len(results):
        return None
    return (
        "Not one of the runs is known: does the secret key of connection "
        f"{conn_id!r} belong to another environment?"
    )


def log_results(log: Log, results: Sequence[CancelResult], link: Callable[[str], str]) -> None:
    """
    Write a line for each run, up to a hundred, and the summary.

    :param log: where to
    :param results: what became of the runs
    :param link: returns a run's page in the dashboard
    """
    lines = [
        result
        for result in results
        if len(results) <= MAX_LINES or result.outcome in (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)
    ]
    for result in lines[:MAX_LINES]:
        failed = result.outcome is CancelOutcome.FAILED
        (log.error if failed else log.info)(
            "%s (%s): %s, %s%s %s",
            result.run_id,
            result.task_identifier or "task unknown",
            result.outcome.value.replace("_", " "),
            result.status or "status unknown",
            f" - {result.error}" if result.error else "",
            link(result.run_id),
        )
    log.info("%d Trigger.dev runs: %s", len(results), summary(results))


def log_sources(log: Log, ids: RunIds) -> None:
    """
    Tell what was found beside run ids.

    :param log: where to
    :param ids: what was gathered
    """
    if ids.skipped:
        log.info("Skipped %d None: %s", len(ids.skipped), enumeration(ids.skipped))
    if ids.silent_tasks:
        log.warning("Nothing was pushed by %s", enumeration(map(repr, ids.silent_tasks)))
    for value in ids.unreadable[:MAX_LINES]:
        log.error("No run id: %s", value)

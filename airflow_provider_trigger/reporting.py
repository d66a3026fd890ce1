"""Turn the results of a cancellation into log lines, reasons for a failure and one summary line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.sources.run_ids import hint

if TYPE_CHECKING:
    from airflow_provider_trigger.sources.run_ids import RunIds

Reaction = Literal["fail", "ignore"]


class Log(Protocol):
    """What Airflow's versions give a task to log with."""

    def info(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def warning(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def error(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102


MAX_LINES = 100
"""Up to this many runs get a line each; of more, only failed and not found ones do, and at most as many."""

NOTHING_TO_CANCEL = "There are no run ids, so there is nothing to cancel"

_NAMED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """
    What a cancellation as a whole came to.

    :param runs: how many there were
    :param summary: the same in words, and how many had each outcome
    :param problems: why it failed, the most important first; empty if it did not
    :param warnings: what to check although it did not fail
    :param retryable: whether another try may do better
    """

    runs: int
    summary: str
    problems: list[str]
    warnings: list[str]
    retryable: bool

    def __str__(self) -> str:
        return f"{self.summary} - {'; '.join(self.problems)}" if self.problems else self.summary


def make_report(
    *,
    results: Sequence[CancelResult],
    ids: RunIds,
    conn_id: str,
    on_not_found: Reaction,
    on_empty: Reaction,
    rejection: str | None = None,
    killed: bool = False,
) -> Report:
    """
    Decide what failed, and say it in one line.

    :param results: what became of the runs
    :param ids: what was gathered
    :param conn_id: the connection's id
    :param on_not_found: whether an unknown run is a failure
    :param on_empty: whether a source without run ids is a failure
    :param rejection: what to do about the secret key where the server rejected it, None where it did not
    :param killed: whether the task was killed before the work was done
    """
    environment = unknown_environment_hint(results, conn_id)
    problems = _why_it_ended_early(conn_id, rejection=rejection, killed=killed)
    problems += still_running(results, ids)
    if reasons := failures(results):
        problems.append(f"not canceled: {reasons}")
    if on_not_found == "fail" and (unknown := not_found(results)):
        problems.append(f"not found: {enumeration(map(_with_hint, unknown))}")
        problems += [environment] if environment else []
    problems += _problems_of_sources(ids, on_empty)
    helps = killed or bool(ids.failed) or any(result.retryable for result in results if result.error)
    return Report(
        runs=len(results),
        summary=summary(results),
        problems=problems,
        warnings=[environment] if environment and environment not in problems else [],
        retryable=helps and not rejection,
    )


def _why_it_ended_early(conn_id: str, *, rejection: str | None, killed: bool) -> list[str]:
    if rejection:
        return [f"Connection {conn_id!r}: the secret key was rejected: {rejection}"]
    return ["the task was killed before its work was done"] if killed else []


def _problems_of_sources(ids: RunIds, on_empty: Reaction) -> list[str]:
    problems = []
    if ids.invalid:
        problems.append(enumeration(ids.invalid, "; "))
    if ids.failed:
        problems.append(enumeration(ids.failed, "; "))
    if ids.empty and on_empty == "fail":
        problems.append(enumeration(ids.empty, "; "))
    return problems


def counted(count: int) -> str:
    """Return, for example, ``16 Trigger.dev runs``."""
    return f"{count} Trigger.dev {'run' if count == 1 else 'runs'}"


def summary(results: Sequence[CancelResult]) -> str:
    """Return, for example, ``16 Trigger.dev runs: 12 canceled, 3 already completed, 1 not found``."""
    counts = Counter(result.outcome for result in results)
    parts = [
        f"{counts[outcome]} {outcome.value.replace('_', ' ')}" for outcome in CancelOutcome if counts[outcome]
    ]
    return counted(len(results)) + (f": {', '.join(parts)}" if parts else "")


def still_running(results: Iterable[CancelResult], ids: RunIds) -> list[str]:
    """
    Return how many runs were not canceled: those seen alive, those not seen, and those with unknown ids.

    :param results: what became of the runs
    :param ids: what was gathered
    """
    failed = [result for result in results if result.outcome is CancelOutcome.FAILED]
    alive = sum(result.status is not None for result in failed)
    texts = []
    if alive:
        texts.append(f"{alive} {'run is' if alive == 1 else 'runs are'} still running")
    if unseen := len(failed) - alive:
        texts.append(may_be_running(unseen))
    if ids.failed or ids.invalid:
        texts.append("runs whose ids could not be read may still be running")
    return texts


def may_be_running(count: int) -> str:
    """Return that so many runs may still be running."""
    return f"{count} {'run' if count == 1 else 'runs'} may still be running"


def failures(results: Iterable[CancelResult]) -> str:
    """Return why runs failed and which, grouped by reason, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for result in results:
        if result.error:
            # A reason names the request, whose path contains the run's id.
            reason = result.error.replace(result.run_id, "…")
            by_reason.setdefault(reason, []).append(result.run_id)
    most_first = sorted(by_reason.items(), key=lambda group: -len(group[1]))
    return enumeration((f"{enumeration(run_ids)}: {reason}" for reason, run_ids in most_first), " | ")


def enumeration(items: Iterable[object], separator: str = ", ") -> str:
    """Return the first few items, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" … and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return separator.join(texts[:_NAMED]) + more


def not_found(results: Iterable[CancelResult]) -> list[str]:
    """Return the ids of the runs that this key's environment does not have."""
    return [result.run_id for result in results if result.outcome is CancelOutcome.NOT_FOUND]


def unknown_environment_hint(results: Sequence[CancelResult], conn_id: str) -> str | None:
    """Return what to check if none of the runs was found; None if one was, or if their ids have hints."""
    unknown = not_found(results)
    if not results or len(unknown) < len(results) or all(map(hint, unknown)):
        return None
    return (
        "None of the runs was found: does the secret key of connection "
        f"{conn_id!r} belong to another environment?"
    )


def log_results(
    log: Log,
    results: Sequence[CancelResult],
    run_url: Callable[[str], str],
    *,
    on_not_found: Reaction,
    origin: str = "",
) -> None:
    """
    Write a line for each run; see :data:`MAX_LINES`.

    :param log: where to
    :param results: what became of the runs
    :param run_url: returns a run's page in the dashboard
    :param on_not_found: whether an unknown run is a failure, and so an error in the log
    :param origin: what each line begins with, in a log that is not the task's own
    """
    problems = [CancelOutcome.FAILED, *([CancelOutcome.NOT_FOUND] if on_not_found == "fail" else [])]
    if len(results) > MAX_LINES:
        results = [
            result for result in results if result.outcome in (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)
        ]
    for result in results[:MAX_LINES]:
        note = result.error
        if result.outcome is CancelOutcome.NOT_FOUND:
            note = hint(result.run_id)
        (log.error if result.outcome in problems else log.info)(
            "%s%s (%s): %s, %s%s %s",
            origin,
            result.run_id,
            result.task_identifier or "task unknown",
            result.outcome.value.replace("_", " "),
            result.status or "status unknown",
            f" - {note}" if note else "",
            run_url(result.run_id),
        )


def log_summary(log: Log, report: Report, context: Mapping[str, Any]) -> None:
    """
    Write what a callback did, in one line that names its Dag, Dag run and task.

    :param log: where to
    :param report: of the cancellation
    :param context: of the callback
    """
    text = str(report) if report.runs or report.problems else NOTHING_TO_CANCEL
    (log.error if report.problems else log.info)("%s%s", origin_of(context), text)


def log_error(log: Log, error: Exception, ids: RunIds, context: Mapping[str, Any]) -> None:
    """
    Write that a callback ended with an error, and how many runs may still be running.

    :param log: where to
    :param error: what was raised
    :param ids: what was gathered
    :param context: of the callback
    """
    log.error("%s%s; %s", origin_of(context), error, may_be_running(len(ids.found)))


def log_unterminated(log: Log, results: Iterable[CancelResult], timeout: float) -> None:
    """
    Warn of the runs that are CANCELED, but not known to be terminated.

    :param log: where to
    :param results: what became of the runs
    :param timeout: how long the termination was waited for, in seconds
    """
    canceled = [result for result in results if result.outcome is CancelOutcome.CANCELED]
    if run_ids := [result.run_id for result in canceled if not result.terminated]:
        log.warning("Canceled, but not terminated within %s s: %s", timeout, enumeration(run_ids))


def log_sources(log: Log, ids: RunIds, *, on_empty: Reaction, origin: str = "") -> None:
    """
    Write what was found besides run ids: at most :data:`MAX_LINES` lines of each kind.

    :param log: where to
    :param ids: what was gathered
    :param on_empty: whether a source without run ids is a failure, and so an error in the log
    :param origin: what each line begins with, in a log that is not the task's own
    """
    if ids.skipped:
        log.info("%sSkipped %d None: %s", origin, len(ids.skipped), enumeration(ids.skipped))
    for sentence in ids.empty[:MAX_LINES]:
        (log.error if on_empty == "fail" else log.warning)("%s%s", origin, sentence)
    for problem in (*ids.invalid[:MAX_LINES], *ids.failed[:MAX_LINES]):
        log.error("%s%s", origin, problem)


def origin_of(context: Mapping[str, Any]) -> str:
    """Return, for example, ``Dag 'a', Dag run 'b', task 'c': ``, of these what the context has."""
    ti, dag, dag_run = context.get("ti"), context.get("dag"), context.get("dag_run")
    # A deadline's Dag run is a dict.
    fields = dag_run if isinstance(dag_run, Mapping) else {}
    dag_id = getattr(dag, "dag_id", None) or fields.get("dag_id") or getattr(dag_run, "dag_id", None)
    run_id = context.get("run_id") or fields.get("dag_run_id") or getattr(dag_run, "run_id", None)
    # With a reason it is a callback of the Dag, whose task instance may be any.
    task_id = None if "reason" in context else getattr(ti, "task_id", None)
    map_index = getattr(ti, "map_index", -1)
    named = (("Dag", dag_id), ("Dag run", run_id), ("task", task_id))
    texts = [f"{name} {value!r}" for name, value in named if value]
    if task_id and isinstance(map_index, int) and map_index >= 0:
        texts.append(f"map index {map_index}")
    return f"{', '.join(texts)}: " if texts else ""


def _with_hint(run_id: str) -> str:
    text = hint(run_id)
    return f"{run_id} ({text})" if text else run_id

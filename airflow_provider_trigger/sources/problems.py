"""Say what sources held besides run ids: in the log, and as the reasons for a failure."""

from __future__ import annotations

from typing import Literal

from airflow_provider_trigger.log import Log
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.wording import MAX_LINES, enumeration

Reaction = Literal["fail", "ignore"]


def problems_of_sources(ids: RunIds, on_empty: Reaction) -> list[str]:
    """
    Return what is wrong with the sources of run ids.

    :param ids: what was gathered
    :param on_empty: whether a source without run ids is a failure
    """
    problems = []
    if ids.invalid:
        problems.append(enumeration(ids.invalid, "; "))
    if ids.failed:
        problems.append(enumeration(ids.failed, "; "))
    if ids.empty and on_empty == "fail":
        problems.append(enumeration(ids.empty, "; "))
    return problems


def log_sources(log: Log, ids: RunIds, *, on_empty: Reaction, origin: str = "") -> None:
    """
    Write what was found besides run ids, up to ``MAX_LINES`` lines of each kind.

    :param log: where to
    :param ids: what was gathered
    :param on_empty: whether a source without run ids is a failure, and so an error in the log
    :param origin: what each line begins with, in a log that is not the task's own
    """
    if count := len(ids.skipped):
        what = "value that is None" if count == 1 else "values that are None"
        log.info("%sSkipped %d %s: %s", origin, count, what, enumeration(ids.skipped))
    for sentence in ids.empty[:MAX_LINES]:
        (log.error if on_empty == "fail" else log.warning)("%s%s", origin, sentence)
    for problem in (*ids.invalid[:MAX_LINES], *ids.failed[:MAX_LINES]):
        log.error("%s%s", origin, problem)

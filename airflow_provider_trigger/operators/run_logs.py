"""Write the logs of runs to the log of the task that has started them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_trigger.log import write
from airflow_provider_trigger.report.run_logs import log_of_run
from airflow_provider_trigger.run.logs import fetch_logs
from airflow_provider_trigger.run.waited import WaitEnd

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.log import Log
    from airflow_provider_trigger.operators.conclusion import RunEnd

MAX_RUNS = 3
"""Of a batch, so many runs have their logs written."""


def write_logs(
    ends: Sequence[RunEnd],
    hook: TriggerDevHook,
    *,
    only_failed: bool,
    log: Log,
    is_stopped: Callable[[], bool],
) -> None:
    """Write the logs of the first runs that failed, and of others unless there is no need for them."""
    chosen: dict[str, RunEnd] = {}
    for end in sorted(ends, key=lambda end: end.has_failed, reverse=True):
        if len(chosen) < MAX_RUNS and _has_log(end) and (end.has_failed or not only_failed):
            chosen.setdefault(end.run_id, end)
    if not chosen:
        return
    with hook.get_client(max_connections=1) as client:
        events = fetch_logs(list(chosen), client, log=log, is_stopped=is_stopped)
    for run_id, shown in events.items():
        what = f"run {run_id}" if len(ends) == 1 else f"item {chosen[run_id].index}: run {run_id}"
        url, key = hook.settings.run_url(run_id), hook.settings.secret_key
        write(log, log_of_run(shown, what=what, run_url=url, secret_key=key))


def _has_log(end: RunEnd) -> bool:
    """Return whether there may be a log: of a run that the server shows, and that has started."""
    run = end.waited.run
    if run is None or end.waited.end is WaitEnd.REJECTED:
        return False
    return run.started_at is not None or run.created_at is None  # an event shows no times

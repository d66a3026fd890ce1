"""Describe a run in words. Pure."""

from __future__ import annotations

from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.facts import compute_seconds, cost_in_cents


def describe(run: Run) -> str:
    """Return, for example, ``run run_1 of Trigger.dev task 'resize'``."""
    task = f" of Trigger.dev task {run.task_identifier!r}" if run.task_identifier else ""
    return f"run {run.id}{task}"


def state_of(run: Run) -> str:
    """
    Return, for example, ``Run run_1 is COMPLETED, attempt 1 (2.5 s of compute time, cost 0.0054 cents)``.

    The server names no cost of a run in development.
    """
    attempt = f", attempt {run.attempt_count}" if run.attempt_count else ""
    used = []
    if run.is_final and (seconds := compute_seconds(run)):
        used.append(f"{round(seconds, 2):g} s of compute time")
    if run.is_final and (cents := cost_in_cents(run)):
        used.append(f"cost {cents:.4f} cents")
    return f"Run {run.id} is {run.status}{attempt}" + (f" ({', '.join(used)})" if used else "")


def missing_version(run: Run | None) -> str:
    """Return why a run waits for a version, and what to do."""
    task = f" {run.task_identifier!r}" if run and run.task_identifier else ""
    return (
        f"no deployed version in this environment has the Trigger.dev task{task} (or its queue). Deploy it "
        "(in development, start `npx trigger.dev@latest dev`), or check task_identifier, queue and the "
        "environment of the secret key"
    )

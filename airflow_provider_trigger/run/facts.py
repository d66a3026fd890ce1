"""The facts of a run, as plain JSON and in words: for XCom, asset events, errors and logs. Pure."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger.api.answers import read_text, well_formed
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.rules import read_number


def run_facts(run: Run | None, *, run_id: str, run_url: str) -> dict[str, Any]:
    """Return all that is known of a run but payload, output and error; None for what is not."""
    return {
        "run_id": run_id,
        "run_url": run_url,
        "status": str(run.status) if run else None,
        "task_identifier": (run.task_identifier or None) if run else None,
        **usage_facts(run),
        "metadata": run.attributes.get("metadata") if run else None,
    }


def usage_facts(run: Run | None) -> dict[str, Any]:
    """Return a run's version, attempts, times and costs; None if not known, as is a cost in development."""
    shown = run.attributes if run else {}
    times = {name: getattr(run, name, None) for name in ("created_at", "started_at", "finished_at")}
    milliseconds = _number(shown.get("durationMs"))
    costs = [_number(shown.get(name)) for name in ("costInCents", "baseCostInCents")]  # base: of its start
    known = [cost for cost in costs if cost is not None]
    return {
        "version": read_text(shown.get("version")),
        # The run's own count is 0 if no answer had it.
        "attempts": run.attempt_count if run and "attemptCount" in shown else None,
        **{name: time.isoformat(timespec="milliseconds") if time else None for name, time in times.items()},
        "compute_seconds": None if milliseconds is None else milliseconds / 1000,
        "cost_in_cents": round(sum(known), 10) if known else None,
    }


def _number(value: Any) -> float | None:
    return None if isinstance(value, str) else read_number(value)


def failure_facts(run: Run | None, *, run_id: str, run_url: str) -> dict[str, Any]:
    """Return the attributes of the error for a run that has ended without success, or not in time."""
    names = ("run_id", "run_url", "status", "task_identifier", "attempts")
    facts, shown = run_facts(run, run_id=run_id, run_url=run_url), getattr(run, "error", None)
    error = {f"error_{name}": getattr(shown, name, None) or None for name in ("name", "code", "message")}
    return {name: facts[name] for name in names} | error


def describe(run: Run) -> str:
    """Return, for example, ``run run_1 of Trigger.dev task 'resize'``."""
    task = f" of Trigger.dev task {run.task_identifier!r}" if run.task_identifier else ""
    return f"run {run.id}{task}"


def state_of(run: Run) -> str:
    """Return, for example, ``Run run_1 is COMPLETED, attempt 1 (2.5 s of compute time, cost 0.05 cents)``."""
    attempt = f", attempt {run.attempt_count}" if run.attempt_count else ""
    facts, used = usage_facts(run), []
    if run.is_final and (seconds := facts["compute_seconds"]):
        used.append(f"{round(seconds, 2):g} s of compute time")
    if run.is_final and (cents := facts["cost_in_cents"]):
        used.append(f"cost {cents:.4f} cents")
    return f"Run {run.id} is {run.status}{attempt}" + (f" ({', '.join(used)})" if used else "")


def progress_of(run: Run, before: str) -> str:
    """Return the end of a line that shows a run's metadata; empty if a line before has shown the same."""
    return "" if run.progress in ("", before) else f": {run.progress}"


def missing_version(run: Run | None) -> str:
    """Return why a run waits for a version, and what to do."""
    task = f" {run.task_identifier!r}" if run and run.task_identifier else ""
    return (
        f"no deployed version in this environment has the Trigger.dev task{task} (or its queue). Deploy it "
        "(in development, start `npx trigger.dev@latest dev`), or check task_identifier, queue and the "
        "environment of the secret key"
    )


# By these, Airflow's serializer knows what it has made of objects: it rejects them, or makes an object of
# whatever has them (2.11 to 3.4).
_RESERVED_KEYS = frozenset(
    f"__{name}" for name in ("classname__", "version__", "data__", "id__", "cache__", "type", "source", "var")
)
# Airflow 3 stores up to 254 levels (measured).
_MAX_DEPTH = 200


class UnstorableError(Exception):
    """A value that XCom cannot have."""


def for_xcom(value: Any, what: str, *, log: Log) -> Any:
    """
    Return a value as XCom can store it: U+FFFD takes the place of lone surrogates and NULs, with a warning.

    :raises UnstorableError: it has a key that Airflow's serializer reserves, or is nested too deeply
    """
    stored = _stored(value, what, 0)
    if stored != value:
        text = "%s has lone surrogates or NULs, which XCom cannot store: U+FFFD takes their place"
        log.warning(text, what)
    return stored


def _stored(value: Any, what: str, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise UnstorableError(f"{what} has an integer of more than 64 bits, which Airflow 3 cannot store")
    if not isinstance(value, (dict, list)):
        return value
    if depth == _MAX_DEPTH:
        raise UnstorableError(f"{what} is nested more than {_MAX_DEPTH} levels deep: XCom may not store it")
    if isinstance(value, list):
        return [_stored(item, what, depth + 1) for item in value]
    if reserved := sorted(_RESERVED_KEYS & value.keys()):
        raise UnstorableError(f"{what} has the key {reserved[0]!r}, which Airflow's serializer reserves")
    return {_text(key): _stored(item, what, depth + 1) for key, item in value.items()}


def _text(value: str) -> str:
    return well_formed(value).replace("\0", "\ufffd")  # PostgreSQL stores no NUL in JSON

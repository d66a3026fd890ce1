"""What is known of a run, as plain JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.facts import failure_facts, run_facts, state_of, usage_facts

URL = "https://cloud.trigger.dev/runs/run_1"
SHOWN = {
    "taskIdentifier": "resize",
    "version": "20261125.1",
    "attemptCount": 2,
    "createdAt": "2026-11-25T10:00:00.100Z",
    "startedAt": "2026-11-25T10:00:01Z",
    "finishedAt": "2026-11-25T10:00:03.5Z",
    "durationMs": 2500,
    "costInCents": 0.1,
    "baseCostInCents": 0.2,
    "metadata": {"rows": 3},
}
USAGE = {
    "version": "20261125.1",
    "attempts": 2,
    "created_at": "2026-11-25T10:00:00.100+00:00",
    "started_at": "2026-11-25T10:00:01.000+00:00",
    "finished_at": "2026-11-25T10:00:03.500+00:00",
    "compute_seconds": 2.5,
    "cost_in_cents": 0.3,
}


def facts_of(run: Run | None) -> dict[str, Any]:
    facts = run_facts(run, run_id="run_1", run_url=URL)
    json.dumps(facts, allow_nan=False)
    return facts


def test_all_that_an_answer_shows_is_known_by_plain_names(make_run) -> None:
    known = {"run_id": "run_1", "run_url": URL, "status": "COMPLETED", "task_identifier": "resize"}
    run = make_run("COMPLETED", **SHOWN)
    assert facts_of(run) == {**known, **USAGE, "metadata": {"rows": 3}}
    assert usage_facts(run.without_contents()) == USAGE


@pytest.mark.parametrize("run", [None, Run.from_answer({"id": "run_1", "status": "COMPLETED"})])
def test_what_no_answer_has_shown_is_none(run: Run | None) -> None:
    facts = facts_of(run)
    known = {"run_id": "run_1", "run_url": URL} | ({"status": "COMPLETED"} if run else {})
    assert list(facts) == ["run_id", "run_url", "status", "task_identifier", *USAGE, "metadata"]
    assert {name: value for name, value in facts.items() if value is not None} == known


@pytest.mark.parametrize(
    ("shown", "seconds", "cents"),
    [
        ({"durationMs": 0, "costInCents": 0, "baseCostInCents": 0}, 0, 0),
        ({"baseCostInCents": 0.0025}, None, 0.0025),
        ({"durationMs": "120", "costInCents": "5"}, None, None),
        ({"durationMs": 10**400, "costInCents": float("nan")}, None, None),
    ],
)
def test_numbers_are_what_the_server_names_or_none(make_run, shown, seconds: Any, cents: Any) -> None:
    facts = facts_of(make_run("COMPLETED", **shown))
    assert (facts["compute_seconds"], facts["cost_in_cents"]) == (seconds, cents)


@pytest.mark.parametrize(
    ("error", "name", "code", "message"),
    [
        ({"name": "TypeError", "message": "no file", "stackTrace": "at 1"}, "TypeError", None, "no file"),
        (
            {"message": "trigger.dev internal error (TASK_PROCESS_OOM_KILLED)"},
            None,
            "TASK_PROCESS_OOM_KILLED",
            "trigger.dev internal error (TASK_PROCESS_OOM_KILLED)",
        ),
        ({"message": ""}, None, None, None),
        (None, None, None, None),
    ],
)
def test_the_error_of_a_run_has_a_name_or_a_code(make_run, error: Any, name: Any, code: Any, message) -> None:
    run = make_run("CRASHED", error=error, taskIdentifier="resize", attemptCount=3)
    assert failure_facts(run, run_url=URL) == {
        "run_id": "run_1",
        "run_url": URL,
        "status": "CRASHED",
        "task_identifier": "resize",
        "attempts": 3,
        "error_name": name,
        "error_code": code,
        "error_message": message,
    }


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (
            {"durationMs": 2500, "costInCents": 0.00292, "baseCostInCents": 0.0025},
            "2.5 s of compute time, cost 0.0054 cents",
        ),
        ({"durationMs": 491, "costInCents": 0, "baseCostInCents": 0}, "0.49 s of compute time"),
        ({"durationMs": 3_600_250}, "3600.25 s of compute time"),
        ({"costInCents": 250}, "cost 250.0000 cents"),
        ({"baseCostInCents": 0.0025}, "cost 0.0025 cents"),
        ({"durationMs": 0}, ""),
        ({"durationMs": 10**400, "costInCents": 10**400}, ""),
        ({"durationMs": None, "costInCents": "5"}, ""),
        ({}, ""),
    ],
)
def test_what_a_run_has_used_is_said_at_its_end_as_the_server_names_it(
    make_run, shown: dict[str, Any], text: str
) -> None:
    assert state_of(make_run("COMPLETED", **shown)) == "Run run_1 is COMPLETED" + (
        f" ({text})" if text else ""
    )
    assert state_of(make_run("EXECUTING", attemptCount=2, **shown)) == "Run run_1 is EXECUTING, attempt 2"

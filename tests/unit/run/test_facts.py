"""What a run has used, as numbers and in words."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.run.facts import state_of, usage_facts


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
    facts = usage_facts(make_run("COMPLETED", **shown))
    assert (facts["compute_seconds"], facts["cost_in_cents"]) == (seconds, cents)


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
def test_what_a_run_has_used_is_said_at_its_end(make_run, shown: dict[str, Any], text: str) -> None:
    used = f" ({text})" if text else ""
    assert state_of(make_run("COMPLETED", **shown)) == f"Run run_1 is COMPLETED{used}"
    assert state_of(make_run("EXECUTING", attemptCount=2, **shown)) == "Run run_1 is EXECUTING, attempt 2"

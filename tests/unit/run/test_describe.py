"""What state a run is in and what it has used, in words."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.run.describe import state_of


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

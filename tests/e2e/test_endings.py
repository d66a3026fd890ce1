"""What becomes of runs when their task ends: each cell of ``docs/endings.json``, on this Airflow."""

from __future__ import annotations

import pytest
from endings import CASES, Observation, expected
from whole_airflow.airflow import WholeAirflow
from whole_airflow.state import State
from whole_airflow.versions import AIRFLOW

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture(scope="module")
def observation(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> Observation:
    """Return what was seen when every task had ended."""
    observation = Observation(airflow, server, state)
    observation.observe()
    return observation


@pytest.mark.parametrize(("kind", "event", "mode"), CASES, ids=map("-".join, CASES))
def test_ending(observation: Observation, kind: str, event: str, mode: str) -> None:
    assert observation.seen(kind, event, mode) == expected(event, mode, AIRFLOW)


def test_the_rate_limit_was_used_up_for_deferred_tasks(
    observation: Observation, server: TriggerDevServer
) -> None:
    limited = {request.path.split("/")[-1] for request in server.requests if request.status == 429}
    assert limited == {"cancel", "bulk-actions"}

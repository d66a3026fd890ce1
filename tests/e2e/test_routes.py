"""Which route to cancel a run is taken when: each cell of ``docs/routes.json``, on this Airflow."""

from __future__ import annotations

import pytest
from routes import EVENTS, ROUTES, Observation, expected
from whole_airflow.airflow import WholeAirflow
from whole_airflow.state import State
from whole_airflow.versions import AIRFLOW

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture(scope="module")
def observation(airflow: WholeAirflow, server: TriggerDevServer, state: State) -> Observation:
    """Return what was seen when every event had happened."""
    observation = Observation(airflow, server, state)
    observation.observe()
    return observation


CELLS = [pytest.param(event, route, id=f"{event}-{route}") for event in EVENTS for route in ROUTES]


@pytest.mark.parametrize(("event", "route"), CELLS)
def test_route(observation: Observation, event: str, route: str) -> None:
    assert observation.seen(event, route) == expected(event, route, AIRFLOW)

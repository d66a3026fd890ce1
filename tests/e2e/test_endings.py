"""What becomes of a run when its task ends: each cell of ``docs/endings.json``, on this Airflow."""

from __future__ import annotations

import pytest
from endings import EVENTS, MODES, Observation, expected
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


CELLS = [
    pytest.param(event, mode, id=f"{event}-{mode}")
    for event in EVENTS
    for mode in MODES
    if EVENTS[event][mode]
]


@pytest.mark.parametrize(("event", "mode"), CELLS)
def test_ending(observation: Observation, event: str, mode: str) -> None:
    assert observation.seen(event, mode) == expected(event, mode, AIRFLOW)

from __future__ import annotations

import airflow_has
import pytest
from cancel_scenario import CancelScenario
from wait_scenario import WaitScenario

# `make simulate` plays as many as one likes, with more runs.


@pytest.mark.parametrize("seed", range(6))
def test_every_run_is_reported_as_it_is(seed: int) -> None:
    played = CancelScenario(seed, runs=350).play()
    assert not played.violations, played.description


@pytest.mark.parametrize("seed", range(4))
def test_every_wait_ends_with_its_run_or_cancels_it(seed: int) -> None:
    played = WaitScenario(seed, runs=100).play()
    assert not played.violations, played.description


@pytest.mark.skipif(not airflow_has.WATCHERS, reason="this Airflow has no watchers")
@pytest.mark.parametrize("seed", range(4))
def test_every_end_is_sent_and_again_only_after_a_kill(seed: int) -> None:
    from ends_scenario import EndsScenario

    played = EndsScenario(seed, runs=60).play()
    assert not played.violations, played.description

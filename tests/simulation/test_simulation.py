from __future__ import annotations

import pytest
from cancel_scenario import CancelScenario
from ends_scenario import EndsScenario
from wait_scenario import WaitScenario

# All kinds of courses are among these; for cancels: bulk worker off, outage, kill, time limit, waiting for
# termination; for waits: no query, lost ends, tasks ended one by one and all at once, restarts.
# `make simulate` plays as many as one likes, with more runs.


@pytest.mark.parametrize("seed", range(20))
def test_every_run_is_reported_as_it_is(seed: int) -> None:
    report = CancelScenario(seed, runs=350).play()
    assert not report.violations, report.description


@pytest.mark.parametrize("seed", [*range(12), 35, 55, 105, 190])
def test_every_wait_ends_with_its_run_or_cancels_it(seed: int) -> None:
    report = WaitScenario(seed, runs=100).play()
    assert not report.violations, report.description


@pytest.mark.parametrize("seed", [*range(12), 62, 63, 72, 107])
def test_every_end_is_handed_over_and_again_only_after_a_kill(seed: int) -> None:
    report = EndsScenario(seed, runs=60).play()
    assert not report.violations, report.description

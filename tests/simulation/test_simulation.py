from __future__ import annotations

import pytest
from simulation import Scenario

# All kinds of courses are among these: bulk worker off, outage, kill, time limit, waiting for termination.
# `make simulate` plays as many as one likes, with more runs.
SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_run_is_reported_as_it_is(seed: int) -> None:
    report = Scenario(seed, runs=350).play()
    assert not report.violations, report.description

"""
Play scenarios under a random mix of faults in virtual time, and check what is done against the truth.

One seed gives one course of events of each scenario::

    python tests/simulation/simulation.py --seeds 0 200 --runs 300 --only wait
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

from cancel_scenario import CancelScenario
from ends_scenario import EndsScenario
from report import Report
from wait_scenario import WaitScenario

SCENARIOS: dict[str, Callable[[int, int], Report]] = {
    "cancel": lambda seed, runs: CancelScenario(seed, runs).play(),
    "wait": lambda seed, runs: WaitScenario(seed, runs).play(),
    "ends": lambda seed, runs: EndsScenario(seed, runs).play(),
}


def main() -> int:
    """Play the seeds of the command line, and return how many had violations."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=SCENARIOS, help="the scenario; by default each of them")
    parser.add_argument("--seeds", nargs=2, type=int, default=[0, 20], metavar=("FIRST", "END"))
    parser.add_argument("--runs", type=int, default=300, help="how many runs, or tasks that wait")
    options = parser.parse_args()
    logging.disable()
    names = [options.only] if options.only else list(SCENARIOS)
    return sum(play(name, range(*options.seeds), options.runs) for name in names)


def play(name: str, seeds: range, runs: int) -> int:
    """Play the seeds of one scenario, print the violations, and return how many seeds had any."""
    bad, begun, virtual, requests, rejected, outcomes = 0, time.monotonic(), 0.0, 0, 0, Counter[str]()
    for seed in seeds:
        report = SCENARIOS[name](seed, runs)
        virtual, requests, rejected, outcomes = (
            virtual + report.duration,
            requests + report.requests,
            rejected + report.rejected,
            outcomes + report.outcomes,
        )
        if report.violations:
            bad += 1
            print(f"{name}, seed {seed}: {len(report.violations)} violations; {report.description}")
            for violation in report.violations[:3]:
                print(f"    {violation}")
    print(
        f"{name}: {len(seeds)} seeds of {runs}, {bad} with violations; {requests} requests, {rejected} "
        f"of them rejected by the rate limit, in {virtual:.0f} s of virtual time; {dict(outcomes)}; "
        f"{time.monotonic() - begun:.0f} s"
    )
    return bad


if __name__ == "__main__":
    sys.exit(main())

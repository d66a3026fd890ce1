"""
Play scenarios under a random mix of faults, in virtual time, and check what the provider does against the truth.

One seed gives one course of events::

    python tests/simulation/simulation.py cancel --seeds 0 200 --runs 1000
    python tests/simulation/simulation.py wait --seeds 0 200 --runs 300
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from cancel_scenario import CancelScenario
from wait_scenario import WaitScenario

SCENARIOS = {"cancel": CancelScenario, "wait": WaitScenario}


def main() -> int:
    """Play the seeds of the command line, print the violations, and return how many seeds had any."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--seeds", nargs=2, type=int, default=[0, 20], metavar=("FIRST", "END"))
    parser.add_argument("--runs", type=int, default=300)
    options = parser.parse_args()
    logging.disable()
    bad, begun, virtual, requests, outcomes = 0, time.monotonic(), 0.0, 0, Counter[str]()
    for seed in range(*options.seeds):
        report = SCENARIOS[options.scenario](seed, options.runs).play()
        virtual, requests, outcomes = (
            virtual + report.duration,
            requests + report.requests,
            outcomes + report.outcomes,
        )
        if report.rejected:
            print(f"seed {seed}: {report.rejected} rejected; {report.description}")
        if report.violations:
            bad += 1
            print(f"seed {seed}: {len(report.violations)} violations; {report.description}")
            for violation in report.violations[:3]:
                print(f"    {violation}")
    count = options.seeds[1] - options.seeds[0]
    print(
        f"{count} seeds of {options.runs} runs, {bad} with violations; {requests} requests in "
        f"{virtual:.0f} s of virtual time; {dict(outcomes)}; {time.monotonic() - begun:.0f} s"
    )
    return bad


if __name__ == "__main__":
    sys.exit(main())

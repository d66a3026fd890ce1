"""
Play scenarios under a random mix of faults in the virtual time of ``tests/world``, and check what is done.

One seed gives one course of events of each scenario::

    python tests/simulation/simulation.py --seeds 0 200 --runs 300 --only wait
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "fakes"), str(TESTS / "world")]

NAMES = ("cancel", "wait", "ends")


def main() -> int:
    """Play the seeds of the command line, and return how many had violations."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=NAMES, help="the scenario; by default each of them")
    parser.add_argument("--seeds", nargs=2, type=int, default=[0, 20], metavar=("FIRST", "END"))
    parser.add_argument("--runs", type=int, default=300, help="how many runs, or tasks that wait")
    options = parser.parse_args()
    logging.disable()
    names = [options.only] if options.only else NAMES
    return sum(play(name, range(*options.seeds), options.runs) for name in names)


def play(name: str, seeds: range, runs: int) -> int:
    """Play the seeds of one scenario, print the violations, and return how many seeds had any."""
    make = getattr(import_module(f"{name}_scenario"), f"{name.capitalize()}Scenario")
    bad, begun, virtual, counts, outcomes = 0, time.monotonic(), 0.0, Counter[str](), Counter[str]()
    for seed in seeds:
        played = make(seed, runs).play()
        virtual, outcomes = virtual + played.duration, outcomes + played.outcomes
        counts.update(requests=played.requests, rejected=played.rejected)
        if played.violations:
            bad += 1
            print(f"{name}, seed {seed}: {len(played.violations)} violations; {played.description}")
            for violation in played.violations[:3]:
                print(f"    {violation}")
    print(
        f"{name}: {len(seeds)} seeds of {runs}, {bad} with violations; {counts['requests']} requests, "
        f"{counts['rejected']} of them rejected by the rate limit, in {virtual:.0f} s of virtual time; "
        f"{dict(outcomes)}; {time.monotonic() - begun:.0f} s"
    )
    return bad


if __name__ == "__main__":
    sys.exit(main())

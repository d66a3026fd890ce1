"""Measure, print the results, and write them to ``docs/benchmarks.md``, which keeps those of the others."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import in_airflow
import many_deferred
import many_items
import many_waits
import measures
import quick_runs
import start_and_wait
import wide_cancels
from measures import Row

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PACKAGES = ("apache-airflow", "apache-airflow-providers-http", "requests", "uvicorn")

_HEAD = "|part|scenario|this provider|baseline|ratio|target|\n|---|---|---|---|---|---|"

MEASURES: list[Callable[[], Iterator[Row]]] = [
    measures.two_hundred_runs,
    in_airflow.mapped_http_operator,
    start_and_wait.start_and_wait,
    many_waits.many_waits,
    many_waits.ends_of_many_tasks,
    many_deferred.many_deferred,
    many_items.many_items,
    quick_runs.quick_runs,
    measures.rate_limit,
    measures.shared_rate_limit,
    wide_cancels.trees,
    wide_cancels.tags,
    measures.imports,
]


def main() -> int:
    """Measure all, or what the command line names; return how many targets were missed."""
    wanted = [measure for measure in MEASURES if not sys.argv[1:] or measure.__name__ in sys.argv[1:]]
    missed = 0
    for measure in wanted:
        lines = []
        for row in measure():
            lines.append(_line(row))
            print(lines[-1], flush=True)
            missed += not row.target_met
        PAGE.write_text(_page(_rows() | {measure.__name__: lines}))
    return missed


def _line(row: Row) -> str:
    target = f"{row.target}{'' if row.target_met else ' (missed)'}"
    return f"|{row.scenario}|{row.provider}|{row.baseline}|{row.ratio}|{target}|"


def _rows() -> dict[str, list[str]]:
    """Return the rows that the page has, by what measured them."""
    found: dict[str, list[str]] = {}
    for name, row in re.findall(r"^\|(\w+)(\|.*)$", PAGE.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(row)
    return found


def _page(rows: dict[str, list[str]]) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    names = [measure.__name__ for measure in MEASURES]
    shown = "\n".join(f"|{name}{row}" for name in names for row in rows.get(name, ()))
    return f"""# Benchmarks

Provider and baseline are measured in one run, with the local server. A missed target is marked.

Measured by `make bench` on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},
{packages}.

{_HEAD}
{shown}
"""


if __name__ == "__main__":
    sys.exit(main())

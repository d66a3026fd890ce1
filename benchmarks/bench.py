"""Measure, print a table, and write it to ``docs/benchmarks.md``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import in_airflow
import measures
from measures import Row

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

MEASURES: list[Callable[[], Iterator[Row]]] = [
    measures.two_hundred_runs,
    in_airflow.mapped_http_operator,
    in_airflow.from_failure_to_canceled,
    measures.rate_limit,
    measures.shared_rate_limit,
    measures.memory,
    measures.imports,
]


def main() -> int:
    """Measure all, or what is named on the command line; return how many aims were missed."""
    wanted = [measure for measure in MEASURES if not sys.argv[1:] or measure.__name__ in sys.argv[1:]]
    rows = []
    for measure in wanted:
        for row in measure():
            print(_line(row), flush=True)
            rows.append(row)
    if len(wanted) == len(MEASURES):
        PAGE.write_text(_page(rows))
    return sum(not row.reached for row in rows)


def _line(row: Row) -> str:
    aim = f"{row.aim}{'' if row.reached else ' (missed)'}"
    return f"| {row.what} | {row.ours} | {row.theirs} | {row.ratio} | {aim} |"


def _page(rows: list[Row]) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("apache-airflow", "requests", "uvicorn"))
    lines = "\n".join(map(_line, rows))
    return f"""# Benchmarks

Each line compares two things measured side by side in one run of `make bench`; a time alone says little, as
machines differ. The server is the local one, in a process of its own, with the round trip and the rate limit
that the line names.

Measured on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {packages}.

| what | ours | the other | ratio | aim |
| --- | --- | --- | --- | --- |
{lines}
"""


if __name__ == "__main__":
    sys.exit(main())

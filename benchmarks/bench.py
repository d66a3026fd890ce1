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

_HEAD = "|scenario|this provider|baseline|ratio|target|\n|---|---|---|---|---|"

MEASURES: list[Callable[[], Iterator[Row]]] = [
    measures.two_hundred_runs,
    in_airflow.mapped_http_operator,
    in_airflow.from_failure_to_canceled,
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
    measures.memory,
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
        tables = _tables() | {measure.__name__: "\n".join(lines)}
        PAGE.write_text(_page(tables))
    return missed


def _line(row: Row) -> str:
    target = f"{row.target}{'' if row.target_met else ' (missed)'}"
    return f"|{row.scenario}|{row.provider}|{row.baseline}|{row.ratio}|{target}|"


def _tables() -> dict[str, str]:
    """Return the lines that the page has, by what measured them."""
    found = re.findall(r"^<!-- (\w+) -->\n(.*?)\n$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {name: "\n".join(table.splitlines()[2:]) for name, table in found}


def _page(tables: dict[str, str]) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    names = [measure.__name__ for measure in MEASURES if measure.__name__ in tables]
    shown = "\n".join(f"<!-- {name} -->\n{_HEAD}\n{tables[name]}\n" for name in names)
    return f"""# Benchmarks

How the provider starts runs, waits for them and cancels them, compared with other ways to do the same.
Provider and baseline are measured in one run on the same machine; a time without a baseline says little, as
machines differ. A missed target is marked. The server is the local one, in a process of its own.

Measured by `make bench` on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()},
{packages}.

{shown}"""


if __name__ == "__main__":
    sys.exit(main())

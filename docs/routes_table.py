"""
Write the tables of ``routes.md`` from what the whole-Airflow tests measure.

``routes.json`` has what Airflow calls, ``endings.json`` what becomes of the run of a task that waits for it.

usage: python docs/routes_table.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "routes.md"
DATA = Path(__file__).parent / "routes.json"
ENDINGS = Path(__file__).parent / "endings.json"
MODES = ("running", "deferred")

# The routes' full names are too long for columns.
HEADINGS = {
    "task_failure_callback": "task: failure callback",
    "task_retry_callback": "task: retry callback",
    "dag_failure_callback": "Dag: failure callback",
    "operator_one_failed": "operator `one_failed`",
    "operator_all_done": "operator `all_done`",
    "teardown": "teardown",
    "on_kill": "`on_kill`",
}

NOTHING = "-"  # of what cannot happen

SIGNS = {"yes": "**yes**", "later": "later", "no": "no"}

COVERING = [
    "## What covers every case",
    "",
    "None of them does alone. These combinations do, on every Airflow:",
]
# Of a task that waits for the run.
OF_A_WAITING_TASK = "on_kill"

Cell = str | dict[str, str]


def sign(cell: Cell) -> str:
    """Return what stands in a cell, versions of Airflow that differ included."""
    if isinstance(cell, str):
        return SIGNS[cell]
    exceptions = (f"{version}: {SIGNS[answer]}" for version, answer in cell.items() if version != "otherwise")
    return "<br>".join([SIGNS[cell["otherwise"]], *exceptions])


def is_called(cell: Cell, version: str) -> bool:
    """Return whether the route is called on a version of Airflow."""
    return (cell if isinstance(cell, str) else cell.get(version, cell["otherwise"])) != "no"


def versions(table: dict[str, Any]) -> set[str]:
    """Return the versions of Airflow that differ somewhere, and "otherwise"."""
    cells = [cell for event in table["events"].values() for cell in event["routes"].values()]
    return {"otherwise"}.union(*(cell for cell in cells if not isinstance(cell, str)))


def matrix(table: dict[str, Any]) -> list[str]:
    """Return a row for each event, with a column for each route."""
    routes = table["routes"]
    lines = ["| what happens | " + " | ".join(HEADINGS.get(route, routes[route]) for route in routes) + " |"]
    lines.append("| --- |" + " :-: |" * len(routes))
    for event in table["events"].values():
        cells = [sign(event["routes"][route]) for route in routes]
        lines.append(f"| {event['title']} | " + " | ".join(cells) + " |")
    return lines


def covers(table: dict[str, Any], routes: Iterable[str], version: str) -> bool:
    """Return whether after each event at least one of the routes is called, on a version of Airflow."""
    return all(
        any(is_called(event["routes"][route], version) for route in routes)
        for event in table["events"].values()
    )


def coverings(table: dict[str, Any], routes: Sequence[str], *, including: str | None = None) -> list[str]:
    """Return a line for each smallest combination of routes that covers every event, exceptions included."""
    for count in range(2, len(routes) + 1):
        found = [
            some
            for some in combinations(routes, count)
            if covers(table, some, "otherwise") and (including is None or including in some)
        ]
        if found:
            return [line for some in found for line in covering(table, some, routes)]
    raise ValueError("not even all routes together cover every case: write that into the page")


def covering(table: dict[str, Any], some: Sequence[str], routes: Sequence[str]) -> list[str]:
    """Return a line for a combination of routes, and one for each Airflow on which it needs another route."""
    lines = [f"- {' **and** '.join(table['routes'][route] for route in some)}"]
    for version in sorted(versions(table)):
        if not covers(table, some, version):
            more = [route for route in routes if covers(table, [*some, route], version)]
            if not more:
                raise ValueError(
                    f"not one more route is enough on Airflow {version}: write that into the page"
                )
            names = " or ".join(table["routes"][route] for route in more)
            lines.append(f"  - on Airflow {version} only, in addition: {names}")
    return lines


def advice(table: dict[str, Any]) -> list[str]:
    """Return which routes to add, without a task that waits for the run and with one."""
    routes = list(table["routes"])
    if any(covers(table, [route], version) for route in routes for version in versions(table)):
        raise ValueError("one route covers every case: write that into the page")
    ours = [route for route in routes if route != OF_A_WAITING_TASK]
    return [
        *COVERING,
        "",
        "### If no task waits for the runs",
        "",
        *coverings(table, ours),
        "",
        "### If a task with an `on_kill` waits for the runs",
        "",
        *coverings(table, routes, including=OF_A_WAITING_TASK),
    ]


def tables_of_routes(table: dict[str, Any]) -> list[str]:
    """Return what Airflow calls after which event, and which routes cover every case."""
    meanings = [f"- {SIGNS[answer]}: {meaning}" for answer, meaning in table["answers"].items()]
    return [*matrix(table), "", *meanings, "", *advice(table)]


def ending(cell: Cell) -> str:
    """Return what becomes of a run, versions of Airflow that differ included."""
    if isinstance(cell, str):
        return cell or NOTHING
    exceptions = (f"{version}: {answer}" for version, answer in cell.items() if version != "otherwise")
    return "<br>".join([cell["otherwise"], *exceptions])


def table_of_endings(table: dict[str, Any]) -> list[str]:
    """Return a row for each way in which a task can end that has a run of its own."""
    lines = [f"| what happens | {' | '.join(f'{mode} task' for mode in MODES)} |", "| --- | --- | --- |"]
    for event in table["events"].values():
        lines.append(f"| {event['title']} | {' | '.join(ending(event[mode]) for mode in MODES)} |")
    meanings = [f"- {answer or NOTHING}: {meaning}" for answer, meaning in table["answers"].items()]
    return [*lines, "", *meanings]


# What stands between the marks of each name, and the data that it is made of.
PARTS = {"routes": (tables_of_routes, DATA), "endings": (table_of_endings, ENDINGS)}


def written(page: str) -> str:
    """Return the page with tables made from the data."""
    for name, (render, data) in PARTS.items():
        begin, end = f"<!-- begin {name}: written by routes_table.py -->", f"<!-- end {name} -->"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        text = "\n".join(render(json.loads(data.read_text(encoding="utf-8"))))
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

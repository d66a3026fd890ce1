"""
Write the tables of ``routes.md`` from ``routes.json``, which the whole-Airflow tests measure.

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
BEGIN, END = "<!-- begin: written by routes_table.py -->", "<!-- end -->"

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

SIGNS = {"yes": "**yes**", "later": "later", "no": "no"}

COVERING = ["## What covers every case", "", "None of them does alone. These combinations do:"]
# This provider has no waiting task: the `on_kill` is the user's own.
OWN = "on_kill"

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


def coverings(table: dict[str, Any], routes: Sequence[str]) -> list[str]:
    """Return a line for each smallest combination of routes that covers every event on every Airflow."""
    for count in range(2, len(routes) + 1):
        found = [
            some
            for some in combinations(routes, count)
            if all(covers(table, some, version) for version in versions(table))
        ]
        if found:
            return [f"- {' **and** '.join(table['routes'][route] for route in some)}" for some in found]
    raise ValueError("not even all routes together cover every case: write that into the page")


def advice(table: dict[str, Any]) -> list[str]:
    """Return which routes to add, without a waiting task of one's own and with one."""
    routes = list(table["routes"])
    if any(covers(table, [route], version) for route in routes for version in versions(table)):
        raise ValueError("one route covers every case: write that into the page")
    ours = [route for route in routes if route != OWN]
    return [
        *COVERING,
        "",
        "### With this provider only",
        "",
        *coverings(table, ours),
        "",
        "### If your own waiting task has an `on_kill`",
        "",
        *coverings(table, routes),
    ]


def render(table: dict[str, Any]) -> str:
    """Return the text between the marks."""
    meanings = [f"- {SIGNS[answer]}: {meaning}" for answer, meaning in table["answers"].items()]
    return "\n".join(["", *matrix(table), "", *meanings, "", *advice(table), ""])


def page_with(page: str, table: dict[str, Any]) -> str:
    """Return the page with tables made from the data."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{render(table)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(
        page_with(PAGE.read_text(encoding="utf-8"), json.loads(DATA.read_text())), encoding="utf-8"
    )

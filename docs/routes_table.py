"""
Write the tables of ``routes.md`` anew from ``routes.json``, which the whole-Airflow tests measure.

usage: python docs/routes_table.py
"""

from __future__ import annotations

import json
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

COVERING = ["## What covers every case", "", "No route alone does. These together do:"]

Cell = str | dict[str, str]


def sign(cell: Cell) -> str:
    """Return what stands in a cell, versions of Airflow that differ included."""
    if isinstance(cell, str):
        return SIGNS[cell]
    exceptions = (f"{version}: {SIGNS[answer]}" for version, answer in cell.items() if version != "otherwise")
    return "<br>".join([SIGNS[cell["otherwise"]], *exceptions])


def answers(cell: Cell) -> set[str]:
    """Return the answers of all versions."""
    return {cell} if isinstance(cell, str) else set(cell.values())


def matrix(table: dict[str, Any]) -> list[str]:
    """Return a row for each event, with a column for each route."""
    routes = table["routes"]
    lines = ["| what happens | " + " | ".join(HEADINGS.get(route, routes[route]) for route in routes) + " |"]
    lines.append("| --- |" + " :-: |" * len(routes))
    for event in table["events"].values():
        cells = [sign(event["routes"][route]) for route in routes]
        lines.append(f"| {event['title']} | " + " | ".join(cells) + " |")
    return lines


def covers(table: dict[str, Any], routes: tuple[str, ...]) -> bool:
    """Tell whether after each event one of the routes at least is taken, on every Airflow."""
    return all(
        any("no" not in answers(event["routes"][route]) for route in routes)
        for event in table["events"].values()
    )


def coverings(table: dict[str, Any]) -> list[str]:
    """Return a line for each route, or pair of routes, that leaves no event out."""
    routes = table["routes"]
    alone = [(route,) for route in routes if covers(table, (route,))]
    if alone:
        raise ValueError("a route covers every case alone: write that into the page")
    found = [pair for pair in combinations(routes, 2) if covers(table, pair)]
    return [f"- {' **and** '.join(routes[route] for route in some)}" for some in found]


def render(table: dict[str, Any]) -> str:
    """Return what stands between the marks."""
    meanings = [f"- {SIGNS[answer]}: {meaning}" for answer, meaning in table["answers"].items()]
    return "\n".join(["", *matrix(table), "", *meanings, "", *COVERING, "", *coverings(table), ""])


def page_with(page: str, table: dict[str, Any]) -> str:
    """Return the page with its tables as they should be."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{render(table)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(
        page_with(PAGE.read_text(encoding="utf-8"), json.loads(DATA.read_text())), encoding="utf-8"
    )

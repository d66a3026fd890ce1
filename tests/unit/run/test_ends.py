"""Which ends are followed, and the position up to where they were handed over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.ends import EndedRun, EndFilter, Position, mark_of

RUN = Run.from_answer(
    {
        "id": "run_a",
        "status": "COMPLETED",
        "taskIdentifier": "etl",
        "tags": ["a", "b"],
        "createdAt": "2026-11-28 09:00:00.1",
        "finishedAt": "2026-11-28T10:00:01.23456+01:00",
    }
)
POSITION = Position(until="2026-11-28T09:00:01.234Z", start="2026-11-28T08:00:00.000Z")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"task_identifiers": ("etl", "other")}, True),
        ({"task_identifiers": ("other",), "tags": ("a",)}, False),
        ({"tags": ("b", "a")}, True),
        ({"tags": ("a", "c")}, False),
        ({"tags": ("a",), "statuses": ("FAILED",)}, False),
    ],
)
def test_a_run_has_one_of_the_tasks_all_tags_and_one_of_the_statuses(
    arguments: dict[str, Any], wanted: bool
) -> None:
    assert EndFilter(**arguments).wants(RUN) is wanted


def test_an_event_says_what_has_ended_how_and_when() -> None:
    assert EndedRun.of(RUN).payload("https://trigger.test/runs/run_a") == {
        "run_id": "run_a",
        "run_url": "https://trigger.test/runs/run_a",
        "status": "COMPLETED",
        "task_identifier": "etl",
        "tags": ["a", "b"],
        "created_at": "2026-11-28T09:00:00.100Z",
        "finished_at": "2026-11-28T09:00:01.234Z",
    }


def test_a_position_survives_and_is_small_however_many_runs_it_names() -> None:
    marks = tuple(mark_of(f"run_{number}") for number in range(5000))
    position = Position(until=POSITION.until, start=POSITION.start, seen=marks, lost=marks)
    text = position.to_json()
    assert len(text) < 33_000
    read = Position.from_json(text)
    assert read == Position(
        until=POSITION.until, start=POSITION.start, seen=marks[-3000:], lost=marks[-1000:]
    )
    assert Position.from_json(POSITION.to_json()) == POSITION


@pytest.mark.parametrize(
    "text",
    [
        None,
        3,
        "",
        "[1]",
        "{}",
        json.dumps({"until": "soon", "start": POSITION.start}),
        json.dumps({"until": POSITION.until, "start": POSITION.start, "seen": ["a"]}),
    ],
)
def test_what_is_no_position_is_none(text: object) -> None:
    assert Position.from_json(text) is None

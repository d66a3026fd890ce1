"""The position up to where ends were handed over."""

from __future__ import annotations

import json

import pytest

from airflow_provider_trigger.run.ends import Position, mark_of

POSITION = Position(until="2026-11-28T09:00:01.234Z", start="2026-11-28T08:00:00.000Z")


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

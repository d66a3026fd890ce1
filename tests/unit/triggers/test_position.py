"""The position up to where ends were handed over, as it is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_trigger.triggers.follower import Position

TIMES: dict[str, Any] = {"until": "2026-11-28T09:00:01.234Z", "start": "2026-11-28T08:00:00.000Z"}


def test_a_position_survives_and_is_small_however_many_runs_it_names() -> None:
    run_ids = tuple(f"run_cm{number:023}" for number in range(5000))
    text = json.dumps(Position(**TIMES, seen=run_ids).to_json())
    assert len(text) < 34_000
    assert Position.from_json(json.loads(text)) == Position(**TIMES, seen=run_ids[-1000:])


@pytest.mark.parametrize("seen", [{}, {"seen": "0aB/xY+90aB/xY+8", "lost": 3}, {"seen": [5, None]}])
def test_of_another_version_the_times_are_read(seen: dict[str, object]) -> None:
    assert Position.from_json(TIMES | seen) == Position(**TIMES)
    assert Position.from_json(TIMES | seen | {"until": "soon"}) is None

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.events import RunEvent, list_events
from airflow_provider_trigger.api.http import Response

Answered = Callable[..., Response]
TIME = datetime(2026, 11, 28, 10, 7, 43, 188000, UTC)
STARTS: dict[Any, datetime | None] = {"1795860463188000000": TIME}
STARTS |= dict.fromkeys(("", "9999-12-31T23:59:59-12:00", "9" * 40, "9" * 5000, "soon", None))


@pytest.mark.parametrize("start", STARTS, ids=range(len(STARTS)))
def test_an_event_of_which_little_is_valid_is_no_failure(start: Any, response: Answered) -> None:
    odd: dict[str, Any] = {"message": 1, "level": None, "startTime": start}
    [event] = list_events("run_1").read(response(200, {"events": [odd]}))
    assert event == RunEvent(message="", level="", started_at=STARTS[start])

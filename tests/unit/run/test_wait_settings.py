"""How to wait, as plain JSON and back."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_trigger.run.wait import WaitSettings

ALL: dict[str, Any] = {
    "run_url": "https://trigger.test/runs/run_1",
    "poll_interval": 7.5,
    "deadline": 1_795_600_000.5,
    "timeout": 3600.0,
    "pending_version_timeout": None,
    "patience": 30.0,
    "cancels": False,
    "success_statuses": ["COMPLETED"],
    "cancels_others": True,
    "logs_progress": True,
    "logs_end": False,
    "run_progress": False,
    "tag": "airflow_task:x",
}


def test_all_settings_survive_as_json_and_another_version_may_have_stored_more_or_less() -> None:
    made = WaitSettings(**ALL)
    assert made.to_json() == ALL
    assert WaitSettings.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert WaitSettings.from_json({"poll_interval": 5, "unknown": 1}) == WaitSettings(poll_interval=5)
    assert WaitSettings.from_json({}) == WaitSettings()

"""Turn the arguments of a wait into its settings."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_trigger.hooks import run_arguments
from airflow_provider_trigger.hooks.run_arguments import wait_settings
from airflow_provider_trigger.run.wait_settings import WaitSettings

NO_LIMITS: dict[str, Any] = {"timeout": None, "poll_interval": None, "pending_version_timeout": None}


@pytest.mark.parametrize(
    ("password", "is_development"),
    [("tr_dev_marker_of_the_test", True), ("tr_prod_marker_of_the_test", False)],
)
@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (
            {"timeout": "1m", "poll_interval": timedelta(seconds=5), "pending_version_timeout": 90},
            {"timeout": 60.0, "poll_interval": 5.0, "pending_version_timeout": 90.0},
        ),
        (  # the shortest
            {"timeout": 0, "poll_interval": 0.01, "pending_version_timeout": "0s"},
            {"timeout": 0.0, "poll_interval": 0.01, "pending_version_timeout": 0.0},
        ),
        (NO_LIMITS, NO_LIMITS),
    ],
)
def test_a_wait_has_the_durations_of_the_caller_and_the_rest_of_the_connection(
    settings, clock, monkeypatch: pytest.MonkeyPatch, password: str, is_development: bool, arguments, seconds
) -> None:
    monkeypatch.setattr(run_arguments, "time", clock)
    connection = settings(host="https://trigger.test", password=password, extra={"retry_for": 7})
    timeout = seconds["timeout"]
    assert wait_settings("run_1", connection, **arguments) == WaitSettings(
        run_url="https://trigger.test/runs/run_1",
        poll_interval=seconds["poll_interval"],
        deadline=None if timeout is None else clock.time() + timeout,
        pending_version_timeout=seconds["pending_version_timeout"],
        patience=7.0,
        cancels=False,
        is_development=is_development,
    )


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("timeout", -0.5, "0"),
        ("poll_interval", 0.009, "0.01"),
        ("pending_version_timeout", timedelta(seconds=-1), "0"),
    ],
)
def test_an_invalid_duration_is_an_error_that_names_the_argument(
    settings, name: str, value: object, least: str
) -> None:
    what = f"a duration of {least} s or more: seconds, a timedelta, or a text such as '5m'"
    text = f"wait_for_run: {name} must be {what}, not {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        wait_settings("run_1", settings(), **NO_LIMITS | {name: value})

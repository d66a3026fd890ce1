"""What waitpoint tokens are created and completed with, checked, as it is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from airflow_provider_trigger.rules import AS_GIVEN, Circumstances, Rule, checked_given, duration
from airflow_provider_trigger.run.request import KEY_OPTIONS, OPTIONS, check_json

MAX_DATA_SIZE = 512 * 1024
"""As JSON, in bytes: 200 KB are taken, 600 KB are not (measured)."""

MAX_INTEGER = 2**53
"""Larger ones lose digits (measured)."""

_seconds = duration(least=1)


def _timeout(name: str, value: Any, when: Circumstances) -> str:
    """Return a text with a unit: a number has timed out at once, a date may be no limit (measured)."""
    return f"{math.ceil(_seconds(name, value, when))}s"


_OPTIONS: dict[str, Rule] = {
    "timeout": _timeout,
    "tags": OPTIONS["tags"],
    "idempotency_key": KEY_OPTIONS["idempotency_key"],
}


def token_options(options: Mapping[str, Any], when: Circumstances = AS_GIVEN) -> dict[str, Any]:
    """Return options, checked, as they are sent, without those that are None or not known yet."""
    return checked_given(_OPTIONS, options, when)


def check_data(name: str, value: Any, when: Circumstances = AS_GIVEN) -> None:
    """Check that a value is JSON that Trigger.dev keeps as it is; an error says what is not."""
    from airflow_provider_trigger.api.http import encode_json

    if check_json(name, value, when) and (size := len(encode_json(value))) > MAX_DATA_SIZE:
        raise ValueError(f"{name} must have {MAX_DATA_SIZE:,} bytes or less as JSON, not {size:,}")
    _check_integers(name, value)


def _check_integers(name: str, value: Any) -> None:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError(
            f"{name} must not have an integer beyond 2^53, whose last digits Trigger.dev changes: send it as "
            f"a text, {str(value)!r}"
        )
    if isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            _check_integers(name, part)

"""Turn what a waitpoint token is created with and completed with into what is sent, checked. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.rules import AS_GIVEN, Circumstances, Rule, checked, duration
from airflow_provider_trigger.run.request import KEY_OPTIONS, OPTIONS, check_json, path_of

MAX_DATA_SIZE = 512 * 1024
"""As JSON, in bytes: 200 KB are taken, 600 KB are not (measured)."""

MAX_INTEGER = 2**53
"""Larger ones lose digits (measured)."""

_seconds = duration(least=1)


def _timeout(name: str, value: Any, when: Circumstances) -> str:
    """Return a text with a unit: a number has timed out at once, a date may be no limit (measured)."""
    return f"{math.ceil(_seconds(name, value, when))}s"


OPTIONS_OF_TOKENS: dict[str, Rule] = {
    "timeout": _timeout,
    "tags": OPTIONS["tags"].rule,
    "idempotency_key": KEY_OPTIONS["idempotency_key"].rule,
}
"""What a token can be given, by name, each as it is sent."""


def token_options(options: Mapping[str, Any], when: Circumstances = AS_GIVEN) -> dict[str, Any]:
    """Return options, checked, as they are sent, without those that are None or not known yet."""
    given = {name: value for name, value in options.items() if value is not None}
    return checked(OPTIONS_OF_TOKENS, given, when)


def check_data(name: str, value: Any, when: Circumstances) -> None:
    """Check that a value is JSON that Trigger.dev keeps as it is; an error names the part."""
    if check_json(name, value, when) and (size := len(encode_json(value))) > MAX_DATA_SIZE:
        raise ValueError(f"{name} must have {MAX_DATA_SIZE:,} bytes or less as JSON, not {size:,}")
    _check_integers(name, value)


def _check_integers(path: str, value: Any) -> None:
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError(
            f"{path} must not be an integer beyond 2^53, whose last digits Trigger.dev changes: send it as a "
            f"text, {str(value)!r}"
        )
    parts: Iterable[tuple[object, Any]] = value.items() if isinstance(value, dict) else ()
    if isinstance(value, (list, tuple)):
        parts = enumerate(value)
    for key, part in parts:
        _check_integers(path_of(path, key), part)

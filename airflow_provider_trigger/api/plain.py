"""The plain JSON of a time, a decimal, a dataclass and other values that JSON itself lacks."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID


def plain(value: Any) -> Any:
    """
    Return a value in JSON's types, for ``json.dumps(default=…)``; a TypeError if there is no such form.

    The result is the same in each process, as idempotency keys are made of it.
    """
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID, PurePath)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda item: json.dumps(item, default=plain, sort_keys=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(type(value), "model_dump"):  # a model of pydantic
        return value.model_dump()
    kinds = "a dict, list, set, string, number, bool, None, time, UUID, path, enum or dataclass"
    raise TypeError(f"{kinds}, not a {type(value).__name__}")

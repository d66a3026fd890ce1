"""The plain JSON of a time, a decimal, a dataclass and other values that JSON itself lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any


def plain(value: Any) -> Any:
    """
    Return a value in JSON's types, for ``json.dumps(default=…)``; a TypeError if there is no such form.

    The result is the same in each process, as idempotency keys are made of it.
    """
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # Airflow brings pydantic

    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda item: json.dumps(item, default=plain, sort_keys=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(type(value), "model_dump"):  # a model of pydantic
        return value.model_dump()
    if not isinstance(value, (Iterator, bytes, bytearray, type)):  # these would be used up, or are no text
        try:
            return to_jsonable_python(value)
        except PydanticSerializationError:
            pass
    kinds = "a dict, list, set, string, number, bool, None, time, UUID, path, enum or dataclass"
    raise TypeError(f"{kinds}, not a {type(value).__name__}")

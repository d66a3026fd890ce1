"""Whether a value is JSON, and how large. Pure."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.durations import read_number
from airflow_provider_trigger.rules import Circumstances, Skip

_MAX_PATH_LENGTH = 150


def check_json(name: str, value: Any, when: Circumstances, *, max_size: int) -> None:
    """
    Check that a value is JSON, of up to ``max_size`` bytes; an error names the part, as ``payload['a'][3]``.

    Where a part is not known yet, the size is not either.
    """
    try:
        if not _is_known_json(name, value, when.skip):
            return
        size = len(encode_json(value))
    except RecursionError:
        raise ValueError(f"{name} must be JSON: it contains itself, or is nested too deeply") from None
    if size > max_size:
        raise ValueError(f"{name} must have {max_size:,} bytes or less as JSON, not {size:,}")


def _is_known_json(path: str, value: Any, skip: Skip) -> bool:
    """Return whether all parts are known; raise an error for one that is not JSON."""
    if skip(value):
        return False
    if value is None or isinstance(value, (str, bool)):
        return True
    if isinstance(value, (int, float)):
        if read_number(value) is None:
            what = value if isinstance(value, float) else "number of so many digits"
            raise ValueError(f"{path} must be JSON, which has no {what}")
        return True
    is_list, is_dict = isinstance(value, (list, tuple)), isinstance(value, dict)
    if not is_list and not is_dict:
        kind = type(value).__name__
        raise ValueError(f"{path} must be JSON: a dict, list, string, number, bool or None, not a {kind}")
    if is_dict and (others := [key for key in value if not isinstance(key, str)]):
        raise ValueError(f"{path} must be JSON, whose keys are strings, not {others[0]!r}")
    parts = value.items() if is_dict else enumerate(value)
    return all([_is_known_json(path_of(path, key), part, skip) for key, part in parts])


def path_of(path: str, key: object) -> str:
    """Return how a message names a part of a value, such as ``payload['a'][3]``."""
    longer = f"{path}[{key!r}]"
    return longer if len(longer) <= _MAX_PATH_LENGTH else f"{longer[:_MAX_PATH_LENGTH]}…"

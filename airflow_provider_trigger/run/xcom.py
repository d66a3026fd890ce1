"""What XCom can store of the JSON that a server sends. Pure."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger.api.answers import well_formed
from airflow_provider_trigger.log import Log

# By these, Airflow's serializer knows what it has made of objects: it rejects them, or makes an object of
# whatever has them (2.11 to 3.4).
_RESERVED_KEYS = frozenset(
    f"__{name}" for name in ("classname__", "version__", "data__", "id__", "cache__", "type", "source", "var")
)
# Airflow 3 stores up to 254 levels (measured).
_MAX_DEPTH = 200


class UnstorableError(Exception):
    """A value that XCom cannot have."""


def for_xcom(value: Any, what: str, *, log: Log) -> Any:
    """
    Return a value as XCom can store it: U+FFFD takes the place of lone surrogates and NULs, with a warning.

    :raises UnstorableError: it has a key that Airflow's serializer reserves, or is nested too deeply
    """
    stored = _stored(value, what, 0)
    if stored != value:
        text = "%s has lone surrogates or NULs, which XCom cannot store: U+FFFD takes their place"
        log.warning(text, what)
    return stored


def _stored(value: Any, what: str, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise UnstorableError(f"{what} has an integer of more than 64 bits, which Airflow 3 cannot store")
    if not isinstance(value, (dict, list)):
        return value
    if depth == _MAX_DEPTH:
        raise UnstorableError(f"{what} is nested more than {_MAX_DEPTH} levels deep: XCom may not store it")
    if isinstance(value, list):
        return [_stored(one, what, depth + 1) for one in value]
    if reserved := sorted(_RESERVED_KEYS & value.keys()):
        raise UnstorableError(f"{what} has the key {reserved[0]!r}, which Airflow's serializer reserves")
    return {_text(key): _stored(one, what, depth + 1) for key, one in value.items()}


def _text(value: str) -> str:
    return well_formed(value).replace("\0", "\ufffd")  # PostgreSQL stores no NUL in JSON

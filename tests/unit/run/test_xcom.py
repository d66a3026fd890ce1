"""What of the JSON that a server sends XCom can store."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest

from airflow_provider_trigger.run.facts import UnstorableError, for_xcom

try:
    serde = import_module("airflow.sdk.serde")
except ImportError:  # before 3.2
    serde = import_module("airflow.serialization.serde")

RESERVED = {
    value
    for name, value in vars(serde).items()
    if name.isupper() and isinstance(value, str) and value.startswith("__")
}


@pytest.mark.parametrize("key", sorted(RESERVED | {"__classname__", "__type", "__var"}))
def test_a_key_that_airflows_serializer_reserves_cannot_be_stored_at_any_depth(key: str, log) -> None:
    for value in ({key: 1}, [[{"a": {key: None}}]]):
        with pytest.raises(UnstorableError, match=f"^It has the key '{key}', which Airflow's serializer res"):
            for_xcom(value, "It", log=log)


def test_lone_surrogates_and_nuls_are_replaced_with_a_warning_and_all_else_stays(log) -> None:
    others = ["\U0001f600", 1.5, None, True, "__type", 2**64 - 1, -(2**63)]
    stored = for_xcom({"a \ud83d": ["\ude00b", "c\0", *others]}, "It", log=log)
    assert stored == {"a \ufffd": ["\ufffdb", "c\ufffd", *others]}
    assert json.dumps(stored, ensure_ascii=False).encode()
    assert [line[:27] for line in log.of("warning")] == ["It has lone surrogates or N"]
    assert for_xcom(stored, "It", log=log) == stored
    assert len(log.lines) == 1


def test_what_is_nested_too_deeply_for_airflow_cannot_be_stored(log) -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    assert for_xcom(value, "It", log=log) == value
    with pytest.raises(UnstorableError, match="It is nested more than 200 levels"):
        for_xcom({"a": value}, "It", log=log)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_an_integer_of_more_than_64_bits_cannot_be_stored(value: int, log) -> None:
    with pytest.raises(UnstorableError, match="It has an integer of more than 64 bits"):
        for_xcom({"wei": [value]}, "It", log=log)

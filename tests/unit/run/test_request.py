from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.rules import AS_GIVEN, RENDERED, Circumstances, shown
from airflow_provider_trigger.run.identity import content_of
from airflow_provider_trigger.run.request import (
    KEY_OPTIONS,
    OPTIONS,
    check_items,
    check_json,
    read_items,
    to_api,
)

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
DURATION = "a duration above 0, such as '1h30m', "


def sent(name: str, value: Any) -> Any:
    """Return what the API gets for a value."""
    (converted,) = to_api({name: value}).values()
    assert json.loads(json.dumps(converted)) == converted
    return converted


def problem(name: str, value: Any, when: Circumstances = AS_GIVEN) -> str:
    """Return what is wrong with a value."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # each test compares the text
        check_json(name, value, when) if name == "payload" else to_api({name: value}, when)
    assert raised.value.__cause__ is None
    assert str(raised.value).isprintable()
    return str(raised.value)


# All options


@pytest.mark.parametrize("name", [*OPTIONS, *KEY_OPTIONS])
def test_what_is_none_or_not_known_yet_is_left_out_and_a_long_value_is_shown_by_its_start(name: str) -> None:
    assert to_api({name: None}) == to_api({name: object()}, Circumstances(skip=lambda value: True)) == {}
    assert len(problem(name, {"k" * 999: b"1"})) < 300


def test_an_option_that_does_not_exist_is_an_error_that_lists_those_that_do() -> None:
    assert problem("maxAttempts", 3).startswith("there is no option 'maxAttempts'; the options are queue, ")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, " 2026.é ", " 2026.é ") for name in ("concurrency_key", "region", "lock_to_version")),
        ("concurrency_key", {"default": "a", "gpu": "b"}, {"default": "a", "gpu": "b"}),
        ("queue", "paid/users", {"name": "paid/users"}),
        ("max_attempts", "3", 3),
        ("extra_options", '{"newest": [1]}', [1]),
        ("priority", 2.5, 2.5),
        # A number of seconds; without a unit, that of a key would be ignored (measured).
        *(
            (name, value, unit)
            for value in (90, "90", 90.0)
            for name, unit in (("ttl", 90), ("idempotency_key_ttl", "90s"))
        ),
        ("ttl", timedelta(days=1, seconds=0.5), 86401),
        ("ttl", "1.5", 2),
        ("delay", timedelta(seconds=0.2), "1s"),
        ("idempotency_key_ttl", timedelta(minutes=1), "60s"),
        # A time, in UTC
        ("delay", NOW + timedelta(seconds=1), "2026-11-25T09:00:01.000Z"),
        ("delay", datetime(2026, 11, 25, 9, 0, 0, 1500), "2026-11-25T09:00:00.001Z"),
        ("delay", NOW.replace(tzinfo=timezone(timedelta(hours=1))), "2026-11-25T08:00:00.000Z"),
        ("delay", "2020-01-01", "2020-01-01T00:00:00.000Z"),  # has passed: it is now
        ("delay", " 2027-01-01 12:00:00.5+02:00 ", "2027-01-01T10:00:00.500Z"),
        ("delay", "2027-01-01T12:00:00Z", "2027-01-01T12:00:00.000Z"),
        # Tags, once each
        ("tags", "a", ["a"]),
        ("tags", ("a", "b"), ["a", "b"]),
        ("tags", [], []),
        ("tags", ["b", " a:/%", "b"], ["b", " a:/%"]),
        ("tags", ["1", *"1234567890"], list("1234567890")),
        ("metadata", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("metadata", '{"a": [1]}', {"a": [1]}),  # as a template gives it
        ("idempotency_key", " a/b?%\n", " a/b?%\n"),
        # The server says what is too long or too large.
        ("tags", "x" * 129, ["x" * 129]),
        ("idempotency_key", "x" * 2049, "x" * 2049),
        ("metadata", {"a": "x" * 300_000}, {"a": "x" * 300_000}),
    ],
)
def test_what_is_sent_for_a_value(name: str, value: Any, expected: Any) -> None:
    assert sent(name, value) == expected


@pytest.mark.parametrize("text", ["['a', 'b']", '["a", "b"]', "('a', 'b')"])
def test_tags_may_be_the_text_that_a_template_makes_of_a_list(text: str) -> None:
    assert to_api({"tags": text}, RENDERED) == {"tags": ["a", "b"]}
    assert to_api({"tags": "[a"}, RENDERED) == {"tags": ["[a"]}
    assert "a task's .output, or render_template_as_native_obj=True" in problem("tags", "a, b", RENDERED)


@pytest.mark.parametrize("text", ["1s", "60s", "1h30m", "2w", "1w2d3h4m5s", "0h1m", "007s"])
@pytest.mark.parametrize("name", ["ttl", "delay", "idempotency_key_ttl"])
def test_a_duration_is_sent_as_it_is(name: str, text: str) -> None:
    assert sent(name, text) == sent(name, f" {text}\n") == text


NO_DURATIONS = ["", " ", "soon", "0s", "0h0m", "-1h", "1.5h", "1 h", "1h 30m", "30m1h", "1hr", "1H", "1ms"]
NO_DURATIONS += ["1h1h", "PT1H", "٣h", "s"]


@pytest.mark.parametrize("value", [*NO_DURATIONS, timedelta(), timedelta(seconds=-1)])
@pytest.mark.parametrize("name", ["ttl", "delay", "idempotency_key_ttl"])
def test_a_duration_that_the_server_would_ignore_is_an_error(name: str, value: Any) -> None:
    what = problem(name, value)
    assert what.startswith(f"{name} must be {DURATION}")
    assert what.endswith(f", not {shown(value)}")


NO_TAG, NO_KEY = "a string that is not empty, without a comma", "a string that is not empty"
NO_DICTS: list[Any] = [[], "text", "[1]", "{", "", 7, True, "[" * 9999, MappingProxyType({})]


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        *(
            (name, value, f"{DURATION}seconds or a timedelta")
            for name in ("ttl", "idempotency_key_ttl")
            for value in (0, -1, "0", True, ["1h"], math.nan, math.inf)
        ),
        *(
            ("delay", value, f"{DURATION}a timedelta, a datetime or an ISO date")
            for value in (
                *(60, "60", 1.5, True, date(2030, 1, 1), ["1h"], "tomorrow", "2030-13-01", "None"),
                # In UTC before the year 1, or after 9999.
                "0001-01-01T00:00:00+23:59",
                datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=2))),
            )
        ),
        *(("tags", tag, NO_TAG) for tag in ("", " ", "a,b", 7, {"a": 1}, {"a"}, True)),
        *(("metadata", value, "a dict of JSON") for value in NO_DICTS),
        *(("idempotency_key", key, NO_KEY) for key in ("", " ", 7, ["k"])),
        *(("concurrency_key", key, NO_KEY) for key in ("", 7, ["k"])),
    ],
)
def test_what_is_not_valid_is_an_error_that_shows_it(name: str, value: Any, what: str) -> None:
    assert problem(name, value) == f"{name} must be {what}, not {shown(value)}"


@pytest.mark.parametrize("key", ["None", " none ", "null"])
def test_what_a_template_renders_to_that_finds_nothing_is_no_key(key: str) -> None:
    why = "a template that finds nothing renders to this, and all tasks with this key would share one run"
    assert problem("idempotency_key", key) == f"idempotency_key must not be {key!r}: {why}"


# Delay


def test_a_time_of_pendulum_is_one() -> None:
    pendulum = pytest.importorskip("pendulum")
    assert sent("delay", pendulum.datetime(2027, 1, 1, tz="Europe/Paris")) == "2026-12-31T23:00:00.000Z"


# Tags


@pytest.mark.parametrize("tag", ["", " ", 3, ["a"], None])
def test_a_tag_of_several_that_is_not_valid_is_named(tag: Any) -> None:
    assert problem("tags", ["a", tag]) == f"tags must be {NO_TAG}, not {tag!r}"


def test_a_run_has_up_to_ten_tags_and_those_of_ours_count() -> None:
    assert problem("tags", list("1234567890a")) == "tags must be 10 tags or fewer, not 11"
    assert to_api({"tags": list("1234567")}, known=OPTIONS) == {"tags": list("1234567")}
    why = "a run has up to 10, and 3 are the provider's"
    with pytest.raises(ValueError, match=f"^tags must be 7 tags or fewer, not 8: {why}$"):
        to_api({"tags": list("12345678")}, known=OPTIONS)


# Metadata and payload


TYPES = "a dict, list, set, string, number, bool, None, time, UUID, path, enum or dataclass, not a"


@pytest.mark.parametrize(
    ("payload", "where", "what"),
    [
        (b"x", "", f"{TYPES} bytes"),
        ({"rows": [0, {"at": object()}]}, "['rows'][1]['at']", f"{TYPES} object"),
        (MappingProxyType({}), "", f"{TYPES} mappingproxy"),
        ([iter([1])], "[0]", f"{TYPES} list_iterator"),
        ({"a b": math.nan}, "['a b']", "Out of range float values are not JSON compliant"),
        ([[-math.inf]], "[0][0]", "Out of range float values are not JSON compliant"),
        ({"a": {(1, 2): 3}}, "['a']", "keys must be str, int, float, bool or None, not tuple"),
    ],
)
def test_an_error_names_the_part_that_is_not_json(payload, where: str, what: str) -> None:
    assert problem("payload", payload).startswith(f"payload{where} must be JSON: {what}")
    assert problem("metadata", {"a": payload}).startswith(f"metadata['a']{where} must be JSON: {what}")


@dataclass
class Order:
    at: datetime
    items: set[str]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (NOW, "2026-11-25T09:00:00+00:00"),
        (NOW.date(), "2026-11-25"),
        (NOW.time(), "09:00:00"),
        (timedelta(minutes=90), 5400.0),
        (Decimal("1.50"), "1.50"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Path("a") / "b", "a/b"),
        (HTTPStatus.OK, 200),
        ({"b", "c", "a"}, ["a", "b", "c"]),
        (Order(NOW, {"y", "x"}), {"at": "2026-11-25T09:00:00+00:00", "items": ["x", "y"]}),
    ],
)
def test_what_json_lacks_is_sent_in_its_plain_form(value: Any, plain: Any) -> None:
    assert json.loads(encode_json({"a": [value]})) == {"a": [plain]}
    assert json.loads(check_json("payload", [value])) == [plain]
    assert content_of("task", [value]) == content_of("task", [plain])


def test_a_payload_that_contains_itself_is_an_error() -> None:
    circle: list[Any] = []
    circle.append({"a": circle})
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for payload, what in ((circle, "Circular reference detected"), (deep, "maximum recursion depth")):
        assert problem("payload", payload).startswith(f"payload must be JSON: {what}")


# The items of a batch


def is_text_of_a_template(value: object) -> bool:
    return isinstance(value, str) and "{{" in value


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("payloads", []),
        ("payloads", (None, 1, "a", {"a": [1]})),
        ("items", [{}, {"payload": 1}, {"options": {}}, {"payload": 1, "options": None}]),
    ],
)
def test_any_json_is_a_payload_and_an_item_has_one_or_options_or_both(name: str, given: Any) -> None:
    check_items(name, given, RENDERED)


@pytest.mark.parametrize("given", [None, "a", {"a": 1}, 7])
def test_what_is_no_list_is_an_error(given: Any) -> None:
    with pytest.raises(ValueError, match="payloads") as raised:
        check_items("payloads", given, RENDERED)
    kind = "None" if given is None else f"a {type(given).__name__}"  # a payload is not shown
    assert str(raised.value) == f"payloads must be a list with one entry for each run, not {kind}"


def test_what_is_not_known_yet_is_not_checked() -> None:
    parsed = Circumstances(skip=is_text_of_a_template)
    check_items("payloads", "{{ x }}", parsed)
    unknown = ["{{ x }}", {"payload": "{{ x }}"}, {"options": "{{ x }}"}, {"options": {"ttl": "{{ x }}"}}]
    check_items("items", unknown, parsed)
    with pytest.raises(ValueError, match="tags must be 7 tags or fewer"):
        check_items("items", [{"options": {"tags": ["{{ x }}"] + [f"t{n}" for n in range(7)]}}], RENDERED)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (7, "items[0] must be a dict of 'payload' and 'options', such as "),
        (7, "goes into payloads, not a int"),
        ({"payload": 1, "tags": []}, "goes into payloads, not one with ['payload', 'tags']"),
        ({"payload": {1: b"x"}}, "items[0]['payload'][1] must be JSON: "),
        ({"options": ["a"]}, "items[0]['options']: options must be a dict, not ['a']"),
        ({"options": {"payload": 1}}, "items[0]['options']: there is no option 'payload'; the options are "),
        ({"options": {"idempotency_key": "k"}}, "items[0]['options']: there is no option 'idempotency_key'"),
        ({"options": {"ttl": "soon"}}, "items[0]['options']: ttl must be a duration above 0"),
    ],
)
def test_an_item_must_be_a_payload_and_options(item: Any, reason: str) -> None:
    with pytest.raises(ValueError, match="items") as raised:
        check_items("items", [item], RENDERED)
    assert reason in str(raised.value)
    assert str(raised.value).startswith("1 of 1 items are invalid: items[0]")


def test_one_error_names_several_invalid_items_and_counts_all() -> None:
    with pytest.raises(ValueError, match="payloads") as raised:
        check_items("payloads", [b"1" if number % 2 else number for number in range(40)], RENDERED)
    text = str(raised.value)
    assert text.startswith("20 of 40 payloads are invalid: payloads[1] must be JSON: ")
    assert "; payloads[19] must be JSON" in text
    assert text.endswith(" … and 10 more")


def test_an_items_options_take_the_place_of_those_of_all() -> None:
    items = [{"payload": 1, "options": {"tags": ["b"], "queue": None}}, {"options": None}]
    shared = {"queue": "q", "tags": ["a"]}
    assert list(read_items("items", items, shared)) == [
        (1, {"tags": ["b"]}),
        (None, {"queue": {"name": "q"}, "tags": ["a"]}),
    ]

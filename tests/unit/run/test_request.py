from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.tasks import trigger_task
from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.rules import Circumstances, Skip, shown
from airflow_provider_trigger.run.request import KEY_OPTIONS, OPTIONS, PAYLOAD, to_api

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
AT_NOON = Circumstances(now=NOW)
ISO_NOW = "2026-11-25T09:00:00.000Z"


def sent(name: str, value: Any) -> Any:
    """Return what the API gets for a value."""
    (converted,) = to_api({name: value}, AT_NOON).values()
    assert json.loads(json.dumps(converted)) == converted
    return converted


def problem(name: str, value: Any, when: Circumstances = AT_NOON) -> str:
    """Return what is wrong with a value."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # each test compares the text
        to_api({name: value}, when)
    assert str(raised.value).isprintable()
    return str(raised.value)


def payload_problem(payload: Any, skip: Skip = lambda value: False) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        PAYLOAD("payload", payload, Circumstances(skip=skip))
    assert raised.value.__cause__ is None
    return str(raised.value)


def check_payload(payload: Any, skip: Skip = lambda value: False) -> None:
    PAYLOAD("payload", payload, Circumstances(skip=skip))


# All options


def test_every_option_in_pythons_spelling_and_in_the_apis() -> None:
    assert {name: option.api_name for name, option in (OPTIONS | KEY_OPTIONS).items()} == {
        "queue": "queue",
        "concurrency_key": "concurrencyKey",
        "delay": "delay",
        "ttl": "ttl",
        "tags": "tags",
        "metadata": "metadata",
        "max_attempts": "maxAttempts",
        "max_duration": "maxDuration",
        "machine": "machine",
        "priority": "priority",
        "region": "region",
        "lock_to_version": "lockToVersion",
        "idempotency_key": "idempotencyKey",
        "idempotency_key_ttl": "idempotencyKeyTTL",
    }


def test_all_at_once() -> None:
    options = {"queue": "q", "delay": "1h", "tags": "a", "max_attempts": "3", "metadata": None}
    assert to_api(options, AT_NOON) == {
        "queue": {"name": "q"},
        "delay": "1h",
        "tags": ["a"],
        "maxAttempts": 3,
    }
    assert to_api({}) == {}


@pytest.mark.parametrize("name", [*OPTIONS, *KEY_OPTIONS])
def test_none_is_not_given(name: str) -> None:
    assert to_api({name: None}) == {}


@pytest.mark.parametrize("name", [*OPTIONS, *KEY_OPTIONS])
def test_what_is_not_known_yet_is_not_checked(name: str) -> None:
    assert to_api({name: object()}, Circumstances(skip=lambda value: True)) == {}


def test_an_option_that_does_not_exist_is_an_error_that_lists_those_that_do() -> None:
    assert problem("maxAttempts", 3).startswith("there is no option 'maxAttempts'; the options are queue, ")


def test_the_first_problem_is_named() -> None:
    with pytest.raises(ValueError, match=r"^ttl must be"):
        to_api({"queue": "q", "ttl": "x", "machine": "y"})


@pytest.mark.parametrize("name", [*OPTIONS, *KEY_OPTIONS])
def test_a_long_value_is_shown_by_its_start(name: str) -> None:
    assert len(problem(name, {"k" * 999: {1}})) < 300


# Texts


@pytest.mark.parametrize("name", ["concurrency_key", "region", "lock_to_version"])
@pytest.mark.parametrize("value", ["x", " x ", "20261125.1", "é"])
def test_a_text_is_sent_as_it_is(name: str, value: str) -> None:
    assert sent(name, value) == value


def test_a_queue_is_sent_by_its_name() -> None:
    assert sent("queue", "paid/users") == {"name": "paid/users"}


@pytest.mark.parametrize(
    "machine", ["micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x"]
)
def test_a_machine_preset_is_sent(machine: str) -> None:
    assert sent("machine", machine) == machine


def rejection(client: TriggerDevClient, **options: Any) -> str:
    """Return why the local server rejects options; tests/contract compares it with the recorded answer."""
    with pytest.raises(ResponseError) as raised:
        client.call(trigger_task("resize", payload=1, options=options))
    return str(raised.value)


def test_the_presets_are_those_of_the_server(client) -> None:
    expected, _ = rejection(client, machine="huge").split(", received")
    presets = re.findall(r"'([\w-]+)'", expected)
    assert problem("machine", "huge") == f"machine must be one of {', '.join(presets)}, not 'huge'"


# Durations


@pytest.mark.parametrize(
    "text", ["1s", "60s", "10m", "1h", "1h30m", "2d", "2w", "1w2d3h4m5s", "0h1m", "007s"]
)
@pytest.mark.parametrize("name", ["ttl", "delay", "idempotency_key_ttl"])
def test_a_duration_is_sent_as_it_is(name: str, text: str) -> None:
    assert sent(name, text) == text
    assert sent(name, f" {text}\n") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "0s",
        "0h0m",
        "-1h",
        "1.5h",
        "1 h",
        "1h 30m",
        "30m1h",
        "1hr",
        "1H",
        "1ms",
        "1h1h",
        "PT1H",
        "٣h",
        "s",
    ],
)
@pytest.mark.parametrize("name", ["ttl", "delay", "idempotency_key_ttl"])
def test_a_duration_that_the_server_would_ignore_is_an_error(name: str, text: str) -> None:
    what = problem(name, text)
    assert what.startswith(f"{name} must be a duration above 0, such as '1h30m', ")
    assert what.endswith(f", not {text!r}")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(timedelta(minutes=1), 60), (timedelta(seconds=0.2), 1), (timedelta(days=1, seconds=0.5), 86401)],
)
def test_a_timedelta_is_sent_in_whole_seconds(value: timedelta, seconds: int) -> None:
    assert sent("ttl", value) == seconds
    assert sent("delay", value) == sent("idempotency_key_ttl", value) == f"{seconds}s"


@pytest.mark.parametrize("value", [timedelta(), timedelta(seconds=-1)])
@pytest.mark.parametrize("name", ["ttl", "delay", "idempotency_key_ttl"])
def test_no_time_is_no_duration(name: str, value: timedelta) -> None:
    assert "must be a duration above 0" in problem(name, value)


@pytest.mark.parametrize(("value", "seconds"), [(1, 1), ("90", 90), (60.0, 60)])
def test_a_ttl_may_be_a_number_of_seconds(value, seconds: int) -> None:
    assert sent("ttl", value) == seconds
    # Here a number without a unit would be ignored (measured).
    assert sent("idempotency_key_ttl", value) == f"{seconds}s"


@pytest.mark.parametrize("value", [0, -1, 1.5, "0", "1.5", True, ["1h"], math.nan, math.inf])
@pytest.mark.parametrize("name", ["ttl", "idempotency_key_ttl"])
def test_what_is_not_a_time_to_live_is_an_error(name: str, value) -> None:
    what = "a duration above 0, such as '1h30m', in whole seconds or a timedelta"
    assert problem(name, value) == f"{name} must be {what}, not {value!r}"


# Delay


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOW + timedelta(seconds=1), "2026-11-25T09:00:01.000Z"),
        (datetime(2026, 11, 25, 9, 0, 0, 1500), "2026-11-25T09:00:00.001Z"),
        (datetime(2026, 11, 25, 11, tzinfo=timezone(timedelta(hours=1))), "2026-11-25T10:00:00.000Z"),
        ("2027-01-01", "2027-01-01T00:00:00.000Z"),
        ("2027-01-01T12:00", "2027-01-01T12:00:00.000Z"),
        (" 2027-01-01 12:00:00.5+02:00 ", "2027-01-01T10:00:00.500Z"),
        ("2027-01-01T12:00:00Z", "2027-01-01T12:00:00.000Z"),
    ],
)
def test_a_time_is_sent_in_utc(value, expected: str) -> None:
    assert sent("delay", value) == expected


@pytest.fixture
def in_tokyo() -> Iterator[None]:
    """Set the time zone of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
def test_the_time_zone_of_this_machine_changes_no_time() -> None:
    assert datetime(2027, 1, 1).astimezone().utcoffset() == timedelta(hours=9)
    assert sent("delay", "2027-01-01T12:00") == "2027-01-01T12:00:00.000Z"
    assert sent("delay", "2027-01-01T12:00+02:00") == "2027-01-01T10:00:00.000Z"


def test_a_time_of_pendulum_is_one() -> None:
    pendulum = pytest.importorskip("pendulum")
    assert sent("delay", pendulum.datetime(2027, 1, 1, tz="Europe/Paris")) == "2026-12-31T23:00:00.000Z"


@pytest.mark.parametrize(
    "value", [NOW, NOW - timedelta(days=1), "2020-01-01", ISO_NOW, "2026-11-25T09:59:59+01:00"]
)
def test_a_time_that_is_past_is_an_error(value) -> None:
    assert problem("delay", value) == f"delay must be in the future, not {value!r}"


def test_by_default_the_clock_decides_what_is_past() -> None:
    now = datetime.now(UTC)
    assert "delay" in to_api({"delay": now + timedelta(minutes=1)})
    with pytest.raises(ValueError, match="in the future"):
        to_api({"delay": now - timedelta(seconds=1)})


@pytest.mark.parametrize(
    "value",
    [
        *(60, "60", 1.5, True, date(2030, 1, 1), ["1h"], "tomorrow", "2030-13-01", "None"),
        # In UTC before the year 1, or after 9999.
        "0001-01-01T00:00:00+23:59",
        datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=2))),
    ],
)
def test_what_is_not_a_delay_is_an_error(value) -> None:
    what = "a duration above 0, such as '1h30m', a timedelta, a datetime or an ISO date"
    assert problem("delay", value) == f"delay must be {what}, not {shown(value)}"


# Tags


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("a", ["a"]),
        (["a"], ["a"]),
        (("a", "b"), ["a", "b"]),
        ([], []),
        (["b", "a", "b"], ["b", "a"]),
        ([" a:/%", "A"], [" a:/%", "A"]),
        (["x" * 128, "\U0001f680" * 64], ["x" * 128, "\U0001f680" * 64]),
        (["1", *list("1234567890")], list("1234567890")),
    ],
)
def test_tags_are_sent_once_each(value, tags: list[str]) -> None:
    assert sent("tags", value) == tags


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("", "tags"),
        ("a,b", "tags"),
        ([""], "tags[0]"),
        (["a", " "], "tags[1]"),
        (["a", "x" * 129], "tags[1]"),
        (["\U0001f680" * 65], "tags[0]"),  # each counts twice, as the server counts
        (("a", "b", 3), "tags[2]"),
        ([["a"]], "tags[0]"),
        ([None], "tags[0]"),
    ],
)
def test_a_tag_that_the_server_would_reject_or_not_find_is_an_error(value, name: str) -> None:
    tag = (
        value
        if isinstance(value, str)
        else next(tag for tag in value if name.endswith(f"[{value.index(tag)}]"))
    )
    shown = repr(tag)[:100] + "…" * (len(repr(tag)) > 100)
    assert problem("tags", value) == (
        f"{name} must be a string of 1 to 128 characters without a comma, not {shown}"
    )


@pytest.mark.parametrize("value", [7, {"a": 1}, {"a"}, True])
def test_what_is_not_a_list_of_tags_is_an_error(value) -> None:
    assert problem("tags", value) == f"tags must be a list of strings, not {value!r}"


def test_a_run_has_up_to_ten_tags() -> None:
    ten = list("1234567890")
    assert sent("tags", ten) == ten
    assert problem("tags", [*ten, "a"]) == "tags must be 10 tags or fewer, not 11"


def test_tags_of_ours_count() -> None:
    when = Circumstances(tags_of_ours=3)
    assert to_api({"tags": list("1234567")}, when) == {"tags": list("1234567")}
    why = "a run has up to 10, and 3 are the provider's"
    assert problem("tags", list("12345678"), when) == f"tags must be 7 tags or fewer, not 8: {why}"


def test_tags_that_are_not_known_yet_count_but_are_not_checked() -> None:
    when = Circumstances(skip=lambda value: isinstance(value, str) and "{{" in value)
    to_api({"tags": ["{{ a,b }}", "c"]}, when)
    assert problem("tags", ["{{ a }}", "b,c"], when).startswith("tags[1] must be")
    assert problem("tags", ["{{ a }}", *"1234567890"], when) == "tags must be 10 tags or fewer, not 11"


# Metadata and payload


@pytest.mark.parametrize("value", [{}, {"a": [1, {"b": None}]}])
def test_metadata_is_sent_as_it_is(value: dict[str, Any]) -> None:
    assert sent("metadata", value) == value
    # As a template gives it.
    assert sent("metadata", json.dumps(value)) == value


@pytest.mark.parametrize("value", [[], "text", "[1]", "{", "", 7, True, "[" * 9999, MappingProxyType({})])
def test_metadata_that_is_not_an_object_is_an_error(value) -> None:
    shown = repr(value)[:100] + "…" * (len(repr(value)) > 100)
    assert problem("metadata", value) == f"metadata must be a dict of JSON, not {shown}"


def test_metadata_names_the_part_that_is_not_json() -> None:
    assert problem("metadata", {"a": {"b": [1, {2}]}}) == (
        "metadata['a']['b'][1] must be JSON: a dict, list, string, number, bool or None, not a set"
    )


@pytest.mark.parametrize(("length", "end"), [(138, "']"), (139, "'…")])
def test_a_place_of_up_to_150_characters_is_named_whole(length: int, end: str) -> None:
    key = "k" * length
    assert problem("metadata", {key: {1}}).startswith(f"metadata['{key}{end} must be JSON: ")


def test_metadata_of_256_kb_is_the_largest(client) -> None:
    limit = 256 * 1024
    assert sent("metadata", {"a": "x" * (limit - len('{"a":""}'))})
    assert problem("metadata", {"a": "x" * (limit - len('{"a":""}') + 1)}) == (
        "metadata must have 262,144 bytes or less as JSON, not 262,145"
    )
    rejected = rejection(client, metadata={"a": "x" * limit})
    assert rejected.endswith(f"answered 413: Metadata exceeds maximum size of {limit} bytes")


@pytest.mark.parametrize(
    "payload", [None, False, 0, -1.5, "", "{{ x }}", "é\ud800", [], {}, [1, [2, ({"a": None},)]], 10**30]
)
def test_json_is_a_payload(payload) -> None:
    check_payload(payload)
    encode_json(payload)


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        ({1}, "payload must be JSON: a dict, list, string, number, bool or None, not a set"),
        (
            {"a": [0, 1, 2, NOW]},
            "payload['a'][3] must be JSON: a dict, list, string, number, bool or None, not a datetime",
        ),
        ([b"x"], "payload[0] must be JSON: a dict, list, string, number, bool or None, not a bytes"),
        ({"a b": math.nan}, "payload['a b'] must be JSON, which has no nan"),
        ([[-math.inf]], "payload[0][0] must be JSON, which has no -inf"),
        ({"a": 10**400}, "payload['a'] must be JSON, which has no number of so many digits"),
        ({"a": {1: 2}}, "payload['a'] must be JSON, whose keys are strings, not 1"),
        (
            MappingProxyType({}),
            "payload must be JSON: a dict, list, string, number, bool or None, not a mappingproxy",
        ),
    ],
)
def test_a_payload_that_is_not_json_is_an_error_that_names_the_part(payload, what: str) -> None:
    assert payload_problem(payload) == what


def test_a_payload_that_contains_itself_is_an_error() -> None:
    circle: list[Any] = []
    circle.append({"a": circle})
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for payload in (circle, deep):
        what = "payload must be JSON: it contains itself, or is nested too deeply"
        assert payload_problem(payload) == what


@pytest.mark.parametrize("character", ["x", "é", "日", "\U0001f680"])
def test_a_payload_of_3_mb_is_the_largest(character: str) -> None:
    size = len(character.encode())
    fits = "x" * ((3 * 1024 * 1024 - 2) % size) + character * ((3 * 1024 * 1024 - 2) // size)
    check_payload(fits)
    what = "payload must have 3,145,728 bytes or less as JSON, not 3,145,729"
    assert payload_problem(fits + "x") == what


def test_parts_of_a_payload_that_are_not_known_yet_are_not_checked() -> None:
    class Later:
        pass

    def skip(value: object) -> bool:
        return isinstance(value, Later)

    check_payload(Later(), skip)
    check_payload({"a": [Later(), 1]}, skip)
    # Nor is its size known, which the other parts could exceed alone.
    check_payload([Later(), "x" * (4 * 1024 * 1024)], skip)
    assert payload_problem({"a": [Later(), {1}]}, skip).startswith("payload['a'][1] must be JSON")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda values: (
        st.lists(values, max_size=3) | st.dictionaries(st.text() | st.integers(), values, max_size=3)
    ),
    max_leaves=5,
)


@given(VALUES)
def test_a_payload_that_passes_can_be_sent_and_comes_out_as_it_went_in(payload) -> None:
    try:
        check_payload(payload)
    except ValueError:
        with pytest.raises((ValueError, AssertionError)):
            assert json.loads(encode_json(payload)) == payload
    else:
        assert json.loads(encode_json(payload)) == payload


# Idempotency keys


@pytest.mark.parametrize("key", ["k", " a/b?%\n", "...a", "X.X", "x" * 2048, "\U0001f680" * 1024])
def test_an_idempotency_key_is_sent_as_it_is(key: str) -> None:
    assert sent("idempotency_key", key) == key


@pytest.mark.parametrize("key", [".", "..", "x" * 2049, "\U0001f680" * 1025])
def test_a_key_that_is_too_long_or_cannot_be_reset_is_an_error(key: str) -> None:
    what = "a string of 1 to 2048 characters, not of dots only"
    shown = repr(key)[:100] + "…" * (len(repr(key)) > 100)
    assert problem("idempotency_key", key) == f"idempotency_key must be {what}, not {shown}"


@pytest.mark.parametrize("key", ["None", " none ", "null"])
def test_what_a_template_renders_to_that_finds_nothing_is_no_key(key: str) -> None:
    why = "a template that finds nothing renders to this, and all tasks with this key would share one run"
    assert problem("idempotency_key", key) == f"idempotency_key must not be {key!r}: {why}"


@pytest.mark.parametrize("key", ["", " ", 7, ["k"]])
def test_a_key_that_is_no_text_is_an_error(key) -> None:
    assert (
        problem("idempotency_key", key) == f"idempotency_key must be a string that is not empty, not {key!r}"
    )


@given(st.sampled_from([*OPTIONS, *KEY_OPTIONS]), VALUES | st.timedeltas() | st.datetimes())
def test_any_value_is_sent_as_json_or_is_an_error_that_names_the_option(name: str, value) -> None:
    text = name
    try:
        encode_json(to_api({name: value}, AT_NOON))
    except ValueError as error:
        text = str(error)
    assert text.startswith(name)
    assert len(text) < 300

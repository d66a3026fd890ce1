"""What is given for each run of a batch, checked, and how it is divided into requests."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.rules import Circumstances
from airflow_provider_trigger.run.items import check_items, read_items

WHEN = Circumstances(tags_of_ours=3)


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
    check_items(name, given, WHEN)


@pytest.mark.parametrize(
    ("given", "kind"),
    [(None, "None"), ("a", "a str"), ({"a": 1}, "a dict"), (7, "a int"), (iter([]), "a list")],
)
def test_what_is_no_list_is_an_error(given: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"payloads must be a list with one entry for each run, not {kind}"):
        check_items("payloads", given, WHEN)


def test_what_is_not_known_yet_is_not_checked() -> None:
    parsed = Circumstances(skip=is_text_of_a_template)
    check_items("payloads", "{{ x }}", parsed)
    unknown = ["{{ x }}", {"payload": "{{ x }}"}, {"options": "{{ x }}"}, {"options": {"ttl": "{{ x }}"}}]
    check_items("items", unknown, parsed)
    with pytest.raises(ValueError, match="tags must be 7 tags or fewer"):
        check_items("items", [{"options": {"tags": ["{{ x }}"] + [f"t{n}" for n in range(7)]}}], WHEN)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (7, "items[0] must be a dict of 'payload' and 'options', such as "),
        (7, "goes into payloads, not a int"),
        ({"payload": 1, "tags": []}, "goes into payloads, not one with ['payload', 'tags']"),
        ({"payload": {1}}, "items[0]['payload'] must be JSON: "),
        ({"options": []}, "items[0]['options'] must be a dict, not a list"),
        ({"options": {"payload": 1}}, "items[0]['options'] has no option 'payload'; the options are queue, "),
        ({"options": {"idempotency_key": "k"}}, "items[0]['options'] has no option 'idempotency_key'"),
        ({"options": {"ttl": "soon"}}, "items[0]['options']: ttl must be a duration above 0"),
    ],
)
def test_an_item_must_be_a_payload_and_options(item: Any, reason: str) -> None:
    with pytest.raises(ValueError, match="items") as raised:
        check_items("items", [item], WHEN)
    assert reason in str(raised.value)
    assert str(raised.value).startswith("items[0]")


def test_one_error_names_all_invalid_items() -> None:
    with pytest.raises(ValueError, match="payloads") as raised:
        check_items("payloads", [{1} if number % 2 else number for number in range(40)], WHEN)
    text = str(raised.value)
    assert text.startswith("20 of 40 payloads are invalid: payloads[1] must be JSON: ")
    assert "; payloads[19] must be JSON" in text
    assert text.endswith("; and those with the index 21, 23, 25, 27, 29, 31, 33, 35, 37, 39")


def test_an_items_options_take_the_place_of_those_of_all() -> None:
    items = [{"payload": 1, "options": {"tags": ["b"], "queue": None}}, {"options": None}]
    shared = {"queue": "q", "tags": ["a"]}
    assert list(read_items("items", items, shared, WHEN)) == [
        (1, {"tags": ["b"]}),
        (None, {"queue": {"name": "q"}, "tags": ["a"]}),
    ]

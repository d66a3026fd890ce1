"""The arguments of the trigger of watchers."""

from __future__ import annotations

import json
from typing import Any

import airflow_has
import pytest

if not airflow_has.WATCHERS:
    pytest.skip("this Airflow has no watchers", allow_module_level=True)

from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger

GIVEN: dict[str, Any] = {"name": "orders", "task_identifiers": "process-order"}


def test_what_airflow_stores_is_plain_json_and_the_same_for_equal_arguments() -> None:
    made = TriggerRunEventTrigger(
        name="orders", task_identifiers=("b", "a", "b"), tags="eu", statuses=["FAILED", "COMPLETED"]
    )
    path, arguments = made.serialize()
    assert path == "airflow_provider_trigger.triggers.events.TriggerRunEventTrigger"
    assert arguments == json.loads(json.dumps(arguments))
    assert arguments == {
        "name": "orders",
        "task_identifiers": ["a", "b"],
        "tags": ["eu"],
        "statuses": ["COMPLETED", "FAILED"],
        "trigger_dev_conn_id": "trigger_dev_default",
    }
    assert TriggerRunEventTrigger(**arguments).serialize() == (path, arguments)
    least = TriggerRunEventTrigger(**GIVEN).serialize()[1]
    assert (least["tags"], least["statuses"]) == (None, ["COMPLETED"])
    assert TriggerRunEventTrigger(**least).serialize()[1] == least


FINAL = "statuses must be one of CANCELED, COMPLETED, CRASHED, EXPIRED, FAILED, SYSTEM_FAILURE, TIMED_OUT"
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, "name must be a string that is not empty, not ' '"),
    ({"task_identifiers": None}, "give task_identifiers, or tags, or both"),
    ({"task_identifiers": []}, "task_identifiers must be a string, or a list of at least one task id"),
    ({"task_identifiers": ["a", 5]}, "must be a string that is not empty, without a comma, not 5"),
    ({"tags": "a,b"}, "tags must be a string that is not empty, without a comma, not 'a,b'"),
    ({"statuses": []}, "statuses must be a string, or a list of at least one final status, not []"),
    ({"statuses": ["EXECUTING"]}, FINAL),
    ({"trigger_dev_conn_id": ""}, "trigger_dev_conn_id must be the id of a connection, not ''"),
]


@pytest.mark.parametrize(("arguments", "error"), INVALID)
def test_an_invalid_argument_is_an_error_at_parse(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=r"^TriggerRunEventTrigger: ") as raised:
        TriggerRunEventTrigger(**GIVEN | arguments)
    assert error in str(raised.value)


def test_a_parse_costs_no_client(parse, heavy) -> None:
    modules = parse(
        "from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger as Trigger\n"
        "Trigger(name='orders', tags=['eu']).serialize()"
    )
    assert not heavy & set(modules)


def test_it_has_no_on_kill_which_a_pause_would_call() -> None:
    assert "on_kill" not in vars(TriggerRunEventTrigger)

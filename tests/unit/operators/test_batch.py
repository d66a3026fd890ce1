"""What the operator takes for each run of its batch, what it sends, and which runs it takes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.exceptions import TriggerRunNotStartedError
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator


@pytest.fixture
def sent_items(server) -> Callable[[], list[Any]]:
    """Return the items of all requests."""

    def read() -> list[Any]:
        found = [one for one in server.requests if one.path == "/api/v2/tasks/batch"]
        return [item for one in found for item in json.loads(one.body)["items"]]

    return read


def test_a_run_starts_for_each_item_with_the_options_of_all_and_its_own(
    connection: str, sent_items, server, keep_log
) -> None:
    log = keep_log(RunTriggerTaskBatchOperator)
    items = [{"payload": 1}, {"payload": 2, "options": {"tags": ["own"], "delay": "1h"}}]
    made = operator(payloads=None, items=items, tags=["all"], queue="q", wait_for_completion=False)
    assert made.execute(context_of(TaskInstance(map_index=3))) == list(server.runs)
    assert log.of("info")[0] == "Starting 2 runs of Trigger.dev task 'resize'"
    first, second = sent_items()
    assert (first["task"], first["payload"], second["payload"]) == ("resize", 1, 2)
    assert first["options"]["queue"] == second["options"]["queue"] == {"name": "q"}
    assert (first["options"]["tags"][0], second["options"]["tags"][0]) == ("all", "own")
    assert len(second["options"]["tags"]) == 4
    assert (first["options"].get("delay"), second["options"]["delay"]) == (None, "1h")
    keys = [item["options"]["idempotencyKey"] for item in (first, second)]
    assert [key.split("-")[-2] for key in keys] == ["0", "1"]
    assert keys[0].split("-")[:-2] == keys[1].split("-")[:-2]


@pytest.mark.parametrize("text", ["[1, 2]", " (1, 2) ", '[1, "2"]'])
def test_a_template_gives_the_text_of_a_list(text: str, connection: str, sent_items) -> None:
    made = operator(payloads="{{ x }}")
    made.payloads = text
    made.execute(context_of(TaskInstance()))
    assert [int(item["payload"]) for item in sent_items()] == [1, 2]


def test_a_text_that_is_no_list_is_an_error(connection: str) -> None:
    made = operator(payloads="{{ x }}")
    made.payloads = "nothing"
    with pytest.raises(AirflowFailException, match=r"payloads must be a list .*, not a str; if it is a "):
        made.execute(context_of(TaskInstance()))


def test_an_empty_list_starts_nothing(connection: str, server, keep_log) -> None:
    log = keep_log(RunTriggerTaskBatchOperator)
    ti = TaskInstance()
    assert operator(payloads=[]).execute(context_of(ti)) == []
    assert (server.requests, ti.pushed) == ([], {})
    assert log.of("info") == ["payloads is an empty list: no run is started"]


def test_runs_whose_ids_no_answer_has_shown_are_found_by_their_tag_and_canceled(
    connection: str, endless
) -> None:
    endless.fail_next(1, 400, path="/api/v2/batches/", method="GET")
    with pytest.raises(TriggerDevError, match="Runs of these items may exist"):
        operator(payloads=[1, 2]).execute(context_of(TaskInstance()))
    assert [run.status for run in endless.runs.values()] == ["CANCELED"] * 2


# A retry


def retried(**fields: Any) -> Any:
    return context_of(TaskInstance(try_number=2, max_tries=0, **fields))


def test_without_waiting_it_looks_for_no_other_runs(connection: str, endless) -> None:
    made = operator(payloads=[1], wait_for_completion=False)
    first = made.execute(context_of(TaskInstance()))
    assert made.execute(retried()) == first
    assert not any(request.path.startswith("/api/v1/runs") for request in endless.requests)


def test_a_run_of_another_trigger_dev_task_is_canceled(connection: str, endless) -> None:
    operator(payloads=[1], wait_for_completion=False).execute(context_of(TaskInstance()))
    assert operator(task_identifier="crop", payloads=[1]).execute(retried()) == [1]
    assert [run.status for run in endless.runs.values()] == ["CANCELED", "COMPLETED"]


def test_a_delay_that_has_passed_since_the_first_try_is_no_error(connection: str, sent_items) -> None:
    made = operator(payloads=None, items="{{ x }}", delay="{{ x }}", wait_for_completion=False)
    made.items = [{"payload": 1}, {"payload": 2, "options": {"delay": "2021-01-01"}}]  # as rendered natively
    made.delay = "2020-01-01"
    made.execute(retried())
    assert [item["options"]["delay"][:4] for item in sent_items()] == ["2020", "2021"]


def test_a_try_that_a_policy_has_rescheduled_starts_again_what_was_canceled(connection: str, endless) -> None:
    made = operator(payloads=[1, 2], wait_for_completion=False)
    for run_id in made.execute(context_of(TaskInstance())):
        endless.runs[run_id].cancel()
    made.execute(context_of(TaskInstance()) | {"task_reschedule_count": 1})  # the same try (Airflow 3.4)
    assert [run.status == "CANCELED" for run in endless.runs.values()] == [True, True, False, False]


def test_where_the_start_fails_the_runs_of_an_earlier_try_are_canceled(connection: str, endless) -> None:
    operator(payloads=[1, 2], wait_for_completion=False).execute(context_of(TaskInstance()))
    endless.fail_next(1, 400, path="/api/v1/runs?", method="GET")  # so that they are not replaced before
    endless.fail_next(1, 422, path="/tasks/batch")
    with pytest.raises(TriggerRunNotStartedError, match="422"):
        operator(payloads=[3]).execute(retried())
    assert [run.status for run in endless.runs.values()] == ["CANCELED"] * 2


def test_where_the_start_fails_without_waiting_only_runs_of_its_own_items_are_canceled(
    connection: str, endless
) -> None:
    operator(payloads=[1, 2], wait_for_completion=False).execute(context_of(TaskInstance()))
    endless.fail_next(1, 422, path="/tasks/batch")
    with pytest.raises(TriggerRunNotStartedError, match="422"):
        operator(payloads=[1, 3], wait_for_completion=False).execute(retried())
    first, second = endless.runs.values()
    until(lambda: first.status == "CANCELED", "the run of the first item is canceled")
    assert second.cancel_requests == 0

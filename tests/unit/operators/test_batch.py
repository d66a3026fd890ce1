"""A task with many runs: what it sends, XComs, deferral, failures, retries, and an end by Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.exceptions import TriggerRunNotStartedError
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator


def statuses(server) -> set[str]:
    return {run.status for run in server.runs.values()}


def event_of(server) -> dict[str, Any]:
    return {
        "runs": [
            {"run_id": run.id, "end": "final", "status": run.status, "error": ""}
            for run in server.runs.values()
        ],
        "try_number": 1,
    }


@pytest.fixture
def completed(connection: str, server, ti) -> Callable[[int], list[str]]:
    """Start so many runs that return their payloads, 1, 2 …, and return their ids once all have completed."""

    def start(count: int) -> list[str]:
        server.on_task("resize", output=lambda payload: payload, start_after=0, after=0)
        made = operator(payloads=list(range(1, count + 1)), wait_for_completion=False)
        run_ids: list[str] = made.execute(context_of(ti))
        until(lambda: statuses(server) == {"COMPLETED"}, "all have completed")
        return run_ids

    return start


# XCom


@pytest.fixture
def seen(ti, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Keep all that is pushed, in turn."""
    pushes: list[tuple[str, Any]] = []
    push = ti.xcom_push

    def xcom_push(key: str, value: Any) -> None:
        pushes.append((key, value))
        push(key=key, value=value)

    monkeypatch.setattr(ti, "xcom_push", xcom_push)
    return pushes


def test_without_xcoms_only_the_ids_are_pushed(execute, server, ti, seen) -> None:
    server.on_task("resize", output=1, start_after=0, after=0)
    assert execute(operator(payloads=list(range(50)), do_xcom_push=False)) == [1] * 50
    assert {key for key, _ in seen if key in ("run_id", "results")} == {"run_id"}
    assert [server.runs[run_id].payload for run_id in ti.pushed["run_id"]] == list(range(50))


# Outputs


@pytest.mark.parametrize("fail_on", ["any", "never"])
def test_a_lost_output_is_a_failure(fail_on: str, connection: str, server, ti, completed, keep_log) -> None:
    log = keep_log(RunTriggerTaskBatchOperator)
    _, broken = completed(2)
    headers = {"x-should-retry": "false"}
    server.fail_next(None, 500, path=f"/api/v3/runs/{broken}", headers=headers)
    text = f"1 of 2 items failed: item 1: Run {broken} is COMPLETED, but its output cannot be fetched: "
    resume = partial(
        operator(payloads=[], fail_on=fail_on).execute_complete, context_of(ti), event_of(server)
    )
    if fail_on == "any":
        with pytest.raises(AirflowException, match=text):
            resume()
    else:
        assert resume() == [1, None]
        assert f"The task does not fail for it (fail_on='never'): {text}" in log.of("warning")[-1]
    errors = [one["error"] for one in ti.pushed["results"]]
    assert errors[0] is None
    assert errors[1].startswith(f"its output cannot be fetched: GET /api/v3/runs/{broken} answered 500")


# Deferred


def test_the_outputs_are_in_the_order_of_the_items_whatever_the_events(server, ti, completed) -> None:
    run_ids = completed(3)
    event = event_of(server)
    event["runs"].reverse()
    server.redirect_next(3)  # a page in place of the server costs no output
    resumed = operator(payloads=[])
    assert resumed.execute_complete(context_of(ti), event) == [1, 2, 3]
    assert (resumed.run_url, server.pending_faults) == (f"{server.url}/runs/{run_ids[0]}", 0)
    # Two items with one key share a run; and a backend has lost the XCom.
    for pushed, outputs in (([*run_ids, run_ids[0]], [1, 2, 3, 1]), (None, [3, 2, 1])):
        ti.xcom_push(key="run_id", value=pushed)
        assert operator(payloads=[]).execute_complete(context_of(ti), event) == outputs


# What is sent


@pytest.fixture
def sent_items(server) -> Callable[[], list[Any]]:
    """Return the items of all requests."""

    def read() -> list[Any]:
        found = [one for one in server.requests if one.path == "/api/v2/tasks/batch"]
        return [item for one in found for item in json.loads(one.body)["items"]]

    return read


def test_an_item_has_the_options_of_all_and_its_own(connection: str, sent_items, server, keep_log) -> None:
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


def test_an_empty_list_starts_nothing(connection: str, server, keep_log) -> None:
    log = keep_log(RunTriggerTaskBatchOperator)
    ti = TaskInstance()
    assert operator(payloads=[]).execute(context_of(ti)) == []
    assert (server.requests, ti.pushed) == ([], {})
    assert log.of("info") == ["payloads is an empty list: no run is started"]


# A retry


def retried(**fields: Any) -> Any:
    return context_of(TaskInstance(try_number=2, max_tries=0, **fields))


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
        operator(payloads=[3, 4]).execute(retried())
    assert [run.status for run in endless.runs.values()] == ["CANCELED"] * 2

"""A task with many runs: XComs, deferral, failures, and what happens to the runs when it is ended."""

from __future__ import annotations

from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.errors import TriggerDevError

try:
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import TaskDeferralError, TaskDeferred


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def execute(connection: str, ti) -> Any:
    return lambda made: made.execute(context_of(ti))


@pytest.fixture
def endless(server):
    """A server whose runs never end by themselves."""
    server.on_task("resize", after=None)
    return server


def statuses(server) -> set[str]:
    return {run.status for run in server.runs.values()}


def event_of(server, status: str | None = None) -> dict[str, Any]:
    return {
        "runs": [
            {"run_id": run.id, "end": "final", "status": status or run.status, "error": ""}
            for run in server.runs.values()
        ],
        "try_number": 1,
    }


# XCom


def test_ids_are_in_xcom_as_soon_as_they_are_known(execute, endless, ti, monkeypatch) -> None:
    seen: list[Any] = []
    push = ti.xcom_push

    def xcom_push(key: str, value: Any) -> None:
        seen.append((key, value))
        push(key=key, value=value)

    monkeypatch.setattr(ti, "xcom_push", xcom_push)
    run_ids = execute(operator(payloads=list(range(30)), wait_for_completion=False))
    assert [value for key, value in seen if key == "run_id"] == [run_ids[:20] + [None] * 10, run_ids]
    url = f"{endless.url}/runs/{run_ids[0]}"
    assert [value for key, value in seen if key == "run_url"] == [url]


@pytest.mark.parametrize("cancels", [True, False])
def test_where_a_request_fails_the_ids_of_those_next_to_it_are_in_xcom(
    cancels: bool, execute, endless, ti, monkeypatch
) -> None:
    push = ti.xcom_push

    def xcom_push(key: str, value: Any) -> None:
        if key == "run_id" and not ti.pushed:  # of the first request; then four are sent at once
            endless.fail_next(1, 422, path="/tasks/batch")
        push(key=key, value=value)

    monkeypatch.setattr(ti, "xcom_push", xcom_push)
    with pytest.raises(TriggerDevError, match="422"):
        execute(operator(payloads=list(range(100)), cancel_on_kill=cancels))
    assert set(filter(None, ti.pushed["run_id"])) == set(endless.runs)
    assert len(endless.runs) > 20
    assert (statuses(endless) == {"CANCELED"}) == cancels


def test_where_the_push_fails_the_runs_are_canceled(execute, endless, ti) -> None:
    ti.fails_at = "run_id"
    with pytest.raises(RuntimeError, match="no XCom backend"):
        execute(operator(payloads=[1, 2]))
    assert statuses(endless) == {"CANCELED"}


def test_what_became_of_each_is_in_xcom_also_where_the_task_fails(execute, server, ti) -> None:
    server.on_task("resize", error="boom", times=1)
    with pytest.raises(AirflowException, match="1 of 2 runs did not complete"):
        execute(operator(payloads=[1, 2]))
    first, second = server.runs
    assert ti.pushed["results"] == [
        {"run_id": first, "status": "FAILED", "error": "Error: boom"},
        {"run_id": second, "status": "COMPLETED", "error": None},
    ]


# Outputs


def test_many_runs_are_waited_for_by_a_query(execute, server, sent) -> None:
    server.on_task("resize", output=lambda payload: payload, start_after=0, after=0)
    assert execute(operator(payloads=list(range(25)), poll_interval=None)) == list(range(25))
    assert "/api/v1/query" in {request.path for request in server.requests}


def test_outputs_above_the_limit_are_references(execute, server) -> None:
    outputs = execute(operator(payloads=["a", "bc"], max_output_size=6))
    first, second = server.runs
    assert outputs == [{"run_id": first, "output_size": 3}, {"run_id": second, "output_size": 4}]


def test_with_fail_on_never_it_returns_what_there_is(execute, server) -> None:
    server.on_task("resize", error="boom", times=1)
    assert execute(operator(payloads=[1, 2], fail_on="never")) == [None, 2]


def test_the_first_failure_cancels_the_others(execute, server) -> None:
    server.on_task("resize", error="boom", times=1, start_after=0, after=0)
    server.on_task("resize", after=None)
    with pytest.raises(AirflowException, match="2 others were canceled, as one had failed"):
        execute(operator(payloads=[1, 2, 3], cancel_others=True))
    assert statuses(server) == {"FAILED", "CANCELED"}


# Deferred


def test_it_hands_all_runs_to_its_trigger_and_leaves_the_cancel_to_it(execute, endless, ti) -> None:
    made = operator(payloads=[1, 2, 3], deferrable=True, cancel_others=True, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        execute(made)
    trigger = deferred.value.trigger
    assert (deferred.value.method_name, trigger.run_ids) == ("execute_complete", list(endless.runs))
    assert trigger.try_number == 1
    assert (trigger.wait["success_statuses"], trigger.wait["cancels_others"]) == (("COMPLETED",), True)
    assert (trigger.wait["logs_progress"], trigger.wait["cancels"]) == (True, True)
    assert trigger.wait["names_completed"] is False
    made.on_kill()
    assert not any(run.cancel_requests for run in endless.runs.values())


def test_the_outputs_are_in_the_order_of_the_items_whatever_the_events(connection: str, server, ti) -> None:
    server.on_task("resize", output=lambda payload: payload, start_after=0, after=0)
    made = operator(payloads=[1, 2, 3], wait_for_completion=False)
    run_ids = made.execute(context_of(ti))
    until(lambda: statuses(server) == {"COMPLETED"}, "all have completed")
    event = event_of(server)
    event["runs"].reverse()
    assert operator(payloads=[]).execute_complete(context_of(ti), event) == [1, 2, 3]
    ti.xcom_push(key="run_id", value=[run_ids[0], run_ids[1], run_ids[2], run_ids[0]])
    assert operator(payloads=[]).execute_complete(context_of(ti), event) == [1, 2, 3, 1]
    ti.xcom_push(key="run_id", value=None)  # a backend has lost it
    assert operator(payloads=[]).execute_complete(context_of(ti), event) == [3, 2, 1]


def test_a_page_in_place_of_the_server_costs_a_resumed_task_no_outputs(connection: str, server, ti) -> None:
    server.on_task("resize", output=lambda payload: payload, start_after=0, after=0)
    operator(payloads=[1, 2], wait_for_completion=False).execute(context_of(ti))
    until(lambda: statuses(server) == {"COMPLETED"}, "all have completed")
    server.redirect_next(2)
    assert operator(payloads=[]).execute_complete(context_of(ti), event_of(server)) == [1, 2]
    assert not server.pending_faults


def test_completed_runs_that_an_event_only_counts_are_those_in_xcom(connection: str, server, ti) -> None:
    server.on_task("resize", output=lambda payload: payload, start_after=0, after=0)
    run_ids = operator(payloads=[1, 2], wait_for_completion=False).execute(context_of(ti))
    until(lambda: statuses(server) == {"COMPLETED"}, "all have completed")
    event = {"runs": [], "completed": 2, "try_number": 1}
    assert operator(payloads=[]).execute_complete(context_of(ti), event) == [1, 2]
    for pushed in (None, run_ids[:1]):
        ti.xcom_push(key="run_id", value=pushed)
        with pytest.raises(ValueError, match="2 runs completed, but of the runs in XCom"):
            operator(payloads=[]).execute_complete(context_of(ti), event)


def test_an_event_has_statuses_only_and_the_errors_are_fetched(connection: str, server, ti, sent) -> None:
    run = server.add_run("FAILED")
    with pytest.raises(AirflowException, match="1 of 1 runs did not complete: item 0: Run run_"):
        operator(payloads=[]).execute_complete(context_of(ti), event_of(server))
    assert sent() == ["retrieve"]
    assert ti.pushed["results"][0]["run_id"] == run.id


def test_an_event_of_another_try_starts_all_anew(connection: str, server) -> None:
    ti = TaskInstance(try_number=2)
    event = {"runs": [], "try_number": 1}
    assert operator(payloads=[1, 2]).execute_complete(context_of(ti), event) == [1, 2]


def test_where_all_have_completed_in_an_earlier_try_it_does_not_defer(connection: str, server) -> None:
    made = operator(payloads=[1, 2], deferrable=True)
    first = operator(payloads=[1, 2]).execute(context_of(TaskInstance()))
    assert made.execute(context_of(TaskInstance(try_number=2))) == first


# Ended by Airflow


@pytest.mark.parametrize("count", [2, 25])
def test_stopped_while_it_waits_it_cancels_all_runs(count: int, execute, endless, in_signal_handler) -> None:
    made = operator(payloads=list(range(count)), poll_interval=30)
    in_signal_handler(lambda: any("/api/v3/" in one.path for one in list(endless.requests)), made.on_kill)
    with pytest.raises(AirflowException, match=f"XCom 'run_id' \\({count}\\)"):
        execute(made)
    assert statuses(endless) == {"CANCELED"}


def test_stopped_while_it_starts_it_sends_nothing_more_and_pushes_what_is_known(
    execute, endless, in_signal_handler, ti
) -> None:
    made = operator(payloads=list(range(60)))
    endless.delay_next(1, 0.3, path="/tasks/batch")
    in_signal_handler(lambda: bool(endless.runs), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    assert (len(endless.runs), statuses(endless)) == (20, {"CANCELED"})
    assert ti.pushed["run_id"] == [*endless.runs, *[None] * 40]


def test_stopped_before_it_begins_it_sends_nothing(execute, endless) -> None:
    made = operator(payloads=[1])
    made.on_kill()
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        execute(made)
    assert endless.requests == []


def test_after_the_end_a_stop_cancels_nothing(execute, server) -> None:
    made = operator(payloads=[1, 2])
    execute(made)
    before = len(server.requests)
    made.on_kill()
    assert len(server.requests) == before


def test_where_the_trigger_failed_all_runs_are_canceled(connection: str, endless, ti) -> None:
    operator(payloads=[1, 2, 3], wait_for_completion=False).execute(context_of(ti))
    with pytest.raises(TaskDeferralError, match="no such trigger"):
        operator(payloads=[]).resume_execution("__fail__", {"error": "no such trigger"}, context_of(ti))
    assert statuses(endless) == {"CANCELED"}


def test_a_failure_that_no_retry_cures_is_one_for_good(execute, server) -> None:
    server.on_task("resize", error="boom")
    with pytest.raises(AirflowFailException, match="2 of 2"):
        execute(operator(payloads=[1, 2], retry_statuses=[]))

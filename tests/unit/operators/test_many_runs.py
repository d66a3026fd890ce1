"""A task with many runs: XComs, deferral, failures, and what happens to the runs when it is ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from fake_clock import Clock
from in_process import Network
from run_operator import batch_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.exceptions import TriggerRunNotStartedError
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.run.drive import WATCHED_ALONE

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import TaskDeferred


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


def test_ids_are_in_xcom_as_soon_as_they_are_known(execute, endless, seen) -> None:
    run_ids = execute(operator(payloads=list(range(30)), wait_for_completion=False))
    assert [value for key, value in seen if key == "run_id"] == [run_ids[:20] + [None] * 10, run_ids]
    url = f"{endless.url}/runs/{run_ids[0]}"
    assert [value for key, value in seen if key == "run_url"] == [url]


def test_without_xcoms_only_the_ids_are_pushed_and_once(execute, server, ti, seen) -> None:
    server.on_task("resize", output=1, start_after=0, after=0)
    assert execute(operator(payloads=list(range(50)), do_xcom_push=False)) == [1] * 50
    assert [key for key, _ in seen if key in ("run_id", "results")] == ["run_id"]
    assert [server.runs[run_id].payload for run_id in ti.pushed["run_id"]] == list(range(50))


@pytest.fixture
def after_first_request(ti, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something once the ids of the first request are known; then four requests are sent at once."""
    push = ti.xcom_push

    def when(act: Callable[[], object]) -> None:
        def xcom_push(key: str, value: Any) -> None:
            if key == "run_id" and not ti.pushed:
                act()
            push(key=key, value=value)

        monkeypatch.setattr(ti, "xcom_push", xcom_push)

    return when


@pytest.mark.parametrize("cancels", [True, False])
def test_where_a_request_fails_the_ids_of_those_next_to_it_are_in_xcom(
    cancels: bool, execute, endless, ti, after_first_request
) -> None:
    after_first_request(lambda: endless.fail_next(1, 422, path="/tasks/batch"))
    with pytest.raises(TriggerRunNotStartedError, match="422"):
        execute(operator(payloads=list(range(100)), cancel_on_kill=cancels))
    assert set(filter(None, ti.pushed["run_id"])) == set(endless.runs)
    assert len(endless.runs) >= 20  # how many are sent next to the one that fails differs
    assert (statuses(endless) == {"CANCELED"}) == cancels


def test_where_a_request_fails_one_that_waits_for_its_retry_is_not_sent_again(
    execute, endless, after_first_request, connection_to, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that stalls leaves the failure less time to be noticed: there is enough.
    monkeypatch.setattr("airflow_provider_trigger.operators.base._STOP_TIME", 20.0)

    def fail_two() -> None:
        endless.fail_next(1, 503, path="/tasks/batch", headers={"Retry-After": "5"})
        endless.fail_next(1, 422, path="/tasks/batch")

    after_first_request(fail_two)
    with pytest.raises(TriggerRunNotStartedError, match="422"):
        execute(operator(payloads=list(range(100)), trigger_dev_conn_id=connection_to(endless, "patient")))
    assert [request.path for request in endless.requests].count("/api/v2/tasks/batch") <= 5
    assert statuses(endless) == {"CANCELED"}


def test_what_became_of_each_is_in_xcom_also_where_the_task_fails(execute, server, ti) -> None:
    server.on_task("resize", error="boom", times=1)
    with pytest.raises(AirflowException, match="1 of 2 runs did not complete"):
        execute(operator(payloads=[1, 2]))
    first, second = server.runs
    results = [(one["index"], one["run_id"], one["status"], one["error"]) for one in ti.pushed["results"]]
    assert results == [(0, first, "FAILED", "Error: boom"), (1, second, "COMPLETED", None)]


# Outputs


@pytest.mark.parametrize(("count", "queries"), [(WATCHED_ALONE + 1, True), (WATCHED_ALONE, False)])
def test_only_many_runs_are_waited_for_by_a_query(count: int, queries: bool, execute, server) -> None:
    server.on_task("resize", output=lambda payload: payload, after=0.6)
    assert execute(operator(payloads=list(range(count)), poll_interval=None)) == list(range(count))
    assert any(request.path == "/api/v1/query" for request in server.requests) == queries


@pytest.mark.parametrize("late", [None, 3.0])
def test_a_retry_in_the_worker_waits_only_for_the_runs_that_are_alive(
    late: float | None, connection: str, server, keep_log, ti
) -> None:
    server.on_task("resize", output=lambda payload: payload, start_after=0, after=0, times=1)
    server.on_task("resize", output=lambda payload: payload, start_after=0, after=late or 0)
    operator(payloads=[1, 2], wait_for_completion=False).execute(context_of(ti))
    first, second = server.runs.values()
    until(lambda: first.status == "COMPLETED", "the first has completed")
    until(lambda: late or second.status == "COMPLETED", "the second has completed")
    server.requests.clear()
    log = keep_log(RunTriggerTaskBatchOperator)
    assert operator(payloads=[1, 2]).execute(context_of(TaskInstance(try_number=2))) == [1, 2]
    waits = [text for text in log.of("info") if text.startswith("Waiting for ")]
    assert [text.split(" http")[0] for text in waits] == [f"Waiting for run {second.id}"] * bool(late)
    requested = [request.path for request in server.requests].count(f"/api/v3/runs/{first.id}")
    assert requested == 2, "to take it up, and for its output"


def test_with_fail_on_never_it_returns_what_there_is(execute, server) -> None:
    server.on_task("resize", error="boom", times=1)
    assert execute(operator(payloads=[1, 2], fail_on="never")) == [None, 2]


@pytest.mark.parametrize(
    ("given", "text", "other"),
    [
        ({}, "1 of 3 runs did not complete", "COMPLETED"),
        ({"cancel_others": True}, "2 others were canceled, as one had failed", "CANCELED"),
    ],
)
def test_the_first_failure_cancels_the_others_only_where_that_is_wanted(
    given, text: str, other: str, execute, server
) -> None:
    server.on_task("resize", error="boom", times=1, start_after=0, after=0)
    server.on_task("resize", after=None if given else 0.3)
    with pytest.raises(AirflowException, match=text):
        execute(operator(payloads=[1, 2, 3], **given))
    assert [run.status for run in server.runs.values()] == ["FAILED", other, other]


def test_an_output_that_the_server_cannot_give_fails_the_task(connection: str, server, ti, completed) -> None:
    _, broken = completed(2)
    headers = {"x-should-retry": "false"}
    server.fail_next(None, 500, path=f"/api/v3/runs/{broken}", headers=headers)
    text = f"1 output missing: item 1: run {broken} is COMPLETED, but its output cannot be fetched: "
    with pytest.raises(AirflowException, match=text):
        operator(payloads=[]).execute_complete(context_of(ti), event_of(server))
    errors = [one["error"] for one in ti.pushed["results"]]
    assert errors[0] is None
    assert errors[1].startswith(f"its output cannot be fetched: GET /api/v3/runs/{broken} answered 500")


# Deferred


@pytest.mark.parametrize(
    ("cancel_others", "success_statuses"), [(True, ("COMPLETED",)), (False, None)], ids=["others", ""]
)
def test_it_hands_all_runs_to_its_trigger_and_leaves_the_cancel_to_it(
    cancel_others: bool, success_statuses: Any, execute, endless, keep_log
) -> None:
    log = keep_log(RunTriggerTaskBatchOperator)
    given: dict[str, Any] = {"cancel_others": cancel_others} if cancel_others else {}
    made = operator(payloads=[1, 2, 3], deferrable=True, execution_timeout=timedelta(seconds=30), **given)
    before = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        execute(made)
    trigger = deferred.value.trigger
    assert (deferred.value.method_name, trigger.run_ids) == ("execute_complete", list(endless.runs))
    assert before + 30 <= trigger.wait["deadline"] <= time.time() + 30
    shown = {
        "success_statuses": success_statuses,
        "cancels_others": cancel_others,
        "logs_progress": True,
        "names_completed": False,
        "cancels": True,
    }
    assert {name: trigger.wait[name] for name in shown} == shown
    assert all(trigger.wait["tag"] in run.tags for run in endless.runs.values())
    assert log.of("info")[-1].startswith("Deferring: the triggerer waits for 3 runs from here on. ")
    made.on_kill()
    assert not any(run.cancel_requests for run in endless.runs.values())


def test_the_timeout_counts_from_the_creation_of_the_oldest_run_that_is_alive(
    connection: str, server, wire, answer, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.operators.base.time", clock)
    of_server = Clock()
    server.clock = of_server.time
    wire.script = Network(server, answer)
    server.on_task("resize", times=1, start_after=0, after=0)
    server.on_task("resize", after=None)
    for try_number, payloads, seconds in ((1, [1], 30), (2, [1, 2], 40)):
        ti = TaskInstance(try_number=try_number)
        operator(payloads=payloads, wait_for_completion=False).execute(context_of(ti))
        of_server.now += seconds
        clock.now += seconds
    made = operator(payloads=[1, 2, 3], deferrable=True, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context_of(TaskInstance(try_number=3)))
    assert next(iter(server.runs.values())).status == "COMPLETED"
    assert deferred.value.trigger.wait["deadline"] == pytest.approx(clock.time() + 20, abs=1)


@pytest.mark.parametrize("end", ["rejected", "trigger failed"])
def test_a_line_of_runs_that_may_still_be_running_names_their_tag(
    end: str, endless, server, ti, execute, keep_log
) -> None:
    log = keep_log(RunTriggerTaskBatchOperator)
    execute(operator(payloads=[1, 2], wait_for_completion=False))
    [tag] = {tag for run in server.runs.values() for tag in run.tags if tag.startswith("airflow_task:")}
    server.fail_next(None, 403)
    event = event_of(server)
    for shown in event["runs"]:
        shown |= {"end": "rejected", "status": None, "error": "answered 403"}
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "rejected": ("execute_complete", {"event": event}),
        "trigger failed": ("__fail__", {"error": "no such trigger"}),
    }
    with pytest.raises(Exception) as raised:  # noqa: PT011
        operator(payloads=[]).resume_execution(*ways[end], context_of(ti))
    said = [str(raised.value)] if end == "rejected" else log.of("error")
    assert [text for text in said if "may still be running" in text and tag in text]


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


def test_completed_runs_that_an_event_only_counts_are_those_in_xcom(ti, completed) -> None:
    run_ids = completed(2)
    event = {"runs": [], "completed": 2, "try_number": 1}
    for pushed in (run_ids, tuple(run_ids), json.dumps(run_ids)):  # backends return what they like
        ti.xcom_push(key="run_id", value=pushed)
        assert operator(payloads=[]).execute_complete(context_of(ti), event) == [1, 2]
    for pushed in (None, run_ids[:1], [{"id": 1}], "[run_1"):
        ti.xcom_push(key="run_id", value=pushed)
        with pytest.raises(ValueError, match="2 runs completed, but of the runs in XCom"):
            operator(payloads=[]).execute_complete(context_of(ti), event)


def test_an_event_has_statuses_only_and_the_errors_are_fetched(connection: str, server, ti, sent) -> None:
    run = server.add_run("FAILED")
    with pytest.raises(AirflowException, match="1 of 1 runs did not complete: item 0: Run run_"):
        operator(payloads=[]).execute_complete(context_of(ti), event_of(server))
    assert sent() == ["retrieve", "events"]
    assert ti.pushed["results"][0]["run_id"] == run.id


# Ended by Airflow


def test_stopped_while_it_starts_it_sends_nothing_more_and_pushes_what_is_known(
    execute, endless, in_signal_handler, ti
) -> None:
    made = operator(payloads=list(range(60)))
    endless.delay_next(1, 0.3, path="/tasks/batch")
    in_signal_handler(lambda: bool(endless.runs), made.on_kill)
    with pytest.raises(AirflowException, match=r"as far as known: run_.* and 10 more"):
        execute(made)
    assert (len(endless.runs), statuses(endless)) == (20, {"CANCELED"})
    assert ti.pushed["run_id"] == [*endless.runs, *[None] * 40]


def test_ended_in_a_retry_it_cancels_only_the_runs_that_are_alive(
    connection: str, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on_task("resize", times=1, start_after=0, after=0)
    server.on_task("resize", after=None)
    made = operator(payloads=[1, 2])
    operator(payloads=[1, 2], wait_for_completion=False).execute(context_of(TaskInstance()))
    first, second = server.runs.values()
    until(lambda: first.status == "COMPLETED", "the first has completed")

    def end(*_: Any) -> None:
        raise SystemExit("a timeout")

    monkeypatch.setattr(made, "_wait", end)
    with pytest.raises(SystemExit, match="a timeout"):
        made.execute(context_of(TaskInstance(try_number=2)))
    assert (first.cancel_requests, second.cancel_requests) == (0, 1)

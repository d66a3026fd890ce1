"""A task that starts a run for each item of a list gets their outputs, whatever happens on the way."""

from __future__ import annotations

import pytest
from run_operator import batch
from waiting import LONG

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.run import sending
from airflow_provider_trigger.testing import TriggerDevServer

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])


def double(payload):
    return payload * 2


def fail_odd(payload):
    if payload % 2:
        raise ValueError(f"{payload} is odd")
    return payload * 10


def statuses(server):
    return [run.status for run in server.runs.values()]


# Outputs


@WAYS
@pytest.mark.parametrize("count", [1, 20, 45])
def test_outputs_come_in_the_order_of_the_items(deferrable, count, server, run_try, posts):
    server.on_task("resize", output=double)
    ended = run_try(batch(payloads=list(range(count)), deferrable=deferrable, poll_interval=None))
    assert (ended.error, ended.output) == (None, [2 * number for number in range(count)])
    assert len(posts()) == -(-count // 20)
    ids = ended.pushed["run_id"]
    assert [server.runs[run_id].payload for run_id in ids] == list(range(count))
    assert ended.pushed["run_url"].endswith(f"/runs/{ids[0]}")
    results = ended.pushed["results"]
    assert [(one["run_id"], one["status"], one["error"]) for one in results] == [
        (run_id, "COMPLETED", None) for run_id in ids
    ]
    assert all(one["attempts"] == 1 and one["compute_seconds"] == 0.12 for one in results)


def test_an_output_that_is_missing_is_none(server, run_try, said):
    server.on_task("resize", output=lambda payload: payload or "")
    ended = run_try(batch(payloads=["a", "", "b"]))
    assert ended.output == ["a", None, "b"]
    assert said.lines("1 run without an output: ", ended.pushed["run_id"][1])


@WAYS
def test_outputs_that_are_too_large_together_become_references(deferrable, server, run_try, said):
    server.on_task("resize", output=lambda payload: "x" * payload)
    ended = run_try(batch(payloads=[100, 200, 300], max_output_size=500, deferrable=deferrable))
    ids = ended.pushed["run_id"]
    sizes = [102, 202, 302]
    assert ended.output == [
        {"run_id": one, "output_size": size} for one, size in zip(ids, sizes, strict=True)
    ]
    assert said.lines("The outputs of 3 runs together are more than max_output_size=500")


def test_large_outputs_are_fetched_from_the_object_store(server, run_try):
    server.on_task("resize", output=lambda payload: [payload] * 50_000)
    ended = run_try(batch(payloads=[1, 2], max_output_size=10**6))
    assert ended.output == [[1] * 50_000, [2] * 50_000]


# What is given


def test_a_mapped_tasks_outputs_and_templates_are_lists_of_payloads(server, run_tasks):
    server.on_task("resize", output=double)
    result = run_tasks("""
        @task
        def one(number):
            return number

        @task
        def several():
            return [5, 6]

        options = {"task_identifier": "resize", "poll_interval": 0.1}
        given = several()
        numbers = one.expand(number=[1, 2, 3])
        RunTriggerTaskBatchOperator(task_id="mapped", payloads=numbers, **options)
        RunTriggerTaskBatchOperator(task_id="output", payloads=given, **options)
        template = "{{ ti.xcom_pull(task_ids='several') }}"
        text = RunTriggerTaskBatchOperator(task_id="text", payloads=template, **options)
        mapped = RunTriggerTaskBatchOperator.partial(task_id="batches", **options)
        mapped.expand(payloads=[[1], [2, 3], []])
        given >> text
    """)
    assert result.state == "success"
    assert result.xcoms | {"batches": 0} == result.xcoms | {
        "mapped": [2, 4, 6],
        "output": [10, 12],
        "text": [10, 12],
        "batches": 0,
    }
    assert result.pushed["batches", "return_value"] == [[2], [4, 6], []]
    assert len(server.runs) == 10


# Answers that are lost, or of another server


@pytest.mark.parametrize("fault", ["disconnect", "hang"])
def test_a_lost_answer_makes_one_run_for_each_item(fault, server, connect, run_try, posts):
    connect(timeout=0.5, retry_for=LONG)
    server.on_task("resize", output=double)
    getattr(server, f"{fault}_next")(2, path="/tasks/batch", after_handling=True)
    ended = run_try(batch(payloads=list(range(45))))
    assert (ended.error, len(server.runs)) == (None, 45)
    assert len(posts()) >= 5
    assert ended.output == [2 * number for number in range(45)]


def test_while_the_server_does_not_show_the_ids_no_item_that_fails_starts_again(
    server, run_try, posts, monkeypatch
):
    for name in ("_TIME_FOR_IDS", "_FIRST_PAUSE"):  # so that it would be requested again for each
        monkeypatch.setattr(sending, name, 0.5)
    server.on_task("resize", error="boom", after=0)
    server.fail_next(3, 503, path="/api/v2/batches/")
    ended = run_try(batch(payloads=[1, 2]))
    assert "2 of 2 runs did not complete" in str(ended.error)
    assert (len(server.runs), len(posts())) == (2, 1)


def test_a_server_without_batches_starts_each_run_by_itself(run_try, connect, posts, triggered):
    with TriggerDevServer(batch=False) as server:
        connect(host=server.url, retry_for=LONG)
        server.on_task("resize", output=double)
        ended = run_try(batch(payloads=[1, 2, 3]))
        assert (ended.error, ended.output) == (None, [2, 4, 6])
        assert [request.path.rpartition("/")[2] for request in server.requests[:4]] == [
            "batch",
            *["trigger"] * 3,
        ]
        again = run_try(batch(payloads=[1, 2, 3]), try_number=2)
        assert (again.output, len(server.runs)) == ([2, 4, 6], 3)


def test_an_item_that_is_too_large_for_a_batch_starts_by_itself(server, run_try, posts, triggered):
    server.on_task("resize", output=len)
    ended = run_try(batch(payloads=["a", "b" * 510_000, *["c" * 200_000] * 3]))
    assert ended.output == [1, 510_000, *[200_000] * 3]
    assert (len(posts()), len(triggered())) == (3, 1)
    assert all(len(request.body) < 512_000 for request in posts())


# Runs that fail


@WAYS
def test_any_failure_fails_the_task_once_all_have_ended(deferrable, server, run_try):
    server.on_task("resize", output=fail_odd)
    ended = run_try(batch(payloads=[0, 1, 2, 3], deferrable=deferrable))
    ids = ended.pushed["run_id"]
    assert isinstance(ended.error, AirflowException)
    assert not isinstance(ended.error, AirflowFailException)
    text = str(ended.error)
    assert text.startswith(f"2 of 4 runs did not complete: item 1: Run {ids[1]} of Trigger.dev task 'resize'")
    assert "ValueError: 1 is odd" in text
    assert f"item 3: Run {ids[3]}" in text
    assert statuses(server) == ["COMPLETED", "FAILED"] * 2
    assert [result["error"] for result in ended.pushed["results"]] == [
        None,
        "ValueError: 1 is odd",
        None,
        "ValueError: 3 is odd",
    ]
    # Two checks of each while it waits, at most; then only what has failed is checked.
    checks = [request.path.rpartition("/")[2] for request in server.requests if "/v3/runs/" in request.path]
    assert checks[-2:] == [ids[1], ids[3]] or checks[-2:] == [ids[3], ids[1]]


@WAYS
@pytest.mark.parametrize(
    ("fail_on", "payloads", "output"),
    [
        ("all", [1, 2, 3], [None, 20, None]),
        ("never", [1, 3], [None, None]),
        ("all", [1, 3], AirflowException),
    ],
)
def test_whether_failures_count_is_said_by_fail_on(deferrable, fail_on, payloads, output, server, run_try):
    server.on_task("resize", output=fail_odd)
    ended = run_try(batch(payloads=payloads, fail_on=fail_on, deferrable=deferrable))
    assert ended.output == output if isinstance(output, list) else isinstance(ended.error, output)
    assert len(ended.pushed["results"]) == len(payloads)


def test_a_failure_that_no_retry_cures_fails_for_good(server, run_try):
    server.on_task("resize", error="boom")
    ended = run_try(batch(payloads=[1, 2], retry_statuses=["CRASHED"]))
    assert isinstance(ended.error, AirflowFailException)


@WAYS
def test_many_others_are_canceled_in_bulk(deferrable, server, run_try):
    server.bulk_duration = 0.05
    server.on_task("resize", error="boom", after=0.5, times=1)
    server.on_task("resize", after=None)
    ended = run_try(batch(payloads=list(range(120)), cancel_others=True, deferrable=deferrable))
    assert "119 others were canceled, as one had failed (cancel_others=True)" in str(ended.error)
    assert statuses(server) == ["FAILED", *["CANCELED"] * 119]
    assert [action.counts for action in server.bulk.values()] == [
        {"total": 119, "success": 119, "failure": 0}
    ]
    assert sum(run.cancel_requests for run in server.runs.values()) == 0


@WAYS
def test_after_the_timeout_many_are_canceled_with_few_requests(deferrable, server, run_try):
    server.bulk_duration = 0.5
    server.on_task("resize", after=None)
    ended = run_try(batch(payloads=list(range(200)), timeout=6, poll_interval=None, deferrable=deferrable))
    assert statuses(server) == ["CANCELED"] * 200
    assert "200 of 200 runs did not complete" in str(ended.error)
    assert {(one["status"], one["error"].count("It was canceled")) for one in ended.pushed["results"]} == {
        ("CANCELED", 1)
    }
    paths = [request.path for request in server.requests]
    assert sum(path.endswith("/cancel") for path in paths) <= 20
    assert sum(path.startswith("/api/v3/runs/") for path in paths) <= 60


def test_it_is_one_of_the_operators_that_start_runs(server, run_tasks):
    """So a cancel of its runs needs its task id only."""
    server.on_task("resize", after=None)
    result = run_tasks("""
        start = RunTriggerTaskBatchOperator(
            task_id="start", task_identifier="resize", payloads=[1, 2, 3], wait_for_completion=False
        )
        start >> CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start")
    """)
    assert result.state == "success"
    assert statuses(server) == ["CANCELED"] * 3

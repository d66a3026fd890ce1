"""A task that starts a run for each item of a list gets their outputs, whatever happens on the way."""

from __future__ import annotations

import pytest
from run_operator import batch
from waiting import LONG

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])


def double(payload):
    return payload * 2


def statuses(server):
    return [run.status for run in server.runs.values()]


@WAYS
@pytest.mark.parametrize("count", [1, 45])
def test_outputs_come_in_the_order_of_the_items(deferrable, count, server, run_try, posts):
    server.on_task("resize", output=double)
    ended = run_try(batch(payloads=list(range(count)), deferrable=deferrable, poll_interval=None))
    assert (ended.error, ended.output) == (None, [2 * number for number in range(count)])
    assert len(posts()) == (0 if count == 1 else -(-count // 20))  # a single one needs no batch
    ids = ended.pushed["run_id"]
    assert [server.runs[run_id].payload for run_id in ids] == list(range(count))
    assert ended.pushed["run_url"].endswith(f"/runs/{ids[0]}")
    results = ended.pushed["results"]
    assert [(one["run_id"], one["status"], one["error"]) for one in results] == [
        (run_id, "COMPLETED", None) for run_id in ids
    ]


def test_payloads_come_from_mapped_tasks_outputs_and_templates_and_runs_are_canceled_by_the_task_id(
    server, run_tasks
):
    server.on_task("resize", output=double)
    server.on_task("endless", after=None)
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
        given >> RunTriggerTaskBatchOperator(task_id="text", payloads=template, **options)
        mapped = RunTriggerTaskBatchOperator.partial(task_id="batches", **options)
        mapped.expand(payloads=[[1], [2, 3], []])
        left = RunTriggerTaskBatchOperator(
            task_id="left", task_identifier="endless", payloads=[1, 2, 3], wait_for_completion=False
        )
        left >> CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="left")
    """)
    assert result.state == "success"
    outputs = {task_id: result.xcoms[task_id] for task_id in ("mapped", "output", "text")}
    assert outputs == {"mapped": [2, 4, 6], "output": [10, 12], "text": [10, 12]}
    assert result.pushed["batches", "return_value"] == [[2], [4, 6], []]
    assert [run.status for run in server.runs.values() if run.task_identifier == "endless"] == [
        "CANCELED"
    ] * 3
    assert len(server.runs) == 10 + 3


@pytest.mark.parametrize("fault", ["disconnect", "hang"])
def test_a_lost_answer_makes_one_run_for_each_item(fault, server, connect, run_try, posts):
    connect(timeout=0.5, retry_for=LONG)
    server.on_task("resize", output=double)
    getattr(server, f"{fault}_next")(2, path="/tasks/batch", after_handling=True)
    ended = run_try(batch(payloads=list(range(45))))
    assert (ended.error, len(server.runs)) == (None, 45)
    assert len(posts()) >= 5
    assert ended.output == [2 * number for number in range(45)]


def test_an_item_that_is_too_large_for_a_batch_starts_by_itself(server, run_try, posts, triggered):
    server.on_task("resize", output=len)
    ended = run_try(batch(payloads=["a", "b" * 510_000, *["c" * 200_000] * 3]))
    assert ended.output == [1, 510_000, *[200_000] * 3]
    assert (len(posts()), len(triggered())) == (1, 3)
    assert all(len(request.body) < 512_000 for request in posts())


@WAYS
def test_the_first_failure_cancels_all_others_where_that_is_wanted(deferrable, server, run_try):
    server.bulk_duration = 0.05
    server.on_task("resize", error="boom", after=0.5, times=1)
    server.on_task("resize", after=None)
    ended = run_try(batch(payloads=list(range(120)), cancel_others=True, deferrable=deferrable))
    assert "119 others were canceled, as one had failed (cancel_others=True)" in str(ended.error)
    assert statuses(server) == ["FAILED", *["CANCELED"] * 119]


@WAYS
def test_after_the_timeout_all_are_canceled(deferrable, server, run_try):
    server.bulk_duration = 0.5
    server.on_task("resize", after=None)
    ended = run_try(batch(payloads=list(range(200)), timeout=6, poll_interval=None, deferrable=deferrable))
    assert statuses(server) == ["CANCELED"] * 200
    assert "200 of 200 runs did not complete" in str(ended.error)
    assert {(one["status"], one["error"].count("It was canceled")) for one in ended.pushed["results"]} == {
        ("CANCELED", 1)
    }


# The next try


@WAYS
@pytest.mark.parametrize("is_cleared", [False, True], ids=["retried", "cleared"])
def test_the_next_try_starts_only_what_has_failed(deferrable, is_cleared, server, run_try, said):
    def made():
        return batch(payloads=[1, 2, 3], reuse_completed=is_cleared, deferrable=deferrable)

    server.on_task("resize", error="boom", times=1)
    server.on_task("resize", output=double)
    first = run_try(made(), max_tries=0 if is_cleared else 2)
    assert "1 of 3 runs did not complete: item " in str(first.error)
    again = run_try(made(), try_number=2, max_tries=1 if is_cleared else 2)
    assert (again.error, again.output, len(server.runs)) == (None, [2, 4, 6], 4)
    assert len(set(first.pushed["run_id"]) & set(again.pushed["run_id"])) == 2
    assert said.lines("Runs of 3 items: 2 completed before and reused, 0 found alive and taken up, 1 started")


def test_a_list_in_another_order_gets_no_other_items_outputs(server, run_try, said):
    server.on_task("resize", after=None, times=3)
    server.on_task("resize", output=double)
    first = run_try(batch(payloads=[1, 2, 3], wait_for_completion=False))
    again = run_try(batch(payloads=[3, 2, 1], timeout=3), try_number=2)
    # The second item is the same: it was taken up, and never ends.
    assert "1 of 3 runs did not complete: item 1: " in str(again.error)
    assert [server.runs[one].payload for one in again.pushed["run_id"]] == [3, 2, 1]
    assert again.pushed["run_id"][1] == first.output[1]
    assert statuses(server)[:3] == ["CANCELED"] * 3
    assert [result["status"] for result in again.pushed["results"]] == ["COMPLETED", "CANCELED", "COMPLETED"]
    assert said.lines("Canceling 2 runs of an earlier try, from before a clear or for what this one ")

"""A task that starts a run for each item of a list gets their outputs, whatever happens on the way."""

from __future__ import annotations

from run_operator import batch


def double(payload):
    return payload * 2


def test_payloads_come_from_tasks_and_templates_and_a_task_id_cancels_their_runs(server, run_tasks):
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


def test_an_item_that_is_too_large_for_a_batch_starts_by_itself(server, run_try):
    server.on_task("resize", output=len)
    ended = run_try(batch(payloads=["a", "b" * 510_000, *["c" * 200_000] * 3]))
    assert ended.output == [1, 510_000, *[200_000] * 3]
    sent = [request for request in server.requests if request.method == "POST"]
    assert [request.path for request in sent].count("/api/v2/tasks/batch") == 1
    assert (len(sent), all(len(request.body) < 512_000 for request in sent)) == (4, True)

"""The operator cancels the runs of tags and batches, and no others."""

from __future__ import annotations

import pytest


@pytest.fixture
def start_batch(server, send):
    """Start a batch of runs that stay alive; return its id."""
    server.on_task("resize", after=None)

    def start(count, **options):
        body = {"items": [{"task": "resize", "options": options}] * count}
        return send("POST", "/api/v2/tasks/batch", json=body).json()["id"]

    return start


def test_batches_come_from_a_mapped_task_and_a_template_that_finds_nothing_cancels_nothing_else(
    server, start_batch, run_tasks, said
):
    first, second, other = start_batch(1), start_batch(1), start_batch(1)
    *members, left = server.runs.values()
    named, none = server.add_run("EXECUTING"), server.add_run("EXECUTING", tags=["None"])
    result = run_tasks(
        f"""
        @task
        def start(batch):
            return batch

        CancelTriggerRunOperator(task_id="mapped", batch_ids=start.expand(batch=["{first}", "{second}"]))
        CancelTriggerRunOperator(
            task_id="nothing", run_ids="{named.id}", tags=["{{{{ params.get('tag') }}}}"], retries=2
        )
        """
    )
    assert [one["run_id"] for one in result.xcoms["mapped"]] == [run.id for run in members]
    assert (left.status, other) == ("EXECUTING", left.batch_id)
    assert (result.states["nothing"], result.tries["nothing"]) == (["failed"], [1])
    assert said.lines("tags must not be 'None': a template that finds nothing, or a mapped")
    assert (named.status, none.status) == ("CANCELED", "EXECUTING")

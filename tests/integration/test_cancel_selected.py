"""The operator cancels the runs of tags and batches, and no others."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def start_batch(server, send):
    """Start a batch of runs that stay alive; return its id."""
    server.on_task("resize", after=None)

    def start(count, **options):
        body = {"items": [{"task": "resize", "options": options}] * count}
        return send("POST", "/api/v2/tasks/batch", json=body).json()["id"]

    return start


def canceled(server) -> set[str]:
    return {run.id for run in list(server.runs.values()) if run.status == "CANCELED"}


def test_of_many_runs_exactly_those_of_all_tags_are_canceled_also_those_that_the_list_shows_late(
    connect, cancel, meanwhile, said
):
    with TriggerDevServer(rate_limit=None) as server:
        connect(host=server.url)
        tagged = {server.add_run("QUEUED", tags=["etl", "nightly"]).id for _ in range(400)}
        for tags in (["etl"], ["nightly"], ["etl", "Nightly"], ["etl,nightly"], []):
            for _ in range(20):
                server.add_run("QUEUED", tags=tags)

        def add() -> None:
            tagged.update(server.add_run("QUEUED", tags=["nightly", "etl"]).id for _ in range(50))

        meanwhile(lambda: canceled(server), add)
        result = cancel(tags=["nightly", "etl"], max_runs=2000)
        assert result.error is None
        assert canceled(server) == {one["run_id"] for one in result.results} == tagged
        assert result.outcomes == ["canceled"] * 450
        assert said.lines("Found 400 runs alive by tags=['nightly', 'etl']")


def test_given_runs_are_canceled_before_a_search_that_is_not_answered_and_a_stop_ends_it(
    server, make_operator, execute, meanwhile
):
    named = server.add_run("EXECUTING")
    server.hang_next(path="/api/v1/runs?")
    operator = make_operator(named.id, tags="a")
    meanwhile(lambda: named.status == "CANCELED" and not server.pending_faults, operator.on_kill)
    result = execute(operator)
    assert [one["run_id"] for one in result.results] == [named.id]
    assert "Airflow stopped the task before its work was done" in str(result.error)
    assert "tags=['a']: not all runs were searched, as the task was stopped" in str(result.error)


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
    assert said.lines("'None' from tags is not a valid tag: a template that finds nothing renders to this")
    assert (named.status, none.status) == ("CANCELED", "EXECUTING")

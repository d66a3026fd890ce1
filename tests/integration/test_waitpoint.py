"""Waitpoint tokens in tasks that Airflow executes: mapped ones, in loops; no log has their secret."""

from __future__ import annotations

import pytest
from airflow import __version__

IMPORTS = """
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator, CreateWaitpointTokenOperator
)
"""
MAPPED = """
made = CreateWaitpointTokenOperator.partial(task_id="make", tags=["a"]).expand(timeout=["5m", 600, None])
CompleteWaitpointTokenOperator(task_id="one", token_ids=made.output["id"], data=["{{ task.task_id }}"])
CompleteWaitpointTokenOperator(task_id="again", token_ids=made.output, data=1)
CompleteWaitpointTokenOperator(task_id="text", xcom_task_ids="make", xcom_key="url")
CompleteWaitpointTokenOperator.partial(task_id="each").expand(token_ids=made.output)
"""


def rendered_fields():
    """Return what Airflow shows of the arguments of its task instances."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    with create_session() as session:
        shown = str([row.rendered_fields for row in session.query(RenderedTaskInstanceFields)])
    assert "'timeout': '5m'" in shown
    return shown


def test_mapped_tasks_have_a_token_each_and_their_secrets_are_in_no_log(server, run_tasks, said):
    chain = "[made] >> " + " >> ".join(
        f'made.dag.get_task("{name}")' for name in ("one", "again", "text", "each")
    )
    result = run_tasks(IMPORTS + MAPPED + chain)
    tokens = list(server.tokens.values())
    assert (result.state, len(tokens)) == ("success", 3)
    assert [token.output for token in tokens] == [["one"]] * 3
    assert sorted(result.pushed["make", "id"]) == sorted(server.tokens)
    assert sorted(result.pushed["make", "url"]) == sorted(token.url for token in tokens)
    for name, outcome in (
        ("one", "completed"),
        ("again", "already_completed"),
        ("text", "already_completed"),
    ):
        assert [one["outcome"] for one in result.xcoms[name]] == [outcome] * 3
    assert said.lines("Created waitpoint token ")
    shown = f"{said.text}{rendered_fields()}"
    assert [token.id for token in tokens if token.path.rpartition("/")[2] in shown] == []


@pytest.mark.skipif(
    tuple(map(int, __version__.split(".")[:2])) < (3, 4), reason="this Airflow has no task loops"
)
def test_each_iteration_of_a_loop_has_its_own_tokens(server, run_tasks):
    body = """
from airflow.sdk import task_group

@task_group
def again():
    made = CreateWaitpointTokenOperator(task_id="make")
    mapped = CreateWaitpointTokenOperator.partial(task_id="mapped").expand(timeout=[60, 70])
    complete = CompleteWaitpointTokenOperator(task_id="complete", token_ids=made.output["id"], data=1)
    made >> mapped >> complete

again.loop(max_iterations=3)
"""
    result = run_tasks(IMPORTS + body)
    assert (result.state, len(server.tokens)) == ("success", 9)
    found = [token_id for name in ("again.make", "again.mapped") for token_id in result.pushed[name, "id"]]
    assert sorted(found) == sorted(server.tokens)
    assert [token.status for token in server.tokens.values()].count("COMPLETED") == 3

"""Arguments in a real Dag run: outputs of mapped tasks, templates and durations."""

from __future__ import annotations

import pytest
from airflow_names import IS_AIRFLOW_2

MAPPED = """
from datetime import timedelta

common = {"task_identifier": "echo", "poll_interval": timedelta(seconds=0.1), "timeout": "1h"}
many = RunTriggerTaskOperator.partial(task_id="many", **common).expand(payload=[{"n": 1}, {"n": 2}])
template = {"a": "{{ ti.xcom_pull('many') }}"}
many >> RunTriggerTaskOperator(task_id="last", payload=template, retries=1, **common)
"""
ITEMS = [{"n": 1}, {"n": 2}]


@pytest.fixture
def echo(server):
    server.on_task("echo", output=lambda payload: payload, start_after=0, after=0.05)
    return server


def test_the_outputs_of_a_mapped_task_are_lists_wherever_they_are_given(echo, run_tasks, said):
    result = run_tasks(
        MAPPED
        + """
@task
def tag(name):
    return name

RunTriggerTaskOperator(task_id="whole", payload=many.output, **common)
RunTriggerTaskOperator(
    task_id="inside",
    payload={"a": [many.output, 1], "b": many.output.map(lambda one: one["n"])},
    metadata={"m": many.output},
    tags=tag.expand(name=["x", "y"]),
    **common,
)
"""
    )
    assert result.xcoms["whole"] == ITEMS
    assert result.xcoms["inside"] == {"a": [ITEMS, 1], "b": [1, 2]}
    inside = echo.runs[result.pushed["inside", "run_id"][0]]
    assert inside.metadata == {"m": ITEMS}
    assert {"x", "y"} < set(inside.tags)
    assert "XCom not found" not in said.text
    if IS_AIRFLOW_2:
        assert (result.states["last"], result.tries["last"]) == (["failed"], [1])
        assert said.lines(
            "RunTriggerTaskOperator 'last': payload must not contain 'LazySelectSequence([2 items])'",
            "Give the task's .output in place of the template",
        )
    else:  # Airflow 3 gives the template a list, of which Jinja makes a text
        assert result.xcoms["last"] == {"a": str(ITEMS)}


def test_rendered_natively_a_template_is_a_list_and_a_text_without_one_stays_a_text(echo, run_tasks):
    result = run_tasks(
        MAPPED
        + """
RunTriggerTaskOperator.partial(task_id="text", concurrency_key="None", tags=["2026"], **common).expand(
    payload=["2026", "20261130.10"]
)
""",
        dag="render_template_as_native_obj=True",
    )
    assert result.xcoms["last"] == {"a": ITEMS}
    runs = [echo.runs[run_id] for run_id in result.pushed["text", "run_id"]]
    assert [run.payload for run in runs] == ["2026", "20261130.10"]
    assert {(run.options["concurrencyKey"], run.tags[0]) for run in runs} == {("None", "2026")}

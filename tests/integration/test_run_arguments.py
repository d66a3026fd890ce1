"""Arguments in a real Dag run: outputs of mapped tasks, templates, durations, and invalid values."""

from __future__ import annotations

import pytest
from airflow import __version__

MAPPED = """
many = RunTriggerTaskOperator.partial(
    task_id="many", task_identifier="echo", poll_interval=0.1
).expand(payload=[{"n": 1}, {"n": 2}])
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

arguments = {"task_identifier": "echo", "poll_interval": 0.1}
RunTriggerTaskOperator(task_id="whole", payload=many.output, **arguments)
RunTriggerTaskOperator(
    task_id="inside",
    payload={"a": [many.output, 1], "b": many.output.map(lambda one: one["n"])},
    metadata={"m": many.output},
    tags=tag.expand(name=["x", "y"]),
    **arguments,
)
"""
    )
    assert result.state == "success"
    assert result.xcoms["whole"] == ITEMS
    assert result.xcoms["inside"] == {"a": [ITEMS, 1], "b": [1, 2]}
    inside = echo.runs[result.pushed["inside", "run_id"][0]]
    assert inside.metadata == {"m": ITEMS}
    assert {"x", "y"} < set(inside.tags)
    assert "XCom not found" not in said.text


TEMPLATE = """
RunTriggerTaskOperator(
    task_id="last",
    task_identifier="echo",
    poll_interval=0.1,
    retries=1,
    payload={"a": "{{ ti.xcom_pull('many') }}"},
).set_upstream(many)
"""


def test_a_template_that_makes_no_list_of_a_mapped_tasks_outputs_says_what_to_write(echo, run_tasks, said):
    result = run_tasks(MAPPED + TEMPLATE)
    if __version__.startswith("2."):
        assert (result.states["last"], result.tries["last"]) == (["failed"], [1])
        assert said.lines(
            "RunTriggerTaskOperator 'last': payload must not contain 'LazySelectSequence([2 items])'",
            "Give the task's .output in place of the template",
        )
        assert len(echo.runs) == 2
    else:  # Airflow 3 gives the template a list, of which Jinja makes a text
        assert result.xcoms["last"] == {"a": str(ITEMS)}


def test_rendered_natively_such_a_template_is_a_list(echo, run_tasks):
    result = run_tasks(MAPPED + TEMPLATE, dag="render_template_as_native_obj=True")
    assert result.xcoms["last"] == {"a": ITEMS}


def test_rendered_natively_text_without_a_template_stays_text_of_mapped_tasks_too(echo, run_tasks):
    tasks = """
many = RunTriggerTaskOperator.partial(
    task_id="many", task_identifier="echo", poll_interval=0.1, concurrency_key="None", tags=["2026"]
).expand(payload=["2026", "20261130.10"])
"""
    run_tasks(tasks, dag="render_template_as_native_obj=True")
    assert {run.payload for run in echo.runs.values()} == {"2026", "20261130.10"}
    assert {run.options["concurrencyKey"] for run in echo.runs.values()} == {"None"}
    assert all(run.tags[0] == "2026" for run in echo.runs.values())


def test_a_template_that_finds_nothing_is_a_warning_that_names_it(echo, run_tasks, said):
    result = run_tasks("""
        RunTriggerTaskOperator(
            task_id="start",
            task_identifier="echo",
            poll_interval=0.1,
            payload={"a": ["{{ ti.xcom_pull('nothing') }}"], "b": "for {{ ti.xcom_pull('nothing') }}"},
            concurrency_key="{{ ti.xcom_pull('none') }}",
        )
    """)
    assert result.xcoms["start"] == {"a": ["None"], "b": "for None"}
    for task in ("nothing", "none"):
        assert said.lines(f"The template \"{{{{ ti.xcom_pull('{task}') }}}}\" rendered to the text 'None'")
    assert not said.lines("for {{", "rendered")


def test_durations_may_be_texts(echo, run_tasks):
    result = run_tasks("""
        from datetime import timedelta

        arguments = {"timeout": "1h", "poll_interval": timedelta(seconds=0.1)}
        arguments["pending_version_timeout"] = "5m"
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"start_{deferrable}",
                task_identifier="echo",
                payload=1,
                deferrable=deferrable,
                **arguments,
            )
            RunTriggerTaskOperator.partial(
                task_id=f"mapped_{deferrable}", task_identifier="echo", deferrable=deferrable, **arguments
            ).expand(payload=[1])
    """)
    assert result.state == "success"
    assert result.xcoms == {f"{kind}_{way}": 1 for kind in ("start", "mapped") for way in (False, True)}


def test_an_invalid_value_of_a_mapped_task_fails_it_without_retries(server, run_tasks, said):
    result = run_tasks("""
        arguments = {"task_identifier": "echo", "retries": 1}
        RunTriggerTaskOperator.partial(task_id="a", poll_interval="often", **arguments).expand(payload=[1])
        RunTriggerTaskOperator.partial(task_id="b", **arguments).expand(ttl=["soon", "later"])
        ReplayTriggerRunOperator.partial(task_id="c", timeout=-1, retries=1).expand(run_id=["run_1"])
    """)
    assert result.tries == {"a": [1], "b": [1, 1], "c": [1]}
    assert said.lines("RunTriggerTaskOperator 'a': poll_interval must be a duration of 0.01 s or more")
    assert said.lines("RunTriggerTaskOperator 'b': ttl must be a duration above 0")
    assert said.lines("ReplayTriggerRunOperator 'c': timeout must be a duration of 0.01 s or more")
    assert server.requests == []


def test_where_no_run_exists_yet_no_xcom_of_it_is_missed(server, run_tasks, said):
    server.fail_next(None, 403, path="/trigger")
    result = run_tasks("""
        RunTriggerTaskOperator(task_id="rejected", task_identifier="echo")
        RunTriggerTaskOperator(task_id="invalid", task_identifier="echo", ttl="{{ 'soon' }}")
        RunTriggerTaskOperator.partial(task_id="mapped", task_identifier="echo").expand(ttl=["soon"])
        CancelTriggerRunOperator(task_id="cancel", run_ids="{{ [] }}")
    """)
    assert result.state == "failed"
    assert result.states["cancel"] == ["success"]
    assert "XCom not found" not in said.text

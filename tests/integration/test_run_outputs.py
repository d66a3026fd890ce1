"""Start a run and wait for it, blocking and deferred, and what comes of its output."""

from __future__ import annotations

import json

import pytest

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run.output import OutputTooLargeError

WAYS = [False, True]  # deferrable

OUTPUTS = {
    "object": {"width": 100, "formats": ["png", "ü"]},
    "list": [],
    "text": "123",
    "json_text": '{"a": 1}',
    "zero": 0,
    "false": False,
    "half": ["half \ud83d"],
}
STORED = OUTPUTS | {"half": ["half \ufffd"]}

STARTS = """
for name in %r:
    for deferrable in (False, True):
        RunTriggerTaskOperator(
            task_id=f"{name}_{deferrable}", task_identifier=name, deferrable=deferrable, poll_interval=0.1
        )
"""


def test_a_task_returns_the_output_of_its_run(server, run_tasks, triggered):
    for name, output in OUTPUTS.items():
        server.on_task(name, output=output, start_after=0, after=0.05)
        server.on_task(f"{name}_by_url", output=output, output_by_url=True, start_after=0, after=0.05)
    result = run_tasks(STARTS % [name + by for name in OUTPUTS for by in ("", "_by_url")])
    assert result.state == "success"
    assert result.xcoms == {
        f"{name}{by}_{way}": output
        for name, output in STORED.items()
        for by in ("", "_by_url")
        for way in WAYS
    }
    assert len(triggered()) == len(server.runs) == 4 * len(OUTPUTS)
    fetched = [request for request in server.requests if request.path.startswith("/packets/")]
    assert len(fetched) == 2 * len(OUTPUTS)
    assert not any("authorization" in request.headers for request in fetched)


def test_the_id_and_the_page_of_a_run_are_in_xcom(server, run_tasks):
    server.on_task("resize", output=1)
    result = run_tasks(STARTS % ["resize"])
    pushed = [result.pushed[f"resize_{way}", "run_id"] for way in WAYS]
    assert {run_id for (run_id,) in pushed} == set(server.runs)
    for way, (run_id,) in zip(WAYS, pushed, strict=True):
        (url,) = result.pushed[f"resize_{way}", "run_url"]
        assert url.endswith(f"/runs/{run_id}")
        assert result.pushed[f"resize_{way}", "_link_TriggerRunLink"] == [url]


def test_a_run_without_an_output_returns_none(server, run_tasks, said):
    server.object_store = False
    server.on_task("silent")
    server.on_task("null", output=None)
    server.on_task("large", output="x" * 200_000)
    result = run_tasks(STARTS % ["silent", "null", "large"])
    assert result.state == "success"
    assert result.xcoms == {}  # Airflow stores no None
    # Of the one that returned null, this is known.
    assert len(said.lines("has no output: its task returned nothing", "no object store")) == 4


@pytest.mark.parametrize("output", [{"text": "ü" * 150_000}, "y" * 2_000_000], ids=["by_url", "huge"])
def test_a_large_output_is_a_reference_in_xcom_and_whole_for_the_hook(server, run_tasks, said, output):
    server.on_task("large", output=output)
    result = run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"large_{deferrable}",
                task_identifier="large",
                deferrable=deferrable,
                poll_interval=0.1,
                max_output_size=100_000,
            )
    """)
    size = len(json.dumps(output, ensure_ascii=False, separators=(",", ":")).encode())
    for way in WAYS:
        (run_id,) = result.pushed[f"large_{way}", "run_id"]
        assert result.xcoms[f"large_{way}"] == {"run_id": run_id, "output_size": size}
        assert said.lines(f"The output of run {run_id} has {size} bytes", "max_output_size=100000")
        assert TriggerDevHook().get_output(run_id) == output


def test_a_task_that_does_not_wait_returns_the_id_and_leaves_the_run_alone(server, run_tasks):
    server.on_task("endless", after=None)
    result = run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"start_{deferrable}",
                task_identifier="endless",
                wait_for_completion=False,
                deferrable=deferrable,
            )
    """)
    assert result.state == "success"
    assert {result.xcoms[f"start_{way}"] for way in WAYS} == set(server.runs)
    assert [run.cancel_requests for run in server.runs.values()] == [0, 0]


def test_each_instance_of_a_mapped_task_has_a_run_of_its_own(server, run_tasks):
    server.on_task("double", output=lambda payload: payload["n"] * 2, start_after=0)
    result = run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator.partial(
                task_id=f"double_{deferrable}",
                task_identifier="double",
                deferrable=deferrable,
                poll_interval=0.05,
                tags=["mapped"],
            ).expand(payload=[{"n": 1}, {"n": 2}, {"n": 3}])
    """)
    assert result.state == "success"
    for way in WAYS:
        assert result.pushed[f"double_{way}", "return_value"] == [2, 4, 6]
    pushed = [result.pushed[f"double_{way}", "run_id"] for way in WAYS]
    assert {*pushed[0], *pushed[1]} == set(server.runs)
    assert len(server.runs) == len({run.idempotency_key for run in server.runs.values()}) == 6
    for run in server.runs.values():
        assert len(run.tags) == 4


def test_templates_are_rendered_at_any_depth(server, run_tasks):
    server.on_task("echo", output=lambda payload: payload)
    result = run_tasks(
        """
        RunTriggerTaskOperator(
            task_id="start",
            task_identifier="{{ params.task }}",
            payload={"files": [{"name": "{{ params.name }}", "size": 3}], "{{ key }}": None},
            tags=["{{ params.name }}"],
            metadata={"by": "{{ dag.dag_id }}"},
            ttl="{{ params.ttl }}",
            poll_interval=0.1,
        )
        """,
        {"task": "echo", "name": "a.png", "ttl": "10m"},
    )
    (run,) = server.runs.values()
    assert result.xcoms["start"] == {"files": [{"name": "a.png", "size": 3}], "{{ key }}": None}
    assert ("a.png" in run.tags, run.metadata, run.ttl) == (True, {"by": result.dag_id}, "10m")


# Arguments that are valid until they are rendered.


def test_a_delayed_run_is_waited_for(server, run_tasks, said):
    server.on_task("later", output="late", start_after=0)
    result = run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"later_{deferrable}",
                task_identifier="later",
                delay="4s",  # longer than a slow machine needs to defer
                deferrable=deferrable,
                poll_interval=0.1,
            )
    """)
    assert result.xcoms == {"later_False": "late", "later_True": "late"}
    assert len(said.lines("is DELAYED")) == 2


def test_a_wait_without_an_interval_takes_few_requests(server, run_tasks):
    server.on_task("resize", output=1, start_after=0, after=3)
    run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"resize_{deferrable}", task_identifier="resize", deferrable=deferrable
            )
    """)
    for run in server.runs:
        waits = [one for one in server.requests if one.method == "GET" and one.path.endswith(run)]
        assert 2 <= len(waits) <= 4  # one of these is the deferred task's, once it resumes


def test_an_output_that_is_too_large_to_be_read_is_a_reference_in_xcom(server, run_tasks, said):
    size = 16 * 1024 * 1024 + 1
    server.on_task("huge", output="x" * size)
    result = run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"huge_{deferrable}", task_identifier="huge", deferrable=deferrable, poll_interval=0.1
            )
    """)
    assert result.state == "success"
    for way in WAYS:
        (run_id,) = result.pushed[f"huge_{way}", "run_id"]
        assert result.xcoms[f"huge_{way}"] == {"run_id": run_id, "output_size": size}
        assert said.lines(f"The output of run {run_id} has {size} bytes", "get_run", "output_url")
    with pytest.raises(OutputTooLargeError, match=f"The output of run {run_id} has .* 16 MB") as raised:
        TriggerDevHook().get_output(run_id)
    assert "check the host" not in str(raised.value)

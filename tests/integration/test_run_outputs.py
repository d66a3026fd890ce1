"""Start a run and wait for it, blocking and deferred, and what comes of its output."""

from __future__ import annotations

import json

import pytest

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

WAYS = [False, True]  # deferrable

OUTPUTS = {
    "object": {"width": 100, "formats": ["png", "ü"]},
    "json_text": '{"a": 1}',
    "zero": 0,
    "half": ["half \ud83d"],
}
STORED = OUTPUTS | {"half": ["half \ufffd"]}

STARTS = """
for name in %r:
    for deferrable in (False, True):
        RunTriggerTaskOperator(
            task_id=f"{name}_{deferrable}",
            task_identifier=name,
            deferrable=deferrable,
            poll_interval=0.1,
            max_output_size=100_000,
        )
"""


def test_a_task_returns_the_output_of_its_run_and_pushes_its_id_and_page(server, run_tasks, said):
    for name, output in OUTPUTS.items():
        server.on_task(name, output=output, start_after=0, after=0.05)
    server.on_task("by_url", output=OUTPUTS["object"], output_by_url=True)
    server.on_task("silent")
    result = run_tasks(STARTS % [*OUTPUTS, "by_url", "silent"])
    assert result.state == "success"
    expected = STORED | {"by_url": STORED["object"]}  # Airflow stores no None
    assert result.xcoms == {f"{name}_{way}": output for name, output in expected.items() for way in WAYS}
    assert len(said.lines("No output of ")) == 2
    pushed = [result.pushed[f"{name}_{way}", "run_id"] for name in [*expected, "silent"] for way in WAYS]
    assert sorted(run_id for (run_id,) in pushed) == sorted(server.runs)
    for way in WAYS:
        (run_id,), (url,) = (result.pushed[f"zero_{way}", key] for key in ("run_id", "run_url"))
        assert url.endswith(f"/runs/{run_id}")
        assert result.pushed[f"zero_{way}", "_link_TriggerRunLink"] == [url]
    fetched = [request for request in server.requests if request.path.startswith("/packets/")]
    assert len(fetched) == 2
    assert not any("authorization" in request.headers for request in fetched)


LARGE = {"by_url": {"text": "ü" * 150_000}, "huge": "y" * 2_000_000, "unreadable": "x" * (16 * 1024**2 + 1)}


def test_a_large_output_is_a_reference_in_xcom_and_whole_for_the_hook(server, run_tasks, said):
    for name, output in LARGE.items():
        server.on_task(name, output=output)
    result = run_tasks(STARTS % list(LARGE))
    assert result.state == "success"
    hook = TriggerDevHook()
    for name, output in LARGE.items():
        size = len(json.dumps(output, ensure_ascii=False, separators=(",", ":")).encode())
        what = ("get_run", "output_url") if name == "unreadable" else ("max_output_size=100000",)
        for way in WAYS:
            (run_id,) = result.pushed[f"{name}_{way}", "run_id"]
            shown = size if name != "unreadable" else size - 2  # it is stored as it is
            assert result.xcoms[f"{name}_{way}"] == {"run_id": run_id, "output_size": shown}
            assert said.lines(f"The output of run {run_id} has {shown} bytes", *what)
        if name != "unreadable":
            assert hook.get_output(run_id) == output
    with pytest.raises(TriggerDevError, match=f"The output of run {run_id} has .* 16 MB") as raised:
        hook.get_output(run_id)
    assert "check the host" not in str(raised.value)


KINDS = """
for deferrable in (False, True):
    common = {"deferrable": deferrable, "poll_interval": 0.05}
    RunTriggerTaskOperator(
        task_id=f"left_{deferrable}", task_identifier="endless", wait_for_completion=False, **common
    )
    RunTriggerTaskOperator.partial(
        task_id=f"double_{deferrable}", task_identifier="double", tags=["mapped"], **common
    ).expand(payload=[{"n": 1}, {"n": 2}, {"n": 3}])
    RunTriggerTaskOperator(  # longer than a slow machine needs to defer
        task_id=f"later_{deferrable}", task_identifier="later", delay="4s", **common
    )
    RunTriggerTaskOperator(task_id=f"slow_{deferrable}", task_identifier="slow", deferrable=deferrable)
RunTriggerTaskOperator(
    task_id="templates",
    task_identifier="{{ params.task }}",
    payload={"files": [{"name": "{{ params.name }}", "size": 3}], "{{ key }}": None},
    tags=["{{ params.name }}"],
    metadata={"by": "{{ dag.dag_id }}"},
    ttl="{{ params.ttl }}",
    poll_interval=0.1,
)
"""


def test_runs_are_left_alone_mapped_delayed_checked_seldom_and_made_of_templates(server, run_tasks, said):
    server.on_task("endless", after=None)
    server.on_task("double", output=lambda payload: payload["n"] * 2, start_after=0)
    server.on_task("later", output="late", start_after=0)
    server.on_task("slow", output=1, start_after=0, after=3)
    server.on_task("echo", output=lambda payload: payload)
    result = run_tasks(KINDS, {"task": "echo", "name": "a.png", "ttl": "10m"})
    assert result.state == "success"
    runs = {
        key: [server.runs[one] for one in ids] for key, ids in result.pushed.items() if key[1] == "run_id"
    }
    for way in WAYS:
        (left,) = runs[f"left_{way}", "run_id"]
        assert (result.xcoms[f"left_{way}"], left.cancel_requests) == (left.id, 0)
        assert result.pushed[f"double_{way}", "return_value"] == [2, 4, 6]
        assert result.xcoms[f"later_{way}"] == "late"
        (slow,) = runs[f"slow_{way}", "run_id"]
        checks = [one for one in server.requests if one.method == "GET" and one.path.endswith(slow.id)]
        assert 2 <= len(checks) <= 4  # one of these is the deferred task's, once it resumes
    mapped = [run for run in server.runs.values() if run.task_identifier == "double"]
    assert len(mapped) == len({run.idempotency_key for run in mapped}) == 6
    assert {len(run.tags) for run in mapped} == {4}
    assert len(said.lines("is DELAYED")) == 2
    assert result.xcoms["templates"] == {"files": [{"name": "a.png", "size": 3}], "{{ key }}": None}
    (run,) = runs["templates", "run_id"]
    assert ("a.png" in run.tags, run.metadata, run.ttl) == (True, {"by": result.dag_id}, "10m")

from __future__ import annotations

from pathlib import Path
from typing import Any

import airflow_has
import pytest
import requests
from airflow import __version__
from waiting import until

EXAMPLES = Path(__file__).parents[2] / "example_dags"

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def run_example(run_dag):
    """Run an example, with other texts in the place of some of its own."""

    def run(name, conf=None, *, changes=None, dag_id=None):
        source = (EXAMPLES / f"{name}.py").read_text()
        for old, new in (changes or {}).items():
            assert old in source
            source = source.replace(old, new)
        return run_dag(source, conf, dag_id=dag_id)

    return run


@pytest.mark.parametrize("name", ["cancel_at_the_end", "cancel_in_teardown", "cancel_mapped_runs"])
def test_operator_cancels_what_is_alive(name, server, run_example):
    alive, ended = server.add_run(status="EXECUTING"), server.add_run(status="COMPLETED")
    other = server.add_run(status="EXECUTING")
    result = run_example(name, {"run_ids": [alive.id, ended.id]})
    assert result.state == "success"
    assert server.runs[alive.id].status == "CANCELED"
    assert server.runs[ended.id].status == "COMPLETED"
    assert server.runs[other.id].status == "EXECUTING"


@pytest.mark.parametrize("name", ["cancel_on_task_failure", "cancel_on_dag_failure"])
def test_callback_cancels_what_is_alive(name, server, run_example):
    alive, other = server.add_run(status="EXECUTING"), server.add_run(status="EXECUTING")
    result = run_example(name, {"run_ids": [alive.id]})
    assert result.state == "failed"
    # Airflow 3.0.4 gives the callback of a Dag no params, so its template cannot be rendered.
    without_params = name == "cancel_on_dag_failure" and __version__ == "3.0.4"
    assert server.runs[alive.id].status == ("EXECUTING" if without_params else "CANCELED")
    assert server.runs[other.id].status == "EXECUTING"


def resized(payload):
    """Take the place of the Trigger.dev task ``resize-image``."""
    return {**payload, "bytes": 10 * payload["width"]}


PETS = [{"file": file, "width": 100, "bytes": 1000} for file in ("cat.png", "dog.png")]
# An example, its conf, and what one of its tasks returns.
OUTPUTS: dict[str, tuple[Any, str, Any]] = {
    "run_and_wait": ({"file": "owl.png"}, "publish", "resize-image returned owl.png"),
    "run_many_mapped": ({"files": ["a.png", "b.png"]}, "total", 200),
    "batch": ({"files": ["a.png", "b.png", "c.png"]}, "publish", 3),
    "fan_out_fan_in": ({}, "publish", {"album": "pets", "images": PETS}),
    "sensor": ({}, "use", "a model"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_runs_are_used(name, server, run_example):
    conf, task_id, value = OUTPUTS[name]
    server.on_task("resize-image", output=resized if name != "run_and_wait" else lambda given: given["file"])
    for task in ("check-images", "publish-album"):
        server.on_task(task, output=lambda payload: payload)
    server.on_task("train-model", output="a model", after=3)
    result = run_example(name, conf)
    assert (result.state, result.xcoms[task_id]) == ("success", value)
    assert {run.status for run in server.runs.values()} == {"COMPLETED"}


def test_some_of_the_runs_may_fail(server, run_example):
    server.on_task("resize-image", error="boom", times=1)
    server.on_task("resize-image", output=resized)
    result = run_example("batch_some_fail", changes={"retries=1": "retries=0"})
    assert (result.state, len(server.runs)) == ("success", 10)
    [run] = [run for run in server.runs.values() if run.status == "FAILED"]
    assert result.xcoms["name_failed"] == [f"{run.payload['file']}: Error: boom"]


def test_an_answer_by_an_address_is_used(server, run_example, meanwhile, said):
    answer = {"approved": True}
    meanwhile(
        lambda: [one for one in list(server.requests) if one.path.endswith(tuple(server.tokens) or ("-",))],
        lambda: requests.post(next(iter(server.tokens.values())).url, json=answer, timeout=10),
    )
    result = run_example("approval")
    assert (result.state, result.xcoms["wait"]) == ("success", answer)
    assert said.lines("ann@example.com is not asked")
    assert not [one for one in server.tokens.values() if one.path[-64:] in said.text]


def test_replay_is_a_new_run(server, run_example):
    server.on_task("resize-image", output=resized)
    original = server.add_run("FAILED", task_identifier="resize-image", payload={"width": 5})
    result = run_example("replay", {"run_id": original.id})
    assert result.state == "success"
    assert result.xcoms["replay"] == {"width": 5, "bytes": 50}
    assert original.status == "FAILED"


def test_the_event_of_an_asset_tells_another_dag_of_the_run(server, run_example):
    server.on_task("resize-image", output=resized)
    updated = run_example("asset_event", dag_id="asset_event")
    consumed = run_example("asset_event", dag_id="asset_event_consumer")
    (run,) = server.runs.values()
    assert (updated.state, consumed.state) == ("success", "success")
    assert consumed.xcoms["report"] == f"{run.id} has cost 0 cents: {server.url}/runs/{run.id}"


def test_a_run_that_waits_for_a_task_of_airflow_learns_of_its_failure(server, run_example):
    server.on_task("publish-album", waits_for_token=True)
    result = run_example("token", {"images": 0})
    ((run,), (token,)) = server.runs.values(), server.tokens.values()
    assert (result.state, token.output) == ("failed", {"failed": True, "dag": "token"})
    until(lambda: run.status == "COMPLETED", "the run has ended")
    assert run.output == token.output


AIRFLOW = tuple(map(int, __version__.split(".")[:2]))
INVALID = {"name": "ValidationError", "message": "width: expected number"}


@pytest.mark.parametrize(
    ("ends", "statuses"),
    [
        ([{"crash": "TASK_PROCESS_OOM_KILLED"}, {"output": 1}], ["CRASHED", "COMPLETED"]),
        ([{"error": INVALID}], ["FAILED"]),
    ],
    ids=["out of memory", "invalid"],
)
def test_a_policy_decides_by_the_error_of_the_run(ends, statuses, server, run_example):
    for end in ends:
        server.on_task("resize-image", times=1, **end)
    if AIRFLOW < (3, 3):
        with pytest.raises(KeyError, match="retry_policy"):  # it is imported without errors, and has no Dag
            run_example("retry_policy", dag_id="retry_policy")
        return
    if AIRFLOW >= (3, 4):
        server.fail_next(1, 422, path="/trigger")
    # All pauses pass in no time; the task itself would wait for five minutes.
    at_once = {f"timedelta({pause})": "timedelta(0)" for pause in ("hours=1", "minutes=10")}
    result = run_example("retry_policy", dag_id="retry_policy", changes=at_once)
    assert result.tries == {"resize": [len(statuses)]}
    assert [run.status for run in server.runs.values()] == statuses


def test_a_dag_of_watched_ends_that_is_run_by_hand_has_none(run_example):
    """What starts it is shown by a whole Airflow, in tests/e2e."""
    if not airflow_has.WATCHERS:
        with pytest.raises(KeyError, match="on_run_end"):  # it is imported without errors, and has no Dag
            run_example("on_run_end", dag_id="on_run_end")
        return
    result = run_example("on_run_end", dag_id="on_run_end")
    assert (result.state, result.xcoms["report"]) == ("success", [])


def test_notifier_without_arguments_cancels_what_the_dag_run_has_started(server, run_example):
    server.on_task("train-model", after=None)
    other, _ = server.trigger("train-model")
    result = run_example("cancel_on_failure")
    assert result.state == "failed"
    (run,) = [run for run in server.runs.values() if run is not other]
    # Airflow 3.0.4 does not tell the callback of a Dag when the Dag run started.
    assert run.status == ("EXECUTING" if __version__ == "3.0.4" else "CANCELED")
    assert other.status == "EXECUTING"


def test_what_is_given_by_hand_is_canceled(server, run_example):
    runs, other = [server.add_run("EXECUTING", tags=["order-17"]) for _ in range(2)], server.add_run()
    result = run_example("cancel_by_hand", {"tag": "order-17"})
    assert result.state == "success"
    assert [run.status for run in runs] == ["CANCELED"] * 2
    assert other.status == "EXECUTING"
    assert result.states["cancel_by_run_ids"] == result.states["cancel_by_batch_id"] == ["skipped"]


def test_by_hand_one_thing_is_to_be_given(server, run_example, said):
    alive = server.add_run("EXECUTING", tags=["eu"])
    result = run_example("cancel_by_hand", {"run_ids": ["run_1"], "tag": "eu"})
    assert (result.state, alive.status) == ("failed", "EXECUTING")
    assert said.lines("Give one of run_ids, tag, batch_id; given: run_ids, tag")


def test_what_other_mapped_tasks_started_is_canceled_when_one_fails(server, run_example):
    runs = [server.add_run() for _ in range(3)]
    start = "        return {"
    changes = {start: f"        assert item != {runs[1].id!r}\n{start}"}
    result = run_example("cancel_mapped_runs", {"run_ids": [run.id for run in runs]}, changes=changes)
    assert sorted(result.states["start"]) == ["failed", "success", "success"]
    assert [run.status for run in runs] == ["CANCELED", "EXECUTING", "CANCELED"]


def test_a_teardown_that_fails_is_not_hidden(server, run_example):
    run = server.add_run()
    server.fail_next(None, 403, path="/cancel")
    result = run_example("cancel_in_teardown", {"run_ids": [run.id]})
    assert (result.state, run.status) == ("failed", "EXECUTING")
    assert result.states["fail_if_cancel_failed"] == ["failed"]

"""What the operator takes, what it sends, and which run it takes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow_names import DAG
from fake_airflow import TaskInstance, context_of
from run_operator import batch
from run_operator import operator_in_worker as operator

from airflow_provider_trigger._compat import AirflowFailException, BaseOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

PLENTY = [f"tag {number}" for number in range(7)]


@pytest.fixture
def body(server) -> Callable[[], Any]:
    """Return what was sent to start the only run."""

    def read() -> Any:
        [request] = [one for one in server.requests if one.path.endswith("/trigger")]
        return json.loads(request.body)

    return read


# Arguments


def test_airflows_setting_decides_whether_it_defers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    made: Any = (
        RunTriggerTaskOperator(task_id="a", task_identifier="b"),
        TriggerRunSensor(task_id="c", run_ids="d"),
    )
    assert [one.deferrable for one in made] == [True, True]
    assert operator(deferrable=False).deferrable is False


# The queue: Trigger.dev's, and Airflow's


@pytest.mark.parametrize("is_mapped", [False, True])
@pytest.mark.parametrize(
    ("of_dag", "given", "run_queue", "queue"),
    [
        (None, None, None, "default"),
        (None, "video", "video", "default"),
        ("gpu", None, None, "gpu"),
        ("gpu", "video", "video", None),  # which one Airflow takes for itself is not the provider's
    ],
)
def test_a_queue_that_is_given_is_trigger_devs_and_one_in_default_args_is_airflows(
    is_mapped: bool, of_dag: str | None, given: str | None, run_queue: str | None, queue: str | None
) -> None:
    arguments: dict[str, Any] = {"task_id": "work", "task_identifier": "resize"}
    arguments |= {"queue": given} if given else {}
    with DAG("d", schedule=None, default_args={"queue": of_dag} if of_dag else {}):
        if is_mapped:
            mapped: Any = RunTriggerTaskOperator.partial(**arguments).expand(payload=[1])
            made = mapped.unmap({"payload": 1})
        else:
            made = RunTriggerTaskOperator(**arguments)
    assert (made.run_queue, queue or made.queue) == (run_queue, made.queue)


def test_the_queue_that_airflow_adds_to_the_arguments_of_a_mapped_task_is_its_own() -> None:
    # Up to Airflow 3.2 every mapped task has it (measured).
    made = operator(queue="default", _airflow_from_mapped=True)
    assert (made.run_queue, made.queue) == (None, "default")
    assert operator(queue="default").run_queue == "default"


# What is sent


def test_its_options_are_sent_in_the_apis_spelling(connection: str, body) -> None:
    made = operator(
        payload={"a": [1, None]},
        queue="video",
        concurrency_key={"default": "user 5"},
        delay=timedelta(minutes=90),
        ttl=600,
        tags=PLENTY,
        metadata={"b": True},
        max_attempts="3",
        max_duration=60,
        machine="small-2x",
        priority=2.5,
        region="eu-central-1",
        lock_to_version="20261125.1",
        extra_options={"externalDeploymentId": "commit-abc"},
        idempotency_key="order 17",
        idempotency_key_ttl=timedelta(hours=1),
        wait_for_completion=False,
    )
    made.execute(context_of(TaskInstance()))
    sent = body()
    tags = sent["options"].pop("tags")
    assert sent == {
        "payload": {"a": [1, None]},
        "options": {
            "queue": {"name": "video"},
            "concurrencyKey": {"default": "user 5"},
            "delay": "5400s",
            "ttl": 600,
            "metadata": {"b": True},
            "maxAttempts": 3,
            "maxDuration": 60,
            "machine": "small-2x",
            "priority": 2.5,
            "region": "eu-central-1",
            "lockToVersion": "20261125.1",
            "externalDeploymentId": "commit-abc",
            "idempotencyKey": "order 17",
            "idempotencyKeyTTL": "3600s",
        },
    }
    assert tags[:7] == PLENTY
    assert [tag.partition(":")[0] for tag in tags[7:]] == ["airflow_dag", "airflow_dag_run", "airflow_task"]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [({}, {"tags", "idempotencyKey"}), ({"idempotency_key": None}, {"tags"})],
    ids=["nothing", "no key"],
)
def test_what_is_not_given_is_not_sent(arguments, options: set[str], connection: str, body) -> None:
    operator(wait_for_completion=False, **arguments).execute(context_of(TaskInstance()))
    assert body().keys() == {"options"}
    assert body()["options"].keys() == options


def test_executed_by_hand_a_run_has_neither_key_nor_tags_of_ours(connection: str, body) -> None:
    empty: Any = {}
    assert operator(wait_for_completion=False, tags="mine").execute(empty).startswith("run_")
    assert body()["options"] == {"tags": ["mine"]}


@pytest.mark.parametrize("rendered", [None, "None"])
def test_a_template_of_a_key_that_is_empty_is_an_error(connection: str, sent, rendered: str | None) -> None:
    made = operator(idempotency_key="{{ params.order }}")
    made.idempotency_key = rendered
    with pytest.raises(AirflowFailException, match="idempotency_key must not be 'None': a template that "):
        made.execute(context_of(TaskInstance()))
    assert sent() == []


def test_a_template_that_renders_to_the_text_none_is_a_warning(connection: str, body, keep_log) -> None:
    log = keep_log(RunTriggerTaskOperator)
    payload = {"a": "{{ x }}", "b": "no {{x}}", "c": "None", "d": [" {{ x }} ", "{{ y }}", "{{ x }}{{ y }}"]}
    made = operator(payload=payload, queue="{{ x }}", tags=["{{ x }}"], wait_for_completion=False)
    values: Any = {"x": None, "y": "some"}
    made.render_template_fields(values)
    made.execute(context_of(TaskInstance()))
    end = " rendered to the text 'None': "
    shown = [text.partition(end)[:2] for text in log.of("warning")]
    assert sorted(shown) == [(f"The template {one!r}", end) for one in (" {{ x }} ", *["{{ x }}"] * 3)]
    assert "Starting a run of Trigger.dev task 'resize'" in log.of("info")
    rendered = {"a": "None", "b": "no None", "c": "None", "d": [" None ", "some", "Nonesome"]}
    assert body()["payload"] == rendered


# Another try


@pytest.mark.parametrize(
    ("arguments", "try_number"),
    [({}, 1), ({"idempotency_key": "mine"}, 2), ({"wait_for_completion": False}, 2)],
)
def test_who_looks_for_a_run_from_before(arguments, try_number: int, connection: str, sent) -> None:
    operator(**arguments).execute(context_of(TaskInstance(try_number=try_number, max_tries=1)))
    assert "list" not in sent()


@pytest.mark.parametrize("kind", ["run", "batch", "sensor"])
def test_executed_by_hand_it_waits_in_its_worker(kind: str, connection: str, server) -> None:
    server.on_task("resize", output="done", after=0.2)
    given = context_of(TaskInstance("outer"))
    given["task"] = BaseOperator(task_id="outer")  # Airflow could not resume it
    how: dict[str, Any] = {"task_id": "a", "deferrable": True, "poll_interval": 0.1}
    if kind == "run":
        assert operator(**how).execute(given) == "done"
    elif kind == "batch":
        assert batch(payloads=[1], **how).execute(given) == ["done"]
    else:
        run, _ = server.trigger("resize")
        made = TriggerRunSensor(run_ids=run.id, poke_interval=0.1, **how)
        assert made.execute(given) == [{"run_id": run.id, "status": "COMPLETED"}]


def test_a_copy_of_the_task_itself_is_not_executed_by_hand(connection: str, server) -> None:
    # Airflow 3.0 executes another object than that of the context.
    server.on_task("resize", output="first", times=1)
    for number in (1, 2):
        given = context_of(TaskInstance("a", try_number=number, max_tries=2))
        given["task"] = operator(task_id="a", retries=2)
        assert operator(task_id="a", payload=number).execute(given) == "first"
    assert len(server.runs) == 1

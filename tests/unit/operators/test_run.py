"""What the operator takes, what it sends, and which run it takes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_sequences import LazyOutputs, Outputs
from fake_airflow import TaskInstance, context_of
from run_operator import batch
from run_operator import operator_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowFailException, BaseOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

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
    assert RunTriggerTaskOperator(task_id="work", task_identifier="resize").deferrable is True
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
        idempotency_key="order 17",
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
            "idempotencyKey": "order 17",
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
def test_a_template_of_a_key_that_finds_nothing_is_an_error(
    connection: str, sent, rendered: str | None
) -> None:
    made = operator(idempotency_key="{{ params.order }}")
    made.idempotency_key = rendered
    with pytest.raises(AirflowFailException, match="idempotency_key must not be 'None': a template that "):
        made.execute(context_of(TaskInstance()))
    assert sent() == []


def test_a_template_that_renders_to_the_text_none_is_a_warning_that_names_the_template(
    connection: str, body, keep_log
) -> None:
    log = keep_log(RunTriggerTaskOperator)
    payload = {
        "a": "{{ x }}",
        "b": "no {{ x }}",
        "c": "None",
        "d": [" {{ x }} ", "{{ y }}", "{{ x }}{{ y }}"],
    }
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


# Airflow's enumerations are sequences of characters, too.
STATE: Any = StrEnum("State", {"SUCCESS": "success"}, module="airflow.utils.state")  # type: ignore[misc]


def test_the_outputs_of_mapped_tasks_are_lists_at_any_depth_and_nothing_else_is_changed(
    connection: str, body
) -> None:
    made = operator(payload="{{ x }}", tags="{{ x }}", wait_for_completion=False)
    same: list[Any] = [None, 5, "LazySelectSequence", "Lazy([2 items])", {"b": {}}]
    made.payload = {"a": Outputs(1, {"b": LazyOutputs(2)}), "c": (Outputs(LazyOutputs()),), "d": same}
    made.payload["e"], made.tags = STATE.SUCCESS, LazyOutputs("a", "b")
    made.execute(context_of(TaskInstance()))
    assert body()["payload"] == {"a": [1, {"b": [2]}], "c": [[[]]], "d": same, "e": "success"}
    assert body()["options"]["tags"][:2] == ["a", "b"]


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"a": "LazySelectSequence([2 items])"}, "LazySelectSequence([2 items])"),
        (["ids: LazySelectSequence([1 item])!"], "LazySelectSequence([1 item])"),
        ("LazyXComSequence(<unevaluated length>)", "LazyXComSequence(<unevaluated length>)"),
    ],
)
def test_the_name_of_a_python_object_in_place_of_outputs_fails_the_task_for_good(
    payload, name: str, connection: str, sent
) -> None:
    made = operator(payload="{{ ti.xcom_pull('process') }}")
    made.payload = payload
    with pytest.raises(AirflowFailException) as raised:
        made.execute(context_of(TaskInstance()))
    assert str(raised.value) == (
        f"RunTriggerTaskOperator 'work': payload must not contain {name!r}, which is what the template made "
        "of a mapped task's outputs. Give the task's .output in place of the template, or set "
        "render_template_as_native_obj=True on the Dag"
    )
    assert sent() == []


def test_a_long_word_in_a_payload_is_no_such_name(connection: str, server) -> None:
    word = f"Lazy{'X' * 40}Sequence([2 items])"
    operator(payload=word, wait_for_completion=False).execute(context_of(TaskInstance()))
    assert [run.payload for run in server.runs.values()] == [word]


def test_without_a_key_a_lost_answer_is_an_error_that_says_that_a_run_may_exist(
    connection: str, server, sent
) -> None:
    server.disconnect_next(after_handling=True)
    with pytest.raises(AirflowFailException, match="a run may exist") as raised:
        operator(idempotency_key=None).execute(context_of(TaskInstance()))
    assert connection in str(raised.value)
    assert sent() == ["trigger"]


# Another try


@pytest.fixture
def context() -> Callable[..., Any]:
    return lambda **ti: context_of(TaskInstance(**ti))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_retry_returns_the_output_of_the_run_that_completed(
    deferrable: bool, connection: str, server, context, sent
) -> None:
    server.on_task("resize", output="done", start_after=0, after=0)
    operator(wait_for_completion=False).execute(context())  # and then its process dies
    assert operator(deferrable=deferrable).execute(context(try_number=2)) == "done"
    assert len(server.runs) == 1
    assert sent()[-2:] == ["trigger", "retrieve"]


def test_a_retry_returns_the_output_of_a_run_that_completes_in_spite_of_its_cancel(
    connection: str, server, context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.checks.POLL_INTERVAL", 0.05)
    server.on_task("resize", output="late", start_after=0, after=None, completes_despite_cancel=True)
    made = operator(idempotency_key="mine", metadata={"rows": 3})
    made.wait_for_completion = False
    run = server.runs[made.execute(context())]
    until(lambda: run.status == "EXECUTING", "a worker has it")
    run.acknowledge_after = 0.5
    run.cancel()
    made.wait_for_completion, again = True, context(try_number=2, max_tries=1)
    assert (made.execute(again), len(server.runs)) == ("late", 1)
    assert again["ti"].pushed["run"]["metadata"] == {"rows": 3}


@pytest.mark.parametrize(
    ("arguments", "try_number"),
    [({}, 1), ({"idempotency_key": "mine"}, 2), ({"wait_for_completion": False}, 2)],
)
def test_only_a_retry_whose_run_is_its_task_instances_alone_looks_for_one_from_before(
    arguments, try_number: int, connection: str, context, sent
) -> None:
    operator(**arguments).execute(context(try_number=try_number, max_tries=1))
    assert "list" not in sent()


@pytest.mark.parametrize("task_id", ["outer", "a"])  # one is that of the task which executes them
def test_executed_by_hand_in_another_order_each_gets_its_own_run_again(
    task_id: str, connection: str, server, context
) -> None:
    server.on_task("resize", output=lambda payload: payload)

    def outputs(payloads: str, try_number: int) -> list[Any]:
        given = context(task_id=task_id, try_number=try_number, max_tries=2)
        given["task"] = SimpleNamespace(retries=2)
        return [operator(task_id="a", payload=payload).execute(given) for payload in payloads]

    assert outputs("AABC", 1) == list("AABC")
    assert outputs("CABA", 2) == list("CABA")
    assert len(server.runs) == 4  # equal ones are counted


@pytest.mark.parametrize("kind", ["run", "batch", "sensor"])
def test_executed_by_hand_it_waits_in_its_worker(kind: str, connection: str, server, context) -> None:
    server.on_task("resize", output="done", after=0.2)
    given = context(task_id="outer")
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


def test_a_copy_of_the_task_itself_is_not_executed_by_hand(connection: str, server, context) -> None:
    # Airflow 3.0 executes another object than that of the context.
    server.on_task("resize", output="first", times=1)
    for number in (1, 2):
        given = context(task_id="a", try_number=number, max_tries=2)
        given["task"] = operator(task_id="a", retries=2)
        assert operator(task_id="a", payload=number).execute(given) == "first"
    assert len(server.runs) == 1

"""What the operator takes, what it sends, and which run it takes up."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch
from run_operator import operator_in_worker as operator
from waiting import until

from airflow_provider_trigger._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run.identity import RunKey
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sources.context import task_instance_of
from airflow_provider_trigger.testing import TriggerDevServer

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


# What is imported


@pytest.fixture(scope="module")
def parsed(parse) -> set[str]:
    return set(
        parse(
            """
            from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
            from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
            options = dict(task_identifier="resize", tags=["a"], delay="1h", metadata={"a": 1})
            RunTriggerTaskOperator(task_id="t", payload={"a": ["{{ ds }}"]}, deferrable=True, **options)
            RunTriggerTaskOperator.partial(task_id="m", **options).expand(payload=[1, 2])
            ReplayTriggerRunOperator(task_id="r", run_id="run_1")
            """
        )
    )


def test_a_dags_parse_brings_no_client_and_no_trigger(parsed: set[str], heavy: set[str]) -> None:
    assert "airflow_provider_trigger.operators.run" in parsed
    assert not parsed & (heavy | {"airflow_provider_trigger.triggers.run", "asyncio"})
    assert not {name for name in parsed if ".testing" in name or ".cancel" in name}


# Arguments


def test_airflows_setting_decides_whether_it_defers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert RunTriggerTaskOperator(task_id="work", task_identifier="resize").deferrable is True
    assert operator(deferrable=False).deferrable is False


def test_its_arguments_but_those_of_the_wait_are_templated() -> None:
    options = ["concurrency_key", "delay", "ttl", "tags", "metadata", "max_attempts", "max_duration"]
    options += ["machine", "priority", "region", "lock_to_version", "idempotency_key", "trigger_dev_conn_id"]
    assert sorted(RunTriggerTaskOperator.template_fields) == sorted(
        ["task_identifier", "payload", "run_queue", *options]
    )
    assert RunTriggerTaskOperator.template_fields_renderers == {"payload": "json", "metadata": "json"}


def test_a_payload_is_rendered_at_any_depth() -> None:
    made = operator(payload={"a": [{"b": "{{ x }}"}, 5]}, task_identifier="{{ x }}", queue="{{ x }}")
    values: Any = {"x": "video"}
    made.render_template_fields(values)
    assert made.payload == {"a": [{"b": "video"}, 5]}
    assert (made.task_identifier, made.run_queue) == ("video", "video")


def test_the_parts_of_a_payload_that_are_not_templated_are_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match=r"payload\['b'\] must be JSON"):
        operator(payload={"a": "{{ x }}", "b": {1}})


@pytest.fixture
def dag() -> DAG:
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_tasks_output_in_its_arguments_makes_that_an_upstream_task(dag: DAG) -> None:
    with dag:
        first, second = (BaseOperator(task_id=name) for name in ("first", "second"))
        made = operator(payload={"a": [first.output]}, tags=second.output)
    assert made.upstream_task_ids == {"first", "second"}


def test_another_tasks_output_may_say_which_task_is_run() -> None:
    with DAG("d", schedule=None):
        made = operator(task_identifier=BaseOperator(task_id="choose").output)
    assert made.upstream_task_ids == {"choose"}


# The queue: Trigger.dev's, and Airflow's


def test_a_queue_that_is_given_is_trigger_devs() -> None:
    made = operator(queue="video")
    assert (made.run_queue, made.queue) == ("video", "default")


def test_a_queue_in_default_args_is_airflows(dag: DAG) -> None:
    dag.default_args["queue"] = "gpu"
    with dag:
        without, with_both = operator(), operator(task_id="both", queue="video")
    assert (without.run_queue, without.queue) == (None, "gpu")
    assert with_both.run_queue == "video"


@pytest.mark.parametrize(
    ("default_args", "arguments", "queues"),
    [
        ({}, {}, (None, "default")),
        ({}, {"queue": "video"}, ("video", "default")),
        ({"queue": "gpu"}, {}, (None, "gpu")),
    ],
)
def test_a_mapped_task_has_no_queue_of_trigger_dev_unless_it_is_given(
    default_args, arguments, queues, dag: DAG
) -> None:
    dag.default_args.update(default_args)
    with dag:
        mapped = RunTriggerTaskOperator.partial(task_id="m", task_identifier="resize", **arguments).expand(
            payload=[{"a": 1}]
        )
    made: Any = mapped.unmap({"payload": {"a": 1}})
    assert (made.run_queue, made.queue, made.payload) == (*queues, {"a": 1})


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
        concurrency_key="user 5",
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
            "concurrencyKey": "user 5",
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


def test_what_is_not_given_is_not_sent(connection: str, body) -> None:
    operator(wait_for_completion=False).execute(context_of(TaskInstance()))
    assert body().keys() == {"options"}
    assert body()["options"].keys() == {"tags", "idempotencyKey"}
    assert body()["options"]["idempotencyKey"].startswith("airflow-")


def test_none_is_no_key(connection: str, body) -> None:
    operator(wait_for_completion=False, idempotency_key=None).execute(context_of(TaskInstance()))
    assert body()["options"].keys() == {"tags"}


@pytest.mark.parametrize("rendered", [None, "None"])
def test_a_template_of_a_key_that_finds_nothing_is_an_error(
    connection: str, sent, rendered: str | None
) -> None:
    made = operator(idempotency_key="{{ params.order }}")
    made.idempotency_key = rendered
    with pytest.raises(AirflowFailException, match="idempotency_key must not be 'None': a template that "):
        made.execute(context_of(TaskInstance()))
    assert sent() == []


def test_a_template_that_renders_to_the_text_none_is_a_warning_that_names_the_argument(
    connection: str, body, keep_log
) -> None:
    log = keep_log(RunTriggerTaskOperator)
    made = operator(
        payload={"a": "{{ x }}", "b": "no {{ x }}", "c": "None"},
        queue="{{ x }}",
        tags=["{{ x }}"],
        wait_for_completion=False,
    )
    values: Any = {"x": None}
    made.render_template_fields(values)
    made.execute(context_of(TaskInstance()))
    end = " rendered to the text 'None', and is sent so: "
    shown = [text.partition(end)[:2] for text in log.of("warning")]
    assert shown == [(place, end) for place in ("payload['a']", "queue", "tags[0]")]
    assert "Starting a run of Trigger.dev task 'resize'" in log.of("info")
    assert body()["payload"] == {"a": "None", "b": "no None", "c": "None"}


def test_the_name_of_a_python_object_in_place_of_outputs_fails_the_task_for_good(
    connection: str, sent
) -> None:
    made = operator(payload={"a": "{{ ti.xcom_pull('process') }}"})
    made.payload = {"a": "LazySelectSequence([2 items])"}
    text = r"^RunTriggerTaskOperator 'work': payload\['a'\] must not contain 'LazySelectSequence"
    with pytest.raises(AirflowFailException, match=text):
        made.execute(context_of(TaskInstance()))
    assert sent() == []


def test_executed_by_hand_a_run_has_neither_key_nor_tags_of_ours(connection: str, body) -> None:
    made = operator(wait_for_completion=False, tags="mine")
    empty: Any = {}
    assert made.execute(empty).startswith("run_")
    assert body()["options"] == {"tags": ["mine"]}


def test_without_a_key_a_lost_answer_is_an_error_that_says_that_a_run_may_exist(
    connection: str, server, sent
) -> None:
    server.disconnect_next(after_handling=True)
    with pytest.raises(AirflowFailException, match="a run may exist") as raised:
        operator(idempotency_key=None).execute(context_of(TaskInstance()))
    assert connection in str(raised.value)
    assert sent() == ["trigger"]


def test_with_a_key_a_lost_answer_makes_no_second_run(connection: str, server, sent) -> None:
    server.on_task("resize", output=17)
    server.disconnect_next(after_handling=True)
    assert operator().execute(context_of(TaskInstance())) == 17
    assert len(server.runs) == 1
    assert sent()[:2] == ["trigger", "trigger"]


# Another try


def tried(server: TriggerDevServer, context: Any, **arguments: Any) -> Any:
    """Execute a first try that dies at once after the start; return its run."""
    operator(**arguments, wait_for_completion=False).execute(context)
    return list(server.runs.values())[-1]


@pytest.fixture
def context() -> Callable[..., Any]:
    return lambda **ti: context_of(TaskInstance(**ti))


def test_a_retry_returns_the_output_of_the_run_that_completed(connection: str, server, context, sent) -> None:
    server.on_task("resize", output="done", start_after=0, after=0)
    tried(server, context())
    assert operator().execute(context(try_number=2)) == "done"
    assert len(server.runs) == 1
    assert sent()[-2:] == ["trigger", "retrieve"]


@pytest.mark.parametrize("arguments", [{"idempotency_key": "mine"}, {"wait_for_completion": False}])
def test_where_a_run_is_not_this_task_instances_alone_none_from_before_is_looked_for(
    arguments, connection: str, server, context, sent
) -> None:
    operator(**arguments).execute(context(try_number=2, max_tries=1))
    assert "list" not in sent()


def test_executed_by_hand_it_has_the_retries_of_the_task(connection: str, server, context, run_of) -> None:
    given = context(task_id="outer", try_number=2, max_tries=1)
    given["task"] = SimpleNamespace(retries=1)
    operator(wait_for_completion=False).execute(given)
    assert run_of().idempotency_key.endswith("-1-0")


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
    [run] = server.runs.values()
    identity = task_instance_of(given)
    assert identity is not None
    own = RunKey(task_instance=identity, operator_id="a", max_tries=2, retries=2, try_number=1)
    assert run.idempotency_key == str(own)


def test_stopped_while_a_retry_waits_for_the_worker_of_a_canceled_run_it_starts_no_other_one(
    connection: str, server, context, in_signal_handler
) -> None:
    server.on_task("resize", after=None, acknowledge_after=1)
    first, made = tried(server, context()), operator()
    until(lambda: first.status == "EXECUTING", "it has begun")
    in_signal_handler(lambda: first.cancel_requests, made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        made.execute(context(try_number=2, max_tries=1))
    # Besides the first one there is only that which makes sure that nothing starts with the key any more.
    assert [run.status for run in server.runs.values()] == ["CANCELED"] * 2


def test_a_first_try_looks_for_nothing(connection: str, server, context, sent) -> None:
    operator(wait_for_completion=True).execute(context())
    assert "list" not in sent()


def test_a_delay_that_has_passed_since_the_first_try_is_no_error(connection: str, context, body) -> None:
    made = operator(delay="{{ x }}", wait_for_completion=False)
    made.delay = "2020-01-01"  # as rendered
    made.execute(context(try_number=2))
    assert body()["options"]["delay"].startswith("2020-01-01")

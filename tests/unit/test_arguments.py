"""Each public class checks all of its arguments: in a Dag, in an instance of a mapped task, and rendered."""

from __future__ import annotations

from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of

from airflow_provider_trigger._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_trigger.notifications import cancel as notifier
from airflow_provider_trigger.operators import base, batch, cancel, task_runs
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run.request import OPTIONS
from airflow_provider_trigger.sensors import run as sensor

Row = tuple[str, Any, str]
"""An argument, a value that is invalid, and what the error says of it."""

TASK = BaseOperator(task_id="start")
BOOLEAN = "must be True or False, not"
DURATION = "s or more: seconds, a timedelta, or a text such as '5m', not"
STATUSES = "must be a list of final statuses (CANCELED, COMPLETED, "
COUNT = "must be a whole number of"

CONNECTION: list[Row] = [("trigger_dev_conn_id", " ", "must be the id of a connection, not ' '")]
SOURCES: list[Row] = [
    ("run_ids", TASK, "run_ids takes the output of task 'start', not the task: call it, or give .output"),
    (
        "xcom_task_ids",
        TASK,
        "must be a task's id, not the task 'start' itself: give the task's id, 'start'; ",
    ),
    ("xcom_task_ids", ["work", 5], "xcom_task_ids[1] must be a task's id, a string that is not empty, not 5"),
]
WAIT: list[Row] = [
    *CONNECTION,
    ("wait_for_completion", 1, f"{BOOLEAN} 1"),
    ("deferrable", "yes", f"{BOOLEAN} 'yes'"),
    ("cancel_on_kill", None, f"{BOOLEAN} None"),
    ("poll_interval", 0, f"must be a duration of 0.01 {DURATION} 0"),
    ("timeout", "soon", f"must be a duration of 0.01 {DURATION} 'soon'"),
    ("pending_version_timeout", -1, f"must be a duration of 0 {DURATION} -1"),
    ("pending_version_timeout", None, f"must be a duration of 0 {DURATION} None"),
    ("retry_statuses", ["EXECUTING"], STATUSES),
    ("max_output_size", -1, f"{COUNT} bytes, 0 or more, not -1"),
]
NO_TEXT = "must be a string that is not empty, not"
RENDERED: list[Row] = [
    ("task_identifier", " ", "must be the id of a Trigger.dev task, not ' '"),
    ("queue", "", f"{NO_TEXT} ''"),
    ("concurrency_key", 5, f"{NO_TEXT} 5"),
    ("delay", "2020-01-01", "must be in the future, not '2020-01-01'"),
    ("ttl", "1.5h", "must be a duration above 0, such as '1h30m', in whole seconds or a timedelta, not "),
    (
        "tags",
        list("12345678"),
        "must be 7 tags or fewer, not 8: a run has up to 10, and 3 are the provider's",
    ),
    ("metadata", ["a"], "must be a dict of JSON, not ['a']"),
    ("max_attempts", 0, f"{COUNT} attempts, 1 or more, not 0"),
    ("max_duration", "4", f"{COUNT} seconds, 5 or more, not '4'"),
    ("machine", "huge", "must be one of micro, small-1x, "),
    ("priority", -1, "must be a number of seconds, 0 or more, not -1"),
    ("region", "", f"{NO_TEXT} ''"),
    ("lock_to_version", 5, f"{NO_TEXT} 5"),
]
RENDERED_ONE: list[Row] = [
    *RENDERED,
    ("payload", {"a": [1, {2}]}, "payload['a'][1] must be JSON: a dict, list, "),
    ("idempotency_key", "..", "must be a string of 1 to 2048 characters, not of dots only, not '..'"),
]
RENDERED_MANY: list[Row] = [
    *RENDERED,
    ("payloads", [1, {2}], "payloads[1] must be JSON: a dict, list, "),
    ("payloads", 7, "must be a list with one entry for each run, not a int"),
]
ROWS: dict[Any, list[Row]] = {
    RunTriggerTaskOperator: [*WAIT, *RENDERED_ONE],
    RunTriggerTaskBatchOperator: [
        *WAIT,
        *RENDERED_MANY,
        ("payloads", None, "give either payloads or items"),
        ("items", [], "give either payloads or items"),
        ("fail_on", "some", "must be 'any' or 'all' or 'never', not 'some'"),
        ("cancel_others", 1, f"{BOOLEAN} 1"),
    ],
    ReplayTriggerRunOperator: [
        *WAIT,
        ("run_id", None, "must be the id of a run, not None"),
        ("run_id", [], "must be the id of a run, not []"),
    ],
    cancel.CancelTriggerRunOperator: [
        *CONNECTION,
        *SOURCES,
        ("tags", [], "[] from tags is not a valid tag: the list must have at least one tag"),
        ("tags", ["{{ a }}", ""], "'' from tags is not a valid tag: it must not be empty, nor have a comma"),
        ("batch_ids", "run_1", "not a valid batch id: it is the id of a run, which goes into run_ids"),
        ("max_runs", 0, f"{COUNT} runs, 1 or more, not 0"),
        ("on_not_found", "skip", "must be 'fail' or 'ignore', not 'skip'"),
        ("on_empty", None, "must be 'fail' or 'ignore', not None"),
        ("include_descendants", "yes", f"{BOOLEAN} 'yes'"),
        ("wait_for_termination", 1, f"{BOOLEAN} 1"),
        ("termination_timeout", -1, f"must be a duration of 0 {DURATION} -1"),
        ("poll_interval", None, f"must be a duration of 0.01 {DURATION} None"),
        ("max_concurrency", 1.5, f"{COUNT} requests, 1 or more, not 1.5"),
    ],
    sensor.TriggerRunSensor: [
        *CONNECTION,
        *SOURCES,
        ("success_statuses", "COMPLETED", STATUSES),
        ("return_outputs", 1, f"{BOOLEAN} 1"),
        ("max_output_size", -1, f"{COUNT} bytes, 0 or more, not -1"),
        ("on_empty", "skip", "must be 'ignore' or 'fail', not 'skip'"),
        ("deferrable", "yes", f"{BOOLEAN} 'yes'"),
        ("poll_interval", 0, f"must be a duration of 0.01 {DURATION} 0"),
    ],
    notifier.CancelTriggerRunNotifier: [
        *CONNECTION,
        ("run_ids", ["run_1", TASK.output], "a callback cannot resolve a task's output in run_ids; use xcom"),
        (
            "xcom_task_ids",
            TASK,
            "must be a task's id, not the task 'start' itself: give the task's id, 'start'",
        ),
        ("include_descendants", "yes", f"{BOOLEAN} 'yes'"),
        ("timeout", 0, f"must be a duration of 0.01 {DURATION} 0"),
        ("max_concurrency", 0, f"{COUNT} requests, 1 or more, not 0"),
    ],
}
REQUIRED: dict[Any, dict[str, Any]] = {
    RunTriggerTaskOperator: {"task_identifier": "resize"},
    RunTriggerTaskBatchOperator: {"task_identifier": "resize", "payloads": []},
    ReplayTriggerRunOperator: {"run_id": "run_1"},
    cancel.CancelTriggerRunOperator: {"run_ids": "run_1"},
    sensor.TriggerRunSensor: {"run_ids": "run_1"},
    notifier.CancelTriggerRunNotifier: {},
}
OPERATORS = [kind for kind in ROWS if issubclass(kind, BaseOperator)]


def made(kind: Any, **arguments: Any) -> Any:
    return kind(**({"task_id": "work"} if kind in OPERATORS else {}) | REQUIRED[kind] | arguments)


def assert_names(error: BaseException, kind: Any, reason: str) -> None:
    owner = f"{kind.__name__} 'work'" if kind in OPERATORS else kind.__name__
    assert str(error).startswith(f"{owner}: ")
    assert reason in str(error)


def rows(*kinds: Any) -> list[tuple[Any, ...]]:
    return [(kind, *row) for kind in kinds for row in ROWS[kind]]


@pytest.mark.parametrize(("kind", "name", "value", "reason"), rows(*ROWS))
def test_an_invalid_argument_is_an_error_when_the_dag_is_parsed(kind, name: str, value, reason: str) -> None:
    with pytest.raises(ValueError, match=name) as raised:
        made(kind, **{name: value})
    assert_names(raised.value, kind, reason)


@pytest.mark.parametrize(("kind", "name", "value", "reason"), rows(*OPERATORS))
def test_it_fails_an_instance_of_a_mapped_task_for_good(kind, name: str, value, reason: str) -> None:
    # Airflow makes the instance when it runs.
    with pytest.raises(AirflowFailException, match=name) as raised:
        made(kind, **{name: value}, _airflow_from_mapped=True)
    assert_names(raised.value, kind, reason)


@pytest.mark.parametrize(
    ("kind", "name", "value", "reason"),
    [(RunTriggerTaskOperator, *row) for row in RENDERED_ONE]
    + [(RunTriggerTaskBatchOperator, *row) for row in RENDERED_MANY],
)
def test_rendered_it_fails_the_task_for_good_before_anything_is_sent(
    kind, name: str, value, reason: str, connection: str, server
) -> None:
    operator = made(kind, **{name: "{{ x }}"})
    setattr(operator, "run_queue" if name == "queue" else name, value)  # as rendered natively
    with pytest.raises(AirflowFailException) as raised:
        operator.execute(context_of(TaskInstance()))
    assert_names(raised.value, kind, reason)
    assert server.requests == []


def test_no_rule_and_no_option_is_left_out() -> None:
    waits = {*base.RULES}
    starts = {*waits, *task_runs.RULES, *OPTIONS}
    named = {kind: {name for name, *_ in ROWS[kind]} for kind in ROWS}
    assert starts <= named[RunTriggerTaskOperator]
    assert starts | {*batch.RULES} <= named[RunTriggerTaskBatchOperator]
    assert waits <= named[ReplayTriggerRunOperator]
    assert {*cancel.RULES} <= named[cancel.CancelTriggerRunOperator]
    assert {*sensor.RULES} <= named[sensor.TriggerRunSensor]
    assert {*notifier.RULES} <= named[notifier.CancelTriggerRunNotifier]


@pytest.mark.parametrize("kind", ROWS)
def test_arguments_go_by_their_names_only(kind) -> None:
    with pytest.raises((TypeError, AirflowException)):
        kind(["run_1"])


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (RunTriggerTaskOperator, ["poll_interval", "timeout", "pending_version_timeout"]),
        (cancel.CancelTriggerRunOperator, ["termination_timeout", "poll_interval"]),
        (sensor.TriggerRunSensor, ["poll_interval"]),
        (notifier.CancelTriggerRunNotifier, ["timeout"]),
    ],
)
def test_durations_become_seconds(kind, names: list[str]) -> None:
    given = made(kind, **dict.fromkeys(names, "1h30m"))
    assert [getattr(given, name) for name in names] == [5400.0] * len(names)

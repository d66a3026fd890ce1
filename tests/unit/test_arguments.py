"""Each public class checks all of its arguments: in a Dag, in an instance of a mapped task, and rendered."""

from __future__ import annotations

import inspect
import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from airflow_names import DAG
from airflow_sequences import Outputs
from fake_airflow import TaskInstance, context_of
from in_process import Network

from airflow_provider_trigger._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.settings import VERSION

try:
    from airflow.sdk import DAG, dag, task
except ImportError:  # 2.11
    from airflow.decorators import dag, task
    from airflow.models.dag import DAG

Row = tuple[str, Any, str]
"""An argument, a value that is invalid, and what the error says of it."""

TASK = BaseOperator(task_id="start")


@task
def start() -> list[str]:
    return []


with DAG("d", schedule=None):
    ZIPPED = start().zip(start.override(task_id="other")())

BOOLEAN = "must be True or False, not"
DURATION = "s or more: seconds, a timedelta, or a text such as '5m', not"
FAILURES = "must be a list of final statuses of failures (CANCELED, CRASHED, "
STATUSES = "must be a list of final statuses (CANCELED, COMPLETED, "
COUNT = "must be a whole number of"

CONNECTION: list[Row] = [("trigger_dev_conn_id", " ", "must be the id of a connection, not ' '")]
NO_TASK_ID = "must be a task's id, a string that is not empty, not"
GIVE_ITS_ID = "give its id, 'start'"
IN_PLACE_OF_ITS_ID: list[Row] = [
    *(
        ("xcom_task_ids", value, f"a task's id, not the task 'start' itself, nor its output: {GIVE_ITS_ID}")
        for value in (TASK, ["work", TASK], start, TASK.output, [ZIPPED])
    ),
    ("xcom_task_ids", start.override(task_id="other"), "not the task 'other' itself, nor its output: give"),
    ("xcom_task_ids", 0, f"xcom_task_ids {NO_TASK_ID} 0"),
    ("xcom_task_ids", " ", f"xcom_task_ids {NO_TASK_ID} ' '"),
    ("xcom_task_ids", ["work", 5], f"xcom_task_ids {NO_TASK_ID} 5"),
    ("xcom_task_ids", {None}, f"xcom_task_ids {NO_TASK_ID} None"),
]
NO_OUTPUT = "run_ids takes the output of task 'start', not the task: call it, or give .output"
SOURCES: list[Row] = [
    *IN_PLACE_OF_ITS_ID,
    ("run_ids", TASK, NO_OUTPUT),
    ("run_ids", ["run_1", (start,)], NO_OUTPUT),
    ("run_ids", {"a": TASK}, NO_OUTPUT),
]
NO_TASK = "a callback cannot resolve a task's output in run_ids; use xcom_task_ids='start'"
SOURCES_OF_A_CALLBACK: list[Row] = [
    *IN_PLACE_OF_ITS_ID,
    ("run_ids", TASK, NO_TASK),
    ("run_ids", ["run_1", (TASK.output,)], NO_TASK),
    ("run_ids", {"a": start}, NO_TASK),
]


def of_tokens(rows: list[Row]) -> list[Row]:
    """Return the same rows for an operator or a notifier that takes tokens in place of runs."""
    return [
        (name.replace("run_ids", "token_ids"), value, text.replace("run_ids", "token_ids"))
        for name, value, text in rows
    ]


DATA: list[Row] = [
    ("data", {"a": [1, b"x"]}, "data['a'][1] must be JSON: a dict, list, "),
    ("data", {"a": [2**53 + 1]}, "data must not have an integer beyond 2^53, whose last digits Trigger.dev "),
    ("data", [0, -(2**53) - 1], "send it as a text, '-9007199254740993'"),
    ("data", "x" * (512 * 1024 - 1), "data must have 524,288 bytes or less as JSON, not 524,289"),
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
    *(("retry_statuses", [status], FAILURES) for status in ("EXECUTING", "COMPLETED")),
    ("multiple_outputs", True, "must be False, as the output could overwrite XCom 'run_id': {{ ti.xcom"),
    ("max_output_size", -1, f"{COUNT} bytes, 0 or more, not -1"),
    ("run_logs", True, "must be 'on_failure' or 'always' or 'never', not True"),
    ("run_progress", "no", f"{BOOLEAN} 'no'"),
]
NO_TEXT = "must be a string that is not empty, not"
NO_WORD = "must be a string that is not empty, without a comma, not"
RENDERED: list[Row] = [
    ("task_identifier", " ", "must be the id of a Trigger.dev task, not ' '"),
    ("queue", "", f"{NO_TEXT} ''"),
    ("concurrency_key", True, f"{NO_TEXT} True"),
    ("delay", "tomorrow", "must be a duration above 0, such as '1h30m', a timedelta, a datetime or an ISO "),
    ("ttl", "1.5h", "must be a duration above 0, such as '1h30m', seconds or a timedelta, not "),
    ("tags", list("12345678"), "must be 7 tags or fewer, not 8: a run has up to 10, and 3 are the prov"),
    ("metadata", ["a"], "must be a dict of JSON, not ['a']"),
    ("max_attempts", 0, f"{COUNT} attempts, 1 or more, not 0"),
    ("max_duration", "4", f"{COUNT} seconds, 5 or more, not '4'"),
    ("machine", "huge", "must be one of micro, small-1x, "),
    ("priority", -1, "must be a number of seconds, 0 or more, not -1"),
    ("region", "", f"{NO_TEXT} ''"),
    ("lock_to_version", 20261130.1, "must be a text, not 20261130.1, which may lack a digit: write it in "),
    ("extra_options", ["a"], "must be a dict of JSON, not ['a']"),
    ("extra_options", {"maxAttempts": 3}, "must not have 'maxAttempts': use max_attempts"),
    ("extra_options", {"debounce": {}}, "must not have 'debounce': it decides which run a start gets, and "),
]
RENDERED_ONE: list[Row] = [
    *RENDERED,
    ("payload", {"a": [1, b"x"]}, "payload['a'][1] must be JSON: a dict, list, "),
    ("idempotency_key", " null", "must not be ' null': a template that finds nothing renders to this, and "),
]
RENDERED_MANY: list[Row] = [
    *RENDERED,
    ("payloads", [1, b"x"], "payloads[1] must be JSON: a dict, list, "),
    ("payloads", {"iban": 7}, "must be a list with one entry for each run, not a dict"),
]
SELECTING: list[Row] = [
    ("tags", [], "must be a string, or a list of at least one tag, not []"),
    ("batch_ids", ["run_a"], "must not be 'run_a': it is the id of a run; use run_ids"),
    ("tags", ["{{ a }}", ""], f"{NO_WORD} ''"),
    ("batch_ids", "", f"{NO_WORD} ''"),
    ("max_runs", 0, f"{COUNT} runs, 1 or more, not 0"),
]
ROWS: dict[Any, list[Row]] = {
    RunTriggerTaskOperator: [
        *WAIT,
        *RENDERED_ONE,
        ("link_back", None, f"{BOOLEAN} None"),
        ("idempotency_key_ttl", "1.5h", "must be a duration above 0, such as '1h30m', seconds or "),
        ("idempotency_key_ttl", "1h", "is only for an idempotency_key of your own"),
    ],
    RunTriggerTaskBatchOperator: [
        *WAIT,
        *RENDERED_MANY,
        ("payloads", None, "give either payloads or items"),
        ("items", [], "give either payloads or items"),
        ("fail_on", "some", "must be 'any', 'all', 'never', a whole number of runs, 1 or more, or a share "),
        ("reuse_completed", 1, f"{BOOLEAN} 1"),
        ("link_back", None, f"{BOOLEAN} None"),
        ("cancel_others", 1, f"{BOOLEAN} 1"),
    ],
    ReplayTriggerRunOperator: [
        *WAIT,
        ("run_id", None, "must be the id of a run, not None"),
        ("run_id", [], "must be the id of a run, not []"),
    ],
    CancelTriggerRunOperator: [
        *CONNECTION,
        *SOURCES,
        *SELECTING,
        ("on_not_found", "skip", "must be 'fail' or 'ignore', not 'skip'"),
        ("on_empty", None, "must be 'fail' or 'ignore', not None"),
        ("include_descendants", "yes", f"{BOOLEAN} 'yes'"),
        ("wait_for_termination", 1, f"{BOOLEAN} 1"),
        ("termination_timeout", -1, f"must be a duration of 0 {DURATION} -1"),
        ("poll_interval", None, f"must be a duration of 0.01 {DURATION} None"),
        ("max_concurrency", 1.5, f"{COUNT} requests, 1 or more, not 1.5"),
    ],
    CreateWaitpointTokenOperator: [
        *CONNECTION,
        ("timeout", 0.9, f"must be a duration of 1 {DURATION} 0.9"),
        ("timeout", datetime(2030, 1, 1, tzinfo=UTC), f"must be a duration of 1 {DURATION} datetime"),
        ("tags", ["{{ a }}", "b,c"], f"{NO_WORD} 'b,c'"),
        ("tags", list("abcdefghijk"), "tags must be 10 tags or fewer, not 11"),
        ("tags", 5, f"{NO_WORD} 5"),
    ],
    CompleteWaitpointTokenOperator: [
        *CONNECTION,
        *of_tokens(SOURCES),
        *DATA,
        ("on_empty", True, "must be 'fail' or 'ignore', not True"),
        ("on_timed_out", "skip", "must be 'fail' or 'ignore', not 'skip'"),
        ("on_not_found", None, "must be 'fail' or 'ignore', not None"),
    ],
    CompleteWaitpointTokenNotifier: [
        *CONNECTION,
        *of_tokens(SOURCES_OF_A_CALLBACK),
        *DATA,
        ("token_ids", None, "give one or more of token_ids, xcom_task_ids"),
        ("timeout", 0, f"must be a duration of 0.01 {DURATION} 0"),
    ],
    TriggerRunSensor: [
        *CONNECTION,
        *SOURCES,
        *SELECTING,
        ("success_statuses", "COMPLETED", STATUSES),
        ("run_progress", "no", f"{BOOLEAN} 'no'"),
        ("return_outputs", 1, f"{BOOLEAN} 1"),
        ("max_output_size", -1, f"{COUNT} bytes, 0 or more, not -1"),
        ("on_empty", "skip", "must be 'ignore' or 'fail', not 'skip'"),
        ("deferrable", "yes", f"{BOOLEAN} 'yes'"),
        ("poll_interval", 0, f"must be a duration of 0.01 {DURATION} 0"),
    ],
    WaitpointTokenSensor: [
        *CONNECTION,
        ("token_id", None, "token_id is None"),
        ("token_id", "run_a", "is not a valid token id: it is the id of a run"),
        ("token_id", TASK, "token_id takes the output of task 'start', not the task: call it, or give "),
        ("deferrable", "yes", f"{BOOLEAN} 'yes'"),
    ],
    CancelTriggerRunNotifier: [
        *CONNECTION,
        *SOURCES_OF_A_CALLBACK,
        ("include_descendants", "yes", f"{BOOLEAN} 'yes'"),
        ("timeout", 0, f"must be a duration of 0.01 {DURATION} 0"),
        ("max_concurrency", 0, f"{COUNT} requests, 1 or more, not 0"),
    ],
}
REQUIRED: dict[Any, dict[str, Any]] = {
    RunTriggerTaskOperator: {"task_identifier": "resize"},
    RunTriggerTaskBatchOperator: {"task_identifier": "resize", "payloads": []},
    ReplayTriggerRunOperator: {"run_id": "run_1"},
    CancelTriggerRunOperator: {"run_ids": "run_1"},
    TriggerRunSensor: {"run_ids": "run_1"},
    WaitpointTokenSensor: {"token_id": "waitpoint_1"},
    CancelTriggerRunNotifier: {},
    CreateWaitpointTokenOperator: {},
    CompleteWaitpointTokenOperator: {"token_ids": "waitpoint_1"},
    CompleteWaitpointTokenNotifier: {"token_ids": "waitpoint_1"},
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


@pytest.fixture
def server(wire, answer, monkeypatch: pytest.MonkeyPatch) -> TriggerDevServer:
    """A server in this process, behind the default connection."""
    server = TriggerDevServer()
    connection = {"conn_type": "trigger_dev", "host": "https://trigger.test", "password": server.secret_key}
    monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(connection))
    wire.script = Network(server, answer)
    return server


@pytest.mark.parametrize("is_mapped", [False, True])
@pytest.mark.parametrize(("kind", "name", "value", "reason"), rows(*ROWS))
def test_what_is_invalid_is_an_error_at_parse(kind, name: str, value, reason: str, is_mapped: bool) -> None:
    given = {name: value}
    if is_mapped and kind in OPERATORS:  # Airflow makes the instance when it runs
        given["_airflow_from_mapped"] = True
    with pytest.raises(AirflowFailException if len(given) > 1 else ValueError, match=name) as raised:
        made(kind, **given)
    assert_names(raised.value, kind, reason)


# The values of each kind


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("wait_for_completion", False, False),
        ("max_output_size", 0, 0),
        ("max_output_size", 2.0, 2),
        ("max_output_size", " 10 ", 10),
        ("max_output_size", "3.0", 3),
        ("poll_interval", None, None),
        ("poll_interval", 5, 5.0),
        ("poll_interval", "5m", 300.0),
        ("poll_interval", " 1h30m ", 5400.0),
        ("poll_interval", "1w2d3h4m5s", 604_800.0 + 2 * 86_400 + 3 * 3_600 + 4 * 60 + 5),
        ("poll_interval", " 1.5 ", 1.5),
        ("poll_interval", timedelta(seconds=0.5), 0.5),
        ("run_logs", "never", "never"),
        ("machine", "small-1x", "small-1x"),
        ("retry_statuses", [], []),
        ("retry_statuses", ("FAILED", "CRASHED"), ("FAILED", "CRASHED")),
        ("region", " é ", " é "),
        ("trigger_dev_conn_id", "{{ params.connection }}", "{{ params.connection }}"),
    ],
)
def test_a_valid_value_is_kept_as_it_is_used(name: str, given: Any, taken: Any) -> None:
    found = getattr(made(RunTriggerTaskOperator, **{name: given}), name)
    assert (found, type(found)) == (taken, type(taken))


INVALID: list[tuple[Any, str, str, list[Any]]] = [
    (RunTriggerTaskOperator, "deferrable", "True or False", ["True", "{{ x }}", "", 1, 0, [True]]),
    (
        CancelTriggerRunOperator,
        "max_concurrency",
        "a whole number of requests, 1 or more",
        [0, 1.5, True, "0", None, math.nan, math.inf],
    ),
    (
        RunTriggerTaskOperator,
        "max_attempts",
        "a whole number of attempts, 1 or more",
        ["0", "3.5", "-5", "", "ten", "1e3", "0x10", "1_000", "9 9", "٣", timedelta(1), False, [9]],
    ),
    (
        RunTriggerTaskOperator,
        "poll_interval",
        "a duration of 0.01 s or more: seconds, a timedelta, or a text such as '5m'",
        [
            *(0.009, "0s", "soon", timedelta(), True, [5], math.nan, "{{ x }}", "", "m", "5 m", "1.5h"),
            *("30m1h", "-1", "5M", "\u0665m"),
        ],
    ),
    (
        RunTriggerTaskBatchOperator,
        "fail_on",
        "'any', 'all', 'never', a whole number of runs, 1 or more, or a share above 0% and below 100%",
        [0, True, 1.5, "3", "0%", "100%", "1e1%", None, ["any"]],
    ),
    (TriggerRunSensor, "on_empty", "'ignore' or 'fail'", ["FAIL", "", None, True, ["fail"], {}]),
    (
        RunTriggerTaskOperator,
        "machine",
        "one of micro, small-1x, small-2x, medium-1x, medium-2x, large-1x, large-2x",
        ["Micro", "micro ", 1, ["micro"], {"x": "micro"}, "x" * 98],
    ),
    (
        TriggerRunSensor,
        "success_statuses",
        "a list of final statuses (CANCELED, COMPLETED, CRASHED, EXPIRED, FAILED, INTERRUPTED, "
        "SYSTEM_FAILURE, TIMED_OUT)",
        [["completed"], ["COMPLETED", "DONE"], None, [None], [["FAILED"]], [{}], 7, {"FAILED"}],
    ),
    (RunTriggerTaskOperator, "region", "a string that is not empty", [" ", 7, 20261125.1, ["x"], {"a": "x"}]),
    (RunTriggerTaskOperator, "region", "a text that can be encoded, without a lone surrogate", ["a\ud800"]),
    (RunTriggerTaskOperator, "trigger_dev_conn_id", "the id of a connection", [None, "", 5]),
    (CancelTriggerRunOperator, "tags", "a string, or a list of at least one tag", ["[]", {"a": 1}]),
    (CancelTriggerRunOperator, "tags", "a string that is not empty, without a comma", ["", "a,b"]),
]


@pytest.mark.parametrize(
    ("kind", "name", "what", "value"), [(*row, value) for *row, values in INVALID for value in values]
)
def test_an_invalid_value_is_an_error_that_says_what_to_give(kind, name: str, what: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as raised:
        made(kind, **{name: value})
    assert str(raised.value) == f"{kind.__name__} 'work': {name} must be {what}, not {value!r}"


def test_of_a_long_value_the_error_shows_100_characters() -> None:
    with pytest.raises(ValueError, match=", not '" + "x" * 99 + "…$"):
        made(RunTriggerTaskOperator, machine="x" * 99)


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        ("a", ["a"]),
        (["b", "a", "b"], ["b", "a"]),
        ({"b", "a"}, ["a", "b"]),
        (Outputs("b", "a"), ["b", "a"]),
        (" a: /%#", [" a: /%#"]),
        # What Jinja makes of a list.
        ("['a', 'b']", ["a", "b"]),
        (' ["a"]', ["a"]),
        ("[urgent", ["[urgent"]),
    ],
)
def test_tags_are_taken_once_each(value: Any, terms: list[str], world) -> None:
    made(CancelTriggerRunOperator, run_ids=None, tags=value).execute(context_of())
    assert world.log.of("warning")[-1] == f"no run that is alive has tags={terms}"


@pytest.mark.parametrize(("value", "shown"), [(["a", " "], " "), (["a", 1], 1), (Outputs("a", 1), 1)])
def test_of_several_tags_the_invalid_one_is_named(value: Any, shown: Any) -> None:
    with pytest.raises(ValueError, match=f"tags {NO_WORD} {shown!r}$"):
        made(CancelTriggerRunOperator, tags=value)


@pytest.mark.parametrize("value", [" null ", "None", "LazySelectSequence([3 items])"])
def test_what_a_template_makes_of_nothing_or_of_outputs_is_no_tag(value: str) -> None:
    why = "a template that finds nothing, or a mapped task's outputs, renders to this"
    with pytest.raises(ValueError, match=re.escape(f"tags must not be {value!r}: {why}")):
        made(CancelTriggerRunOperator, tags=["a", value])


@pytest.mark.parametrize(
    ("kind", "name", "value", "reason"),
    [(RunTriggerTaskOperator, *row) for row in RENDERED_ONE]
    + [(RunTriggerTaskBatchOperator, *row) for row in RENDERED_MANY],
)
def test_rendered_it_fails_the_task_for_good(kind, name: str, value, reason: str, server, wire) -> None:
    operator = made(kind, **{name: "{{ x }}"})
    setattr(operator, "run_queue" if name == "queue" else name, value)  # as rendered natively
    with pytest.raises(AirflowFailException) as raised:
        operator.execute(context_of(TaskInstance()))
    assert_names(raised.value, kind, reason)
    assert wire.sent == []


# Rendered natively


def natively(kind: Any, arguments: dict[str, Any], *, fields: Any = None, **values: Any) -> Any:
    """Make an operator in a Dag that renders natively, and render it with values for its templates."""
    with DAG("d", schedule=None, render_template_as_native_obj=True) as dag:
        operator = made(kind, **arguments)
    vars(operator).update(fields or {})
    operator.render_template_fields({"dag": dag} | values)
    return operator


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("text", ["2026", "20261130.10", "None", "['a']", "{'a': 1}", "a\n"])
def test_a_text_without_a_template_stays_as_it_is(kind, text: str) -> None:
    given = {field: [text] for field in kind.template_fields}
    operator = natively(kind, {}, fields=given)
    assert {field: getattr(operator, field) for field in given} == given


NUMBER = "{{ number }}"


@pytest.mark.parametrize(("tags", "sent"), [(NUMBER, ["17"]), ([NUMBER, "1e3"], ["17", "1e3"])])
def test_a_number_of_a_template_is_sent_as_its_text(tags: Any, sent: list[str], server, wire) -> None:
    of_all: Any = {"task_identifier": NUMBER, "wait_for_completion": False}
    options: Any = {"tags": tags, **dict.fromkeys(("concurrency_key", "queue", "region"), NUMBER)}
    one = of_all | options | {"idempotency_key": NUMBER, "payload": NUMBER}
    many = of_all | {"payloads": None, "items": [{"payload": NUMBER, "options": options}]}
    for kind, arguments in ((RunTriggerTaskOperator, one), (RunTriggerTaskBatchOperator, many)):
        natively(kind, arguments, number="17").execute(context_of(TaskInstance()))
    for run in server.runs.values():
        expected = {"concurrencyKey": "17", "queue": {"name": "17"}, "region": "17"}
        assert {name: run.options[name] for name in expected} == expected
        assert (run.task_identifier, run.payload, list(run.tags[: len(sent)])) == ("17", 17, sent)
    assert "17" in [run.idempotency_key for run in server.runs.values()]


@pytest.mark.parametrize("text", ["1_000", "0x1F", "00", "-0", "+17", "(17)", "17 # a"])
def test_a_text_of_which_python_would_make_another_number_is_sent_as_it_is(text: str, server, wire) -> None:
    options: Any = dict.fromkeys(("concurrency_key", "queue", "tags", "region"), NUMBER)
    one = options | {"task_identifier": NUMBER, "idempotency_key": NUMBER, "payload": NUMBER}
    many = {"task_identifier": NUMBER, "payloads": None, "items": [{"payload": NUMBER, "options": options}]}
    for kind, arguments in ((RunTriggerTaskOperator, one), (RunTriggerTaskBatchOperator, many)):
        made = natively(kind, arguments | {"wait_for_completion": False}, number=text)
        made.execute(context_of(TaskInstance()))
    for run in server.runs.values():
        expected = {"concurrencyKey": text, "queue": {"name": text}, "region": text}
        assert {name: run.options[name] for name in expected} == expected
        assert (run.task_identifier, run.payload, run.tags[0]) == (text, text, text)
    assert text in [run.idempotency_key for run in server.runs.values()]


@pytest.mark.parametrize(
    ("template", "expected"), [("\n{{ number }}\n\n", 17), ("{{ counter | int }}", 1), ("{{ 0x1F }}", 31)]
)
def test_a_number_of_a_native_template_is_a_number_of_the_payload(template: str, expected: int) -> None:
    class Counter:
        count = 0

        def __int__(self) -> int:  # as of what is drawn at random, or of a clock
            self.count += 1
            return self.count

    made = natively(RunTriggerTaskOperator, {"payload": template}, number=17, counter=Counter())
    assert made.payload == expected
    assert type(made.payload) is int


@pytest.mark.parametrize("name", ["idempotency_key", "concurrency_key", "tags", "lock_to_version"])
def test_a_float_that_a_template_gives_for_a_text_has_lost_digits(name: str, server, wire) -> None:
    given = natively(RunTriggerTaskOperator, {name: NUMBER, "wait_for_completion": False}, number="1.10")
    with pytest.raises(AirflowFailException, match=f"{name}.* must be a text, not 1.1, .*tojson"):
        given.execute(context_of(TaskInstance()))
    assert wire.sent == []


@pytest.mark.parametrize("text", [VERSION, "{{ version | tojson }}"])
def test_a_version_is_sent_as_a_text(text: str, server, wire) -> None:
    arguments = {"lock_to_version": text, "wait_for_completion": False}
    natively(RunTriggerTaskOperator, arguments, version=VERSION).execute(context_of(TaskInstance()))
    assert json.loads(wire.sent[-1].body)["options"]["lockToVersion"] == VERSION


NOTHING = "{{ nothing }}"


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        (RunTriggerTaskOperator, {"queue": NOTHING, "payload": NOTHING, "region": "{{ some }}"}, ["queue"]),
        (RunTriggerTaskBatchOperator, {"ttl": NOTHING, "tags": "{{ some }}"}, ["ttl"]),
        (
            RunTriggerTaskBatchOperator,
            {"payloads": None, "items": [{}, {"payload": NOTHING, "options": {"delay": NOTHING}}]},
            ["items[1]['options']: delay"],
        ),
    ],
)
def test_an_option_of_which_a_native_template_makes_none_is_left_out_with_a_warning(
    kind, arguments: dict[str, Any], named: list[str], server, wire, keep_log
) -> None:
    log = keep_log(kind)
    made = natively(kind, {"wait_for_completion": False} | arguments, nothing=None, some="a")
    made.execute(context_of(TaskInstance()))
    assert log.of("warning") == [
        f"{name} must not be None, of which its template '{NOTHING}' has made it: the option is left out"
        for name in named
    ]
    assert all(not {"queue", "ttl", "delay"} & {*run.options} for run in server.runs.values())


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (RunTriggerTaskOperator, {"lock_to_version": NOTHING}),
        (RunTriggerTaskBatchOperator, {"lock_to_version": NOTHING, "payloads": [1]}),
        (
            RunTriggerTaskBatchOperator,
            {"payloads": None, "items": [{"options": {"lock_to_version": NOTHING}}]},
        ),
    ],
)
def test_a_version_that_becomes_none_is_an_error(kind, arguments: dict[str, Any], server, wire) -> None:
    made = natively(kind, arguments, nothing=None)
    text = r"lock_to_version must not be None, of which its template .* has made it: another version"
    with pytest.raises(AirflowFailException, match=text) as raised:
        made.execute(context_of(TaskInstance()))
    assert_names(raised.value, kind, NOTHING)
    assert wire.sent == []


@pytest.mark.parametrize(
    ("selecting", "named"),
    [({"tags": "a"}, "tags"), ({"tags": "a", "batch_ids": "{{ x }}"}, "tags and batch_ids")],
)
def test_a_sensor_that_would_search_at_each_check_is_an_error_that_says_what_to_do(
    selecting: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match="mode") as raised:
        made(TriggerRunSensor, **selecting, mode="reschedule")
    assert str(raised.value) == (
        f"TriggerRunSensor 'work': mode must not be 'reschedule' with {named}, as each check would search "
        "again: use deferrable=True or mode='poke'"
    )
    with pytest.raises(AirflowFailException, match="mode must not be"):
        made(TriggerRunSensor, **selecting, mode="reschedule", _airflow_from_mapped=True)
    for how in ({"mode": "reschedule", "deferrable": True}, {"mode": "poke"}):
        made(TriggerRunSensor, **selecting, **how)
    made(TriggerRunSensor, mode="reschedule")


@pytest.mark.parametrize("kind", [CancelTriggerRunOperator, TriggerRunSensor])
def test_the_tags_of_runs_that_a_dag_starts_select_no_others(kind: Any) -> None:
    with DAG("d", schedule=None, default_args={"tags": ["nightly"]}):
        RunTriggerTaskOperator(task_id="start", task_identifier="resize")
        with pytest.raises(ValueError, match=r"tags must not come from default_args.* or tags=None"):
            kind(task_id="work", run_ids="run_a")
        assert kind(task_id="none", run_ids="run_a", tags=None).tags is None
        assert kind(task_id="own", tags=["mine"]).tags == ["mine"]


@pytest.mark.parametrize("kind", ROWS)
def test_no_argument_is_left_out(kind) -> None:
    named = {name for name, *_ in ROWS[kind]}
    assert {*inspect.signature(kind).parameters} - named <= {"args", "kwargs", "context", "xcom_key"}


@pytest.mark.parametrize("kind", ROWS)
def test_arguments_go_by_their_names_only(kind) -> None:
    with pytest.raises((TypeError, AirflowException)):
        kind(["run_1"])


@pytest.mark.parametrize("kind", ROWS)
def test_its_own_init_names_all_arguments_and_its_help_explains_each_once(kind) -> None:
    assert "__init__" in vars(kind), "Airflow reads the names there"
    assert get_type_hints(kind.__init__)["return"] is type(None)
    explained = re.findall(r"^:param (\w+): ", inspect.getdoc(kind) or "", re.MULTILINE)
    assert sorted(explained) == sorted({*inspect.signature(kind).parameters} - {"args", "kwargs"})


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_dag_and_a_mapped_task_give_it_arguments_by_their_names(kind) -> None:
    with DAG("d", schedule=None, default_args=REQUIRED[kind] | {"trigger_dev_conn_id": "other"}):
        operator = kind(task_id="work")
        mapped = kind.partial(task_id="mapped").expand(trigger_dev_conn_id=["other"])
        with pytest.raises(TypeError, match="conn_idd"):
            kind.partial(task_id="more", trigger_dev_conn_idd="other")
    assert operator.trigger_dev_conn_id == "other"
    # What Airflow takes by itself is as for any other operator.
    assert (mapped.inlets, mapped.outlets, mapped.retries) == ([], [], operator.retries)


def test_a_template_is_known_only_when_the_task_runs_and_any_other_value_before() -> None:
    found: list[Any] = []

    @dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
    def with_argument(machine: str = "huge") -> None:
        found.append(machine)

    with_argument()
    for value in ("{{ ds }}", "a {% if x %}1{% endif %}", *found):
        assert made(RunTriggerTaskOperator, machine=value).machine == value
    for value in ("huge", "{ds}", "}}", 7, ["{{ ds }}"], Path("x")):
        with pytest.raises(ValueError, match="machine must be one of "):
            made(RunTriggerTaskOperator, machine=value)

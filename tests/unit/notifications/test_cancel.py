from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_provider_trigger._compat import BaseNotifier
from airflow_provider_trigger.hooks.connection import InvalidConnectionError
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

UNKNOWN = (404, {"error": "Run not found"})
CONNECTION = {"conn_type": "trigger_dev", "host": "trigger.test", "password": "tr_prod_marker"}


class Log:
    """Keeps what is logged, as Airflow's versions log with different libraries."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda text, *values: self.lines.append((level, text % values if values else text))


class Notifier(CancelTriggerRunNotifier):
    """The notifier, with a log of its own."""

    log = Log()


@pytest.fixture
def log() -> Log:
    Notifier.log = Log()
    return Notifier.log


@pytest.fixture
def runs(wire: Any, answer: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the runs of a server behind the default connection: run id to what it answers."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(CONNECTION | {"extra": {"retry_for": 0}})
    )
    known: dict[str, Any] = {}

    def script(request: Any) -> Any:
        run_id = request.url.split("/runs/")[1].split("/")[0]
        return answer(*known.get(run_id, (200, {"id": run_id, "status": "CANCELED"})))

    wire.script = script
    return known


def context(**fields: Any) -> Any:
    dag = DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
    return {"dag": dag} | fields


def with_xcom(pushed: dict[str, Any] | Exception) -> Any:
    """Build a context with a task instance, and what its Dag's tasks pushed."""

    def xcom_pull(*, task_ids: str, key: str) -> Any:
        if isinstance(pushed, Exception):
            raise pushed
        return pushed.get(task_ids) if key == "return_value" else None

    return {"ti": SimpleNamespace(xcom_pull=xcom_pull), "dag": SimpleNamespace(task_ids=["start", "more"])}


# What is refused when the Dag is parsed


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "give run_ids, or xcom_task_ids, or both"),
        ({"xcom_task_ids": []}, "give run_ids, or xcom_task_ids, or both"),
        ({"run_ids": "run_1", "timeout": 0}, "timeout is a number of seconds, 0.01 or more, not 0"),
        ({"run_ids": "run_1", "timeout": -1}, "timeout is a number of seconds, 0.01 or more, not -1"),
        (
            {"run_ids": "run_1", "max_concurrency": 0},
            "max_concurrency is a number of requests, 1 or more, not 0",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="CancelTriggerRunNotifier: ") as raised:
        CancelTriggerRunNotifier(**arguments)
    assert str(raised.value).endswith(reason)


@pytest.mark.parametrize("wrap", [lambda output: output, lambda output: ["run_1", output]])
def test_a_tasks_output_is_refused_as_a_callback_cannot_resolve_it(wrap: Any) -> None:
    from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        output = CancelTriggerRunOperator(task_id="start", run_ids=[]).output
    with pytest.raises(ValueError, match="use xcom_task_ids"):
        CancelTriggerRunNotifier(run_ids=wrap(output))


def test_arguments_go_by_their_names_only() -> None:
    with pytest.raises(TypeError):
        CancelTriggerRunNotifier(["run_1"])


def test_it_is_a_notifier_with_the_documented_defaults() -> None:
    made = CancelTriggerRunNotifier(run_ids=[])
    assert isinstance(made, BaseNotifier)
    assert (made.xcom_task_ids, made.xcom_key, made.trigger_dev_conn_id) == (
        None,
        "return_value",
        "trigger_dev_default",
    )
    assert (made.timeout, made.max_concurrency) == (30, 32)


def test_no_templated_field_overwrites_what_airflow_calls_by_the_same_name() -> None:
    taken = {"ti", "dag", "run_id", "conn", "params", "task", "context", "log"}
    assert not taken & set(CancelTriggerRunNotifier.template_fields)


# Called


def test_one_notifier_cancels_each_dag_runs_own_runs(runs: dict[str, Any], wire: Any, log: Log) -> None:
    notifier = Notifier(run_ids=["run_{{ x }}"])
    for x in ("a", "b"):
        notifier(context(x=x))
    assert wire.targets == [
        "POST /api/v2/runs/run_a/cancel",
        "GET /api/v3/runs/run_a",
        "POST /api/v2/runs/run_b/cancel",
        "GET /api/v3/runs/run_b",
    ]
    assert notifier.run_ids == ["run_{{ x }}"]


def test_a_context_whose_dag_has_no_templates_is_rendered_all_the_same(
    runs: dict[str, Any], wire: Any, log: Log
) -> None:
    serialized = SimpleNamespace(dag_id="d", render_template_as_native_obj=False)
    Notifier(run_ids="run_{{ x }}")({"dag": serialized, "x": "a"})
    assert wire.targets[0] == "POST /api/v2/runs/run_a/cancel"


def test_it_tells_all_in_one_line(runs: dict[str, Any], log: Log) -> None:
    runs["run_2"] = (400, {"error": "no"})
    Notifier(run_ids=["run_1", "run_2"]).notify(context())
    [(level, text)] = log.lines
    assert level == "error"
    assert text.startswith("2 Trigger.dev runs: 1 canceled, 1 failed - not canceled: run_2: ")


def test_a_success_is_no_error(runs: dict[str, Any], log: Log) -> None:
    Notifier(run_ids=["run_1"]).notify(context())
    assert log.lines == [("info", "1 Trigger.dev runs: 1 canceled")]


def test_unknown_runs_are_named_with_a_warning(runs: dict[str, Any], log: Log) -> None:
    runs["run_x"] = UNKNOWN
    Notifier(run_ids=["run_1", "run_x"]).notify(context())
    assert log.lines == [
        ("warning", "2 Trigger.dev runs: 1 canceled, 1 not found - not found: run_x"),
    ]


def test_where_not_one_run_is_known_the_key_is_doubted(runs: dict[str, Any], log: Log) -> None:
    runs["run_x"] = UNKNOWN
    Notifier(run_ids=["run_x"]).notify(context())
    [(level, text)] = log.lines
    assert level == "warning"
    assert "does the secret key of connection 'trigger_dev_default' belong to another environment?" in text


def test_a_rejected_key_is_told_and_not_shown(runs: dict[str, Any], log: Log) -> None:
    runs["run_1"] = (401, {"error": "Invalid API key tr_prod_marker"})
    Notifier(run_ids=["run_1"]).notify(context())
    assert ("error", "Connection 'trigger_dev_default': the secret key was rejected") in [
        (level, text.split(", so ")[0]) for level, text in log.lines
    ]
    assert "tr_prod_marker" not in str(log.lines)


def test_a_malformed_connection_is_raised(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(CONNECTION | {"password": ""}))
    with pytest.raises(InvalidConnectionError, match="field 'password'"):
        Notifier(run_ids=["run_1"], trigger_dev_conn_id="mine").notify(context())


def test_without_ids_nothing_is_asked_of_airflow(log: Log) -> None:
    Notifier(run_ids=[], trigger_dev_conn_id="there is no such connection").notify(context())
    assert log.lines == [("info", "There are no run ids, so there is nothing to cancel")]


# From XCom


def test_ids_of_both_sources_count(runs: dict[str, Any], wire: Any, log: Log) -> None:
    notifier = Notifier(run_ids="run_1", xcom_task_ids=["start", "more"], max_concurrency=1)
    notifier.notify(with_xcom({"start": ["run_2", "run_1"]}))
    assert [target.split("/")[4] for target in wire.targets[:2]] == ["run_1", "run_2"]
    assert ("warning", "Nothing was pushed by 'more'") in log.lines


def test_a_context_without_a_task_instance_has_no_xcom(runs: dict[str, Any], wire: Any, log: Log) -> None:
    Notifier(run_ids="run_1", xcom_task_ids="start").notify({"dag": None})
    level, text = log.lines[0]
    assert level == "error"
    assert "its context has no task instance" in text
    assert "CancelTriggerRunOperator" in text
    assert len(wire.sent) == 2


def test_where_an_xcom_is_out_of_reach_none_is_asked_for(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    pydantic = pytest.importorskip("pydantic", reason="an Airflow without it has no supervisor either")
    module = ModuleType("task_runner")
    module.SUPERVISOR_COMMS = SimpleNamespace(body_decoder=pydantic.TypeAdapter(int))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow.sdk.execution_time.task_runner", module)
    Notifier(xcom_task_ids="start").notify(with_xcom(AssertionError("asked")))
    assert "in the Dag processor of this Airflow" in log.lines[0][1]
    assert "asked" not in str(log.lines)


@pytest.mark.parametrize("error", [ImportError("SUPERVISOR_COMMS"), RuntimeError("no database access")])
def test_however_airflow_refuses_an_xcom_the_other_ids_are_canceled(
    runs: dict[str, Any], wire: Any, log: Log, error: Exception
) -> None:
    Notifier(run_ids="run_1", xcom_task_ids="start").notify(with_xcom(error))
    assert f"{type(error).__name__}: {error}" in log.lines[0][1]
    assert len(wire.sent) == 2


def test_a_task_that_the_dag_does_not_have_is_told(log: Log) -> None:
    Notifier(xcom_task_ids="strat").notify(with_xcom({}))
    assert log.lines[0][0] == "error"
    assert "did you mean 'start'?" in log.lines[0][1]


# Time, and the triggerer


def test_there_is_one_time_limit_for_all(runs: dict[str, Any], wire: Any, log: Log, clock: Any) -> None:
    notifier = Notifier(run_ids=["run_1", "run_2", "run_3"], timeout=5, max_concurrency=1)
    answers = wire.script

    def slow(request: Any) -> Any:
        clock.now += 3
        return answers(request)

    wire.script = slow
    notifier.notify(context())
    assert [target.split()[0] for target in wire.targets] == ["POST", "POST"]
    assert log.lines[-1][0] == "error"
    assert "3 failed" in log.lines[-1][1]


def test_it_can_be_awaited(runs: dict[str, Any], wire: Any, log: Log) -> None:
    asyncio.run(Notifier(run_ids=["run_1"]).async_notify({"deadline": {}}))
    assert len(wire.sent) == 2
    assert log.lines == [("info", "1 Trigger.dev runs: 1 canceled")]


def test_awaited_without_ids_it_asks_nothing_of_airflow(log: Log) -> None:
    asyncio.run(Notifier(run_ids=[], trigger_dev_conn_id="there is no such connection").async_notify({}))
    assert len(log.lines) == 1


@pytest.mark.skipif(not hasattr(BaseNotifier, "__await__"), reason="this Airflow has no deadline alerts")
def test_awaited_as_airflow_does_it_it_renders_a_copy(runs: dict[str, Any], wire: Any, log: Log) -> None:
    async def await_it(notifier: Any) -> None:
        await notifier

    notifier = Notifier(run_ids="run_{{ x }}", context={"x": "a"})
    asyncio.run(await_it(notifier))
    assert wire.targets[0] == "POST /api/v2/runs/run_a/cancel"
    assert notifier.run_ids == "run_{{ x }}"

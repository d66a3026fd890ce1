from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_names import dag_of
from event_loop import run as run_on_loop
from fake_airflow import TaskInstance
from fake_log import Log
from jinja2 import UndefinedError
from world import World

from airflow_provider_trigger._compat import AirflowFailException, AirflowNotFoundException, BaseNotifier
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier

SUCCESS = ("info", "1 Trigger.dev run: 1 canceled")


Notifier = CancelTriggerRunNotifier


@pytest.fixture
def log(keep_log):
    return keep_log(Notifier)


@pytest.fixture(autouse=True)
def server(answers: dict[str, Any]) -> None:
    answers["batch_1"] = answers["run_x"]
    answers["run_bad"] = (400, {"error": "no"})
    answers["run_key"] = (401, {"error": "Invalid API key tr_prod_marker"})


def context(**fields: Any) -> Any:
    return {"dag": dag_of("start")} | fields


def with_xcom(**pushed: Any) -> Any:
    """Build the context of a Dag's callback, in which a task instance has what tasks pushed."""
    return context(ti=TaskInstance(xcoms=pushed), reason="task_failure")


# What is rejected when the Dag is parsed


def test_the_class_itself_as_a_callback_is_an_error_that_says_what_to_write() -> None:
    callback = CancelTriggerRunNotifier  # on_failure_callback=CancelTriggerRunNotifier
    with pytest.raises(TypeError) as raised:
        callback(context())
    name = "CancelTriggerRunNotifier"
    assert str(raised.value) == (
        f"{name}: nothing was done, as it takes keyword arguments only: the callback must be an instance of "
        f"this class, not the class itself; write on_failure_callback={name}(...)"
    )


def test_no_templated_field_overwrites_what_airflow_calls_by_the_same_name() -> None:
    taken = {"ti", "dag", "run_id", "conn", "params", "task", "context", "log", "loop"}
    assert not taken & set(CancelTriggerRunNotifier.template_fields)


# Called


def test_one_notifier_cancels_each_dag_runs_own_runs(wire, log: Log) -> None:
    notifier = Notifier(run_ids=["run_{{ x }}"])
    notifier(context(x="a"))
    # Under dag.test() of Airflow 3, this has no templates.
    notifier({"dag": SimpleNamespace(dag_id="d", render_template_as_native_obj=False), "x": "b"})
    assert wire.targets == [
        f"{what} /api/{path}"
        for run_id in ("run_a", "run_b")
        for what, path in [("POST", f"v2/runs/{run_id}/cancel"), ("GET", f"v3/runs/{run_id}")]
    ]
    assert notifier.run_ids == ["run_{{ x }}"]


WHERE = "Dag 'd', Dag run 'manual_1': "


def test_each_run_gets_a_line_and_all_a_summary(log: Log) -> None:
    Notifier(run_ids=["run_1", "run_bad"]).notify(context(run_id="manual_1"))
    canceled = "run_1 (t): canceled, CANCELED https://trigger.test/runs/run_1"
    failed = "run_bad (Trigger.dev task unknown): failed, status unknown - "
    summary = "2 Trigger.dev runs: 1 canceled, 1 failed - 1 run may still run (status unknown); not canceled"
    first = "Canceling the Trigger.dev runs of run_ids"
    assert log.leveled[:2] == [("info", WHERE + first), ("info", WHERE + canceled)]
    for (level, text), begin in zip(log.leveled[2:], (failed, f"{summary}: run run_bad: "), strict=True):
        assert level == "error"
        assert text.startswith(WHERE + begin)


KEY_REJECTED = (
    "Connection 'trigger_dev_default': the secret key was rejected: check the password of connection "
    "'trigger_dev_default'; 1 run may still run (status unknown)"
)
OTHER_KEY = "does the secret key of connection 'trigger_dev_default' belong to another environment?"


@pytest.mark.parametrize(
    ("run_ids", "level", "begin", "advice"),
    [
        (["run_1"], *SUCCESS, ""),
        (["run_1", "run_x", "batch_1"], "error", "3 Trigger.dev runs: 1 canceled, 2 not f", "run_x, batch_1"),
        (["run_x"], "error", "1 Trigger.dev run: 1 not found - not found: run_x", OTHER_KEY),
        (["run_key"], "error", "1 Trigger.dev run: 1 failed - ", KEY_REJECTED),
    ],
)
def test_what_is_left_is_an_error(run_ids: list[str], level: str, begin: str, advice: str, log: Log) -> None:
    Notifier(run_ids=run_ids).notify({})
    assert log.leveled[-1][0] == level
    assert log.leveled[-1][1].startswith(begin)
    assert advice in log.leveled[-1][1]
    assert "tr_prod_marker" not in str(log.leveled)


@pytest.mark.parametrize(
    ("set_up", "error", "text"),
    [
        ('{"conn_type": "trigger_dev"}', AirflowFailException, ", field 'password': "),
        ("", AirflowNotFoundException, " was not found; create it"),
    ],
)
def test_without_a_connection_it_raises_what_to_do_and_how_many_runs_may_still_run(
    run, set_up: str, error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", set_up)
    with pytest.raises(error) as raised:
        run(Notifier(run_ids=["run_1", "run_2"], trigger_dev_conn_id="mine"), context())
    assert str(raised.value).startswith(f"Dag 'd': Connection 'mine'{text}")
    assert str(raised.value).endswith("; 2 runs may still run")
    assert log.leveled[1:] == []  # Airflow logs what a callback raises


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({"run_ids": "{{ nothing.here }}"}, "runs whose ids could not be read may still run"),
        (
            {"xcom_task_ids": "{{ nothing.here }}"},
            "runs that were not found yet may still run; runs whose ids could not be read may still run",
        ),
    ],
)
def test_a_broken_template_is_logged_with_what_is_left(
    arguments: dict[str, Any], left: str, log: Log
) -> None:
    with pytest.raises(UndefinedError):
        Notifier(**arguments)(context(run_id="manual_1"))
    why = "a template cannot be rendered: UndefinedError: 'nothing' is undefined"
    assert ("error", f"{WHERE}{why}; {left}") in log.leveled


def test_without_ids_the_connection_is_not_fetched(run, log: Log) -> None:
    run(Notifier(run_ids=[], trigger_dev_conn_id="there is no such connection"), context())
    assert log.leveled[1:] == [
        ("warning", "Dag 'd': run_ids is an empty list"),
        ("info", "Dag 'd': No run ids were found, so nothing was canceled"),
    ]


# From XCom


LEFT = "runs whose ids could not be read may still run; "
ONE, NONE = f"1 Trigger.dev run: 1 canceled - {LEFT}", f"0 Trigger.dev runs - {LEFT}"


@pytest.mark.parametrize(
    ("arguments", "pushed", "problem", "summary"),
    [
        ({"run_ids": "run_1"}, None, "its context has no task instance", ONE),
        ({"run_ids": "run_1"}, ImportError("no supervisor"), "ImportError: no supervisor", ONE),
        ({"run_ids": [7]}, "run_1", "7 from run_ids ", "1 Trigger.dev run: 1 canceled - "),
        ({}, RuntimeError("no database"), "RuntimeError: no database", NONE),
        ({"xcom_task_ids": "strat"}, "run_1", "did you mean 'start'?", "0 Trigger.dev runs - "),
    ],
)
def test_what_cannot_be_read_is_an_error_and_keeps_no_other_run_alive(
    log: Log, arguments: dict[str, Any], pushed: Any, problem: str, summary: str
) -> None:
    given = with_xcom(start=pushed) if pushed else context()
    Notifier(**{"xcom_task_ids": "start"} | arguments).notify(given)
    assert (log.leveled[1][0], log.leveled[-1][0]) == ("error", "error")
    assert problem in log.leveled[1][1]
    assert log.leveled[-1][1].startswith(f"Dag 'd': {summary}")
    assert "nothing was canceled" not in str(log.leveled)


# In the triggerer


def test_awaited_it_works_in_its_own_thread_with_the_context_of_the_log(log: Log, world: World) -> None:
    """Neither the event loop waits for it, nor does it wait for a thread of the loop."""
    trigger: ContextVar[str] = ContextVar("trigger")
    seen: list[tuple[str, str]] = []
    given = with_xcom(start="run_1")

    def xcom_pull(**_: Any) -> str:
        seen.append((trigger.get("none"), threading.current_thread().name))
        return "run_1"

    given["ti"].xcom_pull = xcom_pull

    async def while_all_threads_are_taken() -> None:
        executor, hold = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(executor)
        executor.submit(hold.wait)
        trigger.set("mine")
        try:
            await asyncio.wait_for(Notifier(xcom_task_ids="start").async_notify(given), 60)
        finally:
            hold.set()

    run_on_loop(while_all_threads_are_taken())
    assert log.leveled[-1] == (SUCCESS[0], f"Dag 'd': {SUCCESS[1]}")
    assert seen == [("mine", "trigger-dev-notifier_0")]
    world.sleep(1)
    ours = [one for one in world.hub.threads.values() if one.name.startswith("trigger-dev")]
    assert ours
    assert not [one for one in ours if one.is_alive()], "no thread is left behind"


@pytest.mark.skipif(not hasattr(BaseNotifier, "__await__"), reason="this Airflow has no deadline alerts")
def test_awaited_as_airflow_does_it_it_renders_a_copy(wire, log: Log) -> None:
    async def await_it(notifier: Any) -> None:
        await notifier

    values: Any = {"x": "a"}
    notifier = Notifier(run_ids="run_{{ x }}", context=values)
    run_on_loop(await_it(notifier))
    assert wire.targets[0] == "POST /api/v2/runs/run_a/cancel"
    assert notifier.run_ids == "run_{{ x }}"

"""Waitpoint tokens that callbacks complete, and what the log of their process says."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_names import DAG, dag_of
from fake_airflow import TaskInstance
from fake_log import Log
from hub import Hub
from in_process import Network
from requests import ConnectionError as Lost
from token_server import TOKENS, UNKNOWN

from airflow_provider_trigger._compat import AirflowNotFoundException, BaseOperator
from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.usefixtures("wired")


Notifier = CompleteWaitpointTokenNotifier


@pytest.fixture
def log(keep_log):
    return keep_log(Notifier)


def context(**fields: Any) -> Any:
    return {"dag": dag_of("make"), "run_id": "manual_1"} | fields


WHERE = "Dag 'd', Dag run 'manual_1': "


def test_one_notifier_completes_each_dag_runs_own_tokens(waitpoints: TriggerDevServer, log: Log) -> None:
    one, two = (waitpoints.create_token()[0] for _ in range(2))
    notifier = Notifier(token_ids=["{{ x }}"], data={"failed": True, "dag": "{{ dag.dag_id }} {{ x }}"})
    notifier(context(x=one.id))
    notifier(context(x=two.id))
    assert [token.output["dag"] for token in (one, two)] == [f"d {one.id}", f"d {two.id}"]
    assert notifier.token_ids == ["{{ x }}"]


@pytest.mark.parametrize("data", [False, 0, []])
def test_what_a_template_renders_to_is_the_data(data: Any, waitpoints: TriggerDevServer) -> None:
    token = waitpoints.create_token()[0]
    native = DAG("native", schedule=None, render_template_as_native_obj=True)
    Notifier(token_ids=token.id, data="{{ x }}")(context(dag=native, x=data))
    assert token.output == data


def test_a_function_gives_the_ids_as_it_does_in_an_operator(waitpoints: TriggerDevServer) -> None:
    token = waitpoints.create_token()[0]
    Notifier(token_ids=lambda context, jinja_env: [context["x"]], data=1)(context(x=token.id))
    assert token.output == 1


def test_each_token_gets_a_line_and_all_a_summary(run, tokens, log: Log) -> None:
    url = f"https://trigger.test{tokens['completed'].path}"
    ours, done, late = (token.id for token in tokens.values())
    given = context(ti=TaskInstance(xcoms={"make": {"id": ours, "url": url}}), reason="task_failure")
    run(Notifier(token_ids=[done, late, UNKNOWN, url], xcom_task_ids="make", data=1), given)
    summary = "4 waitpoint tokens: 1 completed, 1 already completed, 1 timed out, 1 not found"
    problems = f"timed out: {late} (what waited for it went on without this data); not found: {UNKNOWN}"
    assert log.leveled == [
        ("info", f"{WHERE}{done}: already completed, COMPLETED"),
        ("error", f"{WHERE}{late}: timed out, TIMED_OUT"),
        ("error", f"{WHERE}{UNKNOWN}: not found, status unknown"),
        ("info", f"{WHERE}{ours}: completed, COMPLETED"),
        ("error", f"{WHERE}{summary} - {problems}"),
    ]


def test_without_a_connection_it_raises_what_to_do_and_how_many_tokens_may_wait(run, log: Log) -> None:
    with pytest.raises(AirflowNotFoundException, match=" was not found; create it") as raised:
        run(Notifier(token_ids=["waitpoint_1"], trigger_dev_conn_id="mine"), context())
    assert str(raised.value).startswith(f"{WHERE}Connection 'mine'")
    assert str(raised.value).endswith("; 1 token may still be waiting")
    assert log.leveled == []  # Airflow logs what a callback raises


def test_without_ids_it_is_an_error_and_the_connection_is_not_fetched(run, log: Log) -> None:
    run(Notifier(token_ids=[], trigger_dev_conn_id="there is no such connection"), context())
    empty = "token_ids is an empty list"
    assert log.leveled == [
        ("error", f"{WHERE}{empty}"),
        ("error", f"{WHERE}No token ids were found, so nothing was completed - {empty}"),
    ]


def test_data_that_became_invalid_are_an_error_and_nothing_is_sent(run, wired: Network, tokens) -> None:
    notifier = Notifier(token_ids=tokens["completed"].id, data="{{ x }}")
    notifier.data = [2**60]  # as rendered natively
    with pytest.raises(ValueError, match=r"data must not have an integer beyond 2\^53") as raised:
        run(notifier, context())
    assert wired.requests == []
    assert str(raised.value).startswith(WHERE)
    assert str(raised.value).endswith("1 token may still be waiting")


def test_the_time_limit_is_for_all_of_it(run, wired: Network, tokens, clock: Hub, log: Log) -> None:
    given, begun = context(ti=TaskInstance(), reason="task_failure"), clock.now

    def xcom_pull(**_: Any) -> str:
        clock.sleep(3)
        return str(tokens["completed"].id)

    given["ti"].xcom_pull = xcom_pull
    wired.fault(TOKENS, Lost(), times=100000)
    run(Notifier(xcom_task_ids="make", timeout=5), given)
    assert clock.now - begun < 5.6
    assert log.leveled[-1][0] == "error"
    assert "1 failed - 1 token may still be waiting; not completed: " in log.leveled[-1][1]


@pytest.mark.parametrize(
    "data", [BaseOperator(task_id="t").output, {"a": [BaseOperator(task_id="t").output]}]
)
def test_the_output_of_a_task_in_the_data_is_an_error_as_a_callback_cannot_resolve_it(data) -> None:
    with pytest.raises(ValueError, match=r"CompleteWaitpointTokenNotifier: data.* must be JSON: .*XComArg"):
        CompleteWaitpointTokenNotifier(token_ids="waitpoint_1", data=data)

"""The runs belong to the task: their XComs come first, and they are canceled when the task is ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from airflow_names import TaskDeferralError
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker, operator_in_worker

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

operator = partial(operator_in_worker, timeout=30)
of_one_and_of_many = pytest.mark.parametrize(
    "make", [operator, partial(batch_in_worker, payloads=[1, 2])], ids=["one run", "many runs"]
)


# XCom


@of_one_and_of_many
@pytest.mark.parametrize("cancels", [True, False])
def test_where_the_push_of_its_id_fails_a_run_is_canceled(cancels: bool, make, execute, endless, ti) -> None:
    ti.fails_at = "run_id"
    with pytest.raises(RuntimeError, match="no XCom backend"):
        execute(make(cancel_on_kill=cancels))
    assert {run.cancel_requests for run in endless.runs.values()} == {int(cancels)}


def test_a_link_that_cannot_be_pushed_is_a_warning_and_no_failure(execute, server, ti, keep_log) -> None:
    log, ti.fails_at = keep_log(RunTriggerTaskOperator), "run_url"
    assert execute(operator()) == {"done": True}
    [warning] = log.of("warning")
    assert "in XCom; only the button is missing: RuntimeError: no XCom backend" in warning


# Airflow stops the task


@pytest.mark.parametrize("extra", [{"retry_for": 0}, {"timeout": 0.3}])
def test_a_stop_has_its_own_time_limits_whatever_those_of_the_connection(
    extra: dict[str, Any], endless, ti, run_of, in_signal_handler, keep_log, connection_to
) -> None:
    log = keep_log(RunTriggerTaskOperator)
    if "timeout" in extra:
        endless.delay_next(None, 0.6, path="*/cancel")
    else:
        endless.fail_next(2, 503, path="*/cancel")
    made = operator(trigger_dev_conn_id=connection_to(endless, "hasty", **extra))
    in_signal_handler(lambda: run_of("EXECUTING"), made.on_kill)
    with pytest.raises(AirflowException, match="Airflow stopped the task"):
        made.execute(context_of(ti))
    assert (run_of().status, run_of().cancel_requests) == ("CANCELED", 1)
    assert log.of("error") == []


@pytest.mark.parametrize("try_number", [1, 2])
def test_a_run_whose_check_fails_is_canceled(try_number: int, connection: str, endless, run_of) -> None:
    if try_number == 1:
        endless.truncate_next(1, path="/trigger", method="POST")
    else:
        operator(wait_for_completion=False).execute(context_of(TaskInstance(max_tries=1)))
    endless.fail_next(1, 403, path="/api/v3/runs/", method="GET")
    with pytest.raises(Exception, match="answered 403"):
        operator().execute(context_of(TaskInstance(max_tries=1, try_number=try_number)))
    assert run_of().status == "CANCELED"


# A trigger that failed or timed out


@pytest.mark.parametrize("fault", ["server", "vault"])
def test_where_the_trigger_failed_and_the_cancel_too_the_log_says_that_the_run_may_still_run(
    fault: str, fail_trigger, server, keep_log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("tr_prod_secret: the vault is sealed")

    log = keep_log(RunTriggerTaskOperator)
    if fault == "server":
        server.fail_next(None, 400)
    else:
        monkeypatch.setattr(TriggerDevHook, "get_connection", fail)
    run = fail_trigger(pushes=str)
    [error] = [text for text in log.of("error") if "may still be running" in text]
    assert error.startswith(f"Run {run.id} may still be running: cancel failed: ")
    assert "tr_prod_secret" not in error


@pytest.fixture
def fail_trigger(connection: str, ti, server) -> Callable[..., Any]:
    """Resume an operator as Airflow does where its trigger failed; return the run from before."""

    def resume(*, pushes: Callable[[str], Any], **arguments: Any) -> Any:
        run = server.add_run("EXECUTING")
        ti.map_index = 3
        ti.xcoms["work", "run_id"] = pushes(run.id)
        with pytest.raises(TaskDeferralError, match="no such trigger"):
            operator(**arguments).resume_execution("__fail__", {"error": "no such trigger"}, context_of(ti))
        return run

    return resume

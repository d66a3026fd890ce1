"""What the ends of runs mean for their task: what it pushes and raises, and whether it is retried."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker as batch
from run_operator import operator_in_worker as operator

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.exceptions import (
    TriggerBatchFailedError,
    TriggerBatchNotRetriedError,
    TriggerRunFailedError,
    TriggerRunNotRetriedError,
)
from airflow_provider_trigger.operators.batch import is_failure
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

RETRIED = ["FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE"]
OTHERS = ["CANCELED", "EXPIRED"]


def event_of(*runs: Any) -> dict[str, Any]:
    shown = [{"run_id": run.id, "end": "final", "status": run.status, "error": ""} for run in runs]
    return {"runs": shown, "try_number": 1}


# XCom


def test_a_run_that_was_waited_for_in_the_worker_is_known(execute, server, ti, run_of) -> None:
    server.on_task("resize", output=1, after=0.1)
    assert execute(operator(metadata={"rows": 3})) == 1
    facts, run = ti.pushed["run"], run_of()
    assert len(facts) == 12
    assert None not in facts.values()
    assert facts["run_url"] == f"{server.url}/runs/{run.id}"
    some = {name: facts[name] for name in ("run_id", "status", "task_identifier", "attempts", "metadata")}
    assert list(some.values()) == [run.id, "COMPLETED", "resize", 1, {"rows": 3}]
    assert facts["compute_seconds"] == 0.1


@pytest.mark.parametrize("kind", [operator, partial(ReplayTriggerRunOperator, task_id="a", run_id="run_0")])
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
@pytest.mark.parametrize("pushes", [True, False])
def test_a_resumed_task_knows_its_run_by_the_one_request_for_output_or_error(
    pushes: bool, status: str, kind: Any, connection: str, server, ti, sent
) -> None:
    run = server.add_run(status, task_identifier="resize")
    made = kind(do_xcom_push=pushes, run_logs="never")
    resume = partial(made.execute_complete, context_of(ti), event_of(run))
    if status == "COMPLETED":
        resume()
    else:
        with pytest.raises(TriggerRunFailedError):
            resume()
    assert sent() == ["retrieve"]
    assert ("run" in ti.pushed) is pushes
    if pushes:
        assert (ti.pushed["run"]["run_id"], ti.pushed["run"]["status"]) == (run.id, status)


@pytest.mark.parametrize(
    ("made", "key", "kind", "returned"),
    [
        (operator(retry_statuses=[]), "run", TriggerRunNotRetriedError, 1),
        (batch(payloads=[1], retry_statuses=[]), "results", TriggerBatchNotRetriedError, [1]),
    ],
    ids=["run", "batch"],
)
@pytest.mark.parametrize("error", ["boom", None])
def test_a_backend_that_cannot_store_it_hides_neither_output_nor_error(
    error: str | None, made, key: str, kind, returned, execute, server, ti, keep_log
) -> None:
    log, ti.fails_at = keep_log(type(made)), key
    server.on_task("resize", output=1, error=error)
    if error:
        with pytest.raises(kind, match="boom"):
            execute(made)
    else:
        assert execute(made) == returned
    assert f"XCom {key!r} could not be stored: RuntimeError: no XCom backend" in log.of("error")


@pytest.mark.parametrize(
    ("metadata", "stored"),
    [({"a": "half \ud83d"}, {"a": "half \ufffd"}), ({"a": [{"__type": "set", "__var": []}]}, None)],
)
def test_metadata_are_made_fit_for_xcom(metadata, stored, connection: str, server, ti, keep_log) -> None:
    log = keep_log(RunTriggerTaskOperator)
    run = server.add_run("COMPLETED", metadata=metadata)
    operator().execute_complete(context_of(ti), event_of(run))
    assert ti.pushed["run"]["metadata"] == stored
    assert log.of("warning")[0].startswith(f"The metadata of run {run.id} has ")


# Of a batch


def test_what_the_answers_show_of_the_runs_of_a_batch_is_in_its_results(execute, server, ti) -> None:
    server.on_task("resize", after=0.02)
    server.on_task("resize", error="x" * 900, times=1, after=0.02)
    with pytest.raises(TriggerBatchFailedError) as raised:
        execute(batch(payloads=[1, 2]))
    failed, completed = ti.pushed["results"]
    assert failed["error"] == ("Error: " + "x" * 900)[:500]
    assert raised.value.results == ti.pushed["results"]
    for result, status in ((failed, "FAILED"), (completed, "COMPLETED")):
        assert (result["status"], result["attempts"]) == (status, 1)
        assert result["compute_seconds"] == 0.02
        assert None not in {name: value for name, value in result.items() if name != "error"}.values()


def test_what_no_answer_has_shown_of_a_run_of_a_batch_is_none(connection: str, server, ti, sent) -> None:
    done, failed = server.add_run("COMPLETED"), server.add_run("FAILED")
    batch().execute_complete(context_of(ti), event_of(done))
    assert ti.pushed["results"][0]["finished_at"], "by the request for its output"
    server.requests.clear()
    with pytest.raises(TriggerBatchFailedError):
        batch(run_logs="never").execute_complete(context_of(ti), event_of(done, failed))
    assert sent() == ["retrieve"]
    known = [{name for name, value in one.items() if value is not None} for one in ti.pushed["results"]]
    assert known[0] == {"index", "run_id", "status"}
    assert known[1] >= {"version", "attempts", "created_at", "compute_seconds"}


# Errors


@pytest.mark.parametrize("retried", [None, [*RETRIED, *OTHERS], []])
def test_the_final_status_decides_on_a_retry(retried: list[str] | None, connection: str, server, ti) -> None:
    made = operator(run_logs="never", **({} if retried is None else {"retry_statuses": retried}))
    for status in (*RETRIED, *OTHERS):
        with pytest.raises(TriggerRunFailedError) as raised:
            made.execute_complete(context_of(ti), event_of(server.add_run(status)))
        is_retried = status in (RETRIED if retried is None else retried)
        assert type(raised.value) is (TriggerRunFailedError if is_retried else TriggerRunNotRetriedError)


# How a wait for a run has ended, and how the server shows the run, None for not at all.
ENDS = {
    "timed out": ("timed_out", "CANCELED"),
    "not needed": ("not_needed", "CANCELED"),
    "no version": ("no_version", "PENDING_VERSION"),
    "rejected": ("rejected", None),
}
TAG = ". Look for runs that may still be running by the tag airflow_task:work:"


@pytest.mark.parametrize(
    ("each", "kind", "text"),
    [
        # The task is retried if one of its runs may do better.
        (["timed out"], TriggerBatchFailedError, r"within its time limit \(timeout=60 s\). It was canceled"),
        (["no version"], TriggerBatchNotRetriedError, "version after pending_version_timeout"),
        (["rejected"], AirflowException, f"may still be running: why.*{TAG}"),
        (["FAILED", "CANCELED"], TriggerBatchFailedError, "^2 of 2 .*: item 0: Run .* FAILED.*; item 1: "),
        (["COMPLETED", "FAILED"], TriggerBatchFailedError, "^1 of 2 items failed: item 1: [^;]*$"),
        (["CANCELED", "EXPIRED"], TriggerBatchNotRetriedError, "ended with status EXPIRED"),
        (["CANCELED", "timed out"], TriggerBatchFailedError, "^((?!Look for).)*$"),
        (["FAILED", "rejected"], TriggerBatchFailedError, TAG),
        (["CANCELED", "no version"], TriggerBatchNotRetriedError, "no deployed version"),
        (
            ["CANCELED", "not needed"],
            TriggerBatchNotRetriedError,
            r"^1 of 2 .*. Canceled because of a failed run \(cancel_others=True\): 1$",
        ),
        (
            ["COMPLETED", "not needed"],
            TriggerBatchFailedError,
            "^0 of 2 items failed: the failed run has completed after all. Canceled because of",
        ),
        (["FAILED"] * 12, TriggerBatchFailedError, "^12 of 12 .*; item 9: .* … and 2 more$"),
    ],
)
def test_the_error_of_a_batch(each: list[str], kind: Any, text: str, connection: str, server, ti) -> None:
    runs = []
    for number, one in enumerate(each):
        end, status = ENDS.get(one, ("final", one))
        run_id = server.add_run(status).id if status else f"run_{number}"
        runs.append({"run_id": run_id, "end": end, "status": status, "error": "" if status else "why"})
    with pytest.raises(AirflowException, match=text) as raised:
        batch(run_logs="never").execute_complete(context_of(ti), {"runs": runs})
    assert type(raised.value) is kind
    assert [one["run_id"] for one in ti.pushed["results"]] == [run["run_id"] for run in runs]


@pytest.mark.parametrize(
    ("fail_on", "count", "fewest"),
    [
        ("any", 20, 1),
        ("all", 20, 20),
        ("never", 20, None),
        (3, 20, 3),
        (3, 2, 2),  # as many as there are
        (3, 0, None),
        ("10%", 20, 3),
        ("10 %", 30, 4),
        ("0.1%", 1000, 2),
        ("50%", 1, 1),
    ],
)
def test_a_batch_fails_from_so_many_failed_runs_on(fail_on: Any, count: int, fewest: int | None) -> None:
    failing = [failed for failed in range(count + 1) if is_failure(fail_on, failed=failed, count=count)]
    assert failing == ([] if fewest is None else list(range(fewest, count + 1)))


@pytest.mark.parametrize("fail_on", [1, "10%"])
def test_a_threshold_does_not_go_with_cancel_others(fail_on: Any) -> None:
    with pytest.raises(ValueError, match=f"cancel_others=True does not go with fail_on={fail_on!r}"):
        batch(fail_on=fail_on, cancel_others=True)


@pytest.mark.parametrize(
    ("how", "status", "name", "code", "message"),
    [
        (
            {"crash": "TASK_PROCESS_OOM_KILLED"},
            "CRASHED",
            None,
            "TASK_PROCESS_OOM_KILLED",
            "trigger.dev internal error (TASK_PROCESS_OOM_KILLED)",
        ),
        ({"error": {"name": "TypeError", "message": "no file"}}, "FAILED", "TypeError", None, "no file"),
        ({"error": {"message": ""}}, "FAILED", None, None, None),
    ],
)
def test_the_error_of_a_task_says_to_programs_how_its_run_has_ended(
    how: Any, status: str, name: Any, code: Any, message: Any, execute, server, run_of
) -> None:
    server.on_task("resize", **how)
    with pytest.raises(TriggerRunFailedError) as raised:
        execute(operator())
    assert type(raised.value) is TriggerRunFailedError
    assert ("a larger machine" in str(raised.value)) is (code is not None)
    assert vars(raised.value) == {
        "run_id": run_of().id,
        "run_url": f"{server.url}/runs/{run_of().id}",
        "status": status,
        "task_identifier": "resize",
        "error_name": name,
        "error_code": code,
        "error_message": message,
        "attempts": 1,
    }


POLICY = SimpleNamespace(retry_policy=object(), retries=1)
HAND, NONE = {"task": POLICY}, {"task": SimpleNamespace(retry_policy=None, retries=1)}


@pytest.mark.parametrize(
    ("given", "status", "kind"),
    [
        ({}, "FAILED", TriggerRunFailedError),
        (NONE, "CANCELED", TriggerRunNotRetriedError),
        (HAND, "CANCELED", TriggerRunFailedError),
    ],
)
@pytest.mark.parametrize("is_batch", [False, True])
def test_with_a_retry_policy_each_end_is_an_error_that_the_policy_sees(
    is_batch: bool, given: dict[str, Any], status: str, kind: Any, connection: str, server, ti
) -> None:
    run = server.add_run(status)
    made = batch() if is_batch else operator()
    of_batch = {TriggerRunFailedError: TriggerBatchFailedError}.get(kind, TriggerBatchNotRetriedError)
    with pytest.raises(AirflowException) as raised:
        made.execute_complete(context_of(ti, **given), event_of(run))
    assert type(raised.value) is (of_batch if is_batch else kind)


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(
    ("context", "skips", "kind"),
    [
        ({}, {}, TriggerRunNotRetriedError),
        (HAND, {}, TriggerRunFailedError),
        (HAND, {"silent_fail": True}, TriggerRunNotRetriedError),
    ],
)
def test_a_sensor_fails_with_the_error_of_the_run(
    deferred: bool, context: dict[str, Any], skips: dict[str, Any], kind: Any, connection: str, server
) -> None:
    run = server.add_run("FAILED", task_identifier="resize")
    made = TriggerRunSensor(task_id="wait", run_ids=[run.id], poke_interval=0.02, timeout=9, **skips)
    given = context_of(TaskInstance(), **context)
    with pytest.raises(TriggerRunFailedError, match="ended with status FAILED") as raised:
        made.execute_complete(given, event_of(run)) if deferred else made.execute(given)
    assert type(raised.value) is kind
    assert (raised.value.run_id, raised.value.status) == (run.id, "FAILED")
    assert raised.value.run_url == f"{server.url}/runs/{run.id}"

"""Which runs have their logs in the log of their task, in the worker and after a deferral."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fake_airflow import context_of
from fake_log import Log
from run_operator import batch_in_worker, operator_in_worker

from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def log(world) -> Log:
    kept: Log = world.log
    return kept


@pytest.fixture
def logging_task(server: TriggerDevServer) -> TriggerDevServer:
    """A server with a task whose runs log their payload; those of ``bad…`` fail."""

    def work(payload: Any, log: Callable[..., None]) -> Any:
        log("INFO", f"working on {payload}")
        if str(payload).startswith("bad"):
            raise ValueError(payload)
        return payload

    server.on_task("resize", start_after=0, after=0, output=work)
    return server


@pytest.fixture
def outcome(connection: str, ti) -> Callable[[Callable[[Any], Any]], str]:
    """Do something with the context of a task instance; return the text of its error, if it has one."""

    def act(work: Callable[[Any], Any]) -> str:
        try:
            work(context_of(ti))
        except Exception as error:
            return str(error)
        return ""

    return act


def fetched(server: TriggerDevServer) -> list[Any]:
    """Return the payload of each run whose log was requested, in their order."""
    paths = [one.path.split("/") for one in server.requests if one.path.endswith("/events")]
    return [server.runs[path[-2]].payload for path in paths]


def shown(log: Log) -> list[str]:
    return [text.partition("Z ")[2] for text in log.lines if "Z working on " in text]


def resume(made: Any, server: TriggerDevServer, context: Any) -> Any:
    """Resume a task with the event of all runs."""
    ended = {"end": "final", "error": ""}
    runs = [{"run_id": one.id, "status": one.status} | ended for one in server.runs.values()]
    return made.execute_complete(context, {"runs": runs})


WAYS = ["in_worker", "deferred", "replay"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payload", ["good", "bad"])
@pytest.mark.parametrize("run_logs", ["on_failure", "always", "never", None])
def test_the_log_of_a_run_is_written_on_demand(run_logs, payload, way, logging_task, outcome, log) -> None:
    arguments = {} if run_logs is None else {"run_logs": run_logs}
    made: Any = operator_in_worker(payload=payload, **arguments)
    if way != "in_worker":
        run, _ = logging_task.trigger("resize", payload=payload)
    if way == "replay":
        made = ReplayTriggerRunOperator(task_id="work", run_id=run.id, poll_interval=0.02, **arguments)
    error = outcome(made.execute if way != "deferred" else partial(resume, made, logging_task))
    assert ("FAILED after 1 attempt: ValueError: bad" in error) is (payload == "bad")
    is_written = run_logs == "always" or (run_logs != "never" and payload == "bad")
    assert fetched(logging_task) == [payload] * is_written
    assert shown(log) == [f"working on {payload}"] * is_written


@pytest.mark.parametrize(
    ("payloads", "run_logs", "fail_on", "items"),
    [
        ("good0 bad1 good2 bad3 bad4 bad5", "on_failure", "any", "bad1 bad3 bad4"),
        ("good0 bad1 good2 bad3 bad4 bad5", "always", "never", "bad1 bad3 bad4"),
        ("good0 good1 bad2 good3", "always", "any", "bad2 good0 good1"),
    ],
)
def test_a_batch_has_three_logs(payloads, run_logs, fail_on, items, logging_task, outcome, log) -> None:
    payloads, items = payloads.split(), items.split()
    outcome(batch_in_worker(payloads=payloads, run_logs=run_logs, fail_on=fail_on).execute)
    assert fetched(logging_task) == items
    assert shown(log) == [f"working on {item}" for item in items]
    runs_of = {run.payload: run.id for run in logging_task.runs.values()}
    assert [text for text in log.lines if text.startswith("Log of ")] == [
        f"Log of item {item[-1]}: run {runs_of[item]}:" for item in items
    ]


def test_runs_that_never_started_take_no_place_of_those_with_a_log(logging_task, outcome) -> None:
    for _ in range(3):
        logging_task.add_run("QUEUED").cancel()
    logging_task.trigger("resize", payload="bad")
    outcome(partial(resume, batch_in_worker(payloads=[1, 2, 3, "bad"]), logging_task))
    assert fetched(logging_task) == ["bad"]


def test_once_the_task_is_stopped_nothing_is_fetched(logging_task, outcome) -> None:
    made = operator_in_worker(run_logs="always")
    run, _ = logging_task.trigger("resize", payload="bad")
    made.on_kill()
    outcome(partial(resume, made, logging_task))
    assert (run.status, fetched(logging_task)) == ("FAILED", [])


def test_lines_keep_their_levels_and_times_and_the_key_is_masked(logging_task, outcome, log) -> None:
    key = logging_task.secret_key
    message = f"working\non {key}, 100 %s \ud83d"  # cut by the server within an emoji
    events = [
        {"level": level, "message": message, "startTime": f"179586046318{number}000999"}
        for number, level in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "NEW"))
    ]
    events += [{"level": "INFO", "message": f"at some time {key[:length]}"} for length in (9, len(key) - 1)]
    logging_task.malformed_next(None, json.dumps({"events": events}), "application/json", path="/events")
    outcome(operator_in_worker(payload="bad").execute)
    [run] = logging_task.runs.values()
    begin = log.lines.index(f"Log of run {run.id}:")
    assert log.leveled[begin + 1 : begin + 8] == [
        *(
            (level, f"2026-11-28T10:07:43.18{number}Z working\non ***, 100 %s \ufffd")
            for number, level in enumerate(("debug", "info", "warning", "error", "info"), start=1)
        ),
        *[("info", "at some time ***")] * 2,  # cut by the server within a key
    ]


def test_of_a_long_log_the_last_thousand_lines_are_written(server, outcome, log) -> None:
    def work(payload: Any, log: Callable[..., None]) -> None:
        for number in range(1001):
            log("INFO", f"working on {number}")
        raise ValueError

    server.on_task("resize", start_after=0, after=0, output=work)
    outcome(operator_in_worker().execute)
    assert shown(log) == [f"working on {number}" for number in range(1, 1001)]
    assert any(text.startswith("Only the last 1000 lines follow; all 1001 are in http") for text in log.lines)


@pytest.mark.parametrize("status", [200, 401, 404, 429, 503])
def test_what_goes_wrong_is_a_line_at_debug_level_and_no_failure(status, logging_task, outcome, log) -> None:
    if status == 200:
        logging_task.malformed_next(None, '{"events": ["a"]}', path="/events")
    else:
        logging_task.fail_next(None, status, path="/events")
    assert "FAILED after 1 attempt: ValueError: bad" in outcome(operator_in_worker(payload="bad").execute)
    assert any(text.startswith("The logs of runs could not be fetched: GET") for text in log.of("debug"))
    assert shown(log) == []


def test_a_log_that_does_not_come_is_waited_for_a_limited_time(logging_task, outcome, log) -> None:
    logging_task.delay_next(None, 300, path="/events")
    begun = time.monotonic()
    assert "FAILED after 1 attempt: ValueError: bad" in outcome(operator_in_worker(payload="bad").execute)
    assert time.monotonic() - begun < 60
    assert any("no answer within " in text for text in log.of("debug"))

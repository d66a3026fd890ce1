"""What the log of a run answers, by a clock that the test sets; the recordings show its form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_clock import Clock
from in_process import routed

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer


def shown(server: TriggerDevServer, run: ServerRun) -> list[dict[str, Any]]:
    answer = routed(server, "GET", f"/api/v1/runs/{run.id}/events")
    assert answer.status_code == 200
    return list(json.loads(bytes(answer.body))["events"])


def messages(server: TriggerDevServer, run: ServerRun) -> list[str]:
    return [event["message"] for event in shown(server, run)]


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELED", "FAILED"])
def test_it_begins_with_the_span_of_the_run_once_that_has_started(status: str, server, clock: Clock) -> None:
    run = server.add_run("QUEUED", then=[(1, "EXECUTING"), (3, status)])
    names, seen = ("isPartial", "isError", "isCancelled", "duration"), []
    for _ in range(3):
        seen.append([[event[name] for name in names] for event in shown(server, run)])
        clock.now += 2
    ended = [False, status == "FAILED", status == "CANCELED", 2_000_000_000]
    assert seen == [[], [[True, False, False, 0]], [ended]]


def test_it_lags_behind_and_has_nothing_from_after_the_end(server: TriggerDevServer, clock: Clock) -> None:
    server.log_lag = 2.0
    run = server.add_run("EXECUTING", task_identifier="resize", then=[(2, "COMPLETED")])
    seen = []
    for second in range(5):
        run.log("INFO", str(second))
        seen.append(messages(server, run))
        clock.now += 1
    assert seen[1:] == [[], ["resize", "0"], ["resize", "0", "1"], ["resize", "0", "1", "2"]]
    assert messages(server, run) == seen[-1]


def test_a_function_logs_in_its_attempt_whenever_it_is_called(server: TriggerDevServer, clock: Clock) -> None:
    def resize(payload: Any, log: Any) -> Any:
        log("WARN", f"{payload} is large")
        log("TRACE", "fetch", failed=True)
        raise ValueError("too large")

    server.on_task("resize", start_after=0, after=1, output=resize, failures=0)
    run, _ = server.trigger("resize", payload="a.png")
    clock.now += 60
    assert run.status == "FAILED"
    keys = ("message", "level", "isError", "attemptNumber")
    assert [[event[key] for key in keys] for event in shown(server, run)[1:]] == [
        ["a.png is large", "WARN", False, 1],
        ["fetch", "TRACE", True, 1],
    ]


@pytest.mark.parametrize("output", [str, len, dict.fromkeys, lambda payload, scale=2: payload])
def test_a_function_with_one_argument_needs_no_second_one(output: Any, server, clock: Clock) -> None:
    server.on_task("resize", output=output)
    run, _ = server.trigger("resize", payload="ab")
    clock.now += 1
    assert (run.status, run.error) == ("COMPLETED", None)


def test_the_page_of_a_run_shows_its_whole_lines_which_have_a_known_level(server: TriggerDevServer) -> None:
    run = server.add_run("EXECUTING")
    run.log("INFO", "x" * 300)
    with pytest.raises(ValueError, match="one of TRACE, DEBUG, INFO, WARN, ERROR, not 'info'"):
        run.log("info", "a")
    assert f"INFO {'x' * 300}" in bytes(routed(server, "GET", f"/runs/{run.id}").body).decode()

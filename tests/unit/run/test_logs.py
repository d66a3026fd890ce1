"""Fetching the logs of runs, in virtual time: what comes late, what goes wrong, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_trigger.api import responses
from airflow_provider_trigger.run.logs import TIME_LIMIT, fetch_logs

EVENTS = "/events"


@pytest.fixture
def fetch(client, virtual_time, log) -> Callable[..., dict[str, list[str]]]:
    """Fetch the logs of runs; return the messages of each but that of its own span."""

    def act(*runs: Any, is_stopped: Callable[[], bool] = lambda: False) -> dict[str, list[str]]:
        run_ids = [getattr(run, "id", run) for run in runs]
        found = fetch_logs(run_ids, client, log=log, is_stopped=is_stopped)
        return {one: [event.message for event in found[one] if not event.is_root] for one in found}

    return act


@pytest.fixture
def failed(server, clock) -> Callable[..., Any]:
    """Add a run that has logged a line, and failed some seconds ago."""

    def add(line: str = "a line", *, ago: float = 10.0) -> Any:
        run = server.add_run("EXECUTING")
        run.log("INFO", line)
        run.status = "FAILED"
        clock.now += ago
        return run

    return add


def test_a_log_that_is_complete_is_fetched_once(fetch, failed, network, clock) -> None:
    one, other = failed("a"), failed("b")
    begun = clock.now
    assert fetch(one, other) == {one.id: ["a"], other.id: ["b"]}
    assert (len(network.requests), clock.now) == (2, begun)


@pytest.mark.parametrize("lag", [0.6, 2.0])
def test_what_is_late_is_fetched_once_more_a_second_later(lag, fetch, failed, server, network, clock) -> None:
    server.log_lag = lag
    complete, late = failed("a"), failed("b", ago=0.5)
    begun = clock.now
    assert fetch(complete, late) == {complete.id: ["a"], late.id: ["b"] if lag < 1.5 else []}
    assert [request.split("/")[-2] for request in network.requests] == [complete.id, late.id, late.id]
    assert clock.now == pytest.approx(begun + 1)


def test_what_has_come_stays_where_the_second_answer_has_nothing(fetch, server, network, answer) -> None:
    run = server.add_run("EXECUTING")
    run.log("WARN", "a")
    network.before = lambda _: (
        len(network.requests) == 2 and network.fault(EVENTS, answer(200, {"events": []}))
    )
    assert (fetch(run), len(network.requests)) == ({run.id: ["a"]}, 2)


BAD_ANSWERS: dict[str, Callable[[Any], Any]] = {
    "not_found": lambda answer: answer(404, {"error": "Not found"}, {"x-should-retry": "true"}),
    "older_server": lambda answer: answer(404, b"<!DOCTYPE html>", {"content-type": "text/html"}),
    "rejected": lambda answer: answer(401, {"error": "Invalid API key"}),
    "rate_limit": lambda answer: answer(429, {"error": "slow down"}, {"retry-after": "1"}),
    "broken": lambda answer: answer(500, {"error": "connect ECONNREFUSED"}),
    "down": lambda answer: answer(503, {"error": "no"}, {"retry-after": "1"}),
    "timeout": lambda _: requests.ReadTimeout(),
    "no_list": lambda answer: answer(200, {"events": None}),
    "odd_items": lambda answer: answer(200, {"events": ["a"]}),
    "too_large": lambda answer: answer(200, b"[" * 5000),
    "of_another_kind": lambda _: RuntimeError(),
}


@pytest.mark.parametrize("bad_answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_whatever_goes_wrong_is_one_line_at_debug_level_and_one_request(
    bad_answer, fetch, failed, network, answer, log, clock, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(responses, "MAX_BODY_BYTES", 4000)
    one, other = failed("a"), failed("b")
    network.fault(f"{other.id}{EVENTS}", bad_answer(answer), times=99)
    caplog.set_level("INFO")
    begun = clock.now
    assert fetch(one, other) == {one.id: ["a"]}
    [(level, text)] = log.leveled
    assert (level, text.startswith("The logs of runs could not be fetched: ")) == ("debug", True)
    assert (len(network.requests), clock.now, caplog.messages) == (2, begun, [])


@pytest.mark.parametrize(("each", "requests"), [(0.1, 6), (1.6, 3), (TIME_LIMIT, 1)])
def test_all_that_is_fetched_takes_5_s_at_most_and_one_request_a_third_of_it(
    each: float, requests: int, connect, network, server, virtual_time, log
) -> None:
    client, wire = connect(network, timeout=30.0)
    runs, timeouts, begun = [server.add_run("EXECUTING").id for _ in range(3)], [], virtual_time.now

    def take_long(_: str) -> None:
        timeouts.append(max(wire.options[-1]["timeout"]))
        virtual_time.now += each

    network.before = take_long
    fetch_logs(runs, client, log=log, is_stopped=lambda: False)
    assert len(timeouts) == requests
    assert all(timeout <= TIME_LIMIT / 3 + 0.01 for timeout in timeouts)
    assert virtual_time.now - begun <= TIME_LIMIT + each
    assert len(log.of("debug")) == (requests == 1)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_once_the_task_is_stopped_nothing_is_fetched(after, fetch, server, network, log) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(2)]
    assert fetch(*runs, is_stopped=lambda: len(network.requests) >= after) == {}
    assert (len(network.requests), log.lines) == (after, [])

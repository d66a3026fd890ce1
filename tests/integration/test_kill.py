from __future__ import annotations

import re
import signal
import time

import pytest
from waiting import LONG, limited

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.testing import TriggerDevServer

GOES_ON = pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)


def in_a_request(server, method):
    server.hang_next(None, method=method)
    return {}


def in_a_wait_for_the_rate_limit(server):
    server.rate_limit_next(None, 60)
    return {}


def in_a_pause_before_a_retry(server):
    server.fail_next(None, 503, headers={"retry-after": "60"})
    return {}


def in_the_wait_for_termination(server):
    for run in server.runs.values():
        run.acknowledge_after = None
    return {"wait_for_termination": True, "poll_interval": LONG}


def in_the_pause_before_another_status_check(server):
    server.fail_next(None, 200, method="POST")
    return {}


PLACES = {
    "in a cancel": lambda server: in_a_request(server, "POST"),
    "in a status check": lambda server: in_a_request(server, "GET"),
    "in a wait for the rate limit": in_a_wait_for_the_rate_limit,
    "in a pause before a retry": in_a_pause_before_a_retry,
    "in the wait for termination": in_the_wait_for_termination,
    "in the pause before another status check": in_the_pause_before_another_status_check,
}


def soon():
    """Return a condition that holds in a moment."""
    at = time.monotonic() + 0.4
    return lambda: time.monotonic() > at


@GOES_ON
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_ends_the_work_at_once_and_for_good(
    place, server, connect, make_operator, execute, kill_when, said
):
    connect(timeout=LONG, retry_for=LONG)
    runs = [server.add_run() for _ in range(40)]
    options = PLACES[place](server)
    operator = make_operator(*runs, max_concurrency=8, **options)
    kill_when(soon(), operator.on_kill)
    with limited(50):  # each of these places would keep it for longer
        result = execute(operator)
    assert type(result.error) is AirflowException
    assert "Airflow stopped the task before its work was done" in str(result.error)
    left = re.findall(r"the cancel of (\d+) runs? was|(\d+) runs? may still run", str(result.error))
    assert sum(int(one or other) for one, other in left) == result.outcomes.count("failed")
    assert [one["run_id"] for one in result.results] == [run.id for run in runs]
    assert said.lines("40 Trigger.dev runs:")
    sent = len(server.requests)
    time.sleep(0.3)
    assert len(server.requests) == sent


@GOES_ON
def test_a_kill_in_the_rate_limit_says_what_was_reached(connect, make_operator, execute, kill_when):
    with TriggerDevServer(rate_limit=40, refill=10, refill_interval=60) as server:
        connect(host=server.url)
        runs = [server.add_run() for _ in range(60)]
        operator = make_operator(*runs)
        # All are sent but for the reserve of a twentieth.
        kill_when(lambda: sum(bool(one.status) for one in server.requests) >= 38, operator.on_kill)
        result = execute(operator)
        assert "failed" in result.outcomes
        for run, one in zip(runs, result.results, strict=True):
            # A few may be checked before the bucket is empty.
            assert ("not sent" in one.get("error", "")) == (run.status != "CANCELED")


@GOES_ON
def test_a_kill_while_waiting_keeps_what_was_seen(server, make_operator, execute, kill_when):
    run = server.add_run(acknowledge_after=None)
    operator = make_operator(run, "run_unknown", wait_for_termination=True, poll_interval=0.2)
    server.fail_next(3, 404, path="run_unknown", method="GET", headers={"x-should-retry": "false"})

    def is_waiting():
        checks = [one for one in server.requests if one.method == "GET" and run.id in one.path]
        return len(checks) > 2 and ("run_unknown", 404) in cancels()

    def cancels():
        return [(one.path.split("/")[4], one.status) for one in server.requests if one.method == "POST"]

    kill_when(is_waiting, operator.on_kill)
    assert execute(operator).outcomes == ["canceled", "not_found"]


def test_a_time_limit_of_airflow_ends_the_work_and_logs_what_it_has(
    server, connect, make_operator, execute, said
):
    class TaskTimeoutError(BaseException):
        pass

    def time_out(*_):
        if len(server.requests) < 12:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        raise TaskTimeoutError

    connect(timeout=LONG)
    operator = make_operator(*[server.add_run() for _ in range(10)], max_concurrency=2)
    server.hang_next(None, method="GET")
    before = signal.signal(signal.SIGALRM, time_out)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        result = execute(operator)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert type(result.error) is TaskTimeoutError
    assert said.lines("10 Trigger.dev runs: 10 failed")
    assert len(server.requests) == 12

"""Cancels through a network and a server that fail: each run has its true outcome, and affects no other."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowException, AirflowFailException

AGAIN, NEVER = AirflowException, AirflowFailException


def fault(name, at=None, times=None, **arguments):
    """Make a fault of the requests about a run: of its cancels (POST), of its checks (GET), or of both."""
    if at:
        arguments["method"] = at
    return lambda server, run_id: getattr(server, f"{name}_next")(times, path=run_id, **arguments)


# What the middle one of three runs meets, at its cancel or at the check.
PASSING = {
    "500 twice at the cancel": fault("fail", "POST", 2),
    "a disconnect once the cancel was handled": fault("disconnect", "POST", 1),
    "a disconnect at the check": fault("disconnect", "GET", 2),
    "half a JSON at the check": fault("truncate", "GET", 1),
    "half a JSON at the cancel": fault("truncate", "POST", 1),
    "a stale check, twice": fault("stale", times=2),
    "a late answer": fault("delay", times=2, seconds=0.3),
}
# The same without end; then: how the task ends, None where the run is canceled.
LASTING = {
    "a disconnect whenever the cancel was handled": (fault("disconnect", "POST"), None),
    "a disconnect before any cancel is handled": (fault("disconnect", "POST", after_handling=False), AGAIN),
    "half a JSON at each check": (fault("truncate", "GET"), AGAIN),
    "503 each time": (fault("fail", status=503), AGAIN),
    "403 at the cancel": (fault("fail", "POST", status=403), NEVER),
    "200 without effect": (fault("fail", "POST", status=200), AGAIN),
    "a redirect at the cancel": (fault("redirect", "POST"), NEVER),
    "an enormous answer at the cancel": (fault("oversize", "POST", size=20_000_000), None),
    "an enormous answer at the check": (fault("oversize", "GET", size=20_000_000), NEVER),
    "no answer at the cancel": (fault("hang", "POST"), AGAIN),
    "no answer though it was canceled": (fault("hang", "POST", after_handling=True), None),
    "no answer at the check": (fault("hang", "GET"), AGAIN),
}
FAULTS: dict[str, Any] = {name: (add_fault, None, 30) for name, add_fault in PASSING.items()}
FAULTS |= {name: (add_fault, error, 0.5) for name, (add_fault, error) in LASTING.items()}


def exactly(error):
    return None if error is None else type(error)


@pytest.mark.parametrize(
    ("fault", "max_concurrency"),
    [(fault, 32) for fault in FAULTS] + [(fault, 1) for fault in FAULTS if "no answer" in fault],
)
def test_a_fault_affects_one_run_and_no_other(fault, max_concurrency, server, connect, cancel):
    add_fault, error, retry_for = FAULTS[fault]
    # Short only where a request is to time out: next to an enormous answer, others are served slowly.
    connect(timeout=3 if "no answer" in fault else 10, retry_for=retry_for)
    first, victim, last = (server.add_run() for _ in range(3))
    add_fault(server, victim.id)
    result = cancel(first, victim, last, max_concurrency=max_concurrency)
    assert result.outcomes == ["canceled", "failed" if error else "canceled", "canceled"]
    assert exactly(result.error) is error
    assert first.status == last.status == "CANCELED"
    if error:
        assert result.of(victim)["error"]
        assert victim.id in str(result.error)
    else:
        assert victim.status == "CANCELED"


def test_a_refused_connection_makes_a_retry_worth_it(connect, cancel):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        connect(host=f"http://{address}", retry_for=0.5)
        result = cancel(*[f"run_{number}" for number in range(100)])
    assert exactly(result.error) is AirflowException
    assert result.outcomes == ["failed"] * 100
    # Each run's error alone says where the server is, and what to do.
    action = "; check host, port and 'proxy' of connection 'trigger_dev_default', and whether the server runs"
    for one in result.results:
        assert one["error"].endswith(action)
        assert (one["error"].count("'trigger_dev_default'"), one["error"].count(address)) == (1, 1)


def test_a_server_that_never_answers_costs_bounded_time_and_requests(server, connect, cancel):
    connect(timeout=0.3, retry_for=0.5)
    runs = [server.add_run() for _ in range(100)]
    server.hang_next(None)
    result = cancel(*runs, max_concurrency=8)
    assert exactly(result.error) is AirflowException
    assert result.outcomes == ["failed"] * 100
    assert len(server.requests) < 50  # what would follow is not sent


def test_a_server_that_comes_back_has_all_its_runs_canceled(server, connect, cancel):
    connect(retry_for=30)
    runs = [server.add_run() for _ in range(20)]
    server.stop()
    back = threading.Timer(0.3, server.start)
    back.start()
    result = cancel(*runs)
    back.join()
    assert result.error is None
    assert {run.status for run in runs} == {"CANCELED"}


def test_a_server_that_goes_down_midway_leaves_no_run_without_its_result(server, connect, cancel, meanwhile):
    connect(retry_for=1)
    server.latency = 0.05
    runs = [server.add_run() for _ in range(60)]
    meanwhile(lambda: sum(run.status == "CANCELED" for run in runs) >= 20, server.stop)
    result = cancel(*runs, max_concurrency=4)
    assert exactly(result.error) is AirflowException
    assert [one["run_id"] for one in result.results] == [run.id for run in runs]
    assert set(result.outcomes) == {"failed"}
    canceled = [run.status == "CANCELED" for run in runs]
    assert any(canceled)
    assert not all(canceled)
    not_sent = ["not sent" in one["error"] for one in result.results]
    assert any(not_sent)
    assert not any(map(all, zip(canceled, not_sent, strict=True)))


def test_the_next_try_of_the_task_ends_well(server, make_operator, execute):
    operator = make_operator(server.add_run(), server.add_run())
    server.fail_next(None, 503, method="GET")
    assert exactly(execute(operator).error) is AirflowException
    server.clear_faults()
    assert execute(operator).outcomes == ["canceled", "canceled"]

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


# What the middle one of three runs meets; then how the task ends, None where the run is canceled.
FAULTS: dict[str, tuple[Any, Any]] = {
    "a disconnect once the cancel was handled": (fault("disconnect", "POST", 1), None),
    "a disconnect before any cancel is handled": (fault("disconnect", "POST", after_handling=False), AGAIN),
    "half a JSON at the cancel": (fault("truncate", "POST", 1), None),
    "half a JSON at each check": (fault("truncate", "GET"), AGAIN),
    "200 without effect": (fault("fail", "POST", status=200), AGAIN),
    "a redirect at the cancel": (fault("redirect", "POST"), NEVER),
    "an enormous answer at the cancel": (fault("oversize", "POST", size=20_000_000), None),
    "an enormous answer at the check": (fault("oversize", "GET", size=20_000_000), NEVER),
    "no answer at the check": (fault("hang", "GET"), AGAIN),
}


def exactly(error):
    return None if error is None else type(error)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_affects_one_run_and_no_other(fault, server, connect, cancel):
    add_fault, error = FAULTS[fault]
    # Short only where a request is to time out: next to an enormous answer, others are served slowly.
    connect(timeout=3 if "no answer" in fault else 10, retry_for=0.5 if error else 30)
    first, victim, last = (server.add_run() for _ in range(3))
    add_fault(server, victim.id)
    result = cancel(first, victim, last)
    assert result.outcomes == ["canceled", "failed" if error else "canceled", "canceled"]
    assert exactly(result.error) is error
    assert first.status == last.status == "CANCELED"
    if error:
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

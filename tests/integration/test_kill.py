"""A task that Airflow stops, or whose time is up, ends its cancels at once: with real signals and sockets."""

from __future__ import annotations

import signal
import time

import pytest
from waiting import LONG, Killed, limited

from airflow_provider_trigger._compat import AirflowException


class TaskTimeoutError(BaseException):
    """What Airflow raises in its signal handler."""


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("error", [None, Killed, TaskTimeoutError])
def test_a_signal_ends_the_work_for_good(error, method, server, connect, make_operator, run_try, said):
    def handle(*_):
        if len(server.requests) < 4:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return
        if error is not TaskTimeoutError:
            operator.on_kill()
        if error:
            raise error

    connect(timeout=LONG, retry_for=LONG)
    runs = [server.add_run() for _ in range(10)]
    operator = make_operator(*runs, max_concurrency=4)
    server.hang_next(None, method=method)
    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with limited(30):
            result = run_try(operator)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert type(result.error) is (error or AirflowException)
    assert error or [one["run_id"] for one in result.results] == [run.id for run in runs]
    assert said.lines("10 Trigger.dev runs: ")
    sent = len(server.requests)
    time.sleep(0.3)
    assert len(server.requests) == sent

"""A task that Airflow stops takes its runs with it, in the seconds that it is left: with real signals."""

from __future__ import annotations

import signal

import pytest
from run_operator import batch, operator
from waiting import LONG, Killed, limited, until

from airflow_provider_trigger._compat import AirflowException

try:
    from airflow.sdk.exceptions import AirflowTaskTimeout
except ImportError:  # before 3.2
    from airflow.exceptions import AirflowTaskTimeout

STARTS = {"one": (operator, "/trigger", 1), "many": (batch, "/tasks/batch", 80)}


def in_requests_that_are_never_answered(server, path, count):
    server.hang_next(min(4, count), path=path, after_handling=True)
    return lambda: len(server.runs) >= count


def in_a_pause_before_the_requests_are_repeated(server, path, count):
    server.fail_next(min(4, count), status=503, headers={"retry-after": "3"}, after_handling=True, path=path)
    return lambda: len(server.runs) >= count


def in_a_status_check(server, path, count):
    server.hang_next(method="GET", path="/api/v3/runs/")
    return lambda: any(request.method == "GET" for request in list(server.requests))


PHASES = [in_requests_that_are_never_answered, in_a_pause_before_the_requests_are_repeated, in_a_status_check]


@pytest.fixture
def stop_when(request):
    """Stop or time out in a signal handler once a condition holds; a stopped task may continue, or not."""
    before = signal.getsignal(signal.SIGALRM)

    def start(condition, made):
        def handle(*_):
            if not condition():
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                return
            if request.param != "times_out":
                made.on_kill()
            if request.param != "goes_on":
                raise Killed if request.param == "raises" else AirflowTaskTimeout

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("stop_when", ["goes_on", "raises", "times_out"], indirect=True)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", STARTS)
def test_a_kill_or_time_limit_cancels_all_and_starts_none(kind, phase, server, connect, run_try, stop_when):
    connect(timeout=3, retry_for=60)
    server.on_task("endless", after=None)
    make, path, count = STARTS[kind]
    made = make("endless", **({"payloads": list(range(200))} if kind == "many" else {}))
    is_reached, sent_before = phase(server, path, count), []

    def starts():
        return sum(request.path.endswith(path) for request in list(server.requests))

    def is_time():
        if is_reached():
            sent_before.append(starts())
        return bool(sent_before)

    stop_when(is_time, made)
    ended = run_try(made)
    assert isinstance(ended.error, (AirflowException, AirflowTaskTimeout, Killed)), ended.error
    assert starts() - sent_before[0] <= 4  # those that were on their way
    # A bulk action continues after the task.
    until(lambda: {run.status for run in server.runs.values()} == {"CANCELED"}, "all runs are canceled")
    assert not any(run.started_at for run in server.runs.values() if run.options.get("delay"))


@pytest.mark.parametrize("stop_when", ["goes_on", "raises"], indirect=True)
def test_a_kill_while_the_server_is_down_names_a_run_in_doubt(server, connect, run_try, stop_when, said):
    connect(timeout=LONG, retry_for=LONG)
    server.on_task("endless", after=None)
    made = operator("endless")

    def is_down():
        if not any(run.status == "EXECUTING" for run in server.runs.values()):
            return False
        server.stop()
        return True

    stop_when(is_down, made)
    with limited(30):
        ended = run_try(made)
    assert isinstance(ended.error, (AirflowException, Killed)), ended.error
    (run,) = server.runs.values()
    assert said.lines(f"Run {run.id} may still be running: ")

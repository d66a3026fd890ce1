from __future__ import annotations

from collections import Counter

import pytest

pytestmark = pytest.mark.usefixtures("quick_checks")


@pytest.fixture
def wait_for(cancel):
    """Cancel runs and wait until they are terminated."""

    def run(*runs, **options):
        return cancel(*runs, **({"wait_for_termination": True, "poll_interval": 0.05} | options))

    return run


@pytest.mark.parametrize(
    "status", ["QUEUED", "PENDING_VERSION", "DELAYED", "WAITING", "COMPLETED", "CANCELED"]
)
def test_a_run_that_no_worker_has_costs_no_waiting(status, server, wait_for):
    run = server.add_run(status)
    result = wait_for(run, poll_interval=30)
    assert result.of(run)["terminated"] is True
    assert [request.method for request in server.requests] == ["GET", "POST", "GET"]


@pytest.mark.parametrize("status", ["EXECUTING", "DEQUEUED"])
def test_a_run_that_a_worker_has_is_waited_for(status, server, wait_for):
    run = server.add_run(status, acknowledge_after=0.5)
    result = wait_for(run)
    assert run.terminated
    assert (result.outcomes, result.of(run)["terminated"]) == (["canceled"], True)


def test_a_run_that_completes_in_spite_of_its_cancel_is_reported_as_that(server, wait_for):
    run = server.add_run(acknowledge_after=0.3, completes_despite_cancel=True)
    result = wait_for(run)
    assert result.error is None
    assert (result.outcomes, result.of(run)["status"]) == (["already_completed"], "COMPLETED")
    assert result.of(run)["terminated"] is True


def test_a_run_that_was_queued_before_and_executes_at_the_cancel_is_waited_for(server, wait_for):
    run = server.add_run("QUEUED", acknowledge_after=0.5, then=[(0.3, "EXECUTING")])
    server.delay_next(seconds=0.5, path=run.id, method="POST", after_handling=False)
    result = wait_for(run)
    assert run.terminated
    assert result.of(run)["terminated"] is True


def test_the_time_limit_is_for_the_whole_wait(server, wait_for, said):
    runs = [server.add_run(acknowledge_after=None) for _ in range(8)]
    result = wait_for(*runs, termination_timeout=3, max_concurrency=1)
    checks = Counter(request.path for request in server.requests if request.method == "GET")
    assert sum(checks.values()) > 2 * len(runs)
    assert result.error is None
    assert set(result.outcomes) == {"canceled"}
    assert not any(one["terminated"] for one in result.results)
    (warning,) = said.lines("Canceled, but not terminated within 3 s: ")
    assert "warning" in warning.lower()
    assert all(run.id in warning for run in runs)


def test_a_fault_while_waiting_takes_nothing_back(server, wait_for, meanwhile):
    run = server.add_run(acknowledge_after=3)

    def is_waiting():  # the checks before and after its cancel were answered
        return sum(one.method == "GET" and one.status == 200 for one in list(server.requests)) >= 2

    meanwhile(is_waiting, lambda: server.fail_next(3, 502, method="GET"))
    result = wait_for(run, termination_timeout=30)
    assert result.error is None
    assert result.of(run)["terminated"] is True
    assert 502 in {request.status for request in server.requests}


def test_checks_that_fail_do_not_hold_up_the_cancels(server, connect, wait_for):
    connect(retry_for=3)
    runs = [server.add_run() for _ in range(5)]
    server.fail_next(None, 503, method="GET")
    result = wait_for(*runs)
    assert {run.status for run in runs} == {"CANCELED"}
    assert set(result.outcomes) == {"failed"}
    for run in runs:
        sent = [request.method for request in server.requests if run.id in request.path]
        # The check before the cancel is not repeated, the one afterwards is.
        assert sent[:2] == ["GET", "POST"]
        assert sent.count("POST") == 1
        assert len(sent) > 3

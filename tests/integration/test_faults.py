from __future__ import annotations

import json
import socket
import threading

import pytest

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.usefixtures("quick_checks")

AGAIN, NEVER = AirflowException, AirflowFailException
UNREADABLE = {"status": 404, "body": {"error": "Not found"}, "headers": {"x-should-retry": "true"}}
JSON, ALREADY = "application/json", {"error": "Already done"}


def fault(name, at=None, times=None, **arguments):
    """Make a fault of the requests about a run: of its cancels (POST), of its checks (GET), or of both."""
    if at:
        arguments["method"] = at
    return lambda server, run_id: getattr(server, f"{name}_next")(times, path=run_id, **arguments)


def empty_acknowledgment(server, run_id):
    server.malformed_next(None, json.dumps({"id": run_id}), "application/json", path=run_id, method="POST")


# What the middle one of three runs meets, at its cancel or at the check.
PASSING_FAULTS = {
    "500 twice at the cancel": fault("fail", "POST", 2),
    "500 twice at the check": fault("fail", "GET", 2),
    "a disconnect once the cancel was handled": fault("disconnect", "POST", 1),
    "a disconnect at the check": fault("disconnect", "GET", 2),
    "a page at the cancel, once": fault("malformed", "POST", 1, after_handling=True),
    "a page at the check, once": fault("malformed", "GET", 1),
    "half a JSON at the check": fault("truncate", "GET", 1),
    "half a JSON at the cancel": fault("truncate", "POST", 1),
    "a stale check, twice": fault("stale", times=2),
    "404 at the check, once": fault("fail", "GET", 1, **UNREADABLE),
    "a late answer": fault("delay", times=2, seconds=0.3),
}

# The same without end; then: how the task ends, None where the run is canceled.
LASTING_FAULTS = {
    "500 each time at the cancel": (fault("fail", "POST"), AGAIN),
    "503 each time at the cancel": (fault("fail", "POST", status=503), AGAIN),
    "503 each time at the check": (fault("fail", "GET", status=503), AGAIN),
    "503 each time": (fault("fail", status=503), AGAIN),
    "503 though it was canceled": (fault("fail", "POST", status=503, after_handling=True), None),
    "a disconnect whenever the cancel was handled": (fault("disconnect", "POST"), None),
    "a disconnect before any cancel is handled": (fault("disconnect", "POST", after_handling=False), AGAIN),
    "a page at the cancel": (fault("malformed", "POST"), AGAIN),
    "a page at the check": (fault("malformed", "GET"), AGAIN),
    "a page that says 404 at the cancel": (fault("malformed", "POST", status=404), NEVER),
    "half a JSON at each check": (fault("truncate", "GET"), AGAIN),
    "a list at the check": (fault("malformed", "GET", body="[]", content_type=JSON), AGAIN),
    "no status at the check": (fault("malformed", "GET", body="{}", content_type=JSON), AGAIN),
    "403 at the cancel": (fault("fail", "POST", status=403), NEVER),
    "403 at the check": (fault("fail", "GET", status=403), NEVER),
    "404 at the check": (fault("fail", "GET", **UNREADABLE), AGAIN),
    "409 that says already": (fault("fail", "POST", status=409, body=ALREADY, after_handling=True), None),
    "400 that says already": (fault("fail", "POST", status=400, body=ALREADY, after_handling=True), None),
    "400 that says already, of a run that is alive": (fault("fail", "POST", status=400, body=ALREADY), AGAIN),
    "an acknowledgment without effect": (empty_acknowledgment, AGAIN),
    "200 without effect": (fault("fail", "POST", status=200), AGAIN),
    "a redirect at the cancel": (fault("redirect", "POST"), NEVER),
    "a redirect at the check": (fault("redirect", "GET"), NEVER),
    "an enormous answer at the cancel": (fault("oversize", "POST", size=20_000_000), None),
    "an enormous answer at the check": (fault("oversize", "GET", size=20_000_000), NEVER),
    "no answer at the cancel": (fault("hang", "POST"), AGAIN),
    "no answer though it was canceled": (fault("hang", "POST", after_handling=True), None),
    "no answer at the check": (fault("hang", "GET"), AGAIN),
}


def exactly(error):
    return None if error is None else type(error)


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_a_fault_that_passes_loses_nothing(fault, server, connect, cancel):
    connect(retry_for=30)
    first, victim, last = (server.add_run() for _ in range(3))
    PASSING_FAULTS[fault](server, victim.id)
    result = cancel(first, victim, last)
    assert result.error is None
    assert result.outcomes == ["canceled", "canceled", "canceled"]
    assert first.status == victim.status == last.status == "CANCELED"


@pytest.mark.parametrize(
    ("fault", "max_concurrency"),
    [(fault, 32) for fault in LASTING_FAULTS]
    + [(fault, 1) for fault in LASTING_FAULTS if "no answer" in fault],
)
def test_a_fault_that_lasts_affects_one_run_and_no_other(fault, max_concurrency, server, connect, cancel):
    add_fault, error = LASTING_FAULTS[fault]
    outcome = "failed" if error else "canceled"
    # Short only where a request is to time out: next to an enormous answer, others are served slowly.
    connect(timeout=3 if "no answer" in fault else 10, retry_for=0.5)
    first, victim, last = (server.add_run() for _ in range(3))
    add_fault(server, victim.id)
    result = cancel(first, victim, last, max_concurrency=max_concurrency)
    assert result.outcomes == ["canceled", outcome, "canceled"]
    assert exactly(result.error) is error
    assert first.status == last.status == "CANCELED"
    if outcome == "canceled":
        assert victim.status == "CANCELED"
    else:
        assert result.of(victim)["error"]
        assert victim.id in str(result.error)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_429_passes(method, connect, cancel):
    with TriggerDevServer(rate_limit=None) as server:
        connect(host=server.url, retry_for=30)
        runs = [server.add_run() for _ in range(3)]
        server.rate_limit_next(2, 0.3, method=method)
        assert cancel(*runs).outcomes == ["canceled"] * 3


@pytest.mark.parametrize(
    "add_fault",
    [
        fault("disconnect", "POST", 1),
        fault("fail", "POST", 1, status=502, after_handling=True),
        fault("fail", "POST", status=409, body={"error": "Run is already completed"}),
        fault("fail", "POST", status=400, body={"error": "Run is already completed"}),
    ],
)
@pytest.mark.parametrize("status", ["COMPLETED", "EXPIRED", "TIMED_OUT"])
def test_a_finished_run_stays_finished_whatever_its_cancel_met(add_fault, status, server, connect, cancel):
    # In a deployed environment an expired run becomes CANCELED.
    development = server.add_environment("dev")
    connect(key=development.secret_key)
    run = server.add_run(status, environment=development)
    add_fault(server, run.id)
    result = cancel(run)
    assert (result.outcomes, result.of(run)["status"]) == (["already_completed"], status)
    assert result.error is None


def test_an_unknown_run_whose_answer_was_lost_is_unknown(server, connect, cancel):
    connect(retry_for=30)
    server.disconnect_next(path="run_unknown")
    assert cancel("run_unknown", on_not_found="ignore").outcomes == ["not_found"]


@pytest.mark.parametrize("max_concurrency", [1, 3])
def test_a_single_401_fails_no_run_although_it_is_the_first_answer(server, cancel, max_concurrency):
    runs = [server.add_run() for _ in range(3)]
    server.fail_next(1, 401, path=runs[0].id, method="POST")
    server.delay_next(2, 0.05)
    result = cancel(*runs, max_concurrency=max_concurrency)
    assert (result.error, result.outcomes) == (None, ["canceled"] * 3)
    assert server.pending_faults == 0


@pytest.mark.parametrize("count", [1, 100])
def test_a_refused_connection_makes_a_retry_worth_it(count, server, connect, cancel):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        connect(host=f"http://{address}", retry_for=0.5)
        result = cancel(*[f"run_{number}" for number in range(count)])
    assert exactly(result.error) is AirflowException
    assert result.outcomes == ["failed"] * count
    # Each run's error alone says where the server is, and what to do.
    action = "; check host, port and 'proxy' of connection 'trigger_dev_default', and whether the server runs"
    for one in result.results:
        assert one["error"].endswith(action)
        assert (one["error"].count("'trigger_dev_default'"), one["error"].count(address)) == (1, 1)


@pytest.mark.parametrize(("retry_for", "fewer_than"), [(0.5, 50), (0, 40)])
def test_a_server_that_never_answers_costs_bounded_time_and_requests(
    retry_for, fewer_than, server, connect, cancel
):
    connect(timeout=0.3, retry_for=retry_for)
    runs = [server.add_run() for _ in range(100)]
    server.hang_next(None)
    result = cancel(*runs, max_concurrency=8)
    assert exactly(result.error) is AirflowException
    assert result.outcomes == ["failed"] * 100
    assert len(server.requests) < fewer_than  # what would follow is not sent


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


def test_an_unknown_status_is_not_final(server, cancel, said):
    run = server.add_run()
    shown = {"id": run.id, "status": "LEVITATING", "taskIdentifier": "a-task"}
    server.malformed_next(None, json.dumps(shown), "application/json", method="GET")
    result = cancel(run)
    assert (result.outcomes, result.of(run)["status"]) == (["failed"], "LEVITATING")
    assert exactly(result.error) is AirflowException
    assert said.lines("LEVITATING")


@pytest.mark.parametrize("status", [7, None, ["CANCELED"], ""])
def test_a_status_that_is_not_valid_is_not_final(status, server, cancel):
    run = server.add_run()
    shown = {"id": run.id, "status": status, "taskIdentifier": "a-task"}
    server.malformed_next(None, json.dumps(shown), "application/json", method="GET")
    result = cancel(run)
    assert result.outcomes == ["failed"]
    assert exactly(result.error) is AirflowException


@pytest.mark.parametrize(
    "body", [{"detail": "Not Found"}, {"status": 404, "error": "Not Found", "path": "/api/v2/runs"}]
)
def test_the_404_of_another_product_does_not_mean_an_unknown_run(body, server, cancel):
    server.fail_next(None, 404, body=body)
    result = cancel("run_a", on_not_found="ignore")
    assert result.outcomes == ["failed"]
    assert exactly(result.error) is AirflowFailException
    assert "this is not a Trigger.dev server" in str(result.error)


def test_a_failure_that_another_try_may_fix_decides_over_one_that_it_may_not(server, cancel):
    passing, lasting = server.add_run(), server.add_run()
    server.fail_next(None, 503, path=passing.id)
    server.fail_next(None, 403, path=lasting.id)
    result = cancel(passing, lasting, "run_unknown")
    assert exactly(result.error) is AirflowException
    assert all(text in str(result.error) for text in (passing.id, lasting.id, "run_unknown"))


def test_the_next_try_of_the_task_ends_well(server, make_operator, execute):
    operator = make_operator(server.add_run(), server.add_run())
    server.fail_next(None, 503, method="GET")
    assert exactly(execute(operator).error) is AirflowException
    server.clear_faults()
    assert execute(operator).outcomes == ["canceled", "canceled"]

from __future__ import annotations

import json
import socket
import threading
from collections import Counter

import pytest

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.usefixtures("quick_checks")

AGAIN, NEVER = AirflowException, AirflowFailException
UNREADABLE = {"status": 404, "body": {"error": "Not found"}, "headers": {"x-should-retry": "true"}}

# What the middle one of three runs meets, at its cancel or at the check.
PASSING_FAULTS = {
    "500 twice at the cancel": (lambda s, p: s.fail_next(2, 500, path=p, method="POST")),
    "500 twice at the check": (lambda s, p: s.fail_next(2, 500, path=p, method="GET")),
    "a disconnect once the cancel was handled": (lambda s, p: s.disconnect_next(path=p, method="POST")),
    "a disconnect at the check": (lambda s, p: s.disconnect_next(2, path=p, method="GET")),
    "a page at the cancel, once": (lambda s, p: s.malformed_next(path=p, method="POST", after_handling=True)),
    "a page at the check, once": (lambda s, p: s.malformed_next(path=p, method="GET")),
    "half a JSON at the check": (lambda s, p: s.truncate_next(path=p, method="GET")),
    "half a JSON at the cancel": (lambda s, p: s.truncate_next(path=p, method="POST")),
    "a stale check, twice": (lambda s, p: s.stale_next(2, path=p)),
    "404 at the check, once": (lambda s, p: s.fail_next(1, path=p, method="GET", **UNREADABLE)),
    "a late answer": (lambda s, p: s.delay_next(2, 0.3, path=p)),
}

# The same without end; then: the run's outcome, and how the task ends.
LASTING_FAULTS = {
    "500 for ever at the cancel": (
        lambda s, p: s.fail_next(None, 500, path=p, method="POST"),
        "failed",
        AGAIN,
    ),
    "503 for ever at the cancel": (
        lambda s, p: s.fail_next(None, 503, path=p, method="POST"),
        "failed",
        AGAIN,
    ),
    "503 for ever at the check": (lambda s, p: s.fail_next(None, 503, path=p, method="GET"), "failed", AGAIN),
    "503 for ever": (lambda s, p: s.fail_next(None, 503, path=p), "failed", AGAIN),
    "503 though it was canceled": (
        lambda s, p: s.fail_next(None, 503, path=p, method="POST", after_handling=True),
        "canceled",
        None,
    ),
    "a disconnect whenever the cancel was handled": (
        lambda s, p: s.disconnect_next(None, path=p, method="POST"),
        "canceled",
        None,
    ),
    "a disconnect before any cancel is handled": (
        lambda s, p: s.disconnect_next(None, path=p, method="POST", after_handling=False),
        "failed",
        AGAIN,
    ),
    "a page at the cancel": (lambda s, p: s.malformed_next(None, path=p, method="POST"), "failed", AGAIN),
    "a page at the check": (lambda s, p: s.malformed_next(None, path=p, method="GET"), "failed", AGAIN),
    "a page that says 404 at the cancel": (
        lambda s, p: s.malformed_next(None, status=404, path=p, method="POST"),
        "failed",
        NEVER,
    ),
    "half a JSON at each check": (lambda s, p: s.truncate_next(None, path=p, method="GET"), "failed", AGAIN),
    "a list at the check": (
        lambda s, p: s.malformed_next(None, "[]", "application/json", path=p, method="GET"),
        "failed",
        AGAIN,
    ),
    "no status at the check": (
        lambda s, p: s.malformed_next(None, "{}", "application/json", path=p, method="GET"),
        "failed",
        AGAIN,
    ),
    "403 at the cancel": (lambda s, p: s.fail_next(None, 403, path=p, method="POST"), "failed", NEVER),
    "403 at the check": (lambda s, p: s.fail_next(None, 403, path=p, method="GET"), "failed", NEVER),
    "404 at the check": (
        lambda s, p: s.fail_next(None, path=p, method="GET", **UNREADABLE),
        "failed",
        AGAIN,
    ),
    "409 that says already": (
        lambda s, p: s.fail_next(
            None, 409, path=p, method="POST", body={"error": "Already done"}, after_handling=True
        ),
        "canceled",
        None,
    ),
    "400 that says already": (
        lambda s, p: s.fail_next(
            None, 400, path=p, method="POST", body={"error": "Already done"}, after_handling=True
        ),
        "canceled",
        None,
    ),
    "400 that says already, of a run that is alive": (
        lambda s, p: s.fail_next(None, 400, path=p, method="POST", body={"error": "Already done"}),
        "failed",
        AGAIN,
    ),
    "an acknowledgment without effect": (
        lambda s, p: s.malformed_next(None, json.dumps({"id": p}), "application/json", path=p, method="POST"),
        "failed",
        AGAIN,
    ),
    "200 without effect": (lambda s, p: s.fail_next(None, 200, path=p, method="POST"), "failed", AGAIN),
    "a redirect at the cancel": (
        lambda s, p: s.redirect_next(None, s.url, path=p, method="POST"),
        "failed",
        NEVER,
    ),
    "a redirect at the check": (
        lambda s, p: s.redirect_next(None, s.url, path=p, method="GET"),
        "failed",
        NEVER,
    ),
    "an enormous answer at the cancel": (
        lambda s, p: s.oversize_next(None, 20_000_000, path=p, method="POST"),
        "canceled",
        None,
    ),
    "an enormous answer at the check": (
        lambda s, p: s.oversize_next(None, 20_000_000, path=p, method="GET"),
        "failed",
        NEVER,
    ),
    "no answer at the cancel": (
        lambda s, p: s.hang_next(None, path=p, method="POST"),
        "failed",
        AGAIN,
    ),
    "no answer though it was canceled": (
        lambda s, p: s.hang_next(None, path=p, method="POST", after_handling=True),
        "canceled",
        None,
    ),
    "no answer at the check": (lambda s, p: s.hang_next(None, path=p, method="GET"), "failed", AGAIN),
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
    add_fault, outcome, error = LASTING_FAULTS[fault]
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
        lambda s, p: s.disconnect_next(path=p, method="POST"),
        lambda s, p: s.fail_next(1, 502, path=p, method="POST", after_handling=True),
        lambda s, p: s.fail_next(
            None, 409, path=p, method="POST", body={"error": "Run is already completed"}
        ),
        lambda s, p: s.fail_next(
            None, 400, path=p, method="POST", body={"error": "Run is already completed"}
        ),
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


def test_a_429_for_longer_than_the_connection_goes_on_trying_makes_a_retry_worth_it(server, connect, cancel):
    connect(retry_for=0.5)
    run = server.add_run()
    server.rate_limit_next(None, 2)
    result = cancel(run)
    assert exactly(result.error) is AirflowException
    assert result.outcomes == ["failed"]
    assert run.status == "EXECUTING"


def test_a_rejected_key_ends_the_work_at_once(server, connect, cancel):
    runs = [server.add_run() for _ in range(10)]
    connect(key="tr_prod_another")
    result = cancel(*runs, max_concurrency=1)
    assert exactly(result.error) is AirflowFailException
    assert "'trigger_dev_default'" in str(result.error)
    assert "key" in str(result.error)
    # One second try shows that the 401 was not a gateway's.
    assert [request.path for request in server.requests] == [f"/api/v2/runs/{runs[0].id}/cancel"] * 2
    assert [one["run_id"] for one in result.results] == [run.id for run in runs]
    assert set(result.outcomes) == {"failed"}


def test_a_key_that_is_rejected_in_the_middle_ends_the_work(server, cancel):
    runs = [server.add_run() for _ in range(10)]
    for run in runs[4:]:
        server.fail_next(None, 401, path=run.id, method="POST")
    result = cancel(*runs, max_concurrency=1)
    assert exactly(result.error) is AirflowFailException
    assert "key" in str(result.error)
    sent = Counter(request.path.split("/")[4] for request in server.requests if request.status == 401)
    # Until then, nothing else is sent.
    assert sent == {runs[4].id: 2}
    assert set(result.outcomes[4:]) == {"failed"}


def test_a_key_revoked_between_cancel_and_check_ends_the_work(server, cancel):
    runs = [server.add_run() for _ in range(3)]
    server.fail_next(None, 401, method="GET")
    result = cancel(*runs, max_concurrency=1)
    assert exactly(result.error) is AirflowFailException
    assert {run.status for run in runs} == {"CANCELED"}
    assert all("cancel" in one["error"] for one in result.results)


def test_a_single_401_for_a_key_that_has_worked_fails_no_run(server, cancel):
    runs = [server.add_run() for _ in range(100)]
    server.fail_next(1, 401, path=runs[60].id, method="POST")
    server.fail_next(1, 401, path=runs[40].id, method="GET")
    result = cancel(*runs, max_concurrency=8)
    assert (result.error, set(result.outcomes)) == (None, {"canceled"})
    assert server.pending_faults == 0


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


def test_a_server_that_never_answers_costs_bounded_time(server, connect, cancel):
    connect(timeout=0.3, retry_for=0.5)
    runs = [server.add_run() for _ in range(100)]
    server.hang_next(None)
    result = cancel(*runs, max_concurrency=8)
    assert exactly(result.error) is AirflowException
    assert result.outcomes == ["failed"] * 100
    assert len(server.requests) < 50  # what would follow is not sent


def test_a_server_that_never_answers_gets_few_requests_where_no_call_is_repeated(server, connect, cancel):
    connect(timeout=0.3, retry_for=0)
    runs = [server.add_run() for _ in range(100)]
    server.hang_next(None)
    result = cancel(*runs, max_concurrency=8)
    assert exactly(result.error) is AirflowException
    assert result.outcomes == ["failed"] * 100
    assert len(server.requests) < 40


def test_the_last_error_of_an_outage_is_logged_with_the_progress(server, connect, cancel, said, monkeypatch):
    from airflow_provider_trigger.cancel import workers

    monkeypatch.setattr(workers, "_PROGRESS_INTERVAL", 0.1)
    connect(retry_for=3)
    server.fail_next(None, 503, method="POST")
    cancel(server.add_run())
    progress = "1 of 1 cancel requests sent, 0 runs finished; last error: POST "
    assert said.lines(progress, "answered 503: Simulated error 503")


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


def test_a_redirect_is_not_followed(server, cancel):
    run = server.add_run()
    with TriggerDevServer() as elsewhere:
        server.redirect_next(None, elsewhere.url + "/api/v2/runs/x/cancel", status=307)
        result = cancel(run)
        assert elsewhere.requests == []
    assert exactly(result.error) is AirflowFailException
    assert elsewhere.url in str(result.error)


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


def test_the_answer_of_another_run_is_not_believed(server, cancel):
    run, other = server.add_run(), server.add_run("COMPLETED")
    shown = {"id": other.id, "status": "COMPLETED", "taskIdentifier": "a-task"}
    server.malformed_next(None, json.dumps(shown), "application/json", method="GET")
    assert cancel(run).outcomes == ["failed"]


def test_a_page_of_another_server_does_not_mean_an_unknown_run(server, cancel):
    run = server.add_run()
    server.malformed_next(None, status=404)
    result = cancel(run, on_not_found="ignore")
    assert result.outcomes == ["failed"]
    assert exactly(result.error) is AirflowFailException


@pytest.mark.parametrize(
    "body", [{"detail": "Not Found"}, {"status": 404, "error": "Not Found", "path": "/api/v2/runs"}]
)
def test_the_404_of_another_product_does_not_mean_an_unknown_run(body, server, cancel):
    server.fail_next(None, 404, body=body)
    result = cancel("run_a", on_not_found="ignore")
    assert result.outcomes == ["failed"]
    assert exactly(result.error) is AirflowFailException
    assert "this is not a Trigger.dev server" in str(result.error)


def test_a_wrong_host_costs_a_few_requests_and_no_retries(server, cancel):
    server.malformed_next(None, status=404)
    result = cancel(*[f"run_{number}" for number in range(200)], max_concurrency=4)
    assert result.outcomes == ["failed"] * 200
    assert exactly(result.error) is AirflowFailException
    assert len(server.requests) < 25


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

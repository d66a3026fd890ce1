"""A server that fails while a task starts a run and waits for it: one run, and its result arrives."""

from __future__ import annotations

import time

import pytest
from run_operator import operator

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.testing import TriggerDevServer

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])


def outage(server):
    server.stop()
    time.sleep(3)  # so that a check fails although the machine stalls meanwhile
    server.start()


def is_checked(server):
    """Whether a check of a run, or a query, was answered, so that the start is over."""
    paths = ("/api/v3/runs/", "/api/v1/query")
    return any(request.status == 200 and request.path.startswith(paths) for request in list(server.requests))


def hanging(server):
    server.hang_next(2, path="/api/v3/runs/")


# What goes wrong while the run executes. Those of connections come in both ways, the others in one.
FAULTS = {
    "outage": outage,
    "rejected": lambda server: server.rate_limit_next(2, 1, path="/api/v3/runs/"),
    "hanging": hanging,
    "error_500": lambda server: server.fail_next(4, 500, path="/api/v3/runs/"),
    "not_to_retry": lambda server: server.fail_next(
        4, 500, path="/api/v3/runs/", headers={"x-should-retry": "false"}
    ),
    "gateway": lambda server: server.fail_next(4, 502, path="/api/v3/runs/", body="<h1>Bad gateway</h1>"),
    "page": lambda server: server.malformed_next(4, path="/api/v3/runs/"),
    "not_json": lambda server: server.malformed_next(4, "{", "application/json", path="/api/v3/runs/"),
    "truncated": lambda server: server.truncate_next(4, path="/api/v3/runs/"),
    "disconnected": lambda server: server.disconnect_next(4, path="/api/v3/runs/"),
    "redirected": lambda server: server.redirect_next(4, path="/api/v3/runs/"),
    "bad_request": lambda server: server.fail_next(4, 400, path="/api/v3/runs/"),
    "not_found_for_a_moment": lambda server: server.fail_next(4, 404, path="/api/v3/runs/"),
    "key_rejected_for_a_moment": lambda server: server.fail_next(4, 401, path="/api/v3/runs/"),
}


OF_CONNECTIONS = ("outage", "hanging", "truncated", "disconnected")


@pytest.mark.parametrize(
    ("fault", "deferrable"),
    [(fault, False) for fault in OF_CONNECTIONS]
    + [(fault, fault in OF_CONNECTIONS or number % 2 == 1) for number, fault in enumerate(FAULTS)],
)
def test_a_fault_while_waiting_does_not_end_the_wait(
    fault, deferrable, server, connect, run_try, meanwhile, the_run, said
):
    connect(timeout=3 if fault == "hanging" else 10, retry_for=30)
    server.query = False  # else it shows the run to one that is deferred, whatever becomes of its checks
    server.on_task("resize", after=None)

    def begin():
        FAULTS[fault](server)
        the_run("resize", "EXECUTING").schedule([(1.2, "COMPLETED")])

    # A fault before the first check was answered could meet the start.
    meanwhile(lambda: the_run("resize", "EXECUTING") and is_checked(server), begin)
    ended = run_try(operator(deferrable=deferrable))
    assert (ended.error, ended.output) == (None, {"done": True})
    assert not server.pending_faults
    (run,) = server.runs.values()
    assert ended.pushed["run_id"] == run.id
    assert run.cancel_requests == 0
    assert len(said.lines("Status check of run", "failed; still waiting")) == 1
    assert len(said.lines(f"Run {run.id} can be checked again after ")) == 1


@WAYS
def test_a_rate_limit_that_another_application_uses_up_delays_the_result(
    deferrable, connect, run_try, meanwhile, said
):
    with TriggerDevServer(rate_limit=30, refill=10, refill_interval=1) as server:
        connect(host=server.url, retry_for=60)
        server.on_task("resize", output=1, after=1)

        def is_executing():
            return any(run.status == "EXECUTING" for run in list(server.runs.values()))

        def use_up():
            for _ in range(10):
                server.take_tokens(30)
                time.sleep(0.2)

        meanwhile(is_executing, use_up)
        ended = run_try(operator(deferrable=deferrable, poll_interval=0.05))
        assert (ended.error, ended.output) == (None, 1)
        (run,) = server.runs.values()
        assert run.cancel_requests == 0


@WAYS
def test_a_server_that_is_down_until_the_timeout_is_said_to_keep_the_run(
    deferrable, server, connect, run_try, meanwhile, the_run, short_cancels
):
    connect(retry_for=0.5)
    server.on_task("resize", after=None)
    meanwhile(lambda: is_checked(server), server.stop)
    ended = run_try(operator(deferrable=deferrable, timeout=1.5))
    assert ended.error is not None
    assert ended.pushed["run_id"] in str(ended.error)


@WAYS
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_rejects_the_checks_for_too_long_ends_the_wait(
    status, deferrable, server, connect, run_try, meanwhile, the_run, unknown_soon
):
    connect(retry_for=1)
    server.on_task("resize", after=None)
    meanwhile(
        lambda: the_run("resize", "EXECUTING"),
        lambda: [server.fail_next(None, status, path=path) for path in ("/api/v3/runs/", "/query")],
    )
    ended = run_try(operator(deferrable=deferrable))
    assert "The server rejects the status checks of" in str(ended.error)
    assert f"answered {status}" in str(ended.error)


@WAYS
@pytest.mark.parametrize("query", [True, False])
@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (500, "No", "is COMPLETED, but its output cannot be fetched: GET /api/v3/runs/"),
        (200, "[" * 100_000, "'trigger_dev_default' to http"),
        (200, " " * (1 + 16 * 1024 * 1024), "answered more than 16 MB"),
    ],
    ids=["error_500", "too_deep", "too_large"],
)
def test_a_run_whose_checks_are_answered_without_it_for_ever_ends_the_wait(
    status, body, text, query, deferrable, server, connect, run_try, request
):
    connect(retry_for=0.5)
    server.query = query
    server.on_task("resize", after=0.1)
    server.malformed_next(None, body, "application/json", path="/api/v3/runs/", status=status)
    if not (deferrable and query):  # which shows its end
        request.getfixturevalue("unknown_soon")
        text = "The server rejects the status checks of"
    ended = run_try(operator(deferrable=deferrable))
    assert text in str(ended.error)
    assert "connection 'trigger_dev_default'" in str(ended.error).lower() or status == 500
    assert not isinstance(ended.error, AirflowFailException)
    (run,) = server.runs.values()
    assert run.cancel_requests == 0


LOST = {
    "disconnected": lambda server: server.disconnect_next(path="/trigger"),
    "hanging": lambda server: server.hang_next(path="/trigger", after_handling=True),
    "error_500": lambda server: server.fail_next(path="/trigger", after_handling=True),
    "page": lambda server: server.malformed_next(path="/trigger", after_handling=True),
    "truncated": lambda server: server.truncate_next(path="/trigger"),
    "late": lambda server: server.delay_next(path="/trigger", seconds=8),
}
# Each times out, and a stall of the machine costs no other request its answer.
TIMEOUT = {"hanging": 3, "late": 3}


@WAYS
@pytest.mark.parametrize("lost", LOST)
def test_a_lost_answer_of_the_trigger_makes_no_second_run(
    lost, deferrable, server, connect, run_try, triggered
):
    connect(timeout=TIMEOUT.get(lost, 10), retry_for=30)
    server.on_task("resize", output="once")
    LOST[lost](server)
    ended = run_try(operator(deferrable=deferrable))
    assert (ended.error, ended.output) == (None, "once")
    assert len(triggered()) == 2
    assert list(server.runs) == [ended.pushed["run_id"]]


def test_a_trigger_that_arrives_only_at_the_next_try_makes_one_run(server, run_tasks, triggered, connect):
    connect(timeout=1, retry_for=0.3)
    server.on_task("resize", output="once")
    server.hang_next(3, path="/trigger", after_handling=True)
    result = run_tasks("""
        RunTriggerTaskOperator(task_id="start", task_identifier="resize", poll_interval=0.1, retries=20)
    """)
    assert (result.xcoms, len(server.runs)) == ({"start": "once"}, 1)
    assert result.tries["start"][0] > 1
    assert len(triggered()) >= 3


@pytest.mark.parametrize("lost", LOST)
def test_without_a_key_a_lost_answer_says_that_a_run_may_exist(lost, server, connect, run_try, triggered):
    connect(timeout=TIMEOUT.get(lost, 10))
    server.on_task("resize", output="once")
    LOST[lost](server)
    ended = run_try(operator(idempotency_key=None))
    assert isinstance(ended.error, AirflowFailException)
    assert "a run may exist: look for it in the dashboard before you start another one" in str(ended.error)
    assert len(triggered()) == 1


def test_without_a_key_a_request_that_did_not_arrive_is_repeated(server, connect, run_try, triggered):
    connect(retry_for=30)
    server.on_task("resize", output="once")
    server.rate_limit_next(path="/trigger", reset_after=0.5)
    ended = run_try(operator(idempotency_key=None))
    assert (ended.error, ended.output) == (None, "once")
    assert (len(server.runs), len(triggered())) == (1, 2)


def test_without_a_key_a_server_that_is_down_leaves_the_task_its_retries(server, run_try, said):
    server.on_task("resize", output="once")
    server.stop()
    failed = run_try(operator(idempotency_key=None))
    assert "Connection refused" in str(failed.error)
    assert "a run may exist" not in str(failed.error)
    assert not isinstance(failed.error, AirflowFailException)
    server.start()
    assert run_try(operator(idempotency_key=None), try_number=2).output == "once"
    assert len(server.runs) == 1


def test_a_server_that_is_down_at_the_start_fails_the_task_without_a_run(server, run_try):
    server.stop()
    ended = run_try(operator())
    assert ended.error is not None
    assert ended.pushed == {}
    server.start()
    server.on_task("resize", output="once")
    again = run_try(operator(), try_number=2)
    assert (again.error, again.output, len(server.runs)) == (None, "once", 1)

"""Several faults at once: what each of them cost runs, or the truth about them, before."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections import Counter
from typing import Any

import pytest
from waiting import LONG, until

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.cancel import bulk, jobs, record
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.defaults import BULK_FROM
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.testing import TriggerDevServer

SMALL_BUCKET: dict[str, Any] = {"rate_limit": 60, "refill": 60, "refill_interval": 2.0}
FIRST_TOKENS = 57  # all but the reserve of a twentieth
MANY = BULK_FROM + 1


@pytest.fixture
def notify(connect, make_context, said):
    """Call a notifier that has few seconds, and return what it said of the runs."""

    def run(server, runs, *, timeout, **extra):
        connect(host=server.url, **({"timeout": 30, "retry_for": 60} | extra))
        CancelTriggerRunNotifier(run_ids=[run.id for run in runs], timeout=timeout)(make_context())
        return said.lines(f"{len(runs)} Trigger.dev runs")[-1]

    return run


@pytest.fixture
def many():
    """A server with so many runs that bulk actions go first, and without a rate limit."""
    with TriggerDevServer(rate_limit=None, acknowledge_after=0.05) as server:
        for _ in range(MANY):
            server.add_run()
        yield server


def statuses(server):
    return Counter(run.status for run in server.runs.values())


def sent(server):
    """How many requests of each kind the server got."""
    return Counter(
        f"bulk {request.method}" if "bulk-actions" in request.path else request.method
        for request in list(server.requests)
    )


# 1. A request without an answer and the rate limit.


def test_a_cancel_without_an_answer_does_not_keep_the_others_from_a_small_bucket(notify):
    with TriggerDevServer(**SMALL_BUCKET) as server:
        runs = [server.add_run() for _ in range(100)]
        server.hang_next(path=runs[10].id, method="POST")
        said = notify(server, runs, timeout=12)
        assert statuses(server) == {"CANCELED": 100}
    assert "not sent" not in said


def test_a_first_request_after_a_refill_without_an_answer_does_not_keep_the_others_waiting(notify):
    server = TriggerDevServer(**SMALL_BUCKET)

    class Requests(list[Any]):
        """All that the first tokens allow are answered; the next one, which is to show the bucket, is not."""

        def append(self, request: Any) -> None:
            super().append(request)
            if len(self) == FIRST_TOKENS + 1:
                server.hang_next(method="POST")

    server.requests = Requests()
    with server:
        runs = [server.add_run() for _ in range(100)]
        said = notify(server, runs, timeout=12)
        first, *_, last, hanging = server.requests[: FIRST_TOKENS + 1]
        assert last.time - first.time < 1.8 < hanging.time - first.time, "it came after a refill"
        assert server.pending_faults == 0
        assert statuses(server) == {"CANCELED": 100}
    assert "not sent" not in said


# 2. A cancel without an answer and the status checks.


def test_a_cancel_without_an_answer_does_not_keep_the_others_from_being_checked(server, notify, monkeypatch):
    monkeypatch.setattr(jobs, "_SHARE_FOR_CANCELS", 0.5)  # so that there are 3 s for the checks
    runs = [server.add_run() for _ in range(20)]
    server.hang_next(None, path=runs[3].id, method="POST", after_handling=True)
    said = notify(server, runs, timeout=6)
    assert "20 Trigger.dev runs: 20 canceled" in said
    assert statuses(server) == {"CANCELED": 20}


def test_a_run_is_checked_while_the_cancel_of_another_has_no_answer(server, cancel, connect):
    connect(timeout=3, retry_for=30)
    runs = [server.add_run() for _ in range(20)]
    server.hang_next(path=runs[3].id, method="POST")
    assert set(cancel(*runs).outcomes) == {"canceled"}
    in_order = [(request.method, request.path.split("/")[4]) for request in server.requests]
    again = len(in_order) - 1 - in_order[::-1].index(("POST", runs[3].id))
    checked = {run_id for method, run_id in in_order[:again] if method == "GET"}
    assert checked == {run.id for run in runs} - {runs[3].id}


def test_one_request_without_an_answer_does_not_use_up_the_time_limit(server, notify):
    runs = [server.add_run() for _ in range(3)]
    server.hang_next(path=runs[1].id, method="POST")
    said = notify(server, runs, timeout=10)
    assert statuses(server) == {"CANCELED": 3}
    assert "3 Trigger.dev runs: 3 canceled" in said


# 3. Bulk actions.


def test_an_accepted_bulk_action_is_not_reported_as_not_sent_when_the_task_is_killed(
    many, connect, make_operator, execute, monkeypatch
):
    monkeypatch.setattr(bulk, "NO_PROGRESS_AFTER", LONG)
    connect(host=many.url)
    many.bulk_duration = LONG
    operator = make_operator(*many.runs)

    def kill():
        until(lambda: sent(many)["bulk GET"], "the action is checked")
        operator.on_kill()

    threading.Thread(target=kill, daemon=True).start()
    result = execute(operator)
    assert sent(many)["POST"] == 0
    (bulk_id,) = many.bulk
    assert len(result.results) == MANY
    reasons = tuple(f"cancel requested {by} bulk action {bulk_id}" for by in ("by", "only by"))
    assert [one["error"] for one in result.results if not one["error"].startswith(reasons)] == []


def test_a_server_whose_bulk_worker_is_off_costs_part_of_the_time_and_no_run(many, notify):
    many.bulk_duration = None
    said = notify(many, many.runs.values(), timeout=16)
    assert statuses(many) == {"CANCELED": MANY}
    assert f"{MANY} Trigger.dev runs: {MANY} canceled" in said


def test_a_bulk_action_without_progress_counts_as_no_cancel_request(many, connect, cancel, monkeypatch):
    monkeypatch.setattr(bulk, "NO_PROGRESS_AFTER", 0.2)
    connect(host=many.url)
    many.bulk_duration = None
    result = cancel(*many.runs)
    assert set(result.outcomes) == {"canceled"}
    # Each run's own cancel, and one check afterwards.
    assert (sent(many)["POST"], sent(many)["GET"]) == (MANY, MANY)


def test_a_slow_bulk_action_with_progress_makes_no_false_failures(many, notify):
    many.bulk_rate = MANY / 12
    said = notify(many, many.runs.values(), timeout=16)
    assert statuses(many) == {"CANCELED": MANY}
    assert f"{MANY} Trigger.dev runs: {MANY} canceled" in said


def test_a_bulk_request_that_was_rejected_with_429_is_sent_again(many, connect, cancel):
    connect(host=many.url, retry_for=10)
    many.rate_limit_next(1, 0.3, path="bulk-actions", method="POST")
    assert set(cancel(*many.runs).outcomes) == {"canceled"}
    assert (sent(many)["bulk POST"], sent(many)["POST"]) == (2, 0)


def test_a_bulk_action_is_checked_less_and_less_often(many, connect, cancel):
    connect(host=many.url)
    many.bulk_duration = 3
    assert set(cancel(*many.runs).outcomes) == {"canceled"}
    assert sent(many)["bulk GET"] <= 5  # twice a second would be 7


# 4. Outdated checks.


def falsely_terminated(server, result):
    return [
        one["run_id"]
        for one in result.results
        if one["terminated"] and not server.runs[one["run_id"]].terminated
    ]


def test_a_check_long_before_the_cancel_does_not_show_a_suspended_run_as_terminated(
    connect, cancel, monkeypatch
):
    monkeypatch.setattr(record, "FRESH_FOR", 1.0)
    bucket: dict[str, Any] = {"rate_limit": 6, "refill": 6, "refill_interval": 2.0}
    with TriggerDevServer(**bucket, acknowledge_after=None) as server:
        connect(host=server.url, timeout=10, retry_for=30)
        # They resume while the cancels wait for the refill.
        runs = [server.add_run("WAITING", then=[(1.0, "EXECUTING")]) for _ in range(5)]
        result = cancel(*runs, wait_for_termination=True, termination_timeout=0)
        assert result.outcomes == ["canceled"] * 5
        assert "EXECUTING" in {run.before_cancel.status for run in runs if run.before_cancel}
        assert falsely_terminated(server, result) == []


def test_an_attempt_that_began_after_the_check_is_not_shown_as_terminated(server, connect, cancel):
    connect(timeout=10)
    run = server.add_run("QUEUED", started=True, acknowledge_after=None, then=[(0.3, "EXECUTING")])
    server.delay_next(1, 0.6, path=run.id, method="POST", after_handling=False)
    result = cancel(run, wait_for_termination=True, termination_timeout=0)
    assert result.outcomes == ["canceled"]
    assert run.before_cancel.status == "EXECUTING"
    assert falsely_terminated(server, result) == []


# 6. When to stop trying.


def test_an_outage_longer_than_retry_for_leaves_no_run_alive_within_the_time_limit(server, notify):
    runs = [server.add_run() for _ in range(60)]
    server.fail_next(None, 503)
    threading.Timer(2.5, server.clear_faults).start()
    said = notify(server, runs, timeout=12, retry_for=1)
    assert statuses(server) == {"CANCELED": 60}
    assert "60 Trigger.dev runs: 60 canceled" in said


# 7. An XCom that cannot be read.


def test_an_xcom_that_cannot_be_read_keeps_no_other_run_from_being_canceled(server, cancel):
    explicit, pushed = server.add_run(), server.add_run()
    result = cancel(
        explicit,
        xcom_task_ids=["broken", "start"],
        xcoms={"broken": ValueError("the XCom backend is down"), "start": pushed.id},
    )
    assert statuses(server) == {"CANCELED": 2}
    assert result.outcomes == ["canceled", "canceled"]
    assert "'broken'" in str(result.error)
    assert "the XCom backend is down" in str(result.error)


# 8. A 401 that is not Trigger.dev's.


def test_a_single_401_for_a_key_that_has_worked_fails_no_run(server, cancel):
    runs = [server.add_run() for _ in range(100)]
    server.fail_next(1, 401, path=runs[60].id, method="POST")
    server.fail_next(1, 401, path=runs[40].id, method="GET")
    result = cancel(*runs, max_concurrency=8)
    assert Counter(result.outcomes) == {"canceled": 100}
    assert result.error is None
    assert server.pending_faults == 0


@pytest.mark.parametrize("max_concurrency", [1, 3, 32])
def test_a_single_401_fails_no_run_although_it_is_the_first_answer(server, cancel, max_concurrency):
    runs = [server.add_run() for _ in range(3)]
    server.fail_next(1, 401, path=runs[0].id, method="POST")
    server.delay_next(2, 0.05)
    result = cancel(*runs, max_concurrency=max_concurrency)
    assert (result.error, result.outcomes) == (None, ["canceled"] * 3)
    assert server.pending_faults == 0


def test_a_single_401_leaves_no_run_of_a_notifier_alive(server, notify):
    runs = [server.add_run() for _ in range(80)]
    server.fail_next(1, 401, method="POST")
    assert "80 canceled" in notify(server, runs, timeout=20)
    assert statuses(server) == {"CANCELED": 80}


# 9. Answers that are not Trigger.dev's, and runs that go on.


@pytest.mark.usefixtures("quick_checks")
@pytest.mark.parametrize(
    ("body", "content_type"),
    [("<h1>Down for maintenance</h1>", "text/html"), ("{}", "application/json"), ("", "text/plain")],
    ids=["a page", "no id", "empty"],
)
def test_a_200_that_is_not_trigger_devs_does_not_acknowledge_a_cancel(body, content_type, server, cancel):
    run, other = server.add_run(), server.add_run()
    server.malformed_next(1, body, content_type, path=run.id, method="POST")
    result = cancel(run, other)
    assert (result.error, result.outcomes) == (None, ["canceled", "canceled"])
    assert run.status == "CANCELED"


@pytest.mark.usefixtures("quick_checks")
def test_a_run_that_goes_on_after_an_acknowledged_cancel_gets_one_more(server, cancel):
    run = server.add_run()
    server.malformed_next(1, json.dumps({"id": run.id}), "application/json", path=run.id, method="POST")
    result = cancel(run)
    assert (result.error, result.outcomes) == (None, ["canceled"])
    assert sent(server)["POST"] == 2


def test_a_500_at_a_check_is_tried_again_while_other_runs_fail(server, connect, cancel):
    connect(retry_for=4)
    run, *others = [server.add_run() for _ in range(5)]
    server.fail_next(1, 500, path=run.id, method="GET")
    for other in others:
        server.fail_next(None, 503, path=other.id)
    assert cancel(run, *others).outcomes == ["canceled"] + ["failed"] * 4


# 10. The key and what an error leads to.


@pytest.mark.parametrize("fault", ["refused", "disconnected", "hangs"])
def test_no_error_leads_to_the_key(fault, server, connect, texts_behind):
    key = server.secret_key
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}" if fault == "refused" else server.url
        connect(host=host, timeout=0.5, retry_for=0)
        if fault == "disconnected":
            server.disconnect_next(None)
        else:
            server.hang_next(None)
        with pytest.raises(TriggerDevError) as caught:
            TriggerDevHook().get_run("run_a")
    texts = texts_behind(caught.value)
    assert texts
    assert not [text for text in texts if key in text]


# 11. Smaller ones.


def test_a_none_among_mapped_run_ids_fails_no_task(server, execute):
    run = server.add_run()
    mapped = CancelTriggerRunOperator.partial(task_id="cancel_runs").expand(run_ids=[run.id, None])
    results = [execute(mapped.unmap({"run_ids": one})) for one in (run.id, None)]
    assert [(one.error, one.outcomes) for one in results] == [(None, ["canceled"]), (None, [])]


@pytest.mark.usefixtures("quick_checks")
def test_an_unknown_status_warns_once(server, cancel, caplog):
    caplog.set_level(logging.WARNING, "airflow_provider_trigger")
    runs = [server.add_run() for _ in range(3)]
    for run in runs:
        shown = {"id": run.id, "status": "UPSIDE_DOWN", "taskIdentifier": "a-task"}
        server.malformed_next(None, json.dumps(shown), "application/json", path=run.id, method="GET")
    assert cancel(*runs).outcomes == ["failed"] * 3
    warnings = [one for one in caplog.records if one.name.startswith("airflow_provider_trigger.api.models")]
    assert len(warnings) == 1
    assert "UPSIDE_DOWN" in warnings[0].getMessage()


def test_answers_that_come_in_after_a_stop_change_nothing(server):
    ids = [f"run_unknown{number}" for number in range(20)]
    server.delay_next(None, 3.5)  # longer than a machine that stalls needs to stop
    settings = ServerSettings(base_url=server.url, secret_key=server.secret_key, user_agent="a test")
    with TriggerDevClient(settings) as client:
        work = Cancellation(
            client, ids, CancelSettings(), is_stopped=lambda: len(server.requests) == len(ids)
        )
        at_the_end = work.run()
        assert None in [record.status for record in server.requests]
        until(lambda: all(record.status for record in server.requests), "all requests are answered")
        assert work.results == at_the_end


def test_results_are_not_built_again_at_each_use(server, notify, monkeypatch):
    built = []
    build: Any = vars(Cancellation)["results"].fget

    def count(work):
        built.append(work)
        return build(work)

    monkeypatch.setattr(Cancellation, "results", property(count))
    assert "3 canceled" in notify(server, [server.add_run() for _ in range(3)], timeout=10)
    assert len(built) <= 2


def test_very_many_runs_do_not_hold_up_a_notifier(server, connect, make_context, said):
    connect()
    server.hang_next(None)
    notifier = CancelTriggerRunNotifier(run_ids=[f"run_{number}" for number in range(40_000)], timeout=0.5)
    notifier(make_context())
    assert said.lines("40000 Trigger.dev runs")

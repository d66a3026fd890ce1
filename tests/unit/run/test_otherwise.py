"""A run whose status checks answer 500 only: how it is checked otherwise, and what its wait comes to."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from requests import ReadTimeout

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.checks import check_otherwise
from airflow_provider_trigger.run.drive import drive
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Waited, WaitEnd

GET, SNAPSHOT, LIST = "GET /api/v3/runs/", "GET /realtime/v1/runs/", "GET /api/v1/runs"


@pytest.fixture
def broken(answer):
    return answer(500, {"error": "Something went wrong"})


@pytest.fixture
def wait(client, virtual_time, log):
    """Wait for runs in this thread, by the test's clock; return what became of each."""

    def run(*runs: Any, **settings: Any) -> list[Waited]:
        given: dict[str, Any] = {"patience": 60.0, "poll_interval": 5.0}
        made = WaitSettings(**given | settings)
        run_ids = [one.id for one in runs]
        return list(drive(wait_for_runs(run_ids, made, log=log, now=virtual_time.time), client).values())

    return run


@pytest.mark.parametrize(("patience", "after"), [(60, 60), (0, 30)])
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_its_end_is_that_of_its_realtime_feed(
    server, network, wait, broken, virtual_time, log, status: str, patience: float, after: float
) -> None:
    network.fault(GET, broken, times=1000)
    begun = virtual_time.now
    run = server.add_run(status)
    [waited] = wait(run, patience=patience)
    assert waited.run is not None
    assert (waited.end, waited.run.status) == (WaitEnd.FINAL, status)
    assert f"{GET}{run.id} answered 500: Something went wrong" in waited.error
    assert virtual_time.now - begun == pytest.approx(after)
    assert network.sent("/realtime/") == [f"{SNAPSHOT}{run.id}"]
    assert LIST not in network.requests
    assert log.lines[-1] == f"Run {run.id} is {status}"


def test_without_a_realtime_feed_it_cannot_be_checked_any_more(
    server, network, wait, broken, virtual_time
) -> None:
    server.realtime = False
    network.fault(GET, broken, times=1000)
    begun, run = virtual_time.now, server.add_run("COMPLETED")
    [waited] = wait(run)
    assert (waited.end, waited.run) == (WaitEnd.UNCHECKABLE, None)
    assert f"{GET}{run.id} answered 500: " in waited.error
    assert f"; its realtime feed does not show it either: {SNAPSHOT}{run.id} answered 503" in waited.error
    assert virtual_time.now - begun == pytest.approx(60, abs=1)


def test_what_was_seen_last_is_kept_where_it_cannot_be_checked_any_more(
    server, network, wait, broken
) -> None:
    server.realtime = False
    run = server.add_run("EXECUTING")
    network.before = lambda _: network.fault(GET, broken) if len(network.requests) > 1 else None
    [waited] = wait(run)
    assert waited.run is not None
    assert (waited.end, waited.run.id, waited.run.status) == (WaitEnd.UNCHECKABLE, run.id, "EXECUTING")


@pytest.mark.parametrize("realtime", [True, False])
def test_an_outage_that_answers_500_to_everything_ends_no_wait(
    server, network, wait, broken, virtual_time, realtime: bool
) -> None:
    server.realtime = realtime
    network.fault("GET", broken, times=100_000)
    runs = [server.add_run("EXECUTING", then=[(3600, "COMPLETED")]) for _ in range(3)]
    begun = virtual_time.now
    network.before = lambda _: network.repair() if virtual_time.now - begun > 3600 else None
    for waited in wait(*runs):
        assert (waited.end, waited.error) == (WaitEnd.FINAL, "")
    assert 100 < len(network.sent("/realtime/")) <= 120  # each 30 s the first run, and not all
    assert len(network.sent("/realtime/")) == network.requests.count(LIST)


def test_one_that_is_alive_is_waited_for(server, network, wait, broken, virtual_time) -> None:
    run = server.add_run("EXECUTING", then=[(600, "COMPLETED")])
    network.fault(GET, broken, times=1000)
    asked: list[float] = []
    network.before = lambda request: asked.append(virtual_time.now) if "/realtime/" in request else None
    [waited] = wait(run)
    assert waited.end is WaitEnd.FINAL
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert len(asked) > 10
    assert min(pauses) >= 30
    assert virtual_time.now <= 1000 + 600 + 35


def test_another_failure_in_between_is_no_500_for_ever(
    server, network, wait, broken, virtual_time, lost
) -> None:
    run = server.add_run("EXECUTING", then=[(500, "COMPLETED")])
    for _ in range(7):  # 55 s each
        network.fault(GET, broken, times=11)
        network.fault(GET, lost)
    [waited] = wait(run)
    assert (waited.end, waited.error) == (WaitEnd.FINAL, "")
    assert network.sent("/realtime/") == []


def test_its_deadline_counts_meanwhile(server, network, wait, broken, virtual_time) -> None:
    run = server.add_run("EXECUTING")
    network.fault(GET, broken, times=1000)
    [waited] = wait(run, deadline=virtual_time.time() + 200, cancels=False)
    assert (waited.end, virtual_time.now) == (WaitEnd.TIMED_OUT, pytest.approx(1200))


def test_the_first_of_several_that_cannot_be_checked_ends_the_wait_where_each_counts(
    server, network, wait, broken
) -> None:
    server.realtime = False
    network.fault(GET, broken, times=1000)
    runs = [server.add_run("COMPLETED") for _ in range(3)]
    assert len(wait(*runs, success_statuses=["COMPLETED"])) == 1
    assert [one.end for one in wait(*runs)] == [WaitEnd.UNCHECKABLE] * 3


def test_all_that_have_ended_are_seen_at_once(server, network, wait, broken, virtual_time) -> None:
    network.fault(GET, broken, times=1000)
    begun, runs = virtual_time.now, [server.add_run("COMPLETED") for _ in range(5)]
    assert [one.end for one in wait(*runs, success_statuses=["COMPLETED"])] == [WaitEnd.FINAL] * 5
    assert virtual_time.now - begun == pytest.approx(60)


@pytest.mark.parametrize("is_sure", [True, False])
@pytest.mark.parametrize("reply", ["503", "404 page", "no answer", "429", "lost"])
def test_what_may_pass_by_itself_says_nothing(
    server, client, network, answer, lost, reply: str, is_sure: bool
) -> None:
    replies = {
        "503": answer(503, "Network error occurred"),
        "404 page": answer(404, b"<html>"),
        "no answer": ReadTimeout(),
        "429": answer(429, {"error": "Too many connections"}),
        "lost": lost,
    }
    network.fault("/realtime/", replies[reply], times=1000)
    if not is_sure:
        network.fault(LIST, answer(500, {"error": "down"}), times=1000)
    result = checked_otherwise(server.add_run("COMPLETED").id, client)
    assert (result is not None) is (is_sure and reply not in ("429", "lost"))


def test_an_outage_that_ends_between_two_calls_says_nothing(server, client, network, answer) -> None:
    network.fault("/realtime/", answer(500, {"error": "down"}))
    result = checked_otherwise(server.add_run("EXECUTING").id, client)
    assert isinstance(result, Run)


def checked_otherwise(run_id: str, client: Any) -> Any:
    calls, reply = check_otherwise(run_id), None
    while True:
        try:
            call = calls.send(reply)
        except StopIteration as end:
            return end.value
        try:
            reply = client.call(call, patience=0)
        except Exception as error:
            reply = error


# Progress


def test_while_checks_fail_a_line_says_so_every_five_minutes(
    server, network, wait, virtual_time, log, lost
) -> None:
    run = server.add_run("EXECUTING", then=[(2400, "COMPLETED")])
    network.fault("GET", lost, times=100_000)
    network.before = lambda _: network.repair() if virtual_time.now > 3400 else None
    wait(run)
    first, *others = log.of("warning")
    assert first.startswith(f"Status check of run {run.id} failed; still waiting: ")
    error = TransportError(f"{GET}{run.id} to trigger.test: ConnectionError")
    assert others == [
        f"Run {run.id} could not be checked for {minutes} minutes; still waiting: {error}"
        for minutes in range(5, 41, 5)
    ]

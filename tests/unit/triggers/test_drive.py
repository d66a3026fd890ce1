"""The driver on an event loop takes the steps of a wait, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from calls_in_loop import calls_in_loop
from fake_clock import Clock
from fake_log import Log
from virtual_loop import run_in_virtual_time

from airflow_provider_trigger.api.errors import ServerError, TransportError, TriggerDevError
from airflow_provider_trigger.api.exchange import Send
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Waited, WaitEnd
from airflow_provider_trigger.triggers import watch as watch_module
from airflow_provider_trigger.triggers.watch import drive
from airflow_provider_trigger.triggers.watch_clients import WatchClients


@pytest.fixture
def sent() -> list[tuple[str, str]]:
    """What each request was for, and its path."""
    return []


@pytest.fixture
def wait(hook, virtual_time: Clock, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch):
    """Wait for a run, where a test answers each request; return what became of it, and the log."""
    log = Log()

    def run(answer: Any, **settings: Any) -> tuple[Waited, Log]:
        async def call(_: WatchClients, use: str, call: Call[Any]) -> Any:
            sent.append((use, call.request.path))
            if isinstance(reply := answer(call.request), TriggerDevError):
                raise reply
            return reply

        monkeypatch.setattr(WatchClients, "call", call)
        given = {"cancels": False, "deadline": virtual_time.time() + 1799} | settings
        steps = wait_for_runs(["run_1"], WaitSettings(**given), log=log, now=virtual_time.time)
        return run_in_virtual_time(drive(steps, hook), virtual_time)["run_1"], log

    return run


def failure(request: Any, status: int) -> TriggerDevError:
    sent = {"method": request.method, "path": request.path}
    return ServerError(**sent, status=status, detail="down", request_id=None, retryable=True)


def test_while_checks_fail_a_line_says_so_every_five_minutes(wait) -> None:
    waited, log = wait(lambda _: TransportError("no connection"))
    assert waited.end is WaitEnd.TIMED_OUT
    assert log.of("warning") == [
        "Status check of run run_1 failed; still waiting: no connection",
        *(
            f"Run run_1 could not be checked for {minutes} minutes; still waiting: no connection"
            for minutes in range(5, 30, 5)
        ),
    ]


def test_an_outage_that_answers_500_to_everything_ends_no_wait(wait) -> None:
    waited, _ = wait(lambda request: failure(request, 500))
    assert waited.end is WaitEnd.TIMED_OUT


def test_a_run_that_the_server_shows_in_no_way_is_waited_for_only_for_a_while(
    wait, sent: list[tuple[str, str]], virtual_time: Clock
) -> None:
    def answer(request: Any) -> Any:
        if request.path == "/api/v1/runs":
            return []
        return failure(request, 503 if "realtime" in request.path else 500)

    begun = virtual_time.now
    waited, _ = wait(answer, patience=120.0)
    assert waited.end is WaitEnd.UNCHECKABLE
    # Not by the clients whose circuit breaker the failures may have opened.
    feed, runs = ("urgent", "/realtime/v1/runs/run_1"), ("urgent", "/api/v1/runs")
    assert sent[-3:] == [feed, runs, feed]
    assert sent.count(runs) == 1
    assert 120 <= virtual_time.now - begun <= 150


@pytest.mark.parametrize(
    "page",
    [
        Response(status=404, headers={"content-type": "text/html"}, body=b"<html>Not found</html>"),
        Response(status=302, headers={"location": "https://login.test/"}, body=b""),
    ],
    ids=["404", "redirect"],
)
def test_a_wait_that_begins_while_a_page_is_in_place_of_the_server_continues(
    page: Response, hook, virtual_time: Clock, go_by, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[float] = []

    async def answer(_: Send) -> Response:
        sent.append(virtual_time.now)
        return page

    go_by(virtual_time)
    monkeypatch.setattr(WatchClients, "_call", calls_in_loop(answer))
    run_ids = [f"run_{number}" for number in range(30)]
    settings = WaitSettings(cancels=False, deadline=virtual_time.time() + 600)
    steps = wait_for_runs(run_ids, settings, log=Log(), now=virtual_time.time)
    waited = run_in_virtual_time(drive(steps, hook), virtual_time)
    assert {one.end for one in waited.values()} == {WaitEnd.TIMED_OUT}
    assert len(sent) > 10  # more than what opens a circuit breaker


def test_a_cancel_is_requested_together_with_those_of_other_tasks(
    wait, virtual_time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancel_runs(run_ids: Any, _: Any) -> dict[str, CancelResult]:
        return {
            run_id: CancelResult(run_id=run_id, outcome=CancelOutcome.CANCELED, status="CANCELED")
            for run_id in run_ids
        }

    monkeypatch.setattr(watch_module, "cancel_runs", cancel_runs)
    waited, _ = wait(lambda _: TransportError("no connection"), cancels=True)
    assert (waited.end, waited.is_canceled) == (WaitEnd.TIMED_OUT, True)

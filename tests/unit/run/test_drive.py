"""The blocking driver takes the steps of a wait, and can be stopped."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.deadline import NEVER
from airflow_provider_trigger.api.errors import NotSentError, TransportError
from airflow_provider_trigger.run import drive as drive_module
from airflow_provider_trigger.run.drive import StoppedError, drive
from airflow_provider_trigger.run.steps import Cancel, Check
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import WaitEnd

CHECK = Check(run_ids=("run_1",))


class Steps:
    """A wait that keeps what its driver hands back, and whether it was closed."""

    def __init__(self, *steps: Any, result: Any = None) -> None:
        self.steps = list(steps)
        self.result = result
        self.replies: list[Any] = []
        self.closed = False

    def __call__(self) -> Any:
        try:
            for step in self.steps:
                self.replies.append((yield step))
            return self.result
        finally:
            self.closed = True


class Client:
    """Answers each call with itself, or raises an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, call: Any, **options: Any) -> Any:
        self.calls.append((str(call.request), options))
        if self.error:
            raise self.error
        return f"answer to {call.request}"


GET = "GET /api/v3/runs/run_1"


def run(steps: Steps, client: Client, **options: Any) -> Any:
    return drive(steps(), client, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("due", "until", "slept"), [(10, 100, 10), (100, 10, 10), (-5, 100, 0), (-5, -9, 0)])
def test_a_check_is_made_when_it_is_due_and_not_later_than_its_limit(
    virtual_time, due: float, until: float, slept: float
) -> None:
    begun, now = virtual_time.now, virtual_time.time()
    run(Steps(Check(run_ids=("run_1",), at=now + due, until=now + until)), Client())
    assert virtual_time.now - begun == pytest.approx(slept)


def test_news_of_checks_are_passed_on_and_the_wait_gets_all_replies(server, client) -> None:
    run_id = server.add_run("EXECUTING").id
    steps, news = Steps(Check(run_ids=(run_id,)), Cancel(run_ids=(run_id,)), result="the result"), list[Any]()
    assert run(steps, client, on_news=news.append) == "the result"
    checked, canceled = steps.replies
    assert news == [checked]
    assert checked[run_id].status == "EXECUTING"
    assert canceled[run_id].outcome == "canceled"


@pytest.mark.parametrize("error", [KeyError("a bug"), KeyboardInterrupt()])
def test_any_other_error_ends_it(error: BaseException) -> None:
    steps = Steps(CHECK)
    with pytest.raises(type(error)):
        run(steps, Client(error))
    assert steps.closed


@pytest.mark.parametrize("count", [1, 2])
def test_only_the_check_of_a_single_run_shows_what_can_be_large(server, client, count: int) -> None:
    run_ids = tuple(server.add_run("COMPLETED", payload={"page": 1}).id for _ in range(count))
    steps = Steps(Check(run_ids=run_ids))
    drive(steps(), client)
    [seen] = steps.replies
    assert ["payload" in seen[one].attributes for one in run_ids] == [count == 1] * count


def test_no_call_is_repeated_by_the_client(server, client, network, log, virtual_time, lost) -> None:
    waited_for = server.add_run("EXECUTING", then=[(3, "COMPLETED")])
    network.fault("GET", lost, times=1)
    steps = wait_for_runs([waited_for.id], WaitSettings(), log=log, now=virtual_time.time)
    assert drive(steps, client)[waited_for.id].end is WaitEnd.FINAL
    # Each check is one request: the next one comes with the next step of the wait.
    assert [request.startswith("GET") for request in network.requests] == [True] * 3
    assert virtual_time.now == pytest.approx(1004)


@pytest.mark.parametrize("run_ids", [[".."], ["..", "run_1"]])
def test_an_id_that_cannot_be_sent_is_an_error(client, log, run_ids: list[str]) -> None:
    with pytest.raises(NotSentError):
        drive(wait_for_runs(run_ids, WaitSettings(), log=log), client)


@pytest.mark.parametrize("is_fresh", [False, True])
def test_only_a_check_that_no_other_one_follows_is_repeated(is_fresh: bool) -> None:
    error = TransportError("refused")
    steps, client = Steps(Check(run_ids=("run_1",), is_fresh=is_fresh), result={}), Client(error)
    assert run(steps, client) == {}
    assert steps.replies == [{"run_1": error}]
    assert client.calls == [(GET, {"deadline": NEVER, "patience": 10.0 if is_fresh else 0.0})]
    assert steps.closed


@pytest.mark.parametrize("count", [1, 5])
def test_runs_are_canceled_in_one_step_that_says_what_became_of_each(server, client, count: int) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(count)]
    steps = Steps(Cancel(run_ids=(*(one.id for one in runs), "run_unknown")))
    drive(steps(), client)
    [results] = steps.replies
    assert [results[one.id].outcome for one in runs] == ["canceled"] * count
    assert results["run_unknown"].outcome == "not_found"


# Stopping


def test_a_stop_while_a_check_is_not_due_ends_it_without_one(virtual_time) -> None:
    client = Client()
    steps = Steps(Check(run_ids=("run_1",), at=virtual_time.time() + 60))
    with pytest.raises(StoppedError):
        run(steps, client, is_stopped=lambda: virtual_time.now >= 1003)
    assert client.calls == []


def test_a_stop_during_a_call_ends_it_before_the_next_one() -> None:
    client = Client()
    with pytest.raises(StoppedError):
        run(Steps(CHECK, CHECK), client, is_stopped=lambda: bool(client.calls))
    assert [call for call, _ in client.calls] == [GET]


def test_it_is_checked_often_whether_to_stop() -> None:
    assert drive_module._CHECK_INTERVAL <= 0.5

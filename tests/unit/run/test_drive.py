"""Both drivers make the same calls and pauses; each can be stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import NotSentError, TransportError
from airflow_provider_trigger.run import drive as drive_module
from airflow_provider_trigger.run.drive import StoppedError, drive, drive_async
from airflow_provider_trigger.run.wait import Waited, WaitEnd, wait_for_run
from airflow_provider_trigger.run.wait_settings import WaitSettings


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
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def call(self, call: Any, **options: Any) -> Any:
        self.calls.append((call, options))
        if self.error:
            raise self.error
        return f"answer to {call}"


class AsyncClient(Client):
    """The same for an event loop."""

    async def call(self, call: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        return super().call(call, **options)


@pytest.fixture
def run_both(virtual_time, monkeypatch: pytest.MonkeyPatch):
    """Drive the same steps in both ways, and return what each came to, and how long it slept."""
    real_sleep = asyncio.sleep

    def run(make: Any, error: BaseException | None = None) -> list[Any]:
        ends = []
        steps, begun = make(), virtual_time.now
        ends.append((drive(steps(), Client(error)), steps, virtual_time.now - begun))  # type: ignore[arg-type]
        steps, begun = make(), virtual_time.now

        async def sleep(seconds: float) -> None:
            virtual_time.now += seconds
            await real_sleep(0)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        result = asyncio.run(drive_async(steps(), AsyncClient(error)))  # type: ignore[arg-type]
        monkeypatch.setattr(asyncio, "sleep", real_sleep)
        ends.append((result, steps, virtual_time.now - begun))
        return ends

    return run


def test_calls_are_made_and_pauses_are_waited_for(run_both) -> None:
    from airflow_provider_trigger.run.wait import Pause

    result = Waited(end=WaitEnd.FINAL, run=None)
    for waited, steps, slept in run_both(lambda: Steps("one", Pause(7.5), "two", result=result)):
        assert waited is result
        assert steps.replies == ["answer to one", None, "answer to two"]
        assert slept == pytest.approx(7.5)
        assert steps.closed


def test_an_error_of_the_api_is_handed_to_the_wait(run_both) -> None:
    error = TransportError("refused")
    for _, steps, _ in run_both(lambda: Steps("one", "two"), error):
        assert steps.replies == [error, error]


@pytest.mark.parametrize("error", [KeyError("a bug"), KeyboardInterrupt()])
def test_any_other_error_ends_it(error: BaseException) -> None:
    for run in (
        lambda steps: drive(steps, Client(error)),  # type: ignore[arg-type]
        lambda steps: asyncio.run(drive_async(steps, AsyncClient(error))),  # type: ignore[arg-type]
    ):
        steps = Steps("one")
        with pytest.raises(type(error)):
            run(steps())
        assert steps.closed


def test_no_call_is_repeated_by_the_client(server, client, network, log, virtual_time, lost) -> None:
    run = server.add_run("EXECUTING", then=[(3, "COMPLETED")])
    network.fault("GET", lost, times=1)
    steps = wait_for_run(run.id, WaitSettings(), log=log, now=virtual_time.time)
    waited = drive(steps, client)
    assert waited.end is WaitEnd.FINAL
    # Each check is one request: the next one comes with the next step of the wait.
    assert [request.startswith("GET") for request in network.requests] == [True] * 3
    assert virtual_time.now == pytest.approx(1004)


def test_no_call_is_repeated_by_the_client_on_an_event_loop_either() -> None:
    client = AsyncClient()
    asyncio.run(drive_async(Steps("one", "two")(), client))  # type: ignore[arg-type]
    assert client.calls == [("one", {"patience": 0}), ("two", {"patience": 0})]


def test_an_error_of_the_wait_itself_is_raised(client, log) -> None:
    with pytest.raises(NotSentError):
        drive(wait_for_run("..", WaitSettings(), log=log), client)


# Stopping


def test_a_stop_ends_a_pause_within_a_second(virtual_time) -> None:
    from airflow_provider_trigger.run.wait import Pause

    steps = Steps(Pause(60.0), "never")
    with pytest.raises(StoppedError):
        drive(steps(), Client(), is_stopped=lambda: virtual_time.now >= 1003)  # type: ignore[arg-type]
    assert 1003 <= virtual_time.now < 1004
    assert steps.closed
    assert steps.replies == []


def test_a_stop_during_a_call_ends_it_before_the_next_one(virtual_time) -> None:
    client = Client()
    with pytest.raises(StoppedError):
        drive(Steps("one", "two")(), client, is_stopped=lambda: bool(client.calls))  # type: ignore[arg-type]
    assert [call for call, _ in client.calls] == ["one"]


def test_a_cancelled_task_of_the_loop_is_not_held_up() -> None:
    from airflow_provider_trigger.run.wait import Pause

    async def main() -> Steps:
        steps = Steps(Pause(60.0))
        task = asyncio.ensure_future(drive_async(steps(), AsyncClient()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return steps

    assert asyncio.run(main()).closed


def test_a_cancelled_error_of_a_call_is_not_an_answer() -> None:
    steps = Steps("one", "two")
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(drive_async(steps(), AsyncClient(asyncio.CancelledError())))  # type: ignore[arg-type]
    assert steps.replies == []


def test_it_is_checked_often_whether_to_stop() -> None:
    assert drive_module._CHECK_INTERVAL <= 0.5

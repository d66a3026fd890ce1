"""The threads of waits in a triggerer, and in which context each line is written."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from event_loop import run, until
from requests.adapters import HTTPAdapter

from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger


async def event_of(*run_ids: str, **wait: Any) -> Any:
    made = TriggerDevRunTrigger(run_ids=run_ids, wait={"cancels": False} | wait)
    async for event in made.run():
        return event.payload["runs"]
    raise AssertionError("no event")


@pytest.fixture
def one(server) -> Any:
    """A run that is EXECUTING."""
    return server.add_run("EXECUTING")


def test_a_wait_that_is_canceled_does_not_wait_for_its_requests(world, server, one) -> None:
    def threads_of_watches() -> list[Any]:
        found = [thread for thread in world.hub.threads.values() if thread.name == "trigger-dev-watch"]
        return [thread for thread in found if thread.is_alive()]

    server.hang_next(None)

    async def main() -> None:
        waiting = asyncio.create_task(event_of(one.id))
        await until(lambda: server.requests)
        assert {thread.daemon for thread in threads_of_watches()} == {True}, "none holds up the process"
        waiting.cancel("by the test")
        with pytest.raises(asyncio.CancelledError, match="by the test"):
            await waiting
        await until(lambda: not threads_of_watches())

    run(main())


def test_each_line_carries_the_context_of_its_trigger_and_work_for_several_none_of_one(
    server, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3 finds the log of a trigger by its context; one of 3.4 acts as its task instance."""
    runs = [server.add_run("EXECUTING") for _ in range(2)]
    acts_as: contextvars.ContextVar[str | None] = contextvars.ContextVar("acts_as", default=None)
    said, seen = set[tuple[str | None, bool]](), list[str | None]()

    class Log:
        def __getattr__(self, _: str) -> Callable[..., None]:
            def keep(text: str, *values: object) -> None:
                for one in runs:
                    if one.id in text % values:
                        is_loop = threading.current_thread() is threading.main_thread()
                        said.add((one.id if acts_as.get() == one.id else acts_as.get(), is_loop))

            return keep

    monkeypatch.setattr(TriggerDevRunTrigger, "log", Log())
    monkeypatch.setattr("airflow_provider_trigger._compat.triggers_have_on_kill", lambda: True)
    send = HTTPAdapter.send

    def note_and_send(*arguments: Any, **options: Any) -> Any:
        seen.append(acts_as.get())
        return send(*arguments, **options)

    monkeypatch.setattr(HTTPAdapter, "send", note_and_send)

    async def first_of(made: TriggerDevRunTrigger) -> Any:
        return await anext(made.run())

    async def act(run_id: str) -> None:
        acts_as.set(run_id)
        made = TriggerDevRunTrigger(run_ids=[run_id], wait={"cancels": True})
        waiting = asyncio.create_task(first_of(made))
        await until(lambda: [request for request in server.requests if request.path == "/api/v1/query"])
        waiting.cancel()
        await made.on_kill()

    async def main() -> None:
        await asyncio.gather(*(asyncio.create_task(act(each.id)) for each in runs))

    run(main())
    assert {each.status for each in runs} == {"CANCELED"}
    assert said == {(each.id, True) for each in runs}
    assert set(seen) == {None}

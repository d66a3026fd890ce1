"""Runs of tasks that ended are canceled together, whatever becomes of the triggers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tenacity import wait_none

from airflow_provider_trigger.api import circuit_breaker, exchange
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.defaults import BULK_FROM_AT_A_STOP
from airflow_provider_trigger.hooks.asynchronous import get_hook
from airflow_provider_trigger.triggers import kept
from airflow_provider_trigger.triggers.cancels import cancel_runs

CONN_ID = "trigger_dev_default"


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(60):
            return await main()

    return asyncio.run(limited())


def outcomes(results: Any) -> dict[str, str]:
    return {run_id: result.outcome.value for run_id, result in results.items()}


def test_runs_that_are_canceled_together_go_through_one_work(server, connection: str) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(BULK_FROM_AT_A_STOP + 1)]

    async def main() -> list[Any]:
        hook = await get_hook(CONN_ID)
        return await asyncio.gather(*(cancel_runs([one.id], hook) for one in runs))

    results = run(main)
    assert {one for result in results for one in outcomes(result).values()} == {"canceled"}
    posted = [request.path for request in server.requests if request.method == "POST"]
    assert posted == ["/api/v1/bulk-actions"]


def test_each_run_has_its_own_outcome(server, connection: str) -> None:
    alive, ended = server.add_run("EXECUTING"), server.add_run("COMPLETED")

    async def main() -> Any:
        return await cancel_runs([alive.id, ended.id, "run_unknown"], await get_hook(CONN_ID))

    assert outcomes(run(main)) == {
        alive.id: "canceled",
        ended.id: "already_completed",
        "run_unknown": "not_found",
    }


def test_a_run_whose_cancel_is_under_way_is_not_canceled_twice(server, connection: str) -> None:
    one = server.add_run("EXECUTING")
    server.delay_next(1, 0.5, path="/cancel")

    async def main() -> None:
        hook = await get_hook(CONN_ID)
        first = asyncio.create_task(cancel_runs([one.id], hook))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.gather(first, cancel_runs([one.id], hook))

    run(main)
    assert one.cancel_requests == 1


def test_it_continues_when_its_caller_is_canceled(server, connection: str) -> None:
    one = server.add_run("EXECUTING")
    server.fail_next(2, 503, path="/cancel")

    async def main() -> None:
        caller = asyncio.create_task(cancel_runs([one.id], await get_hook(CONN_ID)))
        while not server.requests:
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        while kept._tasks:
            await asyncio.sleep(0.01)

    run(main)
    assert one.status == "CANCELED"


def test_a_maintenance_page_does_not_end_it(server, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WAIT", wait_none())
    monkeypatch.setattr(circuit_breaker, "PROBE_INTERVAL", 0.01)
    one = server.add_run("EXECUTING")
    server.malformed_next(30)

    async def main() -> Any:
        return await cancel_runs([one.id], await get_hook(CONN_ID))

    assert outcomes(run(main)) == {one.id: "canceled"}


def test_a_key_that_was_changed_is_fetched(server, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = server.add_run("EXECUTING")

    def set_key(key: str) -> None:
        fields = {"conn_type": "trigger_dev", "host": server.url, "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(fields))

    async def main(valid: str) -> Any:
        set_key("tr_prod_old")
        hook = await get_hook(CONN_ID)
        set_key(valid)
        return await cancel_runs([one.id], hook)

    with pytest.raises(AuthenticationError):
        run(lambda: main("tr_prod_old"))
    assert outcomes(run(lambda: main(server.secret_key))) == {one.id: "canceled"}

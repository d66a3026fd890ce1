"""A call for each of several runs."""

from __future__ import annotations

import threading
import time

import pytest

from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.errors import PermissionDeniedError
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.checks import call_all, call_each


def test_no_more_calls_are_made_at_a_time_than_allowed(
    server, client, network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CONCURRENCY", 1)
    threads: list[str] = []

    def take_long(_: str) -> None:
        threads.append(threading.current_thread().name)
        time.sleep(0.005)  # in which another thread would begin

    network.before = take_long
    run_ids = [server.add_run("EXECUTING").id for _ in range(5)]
    assert list(call_each(client, retrieve_run, run_ids)) == run_ids
    assert threads == ["trigger-dev-call_0"] * 5


@pytest.mark.parametrize("fails", [False, True])
def test_an_error_is_raised_once_all_calls_are_made(fails: bool, server, client, network, answer) -> None:
    run_ids = [server.add_run("EXECUTING").id for _ in range(5)]
    if fails:
        network.fault(run_ids[0], answer(403, {"error": "No"}))
        with pytest.raises(PermissionDeniedError, match=run_ids[0]):
            call_all(client, retrieve_run, run_ids)
    else:
        runs = call_all(client, retrieve_run, run_ids)
        assert {one: run.id for one, run in runs.items()} == {one: one for one in run_ids}
    assert len(network.requests) == 5

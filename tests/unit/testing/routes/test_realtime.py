"""The realtime API of the local server, where the contract tests have no recording."""

from __future__ import annotations

import pytest
from fake_clock import Clock
from starlette.requests import Request

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.batches import BatchItem
from airflow_provider_trigger.testing.engine.states import ALIVE, FINAL
from airflow_provider_trigger.testing.routes.router import Router


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time)


def get(server: TriggerDevServer, query: bytes = b"", *, path: str = "runs/run_1") -> Response:
    headers = [(b"authorization", f"Bearer {server.secret_key}".encode())]
    scope = {"type": "http", "method": "GET", "headers": headers, "query_string": query}
    answer = Router(server).answer(Request(scope), f"/realtime/v1/{path}", body=b"")
    return Response(status=answer.status_code, headers=dict(answer.headers), body=bytes(answer.body))


def snapshot(server: TriggerDevServer) -> Run:
    return snapshot_run("run_1").read(get(server))


@pytest.mark.parametrize("status", [*ALIVE, *FINAL])
def test_it_has_its_own_words_and_the_client_knows_them(server: TriggerDevServer, status: str) -> None:
    shown = server.add_run(status, run_id="run_1", task_identifier="resize", tags=["b", "a c"])
    run = snapshot(server)
    assert (run.status, run.task_identifier) == (status, "resize")
    assert (run.started_at is None, run.finished_at is None) == (
        shown.started_at is None,
        shown.finished_at is None,
    )
    assert get(server).json()[0]["value"]["runTags"] == '{"a c","b"}'


def test_it_does_not_lag_behind(server: TriggerDevServer) -> None:
    server.query_lag = 60
    run = server.add_run("QUEUED", run_id="run_1")
    run.cancel()
    assert snapshot(server).status == "CANCELED"


def test_it_can_be_off_and_still_knows_which_runs_there_are(server: TriggerDevServer) -> None:
    server.realtime = False
    assert get(server).status == 404
    server.add_run(run_id="run_1")
    with pytest.raises(errors.ServerError, match="answered 503"):
        snapshot(server)


def test_a_feed_is_not_continued(server: TriggerDevServer) -> None:
    server.add_run(run_id="run_1")
    assert get(server, b"offset=1_1&handle=run-1&live=true").status == 501


def test_the_feeds_of_several_runs_do_not_start(server: TriggerDevServer) -> None:
    batch = server.batches.create([BatchItem(task_identifier="resize")], environment=server.environment)
    for path in (f"batches/{batch.id}", "runs"):
        assert get(server, path=path).status == 501
    assert get(server, path="batches/batch_none").status == 404
    server.realtime = False
    for path in (f"batches/{batch.id}", "runs"):
        assert get(server, path=path).status == 503

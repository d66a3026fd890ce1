"""What every fault method takes, whatever it does."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from airflow_provider_trigger.testing import TriggerDevServer

METHODS = [name for name in dir(TriggerDevServer) if name.endswith("_next")]
CANCEL = "/api/v2/runs/run_1/cancel"


def test_there_are_as_many_as_documented() -> None:
    assert len(METHODS) == 11


@pytest.mark.parametrize("name", METHODS)
def test_times_come_first_and_once_is_the_default(name: str) -> None:
    _, first, *_ = inspect.signature(getattr(TriggerDevServer, name)).parameters.values()
    assert (first.name, first.default) == ("times", 1)
    server = TriggerDevServer()
    getattr(server, name)(0)
    assert server.pending_faults == 0
    getattr(server, name)()
    assert server.pending_faults == 1
    server.clear_faults()
    assert server.pending_faults == 0


@pytest.mark.parametrize("name", [name for name in METHODS if name != "stale_next"])
@pytest.mark.parametrize(
    ("requests", "applies"),
    [
        ({}, True),
        ({"path": "cancel", "method": "post"}, True),
        ({"method": "GET"}, False),
        ({"path": "v3"}, False),
    ],
)
def test_requests_are_selected_by_path_and_method(name: str, requests: dict[str, Any], applies: bool) -> None:
    server = TriggerDevServer()
    getattr(server, name)(times=1, **requests)
    assert (server._faults.take("POST", CANCEL) is not None) is applies


def test_an_unknown_selection_is_an_error() -> None:
    with pytest.raises(TypeError, match="paths"):
        TriggerDevServer().fail_next(paths="cancel")  # type: ignore[call-arg]


def test_a_stale_retrieve_is_only_that_of_a_canceled_run() -> None:
    server = TriggerDevServer()
    canceled, alive = server.add_run(), server.add_run()
    canceled.cancel()
    server.stale_next(path="/api/v3")
    for method, target in (("GET", f"/api/v3/runs/{alive.id}"), ("POST", f"/api/v3/runs/{canceled.id}")):
        assert server._faults.take(method, target) is None
    assert server._faults.take("GET", f"/api/v3/runs/{canceled.id}") is not None

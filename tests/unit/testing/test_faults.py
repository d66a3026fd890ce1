"""Which requests a fault applies to, and what every fault method takes, whatever it does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.faults import Fault, PendingRequest, Responder

METHODS = [name for name in dir(TriggerDevServer) if name.endswith("_next")]
CANCEL = "/api/v2/runs/run_1/cancel"


def test_all_are_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/testing.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\| `server\.(\w+_next)\(", page)) == METHODS


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


async def nothing(pending: PendingRequest, follow: Responder) -> None:
    """Answer nothing."""


@pytest.mark.parametrize(
    ("path", "target", "applies"),
    [
        (None, CANCEL, True),
        ("/cancel", CANCEL, True),
        ("run_1", CANCEL, True),
        ("run_2", CANCEL, False),
        ("/api/v2/*", CANCEL, True),
        ("*/cancel", CANCEL, True),
        ("/api/v2*", CANCEL + "?a=b", True),
        ("/runs/*", CANCEL, False),
        ("page[size]=2", "/api/v1/runs?page[size]=2", True),
        ("page[size]=2", "/api/v1/runs?page[size]=1", False),
    ],
)
def test_paths(path: str | None, target: str, applies: bool) -> None:
    assert Fault(action=nothing, path=path).matches("POST", target) is applies

"""Which requests a fault applies to."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.testing.faults.queue import Fault, FaultQueue
from airflow_provider_trigger.testing.http.pending_request import PendingRequest, Responder

CANCEL = "/api/v2/runs/run_1/cancel"


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


def test_methods_and_conditions() -> None:
    assert Fault(action=nothing, method="post").matches("POST", CANCEL)
    assert not Fault(action=nothing, method="GET").matches("POST", CANCEL)
    assert not Fault(action=nothing, only_if=lambda target: "v3" in target).matches("POST", CANCEL)


def test_faults_come_in_order_and_are_counted() -> None:
    faults = FaultQueue()
    first, second, never = (Fault(action=nothing, times=times) for times in (2, 1, 0))
    for fault in (never, first, second):
        faults.add(fault)
    assert [faults.take("GET", "/") for _ in range(4)] == [first, first, second, None]


def test_a_fault_without_end_lasts_until_it_is_cleared() -> None:
    faults = FaultQueue()
    fault = Fault(action=nothing, times=None)
    faults.add(fault)
    assert {faults.take("GET", "/") for _ in range(5)} == {fault}
    assert faults.take("GET", "/", applied=[fault]) is None
    faults.clear()
    assert faults.take("GET", "/") is None

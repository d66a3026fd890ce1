"""The outputs of several runs, as they go into XCom."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ServerError, TriggerDevError
from airflow_provider_trigger.run.batch.outputs import Outputs
from airflow_provider_trigger.run.xcom_outputs import fetch_outputs, outputs_for_xcom
from airflow_provider_trigger.testing import UNSET


@pytest.fixture
def add(server) -> Callable[..., str]:
    """Add a run that has returned something."""

    def completed(output: Any, status: str = "COMPLETED") -> str:
        run = server.add_run(status)
        run.output = output
        return str(run.id)

    return completed


@pytest.fixture
def fetch(client, log) -> Callable[..., list[Any]]:
    def get(*run_ids: str, max_size: int = 10**6) -> list[Any]:
        return fetch_outputs(run_ids, client, max_size=max_size, log=log)

    return get


def test_outputs_come_in_the_order_of_the_runs(add, fetch, log, network) -> None:
    outputs: list[Any] = [{"n": 1}, None, False, "", [], "text", {"text": "x" * 200_000}]
    assert fetch(*[add(output) for output in outputs]) == outputs
    assert log.lines == []
    assert len(network.sent("GET /api/v3/")) == len(outputs)


def test_without_runs_nothing_is_requested(fetch, network) -> None:
    assert fetch() == []
    assert network.requests == []


@pytest.mark.parametrize(("max_size", "fits"), [(9, True), (8, False), (0, False)])
def test_outputs_that_are_too_large_together_are_references(add, fetch, log, max_size, fits) -> None:
    run_ids = [add([1, 2]), add("ab"), add(UNSET)]
    found = fetch(*run_ids, max_size=max_size)
    if fits:
        assert (found, log.of("warning")) == ([[1, 2], "ab", None], [])
        return
    assert found == [{"run_id": run_ids[0], "output_size": 5}, {"run_id": run_ids[1], "output_size": 4}, None]
    assert log.of("warning") == [
        f"The outputs of 2 runs have 9 bytes together, more than max_output_size={max_size}: XCom gets "
        "references to them; TriggerDevHook.get_output(run_id) returns an output"
    ]


def test_outputs_that_are_broken_for_ever_are_named(add, fetch, network, answer) -> None:
    whole, first, second = add(1), add(2), add(3)
    for broken in (first, second):
        network.fault(broken, answer(500, {"error": "Something went wrong"}), times=1000)
    with pytest.raises(TriggerDevError) as raised:
        fetch(first, whole, second)
    errors = [f"{broken}: GET .* 500: Something went wrong" for broken in (first, second)]
    assert re.fullmatch("2 of 3 outputs cannot be fetched: " + "; ".join(errors), str(raised.value))


def test_an_outage_is_raised_as_it_is(add, fetch, network, answer) -> None:
    network.fault("GET", answer(503, {"error": "down"}), times=1000)
    with pytest.raises(ServerError):
        fetch(add(1))


def test_several_are_fetched_at_a_time(add, fetch, network) -> None:
    together = threading.Barrier(4, timeout=60)
    network.before = lambda _: together.wait() and None
    assert fetch(*[add(number) for number in range(4)]) == [0, 1, 2, 3]


def test_a_run_that_was_not_fetched_has_none_and_one_may_count_twice(add, client, log) -> None:
    outputs = Outputs(max_size=100)
    first = add("a")
    outputs.fetch([first], client, log=log)
    assert outputs_for_xcom(["run_x", first, first], outputs, max_size=100, log=log) == [None, "a", "a"]

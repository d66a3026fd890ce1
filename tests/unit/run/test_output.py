"""The outputs of runs: shown, behind a URL, or missing; as they are, or as references."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_trigger.api import transport
from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.run.output import (
    OutputTooLargeError,
    fetch_outputs,
    output_of,
)
from airflow_provider_trigger.testing import UNSET


@pytest.fixture
def add(server) -> Callable[..., str]:
    """Add a run that has returned something."""

    def completed(output: Any = "abc") -> str:
        run = server.add_run("COMPLETED")
        run.output = output
        return str(run.id)

    return completed


def reference(run_id: str, size: int | None) -> dict[str, Any]:
    return {"run_id": run_id, "output_size": size}


@pytest.fixture
def fetch(client, log) -> Callable[..., list[Any]]:
    def get(*run_ids: str, max_size: int = 10**6) -> list[Any]:
        return fetch_outputs(run_ids, client, max_size=max_size, log=log)

    return get


@pytest.fixture
def too_large(add, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a run whose output is larger than any that is read."""
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1024 * 1024)
    return str(add("x" * 2_000_000))


# Of one run


def test_one_that_is_too_large_to_be_read_is_an_error_that_names_run_limit_and_way(
    too_large: str, client, network, log
) -> None:
    with pytest.raises(OutputTooLargeError) as raised:
        output_of(client.call(retrieve_run(too_large)), client, log=log)
    assert str(raised.value) == (
        f"The output of run {too_large} has 2000000 bytes, more than the 1 MB that are read; download it "
        f"from TriggerDevHook.get_run({too_large!r}).output_url, which is valid for 300 s"
    )
    assert (raised.value.run_id, raised.value.size, raised.value.retryable) == (too_large, 2_000_000, False)
    assert raised.value.__context__ is None
    assert len(network.requests) == 2  # it is not requested again


def test_such_a_one_is_a_reference_and_without_a_size_too_large_for_all(
    too_large: str, add, fetch, network, answer, log
) -> None:
    small = add("a")
    assert fetch(small, too_large) == [reference(small, 3), reference(too_large, 2_000_002)]
    assert fetch(too_large, max_size=10**9) == [reference(too_large, 2_000_000)]
    network.fault("/packets/", answer(200, b"x" * 2_000_000, {"content-type": "text/plain"}))
    assert fetch(small, too_large, max_size=10**9) == [reference(small, 3), reference(too_large, None)]


def test_an_object_store_that_rejects_the_url_is_an_error(add, fetch, network, answer) -> None:
    network.fault("/packets/", answer(403, b"<Error/>"), times=1000)
    with pytest.raises(ResponseError, match="the object store rejected the URL of the output"):
        fetch(add({"text": "é" * 200_000}))


# Of several runs


def test_outputs_come_in_the_order_of_the_runs_several_at_a_time(add, fetch, log, network) -> None:
    outputs: list[Any] = [{"n": 1}, None, False, "", [], "text", {"text": "x" * 200_000}]
    together = threading.Barrier(len(outputs), timeout=60)
    network.before = lambda request: together.wait() if "/api/v3/" in request else None
    assert fetch(*[add(output) for output in outputs]) == outputs
    assert log.lines == []
    assert len(network.sent("GET /api/v3/")) == len(outputs)


@pytest.mark.parametrize(("max_size", "fits"), [(9, True), (8, False), (0, False)])
def test_outputs_that_are_too_large_together_are_references(add, fetch, log, max_size, fits) -> None:
    run_ids = [add([1, 2]), add("ab"), add(UNSET)]
    found = fetch(*run_ids, max_size=max_size)
    if fits:
        assert (found, log.of("warning")) == ([[1, 2], "ab", None], [])
        return
    assert found == [reference(run_ids[0], 5), reference(run_ids[1], 4), None]
    assert log.of("warning") == [
        f"The outputs of 2 runs together are more than max_output_size={max_size}: XCom gets references to "
        "them; TriggerDevHook.get_output(run_id) returns an output"
    ]


@pytest.mark.parametrize("place", ["/packets/", "run_"])
def test_an_output_that_was_deleted_is_named_beside_the_others(
    place: str, add, fetch, network, answer
) -> None:
    whole, deleted = add(1), add({"text": "é" * 200_000})
    network.fault(deleted if place == "run_" else place, answer(404, {"error": "Not found"}), times=1000)
    with pytest.raises(TriggerDevError, match=f"^1 of 2 outputs cannot be fetched: {deleted}: "):
        fetch(whole, deleted)


def test_outputs_that_are_broken_for_ever_are_named_and_what_may_pass_is_raised(
    add, fetch, network, answer
) -> None:
    whole, first, second = add(1), add(2), add(3)
    for broken in (first, second):
        network.fault(broken, answer(500, {"error": "Something went wrong"}), times=1000)
    with pytest.raises(TriggerDevError) as raised:
        fetch(first, whole, second)
    errors = [f"{broken}: GET .* 500: Something went wrong" for broken in (first, second)]
    assert re.fullmatch("2 of 3 outputs cannot be fetched: " + "; ".join(errors), str(raised.value))
    network.repair()
    network.fault(second, answer(403, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="403"):
        fetch(first, whole, second)


def test_an_older_answer_is_not_a_run_without_output(add, fetch, network, answer) -> None:
    run_id = add()
    network.fault("GET", answer(200, {"id": run_id, "status": "EXECUTING"}), times=2)
    assert (fetch(run_id), len(network.requests)) == (["abc"], 3)

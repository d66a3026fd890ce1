"""The outputs of runs: shown, behind a URL, or missing; as they are, or as references."""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from waiting import until

from airflow_provider_trigger.api import responses
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.http import MAX_BODY_BYTES
from airflow_provider_trigger.run.output import (
    Outputs,
    OutputTooLargeError,
    fetch_outputs,
    output_of,
    outputs_for_xcom,
)
from airflow_provider_trigger.testing import UNSET

LARGE = {"text": "é" * 200_000}


@pytest.fixture
def completed(server, client):
    """Complete a run that returns something, and return it as a check shows it."""

    def complete(output: Any) -> Any:
        run = server.add_run("COMPLETED")
        run.output = output
        return client.call(retrieve_run(run.id))

    return complete


def test_an_object_store_that_rejects_the_url_is_an_error(completed, client, network, log, answer) -> None:
    run = completed(LARGE)
    network.fault("/packets/", answer(403, b"<Error/>"), times=1000)
    with pytest.raises(ResponseError, match="the object store rejected the URL of the output"):
        output_of(run, client, log=log)


def test_one_that_is_too_large_to_be_read_is_an_error_that_names_run_limit_and_way(
    completed, client, network, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_BODY_BYTES", 1024 * 1024)
    run = completed("x" * 2_000_000)
    with pytest.raises(OutputTooLargeError) as raised:
        output_of(run, client, log=log)
    assert str(raised.value) == (
        f"The output of run {run.id} has 2000000 bytes, more than the 1 MB that are read; download it from "
        f"TriggerDevHook.get_run({run.id!r}).output_url, which is valid for 300 s"
    )
    assert (raised.value.run_id, raised.value.size, raised.value.retryable) == (run.id, 2_000_000, False)
    assert raised.value.__context__ is None
    assert len(network.requests) == 2  # it is not requested again


def test_the_size_of_one_that_is_sent_without_it_is_not_known(
    completed, client, network, log, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_BODY_BYTES", 1024 * 1024)
    network.fault("/packets/", answer(200, b"x" * 2_000_000, {"content-type": "text/plain"}))
    with pytest.raises(OutputTooLargeError, match="has more bytes than the 1 MB that are read") as raised:
        output_of(completed(LARGE), client, log=log)
    assert raised.value.size is None


@pytest.fixture
def keep(server, client, log) -> Callable[..., tuple[Outputs, list[str]]]:
    def act(*values: Any, max_size: int = 10**6) -> tuple[Outputs, list[str]]:
        runs = [server.add_run("COMPLETED") for _ in values]
        for run, value in zip(runs, values, strict=True):
            run.output = value
        outputs = Outputs(max_size=max_size)
        outputs.fetch([run.id for run in runs], client, log=log)
        return outputs, [run.id for run in runs]

    return act


def test_an_older_answer_is_not_a_run_without_output(client, server, network, answer, log) -> None:
    run = server.add_run("COMPLETED")
    network.fault("GET", answer(200, {"id": run.id, "status": "EXECUTING"}), times=2)
    outputs = Outputs(max_size=100)
    outputs.fetch([run.id], client, log=log)
    assert (outputs.values, len(network.requests)) == ({run.id: {"done": True}}, 3)


def test_outputs_are_counted_although_an_earlier_one_has_not_come(client, server, log, network) -> None:
    first, second, third = runs = [server.add_run("COMPLETED") for _ in range(3)]
    for run in runs:
        run.output = "abc"
    outputs = Outputs(max_size=9)

    def hold_back(sent: str) -> None:
        if first.id in sent:
            until(lambda: outputs.are_too_large, f"{second.id} and {third.id} are counted")

    network.before = hold_back
    outputs.fetch([run.id for run in runs], client, log=log)
    assert (outputs.total, outputs.values) == (15, {})


def test_what_comes_once_they_are_too_large_is_not_kept_in_memory(client, server, log, network) -> None:
    first, second = (server.add_run("COMPLETED") for _ in range(2))
    second.output = ["the output of the second run"]
    outputs = Outputs(max_size=0)

    def is_output(one: Any) -> bool:
        # What other lists hold may not stand a comparison with a text.
        is_text = type(one) is list and len(one) == 1 and all(type(item) is str for item in one)
        return is_text and one == second.output

    def is_dropped() -> bool:
        return outputs.are_too_large and sum(map(is_output, gc.get_objects())) == 1

    def hold_back(sent: str) -> None:
        if first.id in sent:
            until(is_dropped, "only the server has the output of the second run")

    network.before = hold_back
    outputs.fetch([first.id, second.id], client, log=log)
    assert list(outputs.sizes) == [first.id, second.id]


def test_an_output_that_is_too_large_to_be_read_has_its_size_only(
    keep, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_BODY_BYTES", 1024 * 1024)
    outputs, ids = keep("a", "b" * 2_000_000, max_size=10**9)
    assert outputs.values == {ids[0]: "a"}
    assert outputs.sizes == {ids[0]: 3, ids[1]: 2_000_000}
    assert outputs.total == 2_000_003
    assert log.of("warning")[0].startswith(f"XCom gets a reference. The output of run {ids[1]} has ")


def test_one_whose_size_is_not_known_counts_as_the_largest_that_is_read(
    keep, network, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_BODY_BYTES", 1024 * 1024)
    network.fault("/packets/", answer(200, b"x" * 2_000_000, {"content-type": "text/plain"}))
    outputs, ids = keep("b" * 2_000_000)
    assert (outputs.sizes, outputs.total) == ({ids[0]: None}, MAX_BODY_BYTES)
    assert outputs.are_too_large


def test_what_may_pass_is_raised(keep, network, answer) -> None:
    network.fault("GET /api/v3/runs/", answer(403, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="403"):
        keep(1)


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


def test_several_are_fetched_at_a_time(add, fetch, network) -> None:
    together = threading.Barrier(4, timeout=60)
    network.before = lambda _: together.wait() and None
    assert fetch(*[add(number) for number in range(4)]) == [0, 1, 2, 3]


def test_a_run_that_was_not_fetched_has_none_and_one_may_count_twice(add, client, log) -> None:
    outputs = Outputs(max_size=100)
    first = add("a")
    outputs.fetch([first], client, log=log)
    assert outputs_for_xcom(["run_x", first, first], outputs, max_size=100, log=log) == [None, "a", "a"]

"""What several runs have returned, fetched several at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from waiting import until

from airflow_provider_trigger.api import body
from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.api.http import MAX_BODY_BYTES
from airflow_provider_trigger.run.batch.outputs import Outputs
from airflow_provider_trigger.testing import UNSET


@pytest.fixture
def fetch(server, client, log) -> Callable[..., tuple[Outputs, list[str]]]:
    def act(*values: Any, max_size: int = 10**6) -> tuple[Outputs, list[str]]:
        runs = [server.add_run("COMPLETED") for _ in values]
        for run, value in zip(runs, values, strict=True):
            run.output = value
        outputs = Outputs(max_size=max_size)
        outputs.fetch([run.id for run in runs], client, log=log)
        return outputs, [run.id for run in runs]

    return act


def test_each_output_is_kept_with_its_size(fetch, network) -> None:
    outputs, ids = fetch(1, None, "abc", {"a": ["é"]})
    assert outputs.values == dict(zip(ids, [1, None, "abc", {"a": ["é"]}], strict=True))
    assert list(outputs.sizes.values()) == [1, 4, 5, 12]
    assert (outputs.total, outputs.are_too_large, outputs.missing) == (22, False, [])
    assert len(network.requests) == 4


def test_a_run_without_output_is_named(fetch, log) -> None:
    outputs, ids = fetch(1, UNSET, UNSET)
    assert (outputs.missing, list(outputs.sizes)) == (ids[1:], ids[:1])
    [line] = log.of("info")
    assert line.startswith("2 runs without an output: the task returned nothing, or the output was too large")
    assert line.endswith(", ".join(ids[1:]))


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
    fetch, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_BODY_BYTES", 1024 * 1024)
    outputs, ids = fetch("a", "b" * 2_000_000, max_size=10**9)
    assert outputs.values == {ids[0]: "a"}
    assert outputs.sizes == {ids[0]: 3, ids[1]: 2_000_000}
    assert outputs.total == 2_000_003
    assert log.of("warning")[0].startswith(f"XCom gets a reference. The output of run {ids[1]} has ")


def test_one_whose_size_is_not_known_counts_as_the_largest_that_is_read(
    fetch, network, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_BODY_BYTES", 1024 * 1024)
    network.fault("/packets/", answer(200, b"x" * 2_000_000, {"content-type": "text/plain"}))
    outputs, ids = fetch("b" * 2_000_000)
    assert (outputs.sizes, outputs.total) == ({ids[0]: None}, MAX_BODY_BYTES)
    assert outputs.are_too_large


def test_what_may_pass_is_raised(fetch, network, answer) -> None:
    network.fault("GET /api/v3/runs/", answer(403, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="403"):
        fetch(1)

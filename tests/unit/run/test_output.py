"""The output of a run: shown, behind a URL, or missing."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api import body
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.run.output import OutputTooLargeError, output_of
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


@pytest.mark.parametrize("output", [None, False, 0, [], {}, "text", '{"no": "JSON"}', {"a": [1.5, None]}])
def test_an_output_is_returned_as_it_is(completed, client, network, log, output) -> None:
    run = completed(output)
    assert output_of(run, client, log=log) == output
    assert (len(network.requests), log.lines) == (1, [])


def test_a_run_without_output_gives_none_and_says_what_it_can_mean(completed, client, log) -> None:
    run = completed(UNSET)
    assert output_of(run, client, log=log) is None
    assert log.leveled == [
        (
            "info",
            f"Run {run.id} has no output: its task returned nothing, or the output was too large for a "
            "server that has no object store",
        )
    ]


def test_so_does_a_large_one_on_a_server_without_an_object_store(server, completed, client, log) -> None:
    server.object_store = False
    assert output_of(completed(LARGE), client, log=log) is None
    assert len(log.lines) == 1


@pytest.mark.parametrize("output", [LARGE, "x" * 200_000, [1] * 100_000])
def test_a_large_output_is_fetched_and_unwrapped(completed, client, network, log, output) -> None:
    run = completed(output)
    assert not run.has_output
    assert output_of(run, client, log=log) == output
    assert [request.split("/")[1] for request in network.requests] == ["api", "packets"]
    assert log.lines == []


def test_the_key_is_not_sent_to_the_object_store(connect, network, server, log) -> None:
    client, wire = connect(network)
    run = server.add_run("COMPLETED")
    run.output = LARGE
    output_of(client.call(retrieve_run(run.id)), client, log=log)
    authorized = ["Authorization" in sent.headers for sent in wire.sent]
    assert authorized == [True, False]


def test_an_object_store_that_rejects_the_url_is_an_error(completed, client, network, log, answer) -> None:
    run = completed(LARGE)
    network.fault("/packets/", answer(403, b"<Error/>"), times=1000)
    with pytest.raises(ResponseError, match="the object store rejected the URL of the output"):
        output_of(run, client, log=log)


def test_one_that_is_too_large_to_be_read_is_an_error_that_names_run_limit_and_way(
    completed, client, network, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_BODY_BYTES", 1024 * 1024)
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
    monkeypatch.setattr(body, "MAX_BODY_BYTES", 1024 * 1024)
    network.fault("/packets/", answer(200, b"x" * 2_000_000, {"content-type": "text/plain"}))
    with pytest.raises(OutputTooLargeError, match="has more bytes than the 1 MB that are read") as raised:
        output_of(completed(LARGE), client, log=log)
    assert raised.value.size is None

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import Any

import pytest
import requests

from airflow_provider_trigger.api import errors, transport
from airflow_provider_trigger.api.runs import (
    cancel_run,
    list_newest_runs,
    reschedule_run,
    retrieve_run,
)
from airflow_provider_trigger.run.output import fetch_output

RUN = {"id": "run_1", "status": "QUEUED"}
KEY = "tr_prod_marker/of+the=test"
SIGNED = "https://store.test:9000/packets/a%20b/1.json?X-Amz-Credential=t%2F20261125&X-Amz-Signature=0bb7"


# What is sent


def test_a_request_is_sent_with_its_path_query_body_and_headers(connect, answer) -> None:
    prefix = "http://trigger.test:3030/a/prefix"
    client, wire = connect(
        answer(body=RUN | {"data": [], "pagination": {}}), base_url=prefix, branch="feature/x"
    )
    client.call(list_newest_runs())
    client.call(reschedule_run("run_1", delay="1h"))
    client.call(cancel_run("run_1"))
    listed, rescheduled, canceled = wire.sent
    assert (listed.method, listed.url) == ("GET", f"{prefix}/api/v1/runs?page%5Bsize%5D=10")
    assert rescheduled.url == f"{prefix}/api/v1/runs/run_1/reschedule"
    assert (json.loads(rescheduled.body), rescheduled.headers["Content-Type"]) == (
        {"delay": "1h"},
        "application/json",
    )
    assert (canceled.method, canceled.body) == ("POST", None)
    assert canceled.headers == {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Authorization": f"Bearer {KEY}",
        "Content-Length": "0",
        "User-Agent": "unit-tests/1",
        "x-trigger-api-version": "2025-07-16",
        "x-trigger-branch": "feature/x",
    }
    client, wire = connect(answer(body=RUN), branch="")
    client.call(cancel_run("run_1"))
    assert "x-trigger-branch" not in wire.sent[0].headers


# How it is sent


@pytest.mark.parametrize("location", ["https://evil.test/", "http://[::1", "x" * 99_999])
def test_a_redirect_is_not_resolved(connect, answer, location: str) -> None:
    client, wire = connect(answer(302, b"x" * 9999, {"location": location}))
    with pytest.raises(errors.RedirectError) as raised:
        client.call(cancel_run("run_1"))
    assert location[:200] in str(raised.value)
    assert len(wire.sent) == 1


# What comes back


@pytest.mark.parametrize("status", [200, 302, 404])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    connect, answer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 1024 * 1024)
    client, wire = connect(answer(status, b" " * (3 * 1024 * 1024), {"location": "https://evil.test/"}))
    with pytest.raises(errors.UnexpectedAnswerError, match="run_1 answered more than 1 MB"):
        client.call(retrieve_run("run_1"))
    assert len(wire.sent) == 1
    assert wire.raw[0].tell() < 2 * 1024 * 1024


def test_a_small_answer_that_decompresses_to_a_large_one_takes_little_memory(
    connect, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY_BYTES", 100_000)
    bomb = gzip.compress(bytes(128 * 1024 * 1024))
    client, _ = connect(answer(200, bomb, {"content-encoding": "gzip"}), retry_for=0.0)
    tracemalloc.start()
    try:
        with pytest.raises(errors.UnexpectedAnswerError):
            client.call(retrieve_run("run_1"))
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_closed_client_closes_its_connections_and_sends_nothing_more(connect, answer, clock) -> None:
    def close(_: Any) -> Any:
        client.close()
        return answer(500, {"error": "no database"})

    client, wire = connect(close)
    closed = []
    wire.close = lambda: closed.append(True)
    with client as entered:
        assert entered is client
        for error in (errors.ServerError, errors.NotSentError):
            with pytest.raises(error, match=r"no database$|^the client was closed$"):
                client.call(retrieve_run("run_1"))
            assert len(wire.sent) == 1
        closed.clear()
    assert closed


# Another server, such as an object store


def test_a_signed_url_is_sent_as_it_is_without_key_branch_and_version(connect, answer) -> None:
    client, wire = connect(answer(body={"json": 1}), answer(body=RUN), branch="feature/x", user_agent="me/1")
    assert client.call(fetch_output(SIGNED)) == 1
    client.call(retrieve_run("run_1"))
    sent, own = wire.sent
    assert (sent.method, sent.url, sent.body) == ("GET", SIGNED, None)
    assert sent.headers == {"User-Agent": "me/1", "Accept-Encoding": "gzip"}
    assert own.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("verify", "tried"), [("/ca.pem", ["/all.pem", "/ca.pem"]), (True, ["/all.pem"]), (False, [False])]
)
def test_a_store_elsewhere_is_checked_against_the_cas_of_all_and_then_the_private_one(
    connect, answer, verify, tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/all.pem")
    unknown = requests.exceptions.SSLError("certificate verify failed")
    for url, verified in ((SIGNED, tried), ("https://trigger.test/packets/1.json", tried[-1:])):
        client, wire = connect(unknown, verify=verify)
        with pytest.raises(errors.TLSError):
            client.call(fetch_output(url))
        assert [options["verify"] for options in wire.options] == verified
        client, wire = connect(*[unknown] * (len(verified) - 1), answer(body={"json": 1}), verify=verify)
        assert client.call(fetch_output(url)) == 1


# The secret key


def test_the_key_is_hidden_in_results_and_in_errors(connect, answer) -> None:
    client, _ = connect(answer(body=RUN | {"output": f"Bearer {KEY}"}), answer(404, {"error": "Not found"}))
    assert client.call(retrieve_run("run_1")).output == "Bearer ***"
    with pytest.raises(errors.NotFoundError, match=r"^GET /api/v3/runs/\*\*\* answered 404: Not found$"):
        client.call(retrieve_run(KEY))

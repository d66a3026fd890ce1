from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import MAX_BODY_BYTES
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.output import Outputs, RejectedOutputError, fetch_output

SIGNATURE = "0bb7f8494b6be95e"
URL = (
    f"https://store.test:9000/packets/p/prod/run_1/output.json?X-Amz-Expires=300&X-Amz-Signature={SIGNATURE}"
)
TEXT_URL = URL.replace(".json", ".txt")


def failure(answered: Any) -> errors.TriggerDevError:
    with pytest.raises(errors.TriggerDevError) as raised:
        fetch_output(URL).read(answered)
    assert SIGNATURE not in repr((raised.value, vars(raised.value)))
    return raised.value


# What is sent


def test_neither_signature_nor_user_info_is_shown() -> None:
    request = fetch_output(URL).request
    assert request.address("https://api.trigger.dev") == URL
    assert str(request) == "GET /packets/p/prod/run_1/output.json"
    assert request.target("https://api.trigger.dev") == f"{request} to store.test:9000"
    assert SIGNATURE not in repr(request)
    request = fetch_output("http://someone:hunter2@store.test?X=1").request
    assert request.target("https://api.trigger.dev") == "GET / to store.test"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/packets/1",
        "ftp://store.test/1",
        "file:///etc/passwd",
        "http://",
        "https://[x/1",
        "https://x:y/1",
    ],
)
def test_what_is_not_a_url_is_not_fetched(url: str) -> None:
    with pytest.raises(errors.NotSentError) as raised:
        fetch_output(url)
    assert str(raised.value) == "the server sent a URL for the run's output that is not valid"
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_an_output_that_is_larger_than_what_is_read_is_a_reference_however_large_the_limit_is() -> None:
    size = 20 * 1024 * 1024

    class Client:
        def call(self, call: Any, **_: Any) -> Any:
            raise errors.OversizeError(str(call.request), limit=MAX_BODY_BYTES, size=size)

    run = Run.from_answer(
        {"id": "run_1", "status": "COMPLETED", "outputPresignedUrl": URL}, has_contents=True
    )
    outputs, client = Outputs(max_size=4 * size), cast("TriggerDevClient", Client())
    outputs.fetch({"run_1": run}, client, log=logging.getLogger())
    found = outputs.for_xcom(["run_1"], log=logging.getLogger())
    assert found == [{"run_id": "run_1", "output_size": size}]


# What comes back


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"json": {"a": 1}}, {"a": 1}),
        (
            {"json": {"at": "2026-11-25T09:00:00Z"}, "meta": {"values": {"at": ["Date"]}}},
            {"at": "2026-11-25T09:00:00Z"},
        ),
        ({"json": None}, None),
        ({"meta": {"values": ["undefined"]}}, None),
        # What is not a document stays as it is.
        ({"json": 1, "other": 2}, {"json": 1, "other": 2}),
        ({}, {}),
        (False, False),
    ],
)
@pytest.mark.parametrize("kind", ["Application/Super+JSON; charset=utf-8", ""])
def test_a_superjson_document_is_unwrapped(response, document, value, kind: str) -> None:
    assert fetch_output(URL).read(response(200, document, {"content-type": kind})) == value


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (URL, "text/plain"),
        (URL, "text/plain; charset=utf-8"),
        (TEXT_URL, ""),
    ],
)
def test_a_text_stays_text(response, url: str, kind: str) -> None:
    for text in ("", "plain", '{"json": 1}', "12", "é\n"):
        assert fetch_output(url).read(response(200, text.encode(), {"content-type": kind})) == text
    superjson = {"content-type": "application/super+json"}
    assert fetch_output(TEXT_URL).read(response(200, {"json": 1}, superjson)) == 1


def test_a_text_that_is_not_utf_8_is_an_error(response) -> None:
    error = failure(response(200, b"\xff", {"content-type": "text/plain"}))
    assert str(error).endswith("answered a text that is not UTF-8")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff"])
@pytest.mark.parametrize("kind", ["application/super+json", "application/json", ""])
def test_what_is_not_json_is_unexpected(response, body: bytes, kind: str) -> None:
    error = failure(response(200, body, {"content-type": kind}))
    assert type(error) is errors.UnreadableAnswerError
    assert str(error) == "GET /packets/p/prod/run_1/output.json answered an output that is not JSON"


REJECTED = "rejected the URL of the output, which is valid for 300 s (store.test)"
FAILED = "the object store store.test failed"


@pytest.mark.parametrize(
    ("status", "kind", "detail"),
    [
        (301, errors.ResponseError, REJECTED),
        *((status, RejectedOutputError, REJECTED) for status in (401, 403, 404)),
        (429, errors.RateLimitError, FAILED),
        *((status, errors.ServerError, FAILED) for status in (500, 503)),
    ],
)
def test_an_error_status_is_the_stores_and_not_trigger_devs(
    response, status: int, kind: type[errors.ResponseError], detail: str
) -> None:
    error = failure(response(status, b"<Error>" + URL.encode(), {"location": URL}))
    assert type(error) is kind
    assert error.retryable is (detail == FAILED)
    assert str(error).startswith(f"GET /packets/p/prod/run_1/output.json answered {status}: ")
    assert detail in str(error)

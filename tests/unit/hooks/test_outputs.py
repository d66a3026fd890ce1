"""An output that is at an address of an object store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_trigger.api.errors import NotSentError, TLSError, TriggerDevError, UnreadableAnswerError

KEY = "tr_prod_marker_of_the_test"
SIGNATURE = "0bb7f8494b6be95e"
STORE = "https://store.test:9000/packets/a%20b/output"
URL = f"{STORE}.json?X-Amz-Credential=t%2F20261125&X-Amz-Signature={SIGNATURE}"
TEXT_URL = URL.replace(".json", ".txt")
TARGET = "GET /packets/a%20b/output.json"

GetOutput = Callable[..., Any]


@pytest.fixture
def get_output(connect_as, wire, answer) -> GetOutput:
    """Return the output of a run at an address, where requests are answered so, one after the other."""

    def get(*replies: Any, url: str = URL, **extra: Any) -> Any:
        left = list(replies)
        run = answer(200, {"id": "run_1", "status": "COMPLETED", "outputPresignedUrl": url})
        wire.script = lambda request: run if "/api/" in request.url else left.pop(0)
        wire.sent.clear()
        wire.options.clear()
        return connect_as(extra={"retry_for": 0} | extra).get_output("run_1")

    return get


@pytest.fixture
def failure(get_output, assert_hides) -> Callable[..., TriggerDevError]:
    def get(*replies: Any, **given: Any) -> TriggerDevError:
        with pytest.raises(TriggerDevError) as raised:
            get_output(*replies, **given)
        assert_hides(raised.value, SIGNATURE, KEY, "hunter2")
        return raised.value

    return get


# What is sent


def test_a_signed_address_is_fetched_as_it_is_without_key_and_branch(get_output, wire, answer) -> None:
    assert get_output(answer(200, {"json": 1}), branch="feature/x") == 1
    own, sent = wire.sent
    assert (sent.method, sent.url, sent.body) == ("GET", URL, None)
    assert sent.headers == {"User-Agent": own.headers["User-Agent"], "Accept-Encoding": "gzip"}
    assert own.headers["Authorization"] == f"Bearer {KEY}"


def test_neither_signature_nor_user_info_is_in_an_error(failure) -> None:
    lost = requests.ConnectionError("lost")
    assert f"{TARGET} to store.test:9000: " in str(failure(lost))
    assert "GET / to store.test: " in str(failure(lost, url="http://someone:hunter2@store.test?X=1"))


@pytest.mark.parametrize(
    "url",
    ["/packets/1", "ftp://store.test/1", "file:///etc/passwd", "http://", "https://[x/1", "https://x:y/1"],
)
def test_what_is_not_a_url_is_not_fetched(failure, wire, url: str) -> None:
    error = failure(url=url)
    assert type(error) is NotSentError
    assert str(error).endswith(": the server sent a URL for the run's output that is not valid")
    assert len(wire.sent) == 1


@pytest.mark.parametrize("verify", ["private", True, False])
def test_a_store_elsewhere_is_checked_against_the_cas_of_all_and_then_the_private_one(
    get_output, failure, wire, answer, verify, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/all.pem")
    (private := tmp_path / "ca.pem").touch()
    by_verify: dict[Any, Any] = {"private": ["/all.pem", str(private)], True: ["/all.pem"], False: [False]}
    tried = by_verify[verify]
    verify = str(private) if verify == "private" else verify
    unknown = requests.exceptions.SSLError("certificate verify failed")
    for url, verified in ((URL, tried), ("https://trigger.test/packets/1.json", tried[-1:])):
        assert isinstance(failure(unknown, unknown, url=url, verify=verify), TLSError)
        assert [options["verify"] for options in wire.options[1:]] == verified
        replies = [unknown] * (len(verified) - 1) + [answer(200, {"json": 1})]
        assert get_output(*replies, url=url, verify=verify) == 1


# What comes back


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"json": {"a": 1}}, {"a": 1}),
        ({"json": {"at": "2026-11-25"}, "meta": {"values": {"at": ["Date"]}}}, {"at": "2026-11-25"}),
        ({"json": None}, None),
        ({"meta": {"values": ["undefined"]}}, None),
        # What is not a document stays as it is.
        ({"json": 1, "other": 2}, {"json": 1, "other": 2}),
        ({}, {}),
        (False, False),
    ],
)
@pytest.mark.parametrize("kind", ["Application/Super+JSON; charset=utf-8", ""])
def test_a_superjson_document_is_unwrapped(get_output, answer, document, value, kind: str) -> None:
    assert get_output(answer(200, document, {"content-type": kind})) == value


@pytest.mark.parametrize(
    ("url", "kind"), [(URL, "text/plain"), (URL, "text/plain; charset=utf-8"), (TEXT_URL, "")]
)
def test_a_text_stays_text(get_output, answer, url: str, kind: str) -> None:
    for text in ("", "plain", '{"json": 1}', "12", "é\n"):
        assert get_output(answer(200, text.encode(), {"content-type": kind}), url=url) == text
    superjson = {"content-type": "application/super+json"}
    assert get_output(answer(200, {"json": 1}, superjson), url=TEXT_URL) == 1


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"\xff", "text/plain", "a text that is not UTF-8"),
        *(
            (body, kind, "an output that is not JSON")
            for body in (b"", b"<html>", b"\xff")
            for kind in ("application/super+json", "application/json", "")
        ),
    ],
)
def test_what_cannot_be_read_is_an_error(failure, answer, body: bytes, kind: str, what: str) -> None:
    error = failure(answer(200, body, {"content-type": kind}))
    assert type(error) is UnreadableAnswerError
    assert str(error).endswith(f"{TARGET} answered {what}")


REJECTED = "rejected the URL of the output, which is valid for 300 s (store.test)"
FAILED = "the object store store.test failed"


@pytest.mark.parametrize(
    ("status", "kind", "detail"),
    [
        (301, "ResponseError", REJECTED),
        *((status, "RejectedOutputError", REJECTED) for status in (401, 403, 404)),
        (429, "RateLimitError", FAILED),
        *((status, "ServerError", FAILED) for status in (500, 503)),
    ],
)
def test_an_error_status_is_that_of_the_store(failure, answer, status: int, kind: str, detail: str) -> None:
    error = failure(answer(status, b"<Error>" + URL.encode(), {"location": URL}))
    assert type(error).__name__ == kind
    assert error.retryable is (detail == FAILED)
    assert f"{TARGET} answered {status}: " in str(error)
    assert detail in str(error)

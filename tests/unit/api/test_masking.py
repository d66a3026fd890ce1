from __future__ import annotations

import threading
from unittest.mock import Mock
from urllib.parse import quote

import pytest

from airflow_provider_trigger.api.errors import AuthenticationError, ServerError
from airflow_provider_trigger.api.masking import Masking, SecretKey
from airflow_provider_trigger.api.runs import cancel_run, retrieve_run

KEY = "tr_prod_marker/of+the=test"
TEXTS = {
    f"a {KEY} b {KEY} c": "a *** b *** c",
    quote(KEY): "***",
    f"?key={quote(KEY, safe='')}&x": "?key=***&x",
    f'{{"error": "no {KEY}"}}': '{"error": "no ***"}',
    KEY[:-1]: KEY[:-1],
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_key_is_hidden_in_answers_and_errors_and_the_rest_stays(response, text: str) -> None:
    shown, masking = TEXTS[text], Masking(KEY)
    assert masking.in_response(response(200, text.encode(), {"x": text})) == response(
        200, shown.encode(), {"x": shown}
    )
    error = ServerError(method="GET", path=text, status=500, detail=text, request_id=text, retryable=True)
    masking.in_error(error)
    assert (error.path, error.detail, error.request_id) == (shown, shown, shown)
    assert (error.status, error.retryable, error.args) == (500, True, (error.message,))
    assert str(error) == f"GET {shown} answered 500: {shown} (request {shown})"


def test_a_key_as_short_as_no_real_one_is_not_looked_for(response) -> None:
    assert Masking("run_abc").in_response(response(200, b"run_abc")).body == b"run_abc"
    assert Masking("run_abcd").in_response(response(200, b"run_abcd")).body == b"***"


OLD, NEW = "tr_prod_old/key+of=the_test", "tr_prod_new/key+of=the_test"
RUN = {"id": "run_1", "status": "QUEUED"}


def test_a_stop_waits_for_no_thread_that_fetches_the_key() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch() -> str:
        begun.set()
        assert ended.wait(10)
        return NEW

    key = SecretKey(OLD, fetch=fetch)
    thread = threading.Thread(target=key.renew, args=(0,), kwargs={"may_fetch": True, "now": 0.0})
    thread.start()
    assert begun.wait(10)
    assert not key.renew(0, may_fetch=False, now=0.0)  # as a signal handler of the thread that fetches it
    ended.set()
    thread.join()
    assert key.renew(0, may_fetch=False, now=0.0)


# A client with it


@pytest.fixture
def rotated(connect, answer, clock):
    """Build a client of a server that takes the new key only."""

    def script(request):
        is_known = request.headers["Authorization"] == f"Bearer {NEW}"
        return answer(200, RUN) if is_known else answer(401, {"error": f"Invalid: {OLD} {NEW}"})

    def build(key: SecretKey, **settings):
        client, wire = connect(script, key=key, **settings)
        return client, wire

    return build


def test_after_a_confirmed_401_the_call_is_repeated_with_the_new_key(rotated) -> None:
    source = Mock(return_value=NEW)
    client, wire = rotated(SecretKey(OLD, fetch=source))
    client.call(cancel_run("run_1"), patience=0)
    assert [sent.headers["Authorization"][7:] for sent in wire.sent] == [OLD, OLD, NEW]
    assert not client.exchange.key_is_rejected
    client.call(retrieve_run("run_1"))
    assert (len(wire.sent), source.call_count) == (4, 1)


@pytest.mark.parametrize(("fetched", "sent"), [(OLD, [2, 1]), (None, [2, 1]), ("tr_another_key", [4, 1])])
def test_a_key_that_is_rejected_as_well_is_fetched_once_for_each_call_which_fails(
    rotated, key_in, fetched: str | None, sent: list[int]
) -> None:
    source = Mock(return_value=fetched)
    client, wire = rotated(SecretKey(OLD, fetch=source))
    for requests in sent:
        wire.sent.clear()
        with pytest.raises(AuthenticationError) as raised:
            client.call(retrieve_run("run_1"))
        assert raised.value.__context__ is None
        assert [key_in(raised.value, key) for key in (OLD, fetched or OLD)] == [[], []]
        assert len(wire.sent) == requests
    assert source.call_count == 2


def test_clients_that_share_it_continue_with_the_key_that_one_has_fetched(rotated) -> None:
    source = Mock(return_value=NEW)
    key = SecretKey(OLD, fetch=source)
    (one, _), (other, wire) = rotated(key), rotated(key)
    one.call(retrieve_run("run_1"))
    other.may_fetch_key = False
    other.call(retrieve_run("run_1"))  # fetches nothing
    assert (len(wire.sent), source.call_count) == (1, 1)

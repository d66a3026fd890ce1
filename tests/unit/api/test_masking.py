from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import AuthenticationError, ServerError, TransportError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.masking import SHORTEST_IN_ANSWERS, Masking, SecretKey, without_secrets

KEY = "tr_prod_marker/of+the=test"
SPELLINGS: list[Callable[[str], str]] = [
    str,
    quote,
    lambda key: quote(key, safe=""),
    lambda key: "".join(f"%{ord(character):02x}" for character in key),
    lambda key: "".join(f"%{ord(character):02X}" for character in key),
    lambda key: json.dumps(key)[1:-1],
    lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
    lambda key: "".join(f"\\u{ord(character):04X}" for character in key),
    # Each character in another spelling than the one before.
    lambda key: "".join(
        [character, f"%{ord(character):02x}", f"\\u{ord(character):04x}"][index % 3]
        for index, character in enumerate(key.replace("\\", "x").replace('"', "x"))
    ),
]
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)


@given(PRINTABLE, st.sampled_from(SPELLINGS[:-1]))
@example('tr_"quoted"\\/key', SPELLINGS[6])
@example(KEY, SPELLINGS[3])
@example("tr_ends_with%", SPELLINGS[1])
@example("tr_ends_with\\", SPELLINGS[7])
@example("tr_.*+?[](){}|^$", SPELLINGS[0])
def test_a_key_is_hidden_in_body_and_headers_in_all_its_spellings(
    key: str, spell: Callable[[str], str]
) -> None:
    text = f"<{spell(key)}>"
    masked = Masking(key).in_response(Response(status=401, headers={"location": text}, body=text.encode()))
    assert masked == Response(status=401, headers={"location": "<***>"}, body=b"<***>")


def test_a_key_in_mixed_spellings_is_hidden(response) -> None:
    assert Masking(KEY).in_response(response(200, SPELLINGS[-1](KEY).encode())).body == b"***"


def test_each_occurrence_is_hidden_and_the_rest_stays(response) -> None:
    key = f"X{KEY}"  # no spelling escapes its first character with a mere backslash
    masked = Masking(key).in_response(response(200, f"a {key} b \\{key} c".encode(), {"x": "y"}))
    assert masked.body == b"a *** b \\*** c"
    assert masked.headers == {"x": "y"}


def test_the_case_of_the_key_itself_matters(response) -> None:
    body = KEY.upper().encode()
    assert Masking(KEY).in_response(response(200, body)).body == body


def test_a_key_is_hidden_in_a_header_whatever_else_is_in_it(response) -> None:
    masked = Masking(KEY).in_response(response(headers={"x": f"\u20ac \xe9 {KEY}"}))
    assert masked.headers == {"x": "? \xe9 ***"}


@pytest.mark.parametrize(
    ("length", "is_hidden"), [(SHORTEST_IN_ANSWERS - 1, False), (SHORTEST_IN_ANSWERS, True)]
)
def test_only_a_key_of_a_real_length_is_hidden_in_a_response(response, length: int, is_hidden: bool) -> None:
    key = KEY[:length]
    given = response(200, key.encode(), {"x": key})
    masked = Masking(key).in_response(given)
    assert masked == (response(200, b"***", {"x": "***"}) if is_hidden else given)


def test_a_word_of_8_characters_is_too_long_to_occur_by_chance() -> None:
    assert SHORTEST_IN_ANSWERS == 8


@pytest.mark.parametrize("key", ["abc", KEY])
def test_a_key_is_hidden_in_an_errors_texts_and_the_rest_stays(key: str) -> None:
    error = TransportError(f"no \ud800 {key} here", retryable=False)
    Masking(key).in_error(error)
    assert (str(error), error.message, error.retryable) == ("no \ud800 *** here",) * 2 + (False,)
    assert error.args == (error.message,)


def test_a_key_is_hidden_in_each_attribute_of_an_error() -> None:
    error = ServerError(
        method="GET", path=f"/{quote(KEY, safe='')}", status=500, detail=KEY, request_id=KEY, retryable=True
    )
    Masking(KEY).in_error(error)
    assert (error.path, error.detail, error.request_id) == ("/***", "***", "***")
    assert (error.status, error.retryable) == (500, True)
    assert str(error) == "GET /*** answered 500: *** (request ***)"


def test_an_error_without_a_request_id_is_masked_too() -> None:
    error = ServerError(method="GET", path="/", status=500, detail=KEY, request_id=None, retryable=True)
    Masking(KEY).in_error(error)
    assert (error.detail, error.request_id) == ("***", None)


def test_what_hides_a_key_does_not_show_it() -> None:
    masking = Masking(KEY)
    assert KEY not in repr(masking)
    assert KEY not in repr(vars(masking))


OLD, NEW = "tr_prod_old/key+of=the_test", "tr_prod_new/key+of=the_test"
RUN = {"id": "run_1", "status": "QUEUED"}


class Source:
    """What fetches the key."""

    def __init__(self, *keys: str | None) -> None:
        self.keys = list(keys)
        self.fetched = 0

    def __call__(self) -> str | None:
        self.fetched += 1
        return self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]


def test_another_key_is_used_from_then_on_and_both_are_masked() -> None:
    key = SecretKey(OLD)
    key.replace(OLD)
    assert key.version == 0
    assert OLD not in repr(key)
    key.replace(NEW)
    assert (key.authorization, key.version) == (f"Bearer {NEW}", 1)
    body = f"<{OLD}> <{NEW}>".encode()
    assert key.masking.in_response(Response(status=401, headers={}, body=body)).body == b"<***> <***>"


def test_without_a_fetch_it_waits_for_no_other_thread() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch() -> str:
        begun.set()
        assert ended.wait(10)
        return NEW

    key = SecretKey(OLD, fetch=fetch)
    thread = threading.Thread(target=key.renew, args=(0,), kwargs={"may_fetch": True})
    thread.start()
    assert begun.wait(10)
    assert not key.renew(0, may_fetch=False)  # as a signal handler of the thread that fetches it
    ended.set()
    thread.join()
    assert key.renew(0, may_fetch=False)


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
    source = Source(NEW)
    client, wire = rotated(SecretKey(OLD, fetch=source))
    client.call(cancel_run("run_1"), patience=0)
    assert [sent.headers["Authorization"][7:] for sent in wire.sent] == [OLD, OLD, NEW]
    assert not client.exchange.key_is_rejected
    client.call(retrieve_run("run_1"))
    assert (len(wire.sent), source.fetched) == (4, 1)


@pytest.mark.parametrize(("fetched", "sent"), [(OLD, [2, 1]), (None, [2, 1]), ("tr_another_key", [4, 1])])
def test_a_key_that_is_rejected_as_well_is_fetched_once_for_each_call_which_fails(
    rotated, key_in, fetched: str | None, sent: list[int]
) -> None:
    source = Source(fetched)
    client, wire = rotated(SecretKey(OLD, fetch=source))
    for requests in sent:
        wire.sent.clear()
        with pytest.raises(AuthenticationError) as raised:
            client.call(retrieve_run("run_1"))
        assert raised.value.__context__ is None
        assert [key_in(raised.value, key) for key in (OLD, fetched or OLD)] == [[], []]
        assert len(wire.sent) == requests
    assert source.fetched == 2


def test_clients_that_share_it_continue_with_the_key_that_one_has_fetched(rotated) -> None:
    source = Source(NEW)
    key = SecretKey(OLD, fetch=source)
    (one, _), (other, wire) = rotated(key), rotated(key)
    one.call(retrieve_run("run_1"))
    other.may_fetch_key = False
    other.call(retrieve_run("run_1"))
    assert (len(wire.sent), source.fetched) == (1, 1)


def test_a_client_that_may_not_fetch_it_raises_the_error(rotated) -> None:
    source = Source(NEW)
    client, _ = rotated(SecretKey(OLD, fetch=source))
    client.may_fetch_key = False
    with pytest.raises(AuthenticationError):
        client.call(retrieve_run("run_1"))
    assert source.fetched == 0


CHECK = retrieve_run("run_1").request
SIGNED = fetch_output("https://store.test/1.json?signature=x").request
LOGGERS = ["urllib3.connection", "urllib3.connectionpool"]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Log something, and return what is kept of it."""
    caplog.set_level(logging.DEBUG)

    def log(name: str, message: str, *args: Any) -> list[str]:
        caplog.clear()
        logging.getLogger(name).debug(message, *args)
        return caplog.messages

    return log


@pytest.mark.parametrize("name", LOGGERS)
def test_the_key_is_masked_while_a_request_is_sent(logged, name: str) -> None:
    with without_secrets(CHECK, Masking(KEY)):
        assert logged(name, "headers=[%r], 100 %%", KEY.encode()) == ["headers=[b'***'], 100 %"]
        assert logged(name, f"a 100% {KEY}") == ["a 100% ***"]
        assert logged(name, "no key: %s", "x") == ["no key: x"]
    assert logged(name, KEY) == [KEY]


def test_a_record_without_the_key_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with without_secrets(CHECK, Masking(KEY)):
        logging.getLogger(LOGGERS[0]).debug("%s: %d", "x", 1, exc_info=ValueError("y"))
    (record,) = caplog.records
    assert (record.msg, record.args) == ("%s: %d", ("x", 1))
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_an_exception_with_the_key_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with without_secrets(CHECK, Masking(KEY)):
        logging.getLogger(LOGGERS[0]).debug("failed", exc_info=ValueError(f"<{KEY}>"))
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.exc_text == "ValueError: <***>"
    assert "ValueError: <***>" in caplog.text


@pytest.mark.parametrize("key", [KEY, "quo'ted'_\"key\"\\"])
def test_the_key_is_masked_in_a_repr(logged, key: str) -> None:
    with without_secrets(CHECK, Masking(key)):
        for value in (key, key.encode(), f'{key}"', [(b"x-echo", key.encode())]):
            assert "***" in logged(LOGGERS[0], f"value={value!r}")[0]


def test_a_short_key_garbles_no_log(logged) -> None:
    with without_secrets(CHECK, Masking("run")):
        assert logged(LOGGERS[0], "a run") == ["a run"]


@pytest.mark.parametrize("name", LOGGERS)
def test_of_a_signed_request_nothing_is_logged(logged, name: str) -> None:
    with without_secrets(SIGNED, Masking(KEY)):
        assert logged(name, "GET /1.json?signature=x") == []
        assert logged("someone.else", "a line") == ["a line"]
    assert logged(name, "another") == ["another"]


def test_records_of_other_threads_and_tasks_stay_as_they_are(logged) -> None:
    texts: list[str] = []
    with without_secrets(SIGNED, Masking(KEY)):
        thread = threading.Thread(target=lambda: texts.extend(logged(LOGGERS[0], "of a thread")))
        thread.start()
        thread.join()

    async def other(begun: asyncio.Event) -> None:
        await begun.wait()
        texts.extend(logged(LOGGERS[0], "of a task"))

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(other(begun))
        with without_secrets(SIGNED, Masking(KEY)):
            begun.set()
            await task

    asyncio.run(main())
    assert texts == ["of a thread", "of a task"]

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import AuthenticationError, ServerError, TransportError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.masking import Masking, SecretKey, without_secrets

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


X_KEY = f"X{KEY}"  # no spelling escapes its first character with a mere backslash
# Of keys and texts in an answer, what is shown of the text.
IN_ANSWERS = {
    "mixed spellings": (KEY, SPELLINGS[-1](KEY), "***"),
    "each occurrence, and the rest stays": (X_KEY, f"a {X_KEY} b \\{X_KEY} c", "a *** b \\*** c"),
    "upper case is another text": (KEY, KEY.upper(), KEY.upper()),
    "a word of 8 characters is too long to occur by chance": (KEY[:8], KEY[:8], "***"),
    "a shorter one could garble the answer": (KEY[:7], KEY[:7], KEY[:7]),
}


@pytest.mark.parametrize("case", IN_ANSWERS)
def test_what_is_shown_of_an_answer(response, case: str) -> None:
    key, text, shown = IN_ANSWERS[case]
    masked = Masking(key).in_response(response(200, text.encode(), {"x": text}))
    assert masked == response(200, shown.encode(), {"x": shown})


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


OLD, NEW = "tr_prod_old/key+of=the_test", "tr_prod_new/key+of=the_test"
RUN = {"id": "run_1", "status": "QUEUED"}


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
    other.call(retrieve_run("run_1"))
    assert (len(wire.sent), source.call_count) == (1, 1)


def test_a_client_that_may_not_fetch_it_raises_the_error(rotated) -> None:
    source = Mock(return_value=NEW)
    client, _ = rotated(SecretKey(OLD, fetch=source))
    client.may_fetch_key = False
    with pytest.raises(AuthenticationError):
        client.call(retrieve_run("run_1"))
    assert source.call_count == 0


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


QUOTED = "quo'ted'_\"key\"\\"


@pytest.mark.parametrize("name", LOGGERS)
@pytest.mark.parametrize(
    ("key", "given", "is_kept"),
    [
        (KEY, ("no key: %s", "x"), True),
        (KEY, (f"a 100% {KEY}",), False),
        (KEY, ("headers=[%r], 100 %%", KEY.encode()), False),
        *((QUOTED, ("value=%r", value), False) for value in (QUOTED, QUOTED.encode(), f'{QUOTED}"')),
        ("run", ("a run",), True),  # a short key occurs by chance
    ],
)
def test_what_shows_the_key_is_not_logged_while_a_request_is_sent(
    logged, name: str, key: str, given: tuple[Any, ...], is_kept: bool
) -> None:
    with without_secrets(CHECK, Masking(key)):
        assert len(logged(name, *given)) == is_kept
    assert logged(name, key) == [key]


def test_an_exception_that_shows_the_key_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    other = ValueError("x")
    with without_secrets(CHECK, Masking(KEY)):
        for error in (ValueError(f"<{KEY}>"), other):
            logging.getLogger(LOGGERS[0]).debug("failed: %d", 1, exc_info=error)
    [kept] = caplog.records
    assert (kept.msg, kept.args, kept.exc_info) == ("failed: %d", (1,), (ValueError, other, None))


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

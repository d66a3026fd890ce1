from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger.api.errors import ServerError, TransportError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.masking import SHORTEST_IN_ANSWERS, Masking

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

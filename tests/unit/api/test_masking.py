from __future__ import annotations

import pytest

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.api.masking import SHORTEST_IN_ANSWERS, Masking

KEY = "tr_prod_marker/of+the=test"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_key_is_hidden_in_a_body_of_any_encoding(encoding: str) -> None:
    masked = Masking(KEY).in_body(f"Bearer {KEY}, say".encode(encoding))
    assert "marker" not in masked.replace(b"\0", b"").decode()
    assert b"***" in masked


def test_a_key_is_hidden_in_a_header_whatever_else_is_in_it() -> None:
    assert Masking(KEY).in_header(f"\u20ac \xe9 {KEY}") == "? \xe9 ***"


@pytest.mark.parametrize(
    ("length", "is_hidden"), [(SHORTEST_IN_ANSWERS - 1, False), (SHORTEST_IN_ANSWERS, True)]
)
def test_only_a_key_that_can_be_one_is_hidden_in_an_answer(length: int, is_hidden: bool) -> None:
    key = KEY[:length]
    assert (key.encode() not in Masking(key).in_body(key.encode())) is is_hidden
    assert (key not in Masking(key).in_header(key)) is is_hidden


@pytest.mark.parametrize("key", ["abc", KEY])
def test_a_key_is_hidden_in_an_errors_texts_and_the_rest_stays(key: str) -> None:
    error = TransportError(f"no \ud800 {key} here", retryable=False)
    Masking(key).in_error(error)
    assert (str(error), error.message, error.retryable) == ("no \ud800 *** here",) * 2 + (False,)


def test_what_hides_a_key_does_not_show_it() -> None:
    assert KEY not in repr(Masking(KEY))

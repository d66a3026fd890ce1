from __future__ import annotations

from urllib.parse import quote

import pytest

from airflow_provider_trigger.api.errors import ServerError
from airflow_provider_trigger.api.secret_key import SecretKey

KEY = "tr_prod_marker/of+the=test"
TEXTS = {
    f"a {KEY} b {KEY} c": "a *** b *** c",
    quote(KEY): "***",
    f"?key={quote(KEY, safe='')}&x": "?key=***&x",
    f'{{"error": "no {KEY}"}}': '{"error": "no ***"}',
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_key_is_hidden_in_answers_and_errors_and_the_rest_stays(response, text: str) -> None:
    shown, masking = TEXTS[text], SecretKey(KEY)
    assert masking.hidden_in(response(200, text.encode(), {"x": text})) == response(
        200, shown.encode(), {"x": shown}
    )
    error = ServerError(method="GET", path=text, status=500, detail=text, request_id=text, retryable=True)
    masking.hide_in(error)
    assert (error.path, error.detail, error.request_id) == (shown, shown, shown)
    assert (error.status, error.retryable, error.args) == (500, True, (error.message,))
    assert str(error) == f"GET {shown} answered 500: {shown} (request {shown})"


def test_a_key_that_was_replaced_is_hidden_too(response) -> None:
    masking = SecretKey(KEY)
    masking.replace("tr_prod_the_new_one")
    assert masking.hidden_in(response(200, f"{KEY} tr_prod_the_new_one".encode())).body == b"*** ***"


def test_a_key_as_short_as_no_real_one_is_not_looked_for(response) -> None:
    assert SecretKey("run_abc").hidden_in(response(200, b"run_abc")).body == b"run_abc"
    assert SecretKey("run_abcd").hidden_in(response(200, b"run_abcd")).body == b"***"

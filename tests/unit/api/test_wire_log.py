from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.masking import Masking, without_secrets

KEY = "tr_prod_marker/of+the=test"
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

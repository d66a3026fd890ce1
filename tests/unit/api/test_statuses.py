"""What each status means: to those who wait for a run, and to those who cancel it."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.statuses import (
    ALIVE_STATUSES,
    FINAL_STATUSES,
    MEANINGS,
    RETRY_STATUSES,
    SUCCESS_STATUSES,
    RunStatus,
    todays_word,
)

WITHOUT_WORKER = ["PENDING_VERSION", "QUEUED", "DELAYED", "WAITING", "WAITING_FOR_DEPLOY", "FROZEN"]
WITH_WORKER = ["DEQUEUED", "EXECUTING", "REATTEMPTING"]
ALIVE = WITHOUT_WORKER + WITH_WORKER
FINAL = [
    "COMPLETED",
    "CANCELED",
    "FAILED",
    "CRASHED",
    "SYSTEM_FAILURE",
    "EXPIRED",
    "TIMED_OUT",
    "INTERRUPTED",
]


def run(status: str) -> Run:
    return Run.from_answer({"id": "run_1", "status": status})


def test_each_known_word_has_a_meaning_and_is_either_alive_or_final() -> None:
    assert sorted(RunStatus) == sorted(MEANINGS) == sorted(ALIVE + FINAL)
    assert sorted(FINAL_STATUSES) == sorted(FINAL)


@pytest.mark.parametrize("status", ALIVE)
def test_a_run_in_these_statuses_is_alive(status: str) -> None:
    assert not run(status).is_final
    assert not run(status).is_terminated
    assert not run(status).is_success
    assert run(status).is_without_worker is (status in WITHOUT_WORKER)
    assert run(status).waits_for_version is (status in ("PENDING_VERSION", "WAITING_FOR_DEPLOY"))


@pytest.mark.parametrize("status", FINAL)
def test_a_run_in_these_statuses_has_ended(status: str) -> None:
    assert run(status).is_final
    assert run(status).is_terminated
    assert not run(status).is_without_worker
    assert not run(status).waits_for_version
    assert run(status).is_canceled is (status == "CANCELED")
    assert run(status).is_success is (status == "COMPLETED")


def test_the_alive_words_for_a_filter_are_todays() -> None:
    # A list with PENDING is rejected, and older words are the same as some of these.
    todays = ["PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED"]
    assert sorted(ALIVE_STATUSES) == sorted(todays)


def test_the_defaults_of_operators_and_sensors_are_plain_words_of_today() -> None:
    assert SUCCESS_STATUSES == ("COMPLETED",)
    assert RETRY_STATUSES == ("FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE")
    assert {type(status) for status in SUCCESS_STATUSES + RETRY_STATUSES} == {str}


# The query's words; the recordings show others.
TODAYS_WORDS = {
    "Queued": "QUEUED",
    "Pending version": "PENDING_VERSION",
    "Completed": "COMPLETED",
    "Timed out": "TIMED_OUT",
    "INTERRUPTED": "INTERRUPTED",  # it has no other word
    "Fast asleep": "Fast asleep",
    "": "",
}


def test_each_dialect_is_put_into_todays_words() -> None:
    assert {word: todays_word(word) for word in TODAYS_WORDS} == TODAYS_WORDS
    assert {type(todays_word(word)) for word in TODAYS_WORDS} == {str}


@pytest.mark.parametrize("status", RunStatus)
def test_todays_word_says_the_same_as_the_other_one(status: RunStatus) -> None:
    one, other = run(status), run(todays_word(status))
    assert MEANINGS[other.status].is_todays or status == "INTERRUPTED"
    for name in ("is_final", "is_success", "is_without_worker", "waits_for_version"):
        assert getattr(one, name) == getattr(other, name)

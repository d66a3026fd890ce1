"""What each status means: to those who wait for a run, and to those who cancel it."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.statuses import ALIVE_STATUSES, FINAL_STATUSES, RunStatus, todays_word

# Of each status: whether the run has ended, whether no worker has it, and whether it lacks a version.
SHOWN = {
    **dict.fromkeys(("QUEUED", "DELAYED", "WAITING", "FROZEN"), (False, True, False)),
    **dict.fromkeys(("PENDING_VERSION", "WAITING_FOR_DEPLOY"), (False, True, True)),
    **dict.fromkeys(("DEQUEUED", "EXECUTING", "REATTEMPTING"), (False, False, False)),
    **dict.fromkeys(("COMPLETED", "CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE"), (True, False, False)),
    **dict.fromkeys(("EXPIRED", "TIMED_OUT", "INTERRUPTED"), (True, False, False)),
}


def run(status: str) -> Run:
    return Run.from_answer({"id": "run_1", "status": status})


@pytest.mark.parametrize("status", RunStatus)
def test_what_each_status_means(status: str) -> None:
    shown = run(status)
    assert (shown.is_final, shown.is_without_worker, shown.waits_for_version) == SHOWN[status]
    assert shown.is_terminated is shown.is_final is (status in FINAL_STATUSES)
    assert shown.is_canceled is (status == "CANCELED")
    assert shown.is_success is (status == "COMPLETED")


def test_the_alive_words_for_a_filter_are_todays() -> None:
    # A list with PENDING is rejected, and older words are the same as some of these.
    todays = ["PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED"]
    assert sorted(ALIVE_STATUSES) == sorted(todays)


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

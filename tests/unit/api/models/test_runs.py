from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api.models.runs import FINAL_STATUSES, HELD_STATUSES, Run, RunStatus
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult

HELD_BY_THE_ENGINE = ["PENDING_VERSION", "QUEUED", "DELAYED", "WAITING", "WAITING_FOR_DEPLOY", "FROZEN"]
HELD_BY_THE_ENGINE += ["PENDING", "WAITING_TO_RESUME", "PAUSED"]
ALIVE = [*HELD_BY_THE_ENGINE, "DEQUEUED", "EXECUTING", "REATTEMPTING", "RETRYING_AFTER_FAILURE"]
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
FINAL += ["COMPLETED_SUCCESSFULLY", "COMPLETED_WITH_ERRORS"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)
FIELDS = ("id", "status", "taskIdentifier", "createdAt", "updatedAt", "startedAt", "finishedAt")


def run(status: str = "CANCELED", *, seen_at: datetime | None = None, **attributes: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status} | attributes, seen_at=seen_at)


@pytest.mark.parametrize("status", ALIVE)
def test_a_run_in_these_statuses_is_alive(status: str) -> None:
    assert not run(status).is_final


@pytest.mark.parametrize("status", FINAL)
def test_a_run_in_these_statuses_has_ended(status: str) -> None:
    assert run(status).is_final
    assert not run(status).is_held


def test_every_known_word_is_either_alive_or_final() -> None:
    assert sorted(RunStatus) == sorted(ALIVE + FINAL)
    assert sorted(FINAL_STATUSES) == sorted(FINAL)


def test_the_engine_holds_whatever_is_alive_and_with_no_worker() -> None:
    assert sorted(HELD_STATUSES) == sorted(HELD_BY_THE_ENGINE)


@pytest.mark.parametrize("status", ["EXPIRED", "TIMED_OUT"])
def test_the_servers_own_booleans_do_not_count(status: str) -> None:
    assert run(status, isCompleted=False).is_final


def test_an_unknown_word_counts_as_alive_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    strange = run("HIBERNATING")
    assert (strange.status, strange.is_final, strange.is_held) == ("HIBERNATING", False, False)
    assert "run_1 has the unknown status 'HIBERNATING'" in caplog.text


def test_a_known_word_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    for status in ALIVE + FINAL:
        run(status)
    assert not caplog.records


@pytest.mark.parametrize(
    ("attributes", "was_held", "terminated"),
    [
        ({"status": "COMPLETED"}, False, True),
        ({"status": "EXECUTING"}, False, False),
        # Held before, but not CANCELED now: a run that goes on is not over.
        ({"status": "EXECUTING"}, True, False),
        ({"status": "CANCELED"}, False, True),
        ({"status": "CANCELED", "startedAt": "2026-11-25T09:00:00Z"}, False, False),
        ({"status": "CANCELED", "startedAt": "2026-11-25T09:00:00Z"}, True, True),
        (
            {
                "status": "CANCELED",
                "startedAt": "2026-11-25T09:00:00Z",
                "finishedAt": "2026-11-25T09:00:01Z",
            },
            False,
            True,
        ),
    ],
)
def test_when_a_run_can_no_longer_change(
    attributes: dict[str, str], was_held: bool, terminated: bool
) -> None:
    assert run(**attributes).is_terminated(was_held=was_held) is terminated


@pytest.mark.parametrize(("seconds", "terminated"), [(60, False), (75, False), (76, True)])
def test_a_canceled_run_is_over_when_the_engine_must_have_forced_it(seconds: int, terminated: bool) -> None:
    canceled_at = datetime(2026, 11, 25, 9, tzinfo=UTC)
    times = {"startedAt": "2026-11-25T08:00:00Z", "updatedAt": canceled_at.isoformat()}
    seen = run(**times, seen_at=canceled_at + timedelta(seconds=seconds))
    assert seen.is_terminated() is terminated


def test_without_the_servers_clock_no_time_is_known_to_have_passed() -> None:
    times = {"startedAt": "2020-01-01T00:00:00Z", "updatedAt": "2020-01-01T00:00:00Z"}
    assert not run(**times).is_terminated()


def test_the_answer_is_read_into_fields_and_kept_whole() -> None:
    answer = {
        "id": "run_1",
        "status": "EXECUTING",
        "taskIdentifier": "send-mail",
        "createdAt": "2026-11-25T09:32:29.682Z",
        "updatedAt": "2026-11-25T09:32:30Z",
        "startedAt": "2026-11-25T10:32:29+01:00",
        "payload": {"n": 1},
    }
    read = Run.from_answer(answer)
    assert read.created_at == datetime(2026, 11, 25, 9, 32, 29, 682000, tzinfo=UTC)
    assert read.updated_at == datetime(2026, 11, 25, 9, 32, 30, tzinfo=UTC)
    assert read.started_at == datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)
    assert read.finished_at is None
    assert (read.id, read.status, read.task_identifier) == ("run_1", "EXECUTING", "send-mail")
    assert read.attributes == answer


@pytest.mark.parametrize("garbage", ["", "yesterday", 1795599159334, None, ["2026-11-25"], "2026-13-01"])
def test_a_time_that_is_none_is_left_out(garbage: object) -> None:
    assert run(startedAt=garbage).started_at is None


def test_a_time_without_a_zone_is_utc() -> None:
    assert run(startedAt="2026-11-25T09:00:00").started_at == datetime(2026, 11, 25, 9, tzinfo=UTC)


@pytest.mark.parametrize("answer", [{}, {"id": "run_1"}, {"status": "QUEUED"}, {"status": "NEW"}])
def test_an_answer_without_an_id_or_a_status_is_no_run(answer: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        Run.from_answer(answer)


@pytest.mark.parametrize("value", [None, "", 7, ["QUEUED"], {"name": "QUEUED"}])
@pytest.mark.parametrize("field", ["id", "status"])
def test_an_id_or_a_status_that_is_no_text_is_none(field: str, value: object) -> None:
    with pytest.raises(KeyError, match=field):
        Run.from_answer({"id": "run_1", "status": "QUEUED", field: value})


def test_what_goes_into_logs_and_results_is_of_sane_length(caplog: pytest.LogCaptureFixture) -> None:
    enormous = Run.from_answer({"id": "i" * 9999, "status": "s" * 9999, "taskIdentifier": "t" * 9999})
    assert len(enormous.status) <= 100
    assert len(enormous.task_identifier) <= 300
    assert len(caplog.text) < 1000


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.datetimes(timezones=st.just(UTC)))
def test_no_json_object_breaks_a_run(answer: dict[str, Any], seen_at: datetime) -> None:
    try:
        read = Run.from_answer({"id": "run_1", "status": "CANCELED"} | answer, seen_at=seen_at)
    except KeyError:
        return
    assert isinstance(read.is_terminated(), bool)
    assert isinstance(read.task_identifier, str)


def test_a_result_becomes_plain_json_without_what_is_only_for_us() -> None:
    result = CancelResult(
        run_id="run_1",
        outcome=CancelOutcome.CANCELED,
        status="CANCELED",
        task_identifier="send-mail",
        terminated=True,
        retryable=True,
    )
    plain = result.to_dict()
    assert plain == {
        "run_id": "run_1",
        "outcome": "canceled",
        "status": "CANCELED",
        "task_identifier": "send-mail",
        "terminated": True,
    }
    assert type(plain["outcome"]) is str


def test_a_result_tells_its_error_only_where_there_is_one() -> None:
    failed = CancelResult(run_id="run_1", outcome=CancelOutcome.FAILED, error="no answer")
    assert failed.to_dict()["error"] == "no answer"

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api.models import runs
from airflow_provider_trigger.api.models.run_errors import RunError
from airflow_provider_trigger.api.models.runs import ListedRun, Run
from airflow_provider_trigger.api.models.statuses import RunStatus


@pytest.fixture(autouse=True)
def _nothing_warned_of() -> Iterator[None]:
    runs._warned_of.clear()
    yield
    runs._warned_of.clear()


def run(status: str = "CANCELED", *, seen_at: datetime | None = None, **attributes: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status} | attributes, seen_at=seen_at)


# Statuses


@pytest.mark.parametrize("status", ["EXPIRED", "TIMED_OUT"])
def test_the_servers_own_booleans_do_not_count(status: str) -> None:
    assert run(status, isCompleted=False).is_final


def test_an_unknown_word_counts_as_alive_and_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    strange = run("HIBERNATING")
    assert (strange.status, strange.is_final, strange.is_without_worker) == ("HIBERNATING", False, False)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "unknown run status 'HIBERNATING'" in caplog.text


def test_an_unknown_word_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for status in ("HIBERNATING", "HIBERNATING", "DREAMING", "HIBERNATING"):
        run(status)
    assert len(caplog.records) == 2


def test_threads_that_see_an_unknown_word_at_a_time_warn_once(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(logging.Handler):
        """While one thread warns, another one comes."""

        def emit(self, _: logging.LogRecord) -> None:
            other = threading.Thread(target=run, args=("HIBERNATING",))
            if not others:
                others.append(other)
                other.start()
                other.join(0.1)  # it would wait for the handler's lock

    others: list[threading.Thread] = []
    handler = Handler()
    runs.log.addHandler(handler)
    try:
        run("HIBERNATING")
    finally:
        runs.log.removeHandler(handler)
    others[0].join()
    assert len(caplog.records) == 1


def test_no_more_than_a_hundred_words_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(200):
        run(f"STRANGE_{number}")
    assert len(caplog.records) == len(runs._warned_of) == 100


def test_a_known_word_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for status in RunStatus:
        run(status)
    assert not caplog.records


def test_a_list_warns_of_an_unknown_word_and_keeps_texts_short(caplog: pytest.LogCaptureFixture) -> None:
    listed = ListedRun.from_answer({"id": "run_1", "status": "X" * 500, "taskIdentifier": "t" * 500})
    assert (len(listed.status), len(listed.task_identifier), listed.is_final) == (50, 256, False)
    assert "unknown run status" in caplog.text


def test_a_run_names_its_batch() -> None:
    assert [run(batchId=one).batch_id for one in ("batch_1", "", None)] == ["batch_1", None, None]


# Termination

STARTED: dict[str, Any] = {"startedAt": "2026-11-25T09:00:00Z"}


@pytest.mark.parametrize(
    ("status", "attributes", "is_terminated"),
    [
        ("COMPLETED", {}, True),
        ("COMPLETED", STARTED, True),
        ("EXECUTING", STARTED, False),
        # No worker ever had it.
        ("CANCELED", {}, True),
        # A worker has it, or had it: it may still complete.
        ("CANCELED", STARTED, False),
        ("CANCELED", STARTED | {"finishedAt": "2026-11-25T09:00:01Z"}, True),
        ("CANCELED", {"finishedAt": "2026-11-25T09:00:01Z"}, True),
        # It is not CANCELED, so nothing else counts.
        ("EXECUTING", {"finishedAt": "2026-11-25T09:00:01Z"}, False),
        ("QUEUED", {}, False),
    ],
)
def test_when_a_run_can_no_longer_change(
    status: str, attributes: dict[str, Any], is_terminated: bool
) -> None:
    assert run(status, **attributes).is_terminated is is_terminated


@pytest.mark.parametrize(("seconds", "is_terminated"), [(60, False), (75, False), (75.001, True), (76, True)])
def test_a_canceled_run_is_terminated_when_the_engine_must_have_forced_it(
    seconds: float, is_terminated: bool
) -> None:
    canceled_at = datetime(2026, 11, 25, 9, tzinfo=UTC)
    seen_at = canceled_at + timedelta(seconds=seconds)
    seen = run(startedAt="2026-11-25T08:00:00Z", updatedAt=canceled_at.isoformat(), seen_at=seen_at)
    assert seen.is_terminated is is_terminated


def test_without_both_times_none_is_known_to_have_passed() -> None:
    assert run(**STARTED, updatedAt="2020-01-01T00:00:00Z").is_terminated is False
    assert run(**STARTED, seen_at=datetime(2030, 1, 1, tzinfo=UTC)).is_terminated is False


# Reading


def test_the_answer_is_read_into_fields_and_kept_whole() -> None:
    answer = {
        "id": "run_1",
        "status": "EXECUTING",
        "taskIdentifier": "send-mail",
        "updatedAt": "2026-11-25T09:32:30Z",
        "startedAt": "2026-11-25T10:32:29.682+01:00",
        "finishedAt": "2026-11-25T09:32:31Z",
        "attemptCount": 2,
        "payload": {"n": 1},
    }
    seen_at = datetime(2026, 11, 25, 10, tzinfo=UTC)
    assert Run.from_answer(answer, seen_at=seen_at) == Run(
        id="run_1",
        status="EXECUTING",
        task_identifier="send-mail",
        updated_at=datetime(2026, 11, 25, 9, 32, 30, tzinfo=UTC),
        started_at=datetime(2026, 11, 25, 9, 32, 29, 682000, tzinfo=UTC),
        finished_at=datetime(2026, 11, 25, 9, 32, 31, tzinfo=UTC),
        attempt_count=2,
        seen_at=seen_at,
        attributes=answer,
    )


def test_what_the_answer_lacks_is_empty() -> None:
    read = Run.from_answer({"id": "run_1", "status": "QUEUED"})
    assert (read.updated_at, read.started_at, read.finished_at, read.seen_at) == (None, None, None, None)
    assert (read.task_identifier, read.attempt_count) == ("", 0)


@pytest.mark.parametrize("value", ["", "yesterday", 1795599159334, None, ["2026-11-25"], "2026-13-01"])
def test_a_time_that_is_not_valid_is_left_out(value: object) -> None:
    assert run(startedAt=value).started_at is None


def test_a_time_without_a_zone_is_utc() -> None:
    assert run(startedAt="2026-11-25T09:00:00").started_at == datetime(2026, 11, 25, 9, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, "2", 2.0, [2]])
def test_a_count_that_is_not_valid_is_zero(value: object) -> None:
    assert run(attemptCount=value).attempt_count == 0


@pytest.mark.parametrize(("value", "identifier"), [(None, ""), (7, "7"), ("send-mail", "send-mail")])
def test_a_tasks_id_is_text(value: object, identifier: str) -> None:
    assert run(taskIdentifier=value).task_identifier == identifier


def test_what_goes_into_logs_and_results_is_of_limited_length(caplog: pytest.LogCaptureFixture) -> None:
    enormous = run("s" * 9999, taskIdentifier="t" * 9999)
    assert (enormous.status, enormous.task_identifier) == ("s" * 50, "t" * 256)
    assert len(caplog.text) < 500


# What is read when it is asked for


@pytest.mark.parametrize(
    ("attributes", "has_output", "output"),
    [
        ({}, False, None),
        ({"output": None}, True, None),
        ({"output": False}, True, False),
        ({"output": ""}, True, ""),
        ({"output": {"a": [1]}}, True, {"a": [1]}),
        ({"outputPresignedUrl": "https://store.test/1"}, False, None),
    ],
)
def test_an_output_may_be_none_or_missing(attributes, has_output: bool, output) -> None:
    read = run("COMPLETED", **attributes)
    assert (read.has_output, read.output) == (has_output, output)


@pytest.mark.parametrize("value", [None, "", 7, ["x"]])
def test_what_is_not_text_is_none(value: object) -> None:
    read = run(outputPresignedUrl=value, idempotencyKey=value)
    assert (read.output_url, read.idempotency_key) == (None, None)


def test_attributes_are_read() -> None:
    read = run(
        "FAILED",
        createdAt="2026-11-25T09:32:28Z",
        outputPresignedUrl="https://store.test/1?x=y",
        idempotencyKey="key 1",
        tags=["a", "b"],
        error={"name": "Error", "message": "no"},
    )
    assert read.created_at == datetime(2026, 11, 25, 9, 32, 28, tzinfo=UTC)
    assert read.output_url == "https://store.test/1?x=y"
    assert (read.idempotency_key, read.tags) == ("key 1", ["a", "b"])
    assert read.error == RunError(name="Error", message="no", stack_trace=None, code=None)


def test_attributes_that_are_missing_are_empty() -> None:
    read = run()
    assert (read.created_at, read.output_url, read.idempotency_key) == (None, None, None)
    assert (read.error, read.tags) == (None, [])


@pytest.mark.parametrize(("value", "tags"), [(None, []), ("a", []), (["a", 1, None], ["a"])])
def test_tags_are_texts(value: object, tags: list[str]) -> None:
    assert run(tags=value).tags == tags


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)
FIELDS = ["taskIdentifier", "createdAt", "updatedAt", "startedAt", "finishedAt", "attemptCount"]
FIELDS += ["outputPresignedUrl", "error", "idempotencyKey", "tags"]


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.sampled_from(["CANCELED", "NEW", "x" * 99]),
    st.datetimes(timezones=st.just(UTC)),
)
def test_no_json_object_breaks_a_run(answer: dict[str, Any], status: str, seen_at: datetime) -> None:
    read = run(status, seen_at=seen_at, **answer)
    assert isinstance(read.is_terminated, bool)
    assert isinstance(read.task_identifier, str)
    assert isinstance(read.attempt_count, int)
    assert isinstance(read.created_at, datetime | None)
    assert isinstance(read.output_url, str | None)
    assert isinstance(read.idempotency_key, str | None)
    assert isinstance(read.error, RunError | None)
    assert all(isinstance(tag, str) for tag in read.tags)


# Without contents


def test_a_run_without_contents_is_small_and_the_same_in_all_else() -> None:
    small = {
        "createdAt": "2026-11-25T09:00:00Z",
        "durationMs": 1500,
        "costInCents": 0.5,
        "baseCostInCents": 0.1,
        "error": {"name": "TypeError", "message": "no"},
    }
    large = {name: "x" * 110_000 for name in ("payload", "output", "metadata", "tags", "relatedRuns", "new")}
    seen_at = datetime(2026, 11, 25, tzinfo=UTC)
    whole = run("FAILED", seen_at=seen_at, attemptCount=2, taskIdentifier="t", **STARTED, **small, **large)
    kept = whole.without_contents()
    assert len(json.dumps(kept.attributes)) < 1000
    assert kept.attributes == small
    assert kept == dataclasses.replace(whole, attributes=small)
    assert (kept.created_at, kept.error) == (whole.created_at, whole.error)
    assert not kept.has_output


def test_what_a_run_does_not_have_it_does_not_get_without_contents() -> None:
    assert run("QUEUED").without_contents().attributes == {}


def test_a_run_without_contents_frees_the_rest_of_its_answer() -> None:
    text = json.dumps({"id": "run_1", "status": "EXECUTING", "payload": {"x" * 20: ["y" * 110_000]}})
    tracemalloc.start()
    try:
        kept = Run.from_answer(json.loads(text)).without_contents()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.id == "run_1"
    assert used < 25_000

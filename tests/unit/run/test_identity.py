"""Keys and tags: what stays the same, what differs, and what proves that a run is ours."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_trigger.run import identity
from airflow_provider_trigger.run.identity import (
    MAX_TAG_LENGTH,
    TAGS_OF_OURS,
    DagRunIdentity,
    RunKey,
    TaskInstanceIdentity,
)
from airflow_provider_trigger.run.request import MAX_TAGS

START = datetime(2026, 11, 1, 12, 0, 0, 123456, UTC)


def dag_run(**fields: Any) -> DagRunIdentity:
    given: dict[str, Any] = {"dag_id": "images", "run_id": "scheduled__1", "start_date": START}
    return DagRunIdentity(**given | fields)


def instance(task_id: str = "resize", map_index: int = -1, **fields: Any) -> TaskInstanceIdentity:
    return TaskInstanceIdentity(dag_run=dag_run(**fields), task_id=task_id, map_index=map_index)


def key_of(made: TaskInstanceIdentity, **fields: Any) -> RunKey:
    given: dict[str, Any] = {"operator_id": "resize", "max_tries": 2, "retries": 2, "try_number": 1}
    return RunKey(task_instance=made, **given | fields)


def key(**fields: Any) -> str:
    return str(key_of(instance(), **fields))


def test_each_item_of_a_batch_has_a_key_of_its_own() -> None:
    made = key_of(instance())

    def of_item(index: int = 0, task: str = "resize", payload: Any = None, of: RunKey = made) -> str:
        return of.of_item(index, task_identifier=task, payload=payload)

    other = [of_item(1), of_item(task="crop"), of_item(payload={"a": 1}), of_item(payload=[None])]
    assert len({of_item(), *other}) == 5
    assert of_item() == of_item(of=key_of(instance(), try_number=2))
    assert of_item(payload={"a": 1, "b": 2}) == of_item(payload={"b": 2, "a": 1})
    assert re.fullmatch(r"airflow-([0-9a-f]{24}-){3}2-0-7-[0-9a-f]{24}", of_item(7))
    assert made.is_of_same_execution(of_item())
    assert not made.shows_clear_since(of_item())
    assert key_of(instance(), max_tries=3).shows_clear_since(of_item())


def test_an_item_is_known_by_its_key_also_after_a_clear() -> None:
    before, after = key_of(instance()), key_of(instance(), max_tries=3, try_number=3)
    item = before.of_item(7, task_identifier="resize", payload=1)
    assert before.item_of(item) == after.item_of(item) == "-".join(item.split("-")[-2:])
    for other in (None, str(before), str(key_of(instance("crop"))), "mine"):
        assert before.item_of(other) is None


def test_a_task_instance_has_one_key_in_all_of_its_retries() -> None:
    assert key() == key(try_number=2) == key(try_number=3)
    assert re.fullmatch(r"airflow-([0-9a-f]{24}-){3}2-0", key())


def test_the_same_moment_in_another_zone_is_the_same_dag_run() -> None:
    there = START.astimezone(timezone(timedelta(hours=9)))
    assert str(key_of(instance(start_date=there))) == key()


@pytest.mark.parametrize(
    "other",
    [
        instance(dag_id="videos"),
        instance(run_id="scheduled__2"),
        instance("crop"),
        instance(map_index=0),
    ],
)
def test_everything_that_identifies_a_task_instance_is_in_key_and_tag(other: TaskInstanceIdentity) -> None:
    assert str(key_of(other)) != key()
    assert other.tag != instance().tag
    assert not instance().has_started(str(key_of(other)))


@pytest.mark.parametrize("start_date", [START + timedelta(microseconds=1), None])
def test_another_installation_and_a_cleared_dag_run_have_other_keys_but_the_tag_of_the_task(
    start_date,
) -> None:
    other = instance(start_date=start_date)
    assert str(key_of(other)) != key()
    assert not instance().has_started(str(key_of(other)))
    assert other.dag_run.tag != instance().dag_run.tag
    assert other.tag == instance().tag


def test_names_do_not_run_together() -> None:
    assert dag_run(dag_id="a", run_id="bc").hash != dag_run(dag_id="ab", run_id="c").hash
    assert instance(map_index=1).start_of_keys != instance(map_index=11).start_of_keys


def test_a_clear_changes_the_key_but_not_whose_run_it_is() -> None:
    before, cleared = key(), key_of(instance(), max_tries=4, try_number=3)
    after = str(cleared)
    assert before != after == str(key_of(instance(), max_tries=4, try_number=4))
    for text in (before, after):
        assert instance().has_started(text)
        assert cleared.is_of_same_execution(text)
    assert cleared.shows_clear_since(before)
    assert not cleared.shows_clear_since(after)


@pytest.mark.parametrize(
    ("max_tries", "retries", "try_number", "number"),
    [
        (0, 0, 1, 0),
        (2, 2, 3, 0),  # never cleared
        (3, 2, 2, 1),  # after its first try
        (5, 2, 4, 3),
        (5, 2, 6, 3),  # retried since then
        (2, 3, 2, 0),  # more retries than at its start
        (2, 0, 2, 0),  # fewer ones: it has not had two tries
        (2, 1, 2, 1),  # fewer ones, or a clear to fewer ones
    ],
)
def test_a_key_knows_after_which_try_the_task_was_cleared(
    max_tries: int, retries: int, try_number: int, number: int
) -> None:
    made = key_of(instance(), max_tries=max_tries, retries=retries, try_number=try_number)
    assert made.cleared_after == number
    assert str(made).endswith(f"-{max_tries}-{number}")


@pytest.mark.parametrize("retries", [0, 1, 3, 9])
def test_other_retries_are_no_clear(retries: int) -> None:
    assert not key_of(instance(), retries=retries, try_number=2).shows_clear_since(key())


def test_more_retries_keep_the_key() -> None:
    assert key(retries=3, try_number=2) == key(retries=9, try_number=3) == key()


def test_a_clear_to_fewer_retries_changes_the_key() -> None:
    # Airflow sets max_tries to the tries so far, 1, and the retries, 1: the same as before.
    assert key(retries=1, try_number=2) != key()


def test_each_execution_of_each_operator_in_a_task_has_a_key() -> None:
    executions = [
        {"operator_id": name, "execution": number} for name in ("resize", "crop") for number in (1, 2)
    ]
    keys = [key_of(instance(), **execution) for execution in executions]
    assert len({str(made) for made in keys}) == 4
    assert all(instance().has_started(str(made)) for made in keys)
    for made in keys:
        cleared = [str(key_of(instance(), max_tries=4, try_number=3, **one)) for one in executions]
        assert [made.is_of_same_execution(text) for text in cleared].count(True) == 1
        assert [made.shows_clear_since(text) for text in cleared].count(True) == 1
        assert not made.is_of_same_execution(None)


def test_a_dag_test_in_another_process_differs_also_with_the_same_dates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, real = dag_run(is_test=True).hash, dag_run().hash
    assert dag_run(is_test=True).hash == first != real
    monkeypatch.setattr(identity, "_PROCESS", "another")
    assert dag_run(is_test=True).hash != first
    assert dag_run().hash == real


def test_a_dag_test_that_is_repeated_in_one_process_differs_by_its_number() -> None:
    tested = instance(is_test=True)
    first, second = (key_of(tested, test_number=number) for number in (1, 2))
    assert str(first) != str(second)
    assert all(tested.has_started(str(made)) for made in (first, second))
    assert second.shows_clear_since(str(first))  # a run that the first one has left is canceled
    # Clears and repetitions do not run together either.
    assert str(key_of(tested, max_tries=1, retries=0, test_number=2)) != str(
        key_of(tested, max_tries=12, retries=11)
    )


def test_a_dag_run_that_has_not_started_has_a_hash_as_well() -> None:
    assert dag_run(start_date=None, is_test=True).hash != dag_run(is_test=True).hash


# Tags


def test_the_tags_name_dag_and_task_for_the_dashboard() -> None:
    made = instance(map_index=3)
    by_dag, by_dag_run, by_task = made.tags
    assert by_dag == "airflow_dag:images"
    assert by_dag_run == f"airflow_dag_run:{made.dag_run.hash}"
    assert re.fullmatch(r"airflow_task:resize\[3\]:[0-9a-f]{24}", by_task)
    assert re.fullmatch(r"airflow_task:resize:[0-9a-f]{24}", instance().tag)
    assert (by_dag_run, by_task) == (made.dag_run.tag, made.tag)


def test_their_number_leaves_seven_to_the_user() -> None:
    assert len(instance().tags) == TAGS_OF_OURS == 3
    assert MAX_TAGS - TAGS_OF_OURS == 7


@pytest.mark.parametrize("length", [1, 100, 128, 250])
@pytest.mark.parametrize("map_index", [-1, 0, 99999])
def test_tags_are_within_the_limits_of_the_api(length: int, map_index: int) -> None:
    made = instance(
        "t" * length, map_index, dag_id="d" * length, run_id="manual__2026-11-01T12:00:00+00:00,x"
    )
    assert MAX_TAG_LENGTH == 128
    assert all(0 < len(tag) <= 128 and "," not in tag for tag in made.tags)


@pytest.mark.parametrize("letters", ["\U00020000", "a\U00020000"])
def test_a_letter_outside_of_the_basic_plane_counts_twice_as_on_the_server(letters: str) -> None:
    made = instance(letters * 100, dag_id=letters * 100)
    assert [len(tag.encode("utf-16-le")) // 2 <= 128 for tag in made.tags] == [True] * 3


def test_long_names_that_begin_alike_have_different_tags() -> None:
    one, other = (instance("t" * 200 + end, 7) for end in ("a", "b"))
    assert one.tag != other.tag
    assert one.tag.startswith("airflow_task:ttt")
    assert "[7]:" in one.tag


# Whose run it is


@pytest.mark.parametrize("foreign", [None, "", "order-17", "airflow", "airflow-", f"airflow-{'0' * 24}-x-1"])
def test_without_our_key_a_run_is_not_ours(foreign: str | None) -> None:
    # A replay by someone else has our tags, but no key.
    assert not dag_run().has_started(foreign)
    assert not instance().has_started(foreign)
    assert not key_of(instance()).is_of_same_execution(foreign)
    assert not key_of(instance()).shows_clear_since(foreign)


def test_a_dag_run_has_started_the_runs_of_all_its_tasks() -> None:
    for made in (instance(), instance("crop"), instance(map_index=4)):
        assert dag_run().has_started(str(key_of(made)))
        assert not dag_run(run_id="scheduled__2").has_started(str(key_of(made)))

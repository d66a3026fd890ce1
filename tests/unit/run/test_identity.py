"""Keys and tags: what stays the same, what differs, and what proves that a run is ours."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_trigger.run import identity
from airflow_provider_trigger.run.identity import (
    DagRunIdentity,
    KeyParts,
    RunKey,
    TaskInstanceIdentity,
    parse,
)

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
    cleared = key_of(instance(), max_tries=3, try_number=3)
    assert made.is_of_same_execution(of_item())
    assert cleared.is_of_same_execution(of_item())


@pytest.mark.parametrize("max_tries", [13, -1])  # Airflow takes retries=-1
@pytest.mark.parametrize(("fields", "test_number"), [({}, ""), ({"test_number": 7}, "7")])
def test_a_key_is_read_as_it_was_written(fields: dict[str, int], test_number: str, max_tries: int) -> None:
    made = key_of(instance(), max_tries=max_tries, try_number=12, **fields)
    hashes = (made.task_instance.dag_run.hash, made.task_instance.hash, made.execution_hash)
    expected = (*hashes, str(max_tries), test_number, "7-0a")
    assert parse(f"{made}-7-0a") == KeyParts(*expected)


@pytest.mark.parametrize(
    ("other", "has_tag"),
    [
        (instance(dag_id="videos"), False),
        (instance(run_id="scheduled__2"), False),
        (instance("crop"), False),
        (instance(map_index=0), False),
        # Another installation, and a cleared Dag run
        (instance(start_date=START + timedelta(microseconds=1)), True),
        (instance(start_date=None), True),
    ],
)
def test_a_task_instance_has_a_key_and_a_tag_of_its_own(other: TaskInstanceIdentity, has_tag: bool) -> None:
    own, others = instance(), str(key_of(other))
    assert others != key()
    assert not own.has_started(others)
    assert (other.tag == own.tag) == has_tag
    is_same_dag_run = other.dag_run == own.dag_run
    assert (other.dag_run.tag == own.dag_run.tag) == own.dag_run.has_started(others) == is_same_dag_run


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
        (2, 1, 2, 1),  # fewer ones, or a clear to fewer ones, after which max_tries can be the same
    ],
)
def test_a_key_knows_the_try_of_a_clear(max_tries: int, retries: int, try_number: int, number: int) -> None:
    made = key_of(instance(), max_tries=max_tries, retries=retries, try_number=try_number)
    assert made.cleared_after == number
    assert str(made).endswith(f"-{max_tries}-{number}")


def test_a_dag_test_in_another_process_differs_with_equal_dates() -> None:
    test, real = dag_run(is_test=True), dag_run()
    assert dag_run(is_test=True).hash == test.hash != real.hash
    assert dag_run(start_date=None, is_test=True).hash != test.hash
    program = f"from {identity.__name__} import *; import datetime; print({test!r}.hash, {real!r}.hash)"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    there = printed.stdout.split()
    assert there[0] not in (test.hash, real.hash)
    assert there[1] == real.hash


@pytest.mark.parametrize("foreign", [None, "", "order-17", "airflow", "airflow-", f"airflow-{'0' * 24}-x-1"])
def test_without_our_key_a_run_is_not_ours(foreign: str | None) -> None:
    # A replay by someone else has our tags, but no key.
    assert not dag_run().has_started(foreign)
    assert not instance().has_started(foreign)
    assert not key_of(instance()).is_of_same_execution(foreign)
    assert parse(foreign) is None


# What of a run from before a clear may be used again

CREATED, CLEARED = START + timedelta(hours=1), START + timedelta(hours=2)
EARLIER = key_of(instance())
AFTER_A_CLEAR = key_of(instance(), max_tries=3, try_number=2)
AFTER_A_CLEAR_OF_THE_DAG_RUN = key_of(instance(start_date=CLEARED, is_cleared=True))


@pytest.mark.parametrize(
    ("now", "fields", "is_found"),
    [
        (EARLIER, {}, True),
        (AFTER_A_CLEAR, {}, True),
        (AFTER_A_CLEAR_OF_THE_DAG_RUN, {}, True),
        (key_of(instance(start_date=CLEARED), max_tries=3, try_number=2), {}, True),
        # It may be another Airflow's.
        (AFTER_A_CLEAR_OF_THE_DAG_RUN, {"created_at": CLEARED}, False),
        (AFTER_A_CLEAR_OF_THE_DAG_RUN, {"created_at": None}, False),
        (key_of(instance(start_date=CLEARED)), {}, False),
        *(
            (AFTER_A_CLEAR, {"key": key_of(instance(), **other)}, False)
            for other in ({"operator_id": "u"}, {"execution": 2}, {"content": "other"}, {"test_number": 1})
        ),
        *(
            (AFTER_A_CLEAR, {"key": key_of(other)}, False)
            for other in (instance("crop"), instance(map_index=1), instance(run_id="scheduled__2"))
        ),
    ],
)
def test_whose_output_an_item_may_reuse(now: RunKey, fields: dict[str, Any], is_found: bool) -> None:
    given: dict[str, Any] = {"key": EARLIER, "created_at": CREATED} | fields
    of_item = given["key"].of_item(0, task_identifier="resize", payload=1)
    expected = f"0-{identity.content_of('resize', 1)}" if is_found else None
    assert now.item_of(of_item, given["created_at"]) == expected


# Tags


@pytest.mark.parametrize("letters", ["t", "t" * 128, "\U00020000" * 100, "a\U00020000" * 100])
@pytest.mark.parametrize("map_index", [-1, 0, 99999])
def test_tags_are_within_the_limits_of_the_api(letters: str, map_index: int) -> None:
    made = instance(letters, map_index, dag_id=letters, run_id="manual__2026-11-01T12:00:00+00:00,x")
    # A letter outside of the basic plane counts twice on the server.
    assert all(0 < len(tag.encode("utf-16-le")) // 2 <= 128 and "," not in tag for tag in made.tags)

"""The arguments of the operator that select runs, from its Dag to its task."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.selection import Selection


def select(context: dict[str, Any] | None = None, **arguments: Any) -> tuple[Selection, list[str]]:
    """Return what rendered arguments select, and what is invalid."""
    operator = CancelTriggerRunOperator(task_id="cancel", **arguments)
    given: Any = {"dag": None} | (context or {})
    operator.render_template_fields(given)
    ids = RunIds()
    return operator._selection(ids), [str(one) for one in ids.invalid]


def test_without_tags_and_batches_nothing_is_selected() -> None:
    selection, invalid = select(run_ids=["run_1"])
    assert not selection
    assert invalid == []


def test_tags_and_batches_are_templated() -> None:
    selection, invalid = select(
        {"day": "monday", "batch": "batch_2"}, tags=["a", "{{ day }}"], batch_ids="{{ batch }}", max_runs=7
    )
    assert selection == Selection(tags=("a", "monday"), batch_ids=("batch_2",), max_runs=7)
    assert str(selection) == "tags=['a', 'monday'] and batch_ids=['batch_2']"
    assert invalid == []


def test_a_template_of_a_list_gives_all_of_it() -> None:
    selection, invalid = select({"batches": ["batch_1", "batch_2"]}, batch_ids="{{ batches }}")
    assert (selection.batch_ids, selection.tags, selection.max_runs) == (("batch_1", "batch_2"), (), 1000)
    assert str(selection) == "batch_ids=['batch_1', 'batch_2']"
    assert invalid == []


@pytest.mark.parametrize("name", ["tags", "batch_ids"])
@pytest.mark.parametrize("found", [None, "", [], "a,b"])
def test_a_template_that_finds_nothing_selects_no_runs_and_is_named(name: str, found: Any) -> None:
    selection, [problem] = select({"found": found}, **{name: "{{ found }}"})
    assert not selection
    assert f" from {name} is not a valid " in problem


def test_one_that_finds_nothing_leaves_the_other() -> None:
    selection, [problem] = select({"found": None}, tags=["{{ found }}", "a"], batch_ids="batch_1")
    assert selection == Selection(batch_ids=("batch_1",), max_runs=1000)
    assert problem == "'None' from tags is not a valid tag: a template that finds nothing renders to this"


def test_with_tags_no_run_ids_are_needed() -> None:
    operator = CancelTriggerRunOperator(task_id="cancel", tags="a")
    assert operator._gather_run_ids({}, on_empty="fail") == RunIds()


def test_an_empty_list_of_tasks_beside_tags_is_an_empty_source() -> None:
    operator = CancelTriggerRunOperator(task_id="cancel", tags="a", xcom_task_ids=[])
    context: Any = {"ti": object(), "dag": None}
    assert operator._gather_run_ids(context, on_empty="fail").empty == ["xcom_task_ids is an empty list"]

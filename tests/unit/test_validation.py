from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.validation import check_sources, is_templated

try:
    from airflow.sdk import DAG, dag, task
except ImportError:  # 2.11
    from airflow.decorators import dag, task
    from airflow.models.dag import DAG


@task
def start() -> list[str]:
    return []


def output_of(make: Callable[[Any], Any]) -> Any:
    """Return what a call makes of the decorated function, inside a Dag."""
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        return make(start)


NO_SOURCE = "give run_ids, or xcom_task_ids, or both"
DATE = datetime(2026, 1, 1, tzinfo=UTC)
OUTPUT = output_of(lambda start: start())
RENAMED = start.override(task_id="other")
OPERATOR = BaseOperator(task_id="start")


def checked(run_ids: Any = None, xcom_task_ids: Any = None, **options: Any) -> tuple[Any, Any]:
    return check_sources(run_ids=run_ids, xcom_task_ids=xcom_task_ids, **options)


def problem(*given: Any, **options: Any) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # each test compares the text
        checked(*given, **options)
    return str(raised.value)


# What is accepted


@pytest.mark.parametrize(
    "run_ids", ["run_1", "", "{{ params.ids }}", [], ["run_1"], ("run_1",), {"id": "run_1"}, [["run_1"]], 7]
)
def test_run_ids_are_kept_as_given(run_ids) -> None:
    kept, task_ids = checked(run_ids)
    assert kept is run_ids
    assert task_ids is None


@pytest.mark.parametrize(
    "task_ids", ["start", "{{ params.task }}", ["start", "{{ params.task }}"], ("start",)]
)
def test_task_ids_are_kept_as_given(task_ids) -> None:
    run_ids, kept = checked(None, task_ids)
    assert kept is task_ids
    assert run_ids is None


def test_run_ids_with_an_empty_list_of_tasks_are_accepted() -> None:
    assert checked("run_1", []) == ("run_1", [])


@pytest.mark.parametrize(
    "run_ids", [OUTPUT, [OUTPUT, "run_1"], {"id": OUTPUT}, output_of(lambda s: s().map(str))]
)
def test_an_operator_takes_the_output_of_a_task(run_ids) -> None:
    assert checked(run_ids)[0] is run_ids


@pytest.mark.parametrize("task_ids", [None, [], ()])
def test_a_notifier_needs_no_source(task_ids) -> None:
    assert checked(None, task_ids, required=False) == (None, task_ids)
    assert problem(None, task_ids) == NO_SOURCE


def test_what_a_notifier_is_given_is_checked_all_the_same() -> None:
    assert "use xcom_task_ids='start'" in problem(OUTPUT, takes_outputs=False, required=False)
    assert "xcom_task_ids must be a task's id" in problem(None, 7, required=False)


# What is read once


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: (text for text in ("b", "a")), ["b", "a"]),
        (lambda: map(str, ["b", "a"]), ["b", "a"]),
        (lambda: iter(["b", "a"]), ["b", "a"]),
        ({"b": 1, "a": 2}.keys, ["b", "a"]),
        ({1: "b", 2: "a"}.values, ["b", "a"]),
        (lambda: {"c", "b", "a"}, ["a", "b", "c"]),
        (lambda: frozenset(("c", "b", "a")), ["a", "b", "c"]),
    ],
)
def test_an_iterator_becomes_a_list(make: Callable[[], Any], expected: list[str]) -> None:
    run_ids, task_ids = checked(make(), make())
    assert (run_ids, task_ids) == (expected, expected)
    assert copy.deepcopy((run_ids, task_ids)) == (expected, expected)


def test_the_items_of_a_dict_become_a_list() -> None:
    assert checked({"id": "run_1"}.items())[0] == [("id", "run_1")]


def test_an_iterator_without_items_names_no_task() -> None:
    assert problem(None, iter(())) == NO_SOURCE


def test_a_set_of_values_that_have_no_order_becomes_a_list() -> None:
    assert checked({None, "run_1"})[0] == [None, "run_1"]


# What is rejected


@pytest.mark.parametrize("task_ids", [None, "", [], (), set(), {}])
def test_without_any_source_there_is_an_error(task_ids) -> None:
    assert problem(None, task_ids) == NO_SOURCE


@pytest.mark.parametrize(
    ("task_ids", "name", "shown"),
    [
        (5, "xcom_task_ids", "5"),
        (0, "xcom_task_ids", "0"),
        ("", "xcom_task_ids", "''"),
        (" ", "xcom_task_ids", "' '"),
        (b"start", "xcom_task_ids", "b'start'"),
        ({"a": 1}, "xcom_task_ids", "{'a': 1}"),
        ([None], "xcom_task_ids[0]", "None"),
        (["start", ""], "xcom_task_ids[1]", "''"),
        ((["a"],), "xcom_task_ids[0]", "['a']"),
        (iter([None]), "xcom_task_ids[0]", "None"),
        (len, "xcom_task_ids", "<built-in function len>"),
    ],
)
@pytest.mark.parametrize("takes_outputs", [True, False])
def test_what_cannot_be_a_task_id_is_an_error(task_ids, name: str, shown: str, takes_outputs: bool) -> None:
    text = f"{name} must be a task's id, a string that is not empty, not {shown}"
    assert problem("run_1", copy.copy(task_ids), takes_outputs=takes_outputs) == text


ZIPPED = output_of(lambda start: start().zip(start.override(task_id="other")()))


@pytest.mark.parametrize(
    ("task_ids", "name", "what", "task_id"),
    [
        (OUTPUT, "xcom_task_ids", "the output of task 'start'", "start"),
        (ZIPPED, "xcom_task_ids", "the output of task 'start'", "start"),
        (OPERATOR, "xcom_task_ids", "the task 'start' itself", "start"),
        (start, "xcom_task_ids", "the task 'start' itself", "start"),
        (RENAMED, "xcom_task_ids", "the task 'other' itself", "other"),
        (["work", OPERATOR], "xcom_task_ids[1]", "the task 'start' itself", "start"),
        ([OUTPUT], "xcom_task_ids[0]", "the output of task 'start'", "start"),
    ],
)
def test_a_task_in_place_of_its_id_is_an_error_with_advice(
    task_ids, name: str, what: str, task_id: str
) -> None:
    text = f"{name} must be a task's id, not {what}: give the task's id, {task_id!r}"
    assert problem(None, task_ids) == f"{text}; a task's output goes into run_ids"
    assert problem(None, task_ids, takes_outputs=False) == text


@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: ["run_1", (value,)], lambda value: {"a": value}]
)
@pytest.mark.parametrize("value", [OPERATOR, start])
def test_a_task_in_place_of_its_output_is_an_error(wrap: Callable[[Any], Any], value) -> None:
    what = "run_ids takes the output of task 'start', not the task: call it, or give .output"
    assert problem(wrap(value)) == what


@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: ["run_1", (value,)], lambda value: {"a": value}]
)
@pytest.mark.parametrize("value", [OUTPUT, OPERATOR, start])
def test_a_callback_takes_no_output(wrap: Callable[[Any], Any], value) -> None:
    what = "a callback cannot resolve a task's output in run_ids; use xcom_task_ids='start'"
    assert problem(wrap(value), takes_outputs=False) == what


# Values that are known only when the task runs


def argument_of_a_dag() -> Any:
    """Return what a function decorated with ``@dag`` gets for its argument."""
    found = []

    @dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
    def with_argument(url: str = "https://example.com") -> None:
        found.append(url)

    with_argument()
    return found[0]


@pytest.mark.parametrize(
    "value", ["{{ ds }}", "a {{ ds }} b", "{% if x %}1{% endif %}", OUTPUT, argument_of_a_dag()]
)
def test_a_template_is_known_only_when_the_task_runs(value: object) -> None:
    assert is_templated(value)


@pytest.mark.parametrize(
    "value",
    ["", "run_1", "{ds}", "}}", 7, None, True, ["{{ ds }}"], {"a": OUTPUT}, DATE, timedelta(1), Path("x")],
)
def test_any_other_value_is_known_when_the_dag_is_parsed(value: object) -> None:
    # Of lists and dicts each part is asked about.
    assert not is_templated(value)

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
    ("run_ids", "task_ids"),
    [
        *(
            (given, None)
            for given in ("run_1", "", "{{ params.ids }}", [], ["run_1"], ("run_1",), [["r"]], 7)
        ),
        ({"id": "run_1"}, None),
        # The output of a task.
        *((given, None) for given in (OUTPUT, [OUTPUT, "run_1"], {"id": OUTPUT})),
        (output_of(lambda start: start().map(str)), None),
        *((None, given) for given in ("start", "{{ params.task }}", ["start", "{{ x }}"], ("start",))),
        ("run_1", []),
    ],
)
def test_sources_are_kept_as_given(run_ids: Any, task_ids: Any) -> None:
    kept = checked(run_ids, task_ids)
    assert kept[0] is run_ids
    assert kept[1] is task_ids


@pytest.mark.parametrize("task_ids", [None, "", [], (), set(), {}, iter(())])
def test_without_any_source_there_is_an_error(task_ids) -> None:
    assert problem(None, task_ids) == NO_SOURCE


def test_a_notifier_needs_no_source_but_what_it_is_given_is_checked() -> None:
    for task_ids in (None, ["work"]):
        assert checked(None, task_ids, required=False) == (None, task_ids)
    assert "use xcom_task_ids='start'" in problem(OUTPUT, takes_outputs=False, required=False)
    assert "xcom_task_ids must be a task's id" in problem(None, 7, required=False)


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
def test_what_can_be_read_once_becomes_a_list(make: Callable[[], Any], expected: list[str]) -> None:
    run_ids, task_ids = checked(make(), make())
    assert (run_ids, task_ids) == (expected, expected)
    assert copy.deepcopy((run_ids, task_ids)) == (expected, expected)


def test_items_and_a_set_of_values_that_have_no_order_become_a_list() -> None:
    assert checked({"id": "run_1"}.items())[0] == [("id", "run_1")]
    assert checked({None, "run_1"})[0] == [None, "run_1"]


# What is rejected


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


WRAPS: list[Callable[[Any], Any]] = [lambda it: it, lambda it: ["run_1", (it,)], lambda it: {"a": it}]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("value", [OUTPUT, OPERATOR, start])
def test_a_task_in_place_of_its_output_is_an_error_and_a_callback_takes_neither(
    wrap: Callable[[Any], Any], value
) -> None:
    if value is not OUTPUT:
        what = "run_ids takes the output of task 'start', not the task: call it, or give .output"
        assert problem(wrap(value)) == what
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


# Of lists and dicts each part is checked by itself.
KNOWN: list[Any] = ["", "run_1", "{ds}", "}}", 7, None, True, ["{{ ds }}"], {"a": OUTPUT}]
KNOWN += [datetime(2026, 1, 1, tzinfo=UTC), timedelta(1), Path("x")]


def test_a_template_is_known_only_when_the_task_runs_and_any_other_value_before() -> None:
    for value in ("{{ ds }}", "a {{ ds }} b", "{% if x %}1{% endif %}", OUTPUT, argument_of_a_dag()):
        assert is_templated(value)
    for value in KNOWN:
        assert not is_templated(value)

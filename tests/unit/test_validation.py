from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowFailException, BaseOperator
from airflow_provider_trigger.api.models.statuses import FINAL_STATUSES
from airflow_provider_trigger.validation import (
    check_boolean,
    check_choice,
    check_connection_id,
    check_duration,
    check_final_statuses,
    check_number,
    check_positional_arguments,
    check_sources,
    failing_for_good,
    is_templated,
)

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


DATE = datetime(2026, 1, 1, tzinfo=UTC)
OUTPUT = output_of(lambda start: start())
RENAMED = start.override(task_id="other")
OPERATOR = BaseOperator(task_id="start")


def checked(run_ids: Any = None, xcom_task_ids: Any = None, **options: Any) -> tuple[Any, Any]:
    return check_sources("It", run_ids=run_ids, xcom_task_ids=xcom_task_ids, **options)


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
    with pytest.raises(ValueError, match=r"^It: give run_ids, or xcom_task_ids, or both$"):
        checked(None, task_ids)


def test_what_a_notifier_is_given_is_checked_all_the_same() -> None:
    with pytest.raises(ValueError, match="use xcom_task_ids='start'"):
        checked(OUTPUT, takes_outputs=False, required=False)
    with pytest.raises(ValueError, match="xcom_task_ids must be a task's id"):
        checked(None, 7, required=False)


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
    with pytest.raises(ValueError, match=r"^It: give run_ids, or xcom_task_ids, or both$"):
        checked(None, iter(()))


def test_a_set_of_values_that_have_no_order_becomes_a_list() -> None:
    assert checked({None, "run_1"})[0] == [None, "run_1"]


# What is rejected


@pytest.mark.parametrize("task_ids", [None, "", [], (), set(), {}])
def test_without_any_source_there_is_an_error(task_ids) -> None:
    with pytest.raises(ValueError, match=r"^It: give run_ids, or xcom_task_ids, or both$"):
        checked(None, task_ids)


@pytest.mark.parametrize(
    ("task_ids", "text"),
    [
        (5, "xcom_task_ids must be a task's id, a string that is not empty, not 5"),
        (0, "xcom_task_ids must be a task's id, a string that is not empty, not 0"),
        ("", "xcom_task_ids must be a task's id, a string that is not empty, not ''"),
        (" ", "xcom_task_ids must be a task's id, a string that is not empty, not ' '"),
        (b"start", "xcom_task_ids must be a task's id, a string that is not empty, not b'start'"),
        ({"a": 1}, "xcom_task_ids must be a task's id, a string that is not empty, not {'a': 1}"),
        ([None], "xcom_task_ids[0] must be a task's id, a string that is not empty, not None"),
        (["start", ""], "xcom_task_ids[1] must be a task's id, a string that is not empty, not ''"),
        ((["a"],), "xcom_task_ids[0] must be a task's id, a string that is not empty, not ['a']"),
        (iter([None]), "xcom_task_ids[0] must be a task's id, a string that is not empty, not None"),
        (len, "xcom_task_ids must be a task's id, a string that is not empty, not <built-in function len>"),
    ],
)
@pytest.mark.parametrize("takes_outputs", [True, False])
def test_what_cannot_be_a_task_id_is_an_error(task_ids, text: str, takes_outputs: bool) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        checked("run_1", copy.copy(task_ids), takes_outputs=takes_outputs)
    assert str(raised.value) == f"It: {text}"


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
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        checked(None, task_ids)
    assert str(raised.value) == f"It: {text}; a task's output goes into run_ids"
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        checked(None, task_ids, takes_outputs=False)
    assert str(raised.value) == f"It: {text}"


@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: ["run_1", (value,)], lambda value: {"a": value}]
)
@pytest.mark.parametrize("value", [OPERATOR, start])
def test_a_task_in_place_of_its_output_is_an_error(wrap: Callable[[Any], Any], value) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        checked(wrap(value))
    assert (
        str(raised.value)
        == "It: run_ids takes the output of task 'start', not the task: call it, or give .output"
    )


@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: ["run_1", (value,)], lambda value: {"a": value}]
)
@pytest.mark.parametrize("value", [OUTPUT, OPERATOR, start])
def test_a_callback_takes_no_output(wrap: Callable[[Any], Any], value) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        checked(wrap(value), takes_outputs=False)
    assert str(raised.value) == (
        "It: a callback cannot resolve a task's output in run_ids; use xcom_task_ids='start'"
    )


# The notifier's class in place of an instance


def test_a_class_that_is_called_as_a_callback_is_an_error_that_says_so() -> None:
    with pytest.raises(TypeError, match="nothing was canceled") as raised:
        check_positional_arguments("Notifier", [{"dag": None}])
    assert str(raised.value) == (
        "Notifier: nothing was canceled: the callback must be an instance of this class, not the class "
        "itself; write on_failure_callback=Notifier() to cancel what the task or the Dag run has started, "
        "or, for example, Notifier(run_ids=...)"
    )


def test_another_positional_argument_is_an_error() -> None:
    with pytest.raises(TypeError) as raised:
        check_positional_arguments("Notifier", (["run_1"],))
    assert str(raised.value) == "Notifier takes keyword arguments only, for example Notifier(run_ids=...)"


def test_no_positional_argument_is_right() -> None:
    check_positional_arguments("Notifier", ())


# Booleans, numbers and ids


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_accepted(value: object) -> None:
    check_boolean("It", "wait", value)


@pytest.mark.parametrize("value", ["yes", "True", "{{ params.wait }}", "", 1, 0, None, [True]])
def test_another_value_than_a_boolean_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        check_boolean("It", "wait", value)
    assert str(raised.value) == f"It: wait must be True or False, not {value!r}"


@pytest.mark.parametrize(("value", "least"), [(0.01, 0.01), (5, 0.01), (0, 0), (1e9, 0), (10**400, 1)])
def test_a_number_in_range_is_accepted(value: float, least: float) -> None:
    check_number("It", "timeout", value, least=least, unit="seconds")


@pytest.mark.parametrize(
    "value", [0.009, -1, float("nan"), float("inf"), float("-inf"), "90", None, True, [1]]
)
def test_another_number_is_an_error(value) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        check_number("It", "timeout", value, least=0.01, unit="seconds")
    assert str(raised.value) == f"It: timeout must be a number of seconds, 0.01 or more, not {value!r}"


def test_a_whole_number_in_range_is_accepted() -> None:
    check_number("It", "max_concurrency", 1, least=1, unit="requests", whole=True)


@pytest.mark.parametrize("value", [0, 1.5, 2.0, True, "1", None])
def test_another_whole_number_is_an_error(value) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        check_number("It", "max_concurrency", value, least=1, unit="requests", whole=True)
    assert (
        str(raised.value)
        == f"It: max_concurrency must be a whole number of requests, 1 or more, not {value!r}"
    )


@pytest.mark.parametrize("value", [None, "", " ", 5])
def test_a_connection_id_must_be_a_text(value: object) -> None:
    with pytest.raises(ValueError, match="trigger_dev_conn_id") as raised:
        check_connection_id("X", value)
    assert str(raised.value) == f"X: trigger_dev_conn_id must be the id of a connection, not {value!r}"


@pytest.mark.parametrize("value", ["mine", "{{ params.connection }}"])
def test_a_connection_id_may_be_a_template(value: str) -> None:
    check_connection_id("X", value)


# Words and statuses


@pytest.mark.parametrize("value", ["fail", "ignore"])
def test_one_of_a_few_words_is_accepted(value: object) -> None:
    check_choice("It", "on_empty", value, ("fail", "ignore"))


@pytest.mark.parametrize("value", ["FAIL", "", None, True, ["fail"], {}])
def test_another_word_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        check_choice("It", "on_empty", value, ("fail", "ignore"))
    assert str(raised.value) == f"It: on_empty must be 'fail' or 'ignore', not {value!r}"


@pytest.mark.parametrize("value", [[], (), ["COMPLETED"], ("FAILED", "CANCELED"), sorted(FINAL_STATUSES)])
def test_final_statuses_are_accepted(value: object) -> None:
    check_final_statuses("It", "retry_statuses", value, known=FINAL_STATUSES)


@pytest.mark.parametrize(
    "value",
    [
        "COMPLETED",
        ["completed"],
        ["EXECUTING"],
        ["COMPLETED", "DONE"],
        None,
        [None],
        [["FAILED"]],
        7,
        {"FAILED"},
    ],
)
def test_anything_else_than_a_list_of_final_statuses_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"^It: ") as raised:
        check_final_statuses("It", "retry_statuses", value, known={"FAILED", "COMPLETED"})
    assert str(raised.value) == (
        f"It: retry_statuses must be a list of final statuses (COMPLETED, FAILED), not {value!r}"
    )


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


# Durations


@pytest.mark.parametrize(
    ("value", "seconds"), [(5, 5.0), ("5m", 300.0), (timedelta(seconds=0.5), 0.5), ("90", 90.0)]
)
def test_a_duration_is_returned_in_seconds(value, seconds: float) -> None:
    found = check_duration("It", "timeout", value, least=0.5)
    assert (found, type(found)) == (seconds, float)


@pytest.mark.parametrize("value", [0.49, "0s", "soon", timedelta(), None, True, [5], float("nan"), "{{ x }}"])
def test_what_is_none_or_too_short_is_an_error_that_says_what_to_write(value) -> None:
    with pytest.raises(ValueError, match="It: timeout must be") as raised:
        check_duration("It", "timeout", value, least=0.5)
    what = "a duration of 0.5 s or more: seconds, a timedelta, or a text such as '5m'"
    assert str(raised.value) == f"It: timeout must be {what}, not {value!r}"


# Mapped tasks


class Checked(BaseOperator):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        with failing_for_good(self):
            raise ValueError("no")


def test_what_is_invalid_is_an_error_of_the_dag_and_fails_an_instance_of_a_mapped_task_for_good() -> None:
    with pytest.raises(ValueError, match="no"):
        Checked(task_id="work")
    with pytest.raises(AirflowFailException, match="no"):
        Checked(task_id="work", _airflow_from_mapped=True)

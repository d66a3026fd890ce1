"""What an operator, a sensor and a notifier share: how their sources are kept, rendered and read."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jinja2
import pytest

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

TASKS: list[Any] = [CancelTriggerRunOperator, TriggerRunSensor]
KINDS: list[Any] = [*TASKS, CancelTriggerRunNotifier]


def made(kind: Any, **arguments: Any) -> Any:
    return kind(**arguments, **({"task_id": "work"} if issubclass(kind, BaseOperator) else {}))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep which texts Jinja compiles."""
    texts: list[str] = []
    from_string = jinja2.Environment.from_string

    def keep(self: Any, source: Any, *args: Any, **options: Any) -> Any:
        texts.append(source)
        return from_string(self, source, *args, **options)

    monkeypatch.setattr(jinja2.Environment, "from_string", keep)
    return texts


# What all of them take


@pytest.mark.parametrize("kind", KINDS)
def test_all_sources_are_templated(kind) -> None:
    template = "{{ x }}"
    given = made(
        kind,
        run_ids=["run_2", {"id": template}],
        xcom_task_ids=[template],
        xcom_key=template,
        trigger_dev_conn_id=template,
    )
    given.render_template_fields({"x": "a", "dag": None})
    assert given.run_ids == ["run_2", {"id": "a"}]
    assert (given.xcom_task_ids, given.xcom_key, given.trigger_dev_conn_id) == (["a"], "a", "a")


@pytest.mark.parametrize("kind", KINDS)
def test_very_many_run_ids_are_not_compiled_one_by_one(kind, compiled: list[str]) -> None:
    run_ids = [*(f"run_{number}" for number in range(20_000)), "2026", "2.10", "order-17:a", ""]
    tasks = {"xcom_task_ids": "start", "xcom_key": "{# a comment #}"}
    given = made(kind, run_ids=[*run_ids, ["{{ x }}", "{% set y = 1 %}"]], **tasks)
    given.render_template_fields({"x": "run_x", "dag": None})
    assert given.run_ids == [*run_ids, ["run_x", ""]]
    assert compiled == ["{{ x }}", "{% set y = 1 %}", "{# a comment #}"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: iter(["b", "a"]), ["b", "a"]),
        ({"b": 1, "a": 2}.keys, ["b", "a"]),
        (lambda: {"c", "b", "a"}, ["a", "b", "c"]),
    ],
)
def test_what_can_be_read_once_becomes_a_list(kind, make: Callable[[], Any], expected: list[str]) -> None:
    given = made(kind, run_ids=make(), xcom_task_ids=make())
    for one in (given, copy.deepcopy(given)):
        assert (one.run_ids, one.xcom_task_ids) == (expected, expected)


# Arguments that are checked


def task(**arguments: Any) -> CancelTriggerRunOperator:
    return CancelTriggerRunOperator(task_id="work", **arguments)


@pytest.mark.parametrize("task_ids", [None, [], "", iter(())])
def test_a_task_without_any_source_is_an_error_that_names_what_could_be_given(task_ids) -> None:
    sources = "one or more of run_ids, xcom_task_ids, tags, batch_ids"
    for kind in TASKS:
        with pytest.raises(ValueError, match=f"^{kind.__name__} 'work': give {sources}$"):
            kind(task_id="work", xcom_task_ids=task_ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("run_ids", [None, "run_1"])
def test_a_key_without_its_tasks_is_an_error(kind, run_ids: str | None) -> None:
    with pytest.raises(ValueError, match=r"^[^:]*: xcom_key needs xcom_task_ids: "):
        made(kind, run_ids=run_ids, xcom_key="my_ids")

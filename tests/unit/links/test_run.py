"""The button that leads to a run: where Airflow 2 and Airflow 3 get its address."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_airflow import TaskInstance
from run_operator import operator

from airflow_provider_trigger import _compat
from airflow_provider_trigger._compat import BaseOperatorLink
from airflow_provider_trigger.links.run import TriggerRunLink, push_link

URL = "https://cloud.trigger.dev/runs/run_1"
KEY: Any = SimpleNamespace(dag_id="d", task_id="work", run_id="manual_1", map_index=2, try_number=1)


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[Any, ...], Any]:
    """The XComs of all task instances."""
    values: dict[tuple[Any, ...], Any] = {}

    def get_one(*, key: str, dag_id: str, task_id: str, run_id: str, map_index: int) -> Any:
        return values.get((key, dag_id, task_id, run_id, map_index))

    monkeypatch.setattr(_compat.__getattr__("XCom"), "get_one", get_one)
    return values


def link(made: Any) -> str:
    return TriggerRunLink().get_link(made, ti_key=KEY)


def test_it_is_one_of_airflows_links() -> None:
    assert issubclass(TriggerRunLink, BaseOperatorLink)
    assert TriggerRunLink().name == "Trigger.dev run"


def test_in_the_process_that_has_run_the_task_the_operator_has_its_address(pushed) -> None:
    made = operator()
    made.run_url = URL
    assert link(made) == URL


@pytest.mark.parametrize("made", [operator(), SimpleNamespace()], ids=["an operator", "a serialized one"])
def test_elsewhere_it_is_in_the_xcom_of_the_task_instance(made, pushed) -> None:
    pushed["run_url", "d", "work", "manual_1", 2] = URL
    pushed["run_url", "d", "work", "manual_1", -1] = "another instance's"
    assert link(made) == URL


@pytest.mark.parametrize("value", [None, 5, ["a list"]])
def test_without_a_run_there_is_no_address(value, pushed) -> None:
    pushed["run_url", "d", "work", "manual_1", 2] = value
    assert link(operator()) == ""


@pytest.mark.parametrize(("next_method", "url"), [(None, ""), ("execute_complete", URL)])
def test_in_the_process_that_has_run_the_task_xcom_is_read_only_after_a_deferral(
    pushed, monkeypatch: pytest.MonkeyPatch, next_method: str | None, url: str
) -> None:
    # Airflow 3 logs an error for each XCom that is requested and missing.
    pushed["run_url", "d", "work", "manual_1", 2] = URL
    begun = SimpleNamespace(next_method=next_method)
    key: Any = SimpleNamespace(**vars(KEY), _ti_context_from_server=begun)
    assert TriggerRunLink().get_link(operator(), ti_key=key) == url


def test_an_address_is_pushed_for_both_airflows() -> None:
    made, ti = operator(), TaskInstance()
    context: Any = {"ti": ti}
    push_link(made, URL, context)
    assert made.run_url == URL
    # Airflow 3 looks for the name of the link's class.
    assert ti.xcoms == {("work", "run_url"): URL, ("work", "_link_TriggerRunLink"): URL}
    assert getattr(TriggerRunLink(), "xcom_key", "_link_TriggerRunLink") == "_link_TriggerRunLink"


def test_executed_by_hand_nothing_is_pushed() -> None:
    made = operator()
    context: Any = {}
    push_link(made, URL, context)
    assert made.run_url == URL

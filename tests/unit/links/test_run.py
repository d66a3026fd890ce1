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
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

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


@pytest.mark.parametrize("kind", [RunTriggerTaskOperator, ReplayTriggerRunOperator, CancelTriggerRunOperator])
def test_it_is_one_of_airflows_links_and_of_each_operator_that_has_a_run(kind: Any) -> None:
    [button] = kind.operator_extra_links
    assert isinstance(button, TriggerRunLink)
    assert isinstance(button, BaseOperatorLink)
    assert button.name == "Trigger.dev run"


@pytest.mark.parametrize("made", [operator(), SimpleNamespace()], ids=["an operator", "a serialized one"])
@pytest.mark.parametrize(("value", "url"), [(URL, URL), (None, ""), (5, ""), (["a list"], "")])
def test_the_address_is_in_the_xcom_of_the_task_instance(made, value: Any, url: str, pushed) -> None:
    pushed["run_url", "d", "work", "manual_1", 2] = value
    pushed["run_url", "d", "work", "manual_1", -1] = "another instance's"
    assert link(made) == url


@pytest.mark.parametrize(("next_method", "url"), [(None, ""), ("execute_complete", URL)])
def test_in_the_process_that_has_run_the_task_xcom_is_read_only_after_a_deferral(
    pushed, monkeypatch: pytest.MonkeyPatch, next_method: str | None, url: str
) -> None:
    # Airflow 3 logs an error for each XCom that is requested and missing.
    pushed["run_url", "d", "work", "manual_1", 2] = URL
    begun = SimpleNamespace(next_method=next_method)
    key: Any = SimpleNamespace(**vars(KEY), _ti_context_from_server=begun)
    assert TriggerRunLink().get_link(operator(), ti_key=key) == url


def test_an_address_is_kept_by_the_operator_and_pushed_for_both_airflows() -> None:
    made, ti = operator(), TaskInstance()
    context: Any = {"ti": ti}
    push_link(made, URL, context)
    assert made.run_url == link(made) == URL
    # Airflow 3 looks for the name of the link's class.
    assert ti.xcoms == {("work", "run_url"): URL, ("work", "_link_TriggerRunLink"): URL}
    assert getattr(TriggerRunLink(), "xcom_key", "_link_TriggerRunLink") == "_link_TriggerRunLink"

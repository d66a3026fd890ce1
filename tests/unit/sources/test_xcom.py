"""Whose XComs are asked for, and how."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_provider_trigger import _compat
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.xcom import add_pushed

GROUPS = {"one.start": "one", "one.cancel": "one", "other.start": "other", "start": None, "work": None}


class Dag:
    task_ids = tuple(GROUPS)

    def get_task(self, task_id: str) -> Any:
        group_id = GROUPS[task_id]
        group = SimpleNamespace(group_id=group_id) if group_id else None
        return SimpleNamespace(task_id=task_id, get_closest_mapped_task_group=lambda: group)


class TaskInstance:
    """Answers with what it was asked for."""

    def __init__(self, task_id: str, map_index: int) -> None:
        self.task_id = task_id
        self.map_index = map_index

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: Any = "all") -> str:
        return f"run_{task_ids}_{key}_{map_indexes}"


def pulled(task_id: str, *, by: str, map_index: int = -1, **context: Any) -> list[str]:
    ids = RunIds()
    given: Any = {"ti": TaskInstance(by, map_index), "dag": Dag(), **context}
    add_pushed(ids, given, task_ids=task_id, key="k")
    assert not ids.unreadable
    return ids.found


@pytest.mark.parametrize(
    ("task_id", "by", "map_index", "which"),
    [
        ("start", "work", -1, "all"),
        ("start", "work", 2, "all"),
        ("work", "work", 2, "2"),
        ("work", "work", 0, "0"),
        ("one.start", "one.cancel", 2, "2"),
        ("one.start", "work", -1, "all"),
        ("one.start", "other.start", 2, "all"),
        ("start", "one.cancel", 2, "all"),
    ],
)
def test_an_instance_takes_its_own_where_there_are_siblings(
    task_id: str, by: str, map_index: int, which: str
) -> None:
    assert pulled(task_id, by=by, map_index=map_index) == [f"run_{task_id}_k_{which}"]


def test_a_callback_of_the_dag_takes_all_as_its_task_instance_is_any() -> None:
    assert pulled("work", by="work", map_index=1, reason="task_failure") == ["run_work_k_all"]


# Airflow 3.0.0 to 3.0.2, whose xcom_pull() sees no other instance of a mapped task than the one it names


class OldTaskInstance:
    __module__ = "airflow.sdk.execution_time.task_runner"

    def __init__(self, pushed: dict[int | None, Any]) -> None:
        self.pushed = pushed
        self.asked: list[int | None] = []

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int | None) -> Any:
        self.asked.append(map_indexes)
        return self.pushed.get(map_indexes)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Say how many XComs Airflow counts."""
    counted = [0]
    module = ModuleType("lazy_sequence")
    module.LazyXComSequence = lambda **_: range(counted[0])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow.sdk.execution_time.lazy_sequence", module)
    monkeypatch.setattr(_compat, "airflow_version", lambda: "3.0.0")
    monkeypatch.setitem(_compat.__dict__, "XComArg", lambda *_, **__: None)
    return counted


def test_what_a_plain_task_pushed_is_pulled_by_no_index(counted: list[int]) -> None:
    ti = OldTaskInstance({None: "run_1"})
    assert _compat.pull_xcom(ti, "start", "k", dag=Dag()) == "run_1"
    assert ti.asked == [None]


def test_what_a_mapped_task_pushed_is_pulled_index_by_index(counted: list[int]) -> None:
    counted[0] = 2
    ti = OldTaskInstance({1: "run_1", 3: "run_3"})
    assert _compat.pull_xcom(ti, "start", "k", dag=Dag()) == ["run_1", "run_3"]
    assert ti.asked == [None, 0, 1, 2, 3]


def test_an_xcom_that_is_counted_and_not_there_is_an_error(counted: list[int]) -> None:
    counted[0] = 2
    with pytest.raises(_compat.AirflowException, match="'k' of task 'start': Airflow counts 2, and gave 1"):
        _compat.pull_xcom(OldTaskInstance({0: "run_0"}), "start", "k", dag=Dag())


@pytest.mark.parametrize("version", ["3.0.3", "3.3.2"])
def test_later_ones_give_all(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compat, "airflow_version", lambda: version)
    ti = TaskInstance("work", -1)
    assert _compat.pull_xcom(ti, "start", "k", dag=Dag()) == "run_start_k_all"


class LazyXComSequence(list[str]):
    """Ends too early, as that of 3.0.0 does."""

    def __init__(self, ti: Any) -> None:
        super().__init__(["run_0"])
        self._ti = ti
        self._xcom_arg = SimpleNamespace(operator=SimpleNamespace(task_id="start"), key="k")


def test_a_mapped_output_that_ends_too_early_is_pulled_index_by_index(counted: list[int]) -> None:
    counted[0] = 2
    sequence = LazyXComSequence(OldTaskInstance({0: "run_0", 2: "run_2"}))
    assert list(_compat.items_of(sequence)) == ["run_0", "run_2"]


def test_under_dag_test_it_is_pulled_whole(counted: list[int]) -> None:
    ti = SimpleNamespace(xcom_pull=lambda *, task_ids, key: ["run_0", "run_2"])
    assert list(_compat.items_of(LazyXComSequence(ti))) == ["run_0", "run_2"]

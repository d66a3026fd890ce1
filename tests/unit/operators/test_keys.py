"""What identifies runs on the server stays as it is: a retry after an upgrade finds its run by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker, operator_in_worker

from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator

NO_REGION, REGION, OTHER = (UUID(int=number) for number in range(3))  # Airflow 3.4 has them
LOOP: Any = SimpleNamespace(max_iterations=3, parent_group=None)
IN_LOOP = {"group": SimpleNamespace(parent_group=LOOP), "loop": {}}


@pytest.fixture
def identify(server, connection) -> Callable[..., list[tuple[str | None, list[str]]]]:
    """Execute operators in the same try, and return key and tags of the runs that they start."""
    server.on_task("resize", output="done")

    def start(
        *operators: Any, by_hand: bool = False, group: Any = None, context: Any = None, **fields: Any
    ) -> Any:
        known = len(server.runs)
        task: Any = SimpleNamespace(task_group=group, retries=1)
        ti = TaskInstance("outer", **{"max_tries": 1} | fields, task=task)
        for operator in operators:
            operator.retries = 1
            ti = ti if by_hand else TaskInstance(**{"max_tries": 1} | fields, task=task)
            given = context_of(ti, task=task if by_hand else operator)
            operator.execute(given | (context or {}))
        return [(run.idempotency_key, list(run.tags)) for run in list(server.runs.values())[known:]]

    return start


def started() -> list[Any]:
    return [operator_in_worker(payload=1), batch_in_worker(payloads=[1, {"a": None}])]


DAG_RUN = "17fa3f544be36f154bb627f0"
ITEMS = ("0-ec720cae947398908912e7ac", "1-cc72653c8e2dc1fb03ebe401")
UNMAPPED = ("73157568bd5702f64db89ae5", "airflow_task:work:da8587148d0bac5e35185dc5")
MAPPED = ("e38a0acc783c745b3ea1710d", "airflow_task:work[2]:4f411dd7d632241b819f2650")


@pytest.mark.parametrize(
    ("fields", "pinned", "tries"),
    [
        ({}, UNMAPPED, "1-0"),
        ({"max_tries": 3, "try_number": 3}, UNMAPPED, "3-2"),  # after a clear
        ({"map_index": 2}, MAPPED, "1-0"),
        ({"region_id": NO_REGION, "region_index": -1}, UNMAPPED, "1-0"),
        ({"map_index": 2, "region_id": REGION, "region_index": 2}, MAPPED, "1-0"),
    ],
    ids=["2.11 to 3.3", "cleared", "2.11 to 3.3, mapped", "3.4", "3.4, mapped"],
)
def test_keys_and_tags_outside_of_loops_are_those_of_every_version(
    fields: dict[str, Any], pinned: tuple[str, str], tries: str, identify
) -> None:
    of_instance, tag = pinned
    key = f"airflow-{DAG_RUN}-{of_instance}-4ffa1ed69210620de88d4792-{tries}"
    tags = ["airflow_dag:a_dag", f"airflow_dag_run:{DAG_RUN}", tag]
    keys = [key, *(f"{key}-{item}" for item in ITEMS)]
    assert identify(*started(), **fields) == [(one, tags) for one in keys]


def test_a_replay_has_tags_only(identify, server) -> None:
    [(_, tags)] = identify(operator_in_worker(payload=1))
    replay = ReplayTriggerRunOperator(task_id="work", run_id=next(iter(server.runs)), poll_interval=0.02)
    assert identify(replay) == [(None, tags)]


def test_executions_by_hand_have_keys_by_task_id_and_content_and_are_counted(identify) -> None:
    operators: list[Any] = [operator_in_worker(payload=payload) for payload in (1, 1, 2)]
    operators += [operator_in_worker(payload=1, task_id="outer"), batch_in_worker(payloads=[1, 1])]
    start = f"airflow-{DAG_RUN}-de130b16adcdcb05c3108680"
    single = ["0d3b160a646f3ebbf9e58ce8", "0e9917e3cbe3fe5719888763", "35f77644870c6f50045c0ba5"]
    single += ["010b878397827772d983f30b"]
    of_batch = f"{start}-4ffa1ed69210620de88d4792-1-0"
    items = [f"{of_batch}-{index}-ec720cae947398908912e7ac" for index in range(2)]
    found = [key for key, _ in identify(*operators, by_hand=True)]
    assert found == [*(f"{start}-{one}-1-0" for one in single), *items]


def test_without_a_task_instance_only_items_have_keys(server, connection) -> None:
    for operator in (operator_in_worker(), batch_in_worker(payloads=[1, 1])):
        operator.execute({})
    single, *items = [run.idempotency_key for run in server.runs.values()]
    once, _, first = str(items[0]).rpartition("-")
    assert (single, first, items[1]) == (None, "0", f"{once}-1")
    assert re.fullmatch(r"airflow-[0-9a-f]{32}", once)


# A callback in the Dag processor has no ``loop``.
@pytest.mark.parametrize(("sign", "by_hand"), [("group", False), ("context", True)])
def test_iterations_of_a_loop_have_keys_and_tags_of_their_own(sign: str, by_hand: bool, identify) -> None:
    given: Any = {sign: IN_LOOP["group"] if sign == "group" else {"loop": {}}}

    def runs_of(map_index: int, region: UUID, index: int, try_number: int = 1) -> list[Any]:
        where = {"map_index": map_index, "region_id": region, "region_index": index}
        found: list[Any] = identify(*started(), by_hand=by_hand, try_number=try_number, **where, **given)
        return found

    instances = [(-1, REGION, 0), (-1, REGION, 1), (-1, OTHER, 1), (0, REGION, 0), (1, OTHER, 1)]
    found = [runs_of(*instance) for instance in instances]
    keys = {key for runs in found for key, _ in runs}
    tags = {tags[-1] for runs in found for _, tags in runs}
    assert (len(keys), len(tags)) == (15, 5)
    assert runs_of(*instances[2], try_number=2) == [], "a retry finds its runs"

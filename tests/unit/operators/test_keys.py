"""What identifies runs on the server stays as it is: a retry after an upgrade finds its run by it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker, operator_in_worker

from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator

Identify = Callable[..., list[tuple[str | None, list[str]]]]

NO_REGION, REGION, OTHER = (UUID(int=number) for number in range(3))  # Airflow 3.4 has them
LOOP: Any = SimpleNamespace(max_iterations=3, parent_group=None)
IN_LOOP = {"group": SimpleNamespace(parent_group=LOOP), "loop": {}}


@pytest.fixture
def identify(server, connection) -> Identify:
    """Return key and tags of the runs of a task instance: a single one's, two of a batch, and a replay's."""
    server.on_task("resize", output="done")

    def start(*, by_hand: bool = False, group: Any = None, loop: Any = None, **fields: Any) -> Any:
        known = len(server.runs)
        task = SimpleNamespace(task_group=group, retries=1)

        def execute(operator: Any) -> None:
            operator.retries = task.retries
            ti = TaskInstance("outer" if by_hand else "work", max_tries=1, task=task, **fields)
            context = context_of(ti, task=task if by_hand else operator)
            operator.execute(context | ({} if loop is None else {"loop": loop}))

        execute(operator_in_worker(payload=1))
        execute(batch_in_worker(payloads=[1, {"a": None}]))
        original = list(server.runs)[-1]
        execute(
            ReplayTriggerRunOperator(task_id="work", run_id=original, deferrable=False, poll_interval=0.02)
        )
        return [(run.idempotency_key, list(run.tags)) for run in list(server.runs.values())[known:]]

    return start


DAG_RUN = "17fa3f544be36f154bb627f0"
ITEMS = ("0-ec720cae947398908912e7ac", "1-cc72653c8e2dc1fb03ebe401")
UNMAPPED = ("73157568bd5702f64db89ae5", "airflow_task:work:da8587148d0bac5e35185dc5")
MAPPED = ("e38a0acc783c745b3ea1710d", "airflow_task:work[2]:4f411dd7d632241b819f2650")


@pytest.mark.parametrize(
    ("fields", "pinned"),
    [
        ({}, UNMAPPED),
        ({"map_index": 2}, MAPPED),
        ({"region_id": NO_REGION, "region_index": -1}, UNMAPPED),
        ({"map_index": 2, "region_id": REGION, "region_index": 2}, MAPPED),
    ],
    ids=["2.11 to 3.3", "2.11 to 3.3, mapped", "3.4", "3.4, mapped"],
)
def test_keys_and_tags_outside_of_loops_are_those_of_every_version(
    fields: dict[str, Any], pinned: tuple[str, str], identify: Identify
) -> None:
    of_instance, tag = pinned
    key = f"airflow-{DAG_RUN}-{of_instance}-4ffa1ed69210620de88d4792-1-0"
    tags = ["airflow_dag:a_dag", f"airflow_dag_run:{DAG_RUN}", tag]
    keys = [key, *(f"{key}-{item}" for item in ITEMS), None]
    assert identify(**fields) == [(one, tags) for one in keys]


# A callback in the Dag processor has no ``loop``.
@pytest.mark.parametrize(("sign", "by_hand"), [("group", False), ("loop", True)])
def test_iterations_of_a_loop_have_keys_and_tags_of_their_own(
    sign: str, by_hand: bool, identify: Identify
) -> None:
    def runs_of(map_index: int, region: UUID, index: int, try_number: int = 1) -> list[Any]:
        where = {"map_index": map_index, "region_id": region, "region_index": index}
        return identify(by_hand=by_hand, try_number=try_number, **where, **{sign: IN_LOOP[sign]})

    unmapped = [(-1, REGION, 0), (-1, REGION, 1), (-1, OTHER, 1)]
    instances = [*unmapped, (0, REGION, 0), (0, OTHER, 0), (1, OTHER, 1)]
    found = [runs_of(*instance) for instance in instances]
    keys = [key for runs in found for key, _ in runs if key]
    tags = {tags[-1] for runs in found for _, tags in runs}
    assert (len(keys), len(set(keys)), len(tags)) == (18, 18, 6)
    assert [key for instance in instances[2:4] for key, _ in runs_of(*instance, try_number=2)] == [None] * 2

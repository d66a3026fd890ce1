"""What becomes of a run of an earlier try: docs/run.md, "One run per task instance", one row a case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_trigger.api.models import ListedRun
from airflow_provider_trigger.run.earlier import Earlier, Policy
from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity
from airflow_provider_trigger.run.request import TaskRequest

START = datetime(2026, 11, 1, 12, 0, 0, 0, UTC)
LATER = START + timedelta(hours=1)
REPLACE, TAKE_UP, LEAVE_ALONE = Policy.REPLACE, Policy.TAKE_UP, Policy.LEAVE_ALONE


def key(
    *,
    started: datetime = START,
    task_id: str = "resize",
    of: str = "resize",
    clear_number: int = 0,
    **fields: Any,
) -> RunKey:
    dag_run = DagRunIdentity(dag_id="images", run_id="1", start_date=started, is_cleared=clear_number > 0)
    given: dict[str, Any] = {"max_tries": 2, "retries": 2, "try_number": 2} | fields
    instance = TaskInstanceIdentity(dag_run=dag_run, task_id=task_id)
    return RunKey(task_instance=instance, operator_id=of, **given)


def item(index: int = 0, of: RunKey | None = None) -> str:
    return (of or key()).of_item(index, task_identifier="resize", payload=index)


SAME = str(key())
OTHER_RETRIES = str(key(retries=1, max_tries=2))
BEFORE_CLEAR = str(key(max_tries=1))
BEFORE_CLEAR_OF_DAG_RUN = str(key(started=START - timedelta(hours=1)))
OTHER_OPERATOR = str(key(of="by_hand"))


def run(status: str, idempotency_key: str | None, **shown: Any) -> ListedRun:
    answer = {"id": "run_1", "status": status, "taskIdentifier": "resize", "idempotencyKey": idempotency_key}
    return ListedRun.from_answer(answer | shown)


def fates(runs: list[ListedRun], keys: list[str], now: RunKey, policy: Policy, reuses: bool = False) -> Any:
    requests = [TaskRequest(task_identifier="resize", options={"idempotencyKey": one}) for one in keys]
    found = Earlier(key=now, policy=policy, reuses=reuses).sort(runs, requests)
    assert found.all_ids == {run.id for run in runs}
    names = ("found_by_key", "taken_up", "reused", "canceled", "kept", "stopping")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


OF_ITEM, TAKEN_UP = {"found_by_key": {0}}, {"taken_up": {0: "run_1"}}
CANCELED, KEPT, STOPPING = ({name: ["run_1"]} for name in ("canceled", "kept", "stopping"))
EXECUTING, OLD = "EXECUTING", {"taskIdentifier": "rezise"}
STARTED = {"startedAt": START.isoformat()}


@pytest.mark.parametrize(
    ("what", "listed", "replace", "take_up", "leave_alone"),
    [
        ("the worker was killed", run(EXECUTING, SAME), OF_ITEM, OF_ITEM, OF_ITEM),
        ("the task has other retries now", run(EXECUTING, OTHER_RETRIES), TAKEN_UP, TAKEN_UP, {}),
        ("it completed", run("COMPLETED", SAME), {}, {}, {}),
        ("it failed", run("FAILED", SAME), {}, {}, {}),
        ("it was canceled", run("CANCELED", SAME, **STARTED), STOPPING, STOPPING, STOPPING),
        ("it was canceled before it began", run("CANCELED", SAME), {}, {}, {}),
        ("the task was cleared", run(EXECUTING, BEFORE_CLEAR), CANCELED, TAKEN_UP, {}),
        ("the Dag run was cleared", run(EXECUTING, BEFORE_CLEAR_OF_DAG_RUN), KEPT, KEPT, {}),
        ("the task has another task_identifier", run(EXECUTING, SAME, **OLD), CANCELED, KEPT, {}),
        ("it is a replay by someone else", run(EXECUTING, None), KEPT, KEPT, {}),
        ("its key is the user's", run(EXECUTING, "order-1"), KEPT, KEPT, {}),
        ("it is of another operator", run(EXECUTING, OTHER_OPERATOR), {}, {}, {}),
        ("it is of an earlier dag.test()", run(EXECUTING, str(key(test_number=1))), CANCELED, KEPT, {}),
    ],
)
def test_fate_of_a_run(what: str, listed: ListedRun, replace: Any, take_up: Any, leave_alone: Any) -> None:
    expectations = {Policy.REPLACE: replace, Policy.TAKE_UP: take_up, Policy.LEAVE_ALONE: leave_alone}
    for policy, expected in expectations.items():
        assert fates([listed], [SAME], key(), policy) == expected, (what, policy)


@pytest.mark.parametrize(
    ("listed", "replace", "take_up"),
    [
        ([item(5)], {"canceled": ["run_0"]}, {"kept": ["run_0"]}),
        (
            [item(1, key(retries=1))] * 2,
            *([{"taken_up": {1: "run_0"}, name: ["run_1"]} for name in ("canceled", "kept")]),
        ),
    ],
)
def test_an_item_has_one_run(listed: list[str], replace: Any, take_up: Any) -> None:
    runs = [run(EXECUTING, one, id=f"run_{number}") for number, one in enumerate(listed)]
    assert fates(runs, [item(0), item(1)], key(), REPLACE) == replace
    assert fates(runs, [item(0), item(1)], key(), TAKE_UP) == take_up


def test_an_item_gets_the_newest_completed_run_unless_one_is_alive() -> None:
    now, before = key(max_tries=4, try_number=4), key()
    of_now, of_before = [item(index, now) for index in range(4)], [item(index, before) for index in range(4)]
    runs = [
        run("COMPLETED", of_before[0], id="newest"),
        run("COMPLETED", of_before[0], id="older"),
        run(EXECUTING, of_now[1], id="alive"),
        run("COMPLETED", of_before[1], id="not needed"),
        run("COMPLETED", of_before[2], id="also not needed"),
        run(EXECUTING, of_before[2], id="taken up"),
        run("FAILED", of_before[3], id="failed"),
    ]
    found = fates(runs, of_now, now, TAKE_UP, reuses=True)
    assert {index: one.id for index, one in found.pop("reused").items()} == {0: "newest"}
    assert found == {"found_by_key": {1}, "taken_up": {2: "taken up"}}

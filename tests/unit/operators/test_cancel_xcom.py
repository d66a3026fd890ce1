"""Whose XComs are pulled, and what becomes of those that are missing, empty, invalid or broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from airflow_names import DAG, AirflowTaskTimeout
from airflow_sequences import LazyOutputs
from fake_airflow import TaskInstance

from airflow_provider_trigger._compat import AirflowException, BaseOperator
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

NONE = (
    "run_ids is None: a task returned None or was skipped, or a template probably found no XCom: "
    "check task_ids and key in it"
)
WHY = "it returned None, was skipped, or did not get so far"
GROUPS = {"one.start": "one", "one.cancel": "one", "other.start": "other", "start": None, "work": None}
GROUPS["run_report"] = None


def without_xcom(reason: str) -> str:
    return (
        f"XCom is not available in this callback: {reason}; give run_ids, "
        "or add a CancelTriggerRunOperator with trigger_rule='one_failed', which works everywhere"
    )


pytestmark = pytest.mark.usefixtures("answers")


class OwnOperator(RunTriggerTaskOperator):
    """What a user makes of it."""


with DAG("starters", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as STARTERS:
    RunTriggerTaskOperator(task_id="run", task_identifier="t")
    OwnOperator(task_id="own", task_identifier="t")
    RunTriggerTaskBatchOperator(task_id="batch", task_identifier="t", payloads=[1])
    ReplayTriggerRunOperator(task_id="replay", run_id="run_0")
    RunTriggerTaskOperator.partial(task_id="mapped", task_identifier="t").expand(payload=[1])
    OwnOperator.partial(task_id="own_mapped", task_identifier="t").expand(payload=[1])
    CancelTriggerRunOperator(task_id="cancel", run_ids="run_0")
    CancelTriggerRunOperator.partial(task_id="cancel_mapped").expand(run_ids=["run_0"])
    BaseOperator(task_id="other")


class Dag:
    task_ids = tuple(GROUPS)

    def get_task(self, task_id: str) -> Any:
        group_id = GROUPS[task_id]
        group = SimpleNamespace(group_id=group_id) if group_id else None
        return SimpleNamespace(task_id=task_id, get_closest_mapped_task_group=lambda: group)


def with_xcoms(
    pushed: dict[str, Any] | None = None, task_id: str = "cancel", map_index: int | None = -1
) -> TaskInstance:
    return TaskInstance(task_id, pushed, key="k", map_index=map_index)


@dataclass
class Gathered:
    """The runs that were canceled, and what the log says of their sources."""

    found: list[str]
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


Gather = Callable[..., Gathered]


@pytest.fixture
def gathered(keep_log) -> Gather:
    """Execute the operator with its arguments as rendered; ``given`` are those when the Dag was parsed."""
    log = keep_log(CancelTriggerRunOperator)

    def gather(
        pushed: dict[str, Any] | None = None,
        *,
        run_ids: object = None,
        tasks: object = None,
        key: str | None = "k",
        given: Mapping[str, Any] = MappingProxyType({}),
        ti: Any = None,
        **fields: Any,
    ) -> Gathered:
        log.leveled.clear()
        ti = ti or with_xcoms(pushed)
        context: Any = {"ti": ti, "dag": Dag()} | fields
        arguments: dict[str, Any] = {"run_ids": run_ids, "xcom_task_ids": tasks, **given}
        key = None if tasks is None else key
        operator = CancelTriggerRunOperator(task_id="cancel", xcom_key=key, **arguments)
        operator.run_ids, operator.xcom_task_ids = run_ids, tasks
        try:
            results = operator.execute(context)
        except AirflowException:
            results = ti.pushed["return_value"]
        return Gathered([one["run_id"] for one in results], log.of("warning"), log.of("error"))

    return gather


# Which sources count


def test_ids_of_both_sources_count_each_once_and_the_given_ones_first(gathered: Gather) -> None:
    pushed = {"start": ["run_1", "run_2"], "work": {"id": "run_3"}}
    assert gathered(pushed, run_ids="run_2", tasks=["work", "start"]) == Gathered(["run_2", "run_3", "run_1"])


@pytest.mark.parametrize("tasks", ["start", ("start",), '["start"]', "('start',)"])
def test_tasks_are_named_by_a_text_a_list_or_the_text_of_a_list(tasks: object, gathered: Gather) -> None:
    assert gathered({"start": "run_1"}, tasks=tasks) == Gathered(["run_1"])


VALUE, TASKS = {"run_ids": "{{ x }}"}, {"xcom_task_ids": "{{ x }}"}
NO_TASKS = "xcom_task_ids is an empty list"
NO_TASK_ID = "None from xcom_task_ids is not a valid task id: the Dag has no such task"


@pytest.mark.parametrize(
    ("run_ids", "tasks", "given", "expected"),
    [
        ([], "start", {}, Gathered(["run_1"], ["run_ids is an empty list"])),
        ("None", "start", {}, Gathered(["run_1"], [NONE])),
        # What it has become when the task runs differs from what was given.
        (None, "start", VALUE, Gathered(["run_1"], [NONE])),
        ("run_2", [], TASKS, Gathered(["run_2"], [NO_TASKS])),
        (None, None, TASKS, Gathered([], [], [NO_TASK_ID])),
    ],
)
def test_a_source_without_ids_is_named(run_ids, tasks, given, expected: Gathered, gathered: Gather) -> None:
    assert gathered({"start": "run_1"}, run_ids=run_ids, tasks=tasks, given=given) == expected


# Tasks that pushed nothing


@pytest.mark.parametrize(
    ("pushed", "sentence"),
    [
        (None, f"task 'start' pushed no XCom with the key 'k': {WHY}"),
        ([], "the XCom 'k' of task 'start' is an empty list"),
        ("None", NONE.replace("run_ids", "the XCom 'k' of task 'start'")),
    ],
)
def test_a_task_that_pushed_no_id_gets_a_sentence(pushed: object, sentence: str, gathered: Gather) -> None:
    given = {"start": pushed, "work": "run_1"}
    assert gathered(given, tasks=["start", "work"]) == Gathered(["run_1"], [sentence])


# Which key counts without one


@pytest.mark.parametrize(
    ("task_id", "key"),
    [
        *((one, "run_id") for one in ("run", "own", "batch", "replay", "own_mapped")),
        *((one, "return_value") for one in ("cancel_mapped", "other")),
    ],
)
def test_which_key_counts_for_which_kind_of_task(task_id: str, key: str, gathered: Gather) -> None:
    ti = with_xcoms()
    [sentence] = gathered(tasks=task_id, key=None, dag=STARTERS, ti=ti).warnings
    assert ti.pulls == [{"task_ids": task_id, "key": key}]
    assert sentence == f"task {task_id!r} pushed no XCom with the key {key!r}: {WHY}"


class Serialized:
    """A Dag whose tasks have only the names of their classes."""

    names: dict[str, str] = {"run": "ReplayTriggerRunOperator", "cancel": "CancelTriggerRunOperator"}  # noqa: RUF012
    task_ids = tuple(names)

    def get_task(self, task_id: str) -> Any:
        name = self.names[task_id]
        return SimpleNamespace(task_id=task_id, task_type=name, operator_class={"task_type": name})

    @property
    def tasks(self) -> list[Any]:
        return [*map(self.get_task, self.task_ids)]


@pytest.mark.parametrize(
    ("task_id", "fields", "found"),
    [
        ("run", {}, ["run_1"]),
        ("other", {}, []),
        ("run", {"reason": "task_failure"}, ["run_1", "run_2", "run_3"]),
        ("run", {"reason": "task_failure", "dag": None}, []),
        ("run", {"reason": "task_failure", "dag": Serialized()}, ["run_1"]),
    ],
    ids=["a task", "a task that starts none", "a Dag", "an unknown Dag", "a serialized Dag"],
)
def test_what_a_task_or_a_dag_has_started_is_in_the_xcoms_of_those_that_start_runs(
    task_id: str, fields: dict[str, Any], found: list[str], wire, keep_log
) -> None:
    log = keep_log(CancelTriggerRunNotifier)
    pushed = {"run": "run_1", "mapped": ["run_2", "run_3"], "other": "run_4", "cancel": "run_5"}
    ti = TaskInstance(task_id, pushed, key="run_id", task=STARTERS.get_task(task_id))
    context: Any = {"ti": ti, "dag": STARTERS} | fields
    CancelTriggerRunNotifier().notify(context)
    canceled = [one.split("/runs/")[1].split("/")[0] for one in wire.targets if "/cancel" in one]
    assert sorted(canceled) == found
    assert {level for level, _ in log.leveled} == {"info"}  # of the others, nothing is said
    assert not {pull["task_ids"] for pull in ti.pulls} & {"other", "cancel"}


# Invalid values


@pytest.mark.parametrize(
    ("task_ids", "shown", "reason"),
    [
        ("strat", "'strat'", "the Dag has no such task; did you mean 'start'?"),
        ("zzz", "'zzz'", "the Dag has no such task"),
        ("", "''", "the Dag has no such task"),
        ("[zzz]", "'[zzz]'", "the Dag has no such task"),
        ("run_reprot", "'run_reprot'", "the Dag has no such task; did you mean 'run_report'?"),
        (7, "7", "the Dag has no such task"),
        ([None], "None", "the Dag has no such task"),
    ],
)
def test_an_unknown_task_is_invalid(task_ids: object, shown: str, reason: str, gathered: Gather) -> None:
    invalid = f"{shown} from xcom_task_ids is not a valid task id: {reason}"
    given = gathered({"start": "run_1"}, run_ids="run_2", tasks=task_ids, given=TASKS)
    assert given == Gathered(["run_2"], [], [invalid])


# Sources that cannot be read


def broken(error: BaseException, first: str = "run_1") -> Iterator[str]:
    yield first
    raise error


def test_a_source_that_cannot_be_read_stops_no_other_one_and_its_first_ids_count(gathered: Gather) -> None:
    pushed = {
        "start": OSError("the backend\n is down"),
        "work": broken(ValueError("no JSON"), "run_2"),
        "one.start": ["run_3"],
    }
    failed = [
        "run_ids cannot be read: RuntimeError: no answer",
        "the XCom 'k' of task 'start' cannot be read: OSError: the backend is down",
        "the XCom 'k' of task 'work' cannot be read: ValueError: no JSON",
    ]
    made = gathered(pushed, run_ids=broken(RuntimeError("no answer")), tasks=list(pushed), given=VALUE)
    assert made == Gathered(["run_1", "run_2", "run_3"], [], failed)


@pytest.mark.parametrize("error", [AirflowTaskTimeout("out of time"), KeyboardInterrupt(), SystemExit(1)])
def test_what_ends_the_task_is_raised(error: BaseException, gathered: Gather) -> None:
    with pytest.raises(type(error)):
        gathered({"start": error}, tasks="start")
    with pytest.raises(type(error)):
        gathered(run_ids=broken(error), given=VALUE)


# Callbacks without XCom


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("xcom_is_out_of_reach", "Dag callbacks of this Airflow version have none"),
        ("has_no_supervisor", "Dag callbacks under 'airflow dags test' have none"),
    ],
)
def test_where_an_xcom_is_out_of_reach_none_is_pulled(
    name: str, reason: str, gathered: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.sources.xcom." + name, lambda *_: True)
    ti = with_xcoms({"start": "run_2"})
    made = gathered(run_ids="run_1", tasks=["start", "work"], ti=ti)
    assert (made, ti.pulls) == (Gathered(["run_1"], [], [without_xcom(reason)]), [])
    assert gathered(run_ids="run_1").errors == []


# Mapped tasks


@pytest.mark.parametrize(
    ("task_id", "by", "map_index", "options"),
    [
        ("start", "work", 2, {}),
        ("work", "work", 0, {"map_indexes": 0}),
        ("work", "work", -1, {}),
        ("one.start", "one.cancel", 2, {"map_indexes": 2}),
        ("one.start", "other.start", 2, {}),
        ("one.start", "work", 2, {}),
        ("start", "one.cancel", 2, {}),
    ],
)
def test_an_instance_takes_its_own_where_there_are_siblings(
    task_id: str, by: str, map_index, options: dict[str, int], gathered: Gather
) -> None:
    ti = with_xcoms({task_id: "run_1"}, by, map_index)
    assert gathered(tasks=task_id, ti=ti).found == ["run_1"]
    # In a callback of the Dag, the task instance may be any.
    assert gathered(tasks=task_id, ti=ti, reason="task_failure").found == ["run_1"]
    pull = {"task_ids": task_id, "key": "k"}
    assert ti.pulls == [pull | options, pull]


def test_the_outputs_of_a_mapped_task_take_one_request(gathered: Gather) -> None:
    outputs = LazyOutputs("run_1", "run_2")
    assert gathered(run_ids=outputs).found == ["run_1", "run_2"]

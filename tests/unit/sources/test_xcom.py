"""Whose XComs are pulled, and what becomes of those that are missing, empty, invalid or broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from fake_airflow import TaskInstance

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sources import xcom
from airflow_provider_trigger.sources.run_ids import InvalidValue, RunIds
from airflow_provider_trigger.sources.xcom import (
    MAX_ERROR_LENGTH,
    gather,
    given_sources,
    started_by_xcom,
    starts_runs,
)

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG
try:
    from airflow.sdk.exceptions import AirflowTaskTimeout
except ImportError:  # before 3.2
    from airflow.exceptions import AirflowTaskTimeout

NO_XCOM = "probably found no XCom: check task_ids and key in it"
NONE = (
    "run_ids is None: if it is a task's output, the task returned None or was skipped; "
    f"if it is a template, it {NO_XCOM}"
)
GROUPS = {"one.start": "one", "one.cancel": "one", "other.start": "other", "start": None, "work": None}


def without_xcom(reason: str) -> str:
    return (
        f"XCom is not available in this callback: {reason}; give run_ids, "
        "or add a CancelTriggerRunOperator with trigger_rule='one_failed', which works everywhere"
    )


class OwnOperator(RunTriggerTaskOperator):
    """What a user makes of it."""


with DAG("starters", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as STARTERS:
    RunTriggerTaskOperator(task_id="run", task_identifier="t")
    OwnOperator(task_id="own", task_identifier="t")
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


def gathered(
    pushed: dict[str, Any] | None = None,
    *,
    run_ids: object = None,
    tasks: object = None,
    key: str | None = "k",
    given: tuple[str, ...] | None = None,
    **fields: Any,
) -> RunIds:
    context: Any = {"ti": with_xcoms(pushed), "dag": Dag()} | fields
    if given is None:
        given = given_sources(run_ids=run_ids, xcom_task_ids=tasks)
    return gather(context, given=given, run_ids=run_ids, xcom_task_ids=tasks, xcom_key=key)


# Which sources count


def test_ids_of_both_sources_count_each_once_and_the_given_ones_first() -> None:
    ids = gathered(
        {"start": ["run_1", "run_2"], "work": {"id": "run_3"}}, run_ids="run_2", tasks=["work", "start"]
    )
    assert ids == RunIds(found=["run_2", "run_3", "run_1"], _seen={"run_1", "run_2", "run_3"})


@pytest.mark.parametrize("tasks", ["start", ["start"], ("start",), "['start']", '["start"]', "('start',)"])
def test_tasks_are_named_by_a_text_a_list_or_the_text_of_a_list(tasks: object) -> None:
    ids = gathered({"start": "run_1"}, tasks=tasks)
    assert (ids.found, ids.invalid, ids.empty, ids.failed) == (["run_1"], [], [], [])


def test_given_ids_need_no_task_instance() -> None:
    ids = gather({}, given=["run_ids"], run_ids=["run_1"], xcom_task_ids=None, xcom_key="k")
    assert ids.found == ["run_1"]


@pytest.mark.parametrize(
    ("run_ids", "tasks", "given"),
    [
        ("run_1", None, ("run_ids",)),
        ("run_1", [], ("run_ids",)),
        ([], None, ("run_ids",)),
        ("", None, ("run_ids",)),
        (None, None, ("run_ids",)),
        (None, [], ("xcom_task_ids",)),
        (None, "start", ("xcom_task_ids",)),
        (None, ["start"], ("xcom_task_ids",)),
        ("run_1", "start", ("run_ids", "xcom_task_ids")),
        ([], ["start"], ("run_ids", "xcom_task_ids")),
    ],
)
def test_what_the_author_gave_are_the_sources(run_ids: object, tasks: object, given: tuple[str, ...]) -> None:
    assert given_sources(run_ids=run_ids, xcom_task_ids=tasks) == given


def test_without_any_source_run_ids_are_none() -> None:
    assert gathered() == RunIds(empty=[NONE])


def test_an_empty_list_of_tasks_is_named_where_it_is_the_only_source() -> None:
    assert gathered(tasks=[]) == RunIds(empty=["xcom_task_ids is an empty list"])
    assert gathered(run_ids="run_1", tasks=[]).empty == []


def test_run_ids_that_became_none_are_named_also_where_a_task_has_some() -> None:
    ids = gathered({"start": "run_1"}, tasks="start", given=("run_ids", "xcom_task_ids"))
    assert ids == RunIds(found=["run_1"], empty=[NONE], _seen={"run_1"})


def test_a_source_that_was_set_after_the_dag_was_parsed_counts() -> None:
    given = {"run_ids": "run_2", "tasks": "start"}
    assert gathered({"start": "run_1"}, **given, given=()).found == ["run_2", "run_1"]


def test_task_ids_that_became_none_are_invalid() -> None:
    ids = gathered(given=("xcom_task_ids",))
    invalid = InvalidValue("None", "xcom_task_ids", "it must be a string, not NoneType", "task id")
    assert ids == RunIds(invalid=[invalid])


@pytest.mark.parametrize("tasks", [[], (), "[]", "()"])
def test_task_ids_that_became_an_empty_list_are_named(tasks: object) -> None:
    ids = gathered(run_ids="run_1", tasks=tasks, given=("run_ids", "xcom_task_ids"))
    assert ids == RunIds(found=["run_1"], empty=["xcom_task_ids is an empty list"], _seen={"run_1"})


@pytest.mark.parametrize("tasks", [None, []])
def test_where_no_task_is_named_only_the_given_ids_count(tasks: object) -> None:
    assert gathered(run_ids="run_1", tasks=tasks) == RunIds(found=["run_1"], _seen={"run_1"})


def test_in_addition_to_a_task_run_ids_may_be_none() -> None:
    assert gathered({"start": "run_1"}, tasks="start") == RunIds(found=["run_1"], _seen={"run_1"})


# Tasks that pushed nothing


@pytest.mark.parametrize(
    ("pushed", "sentence"),
    [
        (None, "task 'start' pushed no XCom with the key 'k'"),
        ([], "the XCom 'k' of task 'start' is an empty list"),
        ([None], "the XCom 'k' of task 'start' holds nothing but None"),
        (
            "None",
            f"the XCom 'k' of task 'start' rendered to None: the template {NO_XCOM}",
        ),
    ],
)
def test_a_task_that_pushed_no_id_gets_a_sentence(pushed: object, sentence: str) -> None:
    ids = gathered({"start": pushed, "work": "run_1"}, tasks=["start", "work"])
    assert ids == RunIds(found=["run_1"], empty=[sentence], _seen={"run_1"})


def test_a_wrong_key_is_named() -> None:
    ids = gathered({"start": "run_1"}, tasks="start", key="ids")
    assert ids.empty == ["task 'start' pushed no XCom with the key 'ids'"]


def test_without_a_return_value_the_reasons_are_named() -> None:
    [sentence] = gathered(tasks="start", key="return_value").empty
    reasons = "it returned None, was skipped, or did not finish"
    assert sentence == f"task 'start' pushed no XCom with the key 'return_value': {reasons}"


@pytest.mark.parametrize(
    ("run_ids", "sentence"),
    [
        ([], "run_ids is an empty list"),
        ("None", f"run_ids rendered to None: the template {NO_XCOM}"),
    ],
)
def test_given_ids_that_are_none_get_a_sentence(run_ids: object, sentence: str) -> None:
    ids = gathered({"start": "run_1"}, run_ids=run_ids, tasks="start")
    assert (ids.found, ids.empty) == (["run_1"], [sentence])


# Which key counts without one


@pytest.mark.parametrize("task_id", ["run", "own", "replay", "mapped", "own_mapped"])
def test_a_task_that_starts_runs_pushes_their_ids(task_id: str) -> None:
    ti = with_xcoms()
    [sentence] = gathered(tasks=task_id, key=None, dag=STARTERS, ti=ti).empty
    assert ti.pulls == [{"task_ids": task_id, "key": "run_id"}]
    assert sentence == f"task {task_id!r} pushed no XCom with the key 'run_id': it did not start a run"


@pytest.mark.parametrize("task_id", ["cancel", "cancel_mapped", "other"])
def test_of_any_other_task_the_return_value_counts(task_id: str) -> None:
    ti = with_xcoms()
    gathered(tasks=task_id, key=None, dag=STARTERS, ti=ti)
    assert ti.pulls == [{"task_ids": task_id, "key": "return_value"}]


def test_a_key_that_is_given_counts_for_every_task() -> None:
    ti = with_xcoms({"run": "run_1", "other": "run_2"})
    ids = gathered(tasks=["run", "other"], key="k", dag=STARTERS, ti=ti)
    assert ids.found == ["run_1", "run_2"]


def test_without_a_dag_the_return_value_counts() -> None:
    ti = with_xcoms()
    gathered(tasks="run", key=None, dag=None, ti=ti)
    assert ti.pulls == [{"task_ids": "run", "key": "return_value"}]


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("RunTriggerTaskOperator", True),
        ("ReplayTriggerRunOperator", True),
        ("CancelTriggerRunOperator", False),
    ],
)
def test_a_serialized_task_has_only_the_name_of_its_class(name: str, starts: bool) -> None:
    assert starts_runs(SimpleNamespace(task_type=name)) is starts
    assert starts_runs(SimpleNamespace(task_type=name, operator_class={"task_type": name})) is starts


def test_what_is_named_here_are_the_operators_that_start_runs() -> None:
    from airflow_provider_trigger.operators.batch import ManyRunsOperator
    from airflow_provider_trigger.operators.one_run import OneRunOperator
    from airflow_provider_trigger.xcom_keys import STARTS_RUNS

    import_module("airflow_provider_trigger.operators.batch")  # no other test may have done so before
    kinds = [*OneRunOperator.__subclasses__(), *ManyRunsOperator.__subclasses__()]
    assert {kind.__name__ for kind in kinds} == STARTS_RUNS


@pytest.mark.parametrize(
    ("task_id", "fields", "found"),
    [
        ("run", {}, ["run_1"]),
        ("other", {}, []),
        ("run", {"reason": "task_failure"}, ["run_1", "run_2", "run_3"]),
        ("run", {"reason": "task_failure", "dag": None}, []),
    ],
    ids=["a task", "a task that starts none", "a Dag", "an unknown Dag"],
)
def test_what_a_task_or_a_dag_has_started_is_in_the_xcoms_of_those_that_start_runs(
    task_id: str, fields: dict[str, Any], found: list[str]
) -> None:
    pushed = {"run": "run_1", "mapped": ["run_2", "run_3"], "other": "run_4", "cancel": "run_5"}
    ti = TaskInstance(task_id, pushed, key="run_id", task=STARTERS.get_task(task_id))
    context: Any = {"ti": ti, "dag": STARTERS} | fields
    ids = started_by_xcom(context)
    assert ids == RunIds(found=found, _seen=set(found))  # of the others, nothing is said
    assert not {pull["task_ids"] for pull in ti.pulls} & {"other", "cancel"}


def test_ids_of_a_batch_that_are_not_known_yet_are_skipped() -> None:
    ids = gathered({"start": ["run_1", None, "run_2"]}, tasks="start")
    assert (ids.found, ids.invalid, ids.failed) == (["run_1", "run_2"], [], [])


# Invalid values


def test_an_invalid_value_names_task_key_and_place() -> None:
    [invalid] = gathered({"start": ["run_1", 7]}, tasks="start").invalid
    assert invalid.source == "the XCom 'k' of task 'start'[1]"


@pytest.mark.parametrize(
    ("task_id", "invalid"),
    [
        (
            "strat",
            InvalidValue(
                "'strat'", "xcom_task_ids", "the Dag has no such task; did you mean 'start'?", "task id"
            ),
        ),
        ("zzz", InvalidValue("'zzz'", "xcom_task_ids", "the Dag has no such task", "task id")),
        ("", InvalidValue("''", "xcom_task_ids", "the Dag has no such task", "task id")),
        ("None", InvalidValue("'None'", "xcom_task_ids", "the Dag has no such task", "task id")),
        ("[zzz]", InvalidValue("'[zzz]'", "xcom_task_ids", "the Dag has no such task", "task id")),
        (7, InvalidValue("7", "xcom_task_ids", "it must be a string, not int", "task id")),
        ([None], InvalidValue("None", "xcom_task_ids", "it must be a string, not NoneType", "task id")),
        ([["work"]], InvalidValue("['work']", "xcom_task_ids", "it must be a string, not list", "task id")),
        (
            {"a": 1},
            InvalidValue("a dict of ['a']", "xcom_task_ids", "it must be a string, not dict", "task id"),
        ),
    ],
)
def test_a_task_that_the_dag_does_not_have_is_invalid(task_id: object, invalid: InvalidValue) -> None:
    given = ("run_ids", "xcom_task_ids")
    ids = gathered({"start": "run_1"}, run_ids="run_2", tasks=task_id, given=given)
    assert ids == RunIds(found=["run_2"], invalid=[invalid], _seen={"run_2"})


@pytest.mark.parametrize("task_id", ["run_abc", "run_cmwvx3ex70014vu7dzs5yiufe"])
def test_a_run_id_in_place_of_a_task_id_gets_a_hint(task_id: str) -> None:
    [invalid] = gathered(tasks=["start", task_id]).invalid
    assert invalid.shown == repr(task_id)
    assert invalid.reason == "the Dag has no such task; a run id goes into run_ids"


def test_a_task_that_is_named_like_a_run_is_a_task() -> None:
    dag = Dag()
    dag.task_ids = ("run_report", "start")
    ids = gathered({"run_report": "run_1"}, tasks="run_report", dag=dag)
    assert ids == RunIds(found=["run_1"], _seen={"run_1"})
    [invalid] = gathered(tasks="run_reprot", dag=dag).invalid
    assert invalid.reason == "the Dag has no such task; did you mean 'run_report'?"


def test_an_invalid_task_does_not_stop_the_others() -> None:
    ids = gathered({"start": "run_1", "work": "run_2"}, tasks=["strat", "start", None, "work"])
    assert ids.found == ["run_1", "run_2"]
    assert [value.shown for value in ids.invalid] == ["'strat'", "None"]


def test_without_a_dag_the_xcom_of_every_task_is_pulled() -> None:
    ids = gathered({"unknown": "run_1"}, tasks="unknown", dag=None)
    assert (ids.found, ids.invalid) == (["run_1"], [])


# Sources that cannot be read


def test_an_xcom_that_cannot_be_read_stops_no_other_source() -> None:
    pushed = {"start": OSError("the backend\n is down"), "work": ["run_1"], "one.start": TypeError("what?")}
    ids = gathered(pushed, run_ids="run_0", tasks=["start", "work", "one.start"])
    assert ids.found == ["run_0", "run_1"]
    assert ids.failed == [
        "the XCom 'k' of task 'start' cannot be read: OSError: the backend is down",
        "the XCom 'k' of task 'one.start' cannot be read: TypeError: what?",
    ]
    assert (ids.empty, ids.invalid, ids.skipped) == ([], [], [])


def broken(error: BaseException) -> Iterator[str]:
    yield "run_1"
    raise error


def test_of_an_xcom_that_breaks_off_the_first_ids_count() -> None:
    ids = gathered({"start": broken(ValueError("no JSON")), "work": "run_2"}, tasks=["start", "work"])
    assert ids.found == ["run_1", "run_2"]
    assert ids.failed == ["the XCom 'k' of task 'start' cannot be read: ValueError: no JSON"]


def test_given_ids_that_cannot_be_read_stop_no_xcom() -> None:
    ids = gathered({"start": "run_2"}, run_ids=broken(RuntimeError("no answer")), tasks="start")
    assert ids.found == ["run_1", "run_2"]
    assert ids.failed == ["run_ids cannot be read: RuntimeError: no answer"]


def test_a_dag_that_cannot_be_read_stops_no_given_id() -> None:
    class BrokenDag(Dag):
        def get_task(self, task_id: str) -> Any:
            raise KeyError(task_id)

    instance = with_xcoms({"start": "run_1"}, "work", 2)
    ids = gathered(run_ids="run_0", tasks="start", ti=instance, dag=BrokenDag())
    assert ids.found == ["run_0"]
    assert ids.failed == ["the XCom 'k' of task 'start' cannot be read: KeyError: 'start'"]


@pytest.mark.parametrize(("length", "mark"), [(MAX_ERROR_LENGTH, ""), (MAX_ERROR_LENGTH + 1, "…")])
def test_a_long_error_is_shortened(length: int, mark: str) -> None:
    error = OSError("x" * (length - len("OSError: ")))
    [sentence] = gathered({"start": error}, tasks="start").failed
    shown = sentence.removeprefix("the XCom 'k' of task 'start' cannot be read: ")
    assert shown == "OSError: " + "x" * (MAX_ERROR_LENGTH - len("OSError: ")) + mark
    assert MAX_ERROR_LENGTH == 300


@pytest.mark.parametrize("error", [AirflowTaskTimeout("out of time"), KeyboardInterrupt(), SystemExit(1)])
def test_what_ends_the_task_is_raised(error: BaseException) -> None:
    with pytest.raises(type(error)):
        gathered({"start": error}, tasks="start")
    with pytest.raises(type(error)):
        gathered(run_ids=broken(error))


# Callbacks without XCom


@pytest.mark.parametrize("context", [{}, {"ti": None}])
def test_without_a_task_instance_there_is_no_xcom(context) -> None:
    given = ("run_ids", "xcom_task_ids")
    ids = gather(context, given=given, run_ids="run_1", xcom_task_ids=["start"], xcom_key="k")
    text = without_xcom("its context has no task instance")
    assert ids == RunIds(found=["run_1"], failed=[text], _seen={"run_1"})


def test_where_an_xcom_is_out_of_reach_none_is_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xcom, "xcom_is_out_of_reach", lambda: True)
    ti = with_xcoms({"start": "run_2"})
    ids = gathered(run_ids="run_1", tasks=["start", "work"], ti=ti)
    assert ids.found == ["run_1"]
    assert ids.failed == [without_xcom("Dag callbacks of this Airflow version have none")]
    assert ti.pulls == []


def test_without_a_supervisor_none_is_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    ti = with_xcoms({"start": "run_2"})
    monkeypatch.setattr(xcom, "has_no_supervisor", lambda given: given is ti)
    ids = gathered(run_ids="run_1", tasks="start", ti=ti)
    assert ids.found == ["run_1"]
    assert ids.failed == [without_xcom("Dag callbacks under 'airflow dags test' have none")]
    assert ti.pulls == []


def test_out_of_reach_matters_only_where_a_task_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xcom, "xcom_is_out_of_reach", lambda: True)
    assert gathered(run_ids="run_1").failed == []


# Mapped tasks


@pytest.mark.parametrize(
    ("task_id", "by", "map_index", "options"),
    [
        ("start", "work", -1, {}),
        ("start", "work", 2, {}),
        ("work", "work", 2, {"map_indexes": 2}),
        ("work", "work", 0, {"map_indexes": 0}),
        ("work", "work", -1, {}),
        ("work", "work", None, {}),
        ("one.start", "one.cancel", 2, {"map_indexes": 2}),
        ("one.start", "one.cancel", 0, {"map_indexes": 0}),
        ("one.start", "work", -1, {}),
        ("one.start", "other.start", 2, {}),
        ("one.start", "work", 2, {}),
        ("start", "one.cancel", 2, {}),
    ],
)
def test_an_instance_takes_its_own_where_there_are_siblings(
    task_id: str, by: str, map_index, options: dict[str, int]
) -> None:
    ti = with_xcoms({task_id: "run_1"}, by, map_index)
    assert gathered(tasks=task_id, ti=ti).found == ["run_1"]
    assert ti.pulls == [{"task_ids": task_id, "key": "k"} | options]


def test_a_callback_of_the_dag_takes_all_as_its_task_instance_may_be_any() -> None:
    ti = with_xcoms({"work": "run_1"}, "work", 1)
    assert gathered(tasks="work", ti=ti, reason="task_failure").found == ["run_1"]
    assert ti.pulls == [{"task_ids": "work", "key": "k"}]


def test_without_a_dag_all_instances_count() -> None:
    ti = with_xcoms({"work": "run_1"}, "work", 1)
    gathered(tasks="work", ti=ti, dag=None)
    assert ti.pulls == [{"task_ids": "work", "key": "k"}]


def test_the_outputs_of_a_mapped_task_take_one_request() -> None:
    class LazyOutputs(Sequence[str]):
        """As Airflow's: an iterator of it sends a request for each item."""

        __module__ = "airflow.sdk"

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: Any) -> Any:
            assert index == slice(None)
            return ["run_1", "run_2"]

    ids = gather({}, given=("run_ids",), run_ids=LazyOutputs(), xcom_task_ids=None, xcom_key=None)
    assert ids.found == ["run_1", "run_2"]

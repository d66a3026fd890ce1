"""A callback that cancels runs: what a Dag run or task instance has started, or what XCom names, in time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow_names import DAG
from fake_airflow import START, TaskInstance, context_of, dag_run
from world import World

from airflow_provider_trigger._compat import AirflowException, BaseOperator
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

LIST = "GET /api/v1/runs"
WHERE = "Dag 'a_dag', Dag run 'manual_1', task 'first': "

with DAG("a_dag", schedule=None) as A_DAG:
    for name in ("first", "second"):
        RunTriggerTaskOperator(
            task_id=name, task_identifier="resize", wait_for_completion=False, deferrable=False
        )
    for name in ("other", "more", "last", "without_runs"):
        BaseOperator(task_id=name)


def start(world: World, task_id: str = "first", *, start: int = 0, **fields: Any) -> tuple[Any, Any]:
    """Start a run that never ends, as a task of this Dag run or of another; return it and the context."""
    world.server.on_task("resize", after=None)
    task: Any = A_DAG.get_task(task_id)
    context = context_of(TaskInstance(task_id, task=task, **fields), start=start, dag=A_DAG)
    return world.server.runs[task.execute(context)], context


def by_tag_only(context: Any) -> Any:
    """Let XCom name no run."""
    context["ti"].xcoms.clear()
    return context


def is_canceled(*runs: Any) -> list[bool]:
    return [run.status == "CANCELED" for run in runs]


def summary(world: World) -> tuple[str, str]:
    level, text = world.log.leveled[-1]
    return level, text


# What this task instance, or this Dag run, has started


@pytest.mark.parametrize("world", [{"list_window": 400 * 86400}], indirect=True)
def test_the_search_begins_where_the_dag_run_did_as_a_server_may_reject_all_times(world: World) -> None:
    run, context = start(world)
    world.sleep(5)
    CancelTriggerRunNotifier()(by_tag_only(context))
    assert is_canceled(run) == [True]
    assert len(world.network.requests(LIST)) == 2
    assert not [line for line in world.log.of("warning") if "Not searched" in line]


@pytest.mark.parametrize("has_xcom", [True, False])
def test_in_a_tasks_callback_it_is_about_the_runs_of_this_task_instance(world: World, has_xcom: bool) -> None:
    mine, context = start(world)
    others = [start(world, "second")[0], start(world, map_index=3)[0], start(world, start=1)[0]]
    CancelTriggerRunNotifier()(context if has_xcom else by_tag_only(context))
    assert is_canceled(mine, *others) == [True, False, False, False]
    assert mine.cancel_requests == 1
    assert summary(world) == ("info", f"{WHERE}1 Trigger.dev run: 1 canceled")


def test_of_a_mapped_task_the_log_names_the_instance(world: World) -> None:
    mine, context = start(world, map_index=0)
    CancelTriggerRunNotifier()(context)
    where = WHERE.replace("'first'", "'first', map index 0")
    assert (is_canceled(mine), summary(world)) == ([True], ("info", f"{where}1 Trigger.dev run: 1 canceled"))


def test_a_run_of_an_earlier_try_is_this_task_instances_too(world: World) -> None:
    before, _ = start(world)
    after, context = start(world, try_number=2, max_tries=1)  # after a clear
    assert before is not after
    CancelTriggerRunNotifier()(context)
    assert is_canceled(before, after) == [True, True]


def test_in_a_dags_callback_without_a_task_instance_it_finds_them_by_their_tag(world: World) -> None:
    first, context = start(world)
    second, _ = start(world, "second")
    del context["ti"]
    CancelTriggerRunNotifier()(context | {"reason": "timed_out"})
    assert is_canceled(first, second) == [True, True]
    assert world.log.of("warning") == world.log.of("error") == []


def test_without_a_dag_run_the_runs_in_xcom_are_all(world: World) -> None:
    mine, context = start(world)
    del context["dag_run"]
    CancelTriggerRunNotifier()(context)
    assert (is_canceled(mine), world.log.of("error"), world.network.requests(LIST)) == ([True], [], [])


ALERT = {"dag_id": "a_dag", "dag_run_id": "manual_1", "start_date": "2026-01-01T06:00:02.123456Z"}


@pytest.mark.parametrize("world", [{"list_lag": 1.5}], indirect=True)
@pytest.mark.parametrize("start_date", [ALERT["start_date"], "2026-01-01T07:00:02.123456+01:00", START])
def test_a_deadline_alert_is_about_the_dag_run(world: World, start_date: Any) -> None:
    mine, other = start(world)[0], start(world, start=1)[0]
    CancelTriggerRunNotifier().notify({"dag_run": ALERT | {"start_date": start_date}, "deadline": {}})  # type: ignore[typeddict-item]
    assert is_canceled(mine, other) == [True, False]
    assert summary(world) == ("info", "Dag 'a_dag', Dag run 'manual_1': 1 Trigger.dev run: 1 canceled")


@pytest.mark.parametrize("include", [False, True])
def test_what_the_found_runs_have_started_is_canceled_on_request_only(world: World, include: bool) -> None:
    mine, context = start(world)
    add = world.server.add_run
    child = add("QUEUED", parent=add("COMPLETED", parent=mine))
    CancelTriggerRunNotifier(include_descendants=include)(by_tag_only(context))
    assert is_canceled(mine, child) == [True, include]
    assert world.log.of("error") == []


def test_a_replay_that_someone_else_made_is_left_alone_with_a_warning(world: World) -> None:
    mine, context = start(world)
    replay = world.server.replay(mine)
    assert replay.tags == mine.tags
    CancelTriggerRunNotifier()(context)
    assert is_canceled(mine, replay) == [True, False]
    assert world.log.of("warning") == [
        f"{WHERE}Not canceled, as they have the tag of this Dag run or task, but not its idempotency key "
        f"(replays, or runs with a key of their own): {replay.id}"
    ]


def test_what_has_ended_is_a_success_and_not_canceled(world: World) -> None:
    ended, context = start(world)
    ended.status = "COMPLETED"
    CancelTriggerRunNotifier()(by_tag_only(context))
    assert (ended.cancel_requests, world.log.of("error")) == (0, [])


def test_where_nothing_was_started_nothing_is_canceled(world: World) -> None:
    other = world.server.add_run("EXECUTING")
    for task_id in ("first", "other"):
        ti = TaskInstance(task_id, task=A_DAG.get_task(task_id))
        CancelTriggerRunNotifier()(context_of(ti, dag=A_DAG))
    assert other.cancel_requests == 0
    assert {one.request for one in world.network.sent} == {LIST}
    assert world.log.of("error") == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"dag_run": None},
        {"dag_run": {}},
        {"dag_run": ALERT | {"start_date": None}},
        {"dag_run": ALERT | {"start_date": "soon"}},
        {"dag_run": SimpleNamespace(start_date=START)},
        {"dag_run": dag_run(run_id="")},
    ],
)
def test_where_the_context_does_not_say_what_was_started_the_log_says_so(world: World, given: Any) -> None:
    CancelTriggerRunNotifier().notify({"dag": A_DAG, "reason": "task_failure"} | given)
    assert world.network.sent == []
    level, text = summary(world)
    assert level == "error"
    assert "the runs of this Dag run cannot be found" in text
    assert "give run_ids, or use a task's callback" in text


@pytest.mark.parametrize("argument", ["run_ids", "xcom_task_ids"])
def test_an_empty_list_cancels_nothing_and_is_a_warning(world: World, argument: str) -> None:
    mine, context = start(world)
    before, given = len(world.network.sent), {argument: []}
    CancelTriggerRunNotifier(**given)(context)  # type: ignore[arg-type]
    assert is_canceled(mine) == [False]
    assert len(world.network.sent) == before
    assert world.log.of("warning") == [f"{WHERE}{argument} is an empty list"]


# Where the server or Airflow is slow


@pytest.mark.parametrize("lists", [True, False])
def test_they_are_found_by_their_tag_first_and_by_xcom_if_that_fails(world: World, lists: bool) -> None:
    mine, context = start(world)
    seen, pull = list[list[str]](), context["ti"].xcom_pull

    def xcom_pull(**options: Any) -> Any:
        seen.append([line for line in world.log.lines if WHERE in line])
        if lists:
            world.until(lambda: mine.status == "CANCELED", within=9)
        world.sleep(60 if lists else 11)
        return pull(**options)

    context["ti"].xcom_pull = xcom_pull
    if not lists:
        world.network.fault("403", LIST)
    CancelTriggerRunNotifier(timeout=10)(context)
    assert is_canceled(mine) == [True]
    assert seen[0] == [f"{WHERE}Canceling the Trigger.dev runs of the tag {mine.tags[-1]!r}, and of XCom"]
    level, text = summary(world)
    problem = "XCom was not read to its end" if lists else "could not be listed"
    assert level == "error"
    assert text.startswith(f"{WHERE}1 Trigger.dev run: 1 canceled - runs whose ids could not be read may")
    assert problem in text


@pytest.mark.parametrize(("kind", "part"), [("hang", LIST), ("503", LIST), ("hang", "")])
def test_its_time_limit_counts_for_the_search_too(world: World, kind: str, part: str) -> None:
    mine, context = start(world)
    by_tag_only(context)
    begun = world.now
    world.network.fault(kind, part)
    CancelTriggerRunNotifier(timeout=10)(context)
    assert world.now - begun < 11
    assert summary(world)[0] == "error"
    assert "could not be listed" in summary(world)[1]
    assert is_canceled(mine) == [False]


def test_one_403_of_the_list_leaves_no_run_alive(world: World) -> None:
    mine, context = start(world)
    world.sleep(5)
    world.network.fault("403", LIST, times=1)
    CancelTriggerRunNotifier()(by_tag_only(context))
    assert (is_canceled(mine), summary(world)) == ([True], ("info", f"{WHERE}1 Trigger.dev run: 1 canceled"))


def test_a_search_without_an_answer_holds_up_no_run_that_xcom_names(world: World) -> None:
    mine, context = start(world)
    begun = world.now
    world.network.fault("hang", LIST)
    CancelTriggerRunNotifier()(context)
    assert is_canceled(mine) == [True]
    assert [one.at - 1000 < begun + 1 for one in world.network.sent if "/cancel" in one.request] == [True]
    assert world.now < begun + 16  # the search has half of the time


def start_many(world: World, count: int) -> Any:
    """Start runs, and return the context of their task instance without XCom, once the list shows them."""
    first, context = start(world)
    for number in range(count - 1):
        options = {"tags": first.tags, "idempotencyKey": f"{first.idempotency_key}-{number}"}
        world.server.trigger("resize", options=options)
    world.sleep(5)
    return by_tag_only(context)


BUSY = {"busy_list_time": 3.6, "list_lag": 1.0, "query_lag": 1.0}
"""As the real server during 32 single cancels at a time (measured)."""


@pytest.mark.parametrize("world", [BUSY], indirect=True)
@pytest.mark.parametrize("latency", [(0.05, 0.15), (0.5, 1.0)])
def test_a_busy_server_cancels_1500_runs_of_a_tag_in_time(world: World, latency: tuple[float, float]) -> None:
    context = start_many(world, 1500)
    world.network.latency = latency
    begun = world.now
    CancelTriggerRunNotifier()(context)
    assert world.now - begun < 31
    assert world.network.statuses() == ["CANCELED"] * 1500
    assert "1500 Trigger.dev runs: 1500 canceled" in summary(world)[1]


@pytest.mark.parametrize("by", ["tag", "xcom", "run_ids"])
def test_its_time_limit_is_for_the_whole_call_and_nothing_is_sent_twice(world: World, by: str) -> None:
    context, run_ids = start_many(world, 250), list(world.server.runs)
    if by == "xcom":
        ti = TaskInstance(xcoms={"other": run_ids[:1], "more": run_ids[1:]})
        context = context_of(ti, dag=A_DAG, reason="task_failure")
    given = {"tag": {}, "xcom": {"xcom_task_ids": ["other", "more"]}, "run_ids": {"run_ids": run_ids}}[by]
    world.network.latency = (2.0, 2.0)
    world.server.bulk_rate = 5.0
    begun, before = world.now, len(world.network.sent)
    CancelTriggerRunNotifier(timeout=20, **given)(context)  # type: ignore[arg-type]
    assert world.now - begun < 21
    named = [one.id for bulk in world.server.bulk.values() for one in bulk.members]
    single = [one.request for one in world.network.sent[before:] if "/cancel" in one.request]
    assert (len(named), len(single)) == (len(set(named)), len(set(single)))


@pytest.mark.parametrize("world", [{"query_lag": 1.0}], indirect=True)
@pytest.mark.parametrize("bulk", [202, 403])
def test_a_query_at_its_end_confirms_what_was_canceled(world: World, bulk: int) -> None:
    run_ids = [world.server.add_run("EXECUTING").id for _ in range(1500)]
    if bulk == 403:
        world.network.fault("403", "/bulk-actions")
    world.network.latency = (0.2, 0.5)
    begun = world.now
    CancelTriggerRunNotifier(run_ids=run_ids, timeout=10)(context_of(TaskInstance("first"), dag=A_DAG))
    assert world.now - begun < 11
    level, text = summary(world)
    canceled = int(text.partition(" runs: ")[2].partition(" canceled")[0])
    assert level == "error"
    assert 0 <= world.network.statuses().count("CANCELED") - canceled < 200
    assert canceled > 300
    if bulk == 202:
        assert f" {canceled} canceled, {1500 - canceled} requested but not confirmed - the cancel of" in text
        assert " failed" not in text


def test_it_does_not_give_up_while_its_time_lasts(world: World) -> None:
    run_ids = [world.server.add_run("EXECUTING").id for _ in range(20)]
    world.connect(retry_for=5)
    world.network.outage("503", seconds=30)
    CancelTriggerRunNotifier(run_ids=run_ids, timeout=60)(context_of(TaskInstance("first"), dag=A_DAG))
    assert summary(world)[1].endswith("20 Trigger.dev runs: 20 canceled")


def test_a_cancel_whose_answers_are_lost_leaves_time_for_a_check(world: World) -> None:
    run = world.server.add_run("EXECUTING")
    world.network.fault("lost", "/cancel", after=True)
    CancelTriggerRunNotifier(run_ids=run.id, timeout=10)(context_of(TaskInstance("first"), dag=A_DAG))
    assert summary(world)[1].endswith("1 Trigger.dev run: 1 canceled")


def test_a_bulk_action_whose_answer_is_lost_may_have_canceled_its_runs(world: World) -> None:
    run_ids = [world.server.add_run("EXECUTING").id for _ in range(400)]
    world.network.fault("lost", "/bulk-actions", after=True)
    world.network.fault("403", "/query")
    notifier = CancelTriggerRunNotifier(run_ids=run_ids, timeout=5, max_concurrency=1)
    notifier(context_of(TaskInstance("first"), dag=A_DAG))
    assert "not acknowledged" in summary(world)[1]
    assert "not sent" not in "\n".join(world.log.lines)


def test_what_the_first_pages_show_is_canceled_where_a_later_one_is_not_answered(world: World) -> None:
    context = start_many(world, 151)

    def hang_on_the_second_page(request: str) -> None:
        if request == LIST and not world.network.faults:
            world.network.fault("hang", LIST)

    world.network.before = hang_on_the_second_page
    begun = world.now
    CancelTriggerRunNotifier()(context)
    first = next(one.at for one in world.network.sent if "cancel" in one.request or "bulk" in one.request)
    assert first - 1000 < begun + 5
    assert world.network.statuses().count("CANCELED") == 100
    assert "could not be listed" in summary(world)[1]


def test_a_late_connection_leaves_half_of_the_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, context = start(world)
    get = TriggerDevHook.get_connection

    def get_late(_: Any, conn_id: str) -> Any:
        world.sleep(15)
        return get(conn_id)

    monkeypatch.setattr(TriggerDevHook, "get_connection", get_late)
    CancelTriggerRunNotifier(timeout=10)(by_tag_only(context))
    assert is_canceled(mine) == [True]


# Where XCom names runs


def named_by_xcom(world: World, before: Callable[[str], object]) -> tuple[list[Any], Any]:
    """Return three runs that as many tasks have pushed, and a context in which each pull takes some time."""
    runs = [world.server.add_run("EXECUTING") for _ in range(3)]
    ti = TaskInstance(xcoms=dict(zip(("other", "more", "last"), (run.id for run in runs), strict=True)))
    xcom_pull = ti.xcom_pull

    def act_and_pull(*, task_ids: str, **options: Any) -> Any:
        before(task_ids)
        return xcom_pull(task_ids=task_ids, **options)

    ti.xcom_pull = act_and_pull  # type: ignore[method-assign]
    return runs, context_of(ti, dag=A_DAG, reason="task_failure")


@pytest.mark.parametrize("seconds", [0.5, 11.0])
def test_runs_are_canceled_as_they_are_read_also_after_the_time_limit(world: World, seconds: float) -> None:
    seen: list[list[bool]] = []

    def before(_: str) -> None:
        assert any("Canceling the Trigger.dev runs of xcom_task_ids=" in line for line in world.log.lines)
        seen.append(is_canceled(*runs))
        world.sleep(seconds)

    runs, context = named_by_xcom(world, before)
    CancelTriggerRunNotifier(xcom_task_ids=["other", "more", "last"], timeout=10)(context)
    assert is_canceled(*runs) == [True] * 3
    assert summary(world) == ("info", "Dag 'a_dag', Dag run 'manual_1': 3 Trigger.dev runs: 3 canceled")
    assert seconds < 1 or seen[2][:2] == [True, True]


def test_what_was_canceled_before_keeps_its_outcome_when_more_is_read(world: World) -> None:
    seconds = {"other": 0.1, "more": 1.0, "last": 5.0, "without_runs": 2.5}
    runs, context = named_by_xcom(world, lambda task_id: world.sleep(seconds[task_id]))
    CancelTriggerRunNotifier(xcom_task_ids=list(seconds), timeout=4)(context)
    assert (is_canceled(*runs), runs[0].cancel_requests) == ([True] * 3, 1)
    assert any(f"{runs[0].id} (hello-task): canceled, CANCELED" in line for line in world.log.lines)


def test_what_was_not_searched_before_is_said_when_more_is_read(world: World) -> None:
    seconds = {"other": 0.1, "more": 0.1, "last": 12.0}
    runs, context = named_by_xcom(world, lambda task_id: world.sleep(seconds[task_id]))
    child = world.server.add_run("COMPLETED", parent=runs[0])
    world.network.fault("hang", f"GET /api/v3/runs/{child.id}")
    CancelTriggerRunNotifier(xcom_task_ids=list(seconds), include_descendants=True, timeout=10)(context)
    assert is_canceled(*runs) == [True] * 3
    assert [line for line in world.log.lines if "Descendants may be missing, and still run" in line]


# What a killed process has not pushed

with DAG("a_dag", schedule=None) as KILLED:
    RunTriggerTaskBatchOperator(
        task_id="batch",
        task_identifier="resize",
        payloads=[1, 2, 3],
        wait_for_completion=False,
        deferrable=False,
    )
    CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="batch")
    mapped: Any = RunTriggerTaskBatchOperator.partial(task_id="mapped", task_identifier="resize")
    mapped.expand(payloads=[[1], [2]])


def killed(world: World) -> tuple[list[Any], Any]:
    """Return the runs of a batch whose process was killed early, one of another Dag run, and a context."""
    world.server.on_task("resize", after=None)
    batch: Any = KILLED.get_task("batch")
    run_ids: list[str] = []
    for start_of_dag_run in (0, 1):
        ti = TaskInstance("batch", task=batch)
        run_ids += batch.execute(context_of(ti, start=start_of_dag_run, dag=KILLED))
    ti = TaskInstance("cancel", task=KILLED.get_task("cancel"))
    ti.xcoms["batch", "run_id"] = [run_ids[0], None, None]
    return [world.server.runs[run_id] for run_id in run_ids[:4]], context_of(ti, dag=KILLED)


def cancel(context: Any, by_operator: bool) -> Any:
    if by_operator:
        return KILLED.get_task("cancel").execute(context)
    return CancelTriggerRunNotifier(xcom_task_ids="batch")(context)


@pytest.mark.parametrize("by_operator", [True, False])
def test_runs_that_a_killed_process_has_not_pushed_have_their_tag(world: World, by_operator: bool) -> None:
    runs, context = killed(world)
    replay = world.server.replay(runs[1])
    cancel(context, by_operator)
    assert is_canceled(*runs, replay) == [True, True, True, False, False]
    assert [run.cancel_requests for run in runs] == [1, 1, 1, 0]
    [warning] = world.log.of("warning")
    assert replay.id in warning


@pytest.mark.parametrize("by_operator", [True, False])
@pytest.mark.parametrize("what", ["list", "no Dag run", "mapped"])
def test_where_no_search_works_the_error_names_their_tag(world: World, what: str, by_operator: bool) -> None:
    runs, context = killed(world)
    tags = runs[0].tags
    tag = tags[1] if what == "mapped" else tags[2]
    if what == "list":
        world.network.fault("403", LIST)
    elif what == "no Dag run":
        del context["dag_run"]
        tag = "look in the dashboard"
    else:
        xcoms = context["ti"].xcoms
        xcoms["mapped", "run_id"] = [xcoms.pop(("batch", "run_id"))]
    task_id = "mapped" if what == "mapped" else "batch"
    if by_operator:
        operator = CancelTriggerRunOperator(task_id="by_hand", xcom_task_ids=task_id)
        with pytest.raises(AirflowException) as raised:
            operator.execute(context)
        text = str(raised.value)
    else:
        CancelTriggerRunNotifier(xcom_task_ids=task_id)(context)
        level, text = summary(world)
        assert level == "error"
    assert is_canceled(*runs) == [True, False, False, False]
    assert "runs whose ids could not be read may still run" in text
    assert tag in text


@pytest.mark.parametrize("pushed", [None, [None], ["run_x", None]])
def test_what_no_process_was_killed_for_is_not_searched(world: World, pushed: Any) -> None:
    world.server.add_run("EXECUTING", run_id="run_x")
    ti = TaskInstance("cancel", xcoms={"other": pushed})
    CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="other").execute(context_of(ti, dag=A_DAG))
    assert world.network.requests(LIST + "?") == []
    assert world.log.of("error") == []


def test_where_the_key_is_rejected_runs_that_are_read_later_are_reported_too(world: World) -> None:
    runs, context = named_by_xcom(world, lambda _: world.sleep(20))
    world.network.fault("401")
    CancelTriggerRunNotifier(xcom_task_ids=["other", "more", "last"])(context)
    level, text = summary(world)
    assert level == "error"
    assert (
        "3 Trigger.dev runs: 3 failed - Connection 'trigger_dev_default': the secret key was rejected" in text
    )
    assert all(run.id in "\n".join(world.log.of("error")) for run in runs)
    assert len(world.network.sent) < 30

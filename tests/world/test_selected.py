"""Runs that are searched by tags and batches: which are canceled or waited for, and what is said of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import requests
from airflow_task import IS_AIRFLOW_2, Task
from fake_airflow import TaskInstance, context_of
from world import World

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

LIST = "GET /api/v1/runs"
LAGS = pytest.mark.parametrize("world", [{"list_lag": 2.0}], indirect=True)


def tagged(world: World, count: int = 1) -> list[str]:
    """Start runs with a tag as another application would, and return their ids."""
    world.server.on_task("resize", after=None)
    return [world.server.trigger("resize", options={"tags": ["a"]})[0].id for _ in range(count)]


def post(world: World, path: str, *lines: Any, kind: str = "json") -> Any:
    headers = {
        "authorization": f"Bearer {world.server.secret_key}",
        "content-type": f"application/{kind}",
    }
    data = "\n".join(map(json.dumps, lines))
    return requests.post(f"{world.network.url}{path}", data=data, headers=headers, timeout=(9, 9)).json()


def start_batch(world: World, *items: dict[str, Any]) -> tuple[str, list[str]]:
    """Start a batch as another application would; return its id and its runs'."""
    world.server.on_task("resize", after=None)
    body = {"items": [{"task": "resize", "options": options} for options in items]}
    batch_id = post(world, "/api/v2/tasks/batch", body)["id"]
    return batch_id, [run.id for run in world.server.runs.values() if run.batch_id == batch_id]


def cancel(world: World, run_ids: Any = None, **arguments: Any) -> Any:
    """Cancel runs by the operator; return what became of its only try."""
    given = {"task_id": "cancel", "run_ids": run_ids} | arguments
    return world.task(lambda: CancelTriggerRunOperator(**given)).run()


def canceled(world: World) -> list[str]:
    return [run.id for run in world.server.runs.values() if run.status == "CANCELED"]


NARROW = pytest.mark.parametrize("world", [{"list_window": 1.01 * 86400}], indirect=True)


@NARROW
def test_what_is_older_than_a_server_lists_is_not_searched_which_a_warning_says(world: World) -> None:
    [old] = tagged(world)
    world.sleep(86400)
    [new] = tagged(world)
    world.sleep(5)
    assert cancel(world, tags="a").state == "success"
    assert canceled(world) == [new]
    assert "Not searched are runs from before" in "\n".join(world.log.of("warning"))
    assert cancel(world, old).state == "success"


@NARROW
def test_own_code_that_names_a_time_too_long_ago_gets_the_servers_error(world: World) -> None:
    tagged(world)
    ago = datetime.fromtimestamp(world.hub.time(), UTC) - timedelta(days=2)
    with pytest.raises(ResponseError, match="422: This query would be too expensive"):
        list(TriggerDevHook().list_runs(tags="a", created_after=ago))


def test_runs_with_large_metadata_are_found(world: World) -> None:
    world.server.on_task("resize", after=None)
    for _ in range(110):
        world.server.trigger("resize", options={"tags": ["a"], "metadata": {"rows": "x" * 200_000}})
    world.sleep(20)
    assert cancel(world, tags="a").state == "success"
    assert len(canceled(world)) == 110


def test_a_stop_amid_the_search_says_that_further_runs_may_exist(world: World) -> None:
    tagged(world, 3)
    world.network.fault("hang", LIST, times=5)
    task = world.task(lambda: CancelTriggerRunOperator(task_id="cancel", tags=["a"])).begin()
    world.sleep(1)
    task.stop()
    text = "runs whose ids could not be read may still run; tags=['a']: not all runs were searched"
    assert IS_AIRFLOW_2 or text in str(task.join().error)  # Airflow 2 ends the task by an error of its own


# What selects them, which may be templated


def execute(arguments: dict[str, Any], values: dict[str, Any]) -> Any:
    """Execute the operator as rendered with values."""
    operator = CancelTriggerRunOperator(task_id="cancel", **arguments)
    context: Any = {"dag": None} | values
    operator.render_template_fields(context)
    return operator.execute(context_of(TaskInstance("cancel")))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"run_ids": [], "tags": None}, []),
        ({"tags": ["a", "{{ day }}"], "batch_ids": "{{ batches[1] }}"}, ["second", "tagged"]),
        ({"batch_ids": "{{ batches }}"}, ["first", "second"]),
        # What a mapped task was not given is no error.
        ({"tags": "monday", "_airflow_from_mapped": True}, ["tagged"]),
    ],
)
def test_runs_are_selected_by_tags_and_batches(
    world: World, arguments: dict[str, Any], expected: list[str]
) -> None:
    made = {name: start_batch(world, {}) for name in ("first", "second")}
    names = {run_id: name for name, (_, [run_id]) in made.items()}
    names[world.server.add_run("QUEUED", tags=["monday", "a"]).id] = "tagged"
    names[world.server.add_run("QUEUED", tags=["a"]).id] = "other"
    world.sleep(5)
    execute(arguments, {"day": "monday", "batches": [batch_id for batch_id, _ in made.values()]})
    assert sorted(names[run_id] for run_id in canceled(world)) == expected
    assert bool(world.network.sent[2:]) is bool(expected)


@pytest.mark.parametrize("name", ["tags", "batch_ids"])
@pytest.mark.parametrize("found", [None, "", [], "a,b"])
def test_a_template_that_finds_nothing_selects_no_runs_and_is_named(
    world: World, name: str, found: Any
) -> None:
    tagged(world)
    given = world.server.add_run("EXECUTING").id
    with pytest.raises(AirflowFailException, match=f"; {name} must (not )?be "):
        execute({"run_ids": given, name: "{{ found }}"}, {"found": found})
    assert canceled(world) == [given]


# By tags


def test_the_log_names_each_run_before_its_cancel(world: World) -> None:
    run_ids = tagged(world, 53)
    world.sleep(5)
    shown: list[list[str]] = []
    world.network.before = lambda request: shown.append([*world.log.lines]) if "/cancel" in request else None
    cancel(world, tags="a")
    start = "Found 53 runs alive by tags=['a']: "
    [named] = [line.removeprefix(start).split(", ") for line in shown[0] if line.startswith(start)]
    assert sorted(named) == sorted(run_ids)


@pytest.mark.parametrize("count", [4, 250])
@pytest.mark.parametrize("by_hook", [False, True])
def test_more_runs_than_allowed_are_an_error(world: World, count: int, by_hook: bool) -> None:
    tagged(world, count)
    given = world.server.add_run("EXECUTING").id
    world.sleep(5)
    if by_hook:
        with pytest.raises(ValueError, match=r"^cancel_runs: tags=\['a'\] finds ") as raised:
            TriggerDevHook().cancel_runs(given, tags="a", max_runs=3)
        error: Any = raised.value
    else:
        outcome = cancel(world, given, tags="a", max_runs=3)
        error = outcome.error
        assert type(error) is AirflowFailException
    assert "could not be read" not in str(error)
    assert (
        "tags=['a'] finds more than max_runs=3 runs that are alive: none of these was canceled. "
        "Select fewer runs, or set max_runs"
    ) in str(error)
    assert canceled(world) == [given]
    assert len(world.network.requests(LIST)) == 1  # it does not read all pages to count them


@LAGS
def test_runs_that_appear_later_and_are_too_many_are_left_alone_and_are_a_failure(world: World) -> None:
    [first] = tagged(world)
    world.sleep(5)
    later = tagged(world, 3)
    outcome = cancel(world, tags="a", max_runs=2)
    text = "tags=['a']: not canceled, as max_runs=2 runs were found: 2 more. Try again for these"
    assert text in str(outcome.error)
    assert type(outcome.error) is not AirflowFailException
    assert first in canceled(world)
    assert len(set(canceled(world)) & set(later)) == 1


# What is wrong


@pytest.mark.parametrize("on_empty", ["fail", "ignore"])
def test_each_source_without_runs_that_are_alive_is_named(world: World, on_empty: Any) -> None:
    ended, [run_id] = start_batch(world, {})
    world.server.runs[run_id].status = "COMPLETED"
    batch_id, [alive] = start_batch(world, {"tags": ["b"]})
    world.sleep(5)
    outcome = cancel(world, tags=["a", "b"], batch_ids=[ended, batch_id], on_empty=on_empty)
    assert canceled(world) == [alive]
    empty = ["no run that is alive has tags=['a', 'b']", f"batch {ended!r} has no run that is alive"]
    assert world.log.of("error" if on_empty == "fail" else "warning") == empty
    assert (outcome.state, "; ".join(empty) in str(outcome.error)) == (
        ("failed", True) if on_empty == "fail" else ("success", False)
    )


def test_a_run_with_the_tag_in_the_batch_is_found_once(world: World) -> None:
    batch_id, [run_id] = start_batch(world, {"tags": ["a"]})
    world.sleep(5)
    outcome = cancel(world, tags="a", batch_ids=batch_id, on_empty="fail")
    assert [one["run_id"] for one in outcome.result] == [run_id]


@pytest.mark.parametrize(
    ("start", "said", "cancels"),
    [(0.0, "not all runs could be searched", False), (1006.0, "further runs could not be searched", True)],
)
def test_a_search_that_fails_leaves_no_other_run_alive_and_may_be_repeated(
    world: World, start: float, said: str, cancels: bool
) -> None:
    [run_id] = tagged(world)
    batch_id, [member] = start_batch(world, {})
    given = world.server.add_run("EXECUTING").id
    world.sleep(5)
    world.network.fault("500", LIST, start=start)
    outcome = cancel(world, given, tags="a", batch_ids=batch_id)
    assert sorted(canceled(world)) == sorted([given, member, *([run_id] if cancels else [])])
    assert f"tags=['a'] and batch_ids=[{batch_id!r}]: {said}: {LIST} " in str(outcome.error)
    assert type(outcome.error) is not AirflowFailException


def test_a_403_of_the_first_search_is_no_answer_to_the_second(world: World) -> None:
    run_ids = tagged(world)
    world.network.fault("403", LIST, times=1)
    assert "not all runs could be searched" in str(cancel(world, tags="a").error)
    assert canceled(world) == run_ids


@pytest.mark.parametrize(("kind", "error"), [("500", "ServerError"), ("401", "AuthenticationError")])
def test_by_the_hook_a_search_that_fails_cancels_the_given_runs_only(
    world: World, kind: str, error: str
) -> None:
    batch_id, _ = start_batch(world, {})
    tagged(world)
    given = world.server.add_run("EXECUTING").id
    world.sleep(5)
    world.network.fault(kind, LIST)
    with pytest.raises(Exception, match=LIST) as raised:
        TriggerDevHook().cancel_runs(given, tags="a", batch_ids=batch_id)
    assert type(raised.value).__name__ == error
    assert set(canceled(world)) <= {given}
    assert kind == "401" or canceled(world) == [given]


@pytest.mark.parametrize("by_hook", [False, True])
def test_an_unknown_batch_is_named_once(world: World, by_hook: bool) -> None:
    batch_id, [member] = start_batch(world, {})
    world.sleep(5)
    text = "'batch_nope' from batch_ids is not a valid batch id: the environment of the secret key has no"
    if by_hook:
        with pytest.raises(ValueError, match=text):
            TriggerDevHook().cancel_runs(batch_ids=["batch_nope", batch_id])
    else:
        outcome = cancel(world, batch_ids=["batch_nope", batch_id])
        assert type(outcome.error) is AirflowFailException
        assert text in str(outcome.error)
        assert str(world.log.of("error")).count("batch_nope") == 1
    assert canceled(world) == ([] if by_hook else [member])


def test_a_rejected_key_ends_the_search(world: World) -> None:
    batch_id, _ = start_batch(world, {})
    world.sleep(5)
    world.network.fault("401")
    outcome = cancel(world, batch_ids=[batch_id, "batch_2"])
    assert type(outcome.error) is AirflowFailException
    assert "the secret key was rejected: check the password of connection" in str(outcome.error)
    assert not world.network.requests("batch_2")


def test_a_stop_ends_the_search_and_keeps_what_it_has_found(world: World) -> None:
    tagged(world, 250)
    world.sleep(5)
    operator, ti = CancelTriggerRunOperator(task_id="cancel", tags="a"), TaskInstance("cancel")

    def stop(request: str) -> None:
        if world.network.sent:  # it asks for the second page
            operator.on_kill()

    world.network.before = stop
    with pytest.raises(AirflowException, match="Airflow stopped the task before its work was done"):
        operator.execute(context_of(ti))
    assert 100 <= len(ti.pushed["return_value"]) <= 200
    assert len(world.network.sent) <= 2


# By batches


def test_the_runs_of_a_batch_are_found_in_its_order_by_two_requests(world: World) -> None:
    batch_id, run_ids = start_batch(world, *({} for _ in range(5)))
    world.sleep(5)
    world.server.runs[run_ids[1]].status = "COMPLETED"
    outcome = cancel(world, batch_ids=batch_id)
    assert [one["run_id"] for one in outcome.result] == [run_ids[0], *run_ids[2:]]
    first = [one.request for one in world.network.sent if "/cancel" not in one.request][1:3]
    assert first == [f"GET /api/v2/batches/{batch_id}", LIST]


def test_a_run_of_an_earlier_batch_that_an_item_got_by_its_key_is_found(world: World) -> None:
    key = {"idempotencyKey": "k"}
    _, [first] = start_batch(world, key)
    batch_id, [second] = start_batch(world, key, {})
    world.sleep(5)
    cancel(world, batch_ids=batch_id)
    assert canceled(world) == [first, second]


@pytest.mark.parametrize("world", [{"list_lag": 60.0}], indirect=True)
@pytest.mark.parametrize("is_made", [False, True])
def test_of_runs_that_only_the_batch_names_one_that_was_never_made_is_left_out(
    world: World, is_made: bool
) -> None:
    batch_id, [odd, other] = start_batch(world, {}, {})
    if is_made:
        world.network.fault("403", f"GET /api/v3/runs/{odd}")
    else:
        world.server.runs[odd].environment = "dev"  # unknown to this key
    outcome = cancel(world, batch_ids=batch_id)
    assert other in canceled(world)
    assert (odd in canceled(world), outcome.state == "failed") == (is_made, is_made)


def unsealed(world: World) -> tuple[str, list[str]]:
    """Start a batch whose last item never comes: it names none of its runs, and only the list shows them."""
    world.server.on_task("resize", after=None)
    batch_id = post(world, "/api/v3/batches", {"runCount": 4})["id"]
    items = [{"index": index, "task": "resize"} for index in range(3)]
    post(world, f"/api/v3/batches/{batch_id}/items", *items, kind="x-ndjson")
    world.sleep(5)
    run_ids = [run.id for run in world.server.runs.values()]
    assert len(run_ids) == 3
    return batch_id, run_ids


def test_a_batch_that_is_still_being_created_is_a_failure_and_what_exists_is_canceled(world: World) -> None:
    batch_id, run_ids = unsealed(world)
    outcome = cancel(world, batch_ids=batch_id)
    assert canceled(world) == run_ids
    text = f"batch {batch_id!r} is still being created: 0 of its 4 runs exist. Try again for the others"
    assert text in str(outcome.error)
    assert type(outcome.error) is not AirflowFailException


def test_a_server_that_ignores_the_filter_by_batch_adds_no_runs_of_others(world: World) -> None:
    batch_id, run_ids = unsealed(world)
    other = world.server.add_run("EXECUTING").id
    world.sleep(5)
    world.network.unknown_parameters.append("filter[batch]")
    cancel(world, batch_ids=batch_id)
    assert canceled(world) == run_ids
    assert other not in canceled(world)


def test_a_run_that_only_the_list_shows_and_that_cannot_be_checked_is_left_alone_and_said(
    world: World,
) -> None:
    batch_id, [odd, *others] = unsealed(world)
    world.network.fault("403", f"GET /api/v3/runs/{odd}")
    outcome = cancel(world, batch_ids=batch_id)
    assert canceled(world) == others
    assert f"not all runs could be searched: GET /api/v3/runs/{odd} " in str(outcome.error)


# The sensor

MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "deferred": {"deferrable": True},
    "deferred in place of rescheduled": {"deferrable": True, "mode": "reschedule"},
}
IN_EACH_MODE = pytest.mark.parametrize("mode", MODES)


def begin(world: World, mode: str = "poke", retries: int = 0, **arguments: Any) -> Task:
    """Begin a sensor, which has searched 10 s later."""
    given = {"task_id": "wait", "poke_interval": 30} | MODES[mode] | arguments
    task = world.task(partial(TriggerRunSensor, **given), retries=retries).begin()
    world.sleep(10)
    return task


def add(world: World, *, ends: float = 100, status: str = "COMPLETED", tags: str = "a", **more: Any) -> str:
    """Start a run as another application would; return its id."""
    world.server.on_task("resize", after=None)
    run = world.server.add_run("EXECUTING", tags=[tags], then=[(ends, status)], **more)
    return str(run.id)


def ended(*run_ids: str, status: str = "COMPLETED") -> list[dict[str, str]]:
    return [{"run_id": run_id, "status": status} for run_id in run_ids]


@IN_EACH_MODE
def test_it_waits_for_the_runs_that_are_alive_and_those_given(world: World, mode: str) -> None:
    given, first, last = (add(world, tags=tag, ends=ends) for tag, ends in (("b", 20), ("a", 40), ("a", 200)))
    add(world, ends=1, status="FAILED")  # it has ended before
    world.sleep(5)
    outcome = begin(world, mode, run_ids=given, tags=["a"]).join()
    assert (outcome.state, outcome.tries) == ("success", 1), outcome.error
    assert sorted(map(str, outcome.result)) == sorted(map(str, ended(given, first, last)))
    assert 190 <= world.now <= 240


@IN_EACH_MODE
def test_a_run_that_fails_after_the_search_fails_it(world: World, mode: str) -> None:
    failing = add(world, ends=32, status="FAILED")
    add(world, ends=900)
    world.sleep(5)
    outcome = begin(world, mode, tags="a").join()
    assert type(outcome.error).__name__ == "TriggerRunNotRetriedError", outcome.error
    assert failing in str(outcome.error)
    assert world.now < 100


@IN_EACH_MODE
def test_a_run_that_starts_after_the_search_is_not_waited_for(world: World, mode: str) -> None:
    run_id = add(world)
    world.sleep(5)
    task = begin(world, mode, tags="a")
    add(world, ends=9000)
    assert task.join().result == ended(run_id)
    assert len(world.network.requests(LIST)) == 2


@IN_EACH_MODE
def test_a_retry_searches_again(world: World, mode: str) -> None:
    add(world, ends=30)
    world.sleep(5)
    task = begin(world, mode, tags="a", retries=1)
    second = add(world, ends=900)
    (task.kill if mode == "poke" else task.fail_trigger)()
    outcome = task.join()
    assert (outcome.tries, outcome.result) == (2, ended(second))


@pytest.mark.parametrize("count", [1, 1001])
def test_a_wait_that_begins_again_is_for_the_same_runs(world: World, count: int) -> None:
    run_ids = [add(world, ends=900) for _ in range(count)]
    odd = world.server.add_run("EXECUTING", tags=["a"])
    world.sleep(20)
    task = begin(world, "deferred", tags="a", max_runs=2000)
    world.sleep(30)
    later = add(world, ends=5)
    task.before_resuming = lambda: setattr(odd, "status", "COMPLETED")  # its worker completed it all the same
    odd.status = "CANCELED"
    outcome = task.join()
    assert sorted(map(str, outcome.result)) == sorted(map(str, ended(odd.id, *run_ids)))
    assert later not in str(outcome.result)
    assert 900 <= world.now <= 1000


@pytest.mark.parametrize("world", [{"list_lag": 2.0}], indirect=True)
def test_a_run_that_the_list_does_not_show_at_once_is_found(world: World) -> None:
    run_id = add(world)
    assert begin(world, tags="a").join().result == ended(run_id)


@IN_EACH_MODE
def test_it_waits_for_the_runs_of_a_batch_in_their_order(world: World, mode: str) -> None:
    batch_id, run_ids = start_batch(world, *({} for _ in range(3)))
    world.sleep(5)
    task = begin(world, mode, batch_ids=batch_id)
    for run_id in run_ids:
        world.server.runs[run_id].status = "COMPLETED"
        world.sleep(40)
    assert task.join().result == ended(*run_ids)


def test_a_wait_for_a_batch_that_is_still_being_created_is_a_failure(world: World) -> None:
    batch_id, _ = unsealed(world)
    outcome = begin(world, batch_ids=batch_id).join()
    text = "is still being created: 0 of its 4 runs exist. Try again for the others"
    assert f"batch {batch_id!r} {text}" in str(outcome.error)
    assert type(outcome.error) is not AirflowFailException


@pytest.mark.parametrize("soft_fail", [True, False])
def test_the_timeout_of_a_sensor_ends_its_search_in_an_outage(world: World, soft_fail: bool) -> None:
    world.network.outage("refused", seconds=900)
    outcome = begin(world, tags="a", timeout=20, soft_fail=soft_fail, retries=1).join()
    assert (outcome.state, outcome.tries) == ("skipped" if soft_fail else "failed", 1), outcome.error
    assert world.now <= 60


@IN_EACH_MODE
@pytest.mark.parametrize("on_empty", ["fail", "ignore"])
def test_a_search_that_finds_nothing_is_an_empty_source(world: World, mode: str, on_empty: str) -> None:
    batch_id, [run_id] = start_batch(world, {})
    world.server.runs[run_id].status = "COMPLETED"
    add(world, tags="b")
    world.sleep(5)
    outcome = begin(world, mode, tags=["a", "b"], batch_ids=[batch_id], on_empty=on_empty).join()
    empty = ["no run that is alive has tags=['a', 'b']", f"batch {batch_id!r} has no run that is alive"]
    assert world.log.of("error" if on_empty == "fail" else "warning") == empty
    if on_empty == "ignore":
        assert (outcome.state, outcome.result) == ("success", [])
    else:
        assert (type(outcome.error), str(outcome.error)) == (AirflowFailException, "; ".join(empty))


def test_more_runs_to_wait_for_than_allowed_are_an_error(world: World) -> None:
    for _ in range(4):
        add(world)
    world.sleep(5)
    error = begin(world, tags="a", max_runs=3).join().error
    text = "tags=['a'] finds more than max_runs=3 runs that are alive: none of these was waited for. "
    assert (type(error), str(error)) == (AirflowFailException, f"{text}Select fewer runs, or set max_runs")


@pytest.mark.parametrize(
    ("fault", "arguments", "text", "is_final"),
    [
        ("500", {"tags": "a"}, f"tags=['a']: not all runs could be searched: {LIST} ", False),
        ("401", {"tags": "a"}, f"{LIST} answered 401: ", True),
        ("", {"batch_ids": "batch_nope"}, "'batch_nope' from batch_ids is not a valid batch id: ", True),
        ("", {"tags": "a", "run_ids": [5]}, "5 from run_ids is not a valid run id", True),
    ],
)
def test_a_search_that_cannot_be_made_is_a_failure_that_is_retried_if_that_may_help(
    world: World, fault: str, arguments: dict[str, Any], text: str, is_final: bool
) -> None:
    add(world)
    world.sleep(5)
    if fault:
        world.network.fault(fault, LIST)
    error = begin(world, **arguments).join().error
    assert text in str(error)
    assert isinstance(error, AirflowFailException) is is_final

"""Which of the runs with a tag are ours, and how the list is read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fake_clock import Clock

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.errors import (
    NotSentError,
    ServerError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.run.find import RunFilter, find_runs
from airflow_provider_trigger.run.identity import DagRunIdentity, TaskInstanceIdentity
from airflow_provider_trigger.testing import TriggerDevServer

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))
TASKS = [TaskInstanceIdentity(dag_run=DAG_RUN, task_id=task_id) for task_id in ("a", "b")]


def add(
    server: TriggerDevServer, status: str = "EXECUTING", task: Any = TASKS[0], number: int = 0, **fields: Any
) -> Any:
    given = {"idempotency_key": f"{task.start_of_keys}{number}", "tags": task.tags}
    return server.add_run(status, **given | fields)


def add_in_turn(server: TriggerDevServer, clock: Clock, count: int, *, pause: float) -> list[Any]:
    """Add runs that were created one after the other, the earliest first."""
    runs = []
    for number in range(count):
        clock.sleep(pause)
        runs.append(add(server, number=number))
    return runs


@pytest.fixture
def find(client):
    return lambda starter=DAG_RUN: find_runs(client, tag=starter.tag, is_ours=starter.has_started)


@pytest.mark.parametrize(
    "status",
    ["PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED", "PAUSED_BY_USER"],
)
def test_a_run_in_any_alive_state_is_found(server, find, status: str) -> None:
    run = add(server, status)
    [found] = find().ours
    assert (found.id, found.status) == (run.id, status)


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELED", "FAILED", "EXPIRED", "CRASHED", "TIMED_OUT"])
def test_a_run_that_has_ended_is_not_found(server, find, network, status: str) -> None:
    add(server, status)
    assert find().ours == []
    assert len(network.requests) == 1


def test_canceled_runs_whose_worker_may_still_execute_are_found_where_they_are_listed(
    server, find, clock
) -> None:
    run, queued, terminated = add(server), add(server, "QUEUED", number=1), add(server, number=2)
    terminated.cancel()
    clock.sleep(100)
    run.cancel()
    queued.cancel()
    replayed = server.replay(run)
    replayed.status = "EXECUTING"
    replayed.cancel()
    found = find()
    assert set(found.stopping) == {run.id, replayed.id}
    assert (found.ours, found.others) == ([], [])


def test_a_replay_carries_the_tags_but_is_not_ours(server, find) -> None:
    original = add(server, "COMPLETED")
    replayed = server.replay(original)
    replayed.status = "EXECUTING"
    foreign = add(server, idempotency_key="order-17")
    found = find()
    assert found.ours == []
    assert sorted(found.others) == sorted([replayed.id, foreign.id])


OURS = RunFilter(tags=(DAG_RUN.tag,), only_alive=True)


def listed(client: Any, **options: Any) -> list[str]:
    pages = OURS.pages(client, **options)
    return [run.id for page in pages for run in page]


@pytest.mark.usefixtures("without_listed_keys")
def test_a_run_that_is_listed_without_a_key_is_checked(server, find, network) -> None:
    runs = [add(server, number=number) for number in range(3)]
    replayed = server.replay(runs[0])
    replayed.stay()
    add(server, "COMPLETED", number=4)
    found = find()
    assert {run.id for run in found.ours} == {run.id for run in runs}
    assert found.others == [replayed.id]
    assert len(network.sent("GET /api/v3/runs/")) == 4


def test_all_pages_are_read_also_behind_an_empty_one(server, client, network, clock) -> None:
    runs = add_in_turn(server, clock, 250, pause=0.01)
    server.list_lag = 60
    clock.sleep(120)
    for run in runs[-150:]:  # the whole first page, the newest runs, and half of the second one
        run.status = "COMPLETED"
    assert listed(client) == [run.id for run in reversed(runs[:100])]
    assert len(network.sent("GET /api/v1/runs")) == 3


def test_runs_that_are_older_than_a_week_are_listed(server, client, clock) -> None:
    run = add(server, "DELAYED")
    run.stay()
    clock.sleep(30 * 86400)
    assert listed(client) == [run.id]


def test_a_list_that_fails_is_told_with_what_it_has_shown_before(
    server, find, client, clock, network, answer
) -> None:
    runs = add_in_turn(server, clock, 150, pause=0.01)

    def fail_after_the_first_page(_: str) -> None:
        if len(network.sent("GET /api/v1/runs")) > 1:
            network.fault("GET /api/v1/runs", answer(500, {"error": "no database"}), times=1000)

    network.before = fail_after_the_first_page
    found = find()
    assert [run.id for run in found.ours] == [run.id for run in reversed(runs[50:])]
    assert isinstance(found.error, ServerError)


def test_the_deadline_ends_the_list(client, network, clock, lost) -> None:
    network.fault("GET", lost, times=1000)
    with pytest.raises(TriggerDevError):
        listed(client, deadline=Deadline.after(5, now=clock.monotonic()))
    assert clock.now <= 1005
    with pytest.raises(NotSentError):
        listed(client, deadline=Deadline.after(0, now=clock.monotonic()))


def test_runs_of_a_server_that_uses_older_words_are_listed(connect, answer) -> None:
    older = ["WAITING_FOR_DEPLOY", "QUEUED", "REATTEMPTING", "FROZEN"]
    runs = [{"id": f"run_{status}", "status": status, "tags": [DAG_RUN.tag]} for status in older]
    client, _ = connect(lambda _: answer(200, {"data": runs, "pagination": {}}))
    assert listed(client) == [run["id"] for run in runs]


def test_what_a_server_lists_in_spite_of_the_filters_is_left_out(connect, answer) -> None:
    fitting: dict[str, Any] = {
        "id": "run_1",
        "status": "QUEUED",
        "tags": ["a", "b"],
        "taskIdentifier": "resize",
        "createdAt": "2026-01-02T00:00:00Z",
    }
    others: list[dict[str, Any]] = [
        {"status": "COMPLETED"},
        {"tags": ["a"]},
        {"taskIdentifier": "crop"},
        {"createdAt": "2026-01-01T23:59:59.999Z"},
    ]
    runs = [fitting, *(fitting | {"id": f"run_{number}"} | other for number, other in enumerate(others, 2))]
    client, _ = connect(lambda _: answer(200, {"data": runs, "pagination": {}}))
    found = RunFilter(
        tags=("a", "b"),
        statuses=("QUEUED",),
        task_identifiers=("resize",),
        created_from=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert [run.id for page in found.pages(client) for run in page] == ["run_1"]


def sent_filters(wire: Any) -> dict[str, str]:
    """Return the filters of the only request."""
    [sent] = wire.sent
    return {name: value for name, value in parse_qsl(urlsplit(sent.url).query) if "filter[" in name}


def test_the_server_gets_all_filters_but_only_one_tag_as_it_finds_any_of_several(connect, answer) -> None:
    client, wire = connect(answer(200, {"data": [], "pagination": {}}))
    wanted = RunFilter(
        tags=("b", "a"),
        statuses={"QUEUED", "EXECUTING"},
        task_identifiers=("resize", "crop"),
        batch_id="batch_1",
        created_from=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert list(wanted.pages(client)) == [[]]
    assert sent_filters(wire) == {
        "filter[tag]": "b",
        "filter[status]": "EXECUTING,QUEUED",
        "filter[taskIdentifier]": "crop,resize",
        "filter[batch]": "batch_1",
        "filter[createdAt][from]": "1767312000000",
    }


def test_behind_the_newest_5000_runs_a_tag_is_searched_by_status(connect, answer) -> None:
    """A status that is new cannot be searched by; but years of runs cannot all be read either."""
    statuses: list[str | None] = []

    def page(request: Any) -> Any:
        query = dict(parse_qsl(urlsplit(request.url).query))
        statuses.append(query.get("filter[status]"))
        number = len(statuses)
        data = [
            {"id": f"run_{number}", "status": "NEW" if number == 50 else "COMPLETED", "tags": [DAG_RUN.tag]}
        ]
        return answer(200, {"data": data, "pagination": {"next": str(number)} if number < 52 else {}})

    client, _ = connect(page)
    assert listed(client) == ["run_50"]
    assert statuses == [None] * 50 + ["DELAYED,DEQUEUED,EXECUTING,PENDING_VERSION,QUEUED,WAITING"] * 2


@pytest.mark.parametrize(
    ("cursors", "count", "requests", "what"),
    [
        ("AA", 1, 2, "the same page again"),
        ("ABA", 1, 3, "the same page again"),
        ("", 0, 100, "100 pages, with more to come"),
        ("", 1, 1001, "1001 pages, with more to come"),
    ],
)
def test_a_list_that_has_no_end_is_an_error(connect, answer, cursors, count, requests, what) -> None:
    runs = [{"id": "run_1", "status": "QUEUED", "tags": [DAG_RUN.tag]}] * count

    def page(_: Any) -> Any:
        number = len(wire.sent) - 1
        return answer(200, {"data": runs, "pagination": {"next": cursors[number:][:1] or str(number)}})

    client, wire = connect(page)
    with pytest.raises(
        UnexpectedAnswerError, match=f"answered {what}, so that its list has no end"
    ) as raised:
        listed(client)
    assert raised.value.retryable is False
    assert len(wire.sent) == requests

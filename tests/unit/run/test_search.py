"""How the list of runs is read, which of its runs are found, and when it is read again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fake_clock import Clock
from waiting import LONG

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.errors import NotSentError, ServerError, UnexpectedAnswerError
from airflow_provider_trigger.run.identity import DagRunIdentity, TaskInstanceIdentity
from airflow_provider_trigger.run.search import RunFilter, Search
from airflow_provider_trigger.testing import TriggerDevServer

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))
TASK = TaskInstanceIdentity(dag_run=DAG_RUN, task_id="a")
TAGGED = RunFilter(tags=(DAG_RUN.tag,))
ALIVE = RunFilter(tags=(DAG_RUN.tag,), only_alive=True)


def add(server: TriggerDevServer, status: str = "EXECUTING", *, number: int = 0, **fields: Any) -> Any:
    given = {"idempotency_key": f"{TASK.start_of_keys}{number}", "tags": TASK.tags}
    return server.add_run(status, **given | fields)


def add_in_turn(server: TriggerDevServer, clock: Clock, count: int) -> list[Any]:
    """Add runs that were created one after the other, the earliest first."""
    runs = []
    for number in range(count):
        clock.sleep(0.01)
        runs.append(add(server, number=number))
    return runs


@pytest.fixture
def make(client) -> Callable[..., Search]:
    def build(listing: Any = ALIVE, **options: Any) -> Search:
        given: dict[str, Any] = {"belongs": DAG_RUN.has_started, "checks_keys": True} | options
        return Search(client, listing.pages, **given)

    return build


@pytest.fixture
def find(make) -> Callable[..., Search]:
    def look(*given: Any, **options: Any) -> Search:
        made: Search = make(*given, **options)
        made.run()
        return made

    return look


def ids_of(pages: Any) -> list[str]:
    return [run.id for page in pages for run in page]


# Which runs are found


@pytest.mark.parametrize("listing", [TAGGED, ALIVE])
def test_runs_are_found_that_are_alive(server, find, network, listing) -> None:
    alive = ["PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED", "PAUSED_BY_USER"]
    ended = ["COMPLETED", "CANCELED", "FAILED", "EXPIRED", "CRASHED", "TIMED_OUT"]
    for number, status in enumerate([*alive, *ended]):
        add(server, status, number=number)
    assert {run.status for run in find(listing).ours} == set(alive)
    assert len(network.requests) == 1


def test_canceled_runs_whose_worker_may_still_execute_are_named_where_they_are_listed(
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
    search = find(TAGGED)
    assert set(search.stopping) == {run.id, replayed.id}
    assert (search.ours, search.others) == ([], [])
    assert search.shown == set(server.runs)


def test_a_replay_carries_the_tags_but_does_not_belong(server, find) -> None:
    replayed = server.replay(add(server, "COMPLETED"))
    replayed.status = "EXECUTING"
    foreign = add(server, idempotency_key="order-17")
    search = find()
    assert search.ours == []
    assert sorted(search.others) == sorted([replayed.id, foreign.id])


@pytest.mark.usefixtures("without_listed_keys")
@pytest.mark.parametrize("checks_keys", [True, False])
def test_a_run_that_is_listed_without_a_key_is_checked(server, find, network, checks_keys: bool) -> None:
    runs = [add(server, number=number) for number in range(3)]
    replayed = server.replay(runs[0])
    replayed.stay()
    add(server, "COMPLETED", number=4)
    search = find(TAGGED, checks_keys=checks_keys)
    assert {run.id for run in search.ours} == ({run.id for run in runs} if checks_keys else set())
    assert replayed.id in search.others
    assert len(network.sent("GET /api/v3/runs/")) == (4 if checks_keys else 0)


def test_what_is_known_is_neither_found_nor_checked(server, find) -> None:
    known, other = add(server), add(server, number=1)
    assert [run.id for run in find(skip=[known.id]).ours] == [other.id]


# How the list is read


def test_all_pages_are_read_also_behind_an_empty_one(server, find, network, clock) -> None:
    runs = add_in_turn(server, clock, 250)
    server.list_lag = 60
    clock.sleep(120)
    for run in runs[-150:]:  # the whole first page, the newest runs, and half of the second one
        run.status = "COMPLETED"
    assert [run.id for run in find().ours] == [run.id for run in reversed(runs[:100])]
    assert len(network.sent("GET /api/v1/runs")) == 3


def test_runs_that_are_older_than_a_week_are_listed(server, find, clock) -> None:
    run = add(server, "DELAYED")
    run.stay()
    clock.sleep(30 * 86400)
    assert [found.id for found in find().ours] == [run.id]


def fail_from_the_second_page_on(network, answer) -> None:
    def fail(_: str) -> None:
        if len(network.sent("GET /api/v1/runs")) == 2:
            network.fault("GET /api/v1/runs", answer(500, {"error": "no database"}), times=1000)

    network.before = fail


def test_a_list_that_fails_is_told_with_what_it_has_shown_before(
    server, find, clock, network, answer
) -> None:
    runs = add_in_turn(server, clock, 150)
    fail_from_the_second_page_on(network, answer)
    search = find()
    assert [run.id for run in search.ours] == [run.id for run in reversed(runs[50:])]
    assert isinstance(search.error, ServerError)


def test_the_deadline_ends_the_list(find, network, clock, lost) -> None:
    network.fault("GET", lost, times=1000)
    assert find(deadline=Deadline.after(5, now=clock.monotonic())).error
    assert clock.now <= 1005
    assert isinstance(find(deadline=Deadline.after(0, now=clock.monotonic())).error, NotSentError)


def listed(client: Any) -> list[str]:
    return ids_of(ALIVE.pages(client))


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


# Several looks


@pytest.mark.parametrize(("list_lag", "looks"), [(0.0, 1), (1.0, 2), (2.0, 3), (60.0, 3)])
def test_it_looks_until_that_is_enough(server, make, clock, network, list_lag: float, looks: int) -> None:
    server.list_lag = list_lag
    run, search = add(server), make()
    search.run(pauses=(0.0, 1.25, 1.25), is_enough=lambda: run.id in search.shown, sleep=clock.sleep)
    assert (run.id in search.shown) == (list_lag < 60)
    assert len(network.requests) == looks
    assert clock.now - 1000 == pytest.approx(1.25 * (looks - 1))


def test_it_reads_no_page_more_than_it_needs_and_looks_no_more_where_the_list_fails(
    server, make, clock, network, answer
) -> None:
    newest = add_in_turn(server, clock, 250)[-1]
    search = make()
    search.run(is_enough=lambda: newest.id in search.shown)
    assert len(network.requests) == 1
    fail_from_the_second_page_on(network, answer)
    pauses: list[float] = []
    search.run(pauses=(0.0, 1.0), sleep=pauses.append)
    assert search.error
    assert pauses == [0.0]


def test_it_looks_again_2_5_s_later_and_yields_nothing_meanwhile_several_times_a_second(
    server, make, clock
) -> None:
    server.list_lag = 2.0
    early = add(server)
    clock.sleep(3)
    search = make()
    late = add(server, number=1)
    assert ids_of(search.pages()) == [early.id]
    before, pages = clock.now, search.pages()
    assert next(pages) == []
    assert clock.now - before <= 0.2  # so often its caller can stop it
    assert ids_of(pages) == [late.id]
    assert clock.now - before == pytest.approx(2.5, abs=0.02)
    assert [run.id for run in search.ours] == [early.id, late.id]


def test_it_waits_no_longer_than_until_its_deadline(make, clock) -> None:
    search = make(deadline=Deadline.after(1, now=clock.monotonic()))
    for _ in range(2):
        assert ids_of(search.pages()) == []
    assert clock.now == pytest.approx(1001)
    assert isinstance(search.error, NotSentError)


@pytest.mark.parametrize(("is_down", "requests"), [(False, 1), (True, 3)])
def test_it_does_not_read_the_runs_of_earlier_days_again(
    server, make, network, answer, clock, is_down: bool, requests: int
) -> None:
    for number in range(250):
        add(server, "COMPLETED", number=number)
    clock.sleep(timedelta(days=2).total_seconds())
    search = make()
    if is_down:
        fail_from_the_second_page_on(network, answer)
    search.run()
    network.repair()
    before = len(network.requests)
    late = add(server)
    assert ids_of(search.pages()) == [late.id]
    assert len(network.requests) - before == requests
    assert search.error is None


@pytest.mark.parametrize("looks_before", [0, 1])
def test_nothing_is_read_once_it_is_stopped(make, network, clock, looks_before: int) -> None:
    stopped = threading.Event()
    search = make(is_stopped=stopped.is_set)
    for _ in range(looks_before):
        search.run()
    stopped.set()
    clock.sleep(3)
    assert list(islice(search.pages(), 3)) == [[], [], []]
    assert len(network.requests) == looks_before


@pytest.mark.parametrize("looks_before", [0, 1])
def test_a_stop_is_noticed_while_a_page_is_not_answered(make, network, looks_before: int) -> None:
    begun, may_answer = threading.Event(), threading.Event()
    readers: list[threading.Thread] = []
    search = make()
    for _ in range(looks_before):
        search.run()

    def hang(_: str) -> None:
        readers.append(threading.current_thread())
        begun.set()
        assert may_answer.wait(LONG)

    network.before = hang
    pages = search.pages()
    assert next(page for page in pages if begun.is_set()) == []
    assert [(one.name, one.daemon) for one in readers] == [("trigger-dev-search", True)]
    may_answer.set()
    assert ids_of(pages) == []


def test_pages_are_gathered_for_a_bulk_action_and_no_more_are_read_before(
    server, make, network, clock
) -> None:
    newest = [run.id for run in reversed(add_in_turn(server, clock, 650))]
    gathered = make().gathered()
    assert [run.id for run in next(gathered)] == newest[:500]
    assert len(network.requests) == 5
    assert [run.id for run in next(gathered)] == newest[500:]
    assert list(gathered) == []
    assert network.sent("/v3/") == []

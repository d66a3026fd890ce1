"""How the list of runs is read, which of its runs are found, and when it is read again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fake_clock import Clock

from airflow_provider_trigger.api.errors import UnexpectedAnswerError
from airflow_provider_trigger.run.identity import DagRunIdentity, TaskInstanceIdentity
from airflow_provider_trigger.run.search import RunFilter, Search
from airflow_provider_trigger.testing import TriggerDevServer

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))
TASK = TaskInstanceIdentity(dag_run=DAG_RUN, task_id="a")
TAGGED = RunFilter(tags=(DAG_RUN.tag,))
ALIVE = RunFilter(tags=(DAG_RUN.tag,), only_alive=True)
LIST = "GET /api/v1/runs"


def add(server: TriggerDevServer, status: str = "EXECUTING", *, number: int = 0, **fields: Any) -> Any:
    given = {"idempotency_key": f"{TASK.start_of_keys()}{number}", "tags": TASK.tags}
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
        return Search(client, listing.pages, belongs=DAG_RUN.has_started, **options)

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
def test_runs_are_found_that_are_alive(server, find, network, clock, listing) -> None:
    alive = ["PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED", "PAUSED_BY_USER"]
    ended = ["COMPLETED", "CANCELED", "FAILED", "EXPIRED", "CRASHED", "TIMED_OUT"]
    for number, status in enumerate([*alive, *ended]):
        add(server, status, number=number).stay()
    clock.sleep(30 * 86400)  # without a time, only those of a week are listed
    assert {run.status for run in find(listing).ours} == set(alive)
    assert len(network.requests) == 1


# How the list is read


def test_all_pages_are_read_also_behind_an_empty_one(server, find, network, clock) -> None:
    runs = add_in_turn(server, clock, 250)
    server.list_lag = 60
    clock.sleep(120)
    for run in runs[-150:]:  # the whole first page, the newest runs, and half of the second one
        run.status = "COMPLETED"
    assert [run.id for run in find().ours] == [run.id for run in reversed(runs[:100])]
    assert len(network.sent(LIST)) == 3


@pytest.fixture
def pages_of(connect, answer) -> Callable[..., tuple[list[str], list[dict[str, str]]]]:
    """Read what a server lists; return the ids of what is found, and the filters of each request."""

    def act(of: RunFilter, page: Callable[[int], tuple[list[Any], str | None]]) -> Any:
        sent: list[dict[str, str]] = []

        def reply(request: Any) -> Any:
            runs, cursor = page(len(sent))
            query = parse_qsl(urlsplit(request.url).query)
            sent.append({name: value for name, value in query if "filter[" in name})
            return answer(200, {"data": runs, "pagination": {"next": cursor} if cursor else {}})

        return ids_of(of.pages(connect(reply)[0])), sent

    return act


def test_the_server_gets_all_filters_and_what_it_lists_in_spite_of_them_is_left_out(pages_of) -> None:
    fitting: dict[str, Any] = {
        "id": "run_1",
        "status": "QUEUED",
        "tags": ["a", "b"],
        "taskIdentifier": "resize",
        "createdAt": "2026-01-02T00:00:00Z",
    }
    others: list[dict[str, Any]] = [
        {"status": "COMPLETED"},
        {"tags": ["b"]},
        {"taskIdentifier": "scale"},
        {"createdAt": "2026-01-01T23:59:59.999Z"},
    ]
    runs = [fitting, *(fitting | {"id": f"run_{number}"} | other for number, other in enumerate(others, 2))]
    wanted = RunFilter(
        tags=("b", "a"),
        statuses={"QUEUED", "EXECUTING"},
        task_identifiers=("resize", "crop"),
        batch_id="batch_1",
        created_from=datetime(2026, 1, 2, tzinfo=UTC),
    )
    found, sent = pages_of(wanted, lambda _: (runs, None))
    assert found == ["run_1"]
    assert sent == [
        {
            "filter[tag]": "b",  # of several it finds those that have any
            "filter[status]": "EXECUTING,QUEUED",
            "filter[taskIdentifier]": "crop,resize",
            "filter[batch]": "batch_1",
            "filter[createdAt][from]": "1767312000000",
        }
    ]


def test_a_list_without_a_last_page_is_an_error(pages_of) -> None:
    read = list[int]()

    def next_page(number: int) -> Any:
        read.append(number)
        assert number < 100
        return [{"id": "run_1", "status": "EXECUTING", "tags": ["x"]}], f"c{number % 2}"

    with pytest.raises(UnexpectedAnswerError, match="the list of runs has no last page"):
        pages_of(RunFilter(tags=("x",), only_alive=True), next_page)
    assert len(read) == 3


def test_behind_the_newest_5000_runs_a_tag_is_searched_by_status(pages_of) -> None:
    """A status that is new cannot be searched by; but years of runs cannot all be read either."""

    def page(number: int) -> Any:
        status = "NEW" if number == 49 else "COMPLETED"
        run = {"id": f"run_{number}", "status": status, "tags": [DAG_RUN.tag]}
        return [run], str(number) if number < 51 else None

    found, sent = pages_of(ALIVE, page)
    assert found == ["run_49"]
    by_status = "DELAYED,DEQUEUED,EXECUTING,PENDING_VERSION,QUEUED,WAITING"
    assert [one.get("filter[status]") for one in sent] == [None] * 50 + [by_status] * 2


# Several looks


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

"""Which runs a selection means, and what is said of the search for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_trigger.api.errors import AuthenticationError, ServerError
from airflow_provider_trigger.api.runs import batch_item, trigger_batch
from airflow_provider_trigger.sources.arguments import Selection
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.search import SelectedRuns


@pytest.fixture
def ids() -> RunIds:
    return RunIds(found=["run_given"])


class Found:
    """What a search has found, look by look."""

    def __init__(self, runs: SelectedRuns, pages: Iterator[list[str]]) -> None:
        self._runs = runs
        self._pages = pages
        self.first: list[str] = next(pages, [])

    @property
    def error(self) -> Any:
        return self._runs.error

    def later(self) -> list[str]:
        return [run_id for page in self._pages for run_id in page]


@pytest.fixture
def select(ids: RunIds, log, client) -> Callable[..., Found]:
    """Begin a search, and return what its first look has found."""

    def begin(
        other: Any = None,
        /,
        is_stopped: Callable[[], bool] = lambda: False,
        needs_all: bool = False,
        **given: Any,
    ) -> Found:
        selection = Selection(**{"max_runs": 100} | given)
        runs = SelectedRuns(selection, ids, log=log, on_empty="fail", is_stopped=is_stopped)
        return Found(runs, runs.search(other or client, needs_all=needs_all))

    return begin


@pytest.fixture
def start_batch(client, server) -> Callable[..., str]:
    server.on_task("resize", after=None)

    def start(*items: dict[str, Any], count: int = 0) -> str:
        items = items or ({},) * count
        batch_id: str = client.call(trigger_batch([batch_item("resize", options=item) for item in items]))
        return batch_id

    return start


@pytest.fixture
def down(answer) -> Any:
    return answer(500, {"error": "no database"})


# By tags


def test_the_log_names_each_run_up_to_fifty_in_a_line(server, select, log) -> None:
    runs = [server.add_run("EXECUTING", tags=["a"]).id for _ in range(53)]
    select(tags=("a",))
    runs.reverse()
    assert log.of("info") == [
        "Found 53 runs alive by tags=['a']",
        f"Found: {', '.join(runs[:50])}",
        f"Found: {', '.join(runs[50:])}",
    ]


# Too many


@pytest.mark.parametrize(("count", "shown"), [(4, "4"), (250, "at least 100")])
def test_more_runs_than_allowed_are_an_error(server, select, ids, log, network, count, shown) -> None:
    for _ in range(count):
        server.add_run("EXECUTING", tags=["a"])
    found = select(tags=("a",), max_runs=3)
    text = (
        f"tags=['a'] finds {shown} runs that are alive, more than max_runs=3: none of these was canceled. "
        "Select fewer runs, or set max_runs"
    )
    assert (ids.found, found.first, found.later()) == (["run_given"], [], [])
    assert ids.invalid == log.lines == [text]
    assert len(network.sent("GET /api/v1/runs")) == 1  # it does not read all pages to count them


@pytest.mark.parametrize(("limit", "count"), [(1, 2), (105, 250)])
def test_runs_that_appear_later_and_are_too_many_are_left_alone_and_are_a_failure(
    server, select, ids, log, clock, limit: int, count: int
) -> None:
    server.add_run("EXECUTING", tags=["a"])
    found, later = select(tags=("a",), max_runs=limit), []
    for _ in range(count):
        clock.sleep(0.01)
        later.append(server.add_run("EXECUTING", tags=["a"], task_identifier="crop").id)
    canceled = found.later()
    assert len(canceled) == limit - 1
    assert set(canceled) < set(later)
    assert set(ids.found).isdisjoint(later)
    left = count - limit + 1
    text = f"tags=['a']: not canceled, as max_runs={limit} runs were found: {left} more. Cancel these again"
    assert ids.failed == log.of("error") == [text]
    named = [line for line in log.of("info") if line.startswith("Found ") and "more run" in line]
    assert bool(named) == (limit > 1)


# What is wrong


def test_each_source_without_runs_is_named_after_the_second_look_behind_what_was_wrong_before(
    server, select, ids, start_batch, log
) -> None:
    ids.invalid, ids.failed, ids.empty = ["invalid"], ["failed"], ["empty"]
    ended = start_batch(count=1)
    for run in server.runs.values():
        run.status = "COMPLETED"
    with_runs = start_batch(count=1)
    found = select(tags=("a", "b"), batch_ids=(ended, with_runs))
    assert (ids.empty, len(found.first)) == (["empty"], 1)
    assert found.later() == []
    sentences = ["no run that is alive has tags=['a', 'b']", f"batch {ended!r} has no run that is alive"]
    assert (ids.invalid, ids.failed, ids.empty) == (["invalid"], ["failed"], ["empty", *sentences])
    assert log.of("error") == sentences


def test_a_second_look_that_fails_is_noted(select, ids, network, down, log) -> None:
    found = select(tags=("a",))
    network.fault("GET", down, times=1000)
    assert found.later() == []
    [text] = ids.failed
    assert text.startswith("tags=['a']: further runs could not be searched: ")
    assert (log.of("error"), ids.empty) == ([text], [])


@pytest.mark.parametrize("needs_all", [False, True])
def test_a_source_that_fails_stops_no_other_unless_all_are_needed(
    server, select, ids, start_batch, network, down, needs_all: bool
) -> None:
    batch = start_batch(count=1)
    runs = {server.add_run("EXECUTING", tags=["a"]).id, *server.runs}
    network.fault("/batches/batch_1", down, times=1000)
    found = select(needs_all=needs_all, tags=("a",), batch_ids=("batch_1", batch), max_runs=2)
    assert isinstance(found.error, ServerError)
    assert "/batches/batch_1" in str(found.error)
    assert set(found.first) == (set() if needs_all else runs)
    start = "tags=['a'] and batch_ids=['batch_1', "
    assert [one.startswith(start) and ": not all runs could be searched: " in one for one in ids.failed] == (
        [] if needs_all else [True]
    )


def test_a_stop_ends_the_first_look_and_keeps_what_it_has_found(server, select, ids, network, clock) -> None:
    for _ in range(250):
        clock.sleep(0.01)
        server.add_run("EXECUTING", tags=["a"])
    found = select(is_stopped=lambda: len(network.requests) == 2, tags=("a",), max_runs=1000)
    assert 100 <= len(found.first) <= 200
    assert len(network.requests) == 2
    assert ids.failed == ["tags=['a']: not all runs were searched, as the task was stopped"]


# By batches


def test_the_runs_of_a_batch_are_found_in_its_order(server, select, start_batch, network) -> None:
    start_batch(count=2)
    batch = start_batch(count=5)
    run_ids = list(server.runs)[2:]
    server.runs[run_ids[1]].status = "COMPLETED"
    before = len(network.requests)
    assert select(batch_ids=(batch,)).first == [run_ids[0], *run_ids[2:]]
    assert network.requests[before:] == [f"GET /api/v2/batches/{batch}", "GET /api/v1/runs"]


@pytest.fixture
def shown(connect, clock, answer) -> Callable[..., Any]:
    """Give a client of a server with a batch, the runs that its list shows, and what checks answer."""

    def script(
        *,
        named: list[str],
        listed: list[str] | None,
        count: int = 5,
        status: str = "PENDING",
        page_size: int = 100,
        **checked: Any,
    ) -> Any:
        def reply(request: Any) -> Any:
            if "/batches/" in request.url:
                body = {"id": "batch_1", "status": status, "runCount": count, "runs": named}
                return answer(200, body)
            if "/v3/" in request.url:
                run_id = request.url.rpartition("/")[2]
                found = checked.get(run_id, {"batchId": "batch_1"})
                if isinstance(found, int):
                    retried = {"x-should-retry": "true" if found == 404 else "false"}
                    return answer(found, {"error": "Not found"}, retried)
                return answer(200, {"id": run_id, "status": "QUEUED"} | found)
            if listed is None:
                return answer(400, {"error": "the list's database is down"})
            begin = int(parse_qs(urlsplit(request.url).query).get("page[after]", ["0"])[0])
            end = begin + page_size
            data = [
                {"id": one, "status": "EXECUTING", "taskIdentifier": "resize"} for one in listed[begin:end]
            ]
            return answer(200, {"data": data, "pagination": {"next": str(end)} if listed[end:] else {}})

        return connect(reply)

    return script


def test_a_run_that_only_the_list_shows_is_found_if_it_belongs_to_the_batch(select, shown, log) -> None:
    listed = ["run_3", "run_2", "run_1"]
    client, _ = shown(named=["run_1"], listed=listed, run_2={"batchId": "batch_2"}, run_3={})
    assert select(client, batch_ids=("batch_1",)).first == ["run_1"]
    assert log.of("error") == []


def test_runs_that_a_batch_does_not_name_yet_are_found_on_all_pages_of_the_list(select, shown) -> None:
    listed = [f"run_{number}" for number in range(5)]
    client, _ = shown(named=[], listed=listed, page_size=2)
    assert select(client, batch_ids=("batch_1",)).first == listed


def test_a_run_that_was_named_but_never_made_is_left_out_and_no_other(select, shown) -> None:
    client, _ = shown(named=["run_1", "run_2", "run_3"], listed=["run_2"], run_1=404)
    assert select(client, batch_ids=("batch_1",)).first == ["run_2", "run_3"]


def test_a_run_that_cannot_be_checked_is_found_only_if_the_batch_names_it(select, shown, ids) -> None:
    client, _ = shown(named=["run_1"], listed=["run_2"], run_1=500, run_2=500)
    assert select(client, batch_ids=("batch_1",)).first == ["run_1"]
    [text] = ids.failed
    assert text.startswith("batch_ids=['batch_1']: not all runs could be searched: GET /api/v3/runs/run_2 ")


@pytest.mark.parametrize(("count", "is_all"), [(1, True), (5, False)])
def test_where_the_list_is_down_what_the_batch_names_is_found(
    select, shown, ids, count: int, is_all: bool
) -> None:
    client, _ = shown(named=["run_1"], listed=None, count=count, status="COMPLETED")
    found = select(client, batch_ids=("batch_1",))
    assert (found.first, found.later()) == (["run_1"], [])
    looks = ("not all runs could", "further runs could not")
    texts = [f"batch_ids=['batch_1']: {look} be searched: GET /api/v1/runs" for look in looks]
    assert [one.partition(" answered")[0] for one in ids.failed] == ([] if is_all else texts)


def test_a_key_that_is_rejected_meanwhile_ends_the_search(select, shown) -> None:
    client, wire = shown(named=["run_1"], listed=[], run_1=401)
    found = select(client, batch_ids=("batch_1", "batch_2"))
    assert isinstance(found.error, AuthenticationError)
    sent = len(wire.sent)
    assert (found.first, found.later()) == ([], [])
    assert len(wire.sent) == sent
    assert not any("batch_2" in request.url for request in wire.sent)


def test_a_server_that_ignores_the_filter_by_batch_adds_no_runs_of_others(select, shown) -> None:
    client, wire = shown(named=["run_1"], listed=[f"run_{number}" for number in range(50)], count=1)
    assert select(client, batch_ids=("batch_1",)).first == ["run_1"]
    assert len(wire.sent) == 3  # the batch, its list, and a check of its run


@pytest.mark.parametrize(
    ("status", "count", "fails"),
    [("PROCESSING", 5, True), ("COMPLETED", 5, False), ("PENDING", 2, False)],
)
def test_a_batch_that_is_still_being_created_is_a_failure(
    select, shown, ids, log, status: str, count: int, fails: bool
) -> None:
    client, _ = shown(named=["run_1", "run_2"], listed=["run_1", "run_2"], count=count, status=status)
    found = select(client, batch_ids=("batch_1",))
    assert (found.first, ids.failed) == (["run_1", "run_2"], [])
    found.later()
    text = "batch 'batch_1' is still being created: 2 of its 5 runs exist. Cancel it again for the others"
    assert ids.failed == log.of("error") == ([text] if fails else [])


def test_an_unknown_batch_is_named_once_and_stops_no_other(server, select, ids, start_batch, log) -> None:
    batch = start_batch(count=1)
    select(batch_ids=("batch_nope", batch)).later()
    [text] = log.of("error")
    assert ids.invalid == [text]
    assert text.startswith("'batch_nope' from batch_ids is not a valid batch id: the environment of the ")
    assert ids.found[1:] == list(server.runs)


def test_a_run_with_the_tag_in_the_batch_is_found_once(server, select, ids, start_batch) -> None:
    found = select(tags=("a",), batch_ids=(start_batch({"tags": ["a"]}),))
    assert (found.first, found.later(), ids.empty) == (list(server.runs), [], [])

"""Which runs are found by tags and by batches, and what the log says of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from waiting import LONG

from airflow_provider_trigger.api.endpoints.batches import batch_item, trigger_batch
from airflow_provider_trigger.api.errors import AuthenticationError, ServerError
from airflow_provider_trigger.api.models.runs import ListedRun
from airflow_provider_trigger.run.find import LIST_LAG
from airflow_provider_trigger.sources import selected
from airflow_provider_trigger.sources.batch_runs import BatchRuns
from airflow_provider_trigger.sources.run_ids import InvalidValue, RunIds
from airflow_provider_trigger.sources.search_terms import Selection
from airflow_provider_trigger.sources.selected import SelectedRuns, TooManyRunsError


@pytest.fixture
def ids() -> RunIds:
    return RunIds(found=["run_given"])


@pytest.fixture
def select(ids: RunIds, log, clock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SelectedRuns]:
    monkeypatch.setattr(selected, "time", clock)

    def build(is_stopped: Callable[[], bool] = lambda: False, **given: Any) -> SelectedRuns:
        selection = Selection(**{"max_runs": 100} | given)
        return SelectedRuns(selection, ids, log=log, on_empty="fail", is_stopped=is_stopped)

    return build


@pytest.fixture
def find(select, ids: RunIds, client) -> Callable[..., list[str]]:
    """Return what is found at first."""

    def search(other: Any = None, /, **given: Any) -> list[str]:
        select(**given).find(other or client)
        return ids.found[1:]

    return search


@pytest.fixture
def start_batch(client, server) -> Callable[..., str]:
    server.on_task("resize", after=None)

    def start(*items: dict[str, Any], count: int = 0) -> str:
        items = items or ({},) * count
        batch_id: str = client.call(trigger_batch([batch_item("resize", options=item) for item in items]))
        return batch_id

    return start


def further_of(runs: SelectedRuns, client: Any) -> list[str]:
    return [run_id for page in runs.further(client) for run_id in page]


# By tags


def test_runs_that_are_alive_and_have_all_tags_are_found(server, find) -> None:
    alive = ["PENDING_VERSION", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "DELAYED"]
    runs = {server.add_run(status, tags=["a", "b", status]).id for status in alive}
    for status in ("COMPLETED", "CANCELED", "FAILED", "EXPIRED"):
        server.add_run(status, tags=["a", "b"])
    for tags in (["a"], ["b"], ["a", "B"], []):
        server.add_run("EXECUTING", tags=tags)
    assert set(find(tags=("a", "b"))) == runs


def test_a_run_whose_status_is_new_is_found_among_those_that_have_ended(server, find) -> None:
    alive = server.add_run("PAUSED_BY_USER", tags=["a"])
    for _ in range(150):
        server.add_run("COMPLETED", tags=["a"])
    assert find(tags=("a",)) == [alive.id]


def test_the_second_search_does_not_read_the_runs_of_earlier_days(
    server, select, client, network, clock
) -> None:
    for _ in range(250):
        server.add_run("COMPLETED", tags=["a"])
    clock.sleep(2 * 86400)
    runs = select(tags=("a",))
    runs.find(client)
    late = server.add_run("EXECUTING", tags=["a"])
    assert len(network.requests) == 3
    assert further_of(runs, client) == [late.id]
    assert len(network.requests) == 4


def test_a_run_that_ended_since_the_list_was_made_is_not_found(server, find, clock) -> None:
    server.list_lag = 60
    run = server.add_run("EXECUTING", tags=["a"])
    clock.sleep(120)
    run.status = "COMPLETED"
    assert find(tags=("a",)) == []


def test_a_run_whose_id_is_not_valid_is_named_and_stops_no_other(find, ids, connect, answer) -> None:
    runs = [{"id": one, "status": "QUEUED", "tags": ["a"]} for one in ("run_1", "run_ä", "run_3")]
    client, _ = connect(lambda _: answer(200, {"data": runs, "pagination": {}}))
    assert find(client, tags=("a",)) == ["run_1", "run_3"]
    [problem] = ids.invalid
    assert str(problem).startswith("'run_ä' from tags=['a'][1] is not a valid run id: ")


def test_the_log_names_each_run_with_its_task_and_status(server, find, log) -> None:
    first = [server.add_run("EXECUTING", tags=["a"], task_identifier="resize").id for _ in range(3)]
    queued = server.add_run("QUEUED", tags=["a"], task_identifier="crop").id
    find(tags=("a",))
    assert sorted(log.of("info")) == sorted(
        [
            "Found 4 runs alive by tags=['a']",
            f"1 of Trigger.dev task 'crop', QUEUED: {queued}",
            f"3 of Trigger.dev task 'resize', EXECUTING: {', '.join(reversed(first))}",
        ]
    )


def test_the_log_has_a_line_for_fifty_runs(server, find, log) -> None:
    runs = [server.add_run("EXECUTING", tags=["a"], task_identifier="resize").id for _ in range(90)]
    find(tags=("a",))
    assert [line.partition(",")[0] for line in log.lines[1:]] == [
        "50 of Trigger.dev task 'resize'",
        "40 of Trigger.dev task 'resize'",
    ]
    assert all(run_id in "".join(log.lines) for run_id in runs)


# Too many


@pytest.mark.parametrize(
    ("count", "shown"), [(4, "4"), (30, "30"), (31, "at least 31"), (250, "at least 100")]
)
def test_more_runs_than_allowed_are_an_error(server, select, client, ids, log, network, count, shown) -> None:
    for _ in range(count):
        server.add_run("EXECUTING", tags=["a"])
    with pytest.raises(TooManyRunsError) as raised:
        select(tags=("a",), max_runs=3).find(client)
    assert str(raised.value) == (
        f"tags=['a'] finds {shown} runs that are alive, more than max_runs=3: none of these was canceled. "
        "Select fewer runs, or set max_runs"
    )
    assert ids.found == ["run_given"]
    assert log.of("info") == []
    assert len(network.sent("GET /api/v1/runs")) == 1  # it does not read all pages to count them


def test_as_many_as_allowed_are_no_error(server, find) -> None:
    for _ in range(3):
        server.add_run("EXECUTING", tags=["a"])
    assert len(find(tags=("a",), max_runs=3)) == 3


@pytest.mark.parametrize(("limit", "count"), [(1, 2), (3, 4), (51, 120), (105, 250)])
def test_runs_that_appear_later_and_are_too_many_are_left_alone_and_are_a_failure(
    server, select, client, ids, log, clock, limit: int, count: int
) -> None:
    server.add_run("EXECUTING", tags=["a"])
    runs = select(tags=("a",), max_runs=limit)
    runs.find(client)
    later = []
    for _ in range(count):
        clock.sleep(0.01)
        later.append(server.add_run("EXECUTING", tags=["a"]).id)
    found = further_of(runs, client)
    assert len(found) == limit - 1
    assert set(found) < set(later)
    left = count - len(found)
    text = f"not canceled, as tags=['a'] has found max_runs={limit} runs: {left} more. Cancel these again"
    assert ids.failed == log.of("error") == [text]


def test_too_many_runs_are_too_many_where_a_later_page_fails(
    server, select, client, ids, network, answer, clock
) -> None:
    for _ in range(250):
        clock.sleep(0.01)
        server.add_run("EXECUTING", tags=["a"])

    def fail_from_the_third_on(_: str) -> None:
        if len(network.requests) == 3:
            network.fault("GET", answer(500, {"error": "no database"}), times=1000)

    network.before = fail_from_the_third_on
    with pytest.raises(TooManyRunsError, match="finds at least 200 runs that are alive, more than max_runs="):
        select(tags=("a",), max_runs=150).find(client)
    assert ids.found == ["run_given"]


# The second search


def test_runs_that_the_list_did_not_show_at_first_are_found_2_5_s_later(
    server, select, client, ids, clock, log
) -> None:
    server.list_lag = 2.0
    server.add_run("EXECUTING", tags=["a"])
    clock.sleep(3)
    runs = select(tags=("a",))
    late = server.add_run("QUEUED", tags=["a"], task_identifier="crop")
    runs.find(client)
    before = clock.now
    pages = runs.further(client)
    assert next(pages) == []
    assert clock.now - before <= 0.2  # so often its caller can stop it
    assert [run_id for page in pages for run_id in page] == [late.id]
    assert 2.5 <= clock.now - before < 2.7
    assert late.id not in ids.found
    assert log.lines[-2:] == [
        "Found 1 more run alive by tags=['a']",
        f"1 of Trigger.dev task 'crop', QUEUED: {late.id}",
    ]
    assert ids.empty == []


def test_the_second_search_is_no_later_than_it_has_to_be(server, select, client, clock) -> None:
    runs = select(tags=("a",))
    runs.find(client)
    before = clock.now
    clock.sleep(LIST_LAG - 0.05)
    late = server.add_run("EXECUTING", tags=["a"])
    assert further_of(runs, client) == [late.id]
    assert clock.now - before == pytest.approx(LIST_LAG, abs=0.02)


def test_what_is_wrong_with_a_selection_is_added_to_what_was_wrong_before(select, ids, log) -> None:
    first, second = (InvalidValue(repr(text), "tags", "reason", kind="tag") for text in "ab")
    ids.invalid, ids.failed, ids.empty = [first], ["failed"], ["empty"]
    select(tags=("a",)).note(RunIds(invalid=[second], failed=["too"], empty=["also"]))
    assert (ids.invalid, ids.failed, ids.empty) == ([first, second], ["failed", "too"], ["empty", "also"])
    assert log.leveled == [("error", text) for text in ("also", str(second), "too")]


def test_without_any_run_each_source_is_named(server, select, client, ids, start_batch, log) -> None:
    ended = start_batch(count=1)
    for run in server.runs.values():
        run.status = "COMPLETED"
    with_runs = start_batch(count=1)
    runs = select(tags=("a", "b"), batch_ids=(ended, with_runs))
    runs.find(client)
    assert ids.empty == []  # not known before the second search
    assert further_of(runs, client) == []
    sentences = [f"batch {ended!r} has no run that is alive", "no run that is alive has tags=['a', 'b']"]
    assert ids.empty == log.of("error") == sentences


def test_a_second_search_that_fails_is_noted(server, select, client, ids, network, answer, log) -> None:
    runs = select(tags=("a",))
    runs.find(client)
    network.fault("GET", answer(500, {"error": "no database"}), times=1000)
    assert further_of(runs, client) == []
    [text] = ids.failed
    assert text.startswith("tags=['a']: further runs could not be searched: ")
    assert (log.of("error"), ids.empty) == ([text], [])


@pytest.mark.parametrize("limit", [1, 100])
def test_a_first_search_that_fails_keeps_what_it_found(
    server, select, client, ids, network, answer, limit: int
) -> None:
    run = server.add_run("EXECUTING", tags=["a"])
    network.fault("/batches/", answer(500, {"error": "no database"}), times=1000)
    with pytest.raises(ServerError):
        select(tags=("a",), batch_ids=("batch_1",), max_runs=limit).find(client)
    assert ids.found == ["run_given", run.id]
    assert ids.failed == []  # it was not stopped


def test_a_source_that_fails_stops_no_other(
    server, select, client, ids, start_batch, network, answer
) -> None:
    batch = start_batch(count=1)
    tagged = server.add_run("EXECUTING", tags=["a"])
    network.fault("/batches/batch_1", answer(500, {"error": "no database"}), times=1000)
    with pytest.raises(ServerError, match="/batches/batch_1"):
        select(tags=("a",), batch_ids=("batch_1", batch)).find(client)
    assert set(ids.found) == {"run_given", tagged.id, next(iter(server.runs))}


def test_a_search_ends_when_it_is_stopped(server, select, client, ids, network, clock) -> None:
    for _ in range(250):
        clock.sleep(0.01)
        server.add_run("EXECUTING", tags=["a"])
    select(lambda: len(network.requests) == 2, tags=("a",), max_runs=1000).find(client)
    assert 101 <= len(ids.found) <= 201
    assert len(network.requests) == 2
    assert ids.failed == ["tags=['a']: not all runs were searched, as the task was stopped"]


def test_nothing_is_searched_again_once_it_is_stopped(server, select, client, network, clock) -> None:
    server.add_run("EXECUTING", tags=["a"])
    is_stopped = threading.Event()
    runs = select(is_stopped.is_set, tags=("a",))
    runs.find(client)
    is_stopped.set()
    clock.sleep(LIST_LAG)
    assert list(islice(runs.further(client), 3)) == [[], [], []]
    assert len(network.requests) == 1


def test_a_search_does_not_hold_up_the_end_of_the_process(server, select, client, network) -> None:
    threads = []
    network.before = lambda _: threads.append(threading.current_thread())
    runs = select(tags=("a",))
    runs.find(client)
    further_of(runs, client)
    assert [(thread.name, thread.daemon) for thread in threads] == [("trigger-dev-search", True)] * 2


@pytest.mark.parametrize("is_first", [True, False])
def test_a_search_ends_when_it_is_stopped_while_a_request_is_not_answered(
    server, select, client, network, is_first: bool
) -> None:
    server.add_run("EXECUTING", tags=["a"])
    is_stopped, may_answer = threading.Event(), threading.Event()
    runs = select(is_stopped.is_set, tags=("a",))
    if not is_first:
        runs.find(client)
        assert next(runs.further(client)) == []

    def hang(_: str) -> None:
        is_stopped.set()
        assert may_answer.wait(LONG)

    network.before = hang
    if is_first:
        runs.find(client)
    else:
        for page in runs.further(client):
            assert page == []
            if is_stopped.is_set():
                break
    assert is_stopped.is_set()
    may_answer.set()


# By batches


def test_the_runs_of_a_batch_are_found_in_its_order(server, find, start_batch, network) -> None:
    start_batch(count=2)
    batch = start_batch(count=5)
    run_ids = list(server.runs)[2:]
    server.runs[run_ids[1]].status = "COMPLETED"
    before = len(network.requests)
    assert find(batch_ids=(batch,)) == [run_ids[0], *run_ids[2:]]
    assert network.requests[before:] == [f"GET /api/v2/batches/{batch}", "GET /api/v1/runs"]


def test_runs_that_a_batch_shares_with_an_earlier_one_are_found(server, find, start_batch) -> None:
    keyed = [{"idempotencyKey": f"k{number}"} for number in range(3)]
    start_batch(*keyed)
    shared = list(server.runs)
    server.runs[shared[1]].status = "COMPLETED"
    batch = start_batch(*keyed, {})
    assert find(batch_ids=(batch,)) == [shared[0], shared[2], list(server.runs)[-1]]


def test_a_run_of_a_batch_that_the_list_does_not_show_yet_is_found(server, find, start_batch, clock) -> None:
    server.list_lag = 2.0
    batch = start_batch(count=3)
    assert find(batch_ids=(batch,)) == list(server.runs)


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


def test_a_run_that_only_the_list_shows_is_found_if_it_belongs_to_the_batch(find, shown, log) -> None:
    listed = ["run_3", "run_2", "run_1"]
    client, _ = shown(named=["run_1"], listed=listed, run_2={"batchId": "batch_2"}, run_3={})
    assert find(client, batch_ids=("batch_1",)) == ["run_1"]
    assert log.of("error") == []


def test_a_run_that_a_batch_does_not_name_yet_is_found(find, shown) -> None:
    client, _ = shown(named=[], listed=["run_2", "run_1"])
    assert find(client, batch_ids=("batch_1",)) == ["run_2", "run_1"]


def test_runs_that_a_batch_does_not_name_yet_are_found_on_all_pages_of_the_list(find, shown) -> None:
    listed = [f"run_{number}" for number in range(5)]
    client, _ = shown(named=[], listed=listed, page_size=2)
    assert find(client, batch_ids=("batch_1",)) == listed


def test_a_run_that_was_named_but_never_made_is_left_out_and_no_other(find, shown) -> None:
    client, _ = shown(named=["run_1", "run_2", "run_3"], listed=["run_2"], run_1=404)
    assert find(client, batch_ids=("batch_1",)) == ["run_2", "run_3"]


def test_a_run_that_is_alive_is_found_each_time_unless_it_may_be_missing(shown) -> None:
    client, _ = shown(named=["run_1", "run_2"], listed=[], run_2=500)
    batches = BatchRuns(lambda _: None)
    for _ in range(2):
        first, unchecked = batches.runs_of("batch_1", client, skip=())
        assert (first.id, first.status) == ("run_1", "QUEUED")
        assert unchecked == ListedRun(id="run_2", status="", task_identifier="", attributes={})
    assert batches.runs_of("batch_1", client, skip={"run_1"}) == [unchecked]


def test_a_run_that_cannot_be_checked_is_found_only_if_the_batch_names_it(find, shown, ids, log) -> None:
    client, _ = shown(named=["run_1"], listed=["run_2"], run_1=500, run_2=500)
    assert find(client, batch_ids=("batch_1",)) == ["run_1"]
    assert "1 of an unknown task, status unknown: run_1" in log.lines
    [text] = ids.failed
    assert text.startswith("run run_2 is not canceled, as it may not belong to batch 'batch_1': GET ")


@pytest.mark.parametrize(("count", "is_all"), [(1, True), (5, False)])
def test_where_the_list_is_down_what_the_batch_names_is_found(
    select, shown, ids, count: int, is_all: bool
) -> None:
    client, _ = shown(named=["run_1"], listed=None, count=count)
    runs = select(batch_ids=("batch_1",))
    runs.find(client)
    assert (ids.found, ids.failed[1:]) == (["run_given", "run_1"], [])
    text = "batch 'batch_1' names 1 of its 5 runs, and the list could not be searched for others: GET /api/v1"
    assert [one.startswith(text) for one in ids.failed] == ([] if is_all else [True])
    further_of(runs, client)
    assert sum("could not be searched" in one for one in ids.failed) == (not is_all)


def test_a_key_that_is_rejected_meanwhile_is_raised(select, shown) -> None:
    client, _ = shown(named=["run_1"], listed=[], run_1=401)
    with pytest.raises(AuthenticationError):
        select(batch_ids=("batch_1",)).find(client)


def test_a_server_that_ignores_the_filter_by_batch_adds_no_runs_of_others(find, shown) -> None:
    client, wire = shown(named=["run_1"], listed=[f"run_{number}" for number in range(50)], count=1)
    assert find(client, batch_ids=("batch_1",)) == ["run_1"]
    assert len(wire.sent) == 3  # the batch, its list, and a check of its run


def test_what_has_ended_is_not_checked_again(select, shown) -> None:
    client, wire = shown(named=["run_1", "run_2"], listed=[], run_1={"status": "COMPLETED"})
    runs = select(batch_ids=("batch_1",))
    runs.find(client)
    assert further_of(runs, client) == []
    assert len([request for request in wire.sent if "/v3/" in request.url]) == 2


@pytest.mark.parametrize(
    ("status", "count", "fails"),
    [("PENDING", 5, True), ("PROCESSING", 5, True), ("COMPLETED", 5, False), ("PENDING", 2, False)],
)
def test_a_batch_that_is_still_being_created_is_a_failure(
    select, shown, ids, log, status: str, count: int, fails: bool
) -> None:
    client, _ = shown(named=["run_1", "run_2"], listed=["run_1", "run_2"], count=count, status=status)
    runs = select(batch_ids=("batch_1",))
    runs.find(client)
    assert ids.failed == []
    further_of(runs, client)
    text = "batch 'batch_1' is still being created: 2 of its 5 runs exist. Cancel it again for the others"
    assert ids.failed == log.of("error") == ([text] if fails else [])


def test_an_unknown_batch_is_named_once_and_stops_no_other(
    server, select, client, ids, start_batch, log
) -> None:
    batch = start_batch(count=1)
    runs = select(batch_ids=("batch_nope", batch))
    runs.find(client)
    further_of(runs, client)
    [text] = log.of("error")
    assert [str(one) for one in ids.invalid] == [text]
    assert text.startswith("'batch_nope' from batch_ids is not a valid batch id: the environment of the ")
    assert ids.found[1:] == list(server.runs)


def test_a_run_with_the_tag_in_the_batch_is_found_once(server, find, start_batch) -> None:
    batch = start_batch({"tags": ["a"]}, {})
    assert sorted(find(tags=("a",), batch_ids=(batch,))) == sorted(server.runs)

"""A wait in this thread, in virtual time: what its checks meet, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import cycle, pairwise
from typing import Any

import pytest
from requests import ReadTimeout

from airflow_provider_trigger.api.errors import NotSentError, OversizeError, TransportError
from airflow_provider_trigger.run.checks import CONCURRENCY
from airflow_provider_trigger.run.drive import WATCHED_ALONE, BlockingWatch, StoppedError, drive
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Cancel, Check, Waited, WaitEnd

GET, LIST = "GET /api/v3/runs/", "GET /api/v1/runs"


def taken(*steps: Any) -> Generator[Any, Any, Any]:
    """Yield steps as a wait does; the result is what the driver has handed back."""
    replies = []
    for step in steps:
        replies.append((yield step))
    return replies


def replies_of(steps: Any, client: Any, **options: Any) -> Any:
    return drive(steps, client, **options)


@pytest.fixture
def wait(client, virtual_time, log) -> Callable[..., list[Waited]]:
    """Wait for runs, and return what became of each."""
    client.exchange.breaker.has_worked = True  # the server has started them

    def run(*runs: Any, **settings: Any) -> list[Waited]:
        made = WaitSettings(**{"patience": 60.0, "poll_interval": 5.0} | settings)
        run_ids = [getattr(one, "id", one) for one in runs]
        steps = wait_for_runs(run_ids, made, log=log, now=virtual_time.time)
        return list(drive(steps, client).values())

    return run


@pytest.fixture
def fail_between(network, virtual_time) -> Callable[..., None]:
    """Let checks fail in some spans of time, in seconds from the begin of the test, with replies in turn."""

    def act(*spans: tuple[float, float], replies: list[Any], part: str = "GET") -> None:
        in_turn = cycle(replies)

        def before(_: str) -> None:
            network.repair()
            if any(start <= virtual_time.now - 1000 < end for start, end in spans):
                network.fault(part, next(in_turn))

        network.before = before

    return act


@pytest.fixture
def broken(answer):
    return answer(500, {"error": "Something went wrong"})


@pytest.mark.parametrize("run_ids", [[".."], ["..", "run_1"]])
def test_an_id_that_cannot_be_sent_is_an_error(wait, run_ids: list[str]) -> None:
    with pytest.raises(NotSentError):
        wait(*run_ids)


# Steps


def test_news_of_checks_are_passed_on_and_the_wait_gets_all_replies(server, client) -> None:
    run_id, news = server.add_run("EXECUTING").id, list[Any]()
    steps = taken(Check(run_ids=(run_id,)), Cancel(run_ids=(run_id,)))
    checked, canceled = replies_of(steps, client, on_news=news.append)
    assert news == [checked]
    assert (checked[run_id].status, canceled[run_id].outcome) == ("EXECUTING", "canceled")


@pytest.mark.parametrize("count", [1, 2])
def test_only_the_check_of_a_single_run_shows_what_can_be_large(server, client, count: int) -> None:
    run_ids = tuple(server.add_run("COMPLETED", payload={"page": 1}).id for _ in range(count))
    [seen] = replies_of(taken(Check(run_ids=run_ids)), client)
    assert ["payload" in seen[one].attributes for one in run_ids] == [count == 1] * count


@pytest.mark.parametrize("is_fresh", [False, True])
def test_only_a_check_that_no_other_one_follows_is_repeated(
    client, network, virtual_time, lost, is_fresh: bool
) -> None:
    network.fault("GET", lost, times=1000)
    [reply] = replies_of(taken(Check(run_ids=("run_1",), is_fresh=is_fresh)), client)
    assert isinstance(reply["run_1"], TransportError)
    assert (len(network.requests) > 2) == is_fresh
    assert virtual_time.now <= 1010


# Checks that fail


def test_an_outage_is_one_line_at_its_begin_one_a_minute_and_one_at_its_end(
    server, fail_between, wait, log, answer, lost
) -> None:
    run = server.add_run("EXECUTING", then=[(2000, "COMPLETED")])
    replies = [lost, answer(503, "down"), answer(200, b"<html>"), answer(429, {"error": "too many"})]
    fail_between((20, 660), (800, 900), replies=replies)
    [waited] = wait(run, patience=10, poll_interval=20)
    assert (waited.end, waited.error) == (WaitEnd.FINAL, "")
    failed, still = f"Status check of run {run.id} failed", f"Status checks of run {run.id} have failed for"
    minutes = [f"{still} {seconds} s" for seconds in range(60, 620, 60)]
    assert [line.split(";")[0] for line in log.of("warning")] == [failed, *minutes, failed, f"{still} 60 s"]
    assert [line for line in log.of("info") if "again" in line] == [
        f"Run {run.id} can be checked again after {seconds} s" for seconds in (640, 100)
    ]


@pytest.mark.parametrize("reply", ["401", "403", "404", "page"])
@pytest.mark.parametrize(("patience", "seconds"), [(60, 60), (0, 30)])
def test_a_server_that_rejects_the_checks_ends_the_wait_after_the_patience_or_half_a_minute(
    server, network, wait, virtual_time, log, answer, reply: str, patience: float, seconds: float
) -> None:
    run, is_page = server.add_run("EXECUTING"), reply == "page"
    rejection = answer(403, b"<html>") if is_page else answer(int(reply), {"error": "Not found"})
    network.before = lambda _: network.fault("GET", rejection) if virtual_time.now > 1000 else None
    [waited] = wait(run, patience=patience)
    assert (waited.end, waited.run and waited.run.status) == (WaitEnd.REJECTED, "EXECUTING")
    # A 401 is repeated once each time, for a key that has worked.
    assert seconds <= virtual_time.now - 1005 <= seconds + (15 if reply == "401" else 0)
    assert is_page or f"answered {reply}: Not found" in waited.error
    assert not network.sent("/cancel")


def test_a_run_that_never_was_is_rejected_without_one(wait, virtual_time) -> None:
    [waited] = wait("run_x", patience=0)
    assert (waited.end, waited.run, virtual_time.now) == (WaitEnd.REJECTED, None, 1030)


def test_rejections_that_pass_do_not_end_it(server, fail_between, network, wait, answer, lost) -> None:
    rejections = [answer(401, {"error": "No"}), answer(403, {"error": "No"}), answer(404, {"error": "No"})]
    run = server.add_run("EXECUTING", then=[(20, "COMPLETED")])
    fail_between((0, 25), replies=rejections)
    assert [one.end for one in wait(run, patience=0)] == [WaitEnd.FINAL]
    fail_between((100, 150), (160, 210), replies=rejections)  # with a good check in between
    assert [one.end for one in wait(server.add_run("EXECUTING", then=[(300, "COMPLETED")]))] == [
        WaitEnd.FINAL
    ]
    network.before = lambda _: None
    for _ in range(3):  # 50 s of rejections each time, and something else in between
        network.fault("GET", rejections[1], times=10)
        network.fault("GET", lost)
    network.fault("GET", answer(404, b"<html>Maintenance</html>"), times=50)
    assert [one.end for one in wait(server.add_run("EXECUTING", then=[(600, "COMPLETED")]))] == [
        WaitEnd.FINAL
    ]


# A run whose checks are answered, but never with the run


@pytest.mark.parametrize(("patience", "after"), [(60, 60), (0, 30)])
@pytest.mark.parametrize("reply", ["500", "400", "503", "page", "too deep", "too large", "in turn"])
@pytest.mark.parametrize("was_seen", [False, True])
def test_it_is_not_waited_for_any_more_whatever_the_answer_is(
    server, network, wait, virtual_time, answer, reply: str, patience: float, after: float, was_seen: bool
) -> None:
    replies = {
        "500": answer(500, {"error": "Something went wrong"}),
        "400": answer(400, {"error": "No"}),
        "503": answer(503, {"error": "Busy"}),
        "page": answer(200, b"<html>"),
        "too deep": answer(200, b"[" * 100_000),
        "too large": OversizeError("GET /api/v3/runs/run_1", limit=16 * 1024 * 1024, size=None),
    }
    in_turn = cycle([replies["500"], answer(404, {"error": "Not found"})])
    run = server.add_run("EXECUTING")
    network.before = lambda request: (
        network.fault(f"{GET}{run.id}", next(in_turn) if reply == "in turn" else replies[reply])
        if len(network.requests) > was_seen
        else None
    )
    [waited] = wait(run, patience=patience)
    status = waited.run and waited.run.status
    assert (waited.end, status) == (WaitEnd.REJECTED, "EXECUTING" if was_seen else None)
    assert "answered" in waited.error
    assert virtual_time.now - 1000 == pytest.approx(after + 5 * was_seen, abs=12)


def test_the_first_of_several_ends_the_wait_where_each_counts(server, network, wait, broken) -> None:
    network.fault(GET, broken, times=1000)
    runs = [server.add_run("COMPLETED") for _ in range(3)]
    assert len(wait(*runs, success_statuses=["COMPLETED"])) == 1
    assert [one.end for one in wait(*runs)] == [WaitEnd.REJECTED] * 3


@pytest.mark.parametrize("reply", ["503", "502 page", "404 page", "no answer", "429", "lost", "500"])
def test_what_other_requests_are_answered_with_too_is_an_outage(
    server, wait, network, answer, lost, virtual_time, reply: str
) -> None:
    replies = {
        "503": answer(503, "Network error occurred"),
        "502 page": answer(502, b"<html>"),
        "404 page": answer(404, b"<html>"),
        "no answer": ReadTimeout(),
        "429": answer(429, {"error": "Too many connections"}),
        "lost": lost,
        "500": answer(500, {"error": "down"}),
    }
    # A busy gateway may answer 503 to all checks, and no list; a list that fails says the same of a 500.
    network.fault(GET, replies[reply], times=1000)
    if reply in ("404 page", "500"):
        network.fault(LIST, replies[reply], times=1000)
    deadline = virtual_time.time() + 300
    [waited] = wait(server.add_run("COMPLETED"), deadline=deadline, cancels=False)
    assert waited.end is WaitEnd.TIMED_OUT
    assert f"its last check failed: {GET}" in waited.error


def test_an_outage_that_ends_between_the_requests_ends_no_wait(server, wait, network, broken) -> None:
    run = server.add_run("COMPLETED")
    network.before = lambda _: network.repair() if LIST in network.requests else network.fault(GET, broken)
    [waited] = wait(run)
    assert (waited.end, waited.run and waited.run.status) == (WaitEnd.FINAL, "COMPLETED")


# When they are checked


@pytest.mark.parametrize(("poll_interval", "pauses"), [(7.0, {7.0}), (None, {2.0, 2.2, 2.4, 2.7})])
def test_few_runs_are_checked_by_themselves_at_their_interval_or_after_a_tenth_of_their_age(
    server, network, wait, virtual_time, poll_interval: float | None, pauses: set[float]
) -> None:
    checked: list[float] = []
    network.before = lambda request: checked.append(virtual_time.now)
    wait(server.add_run("EXECUTING", then=[(27, "COMPLETED")]), poll_interval=poll_interval)
    assert {round(later - earlier, 1) for earlier, later in pairwise(checked)} == pauses
    assert all(GET in request for request in network.requests)


# Stopping


def test_a_stop_during_a_call_ends_it_before_the_next_one(client, network) -> None:
    steps = taken(Check(run_ids=("run_1",)), Check(run_ids=("run_1",)))
    with pytest.raises(StoppedError):
        drive(steps, client, is_stopped=lambda: bool(network.requests))
    assert network.requests == [f"{GET}run_1"]


QUERY = "POST /api/v1/query"


@pytest.fixture
def stop_at(clock) -> list[float]:
    return [float("inf")]


@pytest.fixture
def check(client, virtual_time, stop_at, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Take a step of a wait; return the status of each run of which something is new, or of its error."""
    monkeypatch.setattr("airflow_provider_trigger.run.drive.time", virtual_time)
    watch = BlockingWatch(client, lambda: virtual_time.now >= stop_at[0])

    def act(*runs: Any, **step: Any) -> dict[str, Any]:
        news = watch.take(Check(run_ids=tuple(getattr(run, "id", run) for run in runs), **step))
        return {run_id: getattr(reply, "status", reply) for run_id, reply in news.items()}

    return act


def add(server, count: int = 1, **fields: Any) -> list[Any]:
    return [server.add_run("EXECUTING", **fields) for _ in range(count)]


@pytest.fixture
def without_query(network, answer) -> None:
    network.fault(QUERY, answer(404, b"<html>"), times=1000)


def test_a_query_shows_the_ends_of_all(check, server, network, clock) -> None:
    runs = add(server, 25, then=[(60, "COMPLETED")])
    assert check(*runs) == {run.id: "EXECUTING" for run in runs}
    ended: dict[str, str] = {}
    while len(ended) < len(runs):
        ended |= check(*(run for run in runs if run.id not in ended))
    assert set(ended.values()) == {"COMPLETED"}
    assert len(network.sent(QUERY)) >= 20
    assert len(network.sent(GET)) < 70  # one in a second, in the background
    assert clock.now < 1065


@pytest.mark.usefixtures("without_query")
def test_where_no_query_works_each_is_checked_though_no_query_is_due_and_only_so_many_before_it_replies(
    check, server, network, clock
) -> None:
    runs = add(server, CONCURRENCY + 4, then=[(10, "COMPLETED")])
    assert [len(check(*runs)) for _ in range(2)] == [CONCURRENCY, 4]
    assert [len(check(*runs)) for _ in range(2)] == [CONCURRENCY, 4]
    assert clock.now < 1015


def test_a_check_that_fails_is_news_and_no_call_is_repeated_by_the_client(
    check, server, network, answer
) -> None:
    for call in (QUERY, GET):
        network.fault(call, answer(503, {"error": "Down"}), times=1000)
    news = check(*add(server, WATCHED_ALONE + 1))
    assert len(news) == CONCURRENCY
    assert "EXECUTING" not in news.values()
    assert len(set(network.requests)) == len(network.requests)


def test_it_returns_when_the_step_says_so_or_after_five_minutes_though_nothing_is_new(
    check, server, clock
) -> None:
    [run] = add(server)
    check(run)
    begun = clock.now
    for limit, seconds in ((20, 20), (-5, 0), (float("inf"), 300)):
        assert check(run, until=clock.time() + limit) == {}
        assert clock.now - begun == pytest.approx(seconds)
        begun = clock.now


def test_a_stop_ends_it(check, server, stop_at, clock) -> None:
    [run] = add(server)
    check(run)
    stop_at[0] = 1010
    with pytest.raises(StoppedError):
        check(run)
    assert clock.now < 1011

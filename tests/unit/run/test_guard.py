"""What becomes of a task's runs when the task is stopped, or fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from waiting import until

from airflow_provider_trigger.api.errors import ServerError, TransportError, TriggerDevError
from airflow_provider_trigger.api.masking import SecretKey
from airflow_provider_trigger.report.ends import log_stop as log_stop_of
from airflow_provider_trigger.run import guard as guard_module
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import Sending, divide
from airflow_provider_trigger.run.starts import Starts
from airflow_provider_trigger.run.stop import StoppedError

TAG = "airflow_task:start"
CANCEL, BULK, LIST = "/cancel", "POST /api/v1/bulk-actions", "GET /api/v1/runs"
TO_DO = ". Unless a retry waits for it, cancel it in the dashboard"


class TimeLimitError(BaseException):
    """Like the error with which Airflow ends a task after its execution_timeout."""


def add(server, guard: Guard, count: int = 1) -> list[Any]:
    runs = [server.add_run("EXECUTING") for _ in range(count)]
    guard.run_ids = [run.id for run in runs]
    return runs


def add_tagged(server, *keys: str) -> list[Any]:
    return [server.add_run("EXECUTING", tags=[TAG], idempotency_key=key) for key in keys]


def fail(guard: Guard, error: BaseException) -> None:
    with pytest.raises(type(error)), guard:
        raise error


@pytest.fixture
def sending_of(request_for) -> Callable[..., Sending]:
    """Make a request of a batch that was sent, for some of its items."""

    def make(first: int, count: int, **fields: Any) -> Sending:
        [part] = divide({index: request_for(f"k{index}", index) for index in range(first, first + count)})
        return Sending(part, **{"may_exist": True, "is_done": True} | fields)

    return make


# What is canceled, and when


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("error", [ValueError("mine"), TimeLimitError(), StoppedError()])
def test_an_error_cancels_the_runs_and_lets_nothing_more_be_sent(
    server, guard: Guard, log, error: BaseException, count: int
) -> None:
    runs = add(server, guard, count)
    guard.run_ids += [None, runs[0].id]
    fail(guard, error)
    assert [(run.status, run.cancel_requests) for run in runs] == [("CANCELED", 1)] * count
    assert sorted(log.leveled) == sorted(("info", f"Canceled run {run.id}") for run in runs)
    assert guard.is_stopped


# A signal


@pytest.mark.parametrize("count", [1, 25])
@pytest.mark.parametrize("status", [200, 503])
def test_a_stop_needs_no_lock_of_the_code_that_it_interrupts_and_logs_once_it_can(
    count: int, status: int, server, make_guard, network, answer, caplog: pytest.LogCaptureFixture
) -> None:
    log_stop = partial(log_stop_of, logging.getLogger("a_task"), "mine")
    guard = make_guard(time_limit=4.0 if status == 200 else 1.0, log_stop=log_stop)
    runs = add(server, guard, count)
    if status != 200:
        network.fault("POST", answer(status, {"error": "No"}), times=1000)
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("airflow_provider_trigger.api.exchange")
    # Each request logs, as urllib3 does for each new connection.
    network.before = lambda request: logger.info("%s", request)
    with guard:
        caplog.handler.acquire()  # as code does that the signal interrupts
        logging._lock.acquire()  # type: ignore[attr-defined]
        try:
            logging.root.manager._clear_cache()  # type: ignore[attr-defined]
            guard.stop()
        finally:
            logging._lock.release()  # type: ignore[attr-defined]
            caplog.handler.release()
        assert {run.status for run in runs} == {"CANCELED" if status == 200 else "EXECUTING"}
        until(lambda: runs[0].id in caplog.text, "it says what is canceled")
        logger.info("as before")
    said = [record for record in caplog.records if record.name == "a_task"]
    assert said[0].message.startswith("Canceling ")
    assert {one.levelname for one in said} & ({"INFO"} if status == 200 else {"WARNING", "ERROR"})
    assert [record.message for record in caplog.records if record not in said] == ["as before"]


@pytest.mark.parametrize(("known", "unanswered"), [(2, 0), (12, 0), (0, 3), (12, 3), (0, 0)])
@pytest.mark.parametrize("cancels", [True, False])
def test_before_its_first_request_a_stop_says_which_runs_it_cancels(
    cancels: bool, known: int, unanswered: int, server, make_guard, network, log, sending_of
) -> None:
    guard, said = make_guard(cancels=cancels), list[str]()
    runs = add(server, guard, known)
    guard.run_ids += [None] * unanswered
    guard.tag = TAG
    guard.sendings += [sending_of(known, unanswered)] if unanswered else []
    network.before = lambda _: said.append("\n".join(log.lines))
    guard.stop()
    assert bool(said or log.lines) == (cancels and known + unanswered > 0)
    if said:
        assert all(run.id in said[0] for run in runs)
        text = f"Canceling 3 runs whose start the server has not answered, by the tag {TAG}"
        assert (text in said[0]) == bool(unanswered)


@pytest.mark.parametrize(
    ("bulk", "listed"),
    [(202, "all"), (202, "lagging"), (202, "others"), (202, "down"), (403, "all"), (403, "down")],
)
def test_while_starts_are_unanswered_a_stop_cancels_by_the_tag_what_is_known_to_be_its_own(
    bulk: int,
    listed: str,
    server,
    guard: Guard,
    network,
    answer,
    sending_of,
    log,
) -> None:
    server.bulk_rate, server.list_lag = None, 60.0 if listed == "lagging" else 0.0
    known = [server.add_run("EXECUTING", tags=[TAG]) for _ in range(20)]
    lost = add_tagged(server, *(f"k{index}" for index in range(20, 100)))
    others = [server.add_run("EXECUTING", tags=[f"{TAG}:other"])]
    if listed == "others":
        others += [server.add_run("EXECUTING", tags=[TAG]), *add_tagged(server, "another Airflow's")]
    if bulk == 403:
        network.fault(BULK, answer(403, {"error": "Unauthorized"}), times=1000)
    if listed == "down":
        network.fault(LIST, answer(403, {"error": "Unauthorized"}), times=1000)
    guard.run_ids = [*(run.id for run in known), *[None] * 80]
    guard.tag = TAG
    guard.sendings += [sending_of(first, 20, is_done=False) for first in range(20, 100, 20)]
    guard.stop()
    assert {run.status for run in known} == {"CANCELED"}
    assert {run.status for run in lost} == {"EXECUTING" if listed == "down" else "CANCELED"}
    assert {run.status for run in others} == {"EXECUTING"}
    fail(guard, StoppedError())
    assert bool(log.of("error")) == (listed == "down")
    if listed == "lagging":
        of_starts = [
            line for line in log.of("warning") if "the start of 80 runs, and bulk action bulk_" in line
        ]
        assert of_starts == log.of("warning") != []


@pytest.mark.parametrize("count", [2, 25])
def test_what_was_canceled_is_not_canceled_again_and_what_failed_is(
    server, guard: Guard, network, answer, count: int
) -> None:
    runs = add(server, guard, count)
    network.fault(BULK, answer(404, {}), times=1000)
    network.fault(f"{runs[1].id}/cancel", answer(400, {}))
    guard.stop()
    assert sorted({run.status for run in runs}) == ["CANCELED", "EXECUTING"]
    guard.stop()
    assert {run.status for run in runs} == {"CANCELED"}
    fail(guard, StoppedError())
    assert {run.cancel_requests for run in runs} == {1}


@pytest.mark.parametrize("is_killed", [True, False])
def test_only_after_a_signal_a_cancel_has_no_time_for_the_rate_limit(
    is_killed: bool, server, guard: Guard, network, log, answer
) -> None:
    [run] = add(server, guard)
    network.fault(CANCEL, answer(429, {"error": "No"}, {"retry-after": "8"}))
    with guard:
        (guard.stop if is_killed else guard.cancel)()
    assert (run.status, len(log.of("error"))) == ("EXECUTING" if is_killed else "CANCELED", is_killed)


@pytest.mark.parametrize(("is_killed", "limit"), [(True, 4), (False, 12)])
def test_a_cancel_that_fails_again_and_again_ends_in_time(
    is_killed: bool, limit: float, guard: Guard, network, clock, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "TIME_LIMIT", 12.0)
    guard.take_up("run_1")
    network.fault("/runs", answer(503, {"error": "No"}), times=1000)
    (guard.stop if is_killed else guard.cancel)()
    assert limit / 2 < clock.now - 1000 <= limit + 1


@pytest.mark.parametrize("knows_bulk", [True, False])
def test_after_a_signal_many_are_canceled_in_bulk_and_each_by_itself_the_newest_first(
    knows_bulk: bool, server, make_guard, network, log, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.cancel.bulk.MAX_SIZE", 20)
    guard = make_guard(at_once=1)
    runs = add(server, guard, 25)
    guard.run_ids = [*guard.run_ids[7:], *guard.run_ids[:7]]
    if not knows_bulk:
        network.fault(BULK, answer(404, {}))
    with guard:
        guard.stop()
    assert network.requests[0] == BULK
    assert network.sent(CANCEL) == [f"POST /api/v2/runs/{run.id}/cancel" for run in reversed(runs)]
    assert (len(network.sent(BULK)), network.sent("GET")) == (1 + knows_bulk, [])
    bulk = f", and bulk action {', '.join(server.bulk)} cancels all" if knows_bulk else ""
    assert log.of("info")[1:] == [f"The cancel of 25 of 25 runs was accepted{bulk}"]


@pytest.mark.parametrize("is_known", [True, False])
def test_in_a_signal_handler_no_key_is_fetched_but_one_that_is_known_is_used(
    is_known: bool, server, connect, network, make_guard, log
) -> None:
    fetched: list[str] = []

    def fetch() -> str:
        fetched.append(server.secret_key)
        return str(server.secret_key)

    key = SecretKey("tr_prod_of_before", fetch=fetch)
    guard = make_guard(connect(network, key=key)[0])
    [run] = add(server, guard)
    if is_known:
        key.replace(server.secret_key)  # by another client
    guard.stop()
    assert (run.status, fetched) == ("CANCELED" if is_known else "EXECUTING", [])
    fail(guard, StoppedError())
    assert (run.status, len(fetched)) == ("CANCELED", 0 if is_known else 1)
    assert [level for level, _ in log.leveled][1:] == (["info"] if is_known else ["error", "info"])


# While the answer to a single start has not come


def test_a_run_that_starts_in_spite_of_a_stop_is_found_by_its_key_and_canceled(
    server, guard: Guard, client, network, log, request_for, lost
) -> None:
    server.on_task("resize", after=None)
    guard.run_ids, guard.tag = [None], TAG
    network.fault("/trigger", lost, arrives=True)

    def stop(sent: str) -> None:  # as a signal does, before the answer comes
        if sent.endswith("/trigger") and not guard.is_stopped:
            threading.Thread(target=guard.stop).start()
            until(lambda: guard.is_stopped, "it is stopped")

    network.before = stop
    with pytest.raises(StoppedError), guard:
        Starts(client, guard, log=log, on_ids=lambda: None).start({0: request_for()})
    assert [run.status for run in server.runs.values()] == ["CANCELED"]
    assert not network.sent(BULK)


@pytest.mark.parametrize("replayed", [True, False])
def test_a_stop_before_the_answer_to_a_start_without_a_key_says_that_a_run_may_exist(
    replayed: bool, server, guard: Guard, client, log, request_for, network
) -> None:
    request = TaskRequest(replay_of=server.add_run("COMPLETED").id) if replayed else request_for(None)
    guard.run_ids, hangs = [None], threading.Event()

    def stop(sent: str) -> None:
        if not guard.is_stopped:
            threading.Thread(target=guard.stop).start()
            hangs.wait(10)

    network.before = stop
    with pytest.raises(TriggerDevError, match="a run may exist") as raised, guard:
        Starts(client, guard, log=log, on_ids=lambda: None).start({0: request})
    hangs.set()
    assert raised.value.may_have_effect
    what = "which may be running: look for it in the dashboard"
    assert set(log.of("error")) == {f"The server has not answered the start of 1 run, {what}"}


# Requests of a batch in flight


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_request_in_flight_is_waited_for_for_half_of_the_time(
    is_killed: bool, server, guard: Guard, clock, passing_time, sending_of, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "TIME_LIMIT", 12.0)
    half, sleep = (2.0 if is_killed else 6.0), passing_time.sleep
    runs = add(server, guard, 2)
    guard.run_ids = [None] * 6
    soon, never = (sending_of(first, 2, is_done=False) for first in (1, 3))
    guard.sendings += [soon, never]

    def pass_time(seconds: float) -> None:
        sleep(seconds)
        if clock.now > 1000 + half / 2:
            soon.run_ids = tuple(run.id for run in runs)

    monkeypatch.setattr(passing_time, "sleep", pass_time)
    (guard.stop if is_killed else guard.cancel)()
    assert guard.run_ids == [None, runs[0].id, runs[1].id, None, None, None]
    assert {run.status for run in runs} == {"CANCELED"}
    assert half <= clock.now - 1000 < half + 2


@pytest.mark.parametrize("is_killed", [True, False])
def test_only_after_a_signal_there_is_no_time_for_the_list_to_show_its_runs(
    is_killed: bool, server, make_guard, network, sending_of
) -> None:
    server.list_lag, guard = 2.0, make_guard(time_limit=30.0)
    runs = add_tagged(server, "k0", "k1", "k2")
    guard.tag, guard.run_ids = TAG, [None] * 3
    guard.sendings.append(sending_of(0, 3))
    (guard.stop if is_killed else guard.cancel)()
    assert {run.status for run in runs} == {"EXECUTING" if is_killed else "CANCELED"}
    assert (len(network.sent(LIST)) == 1) == is_killed


@pytest.mark.parametrize("list_lag", [0.0, 2.0])
def test_those_of_an_earlier_try_that_were_not_taken_up_yet_are_found_as_well(
    server, guard: Guard, log, sending_of, list_lag: float
) -> None:
    server.list_lag = list_lag
    taken_up, other, gone, foreign = add_tagged(server, "k0", "k1", "k of a gone item", "another operator's")
    guard.tag, guard.is_earlier = TAG, lambda key: str(key).startswith("k")
    guard.run_ids = [taken_up.id, *[None] * 5]
    guard.sendings.append(sending_of(3, 3))  # what is found hides no request without an answer
    fail(guard, StoppedError())
    assert [one.cancel_requests for one in (taken_up, other, gone, foreign)] == [1, 1, 1, 0]
    [line] = log.of("error")
    assert line.startswith("The server has not answered the start of 3 runs, which may be running")


def test_where_those_of_an_earlier_try_cannot_be_searched_the_log_says_so(
    guard: Guard, network, answer, log
) -> None:
    network.fault(LIST, answer(400, {"error": "Not in region X."}), times=1000)
    guard.tag, guard.is_earlier, guard.run_ids = TAG, {"k0"}.__contains__, [None]
    fail(guard, StoppedError())
    [line] = log.of("error")
    assert line.startswith("Runs that an earlier try has started may still be running, as the list of runs ")
    assert " answered 400: Not in region X): a retry finds them" in line
    assert line.endswith(f"look for them in the dashboard by the tag {TAG}")


BAD_GATEWAY = ServerError(method="POST", path="/p", status=502, detail="no", request_id=None, retryable=True)


@pytest.mark.parametrize(("tag", "cancels"), [(None, True), (TAG, True), (TAG, False)])
@pytest.mark.parametrize(
    ("error", "words"), [(TransportError("lost"), "not answered"), (BAD_GATEWAY, "answered 502 (6 times) to")]
)
def test_where_they_cannot_be_found_the_log_says_so(
    tag, cancels: bool, error: Any, words: str, make_guard, network, answer, log, sending_of
) -> None:
    guard = make_guard(cancels=cancels)
    network.fault(LIST, answer(403, {}), times=1000)
    error.tries = 6
    guard.tag, guard.run_ids = tag, [None] * 3
    guard.sendings.append(sending_of(0, 3, error=error))
    fail(guard, StoppedError())
    [line] = log.of("error")
    assert f"{words} the start of 3 runs" in line
    assert line.endswith("in the dashboard" + (f" by the tag {TAG}" if tag else ""))
    assert bool(network.requests) == (tag is not None and cancels)


def test_a_request_that_was_not_sent_is_none_the_worse(guard: Guard, network, log, sending_of) -> None:
    guard.sendings.append(sending_of(0, 3, may_exist=False, error=StoppedError()))
    fail(guard, StoppedError())
    assert (network.requests, log.lines) == ([], [])

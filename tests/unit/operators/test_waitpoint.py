"""Waitpoint tokens that tasks create and complete: their keys, outcomes and logs, and what fails the task."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from airflow_names import AirflowTaskTimeout, dag_of
from fake_airflow import TaskInstance, context_of
from hub import Hub
from in_process import Network
from requests import ConnectionError as Lost
from run_operator import operator as run_operator
from token_server import KEY, TOKENS, UNKNOWN, secret_of

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.testing import UNSET

pytestmark = pytest.mark.usefixtures("wired")


def creating(**arguments: Any) -> CreateWaitpointTokenOperator:
    return CreateWaitpointTokenOperator(**{"task_id": "work"} | arguments)


def completing(token_ids: Any = UNKNOWN, **arguments: Any) -> CompleteWaitpointTokenOperator:
    given: dict[str, Any] = {"task_id": "work", "data": {"ok": True}} | arguments
    return CompleteWaitpointTokenOperator(token_ids=token_ids, **given)


def context(**fields: Any) -> Any:
    return context_of(TaskInstance(**fields))


def dag_context(**pushed: Any) -> Any:
    """Build the context of a task whose Dag has a task ``make`` that has pushed something."""
    return context_of(TaskInstance(xcoms=pushed)) | {"dag": dag_of("make")}


@pytest.fixture
def log(world):
    return world.log


@pytest.fixture
def bodies(wire) -> Callable[[], list[Any]]:
    """Return what was sent, of the requests with a body."""
    return lambda: [json.loads(one.body) for one in wire.sent if one.body]


# Create: what is sent, returned and logged


@pytest.mark.parametrize(
    ("timeout", "sent"),
    [(None, None), ("1h30m", "5400s"), (1.2, "2s"), (timedelta(minutes=5, microseconds=1), "301s")],
)
def test_a_time_limit_is_sent_as_a_text_with_a_unit(timeout, sent, bodies, waitpoints) -> None:
    creating(timeout=timeout, tags=["a", "b"]).execute({})
    assert bodies() == [({"timeout": sent} if sent else {}) | {"tags": ["a", "b"]}]
    [token] = waitpoints.tokens.values()
    limit = None if token.timeout_at is None else token.timeout_at - token.created
    assert limit == (pytest.approx(int(sent[:-1])) if sent else None)


def test_it_returns_id_and_address_and_the_log_names_the_token_only(log, waitpoints) -> None:
    made = [creating(retries=1).execute(context(try_number=try_number, max_tries=1)) for try_number in (1, 2)]
    [token] = waitpoints.tokens.values()
    assert made == [{"id": token.id, "url": f"https://trigger.test{token.path}"}] * 2
    assert log.leveled == [
        ("info", f"Created waitpoint token {token.id}"),
        ("info", f"Waitpoint token {token.id} exists: an earlier try or request of this task has created it"),
    ]


# Create: one token for a task instance

REGION = UUID(int=1)
LOOP: Any = SimpleNamespace(task_group=SimpleNamespace(parent_group=None, max_iterations=3), retries=0)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"map_index": 2},
        {"try_number": 2, "max_tries": 1},
        {"try_number": 3, "max_tries": 3},
        {"region_id": REGION, "region_index": 1, "task": LOOP},
    ],
    ids=["first try", "mapped", "retry", "after a clear", "loop"],
)
def test_its_key_is_that_of_a_run_of_the_same_task_instance(fields, waitpoints) -> None:
    for made in (creating(retries=1), run_operator(task_id="work", wait_for_completion=False, retries=1)):
        made.execute(context_of(TaskInstance(**fields), task=made))
    [token], [run] = waitpoints.tokens.values(), waitpoints.runs.values()
    assert token.idempotency_key == run.idempotency_key is not None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "no idempotency key, and a token may exist: look for it in the dashb"),
        (context(), "A token may exist: a retry, or another request with its idempot"),
    ],
    ids=["without a task instance", "with one"],
)
def test_an_error_says_that_a_token_may_exist_and_who_gets_it(given, text: str, wired: Network) -> None:
    wired.fault(f"POST {TOKENS}", Lost(), times=1000)
    with pytest.raises(Exception, match=text):
        creating().execute(given)
    assert (len(wired.requests) == 1) is (given == {})


# Complete: the outcomes


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


def result(token: Any, outcome: str, status: str | None) -> dict[str, Any]:
    return {"token_id": getattr(token, "id", token), "outcome": outcome, "status": status}


def test_each_token_has_its_true_outcome_in_xcom_and_its_line_in_the_log(tokens, log) -> None:
    given, (ours, done, late) = dag_context(), tokens.values()
    with pytest.raises(AirflowFailException) as raised:
        completing([*(one.id for one in tokens.values()), UNKNOWN, ours.id]).execute(given)
    expected = [
        result(ours, "completed", "COMPLETED"),
        result(done, "already_completed", "COMPLETED"),
        result(late, "timed_out", "TIMED_OUT"),
        result(UNKNOWN, "not_found", None),
    ]
    assert given["ti"].pushed["return_value"] == expected
    assert [one.output for one in tokens.values()] == [{"ok": True}, {"by": "somebody"}, UNSET]
    summary = "4 waitpoint tokens: 1 completed, 1 already completed, 1 timed out, 1 not found"
    timed_out = f"timed out: {late.id} (what waited for it went on without this data)"
    assert str(raised.value) == f"{summary} - {timed_out}; not found: {UNKNOWN}"
    assert log.leveled == [
        ("info", "Completing 4 waitpoint tokens on https://trigger.test"),
        ("info", f"{ours.id}: completed, COMPLETED"),
        ("info", f"{done.id}: already completed, COMPLETED"),
        ("error", f"{late.id}: timed out, TIMED_OUT"),
        ("error", f"{UNKNOWN}: not found, status unknown"),
        ("info", summary),
    ]


def test_where_they_are_ignored_neither_time_limits_nor_unknown_tokens_fail_the_task(tokens, log) -> None:
    ignored: dict[str, Any] = {"on_timed_out": "ignore", "on_not_found": "ignore"}
    results = completing([tokens["timed_out"].id, UNKNOWN], **ignored).execute(context())
    assert [one["outcome"] for one in results] == ["timed_out", "not_found"]
    assert {level for level, _ in log.leveled} == {"info"}


@pytest.mark.parametrize(
    ("token_id", "text"),
    [
        (UNKNOWN, f"{UNKNOWN}; None of the tokens was found: does the secret key of connection 'trigger_d"),
        ("make", r"make \('make' does not look .* use xcom_task_ids"),
    ],
)
def test_of_unknown_tokens_it_says_what_to_check(token_id: str, text: str) -> None:
    with pytest.raises(AirflowFailException, match=f"not found: {text}"):
        completing(token_id).execute(context())


@pytest.mark.parametrize(
    ("data", "others", "outcome"),
    [
        ({"a": [1, True], "b": None}, {"b": None, "a": [1.0, True]}, "completed"),
        ("", None, "completed"),
        *((data, data, "completed") for data in (None, "None", 0, 1e21, -(2**53))),
        ("1", 1, "already_completed"),
        ({"approved": False}, {"approved": 0}, "already_completed"),
        ([1, 2], [2, 1], "already_completed"),
        ([], nested(400), "already_completed"),
    ],
)
def test_data_show_who_completed_it(data, others, outcome: str, wired: Network, tokens, waitpoints) -> None:
    token = tokens["completed"]

    def be_first(request: str) -> None:
        if request.endswith("/complete"):
            waitpoints.complete_token(token.id, others)

    wired.before = be_first
    assert completing(token.id, data=data).execute(context()) == [result(token, outcome, "COMPLETED")]


@pytest.mark.parametrize("data", ["half \ud83d", ["half \ud83d"]])
def test_a_lone_surrogate_in_the_data_is_sent_and_known_again(data: Any, tokens) -> None:
    token = tokens["completed"]
    for _ in ("first", "again"):
        assert completing(token.id, data=data).execute(context()) == [result(token, "completed", "COMPLETED")]


# Complete: requests that fail


def test_a_token_that_a_check_shows_is_not_unknown(wired: Network, tokens, answer) -> None:
    new, given = tokens["completed"], context()
    wired.fault("/complete", answer(404, {"error": "Waitpoint not found"}), times=1)
    with pytest.raises(AirflowException, match=f"1 failed - .*{new.id}/complete answered 404") as raised:
        completing(new.id).execute(given)
    assert not isinstance(raised.value, AirflowFailException)
    assert completing(new.id).execute(given) == [result(new, "completed", "COMPLETED")]


@pytest.mark.parametrize(("status", "retries"), [(503, True), (400, False), (403, False)])
def test_a_failure_stops_no_other(status: int, retries: bool, wired: Network, waitpoints, answer) -> None:
    one, two = (waitpoints.create_token()[0] for _ in range(2))
    wired.fault(f"{one.id}/complete", answer(status, {"error": "no"}), times=1000)
    given = dag_context()
    with pytest.raises(AirflowException) as raised:
        completing([one.id, two.id]).execute(given)
    assert isinstance(raised.value, AirflowFailException) is not retries
    failed, completed = given["ti"].pushed["return_value"]
    assert f"1 token may still be waiting; not completed: {one.id}: {failed['error']}" in str(raised.value)
    assert (failed["outcome"], failed["status"], completed["outcome"]) == ("failed", None, "completed")
    assert failed["error"].startswith(f"POST {TOKENS}/{one.id}/complete answered {status}: no")


def test_a_replica_that_shows_the_token_as_waiting_is_asked_again(wired: Network, tokens, answer) -> None:
    token = tokens["completed"]
    wired.fault("GET", answer(200, {"id": token.id, "status": "WAITING"}), times=2)
    assert completing(token.id).execute(context()) == [result(token, "completed", "COMPLETED")]


@pytest.mark.parametrize(("status", "retries"), [(200, True), (503, True), (403, False)])
def test_an_accepted_completion_that_no_check_after_it_shows_is_not_confirmed(
    status: int, retries: bool, wired: Network, tokens, answer, clock: Hub
) -> None:
    token, given, begun = tokens["completed"], context(), clock.now
    shown = answer(status, {"id": token.id, "status": "WAITING", "error": "no"})
    wired.fault("GET", shown, times=1000)
    with pytest.raises(AirflowException) as raised:
        completing(token.id).execute(given)
    text = f"1 waitpoint token: 1 accepted - not confirmed: {token.id}: GET {TOKENS}/{token.id} "
    why = "shows it as WAITING, although its completion was accepted" if status == 200 else "answered "
    assert str(raised.value).startswith(f"{text}{why}")
    assert clock.now - begun < 15
    assert isinstance(raised.value, AirflowFailException) is not retries
    wired.repair()
    # A retry, or a task that was cleared, finds what the try before has done.
    assert completing(token.id).execute(given) == [result(token, "completed", "COMPLETED")]


def test_a_rejected_key_ends_the_work_and_is_not_shown(wired: Network, waitpoints, answer, log) -> None:
    wired.fault("", answer(401, {"error": f"Invalid API key {KEY}"}), times=100000)
    given, found = dag_context(), [waitpoints.create_token()[0].id for _ in range(200)]
    with pytest.raises(AirflowFailException) as raised:
        completing(found).execute(given)
    assert "200 tokens may still be waiting; not completed: " in str(raised.value)
    assert "answered 401: " in str(raised.value)
    assert str(raised.value).endswith("; check the password of connection 'trigger_dev_default'")
    assert len(wired.requests) < 100
    assert KEY not in f"{raised.value}{given['ti'].pushed}{log.leveled}"


def test_a_stop_sends_nothing_more_keeps_the_results_and_may_be_retried(wired: Network, waitpoints) -> None:
    made, given = completing([waitpoints.create_token()[0].id for _ in range(100)]), dag_context()
    wired.before = lambda _: made.on_kill()
    with pytest.raises(AirflowException, match="Airflow stopped the task") as raised:
        made.execute(given)
    assert not isinstance(raised.value, AirflowFailException)
    assert len(wired.requests) < 50
    assert len(given["ti"].pushed["return_value"]) == 100


@pytest.mark.parametrize("is_stop", [True, False], ids=["stop", "time limit"])
def test_neither_a_stop_nor_a_time_limit_waits_for_a_server_that_hangs_and_the_results_are_kept(
    is_stop: bool, wired: Network, waitpoints, log, in_signal_handler
) -> None:
    (one, two), hold, given = [waitpoints.create_token()[0] for _ in range(2)], threading.Event(), context()
    wired.before = lambda request: None if two.id in request else [hold.wait(20)].clear()
    made = completing([one.id, two.id])

    def end() -> None:
        if not is_stop:
            raise AirflowTaskTimeout
        made.on_kill()

    in_signal_handler(lambda: two.status == "COMPLETED", end)
    with pytest.raises(AirflowException if is_stop else AirflowTaskTimeout):
        made.execute(given)
    hold.set()
    error = "the work ended before an answer"
    assert given["ti"].pushed["return_value"][0] == result(one, "failed", None) | {"error": error}
    assert ("error", f"{one.id}: failed, status unknown - {error}") in log.leveled


# Complete: what it is given


@pytest.mark.parametrize("nothing", [[], None, "None", [None]])
def test_a_source_without_ids_fails_the_task_or_is_a_warning(nothing, log) -> None:
    def made(**arguments: Any) -> Any:
        made = completing([], trigger_dev_conn_id="there is no such connection", **arguments)
        made.token_ids = nothing  # as rendered
        return made.execute(context())

    with pytest.raises(AirflowFailException, match=r"^No token ids were found, so nothing was completed - "):
        made()
    assert [level for level, _ in log.leveled] == ["error"]
    assert made(on_empty="ignore") == []
    assert [level for level, _ in log.leveled[1:]] == ["warning", "info"]
    assert log.lines[-1] == "No token ids were found, so nothing was completed"


def test_ids_come_from_arguments_and_xcoms_and_each_counts_once(waitpoints) -> None:
    one, two, three = (waitpoints.create_token()[0] for _ in range(3))
    url = f"https://trigger.test{one.path}"
    made = completing([{"id": one.id, "url": url}, two.id, url], xcom_task_ids="make")
    results = made.execute(dag_context(make={"id": three.id, "url": three.path}))
    assert results == [result(token, "completed", "COMPLETED") for token in (one, two, three)]


def test_what_cannot_be_read_stops_no_other_token_and_its_secret_is_not_shown(waitpoints, log) -> None:
    token = waitpoints.create_token()[0]
    wrong = f"callback/{secret_of(token)}"
    with pytest.raises(AirflowFailException) as raised:
        completing([token.id, wrong, [wrong], {"url": wrong}, f"{wrong} {secret_of(token)}!"]).execute(
            dag_context()
        )
    assert "tokens whose ids could not be read may still be waiting; 'callback/…' from " in str(raised.value)
    assert "is not a valid token id: it must be an id (waitpoint_…), " in str(raised.value)
    assert (token.status, wrong in f"{raised.value}{log.leveled}") == ("COMPLETED", False)


@pytest.mark.parametrize(
    ("made", "rendered", "error"),
    [
        (creating, {"timeout": "soon"}, "timeout must be a duration of 1 s or more"),
        (completing, {"data": {"a": [2**53 + 1]}}, r"data must not have an integer beyond 2\^53, "),
        (completing, {"data": "LazySelectSequence([2 items])"}, ".* made of a mapped task's outputs"),
    ],
)
def test_what_a_template_makes_is_checked_before_anything_is_sent(
    made: Callable[..., Any], rendered: dict[str, Any], error: str, wired: Network
) -> None:
    operator = made(**dict.fromkeys(rendered, "{{ x }}"))
    vars(operator).update(rendered)
    with pytest.raises(AirflowFailException, match=f"WaitpointTokenOperator 'work': {error}"):
        operator.execute(context())
    assert wired.requests == []

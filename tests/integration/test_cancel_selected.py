"""The operator cancels the runs of tags and batches, and no others."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from waiting import LONG

from airflow_provider_trigger.run import search
from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def lists_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the list again after a moment, as the local server's does not lag."""
    monkeypatch.setattr(search, "LIST_LAG", 0.2)


@pytest.fixture
def start_batch(server, send):
    """Start a batch of runs that stay alive; return its id."""
    server.on_task("resize", after=None)

    def start(count, **options):
        body = {"items": [{"task": "resize", "options": options}] * count}
        return send("POST", "/api/v2/tasks/batch", json=body).json()["id"]

    return start


class SecondSearch:
    """The time by which the second search waits: it begins when it may."""

    def __init__(self) -> None:
        self.may_begin = threading.Event()
        self._now = 0.0
        self.time = time.time

    def monotonic(self) -> float:
        if self.may_begin.is_set():  # perhaps before the first search has ended
            self._now += LONG
        return self._now

    def sleep(self, seconds: float) -> None:
        self.may_begin.wait(seconds)


@pytest.fixture
def second_search(monkeypatch: pytest.MonkeyPatch) -> SecondSearch:
    made = SecondSearch()
    monkeypatch.setattr(search, "time", made)
    return made


def canceled(server) -> set[str]:
    return {run.id for run in list(server.runs.values()) if run.status == "CANCELED"}


pytestmark = pytest.mark.usefixtures("lists_again_soon")


# By tags


@pytest.fixture
def unlimited():
    """A server without a rate limit: at its true numbers, so many runs take long."""
    with TriggerDevServer(rate_limit=None) as server:
        yield server


def test_of_many_runs_exactly_those_of_the_tag_are_canceled(
    unlimited, connect, cancel, meanwhile, said, second_search
):
    connect(host=unlimited.url, key=unlimited.secret_key)
    tagged = {unlimited.add_run("QUEUED", tags=["etl", "nightly"]).id for _ in range(400)}
    for number in range(100):
        unlimited.add_run("QUEUED", tags=["etl", f"other-{number}"])
    added: set[str] = set()

    def add() -> None:
        for number in range(50):
            added.add(unlimited.add_run("QUEUED", tags=["nightly"]).id)
            unlimited.add_run("QUEUED", tags=["nightly-2" if number % 2 else "Nightly"])
        second_search.may_begin.set()

    meanwhile(lambda: canceled(unlimited), add)
    result = cancel(tags="nightly", max_runs=2000)
    assert result.error is None
    assert canceled(unlimited) == tagged | added
    assert {one["run_id"] for one in result.results} == tagged | added
    assert Counter(result.outcomes) == {"canceled": 450}
    assert len(unlimited.runs) == 400 + 100 + 100
    assert said.lines("Found 400 runs alive by tags=['nightly']")


def test_a_run_must_have_all_tags(server, cancel):
    both = server.add_run("EXECUTING", tags=["a", "b"])
    for tags in (["a"], ["b"], ["a", "B"], ["a,b"], []):
        server.add_run("EXECUTING", tags=tags)
    result = cancel(tags=["a", "b"])
    assert [(one["run_id"], one["outcome"]) for one in result.results] == [(both.id, "canceled")]
    assert canceled(server) == {both.id}


def test_a_run_that_the_list_shows_later_is_canceled(server, cancel, meanwhile, second_search):
    server.list_lag = LONG
    run = server.add_run("EXECUTING", tags=["a"])

    def catch_up() -> None:
        server.list_lag = 0.0
        second_search.may_begin.set()

    meanwhile(lambda: server.requests, catch_up)
    result = cancel(tags="a", on_empty="fail")
    assert (result.error, [one["run_id"] for one in result.results]) == (None, [run.id])


def test_runs_are_canceled_in_addition_to_those_that_are_named(server, cancel, execute):
    named, pushed, tagged, both = (server.add_run("EXECUTING", tags=tags) for tags in ([], [], ["a"], ["a"]))
    result = cancel(named, both, tags="a", xcom_task_ids="start", xcoms={"start": pushed.id})
    assert [one["run_id"] for one in result.results] == [named.id, both.id, pushed.id, tagged.id]
    assert set(result.outcomes) == {"canceled"}


def test_too_many_runs_fail_the_task_before_any_of_them_is_canceled(server, cancel):
    named = server.add_run("EXECUTING")
    for _ in range(3):
        server.add_run("EXECUTING", tags=["a"])
    result = cancel(named, tags="a", max_runs=2)
    assert type(result.error).__name__ == "AirflowFailException"
    assert str(result.error) == (
        "tags=['a'] finds 3 runs that are alive, more than max_runs=2: none of these was canceled. "
        "Select fewer runs, or set max_runs"
    )
    assert canceled(server) == {named.id}
    assert [one["outcome"] for one in result.results] == ["canceled"]


def test_a_list_that_fails_stops_no_other_cancel_and_may_be_retried(server, cancel):
    named = server.add_run("EXECUTING")
    tagged = server.add_run("EXECUTING", tags=["a"])
    server.fail_next(100, status=500, path="/api/v1/runs", method="GET")
    result = cancel(named, tags="a")
    assert type(result.error).__name__ == "AirflowException"
    assert "tags=['a']: not all runs could be searched: " in str(result.error)
    assert "1 Trigger.dev run: 1 canceled" in str(result.error)
    assert (named.status, tagged.status) == ("CANCELED", "EXECUTING")


def test_given_runs_are_canceled_before_a_search_that_is_not_answered(
    server, make_operator, execute, meanwhile
):
    """A list that is down takes as long as a call is repeated, 120 s by default."""
    named = server.add_run("EXECUTING")
    server.hang_next(path="/api/v1/runs?")
    operator = make_operator(named.id, tags="a")
    meanwhile(lambda: named.status == "CANCELED", operator.on_kill)  # else it would never end
    assert [one["run_id"] for one in execute(operator).results] == [named.id]


def test_a_stop_ends_a_search_that_is_not_answered(server, make_operator, execute, meanwhile):
    run = server.add_run("EXECUTING", tags=["a"])
    server.hang_next(path="/api/v1/runs?")
    operator = make_operator(run.id, tags="a")
    meanwhile(lambda: not server.pending_faults, operator.on_kill)
    result = execute(operator)
    assert "Airflow stopped the task before its work was done" in str(result.error)
    assert "tags=['a']: not all runs were searched, as the task was stopped" in str(result.error)
    searches = [request for request in server.requests if request.path.startswith("/api/v1/runs?")]
    assert len(searches) == 1  # it did not wait until the search was repeated


def test_a_template_that_finds_nothing_cancels_nothing_else(server, run_tasks, said):
    named = server.add_run("EXECUTING")
    other = server.add_run("EXECUTING", tags=["None"])
    result = run_tasks(
        f"""
        CancelTriggerRunOperator(
            task_id="cancel", run_ids="{named.id}", tags=["{{{{ params.get('tag') }}}}"], retries=2
        )
        """
    )
    assert (result.states, result.tries) == ({"cancel": ["failed"]}, {"cancel": [1]})
    assert said.lines("'None' from tags is not a valid tag: a template that finds nothing renders to this")
    assert (named.status, other.status) == ("CANCELED", "EXECUTING")


# By batches


def test_the_runs_of_batches_are_canceled(server, start_batch, cancel, said):
    batches = [start_batch(3), start_batch(2)]
    members = set(server.runs)
    start_batch(2)
    server.add_run("EXECUTING")
    result = cancel(batch_ids=batches)
    assert result.error is None
    assert {one["run_id"] for one in result.results} == canceled(server) == members
    assert said.lines(f"Found 5 runs alive by batch_ids={batches!r}")


def test_runs_that_a_batch_shares_with_another_are_canceled(server, start_batch, cancel):
    start_batch(1, idempotencyKey="order-17")
    (run,) = server.runs.values()
    result = cancel(batch_ids=start_batch(1, idempotencyKey="order-17"))
    assert [one["run_id"] for one in result.results] == [run.id]


def test_batches_from_a_mapped_task_are_canceled(server, start_batch, run_tasks):
    first, second, other = start_batch(1), start_batch(1), start_batch(1)
    *members, left = server.runs.values()
    result = run_tasks(
        f"""
        @task
        def start(batch):
            return batch

        CancelTriggerRunOperator(task_id="cancel", batch_ids=start.expand(batch=["{first}", "{second}"]))
        """
    )
    assert result.states["cancel"] == ["success"]
    assert [one["run_id"] for one in result.xcoms["cancel"]] == [run.id for run in members]
    assert (left.status, other) == ("EXECUTING", left.batch_id)

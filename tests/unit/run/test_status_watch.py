"""Which statuses are requested next, and what is new in an answer."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle, pairwise
from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run import status_watch
from airflow_provider_trigger.run.query_pace import QueryState
from airflow_provider_trigger.run.status_watch import StatusWatch, Watched

FAILED = AnswerTimeoutError("no answer")
NOT_SENT = NotSentError("the server stopped responding", retryable=True)
BROKEN = ServerError(method="GET", path="/", status=500, detail="", request_id=None, retryable=True)
UNKNOWN = NotFoundError(method="GET", path="/", status=404, detail="", request_id=None, retryable=False)
REJECTED = PermissionDeniedError(
    method="GET", path="/", status=403, detail="", request_id=None, retryable=False
)


class Watch(StatusWatch):
    """A status watch with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.log = Log()
        super().__init__("mine", self.log, now=self.now)

    def follow(self, *run_ids: str, poll_interval: float | None = None) -> None:
        for run_id in run_ids:
            self.add(run_id, poll_interval=poll_interval, now=self.now)

    def ask(self, *runs: Run, took: float = 0.1) -> dict[str, Any]:
        """Query when that is due, and answer with these runs; return what is new."""
        self.now = max(self.now, self.pace.due)
        run_ids = self.next_query(self.now)
        assert run_ids
        sent_at, self.now = self.now, self.now + took
        return dict(self.queried(run_ids, runs, sent_at=sent_at, now=self.now, limit=None))

    def fail(self, error: TriggerDevError = FAILED) -> None:
        """Let queries fail until that changes what is known of them."""
        for _ in range(3 if self.pace.state is QueryState.WORKS else 1):
            self.now = max(self.now, self.pace.due)
            assert self.next_query(self.now)
            self.query_failed(error, now=self.now)

    def due(self) -> list[str]:
        """Begin all checks of single runs that are due."""
        found = []
        while (run_id := self.next_check(self.now)) is not None:
            found.append(run_id)
        return found

    def answer(self, reply: Run | TriggerDevError, run_id: str = "run_1") -> dict[str, Any]:
        return dict(self.checked(run_id, reply, now=self.now))

    def live(self, seconds: int, *, shown: Callable[[str], Run | None], reply: Any) -> list[tuple[int, str]]:
        """
        Answer all queries, and each second all checks of single runs that are due; return the checks.

        Each is there with after how many seconds it began.
        """
        checked = []
        for second in range(seconds):
            if run_ids := self.next_query(self.now):
                runs = [run for run in map(shown, run_ids) if run]
                self.queried(run_ids, runs, sent_at=self.now, now=self.now, limit=None)
            for run_id in self.due():
                checked.append((second, run_id))
                self.checked(run_id, reply(run_id), now=self.now)
            self.now += 1
        return checked

    def checks_in(self, seconds: float, *, reply: Any) -> list[float]:
        """Return after how many seconds each check of a single run begins, answered at once."""
        begun, found = self.now, []
        while (at := self.next_at(may_query=False, may_check=True)) <= begun + seconds:
            self.now = max(self.now, at)
            for run_id in self.due():
                found.append(round(self.now - begun, 3))
                self.checked(run_id, reply(run_id), now=self.now)
        self.now = begun + seconds
        return found


def a_run(run_id: str = "run_1", status: str = "EXECUTING", *, attempt: int = 1, **shown: Any) -> Run:
    return Run.from_answer({"id": run_id, "status": status, "attemptCount": attempt} | shown)


@pytest.fixture
def watch() -> Watch:
    return Watch()


# What a query shows


def test_all_runs_are_queried_together_and_only_what_is_new_is_told(watch: Watch) -> None:
    watch.follow("run_1", "run_2")
    first = watch.ask(a_run("run_1"), a_run("run_2"))
    assert list(first) == ["run_1", "run_2"]
    assert watch.ask(a_run("run_1"), a_run("run_2")) == {}
    ended = a_run("run_2", "COMPLETED")
    assert watch.ask(a_run("run_1"), ended) == {"run_2": ended}
    watch.now = watch.pace.due
    assert watch.next_query(watch.now) == ["run_1"]  # what has ended is queried no more


def test_another_attempt_is_new(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask(a_run(attempt=1))
    assert list(watch.ask(a_run(attempt=2))) == ["run_1"]


def test_many_runs_are_queried_in_parts_in_turn(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_watch, "MAX_QUERIED_RUNS", 2)
    watch.follow("run_1", "run_2", "run_3")
    queried = []
    for _ in range(3):
        watch.now = watch.pace.due
        run_ids = watch.next_query(watch.now) or []
        queried.append(run_ids)
        watch.queried(run_ids, map(a_run, run_ids), sent_at=watch.now, now=watch.now, limit=None)
    assert queried == [["run_1", "run_2"], ["run_3", "run_1"], ["run_2", "run_3"]]
    assert watch.pace.due - watch.now == 1.0


def test_an_id_that_may_not_stand_in_a_query_is_checked_by_itself(watch: Watch) -> None:
    watch.follow("run_1' OR '1'='1")
    assert watch.next_query(watch.pace.due) is None
    assert watch.due() == ["run_1' OR '1'='1"]


def test_nothing_is_requested_for_a_run_that_is_not_waited_for(watch: Watch) -> None:
    watch.follow("run_1", "run_1")
    watch.remove("run_1", poll_interval=None)
    assert len(watch) == 1
    watch.remove("run_1", poll_interval=None)
    assert len(watch) == 0
    assert watch.next_query(watch.pace.due) is None
    assert watch.next_at(may_query=True, may_check=True) == float("inf")
    assert watch.answer(a_run()) == {}  # of a check that was in flight


def test_a_second_wait_gets_what_is_known_at_once(watch: Watch) -> None:
    watch.follow("run_1")
    shown = a_run()
    watch.ask(shown)
    assert watch.add("run_1", poll_interval=None, now=watch.now) is shown


def test_a_run_that_is_waited_for_anew_is_not_missing_from_a_query_that_was_under_way(watch: Watch) -> None:
    watch.follow("run_1")
    watch.now = watch.pace.due
    run_ids = watch.next_query(watch.now) or []
    sent_at = watch.now
    watch.remove("run_1", poll_interval=None)
    watch.now += 1
    watch.follow("run_1")
    watch.queried(run_ids, [], sent_at=sent_at, now=watch.now, limit=None)
    assert watch._watched["run_1"].is_listed is None
    watch.ask()
    assert watch._watched["run_1"].is_listed is False


def test_a_run_that_is_waited_for_since_the_instant_of_a_query_is_in_it(watch: Watch) -> None:
    watch.follow("run_1")
    watch.now = watch.pace.due
    watch.follow("run_2")
    assert list(watch.ask(a_run("run_1"), a_run("run_2"))) == ["run_1", "run_2"]


def test_a_run_that_is_waited_for_since_the_instant_queries_work_again_is_checked_in_the_background(
    watch: Watch,
) -> None:
    watch.follow("run_1")
    watch.fail()
    watch.ask(a_run("run_1"), took=0)
    watch.follow("run_2", "run_3")
    watch.ask(*map(a_run, ("run_1", "run_2", "run_3")), took=0)
    assert watch.due() == ["run_1", "run_2"]
    watch.now += 1
    assert watch.due() == ["run_3"]


def test_when_there_is_something_to_request_depends_on_what_is_under_way(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=50)
    assert watch.next_at(may_query=True, may_check=False) == watch.pace.due
    assert watch.next_at(may_query=False, may_check=True) == watch.now
    assert watch.next_at(may_query=False, may_check=False) == float("inf")


def test_a_small_bucket_makes_queries_rare(watch: Watch) -> None:
    watch.follow("run_1")
    watch.now = watch.pace.due
    assert watch.next_query(watch.now)
    watch.queried(["run_1"], [a_run()], sent_at=watch.now, now=watch.now, limit=20)
    assert watch.pace.due - watch.now == 5


def test_a_run_that_left_while_it_was_queried_hides_no_other(watch: Watch) -> None:
    watch.follow("run_1", "run_2")
    watch.now = watch.pace.due
    run_ids = watch.next_query(watch.now) or []
    watch.remove("run_1", poll_interval=None)
    news = watch.queried(run_ids, map(a_run, run_ids), sent_at=watch.now, now=watch.now, limit=None)
    assert list(news) == ["run_2"]


def test_a_run_that_has_ended_is_requested_no_more(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=1)
    watch.ask(a_run(status="COMPLETED"))
    watch.now += 1000
    watch.follow("run_1", poll_interval=1)
    assert (watch.next_query(watch.now), watch.due()) == (None, [])
    assert watch.next_at(may_query=True, may_check=True) == float("inf")


def test_a_query_whose_runs_have_all_left_meanwhile_makes_the_next_one_no_sooner(watch: Watch) -> None:
    watch.follow("run_1")
    watch.now = watch.pace.due
    run_ids = watch.next_query(watch.now) or []
    watch.remove("run_1", poll_interval=None)
    watch.queried(run_ids, [a_run()], sent_at=watch.now, now=watch.now, limit=None)
    assert watch.pace.due - watch.now == 2.0


def test_the_connection_is_named_where_queries_fail(watch: Watch) -> None:
    watch.follow("run_1")
    watch.fail()
    [warning] = watch.log.of("warning")
    assert warning.startswith("Connection 'mine': a status query failed; ")


# What a query does not show


@pytest.mark.parametrize("missing_from", ["the first query", "its first query", "its second query"])
def test_a_run_that_is_missing_is_checked_by_itself_every_10_s_until_it_is_listed_again(
    watch: Watch, missing_from: str
) -> None:
    others = [f"run_{number}" for number in range(2, 100)]
    watch.follow(*others)
    if missing_from != "the first query":
        watch.ask(*map(a_run, others), took=0)
    watch.follow("run_1")
    begun = watch.now
    if missing_from == "its second query":
        watch.ask(*map(a_run, [*others, "run_1"]), took=0)
    watch.ask(*map(a_run, others), took=0)
    checked: list[float] = []

    def reply(run_id: str) -> Run:
        if run_id == "run_1":
            checked.append(watch.now - begun)
        return a_run(run_id)

    watch.checks_in(35 - (watch.now - begun), reply=reply)
    assert checked == [pytest.approx(at) for at in (10, 20, 30)]
    watch.ask(*map(a_run, [*others, "run_1"]))
    watch.checks_in(50, reply=reply)
    assert len(checked) == 3, "it has its turn in the background"


def test_one_run_a_second_is_checked_in_the_background_the_longest_unchecked_first(watch: Watch) -> None:
    names = [f"run_{number}" for number in range(5)]
    watch.follow(*names)
    watch.ask(*map(a_run, names))
    checked: list[str] = []

    def reply(run_id: str) -> Run:
        checked.append(run_id)
        return a_run(run_id)

    times = watch.checks_in(20, reply=reply)
    assert checked[:10] == names * 2
    assert all(later - earlier >= 0.999 for earlier, later in pairwise(times))


def test_a_single_run_is_checked_in_the_background_after_a_tenth_of_its_age(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask(a_run())
    times = watch.checks_in(600, reply=a_run)
    assert times[0] < 3
    assert 29 <= times[-1] - times[-2] <= 30


def test_an_end_that_the_query_lost_shows_in_a_check(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask(a_run())
    watch.now += 5
    assert watch.due() == ["run_1"]
    ended = a_run(status="CANCELED")
    assert watch.answer(ended) == {"run_1": ended}


@pytest.mark.parametrize("end", ["finishedAt", "updatedAt"])  # one canceled before its start has no other
def test_where_an_end_was_lost_all_runs_are_soon_checked_until_a_round_shows_no_more(
    watch: Watch, end: str
) -> None:
    names = [f"run_{number}" for number in range(400)]
    lost = set(names[5:300])
    watch.follow(*names)
    watch.live(60, shown=a_run, reply=a_run)

    def reply(run_id: str) -> Run:
        shown = {"id": run_id, "status": "CANCELED", end: "2026-11-28T12:00:00Z"}
        seen_at = datetime(2026, 11, 28, 12, 0, 30, tzinfo=UTC)
        return Run.from_answer(shown, seen_at=seen_at) if run_id in lost else a_run(run_id)

    checked = watch.live(60, shown=a_run, reply=reply)
    noticed = {run_id: second for second, run_id in checked if run_id in lost}
    assert noticed.keys() == lost
    assert max(noticed.values()) < 10
    assert len(watch) == 400
    left = [run_id for _, run_id in checked if run_id not in lost]
    assert len(left) < 2 * 105 + 60, "then one a second again"


def test_an_end_that_the_next_query_may_show_is_not_lost(watch: Watch) -> None:
    names = [f"run_{number}" for number in range(400)]
    watch.follow(*names)
    watch.live(60, shown=a_run, reply=a_run)

    def reply(run_id: str) -> Run:
        shown = {"id": run_id, "status": "COMPLETED", "finishedAt": "2026-11-28T12:00:00Z"}
        return Run.from_answer(shown, seen_at=datetime(2026, 11, 28, 12, 0, 5, tzinfo=UTC))

    assert len(watch.live(60, shown=a_run, reply=reply)) == 60


def test_runs_that_no_query_has_shown_for_a_minute_are_checked_like_those_without_a_query(
    watch: Watch,
) -> None:
    """The cloud's queries look back some days only."""
    listed, missing = ["run_a", "run_b"], {f"run_{number}" for number in range(100)}
    watch.follow(*listed, *missing)

    def shown(run_id: str) -> Run | None:
        return None if run_id in missing else a_run(run_id)

    checked = watch.live(600, shown=shown, reply=a_run)
    late = [second for second, run_id in checked if run_id == "run_7" and second >= 300]
    assert [later - earlier for earlier, later in pairwise(late)] == [30] * (len(late) - 1)
    assert watch.log.lines == [
        "Connection 'mine': status queries have not shown 100 runs for a minute; each is checked by itself"
    ]
    watch.live(120, shown=a_run, reply=a_run)
    background = watch.live(60, shown=a_run, reply=a_run)
    assert len(background) <= 60, "one a second, once queries show them"


def test_after_a_failure_of_the_query_all_runs_are_checked_once(watch: Watch) -> None:
    names = [f"run_{number}" for number in range(50)]
    watch.follow(*names)
    watch.ask(*map(a_run, names))
    watch.fail()
    for run_id in watch.due():
        watch.answer(a_run(run_id), run_id)
    watch.ask(*map(a_run, names))
    assert sorted(watch.due()) == sorted(names)
    for run_id in names:
        watch.answer(a_run(run_id), run_id)
    assert watch.due() == []


def test_a_check_that_was_not_sent_counts_as_none_and_is_due_again_after_a_second(watch: Watch) -> None:
    names = [f"run_{number}" for number in range(50)]
    watch.follow(*names)
    watch.ask(*map(a_run, names))
    watch.fail()
    watch.ask(*map(a_run, names))
    begun, sent = watch.now, []

    def reply(run_id: str) -> Run | TriggerDevError:
        if watch.now < begun + 5:  # the circuit breaker of the checks is still open
            return NOT_SENT
        sent.append(run_id)
        return a_run(run_id)

    times = watch.checks_in(5.9, reply=reply)
    assert sorted(set(times)) == [0, 1, 2, 3, 4, 5]
    assert sorted(sent) == sorted(names), "each once"


@pytest.mark.parametrize(("reply", "others"), [(NOT_SENT, []), (FAILED, ["run_2"])])
def test_a_check_that_was_not_sent_holds_up_the_others_and_one_that_fails_does_not(
    watch: Watch, reply: TriggerDevError, others: list[str]
) -> None:
    watch.follow("run_1", "run_2")
    watch.fail()
    assert watch.next_check(watch.now) == "run_1"
    watch.answer(reply)
    assert watch.due() == others


def test_a_check_in_the_background_that_was_not_sent_comes_first_again(watch: Watch) -> None:
    names = ["run_1", "run_2", "run_3"]
    watch.follow(*names)
    watch.ask(*map(a_run, names))
    watch.now += 5
    assert watch.due() == ["run_1"]
    watch.answer(NOT_SENT)
    watch.now += 1
    assert watch.due() == ["run_1"]
    watch.answer(a_run())
    watch.now += 1
    assert watch.due() == ["run_2"]


def test_an_id_that_is_not_sent_for_good_is_checked_like_others(watch: Watch) -> None:
    watch.follow("..")
    invalid = NotSentError("'..' cannot be the id of a run")
    assert watch.checks_in(5, reply=lambda _: invalid) == [0, 2, 4]


# Without a query


def test_until_the_first_answer_no_run_is_checked_by_itself(watch: Watch) -> None:
    watch.follow("run_1")
    assert watch.checks_in(100, reply=a_run) == []


def test_without_a_query_each_run_is_checked_after_a_tenth_of_its_age(watch: Watch) -> None:
    watch.follow("run_1")
    watch.fail()
    times = watch.checks_in(30, reply=a_run)
    assert times == [*range(0, 21, 2), 22.025, 24.253, 26.703, 29.398]


def test_without_a_query_the_longest_overdue_comes_first(watch: Watch) -> None:
    watch.follow("run_1")
    watch.now += 10
    watch.follow("run_2", "run_3")
    watch.fail()
    assert watch.due() == ["run_1", "run_2", "run_3"]
    watch.now += 2
    watch.answer(a_run("run_3"), "run_3")
    watch.answer(a_run("run_1"), "run_1")
    watch.now += 60
    assert watch.due() == ["run_2"] or watch.due() == []


def test_where_the_server_cannot_be_reached_only_the_background_goes_on(watch: Watch) -> None:
    names = [f"run_{number}" for number in range(50)]
    watch.follow(*names)
    watch.ask(*map(a_run, names))
    watch.fail(TransportError("refused"))
    assert len(watch.checks_in(10, reply=lambda run_id: TransportError("refused"))) <= 11


def test_where_only_the_query_loses_its_connections_all_runs_are_checked_by_themselves(watch: Watch) -> None:
    names = [f"run_{number}" for number in range(50)]
    watch.follow(*names)
    watch.ask(*map(a_run, names))
    watch.now += 300
    watch.fail(TransportError("reset"))
    assert len(watch.checks_in(3, reply=a_run)) >= 50
    watch.fail(TransportError("reset"))
    assert watch.pace.state is QueryState.FAILS


def test_a_check_that_was_sent_before_does_not_show_that_the_server_can_be_reached(watch: Watch) -> None:
    watch.follow("run_1", "run_2")
    watch.ask(a_run("run_1"), a_run("run_2"))
    watch.now += 5
    assert watch.due() == ["run_1"]
    watch.fail(TransportError("refused"))
    watch.answer(a_run("run_1"), "run_1")
    assert watch.pace.state is QueryState.UNREACHABLE


def test_a_check_that_fails_is_soon_repeated_also_after_a_long_interval(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask(a_run())
    watch.fail()
    watch.checks_in(290, reply=a_run)
    replies = iter([FAILED, FAILED])
    first, *rest = watch.checks_in(80, reply=lambda run_id: next(replies, None) or a_run())
    assert [round(later - first) for later in rest[:3]] == [2, 4, 34]


def test_a_check_that_fails_for_long_is_repeated_less_and_less_often(watch: Watch) -> None:
    watch.follow("run_1")
    watch.fail()
    watch.checks_in(290, reply=a_run)
    times = watch.checks_in(600, reply=lambda run_id: FAILED)
    assert round(times[1] - times[0]) == 2
    assert round(times[-1] - times[-2]) == 30


def test_a_fixed_interval_is_kept_and_of_several_the_shortest_counts(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=7)
    watch.follow("run_1", poll_interval=3)
    watch.ask(a_run())
    times = watch.checks_in(20, reply=a_run)
    assert max(later - earlier for earlier, later in pairwise(times)) <= 3
    watch.remove("run_1", poll_interval=3)
    watch.fail()
    assert len(watch.checks_in(14, reply=a_run)) >= 2


def test_a_check_in_flight_is_not_made_twice(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=1)
    watch.ask(a_run())
    assert watch.due() == ["run_1"]
    watch.now += 100
    watch.follow("run_1", poll_interval=1)
    watch.fail()
    assert watch.due() == []


def test_a_run_that_was_started_before_the_wait_has_its_age(watch: Watch) -> None:
    watch.follow("run_1")
    watch.fail()
    shown = {"createdAt": "2026-11-01T12:00:00Z"}
    old = Run.from_answer(
        {"id": "run_1", "status": "EXECUTING", **shown}, seen_at=datetime(2026, 11, 1, 12, 3, 20, tzinfo=UTC)
    )
    assert watch.due() == ["run_1"]
    watch.answer(old)
    assert watch.next_at(may_query=False, may_check=True) - watch.now == pytest.approx(20)


def test_a_failed_check_that_a_wait_has_heard_of_otherwise_makes_the_next_answer_new(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask(a_run())
    watch.failed_elsewhere("run_1", FAILED)
    watch.failed_elsewhere("run_unknown", FAILED)
    assert list(watch.ask(a_run())) == ["run_1"]
    watch.ask(a_run(status="COMPLETED"))
    watch.failed_elsewhere("run_1", FAILED)
    assert watch.add("run_1", poll_interval=None, now=watch.now) == a_run(status="COMPLETED")


# Which answer counts


def test_an_older_query_does_not_overwrite_a_newer_check(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=1)
    watch.ask(a_run(status="QUEUED", attempt=0))
    watch.now += 1
    watch.due()
    assert list(watch.answer(a_run(attempt=1))) == ["run_1"]
    assert watch.ask(a_run(status="QUEUED", attempt=0)) == {}
    watch.now += 10
    assert watch.ask(a_run(status="QUEUED", attempt=0)) == {}, "an attempt that is past"
    assert list(watch.ask(a_run(status="COMPLETED", attempt=1))) == ["run_1"]


def test_a_query_that_may_be_behind_a_check_does_not_overwrite_it(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=1)
    waiting = a_run(status="WAITING")
    watch.ask(waiting)
    watch.now += 1
    watch.due()
    assert list(watch.answer(a_run())) == ["run_1"]
    assert watch.ask(waiting) == {}, "the query lags behind"
    watch.now += 3
    assert watch.ask(waiting) == {"run_1": waiting}, "it waits again"


def test_an_end_that_a_query_shows_counts_at_once(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=1)
    watch.now = watch.pace.due
    watch.due()
    watch.answer(a_run())
    assert list(watch.ask(a_run(status="FAILED"))) == ["run_1"]


def test_a_query_that_is_behind_does_not_hide_an_end_that_a_late_check_has_shown(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask(a_run())
    watch.fail()
    assert watch.due() == ["run_1"]
    watch.now += 20  # the check waits for the rate limit
    queried_at, ended = watch.now, a_run(status="COMPLETED")
    assert watch.answer(ended) == {"run_1": ended}
    watch.now += 1
    late = watch.queried(["run_1"], [a_run()], sent_at=queried_at, now=watch.now, limit=None)
    assert late == {}
    assert watch.add("run_1", poll_interval=None, now=watch.now) == ended


@pytest.mark.parametrize("late", [a_run(), FAILED])
def test_a_check_that_was_under_way_does_not_hide_an_end(watch: Watch, late: Any) -> None:
    watch.follow("run_1")
    watch.ask(a_run())
    watch.fail()
    assert watch.due() == ["run_1"]
    ended = a_run(status="COMPLETED")
    assert watch.ask(ended) == {"run_1": ended}
    watch.query_failed(FAILED, now=watch.now)
    assert watch.answer(late) == {}
    assert watch.add("run_1", poll_interval=None, now=watch.now) == ended


def test_a_check_that_fails_is_told_only_where_no_query_shows_the_run(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=1)
    watch.ask(a_run())
    watch.now += 1
    watch.due()
    assert watch.answer(FAILED) == {}
    watch.fail()
    watch.now += 5
    watch.due()
    assert watch.answer(FAILED) == {"run_1": FAILED}
    assert watch.add("run_1", poll_interval=None, now=watch.now) is FAILED
    watch.now += 5
    watch.due()
    same = a_run()
    assert watch.answer(same) == {"run_1": same}, "the wait must know that it can be checked again"


@pytest.mark.parametrize(
    "replies",
    [[BROKEN], [FAILED], [UNKNOWN], [REJECTED], [UnexpectedAnswerError("a page")], [BROKEN, FAILED, UNKNOWN]],
    ids=str,
)
def test_a_run_whose_checks_fail_for_longer_than_30_s_is_treated_as_if_no_query_showed_it(
    watch: Watch, replies: list[TriggerDevError]
) -> None:
    others = [f"run_{number}" for number in range(2, 100)]
    names = ["run_1", *others]
    watch.follow(*names)
    watch.ask(*map(a_run, names))
    errors, told = cycle(replies), dict[float, Run | TriggerDevError]()

    def fail(seconds: float) -> None:
        begun = watch.now
        while (at := max(watch.now, watch.next_at(may_query=False, may_check=True))) < begun + seconds:
            watch.now = at
            for run_id in watch.due():
                reply = next(errors) if run_id == "run_1" else a_run(run_id)
                if watch.checked(run_id, reply, now=watch.now):
                    told[round(watch.now - begun)] = reply

    fail(26)
    assert told == {}, "the next checks may show the run"
    assert watch.ask(*map(a_run, names), took=0) == {}
    fail(30)
    assert next(iter(told.values())) in replies
    # The query may have lost the end, and so an end only counts.
    assert watch.ask(a_run(attempt=2), *map(a_run, others)) == {}
    assert list(watch.ask(a_run(status="COMPLETED"), *map(a_run, others))) == ["run_1"]


def test_a_check_that_shows_the_run_ends_a_series_of_failures(watch: Watch) -> None:
    watch.follow("run_1", poll_interval=25)
    watch.ask(a_run())
    replies: list[Run | TriggerDevError] = [BROKEN, BROKEN, a_run()]
    for reply in replies * 3:
        watch.now += 12.5
        if run_ids := watch.due():
            assert run_ids == ["run_1"]
            assert watch.answer(reply) == {}


def test_an_unknown_run_is_told_each_time(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask()
    for _ in range(3):
        watch.now += 10
        assert watch.due() == ["run_1"]
        assert watch.answer(UNKNOWN) == {"run_1": UNKNOWN}


# What it costs


def test_while_queries_go_on_as_before_an_answer_costs_nothing_for_other_runs(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"run.{number}" for number in range(100)]  # with a dot: no query names them
    watch.follow("run_1", *names)
    due_alone = Watched.due_alone.fget  # type: ignore[attr-defined]
    scheduled: list[str] = []

    def count(watched: Watched) -> float:
        scheduled.append(watched.run_id)
        return float(due_alone(watched))

    monkeypatch.setattr(Watched, "due_alone", property(count))
    watch.ask(a_run())
    scheduled.clear()
    watch.ask(a_run())
    assert scheduled == []
    watch.fail()
    assert len(scheduled) == 101, "each run once, as each is to be checked by itself now"
    scheduled.clear()
    watch.fail()
    assert scheduled == []
    assert watch.next_check(watch.now) == "run.0"
    watch.answer(a_run("run.0"), "run.0")
    assert scheduled == ["run.0"]


def test_nothing_is_kept_of_a_run_that_is_no_longer_waited_for(watch: Watch) -> None:
    watch.follow("run_1")
    watch.ask(a_run())
    watch.fail()
    watch.now += 4.5
    error = TransportError("reset")
    assert watch.due() == ["run_1"]
    watch.answer(error)
    watch.ask(a_run())
    assert watch.add("run_1", poll_interval=None, now=watch.now) is error
    for _ in range(2):
        watch.remove("run_1", poll_interval=None)
    watch.next_at(may_query=True, may_check=True)
    kept = weakref.ref(error)
    del error
    assert kept() is None

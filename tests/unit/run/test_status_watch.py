"""Which statuses are requested next, and what is new in an answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotFoundError,
    NotSentError,
    ServerError,
    TriggerDevError,
)
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run import status_watch
from airflow_provider_trigger.run.status_watch import StatusWatch

FAILED = AnswerTimeoutError("no answer")
NOT_SENT = NotSentError("the server stopped responding", retryable=True)
SENT: dict[str, Any] = {"method": "GET", "path": "/", "detail": "", "request_id": None}
BROKEN = ServerError(**SENT, status=500, retryable=True)
UNKNOWN = NotFoundError(**SENT, status=404, retryable=False)
NEVER = float("inf")
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Watch(StatusWatch):
    """A status watch with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[object] = []
        super().__init__(now=self.now)

    def join(self, *run_ids: str, poll_interval: float | None = None) -> Any:
        """Let one more wait follow runs; return what is known of the last one."""
        self.waits.append(object())
        known = self.follow(self.waits[-1], run_ids, poll_interval=poll_interval, now=self.now)
        return known.get(run_ids[-1])

    def leave(self) -> None:
        """Let the last wait follow no more."""
        self.follow(self.waits.pop(), (), now=self.now)

    def query(self) -> list[str]:
        """Wait until a query is due, and return its runs."""
        self.now = max(self.now, self.pace.due)
        return self.next_query(self.now) or []

    def show(self, run_ids: list[str], *runs: Run, sent_at: float | None = None) -> dict[str, Any]:
        """Answer a query; return what is new."""
        sent_at = self.now if sent_at is None else sent_at
        return dict(self.queried(run_ids, runs, sent_at=sent_at, now=self.now))

    def ask(self, *runs: Run, took: float = 0.1) -> dict[str, Any]:
        """Query when that is due, and answer with these runs; return what is new."""
        run_ids, sent_at = self.query(), self.now
        assert run_ids
        self.now += took
        return self.show(run_ids, *runs, sent_at=sent_at)

    def fail(self, error: TriggerDevError = FAILED) -> None:
        """Let queries fail until that changes what is known of them."""
        for _ in range(3 if self.pace.works else 1):
            assert self.query()
            self.query_failed(error, now=self.now)

    def due(self, after: float = 0.0) -> list[str]:
        """Begin all checks of single runs that are due after some seconds."""
        self.now += after
        found = []
        while (run_id := self.next_check(self.now)) is not None:
            found.append(run_id)
        return found

    def answer(self, reply: Run | TriggerDevError, run_id: str = "run_1") -> dict[str, Any]:
        return dict(self.checked(run_id, reply, now=self.now))

    def check(self, reply: Run | TriggerDevError, *, after: float) -> dict[str, Any]:
        """Check run_1, which is due then; return what is new."""
        assert self.due(after) == ["run_1"]
        return self.answer(reply)

    def live(self, seconds: int, *, shown: Callable[[str], Run | None], reply: Any) -> list[tuple[int, str]]:
        """
        Answer all queries, and each second all checks of single runs that are due; return the checks.

        Each is there with after how many seconds it began.
        """
        checked = []
        for second in range(seconds):
            if run_ids := self.next_query(self.now):
                self.show(run_ids, *(run for run in map(shown, run_ids) if run))
            for run_id in self.due():
                checked.append((second, run_id))
                self.answer(reply(run_id), run_id)
            self.now += 1
        return checked

    def checks_in(self, seconds: float, *, reply: Any) -> list[float]:
        """Return after how many seconds each check of a single run begins, answered at once."""
        begun, found = self.now, []
        while (at := self.next_at(may_query=False, may_check=True)) <= begun + seconds:
            self.now = max(self.now, at)
            for run_id in self.due():
                found.append(round(self.now - begun, 3))
                self.answer(reply(run_id), run_id)
        self.now = begun + seconds
        return found


def a_run(run_id: str = "run_1", status: str = "EXECUTING", *, attempt: int = 1, **shown: Any) -> Run:
    return Run.from_answer({"id": run_id, "status": status, "attemptCount": attempt} | shown)


def names_of(count: int) -> list[str]:
    return [f"run_{number}" for number in range(count)]


ENDED = a_run(status="COMPLETED")


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def fifty(watch: Watch) -> list[str]:
    """Watch so many runs, which a query has shown."""
    names = names_of(50)
    watch.join(*names)
    watch.ask(*map(a_run, names))
    return names


# What a query shows


def test_all_runs_are_queried_together_and_only_what_is_new_is_told(watch: Watch) -> None:
    watch.join("run_1", "run_2")
    assert list(watch.ask(a_run("run_1"), a_run("run_2"))) == ["run_1", "run_2"]
    assert watch.ask(a_run("run_1"), a_run("run_2")) == {}
    assert list(watch.ask(a_run("run_1", attempt=2), a_run("run_2"))) == ["run_1"]
    assert watch.ask(ENDED, a_run("run_2")) == {"run_1": ENDED}
    assert watch.query() == ["run_2"]


def test_many_runs_are_queried_in_parts_in_turn(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_watch, "MAX_QUERIED_RUNS", 2)
    watch.join("run_1", "run_2", "run_3")
    queried = []
    for _ in range(3):
        queried.append(watch.query())
        watch.show(queried[-1], *map(a_run, queried[-1]))
    assert queried == [["run_1", "run_2"], ["run_3", "run_1"], ["run_2", "run_3"]]
    assert watch.pace.due - watch.now == 1.0


def test_an_id_that_may_not_stand_in_a_query_is_checked_by_itself(watch: Watch) -> None:
    watch.join("run_1' OR '1'='1")
    assert (watch.query(), watch.due()) == ([], ["run_1' OR '1'='1"])


def test_nothing_is_requested_for_a_run_that_has_ended_or_is_not_waited_for(watch: Watch) -> None:
    for run_id in ("run_2", "run_1", "run_1"):
        watch.join(run_id, poll_interval=1)
    for left in (["run_2", "run_1"], ["run_2"]):
        watch.leave()
        assert watch.query() == left
    watch.ask(a_run("run_2", "COMPLETED"))
    watch.now += 1000
    watch.join("run_2", poll_interval=1)
    assert (watch.query(), watch.due()) == ([], [])
    assert watch.next_at(may_query=True, may_check=True) == NEVER
    assert watch.answer(a_run()) == {}  # of a check that was in flight


@pytest.mark.parametrize(("later", "is_told"), [(0, True), (1, False)])
def test_a_query_shows_nothing_of_a_run_that_is_waited_for_since_later(
    watch: Watch, later: float, is_told: bool
) -> None:
    watch.join("run_1")
    run_ids, sent_at = watch.query(), watch.now
    watch.leave()
    watch.now += later
    watch.join("run_1")
    assert bool(watch.show(run_ids, a_run(), sent_at=sent_at)) == is_told


# What a query does not show


def test_a_run_that_is_missing_is_checked_by_itself_every_10_s_until_it_is_listed_again(watch: Watch) -> None:
    watch.join(*names_of(100))
    watch.live(200, shown=a_run, reply=a_run)

    def checks_of_missing(seconds: int, missing: str | None) -> list[int]:
        shown = watch.live(seconds, shown=lambda one: None if one == missing else a_run(one), reply=a_run)
        return [second for second, run_id in shown if run_id == "run_7"]

    first, *later = checks_of_missing(60, "run_7")
    assert first <= 11
    assert later == [first + 10 * number for number in range(1, len(later) + 1)]
    assert len(later) >= 4
    assert len(checks_of_missing(60, None)) <= 2, "it has its turn in the background"


def test_one_run_a_second_is_checked_in_the_background_the_longest_unchecked_first(watch: Watch) -> None:
    names = names_of(5)
    watch.join(*names)
    checked = watch.live(21, shown=a_run, reply=a_run)
    assert [run_id for _, run_id in checked[:10]] == names * 2
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(checked))


@pytest.mark.parametrize("end", ["finishedAt", "updatedAt"])  # one canceled before its start has no other
def test_where_an_end_was_lost_all_runs_are_soon_checked_until_a_round_shows_no_more(
    watch: Watch, end: str
) -> None:
    names = names_of(400)
    lost = set(names[5:300])
    watch.join(*names)
    watch.live(60, shown=a_run, reply=a_run)

    def reply(run_id: str) -> Run:
        shown = {"id": run_id, "status": "CANCELED", end: NOON.isoformat()}
        return (
            Run.from_answer(shown, seen_at=NOON + timedelta(seconds=30)) if run_id in lost else a_run(run_id)
        )

    checked = watch.live(60, shown=a_run, reply=reply)
    noticed = {run_id: second for second, run_id in checked if run_id in lost}
    assert noticed.keys() == lost
    assert max(noticed.values()) < 10
    left = [run_id for _, run_id in checked if run_id not in lost]
    assert len(left) < 2 * 105 + 60, "then one a second again"


def test_runs_that_no_query_has_shown_for_a_minute_are_checked_like_those_without_a_query(
    watch: Watch,
) -> None:
    """The cloud's queries look back some days only."""
    listed, missing = ["run_a", "run_b"], set(names_of(100))
    watch.join(*listed, *missing)
    checked = watch.live(600, shown=lambda one: None if one in missing else a_run(one), reply=a_run)
    late = [second for second, run_id in checked if run_id == "run_7" and second >= 300]
    assert [later - earlier for earlier, later in pairwise(late)] == [30] * (len(late) - 1)
    watch.live(120, shown=a_run, reply=a_run)
    background = watch.live(60, shown=a_run, reply=a_run)
    assert len(background) <= 60, "one a second, once queries show them"


@pytest.mark.parametrize("fails_for", [0, 5])
def test_after_a_failure_of_the_query_all_runs_are_checked_once_as_soon_as_a_check_can_be_sent(
    watch: Watch, fifty: list[str], fails_for: float
) -> None:
    watch.fail()
    for run_id in watch.due():
        watch.answer(a_run(run_id), run_id)
    watch.ask(*map(a_run, fifty))
    begun, sent = watch.now, []

    def reply(run_id: str) -> Run | TriggerDevError:
        if watch.now < begun + fails_for:  # the circuit breaker of the checks is still open
            return NOT_SENT
        sent.append(run_id)
        return a_run(run_id)

    times = watch.checks_in(fails_for + 0.9, reply=reply)
    assert sorted(set(times)) == list(range(int(fails_for) + 1))
    assert sorted(sent) == sorted(fifty)


# Without a query


def test_without_a_query_each_run_is_checked_after_a_tenth_of_its_age(watch: Watch) -> None:
    watch.join("run_1")
    assert watch.checks_in(0.2, reply=a_run) == [], "until the first answer no run is checked by itself"
    watch.fail()
    times = watch.checks_in(30, reply=a_run)
    assert times == [*range(0, 21, 2), 22.025, 24.253, 26.703, 29.398]


def test_without_a_query_the_longest_overdue_comes_first(watch: Watch) -> None:
    watch.join("run_1")
    watch.now += 10
    watch.join("run_2", "run_3")
    watch.fail()
    assert watch.due() == ["run_1", "run_2", "run_3"]
    for run_id in ("run_3", "run_1"):
        watch.now += 1
        watch.answer(a_run(run_id), run_id)
    assert watch.due(after=60) == ["run_3", "run_1"]


def test_a_check_that_fails_is_soon_repeated_also_after_a_long_interval_and_then_less_often(
    watch: Watch,
) -> None:
    watch.join("run_1")
    watch.ask(a_run())
    watch.fail()
    watch.checks_in(290, reply=a_run)
    replies = iter([FAILED, FAILED])
    first, *rest = watch.checks_in(80, reply=lambda run_id: next(replies, None) or a_run())
    assert [round(later - first) for later in rest[:3]] == [2, 4, 34]
    times = watch.checks_in(600, reply=lambda run_id: FAILED)
    assert (round(times[1] - times[0]), round(times[-1] - times[-2])) == (2, 30)


def test_a_fixed_interval_is_kept_and_of_several_the_shortest_counts(watch: Watch) -> None:
    watch.join("run_1", poll_interval=7)
    watch.join("run_1", poll_interval=3)
    watch.ask(a_run())
    times = watch.checks_in(20, reply=a_run)
    assert max(later - earlier for earlier, later in pairwise(times)) <= 3
    watch.leave()
    watch.fail()
    assert len(watch.checks_in(14, reply=a_run)) >= 2


def test_a_check_in_flight_is_not_made_twice(watch: Watch) -> None:
    watch.join("run_1", poll_interval=1)
    watch.ask(a_run())
    assert watch.due() == ["run_1"]
    watch.now += 100
    watch.join("run_1", poll_interval=1)
    watch.fail()
    assert watch.due() == []


def test_a_run_that_was_started_before_the_wait_has_its_age(watch: Watch) -> None:
    watch.join("run_1")
    watch.fail()
    shown = {"id": "run_1", "status": "EXECUTING", "createdAt": NOON.isoformat()}
    watch.check(Run.from_answer(shown, seen_at=NOON + timedelta(seconds=200)), after=0)
    assert watch.next_at(may_query=False, may_check=True) - watch.now == pytest.approx(20)


# Which answer counts


def test_a_query_that_may_be_behind_a_check_does_not_overwrite_it_unless_it_shows_an_end(
    watch: Watch,
) -> None:
    watch.join("run_1", poll_interval=1)
    queued, waiting = a_run(status="QUEUED", attempt=0), a_run(status="WAITING")
    watch.ask(queued)
    assert list(watch.check(a_run(), after=1)) == ["run_1"]
    assert watch.ask(waiting) == {}, "the query lags behind"
    watch.now += 3
    assert watch.ask(queued) == {}, "an attempt that is past"
    assert watch.ask(waiting) == {"run_1": waiting}, "it waits since then"
    assert list(watch.check(a_run(), after=1)) == ["run_1"]
    assert watch.ask(ENDED) == {"run_1": ENDED}


@pytest.mark.parametrize("late", [a_run(), FAILED])
def test_a_check_that_was_under_way_does_not_hide_an_end(watch: Watch, late: Any) -> None:
    watch.join("run_1")
    watch.ask(a_run())
    watch.fail()
    assert watch.due() == ["run_1"]
    assert watch.ask(ENDED) == {"run_1": ENDED}
    watch.query_failed(FAILED, now=watch.now)
    assert watch.answer(late) == {}
    watch.failed_elsewhere("run_1", FAILED)
    assert watch.join("run_1") == ENDED


def test_a_check_that_fails_is_told_only_where_no_query_shows_the_run(watch: Watch) -> None:
    watch.join("run_1", poll_interval=1)
    watch.ask(a_run())
    assert watch.check(FAILED, after=1) == {}
    watch.fail()
    for _ in range(2):
        assert watch.check(UNKNOWN, after=5) == {"run_1": UNKNOWN}
    assert watch.join("run_1") is UNKNOWN
    same = a_run()
    assert watch.check(same, after=5) == {"run_1": same}, "the wait must know that it can be checked again"
    watch.failed_elsewhere("run_1", FAILED)
    watch.failed_elsewhere("run_unknown", FAILED)
    assert watch.check(same, after=5) == {"run_1": same}


@pytest.mark.parametrize("replies", [[BROKEN], [FAILED], [BROKEN, FAILED, UNKNOWN]], ids=str)
def test_a_run_whose_checks_fail_for_longer_than_30_s_is_treated_as_if_no_query_showed_it(
    watch: Watch, replies: list[TriggerDevError]
) -> None:
    names = names_of(100)
    watch.join(*names)
    watch.ask(*map(a_run, names))
    errors, news = cycle(replies), list[TriggerDevError]()

    def fail(seconds: float) -> None:
        end = watch.now + seconds
        while (at := max(watch.now, watch.next_at(may_query=False, may_check=True))) < end:
            watch.now = at
            for run_id in watch.due():
                reply = next(errors) if run_id == "run_1" else a_run(run_id)
                if watch.answer(reply, run_id) and isinstance(reply, TriggerDevError):
                    news.append(reply)

    fail(26)
    assert news == [], "the next checks may show the run"
    assert watch.ask(*map(a_run, names), took=0) == {}
    fail(30)
    assert news[0] in replies
    # The query may have lost the end, and so an end only counts.
    others = [a_run(name) for name in names if name != "run_1"]
    assert watch.ask(a_run(attempt=2), *others) == {}
    assert list(watch.ask(ENDED, *others)) == ["run_1"]

"""When which runs are queried whose bulk actions have ended."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.query import MAX_QUERIED_RUNS
from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.api.exchange import Send
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.confirmation import (
    LAG,
    MAX_FAILURES,
    PAUSE,
    Confirmation,
    Confirmations,
    confirmation_steps,
)
from airflow_provider_trigger.cancel.record import RunRecord

LOST = TransportError("no answer")


class Plan:
    """Confirmations, and when each query is to begin."""

    def __init__(self) -> None:
        self.put: list[tuple[Confirmation, float]] = []
        self.confirmations = Confirmations(lambda one, at: self.put.append((one, at)))

    def begin(self, now: float) -> list[str]:
        """Begin the last query that was put; return the ids that it names."""
        confirmation, _ = self.put[-1]
        self.confirmations.begin(confirmation, now)
        return [record.run_id for record in confirmation.records]

    def fail(self, now: float) -> list[RunRecord]:
        return self.confirmations.finish(self.put[-1][0], None, LOST, now=now)


def records_of(count: int, *, first: int = 0) -> list[RunRecord]:
    return [RunRecord(f"run_{number}") for number in range(first, first + count)]


def ids_of(records: list[RunRecord]) -> list[str]:
    return [record.run_id for record in records]


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.mark.parametrize(("second", "named"), [(1, MAX_QUERIED_RUNS), (2, MAX_QUERIED_RUNS - 1)])
def test_a_query_names_as_many_runs_as_the_server_shows(plan: Plan, second: int, named: int) -> None:
    plan.confirmations.add(records_of(MAX_QUERIED_RUNS - 1), 0.0)
    plan.confirmations.add(records_of(second, first=MAX_QUERIED_RUNS), 0.0)
    assert [at for _, at in plan.put] == [LAG]
    assert len(plan.begin(LAG)) == named


def test_what_a_failed_query_has_named_comes_first_again(plan: Plan) -> None:
    first, second = records_of(2), records_of(2, first=2)
    plan.confirmations.add(first, 0.0)
    assert plan.begin(LAG) == ids_of(first)
    plan.confirmations.add(second, LAG)
    assert plan.fail(LAG) == []
    assert plan.put[-1][1] == LAG + PAUSE
    assert plan.begin(LAG + LAG) == ids_of(first + second)


def test_after_three_failures_in_a_row_all_are_checked(plan: Plan) -> None:
    first, later = records_of(2), records_of(1, first=2)
    plan.confirmations.add(first, 0.0)
    for number in range(MAX_FAILURES):
        plan.begin(LAG + 10 * number)
        assert plan.fail(LAG + 10 * number) == (first if number == MAX_FAILURES - 1 else [])
    assert plan.confirmations.add(later, 99.0) == later
    assert len(plan.put) == MAX_FAILURES


def test_a_success_between_them_counts(plan: Plan) -> None:
    canceled = Run.from_answer({"id": "run_0", "status": "CANCELED"}, seen_at=datetime.now(UTC))
    records = records_of(1)
    for now in (0.0, 100.0):
        plan.confirmations.add(records, now)
        for number in range(MAX_FAILURES - 1):
            plan.begin(now + 10 * number + LAG)
            assert plan.fail(now + 10 * number + LAG) == []
        plan.begin(now + 50)
        done = plan.confirmations.finish(plan.put[-1][0], [canceled], None, now=now + 50)
        assert done == records
    assert records[0].seen is not None
    assert (records[0].seen.status, records[0].acknowledged_at) == ("CANCELED", 50.0)


def test_a_query_takes_no_more_than_a_part_of_the_remaining_time(exchange, clock) -> None:
    confirmation, deadline = Confirmation(records_of(2)), Deadline(clock.now + 6.0)
    step = next(confirmation_steps(exchange, confirmation, deadline=deadline))
    assert isinstance(step, Send)
    assert step.timeout == pytest.approx(2.0)

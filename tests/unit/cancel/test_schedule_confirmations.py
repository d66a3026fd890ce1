"""Of many runs, queries confirm what bulk actions have canceled, and only the rest is checked run by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.cancel.confirmation import LAG, MAX_FAILURES, PAUSE
from airflow_provider_trigger.cancel.outcome import CancelResult


@pytest.fixture
def many(server) -> list[str]:
    """More runs than two bulk actions take, all executing; the query lags as much as was measured."""
    server.query_lag = 1.7
    run_ids: list[str] = server.add(*[f"run_{number}" for number in range(1200)], status="EXECUTING")
    return run_ids


@pytest.fixture
def cancel(plan) -> Callable[..., list[CancelResult]]:
    """Cancel runs, of more than 300 with queries; return the results."""

    def cancel(run_ids: list[str], **settings: Any) -> list[CancelResult]:
        results: list[CancelResult] = plan(run_ids, **{"confirm_from": 300} | settings).run()
        return results

    return cancel


def outcomes(results: list[CancelResult]) -> Counter[str]:
    return Counter(result.outcome.value for result in results)


def sent(server, *, kind: str) -> list[str]:
    return [name for name in server.names if name.split()[0] == kind and "bulk_" not in name]


def test_one_query_takes_the_place_of_all_checks(cancel, server, many: list[str]) -> None:
    results = cancel(many)
    assert outcomes(results) == {"canceled": 1200}
    assert {result.task_identifier for result in results} == {"t"}
    assert len(sent(server, kind="bulk")) == 3
    assert 1 <= len(sent(server, kind="query")) <= 3
    assert sent(server, kind="check") == []


def test_each_query_comes_when_it_can_show_what_was_canceled(cancel, server, many: list[str]) -> None:
    server.latency = 0.25
    cancel(many)
    at_end = max(at for name, at in server.log if name.startswith("check bulk_"))
    assert max(at for name, at in server.log if name == "query") >= at_end + LAG
    assert sent(server, kind="check") == []


@pytest.mark.parametrize("count", [300, 301])
def test_of_few_runs_each_is_checked(cancel, server, many: list[str], count: int) -> None:
    cancel(many[:count], bulk_from=20)
    assert bool(sent(server, kind="query")) is (count == 301)
    assert len(sent(server, kind="check")) == (300 if count == 300 else 0)


def test_without_the_setting_each_is_checked(plan, server, many: list[str]) -> None:
    plan(many).run()
    assert sent(server, kind="query") == []
    assert len(sent(server, kind="check")) == 1200


def test_what_no_query_shows_as_ended_is_checked(cancel, server, many: list[str]) -> None:
    server.lost = {"run_7"}
    server.left_out = {"run_8"}
    server.runs["run_9"]["status"] = "COMPLETED"
    results = cancel([*many, "run_unknown", ".."])
    assert outcomes(results) == {
        "canceled": 1199,
        "already_completed": 1,
        "not_found": 1,
        "failed": 1,  # the id that cannot be sent
    }
    assert Counter(sent(server, kind="check")) == {"check run_7": 1, "check run_unknown": 1}
    assert sent(server, kind="cancel") == ["cancel run_8", "cancel run_7", "cancel run_unknown"]


def test_a_query_that_fails_is_repeated_after_a_pause(cancel, server, many: list[str], response) -> None:
    server.instead["query"] = [response(429, {"error": "too many"}), TransportError("lost")]
    assert outcomes(cancel(many)) == {"canceled": 1200}
    at = [at for name, at in server.log if name == "query"]
    assert at[1] - at[0] >= PAUSE
    assert sent(server, kind="check") == []


@pytest.mark.parametrize(
    ("failure", "queries"),
    [((404, b"<html>"), 1), ((400, {"error": "connect ECONNREFUSED"}), 1), ((503, {}), MAX_FAILURES)],
)
def test_without_the_query_each_is_checked(
    cancel, server, many: list[str], response, failure: tuple[int, Any], queries: int
) -> None:
    server.instead["query"] = [response(*failure) for _ in range(100)]
    assert outcomes(cancel(many)) == {"canceled": 1200}
    assert len(sent(server, kind="query")) == queries
    assert len(set(sent(server, kind="check"))) == 1200


def test_where_a_bulk_action_does_nothing_queries_confirm_the_single_cancels(
    cancel, server, many: list[str]
) -> None:
    """Each second one at the most, and none before it can show what was canceled."""
    server.does_bulk_actions = False
    server.latency = 0.01
    assert outcomes(cancel(many[:400])) == {"canceled": 400}
    assert len(sent(server, kind="cancel")) == 400
    assert sent(server, kind="check") == []
    at = {kind: [at for name, at in server.log if name.startswith(kind)] for kind in ("cancel", "query")}
    assert at["query"][0] >= at["cancel"][0] + LAG
    assert at["query"][-1] >= at["cancel"][-1] + LAG
    assert all(after - before >= PAUSE for before, after in zip(at["query"], at["query"][1:], strict=False))


def test_ids_that_no_query_can_name_are_checked(cancel, server) -> None:
    run_ids: list[str] = server.add(*[f"run.{number}" for number in range(301)], status="EXECUTING")
    server.latency = 1.0  # the checks take longer than the lag of a query
    assert outcomes(cancel(run_ids)) == {"canceled": 301}
    assert sent(server, kind="query") == []

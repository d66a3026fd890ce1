"""What is known of a run that is waited for: which checks count, and which of them its waits hear of."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.errors import NotSentError, TransportError
from airflow_provider_trigger.run.polled import Checked, PolledRun

DOWN = TransportError("no answer")
HELD = NotSentError("the server is down", retryable=True)


@pytest.mark.parametrize(
    ("reply", "known", "counts", "is_news"),
    [
        # A run that is as before is no news, unless a wait wanted to see it.
        ("EXECUTING", {}, True, False),
        ("EXECUTING", {"is_wanted": True}, True, True),
        ("COMPLETED", {}, True, True),
        # An error of a check is none of the run while a query shows it.
        (DOWN, {}, True, False),
        (DOWN, {"is_wanted": True}, True, True),
        (DOWN, {"is_queried": False}, True, True),
        (DOWN, {"is_listed": False}, True, True),
        (DOWN, {"failing_since": 69.0}, True, True),
        (DOWN, {"failing_since": 71.0}, True, False),
        # What was not sent has shown nothing, and comes first again.
        (HELD, {}, False, False),
        (HELD, {"is_wanted": True}, True, True),
        (HELD, {"is_queried": False}, False, True),
    ],
)
def test_which_checks_count(make_run, reply: Any, known: dict[str, Any], counts: bool, is_news: bool) -> None:
    run = PolledRun("run_1", added_at=0.0, born_at=0.0)
    run.take_query(make_run("EXECUTING"), sent_at=1.0, now=1.0)
    for name in known.keys() & {"is_listed", "failing_since"}:
        setattr(run, name, known[name])
    checked = Checked(make_run(reply) if isinstance(reply, str) else reply)
    flags = {"is_wanted": False, "is_queried": True} | {
        name: value for name, value in known.items() if name in ("is_wanted", "is_queried")
    }
    assert run.take_check(checked, sent_at=99.0, now=100.0, **flags) is is_news
    assert (run.checked_at == 99.0) is counts
    assert (run.error is not None) is (is_news and not isinstance(reply, str))


@pytest.mark.parametrize(
    ("known", "is_queried", "due_at"),
    [
        # A wait wants it; then the user's interval; then queries that show it; else a tenth of its age.
        ({"must_check": True}, True, 0),
        ({"poll_interval": 50.0}, True, 0),
        ({"poll_interval": 50.0, "checked_at": 100.0}, True, 150),
        ({}, True, None),
        ({"is_listed": False}, True, 10),
        ({"is_listed": False, "checked_at": 200.0}, True, 220),
        ({"failing_since": 100.0, "checked_at": 200.0}, True, 210),
        ({}, False, 0),
        ({"seen_at": 200.0}, False, 220),
        ({"checked_at": 200.0}, False, 220),
        ({"failing_since": 190.0, "checked_at": 200.0}, False, 202),
    ],
)
def test_when_a_run_is_checked_alone(known: dict[str, Any], is_queried: bool, due_at: float | None) -> None:
    run = PolledRun("run_1", added_at=0.0, born_at=0.0, **known)
    due = [at for at in range(1000) if run.is_due(float(at), is_queried=is_queried)]
    assert due[:1] == ([] if due_at is None else [due_at])

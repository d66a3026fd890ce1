"""What a trigger hands to its task, and what the task makes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import OutdatedAnswerError
from airflow_provider_trigger.run.wait_outcome import (
    WaitEnd,
    WaitOutcome,
    check_failed,
    is_of_another_try,
    make_event,
    read_event,
)


@pytest.mark.parametrize("end", list(WaitEnd))
def test_an_event_is_plain_json_without_the_output(make_run, end: WaitEnd) -> None:
    run = make_run("COMPLETED", output="x" * 1000)
    ended = {
        "run_2": WaitOutcome(end=end, run=run, error="why", is_canceled=True),
        "run_1": WaitOutcome(end=WaitEnd.REJECTED, run=None, error="no"),
    }
    event = make_event(ended, try_number=2)
    shown = {"run_id": "run_2", "end": end.value, "status": "COMPLETED", "error": "why", "is_canceled": True}
    unseen = {"run_id": "run_1", "end": "rejected", "status": None, "error": "no", "is_canceled": False}
    assert event == {"runs": [shown, unseen], "try_number": 2}
    assert json.loads(json.dumps(event)) == event
    assert {type(event["runs"][0][name]) for name in ("end", "status")} == {str}


@pytest.mark.parametrize("error", ["", "x" * 300])
def test_the_event_of_3000_runs_fits_into_the_64_kb_of_mysql(make_run, error: str) -> None:
    run_ids = [f"run_cmwvx{hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()[:20]}" for n in range(3000)]
    outcome = WaitOutcome(end=WaitEnd.FINAL, run=make_run("COMPLETED"), error=error)
    event = make_event(dict.fromkeys(run_ids, outcome), try_number=1)
    assert len(json.dumps(event)) < 2**16
    read = read_event(json.loads(json.dumps(event)))
    assert [*read] == run_ids
    assert {len(outcome.error) for outcome in read.values()} == ({80, 300} if error else {0})
    assert {(outcome.end, outcome.run and outcome.run.status) for outcome in read.values()} == {
        ("final", "COMPLETED")
    }


@pytest.mark.parametrize(
    ("event", "try_number", "expected"),
    [
        ({"try_number": 1}, 2, True),
        ({"try_number": 2}, 2, False),
        ({"try_number": 0}, 1, True),
        ({"try_number": None}, 2, False),
        ({"try_number": 1}, None, False),
        ({}, 2, False),
        (None, 2, False),
        ("run_1", 2, False),
    ],
)
def test_an_event_is_of_another_try_if_both_are_known(event, try_number: int | None, expected: bool) -> None:
    assert is_of_another_try(event, try_number) is expected


@pytest.mark.parametrize(
    "given",
    [
        *(None, {}, "run_1", [], {"runs": []}, {"runs": "run_1"}),
        *({"runs": [run]} for run in (None, {"run_id": "run_1"}, {"end": "final"})),
        {"runs": [{"run_id": "run_1", "end": "final"}, {"run_id": "run_2", "end": "later"}]},
    ],
)
def test_what_is_not_an_event_is_an_error(given) -> None:
    with pytest.raises(ValueError, match="event is not valid") as raised:
        read_event(given)
    assert str(raised.value) == (
        "the trigger's event is not valid; do all workers and triggerers have the same version of this "
        f"provider? {given!r}"
    )


def test_an_event_of_an_older_version_is_understood() -> None:
    older = {"runs": [{"run_id": "run_1", "end": "timed_out"}]}
    assert read_event(older) == {"run_1": WaitOutcome(end=WaitEnd.TIMED_OUT, run=None)}


# The check of a run once more


@pytest.fixture
def check(client) -> Callable[..., WaitOutcome]:
    """Do what a task does that is resumed with an event."""

    def act(run_id: str, end: str, **fields: Any) -> WaitOutcome:
        shown = {"run_id": run_id, "end": end, "status": "EXECUTING", "error": "", "is_canceled": False}
        [(found, outcome)] = read_event({"runs": [shown | fields]}).items()
        assert found == run_id
        return check_failed({run_id: outcome}, client)[run_id]

    return act


@pytest.mark.parametrize(
    ("end", "status", "becomes"),
    [
        ("final", "COMPLETED", "final"),
        # A result that came after all counts.
        ("timed_out", "COMPLETED", "final"),
        ("no_version", "FAILED", "final"),
        *(("rejected", status, "final") for status in ("FAILED", "CANCELED")),
        # The wait itself has canceled it, whatever its cancel met with.
        ("timed_out", "CANCELED", "timed_out"),
    ],
)
def test_an_ended_run_is_as_checks_show(server, check, network, end: str, status: str, becomes: str) -> None:
    run = server.add_run(status)
    outcome = check(run.id, end, error="the cancel failed: no answer", is_canceled=True)
    assert outcome.run is not None
    assert (outcome.end, outcome.run.status, outcome.error) == (becomes, status, "")
    assert (outcome.run.output == {"done": True}) == (status == "COMPLETED")
    assert outcome.is_canceled == (becomes == "timed_out")
    assert len(network.requests) == 1


@pytest.mark.parametrize("end", ["timed_out", "no_version", "rejected"])
@pytest.mark.parametrize("is_known", [True, False])
def test_one_that_is_given_up_is_as_it_was_seen_last(server, check, end: str, is_known: bool) -> None:
    run_id = server.add_run("EXECUTING").id if is_known else "run_x"
    outcome = check(run_id, end, status="QUEUED", error="why", is_canceled=True)
    assert outcome.run is not None
    assert (outcome.end, outcome.error, outcome.is_canceled) == (end, "why", True)
    assert (outcome.run.id, outcome.run.status) == (run_id, "EXECUTING" if is_known else "QUEUED")


def test_an_older_answer_is_not_what_became_of_a_run_that_has_ended(server, check, network, answer) -> None:
    run = server.add_run("COMPLETED")
    network.fault("GET", answer(200, {"id": run.id, "status": "EXECUTING"}), times=2)
    assert check(run.id, "final").run.output == {"done": True}
    network.fault("GET", answer(200, {"id": run.id, "status": "EXECUTING"}), times=1000)
    with pytest.raises(OutdatedAnswerError, match="shows the run as EXECUTING, although it has ended"):
        check(run.id, "final")

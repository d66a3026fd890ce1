"""What a trigger hands to its task, and what the task makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.errors import (
    NotFoundError,
    OutdatedAnswerError,
    ServerError,
    TriggerDevError,
)
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.event import (
    check_again,
    check_failed,
    is_of_another_try,
    make_event,
    read_event,
)
from airflow_provider_trigger.run.waited import Waited, WaitEnd


@pytest.mark.parametrize("end", list(WaitEnd))
def test_an_event_is_plain_json_without_the_output(make_run, end: WaitEnd) -> None:
    run = make_run("COMPLETED", output="x" * 1000)
    ended = {"run_1": Waited(end=end, run=run, error="why", is_canceled=True)}
    event = make_event(ended, try_number=2)
    shown = {"run_id": "run_1", "end": end.value, "status": "COMPLETED", "error": "why", "is_canceled": True}
    assert event == {"runs": [shown], "try_number": 2}
    assert json.loads(json.dumps(event)) == event
    assert {type(event["runs"][0][name]) for name in ("end", "status")} == {str}


def test_a_run_that_was_never_seen_has_no_status() -> None:
    event = make_event({"run_1": Waited(end=WaitEnd.REJECTED, run=None, error="no")})
    assert (event["runs"][0]["status"], event["try_number"]) == (None, None)


def test_completed_runs_can_be_counted_instead_of_named(make_run) -> None:
    done, failed = make_run("COMPLETED"), make_run("FAILED")
    ended = {f"run_{number}": Waited(end=WaitEnd.FINAL, run=done) for number in range(1000)}
    ended["run_5"] = Waited(end=WaitEnd.FINAL, run=failed)
    ended["run_6"] = Waited(end=WaitEnd.FINAL, run=done, error="its checks answer 500")
    ended["run_7"] = Waited(end=WaitEnd.TIMED_OUT, run=done)
    event = make_event(ended, try_number=1, names_completed=False)
    assert [run["run_id"] for run in event["runs"]] == ["run_5", "run_6", "run_7"]
    assert (event["completed"], event["try_number"]) == (997, 1)
    assert len(json.dumps(event)) < 500
    read = read_event(json.loads(json.dumps(event)), [*ended, "run_0"])  # two items can share a run
    assert set(read) == set(ended)
    assert {run_id: waited.end for run_id, waited in read.items()} == {
        run_id: waited.end for run_id, waited in ended.items()
    }
    statuses = {run_id: waited.run and (waited.run.id, waited.run.status) for run_id, waited in read.items()}
    assert statuses == {run_id: (run_id, "COMPLETED") for run_id in ended} | {"run_5": ("run_5", "FAILED")}


def test_an_event_without_a_completed_run_needs_no_ids(make_run) -> None:
    ended = {"run_1": Waited(end=WaitEnd.FINAL, run=make_run("FAILED"))}
    assert list(read_event(make_event(ended, names_completed=False))) == ["run_1"]


@pytest.mark.parametrize("run_ids", [[], ["run_1"], ["run_1", "run_2", "run_3"]])
def test_counted_runs_that_are_not_those_waited_for_are_an_error(run_ids) -> None:
    with pytest.raises(ValueError, match=f"of the runs in XCom {len(run_ids)} are left for that"):
        read_event({"runs": [], "completed": 2, "try_number": 1}, run_ids)


def test_several_runs_keep_their_order() -> None:
    ended = {run_id: Waited(end=WaitEnd.FINAL, run=None) for run_id in ("run_2", "run_1")}
    assert list(read_event(make_event(ended))) == ["run_2", "run_1"]


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
def test_an_event_is_of_another_try_only_if_both_are_known(
    event, try_number: int | None, expected: bool
) -> None:
    assert is_of_another_try(event, try_number) is expected


def event(run_id: str, end: str, **fields: Any) -> dict[str, Any]:
    shown = {"run_id": run_id, "end": end, "status": "EXECUTING", "error": "", "is_canceled": False}
    return {"runs": [shown | fields]}


def read_and_check(given: Any, client: Any) -> tuple[str, Waited]:
    """Do what a task does that is resumed with an event."""
    [(run_id, waited)] = read_event(given).items()
    return run_id, check_again(run_id, waited, client)


def test_the_run_is_checked_once_more(server, client, network) -> None:
    run = server.add_run("COMPLETED")
    run_id, waited = read_and_check(event(run.id, "final"), client)
    assert run_id == run.id
    assert waited.run is not None
    assert (waited.end, waited.run.output) == (WaitEnd.FINAL, {"done": True})
    assert len(network.requests) == 1


def test_an_older_answer_is_not_what_became_of_a_run_that_has_ended(server, client, network, answer) -> None:
    run = server.add_run("COMPLETED")
    network.fault("GET", answer(200, {"id": run.id, "status": "EXECUTING"}), times=2)
    _, waited = read_and_check(event(run.id, "final"), client)
    assert waited.run is not None
    assert (waited.run.status, waited.run.output) == ("COMPLETED", {"done": True})
    network.fault("GET", answer(200, {"id": run.id, "status": "EXECUTING"}), times=1000)
    with pytest.raises(OutdatedAnswerError, match="shows the run as EXECUTING, although it has ended"):
        read_and_check(event(run.id, "final"), client)


def test_a_cancel_that_seemed_to_fail_and_shows_in_the_check_was_none_that_failed(server, client) -> None:
    run = server.add_run("CANCELED")
    _, waited = read_and_check(event(run.id, "timed_out", error="the cancel failed: no answer"), client)
    assert waited.run is not None
    assert (waited.end, waited.error, waited.run.status) == (WaitEnd.TIMED_OUT, "", "CANCELED")


def test_an_event_of_an_older_version_is_understood(server, client) -> None:
    older = {"runs": [{"run_id": "run_1", "end": "timed_out"}]}
    assert read_event(older) == {"run_1": Waited(end=WaitEnd.TIMED_OUT, run=None)}
    run = server.add_run("CANCELED")
    _, waited = read_and_check({"runs": [{"run_id": run.id, "end": "timed_out"}]}, client)
    assert (waited.end, waited.error, waited.is_canceled) == (WaitEnd.TIMED_OUT, "", False)


@pytest.mark.parametrize("end", ["timed_out", "no_version"])
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_a_result_that_came_after_all_counts(server, client, end: str, status: str) -> None:
    run = server.add_run(status)
    _, waited = read_and_check(event(run.id, end, error="the cancel failed: no answer"), client)
    assert waited.run is not None
    assert (waited.end, waited.run.status, waited.error) == (WaitEnd.FINAL, status, "")


def test_a_run_that_the_wait_has_canceled_stays_canceled(server, client) -> None:
    run = server.add_run("CANCELED")
    _, waited = read_and_check(event(run.id, "timed_out", is_canceled=True), client)
    assert waited.run is not None
    assert (waited.end, waited.is_canceled, waited.run.status) == (WaitEnd.TIMED_OUT, True, "CANCELED")


def test_a_run_that_can_be_checked_again_shows_its_end(server, client) -> None:
    for status in ("COMPLETED", "CANCELED", "FAILED"):
        for end in ("rejected", "uncheckable"):
            _, waited = read_and_check(event(server.add_run(status).id, end, error="401"), client)
            assert waited.end is WaitEnd.FINAL


@pytest.mark.parametrize("end", ["timed_out", "rejected", "uncheckable"])
def test_a_run_that_is_still_alive_is_as_it_is_now(server, client, end: str) -> None:
    run = server.add_run("EXECUTING")
    _, waited = read_and_check(event(run.id, end, status="QUEUED", error="why"), client)
    assert waited.run is not None
    assert (waited.end, waited.error, waited.run.status) == (WaitEnd(end), "why", "EXECUTING")


def test_a_final_run_that_cannot_be_checked_is_an_error(server, client, network, lost) -> None:
    run = server.add_run("COMPLETED")
    network.fault("GET", lost, times=1000)
    with pytest.raises(TriggerDevError, match="ConnectionError"):
        read_and_check(event(run.id, "final"), client)


def test_a_final_run_that_is_unknown_is_an_error(client) -> None:
    with pytest.raises(NotFoundError):
        read_and_check(event("run_x", "final"), client)


@pytest.mark.parametrize("end", ["timed_out", "no_version", "rejected", "uncheckable"])
def test_a_run_that_is_no_longer_waited_for_needs_no_check(client, end: str) -> None:
    run_id, waited = read_and_check(event("run_x", end, error="why", is_canceled=True), client)
    assert run_id == "run_x"
    assert (waited.end, waited.error, waited.is_canceled) == (WaitEnd(end), "why", True)
    assert waited.run is not None
    assert (waited.run.id, waited.run.status) == ("run_x", "EXECUTING")  # as the trigger saw it last


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_of_a_final_run_that_answers_500_for_ever_the_status_is_known(
    server, client, network, answer, status: str
) -> None:
    run = server.add_run(status)
    network.fault("GET", answer(500, {"error": "Something went wrong"}), times=1000)
    _, waited = read_and_check(event(run.id, "final", status=status), client)
    assert waited.run is not None
    assert (waited.end, waited.run.id, waited.run.status) == (WaitEnd.FINAL, run.id, status)
    assert "answered 500: Something went wrong" in waited.error


def test_a_final_run_that_answers_500_and_whose_status_is_not_known_is_an_error(
    client, network, answer
) -> None:
    network.fault("GET", answer(500, {"error": "Something went wrong"}), times=1000)
    with pytest.raises(ServerError):
        read_and_check({"runs": [{"run_id": "run_1", "end": "final"}]}, client)


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        "run_1",
        [],
        {"runs": []},
        {"runs": "run_1"},
        *(
            {"runs": [run]}
            for run in (None, {"run_id": "run_1"}, {"run_id": "", "end": "final"}, {"end": "final"})
        ),
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


def test_of_many_errors_all_but_the_first_ones_are_shortened() -> None:
    ended = {
        f"run_{number}": Waited(end=WaitEnd.UNCHECKABLE, run=None, error="x" * 300 if number % 2 else "")
        for number in range(1000)
    }
    lengths = [len(run["error"]) for run in make_event(ended)["runs"]]
    assert lengths == [0, 300] * 10 + [0, 80] * 490


# Several runs


def test_only_what_failed_is_checked_again(server, client, network) -> None:
    completed, failed = server.add_run("COMPLETED"), server.add_run("FAILED")
    checked = [client.call(retrieve_run(run.id)) for run in (completed, failed)]
    ended = {run.id: Waited(end=WaitEnd.FINAL, run=run) for run in checked}
    network.requests.clear()
    again = check_failed(ended, client)
    assert list(again) == [completed.id, failed.id]
    assert network.requests == [f"GET /api/v3/runs/{failed.id}"]


def test_an_older_answer_is_none_of_what_failed(server, client, network, answer) -> None:
    run = server.add_run("FAILED")
    network.fault("GET", answer(200, {"id": run.id, "status": "EXECUTING"}))
    ended = {run.id: Waited(end=WaitEnd.FINAL, run=Run.from_answer({"id": run.id, "status": "FAILED"}))}
    seen = check_failed(ended, client)[run.id].run
    assert seen is not None
    assert (seen.status, len(network.requests)) == ("FAILED", 2)


def test_one_that_completed_after_all_counts(server, client) -> None:
    run = server.add_run("COMPLETED")
    again = check_failed({run.id: Waited(end=WaitEnd.TIMED_OUT, run=None)}, client)
    assert again[run.id].end is WaitEnd.FINAL

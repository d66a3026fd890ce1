"""What scripted tasks do with their runs, by a clock that the test sets."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import UNSET, ServerRun, TriggerDevServer


def trigger(server: TriggerDevServer, payload: Any = UNSET, **options: Any) -> ServerRun:
    run, is_cached = server.trigger("resize", payload=payload, options=options)
    assert not is_cached
    return run


def life(run: ServerRun, clock: Clock, *, until: int) -> list[tuple[str, int]]:
    """Return the status and the attempts of a run half a second after each second."""
    seen = []
    clock.now += 0.5
    for _ in range(until):
        seen.append((run.status, run.attempt_count))
        clock.now += 1
    return seen


RETURNED: list[Any] = [None, False, 0, [], {"a": None}, "text"]


def double(payload: Any) -> Any:
    return {"width": payload.pop("width") * 2}


@pytest.mark.parametrize(
    ("behavior", "payload", "output"),
    [
        # Not scripted, it returns its payload.
        (None, UNSET, {"done": True}),
        *((None, payload, payload) for payload in (0, "text", ["a"], {"file": "a.png", "n": [None]})),
        *(({"output": it}, 1, it) for it in RETURNED),
        *((behavior, 1, UNSET) for behavior in ({}, {"output": ""}, {"output": lambda payload: ""})),
        ({"output": double}, {"width": 2}, {"width": 4}),
    ],
)
def test_what_a_run_returns(server: TriggerDevServer, clock: Clock, behavior, payload, output) -> None:
    if behavior is not None:
        server.on_task("resize", **behavior)
    run = trigger(server, copy.deepcopy(payload))
    assert run.status == "QUEUED"
    clock.now += 1
    assert (run.status, run.output, run.attempt_count, run.terminated) == ("COMPLETED", output, 1, True)
    assert run.payload == payload


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda payload: payload["width"], "not subscriptable"),
        *((lambda payload, it=it: it, "JSON") for it in ({1, 2}, float("nan"), object())),
    ],
)
def test_a_function_that_raises_or_returns_no_json_fails(
    server: TriggerDevServer, clock: Clock, output, message: str
) -> None:
    server.on_task("resize", output=output)
    run = trigger(server)
    clock.now += 1
    assert (run.status, run.output) == ("FAILED", UNSET)
    assert message in run.error["message"]


def test_a_function_is_called_once_when_its_run_ends(server: TriggerDevServer, clock: Clock) -> None:
    payloads: list[int] = []
    server.on_task("resize", output=payloads.append, start_after=0, after=5)
    run, canceled = trigger(server, 1), trigger(server, 2)
    canceled.cancel()
    clock.now += 4
    assert (run.status, payloads) == ("EXECUTING", [])
    clock.now += 4
    for _ in range(3):
        assert (run.status, run.output, canceled.status) == ("COMPLETED", None, "CANCELED")
    assert payloads == [1]


QUEUED, EXECUTING, COMPLETED = ("QUEUED", 0), ("EXECUTING", 1), ("COMPLETED", 1)


@pytest.mark.parametrize(
    ("behavior", "seen"),
    [
        ({"start_after": 1, "after": 2}, [QUEUED, EXECUTING, EXECUTING, COMPLETED]),
        ({"start_after": 0, "after": None}, [EXECUTING] * 5),
        ({"start_after": 0, "after": 1000}, [EXECUTING] * 5),
        ({"start_after": None}, [QUEUED] * 5),
        (
            {"start_after": 0, "after": 2, "waiting": 3},
            [EXECUTING, *[("WAITING", 1)] * 3, EXECUTING, COMPLETED],
        ),
    ],
)
def test_when_a_run_does_what(
    server: TriggerDevServer, clock: Clock, behavior, seen: list[tuple[str, int]]
) -> None:
    server.on_task("resize", **behavior)
    assert life(trigger(server), clock, until=len(seen)) == seen


@pytest.mark.parametrize(
    ("retry_after", "requeued", "between"),
    [(1, None, "EXECUTING"), (1, True, "QUEUED"), (35, None, "QUEUED"), (35, False, "EXECUTING")],
)
def test_failing_once_and_then_succeeding(
    server: TriggerDevServer, clock: Clock, retry_after: float, requeued: bool | None, between: str
) -> None:
    server.on_task(
        "resize", start_after=0, after=1, failures=1, retry_after=retry_after, requeued=requeued, output=5
    )
    run = trigger(server)
    clock.now += 1.5
    assert (run.status, run.attempt_count, run.error) == (between, 1, None)
    assert run.started_at is not None
    clock.now += retry_after
    assert (run.status, run.attempt_count) == ("EXECUTING", 2)
    clock.now += 1
    assert (run.status, run.attempt_count, run.output, run.error) == ("COMPLETED", 2, 5, None)


@pytest.mark.parametrize(("after", "status"), [(None, "TIMED_OUT"), (6, "TIMED_OUT"), (5, "COMPLETED")])
def test_the_maximum_duration(
    server: TriggerDevServer, clock: Clock, after: float | None, status: str
) -> None:
    server.on_task("resize", start_after=0, after=after)
    run = trigger(server, maxDuration=5)
    clock.now += 4.9
    assert run.status == "EXECUTING"
    clock.now += 0.2
    assert run.status == status


def test_the_next_runs_can_do_something_else(server: TriggerDevServer, clock: Clock) -> None:
    server.on_task("resize", error="boom", times=2)
    server.on_task("resize", output=1)
    server.on_task("resize", output=2)
    server.on_task("resize", output=3, times=1)
    runs = [trigger(server) for _ in range(5)]
    clock.now += 1
    returned = [run.status if run.output is UNSET else run.output for run in runs]
    assert returned == ["FAILED", "FAILED", 3, 2, 2]


def test_an_unknown_argument_is_an_error(server: TriggerDevServer) -> None:
    with pytest.raises(TypeError, match="outptu"):
        server.on_task("resize", outptu=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("behavior", [{"after": "5"}, {"start_after": -1}, {"retry_after": [1]}])
def test_a_duration_that_is_no_number_of_seconds_is_an_error(server: TriggerDevServer, behavior) -> None:
    with pytest.raises(TypeError, match="must be a number of seconds, at least 0"):
        server.on_task("resize", **behavior)

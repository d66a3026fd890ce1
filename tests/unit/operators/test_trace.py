"""The trace that runs join: that of the current OpenTelemetry span, if it is sampled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, Sampler, StaticSampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from run_operator import batch_in_worker, operator_in_worker

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
STATE = {"airflow": "x", "vendor": "y"}
NOTHING: tuple[None, None] = (None, None)


@contextmanager
def span(sampler: Sampler | None, state: dict[str, str] | None = None) -> Iterator[str]:
    """Let a span of a Dag run's trace be current, None for no tracing; give what is to be sent of it."""
    states = TraceState([*(state or {}).items()])
    above = SpanContext(TRACE_ID, 1, is_remote=True, trace_flags=TraceFlags(1), trace_state=states)
    of_dag_run = trace.set_span_in_context(NonRecordingSpan(above), baggage.set_baggage("a", "b"))
    provider = TracerProvider(sampler=sampler) if sampler else trace.NoOpTracerProvider()
    with provider.get_tracer(__name__).start_as_current_span("task", context=of_dag_run) as current:
        yield f"00-{TRACE_ID:032x}-{current.get_span_context().span_id:016x}-01"


def run_task(**_: Any) -> object:
    return operator_in_worker(wait_for_completion=False).execute(context_of(TaskInstance()))


def run_batch(**_: Any) -> object:  # three requests, which threads send
    made = batch_in_worker(payloads=list(range(45)), wait_for_completion=False)
    return made.execute(context_of(TaskInstance()))


def use_hook(**_: Any) -> object:
    return TriggerDevHook().trigger_task("resize")


@pytest.fixture
def replay(server) -> Callable[..., object]:
    original, _ = server.trigger("resize")
    made = ReplayTriggerRunOperator(task_id="again", run_id=original.id, wait_for_completion=False)
    return lambda: made.execute(context_of(TaskInstance("again")))


@pytest.fixture
def sent(connection: str, server) -> Callable[[], list[tuple[str | None, str | None]]]:
    """Return ``traceparent`` and ``tracestate`` of each request that starts runs; no other one has any."""

    def read() -> list[tuple[str | None, str | None]]:
        shown = [
            (one.method, (one.headers.get("traceparent"), one.headers.get("tracestate")))
            for one in server.requests
        ]
        assert all("baggage" not in one.headers for one in server.requests)
        assert {headers for method, headers in shown if method == "GET"} <= {NOTHING}
        return [headers for method, headers in shown if method == "POST"]

    return read


@pytest.mark.parametrize(("start", "requests"), [(run_task, 1), (run_batch, 3), (use_hook, 1)])
@pytest.mark.parametrize("state", [None, STATE])
def test_runs_join_the_trace_of_a_sampled_span(start, requests: int, state, sent) -> None:
    with span(ALWAYS_ON, state) as parent:
        start()
    assert sent() == [(parent, "airflow=x,vendor=y" if state else None)] * requests


@pytest.mark.parametrize("start", [run_task, run_batch, use_hook])
@pytest.mark.parametrize("sampler", [ALWAYS_OFF, StaticSampler(Decision.RECORD_ONLY), None])
def test_of_a_span_that_is_not_sampled_or_not_recorded_nothing_is_sent(start, sampler, sent) -> None:
    with span(sampler, STATE):
        start()
    assert set(sent()) == {NOTHING}


def test_without_a_span_nothing_is_sent(sent) -> None:
    run_task()
    assert sent() == [NOTHING]


def test_without_opentelemetry_nothing_is_sent(sent, monkeypatch: pytest.MonkeyPatch) -> None:
    with span(ALWAYS_ON), monkeypatch.context() as patch:
        patch.setitem(sys.modules, "opentelemetry.trace", None)  # an import fails
        run_task()
    assert sent() == [NOTHING]


def test_a_replay_takes_no_trace(replay, sent) -> None:
    with span(ALWAYS_ON, STATE):
        replay()
    assert sent() == [NOTHING]

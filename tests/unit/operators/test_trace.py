"""The trace that runs join: that of the current OpenTelemetry span, if it is sampled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
Headers = tuple[str | None, str | None]


@contextmanager
def span(sampler: Sampler | None, **state: str) -> Iterator[str]:
    """Let a span of a Dag run's trace be current, None for no tracing; give what is to be sent of it."""
    states = TraceState([*state.items()])
    above = SpanContext(TRACE_ID, 1, is_remote=True, trace_flags=TraceFlags(1), trace_state=states)
    of_dag_run = trace.set_span_in_context(NonRecordingSpan(above), baggage.set_baggage("a", "b"))
    provider = TracerProvider(sampler=sampler) if sampler else trace.NoOpTracerProvider()
    with provider.get_tracer(__name__).start_as_current_span("task", context=of_dag_run) as current:
        yield f"00-{TRACE_ID:032x}-{current.get_span_context().span_id:016x}-01"


@pytest.fixture
def start(connection: str, server) -> Callable[[], tuple[set[Headers], set[Headers]]]:
    """
    Start runs in each way, and replay one.

    Returns ``traceparent`` and ``tracestate`` of the requests that start runs, and those of all others.
    """

    def act() -> tuple[set[Headers], set[Headers]]:
        server.requests.clear()
        context = context_of(TaskInstance())
        run_id = operator_in_worker(wait_for_completion=False).execute(context)
        # Three requests, which threads send.
        batch_in_worker(payloads=list(range(45)), wait_for_completion=False).execute(context)
        TriggerDevHook().trigger_task("resize")
        ReplayTriggerRunOperator(task_id="a", run_id=run_id, wait_for_completion=False).execute(context)
        sent: dict[bool, set[Headers]] = {True: set(), False: set()}
        for one in server.requests:
            assert "baggage" not in one.headers
            starts = one.path.endswith(("/trigger", "/tasks/batch"))
            sent[starts].add((one.headers.get("traceparent"), one.headers.get("tracestate")))
        return sent[True], sent[False]

    return act


NOTHING: set[Headers] = {(None, None)}


def test_runs_join_the_trace_of_a_sampled_span_and_a_replay_none(start) -> None:
    for state, shown in ({}, None), ({"airflow": "x", "vendor": "y"}, "airflow=x,vendor=y"):
        with span(ALWAYS_ON, **state) as parent:
            assert start() == ({(parent, shown)}, NOTHING)


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, StaticSampler(Decision.RECORD_ONLY), None])
def test_of_a_span_that_is_not_sampled_or_not_recorded_nothing_is_sent(sampler, start) -> None:
    with span(sampler, airflow="x"):
        assert start() == (NOTHING, NOTHING)


def test_without_a_span_or_opentelemetry_nothing_is_sent(start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start() == (NOTHING, NOTHING)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)  # an import fails
    with span(ALWAYS_ON):
        assert start() == (NOTHING, NOTHING)

"""The trace that a new run joins, of the user's own tracing system."""

from __future__ import annotations

import sys
from typing import Any


def trace_headers() -> dict[str, str]:
    """
    Return the headers by which a run joins the trace of the current OpenTelemetry span of this thread.

    None are sent for a span that is not sampled: they would suppress what the run itself exports.
    """
    # Where nothing has imported it, there is no span.
    trace: Any = sys.modules.get("opentelemetry.trace")
    span = trace and trace.get_current_span()
    # Where tracing is off, Airflow 3.2 gives the task one that is sampled, but not recorded.
    if not (span and span.is_recording() and span.get_span_context().trace_flags.sampled):
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)  # Trigger.dev reads no other format, nor baggage
    return headers

"""Takes part in the trace that the calling program has begun with OpenTelemetry, if it has one."""

from __future__ import annotations

import sys

from shared.traceparent import TRACEPARENT_HEADER, Traceparent


def trace_headers() -> dict[str, str]:
    """The `traceparent` of the active span; nothing where there is none.

    A program with an active span has imported OpenTelemetry, so this never does: without it the client neither needs it nor
    pays for it.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return {}
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {TRACEPARENT_HEADER: Traceparent(context.trace_id, context.span_id, context.trace_flags.sampled).header()}

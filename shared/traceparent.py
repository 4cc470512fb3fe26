"""The `traceparent` header (W3C Trace Context, level 1): which trace a call is part of, in one field.

Strict: what is not exactly a traceparent is as good as none, and a new trace begins. `tracestate` is neither read nor passed on.
Pure, and of no library: a service that sends no traces imports nothing of OpenTelemetry.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TRACEPARENT_HEADER = "traceparent"
_SAMPLED = 0x01
#: `version trace-id parent-id flags`; later versions may go on after another dash.
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Traceparent(NamedTuple):
    """A span of another process: neither id is 0. `sampled`: it is recorded there."""

    trace_id: int
    span_id: int
    sampled: bool

    def header(self) -> str:
        """The field's value, in version 00."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def parse_traceparent(value: bytes) -> Traceparent | None:
    """None for what W3C's rules do not allow (§3.2): version ff, ids of zeros, capital letters, more than version 00 has."""
    found = _FORM.fullmatch(value)
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5] is not None):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    return Traceparent(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED))


def traceparent_of(headers: list[tuple[bytes, bytes]]) -> Traceparent | None:
    """That of a request's header fields, in ASGI's form; None where there is not exactly one."""
    values = [value for name, value in headers if name == b"traceparent"]
    return parse_traceparent(values[0].strip()) if len(values) == 1 else None

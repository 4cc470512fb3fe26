"""The response fields that tell a caller its limits: `RateLimit-Policy` and `RateLimit`.

They follow draft-ietf-httpapi-ratelimit-headers-11 (May 2026), the current one. One deviation: rows are not among the
draft's registered quota units, and a client must not take them for requests, so they are `qu="rows"`. Pure.
"""

from __future__ import annotations

from functools import lru_cache

from gateway.core.admission import Usage
from gateway.core.gcra import scales
from gateway.core.limits import Limits, Rate


def fields(limits: Limits, usage: Usage) -> dict[str, str]:
    """Both fields, or none where nothing is limited."""
    policy = policy_field(limits)
    return {"RateLimit-Policy": policy, "RateLimit": limit_field(limits, usage)} if policy else {}


def encoded(limits: Limits, usage: Usage) -> tuple[tuple[bytes, bytes], ...]:
    """As `fields`, ready to be sent."""
    policy, template = _encoded(limits)
    return (policy, (b"ratelimit", template % tuple(_numbers(limits, usage)))) if template else ()


@lru_cache(maxsize=1024)
def _encoded(limits: Limits) -> tuple[tuple[bytes, bytes], bytes]:
    return (b"ratelimit-policy", policy_field(limits).encode()), _template(limits)


@lru_cache(maxsize=1024)
def policy_field(limits: Limits) -> str:
    """What is allowed: `"calls";q=100;w=3600`. A burst other than the amount is `scoregate-burst`."""
    items = []
    if limits.calls:
        items.append(f'"calls";q={limits.calls.amount};w={limits.calls.period_s}{_burst(limits.calls)}')
    if limits.rows:
        items.append(f'"rows";q={limits.rows.amount};qu="rows";w={limits.rows.period_s}{_burst(limits.rows)}')
    if limits.concurrent is not None:
        items.append(f'"concurrent";q={limits.concurrent};qu="concurrent-requests"')
    if limits.quota:
        unit = ';qu="rows"' if limits.quota.counts == "rows" else ""
        items.append(f'"quota";q={limits.quota.amount}{unit};w={limits.quota.window_s}')
    return ", ".join(items)


def limit_field(limits: Limits, usage: Usage) -> str:
    """What is left: `"calls";r=57;t=36`. `t`: whole seconds, rounded up, until there is one more (quota: all of it)."""
    return (_template(limits) % tuple(_numbers(limits, usage))).decode()


def _template(limits: Limits) -> bytes:
    """The field's text, with a place for each of `_numbers`."""
    items = []
    if limits.calls:
        items.append(b'"calls";r=%d;t=%d')
    if limits.rows:
        items.append(b'"rows";r=%d;t=%d')
    if limits.concurrent is not None:
        items.append(b'"concurrent";r=%d')
    if limits.quota:
        items.append(b'"quota";r=%d;t=%d')
    return b", ".join(items)


def _numbers(limits: Limits, usage: Usage) -> list[int]:
    numbers: list[int] = []
    calls, rows = scales(limits)
    if calls:
        numbers += (calls.left(usage.calls_level), -(-calls.next_us(usage.calls_level) // 1_000_000))
    if rows:
        numbers += (rows.left(usage.rows_level), -(-rows.next_us(usage.rows_level) // 1_000_000))
    if limits.concurrent is not None:
        numbers.append(max(0, limits.concurrent - usage.in_flight))
    if (quota := limits.quota) is not None:
        window_us = quota.window_s * 1_000_000
        left_us = window_us - usage.now_us % window_us
        numbers += (max(0, quota.amount - usage.quota_used), -(-left_us // 1_000_000))
    return numbers


def _burst(rate: Rate) -> str:
    return f";scoregate-burst={rate.burst}" if rate.burst != rate.amount else ""

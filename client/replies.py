"""Reads what a server answered: bodies into values, refusals into exceptions, and whether asking again may help.

Pure: a `Reply` is what came over the wire, whoever brought it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from client.errors import ReplyError, ScoregateHTTPError, class_for

T = TypeVar("T")
_MAX_QUOTED = 200
_CHALLENGE_ERROR = re.compile(r'\berror="?([a-z_]+)')


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return 200 <= self.status < 300


class _Problem(msgspec.Struct):
    """problem+json (RFC 9457) with our members, and OIP's `error`; all optional, for proxies in between say what they
    like.
    """

    title: str = ""
    detail: str = ""
    error: str = ""
    code: str = ""
    request_id: str | None = None
    retry_after_ms: float | None = None
    problems: list[dict[str, Any]] = []
    problems_total: int | None = None


_problem_decoder = msgspec.json.Decoder(_Problem)


def error_of(reply: Reply) -> ScoregateHTTPError:
    """The refusal as an exception. Never raises: a body that is no problem+json is quoted, cut to 200 characters."""
    try:
        problem = _problem_decoder.decode(reply.body)
    except msgspec.MsgspecError:
        problem = _Problem(detail=_quote(reply.body))
    return class_for(reply.status)(
        reply.status,
        problem.code or _reason_of(reply) or f"http_{reply.status}",
        problem.detail or problem.error or problem.title or "the server gave no reason",
        problems=problem.problems,
        problems_total=problem.problems_total,
        request_id=problem.request_id or reply.headers.get("x-request-id"),
        retry_after_s=_retry_after_s(problem.retry_after_ms, reply.headers.get("retry-after")),
    )


def _reason_of(reply: Reply) -> str:
    """The error code in the challenge of a 401 (RFC 6750) whose body has no `code`: OIP's has only a sentence."""
    match = _CHALLENGE_ERROR.search(reply.headers.get("www-authenticate", ""))
    return match[1] if match else ""


def _retry_after_s(exact_ms: float | None, header: str | None) -> float | None:
    """Milliseconds of the body where given, else whole seconds of the header; a date (RFC 9110 allows one) is not
    used here.
    """
    if exact_ms is not None and exact_ms >= 0:
        return exact_ms / 1000
    if header and header.strip().isascii() and header.strip().isdigit():
        return float(header.strip())
    return None


def _quote(body: bytes) -> str:
    text = " ".join(body[: 4 * _MAX_QUOTED].decode(errors="replace").split())
    return text[:_MAX_QUOTED] + ("…" if len(text) > _MAX_QUOTED else "")


def read(reply: Reply, shape: type[T]) -> T:
    """The body as `shape`; raises the server's refusal, or ReplyError for a success that does not read as one."""
    if not reply.ok:
        raise error_of(reply)
    try:
        return msgspec.json.decode(reply.body, type=shape)
    except msgspec.MsgspecError as error:
        raise ReplyError(f"the answer does not read as one of scoregate ({error}): {_quote(reply.body)}") from error

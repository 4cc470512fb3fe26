"""What can go wrong for a caller, as one tree: every exception of this package is a `ClientError`.

`ScoregateHTTPError` is the server's own refusal, read from its problem+json (or OIP's `{"error": …}` under /v2). The
others are what happened before there was an answer: no token, no connection, no time, data that cannot be sent. No
message holds a token, a secret or a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: How many problems `str()` of an error lists; `problems` has them all.
SHOWN_PROBLEMS = 5


class ClientError(Exception):
    """The call did not succeed."""


class CredentialError(ClientError):
    """No access token could be had: the identity provider's own words, without the secret."""


class ConnectionFailedError(ClientError):
    """No answer came from the server. The request may or may not have been carried out; scoring changes nothing."""


class TimedOutError(ConnectionFailedError):
    """No answer came in the time this call was given."""


class ReplyError(ClientError):
    """The answer is not one a scoregate server gives; often something else listens at that address."""


class DataError(ClientError, ValueError):
    """The rows cannot be sent as they are: the message says which column and what to do. Nothing was sent."""


class ScoregateHTTPError(ClientError):
    """The server refused, and said why.

    `status` is the HTTP status, `code` the machine-readable reason, `detail` the sentence for people. `problems` (at
    most 100 of `problems_total`) each have a JSON `pointer` into the body and a `detail`. `retry_after_s` is how long
    the server asks to wait, None where it does not. `request_id` finds the request in the server's logs.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        problems: Sequence[Mapping[str, Any]] = (),
        problems_total: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Made by `error_for`, which picks the class by status."""
        self.status = status
        self.code = code
        self.detail = detail
        self.problems = tuple(dict(p) for p in problems)
        self.problems_total = max(len(self.problems), problems_total or 0)
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        super().__init__(detail)

    def __str__(self) -> str:
        lines = [f"{self.status} {self.code}: {self.detail}"]
        lines += [f"  {_where(problem)}{_what(problem)}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if (more := self.problems_total - min(len(self.problems), SHOWN_PROBLEMS)) > 0 and self.problems:
            lines.append(f"  … and {more} more")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status} {self.code}, request_id={self.request_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args[0], dict(self.__dict__)))


def _rebuild(cls: type[ScoregateHTTPError], detail: str, state: dict[str, Any]) -> ScoregateHTTPError:
    error = cls.__new__(cls)
    error.args = (detail,)
    error.__dict__.update(state)
    return error


def _where(problem: Mapping[str, Any]) -> str:
    pointer = problem.get("pointer") or problem.get("path") or ""
    return f"{pointer}: " if pointer else ""


def _what(problem: Mapping[str, Any]) -> str:
    return str(problem.get("detail") or problem.get("message") or problem.get("code") or problem)


class RefusedRequestError(ScoregateHTTPError):
    """400, 405, 408, 415, 431: the request itself is wrong."""


class UnauthenticatedError(ScoregateHTTPError):
    """401: the token is missing, expired or not one this server trusts; `code` says which."""


class ForbiddenError(ScoregateHTTPError):
    """403: the token is good, but a role or scope is missing; `detail` names it."""


class NotFoundError(ScoregateHTTPError):
    """404: no such model or version, or you may not see it."""


class PayloadTooLargeError(ScoregateHTTPError):
    """413: more bytes or rows than the server takes in one request."""


class InvalidDataError(ScoregateHTTPError):
    """422: rows that do not fit the model's signature, or that the model could not score; see `problems`."""


class RateLimitedError(ScoregateHTTPError):
    """429: a limit is reached, and waiting `retry_after_s` was not possible within this client's retries."""


class ServerError(ScoregateHTTPError):
    """5xx: not the caller's fault."""


class UnavailableError(ServerError):
    """503: overloaded or not ready, and still so after this client's retries."""


class DeadlineExceededError(ServerError):
    """504: the answer was not ready before the request's deadline (`timeout_s`)."""


_BY_STATUS: Mapping[int, type[ScoregateHTTPError]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    413: PayloadTooLargeError,
    422: InvalidDataError,
    429: RateLimitedError,
    503: UnavailableError,
    504: DeadlineExceededError,
}


def class_for(status: int) -> type[ScoregateHTTPError]:
    """The exception class of an HTTP status that is not a success."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else RefusedRequestError)

"""The one tree of errors. The class says whose fault it is; its docstring is the message unless a detail is given.

A refusal travels as an exception from the rule that makes it to the edge that renders it (problem+json under /v1, OIP's
`{"error": …}` under /v2 and between the services). Nothing here knows HTTP beyond the number of the status.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ScoregateError(Exception):
    """Something went wrong on our side."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    #: Whether the same request may succeed later without being changed.
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after_ms: int | None = None,
        problems: Sequence[Mapping[str, Any]] = (),
        problems_total: int | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        """`detail` says what to do; `problems` are at most 100 of `problems_total`; `reason` narrows the class's `code`."""
        self.detail = detail or inspect.cleandoc(type(self).__doc__ or "")
        self.retry_after_ms = retry_after_ms
        self.problems = tuple(problems)
        self.problems_total = len(self.problems) if problems_total is None else problems_total
        self.headers = dict(headers or {})
        self.reason = reason or type(self).code
        super().__init__(self.detail)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status} {self.reason}: {self.detail})"


# --- the caller's


class MalformedRequestError(ScoregateError):
    """The request is not well formed."""

    status = 400
    code = "malformed_request"


class UnauthenticatedError(ScoregateError):
    """A valid access token is needed."""

    status = 401
    code = "unauthenticated"


class ForbiddenError(ScoregateError):
    """The token is valid but does not allow this."""

    status = 403
    code = "forbidden"


class NotFoundError(ScoregateError):
    """There is no such thing here, or you may not see it."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(ScoregateError):
    """This address does not take that method."""

    status = 405
    code = "method_not_allowed"


class RequestTimeoutError(ScoregateError):
    """The request did not arrive in time."""

    status = 408
    code = "request_timeout"


class PayloadTooLargeError(ScoregateError):
    """The request is larger than this server takes."""

    status = 413
    code = "payload_too_large"


class UnsupportedMediaTypeError(ScoregateError):
    """The content type or encoding is not one this address takes."""

    status = 415
    code = "unsupported_media_type"


class InvalidDataError(ScoregateError):
    """The data does not fit the model's signature."""

    status = 422
    code = "invalid_data"


class PredictionFailedError(ScoregateError):
    """The model could not score these rows."""

    status = 422
    code = "prediction_failed"


class TooManyRequestsError(ScoregateError):
    """The caller's limit is reached."""

    status = 429
    code = "rate_limited"
    retryable = True


class HeadTooLargeError(ScoregateError):
    """The request's head is larger than 16 KiB or has more than 100 fields."""

    status = 431
    code = "head_too_large"


# --- overload and neighbours


class OverloadedError(ScoregateError):
    """There is more work waiting than can be done in time; try again later."""

    status = 503
    code = "overloaded"
    retryable = True


class UnavailableError(ScoregateError):
    """Something this request needs cannot be reached just now; try again later."""

    status = 503
    code = "unavailable"
    retryable = True


class VersionNotHereError(ScoregateError):
    """This pod does not serve that model version; another may."""

    status = 404
    code = "version_not_here"
    retryable = True


class VersionDownError(VersionNotHereError):
    """The workers of that model version do not stay up in this pod; another pod may serve it."""

    status = 503
    code = "version_down"


class WorkerCrashedError(ScoregateError):
    """R crashed while it scored these rows, and again when it scored them alone; they are refused."""

    status = 500
    code = "worker_crashed"


class UpstreamError(ScoregateError):
    """The scorer gave no usable answer."""

    status = 502
    code = "upstream_error"
    retryable = True


class DeadlineExceededError(ScoregateError):
    """The answer was not ready before the request's deadline."""

    status = 504
    code = "deadline_exceeded"
    retryable = True


class OverdueError(DeadlineExceededError):
    """R takes far longer over these rows than over others."""

    code = "overdue"


class SetAsideError(OverdueError):
    """R takes far longer over these rows, or over others of the same run; they must go in a run of their own caller's."""

    code = "set_aside"


#: What may travel inside an answer as the failure of one item, by code; the gateway gives it back as the same class.
ITEM_ERRORS: Mapping[str, type[ScoregateError]] = {
    error.code: error
    for error in (
        PredictionFailedError,
        WorkerCrashedError,
        DeadlineExceededError,
        OverdueError,
        SetAsideError,
        OverloadedError,
        UnavailableError,
    )
}

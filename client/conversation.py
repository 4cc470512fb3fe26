"""One call, as a conversation that does no I/O: it says what to do next and is told what came of it.

    token → send → (401 TokenExpired: another token, once) → (429, 503: wait, send again) → the reply

`Client` and `AsyncClient` carry out the steps, one by blocking and one by awaiting, so the rules are written and
tested once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from client.errors import ConnectionFailedError
from client.replies import Reply, error_of
from client.retry import RetryPolicy

#: A 401 that another token may cure. /v2's answers do not say more than RFC 6750's `invalid_token`, which allows it.
_RENEWABLE = frozenset({"TokenExpired", "invalid_token"})
#: Added to the time given to the server, for the way there and back.
NETWORK_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request without its token. `timeout_s` bounds one attempt, from sending to the last byte."""

    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class NeedToken:
    """Answer with a token; with `stale`, another than that, or None."""

    stale: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the call with this token. Answer with a Reply, or with the ConnectionFailedError met."""

    call: Call
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass. Answer with None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The answer to `Send` when no connection was made, or it was closed before the first byte of an answer.

    The second is what a kept-alive connection does that the server closes just then, and a server that is replaced.
    """

    error: ConnectionFailedError


Step = NeedToken | Send | Wait
Answer = str | Reply | Unanswered | None
Conversation = Generator[Step, Answer, Reply]


def converse(
    call: Call,
    policy: RetryPolicy,
    *,
    clock: Callable[[], float],
    jitter: Callable[[], float] = random.random,
) -> Conversation:
    """Returns the successful reply; raises ScoregateHTTPError or ConnectionFailedError. `clock` is monotonic, in
    seconds.
    """
    began = clock()
    renewed = False
    token = yield NeedToken()
    attempt = 1
    while True:
        answer = yield Send(call, str(token))
        if isinstance(answer, Unanswered):
            pause = policy.pause_after_s(attempt, None, clock() - began, jitter())
            failure: Exception = answer.error
        else:
            assert isinstance(answer, Reply)  # noqa: S101 - the drivers' side of the protocol
            if answer.ok:
                return answer
            error = failure = error_of(answer)
            if error.status == 401 and error.code in _RENEWABLE and not renewed:
                renewed = True
                another = yield NeedToken(stale=str(token))
                if another is None:
                    raise error
                token = another
                continue  # at once, and not counted: nothing was overloaded
            pause = policy.pause_for(error, attempt, clock() - began, jitter())
        if pause is None:
            raise failure
        yield Wait(pause)
        attempt += 1

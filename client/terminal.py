"""What the command writes: results to stdout, everything else to stderr, errors as a line that says what to do, exit
codes.
"""

from __future__ import annotations

import os
import sys
from enum import IntEnum

from rich.console import Console

from client.connection import UsageError
from client.errors import (
    ClientError,
    ConnectionFailedError,
    CredentialError,
    DataError,
    RateLimitedError,
    ReplyError,
    ScoregateHTTPError,
    ServerError,
)

_PIPE_WIDTH = 10_000


class Exit(IntEnum):
    """Exit codes; docs/reference/cli.md lists them."""

    OK = 0
    FAILED = 1  # it did not work, or verify found a difference
    USAGE = 2  # options or files that cannot be used
    REFUSED = 3  # the server refused the request: sign-in, roles, data
    UNAVAILABLE = 4  # no answer, overloaded, a limit that outlasts the retries, or an error there
    NO_TOKEN = 5  # the identity provider gave no token


def exit_code(error: ClientError) -> Exit:
    """The exit code of an error."""
    if isinstance(error, (UsageError, DataError)):
        return Exit.USAGE
    if isinstance(error, CredentialError):
        return Exit.NO_TOKEN
    if isinstance(error, (ConnectionFailedError, ServerError, RateLimitedError, ReplyError)):
        return Exit.UNAVAILABLE
    if isinstance(error, ScoregateHTTPError):
        return Exit.REFUSED
    return Exit.FAILED


def advice(error: ClientError) -> str | None:
    """What to do about it, where that is not in the message."""
    if isinstance(error, ScoregateHTTPError):
        return _advice_on_refusal(error)
    if isinstance(error, ConnectionFailedError):
        return "is the URL right, and the stack up? `./dev status` shows local ones"
    if isinstance(error, CredentialError) and str(error).startswith("no token"):
        return "check tenant, client id, secret and scope; a private authority also needs --authority and --ca-file"
    return None


def _advice_on_refusal(error: ScoregateHTTPError) -> str | None:
    if error.status == 401:
        return "the token was not taken: `scoregate token` shows the one that is sent"
    if error.status == 403:
        return "ask whoever runs the gateway for the role named above"
    if error.status == 404:
        return "`scoregate models` lists what you may score"
    if error.status == 422:
        return "`scoregate models NAME` shows the columns, types and levels the model takes"
    if error.status == 429 and error.retry_after_s is not None:
        return f"the limit opens again in {error.retry_after_s:g} s"
    return None


def report(error: ClientError) -> Exit:
    """Writes the error to stderr and gives the exit code."""
    say(f"scoregate: {error}")
    if what := advice(error):
        say(f"  {what}")
    if isinstance(error, ScoregateHTTPError) and error.request_id:
        say(f"  request id {error.request_id}")
    return exit_code(error)


def say(line: str) -> None:
    """A line for the person, on stderr."""
    print(line, file=sys.stderr, flush=True)


def out(text: str) -> None:
    """A result, on stdout."""
    print(text, flush=True)


def console() -> Console:
    """For tables on stdout: as wide as the terminal, and in a pipe as wide as they are, so that a line stays a line."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=_PIPE_WIDTH if piped else None)

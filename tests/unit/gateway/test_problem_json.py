"""An error as it is sent, by the app and by the connection alike."""

from __future__ import annotations

import json

import pytest

from gateway.core.problem_json import render, retry_after_s
from gateway.protocol.refusal import problem
from shared.errors import InvalidDataError, OverloadedError, ScoregateError

FULL = OverloadedError("try again", retry_after_ms=1001)
WRONG = InvalidDataError(
    "wrong", problems=[{"pointer": f"/{row}", "detail": "no"} for row in range(7)], problems_total=1000
)


@pytest.mark.parametrize(("wait_ms", "seconds"), [(1, 1), (999, 1), (1000, 1), (1001, 2), (36_000, 36)])
def test_retry_after_is_whole_seconds_rounded_up(wait_ms: int, seconds: int) -> None:
    assert retry_after_s(wait_ms) == seconds


def test_a_problem_says_all_that_its_error_does() -> None:
    fields, body = render(WRONG, oip=False, request="r")
    assert dict(fields) == {
        b"content-type": b"application/problem+json",
        b"content-length": b"%d" % len(body),
        b"x-request-id": b"r",
        b"cache-control": b"no-store",
    }
    assert json.loads(body) == {
        "type": "urn:scoregate:problem:invalid_data",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "wrong",
        "code": "invalid_data",
        "request_id": "r",
        "problems": list(WRONG.problems),
        "problems_total": 1000,
    }


def test_under_v2_the_message_names_the_first_problems() -> None:
    fields, body = render(WRONG, oip=True, request="r")
    assert dict(fields)[b"content-type"] == b"application/json"
    named = "; ".join(f"/{row}: no" for row in range(5))
    assert json.loads(body) == {"error": f"wrong {named}; and 995 more"}


@pytest.mark.parametrize("error", [FULL, ScoregateError()])
def test_what_a_connection_refuses_is_the_same_problem_not_to_be_stored_and_its_last(error: ScoregateError) -> None:
    fields, body = render(error, oip=False, request="r")
    head, _, sent = problem(error, "r").partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    assert status.startswith(b"HTTP/1.1 %d " % error.status)
    assert lines == [*(b"%b: %b" % field for field in fields), b"connection: close"]
    assert (b"cache-control: no-store" in lines, sent) == (True, body)

"""How many bodies one caller may be sending at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.core.limits import Limits
from gateway.core.uploads import Uploads
from shared.errors import TooManyRequestsError

TWO = Limits(concurrent=2)


def test_a_caller_sends_as_many_bodies_as_it_may_have_requests_and_others_do_not_notice() -> None:
    uploads = Uploads()
    with ExitStack() as sending:
        for _ in range(2):
            sending.enter_context(uploads.sending("a", TWO, within_s=20))
        with pytest.raises(TooManyRequestsError) as caught, uploads.sending("a", TWO, within_s=20):
            pass
        assert (caught.value.reason, caught.value.retry_after_ms) == ("concurrency_limited", 20_001)
        with uploads.sending("b", TWO, within_s=20):
            assert len(uploads) == 2
    assert len(uploads) == 0


def test_a_body_that_fails_gives_its_place_back() -> None:
    uploads = Uploads()
    for _ in range(5):
        with pytest.raises(ValueError, match="broken"), uploads.sending("a", Limits(concurrent=1), within_s=20):
            raise ValueError("broken")
    assert len(uploads) == 0


def test_without_a_limit_of_requests_at_once_there_is_none_of_bodies() -> None:
    uploads = Uploads()
    with ExitStack() as sending:
        for _ in range(1000):
            sending.enter_context(uploads.sending("a", Limits(), within_s=20))
        with pytest.raises(TooManyRequestsError), uploads.sending("a", Limits(concurrent=1000), within_s=20):
            pass

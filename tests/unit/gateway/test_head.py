"""A head that two readers could read in two ways is refused."""

from __future__ import annotations

import pytest

from gateway.protocol.head import request_id_of
from shared.errors import MalformedRequestError


@pytest.mark.parametrize(
    "name",
    [b"host", b"authorization", b"content-type", b"content-encoding", b"content-length", b"x-request-timeout-ms"],
)
def test_a_field_that_may_come_once_may_not_come_twice(name: bytes) -> None:
    fields = [(b"host", b"h"), (name, b"1")] if name != b"host" else [(b"host", b"h")]
    assert request_id_of(fields)
    with pytest.raises(MalformedRequestError, match="only once"):
        request_id_of([*fields, (name, b"1")])

"""Heads that are known: what counts as the same head, and that a parser would agree."""

from __future__ import annotations

import hashlib
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.heads import MAX_BYTES, MAX_KNOWN, MAX_SEEN, VARYING, Heads, Sent, cut, what_came_of

HEAD = b"POST /v1/models/m/score HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n"


def whole(*fields: bytes, body: bytes = b"{}", head: bytes = HEAD) -> bytes:
    return head + b"".join(field + b"\r\n" for field in (*fields, b"Content-Length: %d" % len(body))) + b"\r\n" + body


def sent(*fields: bytes, **parts: bytes) -> Sent:
    found = cut(whole(*fields, **parts))
    assert found is not None
    return found


def test_the_length_of_the_body_and_the_ids_are_no_part_of_a_head() -> None:
    one, other = sent(b"X-Request-Id: a", body=b"{}"), sent(b"X-Request-Id: b", body=b'{"rows": []}')
    assert one.key == other.key
    assert (one.request_id, other.request_id) == ("a", "b")
    traced = sent(b"traceparent: 00-1-1-00"), sent(b"traceparent: 00-2-2-00")
    assert traced[0].key == traced[1].key != one.key
    assert sent(b"X-Azure-Ref: 1").key == sent(b"X-Azure-Ref: 2").key
    assert whole(b"X-Request-Id: a")[one.body_at :] == b"{}"


@pytest.mark.parametrize(
    "fields",
    [
        (b"X-Forwarded-For: 10.0.0.1",),
        (b"X-Request-Timeout-Ms: 100",),
        (b"x-request-id: a",),  # in other letters
        (b"X-Request-Id:  a",),  # with another blank: then it is a part of the head
    ],
)
def test_everything_else_is(fields: tuple[bytes, ...]) -> None:
    found = cut(whole(*fields))
    assert found is None or found.key != sent(b"X-Request-Id: a").key


@pytest.mark.parametrize(
    "data",
    [
        b"",
        whole()[:-1],  # the end of the body is still to come
        whole() + b"POST /",  # another request follows
        whole().replace(b"POST", b"GET"),
        whole(b"Content-Length: 2"),  # twice
        whole(b"X-Request-Id: a", b"X-Request-Id: b"),
        whole(b"X-Request-Id: a b"),
        whole(b"X-Request-Id: " + b"a" * 65),
        whole().replace(b"Content-Length: 2", b"Content-Length: +2"),
        whole().replace(b"Content-Length: 2", b"Content-Length: 2, 2"),
        whole(b"X: " + b"x" * MAX_BYTES),
        whole(b"Authorization: Bearer u"),
        whole(head=HEAD.replace(b"Bearer", b"Basic")),
        whole(head=HEAD.replace(b"Authorization: Bearer t\r\n", b"")),
        HEAD + b"\r\n",
    ],
)
def test_what_is_not_beyond_doubt_goes_the_usual_way(data: bytes) -> None:
    assert cut(data) is None or cut(data).key not in {sent().key, sent(b"X-Request-Id: a").key}  # type: ignore[union-attr]


class Parsed:
    """What httptools makes of a request; None as soon as it does not like it."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.url = self.body = b""
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def parsed(data: bytes) -> Any:
    into = Parsed()
    parser = httptools.HttpRequestParser(into)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    rest = [(name, value) for name, value in into.fields if name not in VARYING]
    return into.url, rest, parser.get_method(), parser.get_http_version(), parser.should_keep_alive(), into.messages


LINES = st.sampled_from([
    b"X-Request-Id: a", b"X-Request-Id: b", b"X-Request-Id: \x01", b"x-request-id:c", b"Content-Length: 2", b"Content-Length: 0",
    b"Content-Length: 3", b"content-length: 2", b"traceparent: x", b"tracestate: y=1", b"tracestate: ", b"A: b",
    b" folded", b"A : b",
    b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close", b"Connection: upgrade", b"Upgrade: h2c", b"",
])  # fmt: skip


@given(st.lists(LINES, max_size=5), st.lists(LINES, max_size=5), st.sampled_from([b"{}", b"[1]", b""]))
def test_of_two_heads_with_one_key_a_parser_makes_the_same(a: list[bytes], b: list[bytes], body: bytes) -> None:
    one, other = (HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body for lines in (a, b))
    first, second = cut(one), cut(other)
    if first is not None and second is not None and first.key == second.key:
        made = parsed(one)
        assert made == parsed(other)
        if made is not None and not any(n in (b"transfer-encoding", b"upgrade") for n, _ in made[1]):
            assert made[-1] == 1


def test_a_token_is_known_by_its_digest_and_kept_nowhere() -> None:
    one = sent()
    assert one.digest == hashlib.sha256(b"t").digest() in one.key
    assert not any(b"Bearer" in part for part in one.key)
    assert sent(head=HEAD.replace(b"Bearer t", b"Bearer u")).key != one.key


def test_what_is_kept_of_a_request_is_nobodys_own() -> None:
    fields = [(b"host", b"h"), (b"content-length", b"2"), (b"x-request-id", b"a"), (b"authorization", b"Bearer t")]
    scope = {
        "path": "/p",
        "headers": fields,
        "state": {"request_id": "a"},
        "client": ("1", 2),
        "server": None,
        "app": 1,
    }
    known = what_came_of(scope)
    assert known is not None
    assert known.scope == {"path": "/p", "headers": [fields[0]]}
    assert known.headers == {b"host": b"h"}


@pytest.mark.parametrize("name", [b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"])
def test_a_head_that_says_more_than_how_long_its_body_is_is_not_kept(name: bytes) -> None:
    assert what_came_of({"headers": [(name, b"x")]}) is None


def test_a_bounded_number_is_kept_and_the_first_goes_first() -> None:
    heads = Heads()
    for number in range(MAX_KNOWN + 1):
        for _ in range(3):
            heads.learn(sent(b"A: %d" % number), {"headers": []})
    assert len(heads) == MAX_KNOWN
    assert heads.find(sent(b"A: 0")) is None
    assert heads.find(sent(b"A: 1")) is not None


def test_what_comes_once_is_not_kept() -> None:
    heads = Heads()
    for number in range(MAX_SEEN + 10):
        heads.learn(sent(b"A: %d" % number), {"headers": []})
    assert len(heads) == 0
    heads.learn(sent(b"A: %d" % MAX_SEEN), {"headers": []})
    assert len(heads) == 1

"""Bad input is answered with what is wrong and where, logged as nothing worse than that, and the next request is fine."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.stack.conftest import Stack, publish
from tests.stack.stack import ROOT

CARS = "/v1/models/cars-interval/score"
CREDIT = "/v1/models/credit-default/score"
GOOD = {"rows": [{"speed": 10}]}


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.token()}"}
    with httpx.Client(base_url=stack.gateway_url, headers=headers, timeout=60, trust_env=False) as client:
        yield client
        # The next request is always fine, on the same connection or a new one.
        assert client.post(CARS, json=GOOD).status_code == 200
    assert stack.errors_logged("gateway") == []


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def pointers(answer: httpx.Response) -> list[str]:
    found = problem(answer, 422)["problems"]
    assert isinstance(found, list)
    return [p["pointer"] for p in found]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"rows":[{"speed":"fast"}]}', "/rows/0/speed"),
        ('{"rows":[{"speed":1},{}]}', "/rows/1/speed"),
        ('{"rows":[{"speed":1,"sped":2}]}', "/rows/0/sped"),
        ('{"rows":[{"speed":"NaN"}]}', "/rows/0/speed"),
        ('{"rows":[{"speed":1e999}]}', "/rows/0/speed"),
        ('{"rows":[{"speed":true}]}', "/rows/0/speed"),
        ('{"rows":[{"speed":1},{"speed":1,"speed":2}]}', "/rows/1/speed"),
        ('{"rows":[]}', "/rows"),
        ('{"columns":{"speed":[]}}', "/columns"),
        ('{"columns":{"speed":[1,"2"]}}', "/columns/speed/1"),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_row_and_field(http: httpx.Client, body: str, pointer: str) -> None:
    answer = http.post(CARS, content=body, headers={"Content-Type": "application/json"})
    assert any(p.startswith(pointer) for p in pointers(answer)), answer.text


def test_null_is_refused_where_the_model_cannot_score_a_missing_value(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    publish(tmp_path / "store", ROOT / "tests" / "models" / "fussy" / "train.R")
    own = new_stack("--store", (tmp_path / "store").as_uri())
    headers = {"Authorization": f"Bearer {own.token()}"}
    body = {"rows": [{"speed": 1}, {"speed": None}]}
    answer = httpx.post(f"{own.gateway_url}/v1/models/fussy/score", json=body, headers=headers, trust_env=False)
    assert pointers(answer) == ["/rows/1/speed"]


def test_every_problem_of_a_request_is_listed(http: httpx.Client) -> None:
    rows = [{"speed": "x"} for _ in range(150)]
    body = problem(http.post(CARS, json={"rows": rows}), 422)
    assert isinstance(body["problems"], list)
    assert len(body["problems"]) == 100
    assert body["problems_total"] == 150


def test_a_level_the_model_has_not_seen_is_refused_with_those_it_has(http: httpx.Client) -> None:
    model = http.get("/v1/models/credit-default").json()
    example = model["example"]["request"]["rows"][0]
    factor = next(f for f in model["signature"]["inputs"] if f["type"] == "factor")
    answer = http.post(CREDIT, json={"rows": [example | {factor["name"]: "never seen"}]})
    assert pointers(answer) == [f"/rows/0/{factor['name']}"]
    assert factor["levels"][0] in answer.text


def test_columns_of_different_length_are_refused(http: httpx.Client) -> None:
    model = http.get("/v1/models/boston-housing").json()
    columns = {field["name"]: [1.0, 2.0] for field in model["signature"]["inputs"]}
    columns[model["signature"]["inputs"][3]["name"]] = [1.0]
    answer = http.post("/v1/models/boston-housing/score", json={"columns": columns})
    assert answer.status_code == 422
    assert "/columns" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"rows":[{"speed":1}',
        b'{"rows":[{"speed":NaN}]}',
        b'{"rows":[{"speed":1}]} trailing',
        b'{"rows":[{"sp\xff\xfeed":1}]}',
        b"[" * 100_000,
        b'{"rows":' + b'[{"a":' * 5_000 + b"1",
    ],
    ids=["empty", "open", "truncated", "nan", "trailing", "invalid-utf8", "deep", "deeper"],
)
def test_a_body_that_is_not_json_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post(CARS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    problem(answer, answer.status_code)


@pytest.mark.parametrize("kind", ["text/csv", "application/xml", "text/plain"])
def test_another_content_type_is_refused(http: httpx.Client, kind: str) -> None:
    problem(http.post(CARS, content=b"speed\n1\n", headers={"Content-Type": kind}), 415)


def test_more_rows_than_the_limit_are_refused(http: httpx.Client) -> None:
    body = b'{"columns":{"speed":[' + b",".join([b"1"] * 100_001) + b"]}}"
    problem(http.post(CARS, content=body, headers={"Content-Type": "application/json"}), 413)


def test_a_body_of_100_mb_is_refused_without_being_read(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1_000_000

    try:
        answer = http.post(CARS, content=endless(), headers={"Content-Type": "application/json"})
    except (httpx.WriteError, httpx.ReadError):
        return  # refused and closed while we were still sending
    problem(answer, 413)


def test_a_gzip_bomb_is_refused(http: httpx.Client) -> None:
    squeezed = zlib.compressobj(9, wbits=31)
    bomb = b"".join(squeezed.compress(b" " * 1_000_000) for _ in range(500)) + squeezed.flush()
    assert len(bomb) < 1_000_000
    problem(
        http.post(CARS, content=bomb, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}), 413
    )


def test_a_gzip_body_that_is_not_gzip_is_refused(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    problem(http.post(CARS, content=b"not gzip at all", headers=headers), 400)
    assert http.post(CARS, content=gzip.compress(json.dumps(GOOD).encode()), headers=headers).status_code == 200


# --- below HTTP clients: raw sockets


def raw(stack: Stack, data: bytes, *, then: bytes = b"") -> bytes:
    """What comes back for these bytes until the server closes."""
    parts = urlsplit(stack.gateway_url)
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as sock:
        try:
            sock.sendall(data)
            if then:
                sock.sendall(then)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while chunk := sock.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    return received


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


def test_a_head_that_is_too_large_is_refused(stack: Stack, http: httpx.Client) -> None:
    assert status_of(raw(stack, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 60_000_000)) in (431, 0)
    assert status_of(raw(stack, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200_000 + b"\r\n")) in (431, 0)
    assert status_of(raw(stack, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 17_000 + b"\r\n\r\n")) == 431
    assert status_of(raw(stack, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 101 + b"\r\n")) == 431


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\nb\r\nbad\r\n\r\n",
    ],
    ids=["no-host", "two-hosts", "two-lengths", "length-and-chunked", "two-tokens", "newline"],
)
def test_an_ambiguous_head_is_refused(stack: Stack, http: httpx.Client, head: bytes) -> None:
    reply = raw(stack, head)
    assert status_of(reply) == 400, reply
    assert b"application/problem+json" in reply


def test_a_slow_head_is_refused_after_ten_seconds(stack: Stack, http: httpx.Client) -> None:
    assert status_of(raw(stack, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nA: ")) == 408


def test_a_request_id_of_other_characters_is_replaced(http: httpx.Client) -> None:
    good = http.get("/v1/models", headers={"X-Request-Id": "mine-1"})
    assert good.headers["x-request-id"] == "mine-1"
    bad = http.get("/v1/models", headers={"X-Request-Id": "a b<script>"})
    assert bad.headers["x-request-id"] != "a b<script>"

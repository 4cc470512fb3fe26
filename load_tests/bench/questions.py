"""What is asked in a benchmark, and the right answer to each: what R gives for the same rows alone, to the last bit.

The rows are drawn within the ranges of the training data, the same ones every time. The right answers are had from one R worker
over its own socket, one request at a time with nothing merged (`right_answers`), never from the gateway that is measured.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from load_tests.bench.line import Line
from shared.frames import cut, join
from shared.signature import Signature
from shared.wire import pack_frame, tensor_specs, unpack_frame

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """Requests to one path: bodies, and the whole body of the right answer to each."""

    path: str
    headers: Mapping[str, str]
    pairs: Sequence[tuple[bytes, bytes]]

    def as_lua(self) -> str:
        """For wrk.lua."""
        lines = [f'method = "POST", path = {_quoted(self.path)}, headers = {{']
        lines += [f"  [ {_quoted(name)} ] = {_quoted(value)}," for name, value in self.headers.items()]
        lines.append("},")
        lines += [f"{{ {_quoted(body.decode())}, {_quoted(answer.decode())} }}," for body, answer in self.pairs]
        return "return {\n" + "\n".join(lines) + "\n}\n"

    def raw(self, number: int) -> bytes:
        """A whole HTTP request, with its number as X-Request-Id."""
        body = self.pairs[number][0]
        head = [
            f"POST {self.path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Content-Length: {len(body)}",
            f"X-Request-Id: b{number}",
        ]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*head, "", ""]).encode() + body


def _quoted(text: str) -> str:
    """A string of Lua; JSON as written here has no control characters, and a newline would be kept as it is."""
    level = ""
    while f"]{level}]" in text or text.endswith(f"]{level}"):
        level += "="
    return f"[{level}[{text}]{level}]"


def draw(inputs: Sequence[Mapping[str, Any]], rows: int, seed: int) -> list[Row]:
    """Rows within the ranges of a manifest's inputs (numbers only)."""
    rng = random.Random(seed)
    return [
        {
            column["name"]: rng.randint(*map(int, column["range"]))
            if column["type"] == "integer"
            else round(rng.uniform(*column["range"]), 6)
            for column in inputs
        }
        for _ in range(rows)
    ]


def batches(inputs: Sequence[Mapping[str, Any]], rows: int, count: int) -> list[list[Row]]:
    """So many requests of so many rows, no two alike."""
    return [draw(inputs, rows, seed) for seed in range(count)]


def worker_request(signature: Signature, rows: Sequence[Row]) -> bytes:
    """What the scorer's supervisor sends a worker for these rows: columns in binary over HTTP/1.1."""
    columns = [[row[field.name] for row in rows] for field in signature.inputs]
    body = join(pack_frame(signature.inputs, columns))
    head = f"POST /predict HTTP/1.1\r\nHost: worker\r\nX-Rows: {len(rows)}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def right_answers(socket: str, signature: Signature, batches: Sequence[Sequence[Row]]) -> list[list[float]]:
    """R's answers to each batch, each row alone: asked of one worker, one request at a time. Raises RuntimeError if it fails."""
    specs = tensor_specs(signature.outputs)
    found: list[list[float]] = []
    with Line(socket) as worker:
        for rows in batches:
            values: list[float] = []
            for row in rows:
                answer = worker.ask(worker_request(signature, [row]))
                if answer.status != 200:
                    raise RuntimeError(f"R: {answer.status} {answer.body!r}")
                (column,) = unpack_frame(signature.outputs, cut(specs, 1, answer.body))
                values.append(float(column[0]))  # type: ignore[arg-type]
            found.append(values)
    return found


def scoring(
    model: str, headers: Mapping[str, str], batches: Sequence[Sequence[Row]], answers: Sequence[Sequence[float]]
) -> Question:
    """For `/v1` of the gateway, whose whole answer is known beforehand: shortest numbers that read back as the same bits."""
    pairs = [
        (
            msgspec.json.encode({"rows": rows}),
            msgspec.json.encode({"model": model, "version": "1", "predictions": values}),
        )
        for rows, values in zip(batches, answers, strict=True)
    ]
    return Question(f"/v1/models/{model}/score", {"Content-Type": "application/json", **headers}, pairs)


def plain(
    headers: Mapping[str, str], batches: Sequence[Sequence[Row]], answers: Sequence[Sequence[float]], ask: Line
) -> Question:
    """For plain Plumber, whose JSON rounds: what it answers at first is right if it is R's answer to 4 digits."""
    asked = Question(
        "/score",
        {"Content-Type": "application/json", **headers},
        [(json.dumps(rows).encode(), b"") for rows in batches],
    )
    pairs = []
    for number, values in enumerate(answers):
        answer = ask.ask(asked.raw(number))
        if answer.status != 200:
            raise RuntimeError(f"Plumber: {answer.status} {answer.body[:200]!r}")
        got = json.loads(answer.body)
        if len(got) != len(values) or any(abs(a - b) > 1e-3 for a, b in zip(got, values, strict=True)):
            raise RuntimeError(f"Plumber answers {got[:3]} where R says {values[:3]}")
        pairs.append((asked.pairs[number][0], answer.body))
    return Question(asked.path, asked.headers, pairs)

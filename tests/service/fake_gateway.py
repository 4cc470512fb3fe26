"""A gateway that fits in a page: the same routes, bodies and refusals as the real one, in memory, on a real socket.

For tests of the client. It scores by adding up each row's numbers, so any mix-up of rows shows. A test may queue refusals
(`refuse`), expire tokens, and read what was asked (`calls`).
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.signature import Field, Signature, Type

OIP_LENGTH = "inference-header-content-length"
TOKEN = "good-token"


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Refusal:
    """An answer to give instead of serving; `hang` waits for ever."""

    status: int = 503
    code: str = "overloaded"
    detail: str = "try again later"
    retry_after_ms: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hang: bool = False
    only: str = ""  # paths that contain this
    extra: dict[str, Any] = field(default_factory=dict)


ADDER = Signature(
    inputs=(
        Field(name="a", type=Type.DOUBLE, nullable=True),
        Field(name="b", type=Type.INTEGER, nullable=True),
    ),
    outputs=(Field(name="prediction", type=Type.DOUBLE, nullable=True),),
)
EVERYTHING = Signature(
    inputs=(
        Field(name="x", type=Type.DOUBLE, nullable=True),
        Field(name="n", type=Type.INTEGER, nullable=True),
        Field(name="on", type=Type.LOGICAL, nullable=True),
        Field(name="text", type=Type.STRING, nullable=True),
        Field(name="size", type=Type.FACTOR, nullable=True, levels=("S", "M", "NA"), ordered=True),
        Field(name="day", type=Type.DATE, nullable=True),
        Field(name="at", type=Type.DATETIME, nullable=True),
    ),
    outputs=(
        Field(name="class", type=Type.FACTOR, levels=("lo", "hi")),
        Field(name="prob.lo", type=Type.DOUBLE, nullable=True),
        Field(name="label", type=Type.STRING, nullable=True),
    ),
    kind="table",
)


class FakeGateway:
    """State of one fake: what it serves, what it refuses next, what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.versions = {"adder": ["2", "1"], "everything": ["1"]}
        self.signatures = {"adder": ADDER, "everything": EVERYTHING}
        self.tokens = {TOKEN}
        self.expired: set[str] = set()
        self.refusals: deque[Refusal] = deque()
        self.calls: list[Call] = []
        self.max_rows = 100_000
        self.in_flight = 0
        self.most_in_flight = 0
        self.batchable = True
        self.more: dict[str, dict[str, Any]] = {}  # further members of a version, by model
        self.wrong_by = 0.0  # what a broken gateway would add to each prediction

    def refuse(self, times: int = 1, **refusal: Any) -> None:
        """The next requests are refused so."""
        self.refusals.extend(Refusal(**refusal) for _ in range(times))

    @property
    def paths(self) -> list[str]:
        """Of the calls so far."""
        return [f"{call.method} {call.path}" for call in self.calls]

    def app(self) -> Starlette:
        """The routes of both interfaces."""
        return Starlette(
            routes=[
                Route("/v1/models", self._handled(self._models)),
                Route("/v1/models/{model}", self._handled(self._model)),
                Route("/v1/models/{model}/versions/{version}", self._handled(self._model)),
                Route("/v1/models/{model}/score", self._handled(self._score), methods=["POST"]),
                Route("/v1/models/{model}/versions/{version}/score", self._handled(self._score), methods=["POST"]),
                Route("/v2/models/{model}/versions/{version}/infer", self._handled(self._infer), methods=["POST"]),
            ]
        )

    def _handled(self, serve: Callable[[Request, bytes], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            self.calls.append(Call(request.method, request.url.path, dict(request.headers), body))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                await asyncio.sleep(0)
                if (refused := self._authenticate(request)) is not None:
                    return refused
                if self.refusals and self.refusals[0].only in request.url.path:
                    return await self._refuse(self.refusals.popleft(), request)
                return serve(request, body)
            finally:
                self.in_flight -= 1

        return endpoint

    async def _refuse(self, refusal: Refusal, request: Request) -> Response:
        if refusal.hang:
            await asyncio.Event().wait()
        if refusal.body is not None:
            return Response(refusal.body, refusal.status, headers=refusal.headers)
        return self.problem(request, refusal)

    def problem(self, request: Request, refusal: Refusal) -> Response:
        """As the real gateway's `middleware/errors.py` renders it."""
        headers = {"x-request-id": "fake-1", "cache-control": "no-store", **refusal.headers}
        if refusal.retry_after_ms is not None:
            headers["retry-after"] = str(max(1, -(-refusal.retry_after_ms // 1000)))
        if request.url.path.startswith("/v2"):
            return Response(json.dumps({"error": refusal.detail}), refusal.status, headers, "application/json")
        body = {
            "type": f"urn:scoregate:problem:{refusal.code}",
            "title": "Refused",
            "status": refusal.status,
            "detail": refusal.detail,
            "code": refusal.code,
            "request_id": "fake-1",
            **refusal.extra,
        }
        if refusal.retry_after_ms is not None:
            body["retry_after_ms"] = refusal.retry_after_ms
        return Response(json.dumps(body), refusal.status, headers, "application/problem+json")

    def _authenticate(self, request: Request) -> Response | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.tokens:
            return None
        reason = "TokenExpired" if token in self.expired else "TokenSignatureInvalid" if token else "TokenNotPresent"
        challenge = 'Bearer error="invalid_token", error_description="The access token is no good"'
        return self.problem(request, Refusal(401, reason, "get a new token", headers={"www-authenticate": challenge}))

    def _version(self, model: str, version: str) -> dict[str, Any]:
        signature = self.signatures[model]
        return {
            "model": model,
            "version": version,
            "state": "ready",
            "description": f"the {model}",
            "model_class": ["lm"],
            "r_version": "4.2.2",
            "packages": {"stats": "4.2.2"},
            "batchable": self.batchable,
            "default": version == self.versions[model][0],
            "versions": self.versions[model],
            "signature": {
                "kind": signature.kind,
                "inputs": [_column(f) for f in signature.inputs],
                "outputs": [_column(f) for f in signature.outputs],
            },
            **self.more.get(model, {}),
        }

    def _models(self, _request: Request, _body: bytes) -> Response:
        return _json({"models": [self._version(name, versions[0]) for name, versions in self.versions.items()]})

    def _find(self, request: Request) -> tuple[str, str] | Response:
        model = request.path_params["model"]
        if model not in self.versions:
            return self.problem(request, Refusal(404, "not_found", f"there is no model '{model}'"))
        version = request.path_params.get("version", self.versions[model][0])
        if version not in self.versions[model]:
            return self.problem(request, Refusal(404, "not_found", f"model '{model}' has no version '{version}'"))
        return model, version

    def _model(self, request: Request, _body: bytes) -> Response:
        found = self._find(request)
        return found if isinstance(found, Response) else _json(self._version(*found))

    def _too_large(self, request: Request, rows: int) -> Response | None:
        if rows <= self.max_rows:
            return None
        return self.problem(request, Refusal(413, "payload_too_large", f"at most {self.max_rows} rows in one request"))

    def _score(self, request: Request, body: bytes) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        model, version = found
        sent = json.loads(body)
        names = [f.name for f in self.signatures[model].inputs]
        if "columns" in sent:
            columns = sent["columns"]
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        else:
            rows = sent["rows"]
        problems = [
            {"pointer": f"/rows/{i}/{name}", "code": "unknown_column", "detail": "the model has no such column"}
            for i, row in enumerate(rows)
            for name in row
            if name not in names
        ]
        if problems or not rows:
            extra = {"problems": problems[:100], "problems_total": len(problems)}
            return self.problem(
                request, Refusal(422, "invalid_data", "the data does not fit the model's signature", extra=extra)
            )
        if (refused := self._too_large(request, len(rows))) is not None:
            return refused
        predictions = [self._predict(model, row) for row in rows]
        return _json({"model": model, "version": version, "predictions": predictions})

    def _predict(self, model: str, row: dict[str, Any]) -> Any:
        if model == "adder":
            return None if None in row.values() else row["a"] + row["b"] + self.wrong_by
        high = (row["x"] or 0.0) > 0
        return {
            "class": "hi" if high else "lo",
            "prob.lo": row["x"],
            "label": row["text"] and f"{row['text']}|{row['size']}|{row['day']}",
        }

    def _infer(self, request: Request, body: bytes) -> Response:
        found = self._find(request)
        if isinstance(found, Response):
            return found
        model, version = found
        length = int(request.headers[OIP_LENGTH])
        head = json.loads(body[:length])
        assert head["parameters"]["binary_data_output"] is True
        at = length
        columns: dict[str, list[Any]] = {}
        fields = {f.name: f for f in self.signatures[model].inputs}
        for tensor in head["inputs"]:
            size = tensor["parameters"]["binary_data_size"]
            if tensor["name"].startswith("__na."):
                for row in array("i", body[at : at + size]):
                    columns[tensor["name"].removeprefix("__na.")][row] = None
                at += size
                continue
            columns[tensor["name"]] = _read(fields[tensor["name"]], tensor, body[at : at + size])
            at += size
        assert at == len(body)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if (refused := self._too_large(request, len(rows))) is not None:
            return refused
        predictions = [self._predict(model, row) for row in rows]
        outputs: list[dict[str, Any]] = []
        buffers: list[bytes] = []
        for f in self.signatures[model].outputs:
            values = [p[f.name] if isinstance(p, dict) else p for p in predictions]
            datatype, buffer = _write(values)
            outputs.append(
                {
                    "name": f.name,
                    "shape": [len(rows)],
                    "datatype": datatype,
                    "parameters": {"binary_data_size": len(buffer)},
                }
            )
            buffers.append(buffer)
            if datatype == "BYTES" and None in values:
                gone = array("i", [row for row, value in enumerate(values) if value is None])
                size = {"binary_data_size": 4 * len(gone)}
                outputs.append(
                    {"name": f"__na.{f.name}", "shape": [len(gone)], "datatype": "INT32", "parameters": size}
                )
                buffers.append(gone.tobytes())
        answer = json.dumps({"model_name": model, "model_version": version, "outputs": outputs}).encode()
        return Response(
            b"".join((answer, *buffers)),
            headers={OIP_LENGTH: str(len(answer)), "content-type": "application/octet-stream"},
        )


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _column(f: Field) -> dict[str, Any]:
    column: dict[str, Any] = {"name": f.name, "type": f.type, "nullable": f.nullable, "json": "…"}
    if f.type is Type.FACTOR:
        column |= {"levels": f.levels, "ordered": f.ordered}
    return column


def _read(f: Field, tensor: dict[str, Any], data: bytes) -> list[Any]:
    if tensor["datatype"] == "FP64":
        return list(array("d", data))
    if tensor["datatype"] == "INT32":
        values: list[Any] = [None if v == -(2**31) else v for v in array("i", data)]
        return [None if v is None else f.levels[v - 1] for v in values] if f.type is Type.FACTOR else values
    texts, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return texts


def _write(values: list[Any]) -> tuple[str, bytes]:
    if any(isinstance(v, str) for v in values):
        texts = [(v or "").encode() for v in values]
        return "BYTES", b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return "FP64", array("d", [float("nan") if v is None else v for v in values]).tobytes()


class _Server(uvicorn.Server):
    """Runs in a thread: signals are the main thread's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def running(fake: FakeGateway) -> Iterator[FakeGateway]:
    """The fake on a free port of this machine, until the end of the block."""
    config = uvicorn.Config(
        fake.app(),
        host="127.0.0.1",
        port=0,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    listening = config.bind_socket()
    fake.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()

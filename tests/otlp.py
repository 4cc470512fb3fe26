"""A collector of traces for tests: a real HTTP server that takes OTLP's protobuf, and shows what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """One span as it came. Ids in hexadecimal; times in nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any] = field(hash=False)
    links: tuple[str, ...]
    failed: bool


@dataclass
class Collector:
    """Where it listens, and every span that came."""

    url: str
    spans: list[Seen] = field(default_factory=list)

    def named(self, name: str, service: str | None = None) -> list[Seen]:
        """Those of that name, of all services or one."""
        return [s for s in list(self.spans) if s.name == name and service in (None, s.service)]

    def children(self, span: Seen) -> list[Seen]:
        """Those right under it."""
        return [s for s in list(self.spans) if s.parent_id == span.span_id]

    def take(self, body: bytes) -> None:
        """One request's spans."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {a.key: a.value.string_value for a in group.resource.attributes}
            for scope in group.scope_spans:
                for s in scope.spans:
                    attributes = {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in s.attributes}
                    self.spans.append(
                        Seen(
                            resource["service.name"],
                            s.name,
                            s.trace_id.hex(),
                            s.span_id.hex(),
                            s.parent_span_id.hex(),
                            s.start_time_unix_nano,
                            s.end_time_unix_nano,
                            attributes,
                            tuple(link.span_id.hex() for link in s.links),
                            s.status.code == s.status.STATUS_CODE_ERROR,
                        )
                    )


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
                self.send_error(404)
                return
            running.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

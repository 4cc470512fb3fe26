"""python -m devkit.smoke against a real TLS server: what it takes for an answer, and whom it trusts."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from devkit.certificates import ServerCertificate, ensure
from devkit.smoke import check

MANIFEST: dict[str, Any] = {
    "name": "m",
    "version": "1",
    "signature": {"inputs": [{"name": "x", "type": "double"}], "outputs": [{"name": "prediction", "type": "double"}]},
    "example": {"inputs": {"x": [1.5, 2.5]}, "outputs": {"prediction": [3.25, 4.25]}},
}


class _Gateway(BaseHTTPRequestHandler):
    predictions = (3.25, 4.25)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps({"predictions": self.predictions}).encode()
        self.send_response(200 if self.headers["Authorization"] == "Bearer t" else 401)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return ensure(tmp_path, "gateway")


@pytest.fixture
def url(certificate: ServerCertificate) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Gateway) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_certificate_that_nobody_trusts_is_trusted_when_its_own_chain_is_named(
    url: str, certificate: ServerCertificate
) -> None:
    assert "2 rows scored, 0 bits differ" in check(url, "t", MANIFEST, str(certificate.cert_file))


def test_without_that_it_is_refused(url: str) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        check(url, "t", MANIFEST)


def test_another_chain_does_not_do(url: str, tmp_path: Path) -> None:
    other = ensure(tmp_path / "other", "gateway")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        check(url, "t", MANIFEST, str(other.cert_file))


def test_an_answer_that_is_one_bit_off_is_not_well(
    url: str, certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Gateway, "predictions", (3.25, 4.250000000000001))
    with pytest.raises(ValueError, match=r"4\.250000000000001"):
        check(url, "t", MANIFEST, str(certificate.cert_file))


def test_a_refusal_is_said(url: str, certificate: ServerCertificate) -> None:
    with pytest.raises(ValueError, match="401"):
        check(url, "other", MANIFEST, str(certificate.cert_file))

"""`python -m devkit.entra --port 0 --state DIR`: the stand-in, until SIGTERM.

Prints one line of JSON on standard output once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path

import msgspec
import uvicorn

from devkit import certificates
from devkit.entra import app, state
from devkit.entra.signing import SigningKeys


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, line: bytes) -> None:
        super().__init__(config)
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.buffer.write(self._line + b"\n")
        sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop."""
    options = _options(argv)
    folder = Path(options.state).resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate = certificates.ensure(folder, "entra", options.name)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((options.host, options.port))
    except OSError as error:
        print(f"entra: cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    host = options.name[0] if options.name else "localhost"
    known = state.write(folder, f"https://{host}:{sock.getsockname()[1]}", certificate.ca_file)
    stand_in = app.StandIn(known, SigningKeys(folder), approve=options.approve)
    config = uvicorn.Config(
        app.build(stand_in),
        ssl_certfile=str(certificate.cert_file),
        ssl_keyfile=str(certificate.key_file),
        lifespan="off",
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
    line = msgspec.json.encode(
        {
            "event": "listening",
            "service": "entra",
            "url": known.url,
            "authority": known.authority,
            "tenant": known.tenant,
            "ca_file": known.ca_file,
        }
    )
    asyncio.run(_Server(config, line).serve(sockets=[sock]))
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devkit.entra", description="A stand-in for Microsoft Entra ID.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 picks a free one")
    parser.add_argument(
        "--state", default=os.environ.get("ENTRA_FOLDER"), help="folder for keys, secrets and certificates"
    )
    parser.add_argument(
        "--name", action="append", default=[], help="host name for the certificate; the first is the URL's"
    )
    parser.add_argument("--approve", choices=["auto", "page"], default="auto", help="how device codes are approved")
    options = parser.parse_args(argv)
    if not options.state:
        parser.error("--state is required (or ENTRA_FOLDER in the environment)")
    return options


if __name__ == "__main__":
    sys.exit(main())

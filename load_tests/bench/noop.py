"""What a Python gateway is measured against: Starlette on uvicorn with uvloop and httptools, one route that does nothing."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def _nothing(_: Request) -> Response:
    return Response(b'{"predictions":[0.0]}', media_type="application/json")


def main() -> None:
    """Serve on the port that the first argument names until told to stop."""
    app = Starlette(routes=[Route("/v1/models/{model}/score", _nothing, methods=["POST"])])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )


if __name__ == "__main__":
    main()

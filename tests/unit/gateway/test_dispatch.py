"""The short way to the scoring routes leads where Starlette's router does."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from gateway.routes.dispatch import Dispatch

SHORT = {("v1", "score"), ("v2", "infer")}


class Seen:
    """An app that says it was asked, and for what."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        await send({"seen": self.name, **scope["path_params"]})


def routes(short: bool) -> Any:
    paths = ("/{0}/models/{{model}}/{1}", "/{0}/models/{{model}}/versions/{{version}}/{1}")
    router = Router(
        [Route(p.format(*key), Seen(key[0]), methods=["POST"]) for key in SHORT for p in paths], redirect_slashes=False
    )
    return Dispatch(router, {key: Seen(key[0]) for key in SHORT}) if short else router


async def asked(app: Any, path: str, method: str) -> object:
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": [], "app": None, "root_path": ""}
    try:
        await app(scope, receive, send)
    except HTTPException as refused:
        return refused.status_code
    return said


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/m/score", "/v1/models/m/versions/1/score", "/v2/models/a b/infer", "/v2/models/m/versions/1.2-x/infer",
        "/v1/models//score", "/v1/models/m/versions//score", "/v1/models/m/score/", "/v1/models/m/infer", "/v3/models/m/score",
        "/v1/model/m/score", "/v1/models/m/x/1/score", "/v1/models/m/versions/score", "/v1/models/versions/versions/1/score",
        "/", "", "/score", "//v1/models/m/score", "/v1/models/m/versions/1/2/score", "/v1/models/score",
    ],
)  # fmt: skip
async def test_both_ways_lead_to_the_same(path: str, method: str) -> None:
    assert await asked(routes(short=True), path, method) == await asked(routes(short=False), path, method)

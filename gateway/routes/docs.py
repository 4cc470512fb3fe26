"""`/openapi.json` for what the caller may score, and `/docs`, a page to try it on. The page's shell and assets need no token."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.core.openapi import openapi_document
from gateway.docs_page import HEADERS, load_assets
from gateway.middleware.errors import request_id
from gateway.routes.entry import Entry
from gateway.routes.reply import reply
from gateway.shell.compress import takes_gzip
from shared.errors import NotFoundError


def docs_routes(entry: Entry) -> list[Route]:
    """Reads the page's files once. Raises FileNotFoundError if they are not all there."""
    assets = load_assets()
    settings = entry.settings
    token_url = f"{settings.authority.rstrip('/')}/{settings.tenants[0]}/oauth2/v2.0/token"
    scope = f"{settings.audiences[0]}/.default"

    async def openapi(request: Request) -> Response:
        caller = await entry.reader(request)
        index = entry.index
        models = [index.models[name] for name in entry.policy.listed(caller, index.models)]
        return await reply(request, openapi_document(models, token_url=token_url, scope=scope))

    @entry.edge.page
    async def page(request: Request) -> Response:
        name = request.path_params.get("asset", "index.html")
        asset = assets.get(name)
        if asset is None:
            raise NotFoundError(f"the docs page has no file {name[:100]!r}")
        headers = {**HEADERS, "ETag": asset.etag, "Vary": "Accept-Encoding", "X-Request-Id": request_id(request.scope)}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        if takes_gzip(request.headers.get("accept-encoding", "").encode("latin-1")):
            return Response(
                asset.gzipped, media_type=asset.content_type, headers={**headers, "Content-Encoding": "gzip"}
            )
        return Response(asset.body, media_type=asset.content_type, headers=headers)

    async def home(_: Request) -> Response:
        return RedirectResponse("docs")

    return [
        Route("/", home, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", page, methods=["GET"]),
        Route("/docs/{asset}", page, methods=["GET"]),
    ]

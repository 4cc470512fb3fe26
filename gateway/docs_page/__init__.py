"""The page at `/docs`: an empty shell that asks for a token, and Swagger UI, which shows what `/openapi.json` gives for it.

Everything comes from the gateway's own origin. Swagger UI's files are those of the PyPI package `flask-swagger-ui` (MIT), which
follows upstream's releases; its Flask part is neither imported nor used. The shell holds no data, so it needs no token.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

#: For every answer under `/docs`. Swagger UI sets styles inline and draws icons from data: addresses; scripts never are inline.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_OWN = ("index.html", "docs.js", "docs.css")
_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served; `etag` is of its content, `gzipped` the same for clients that take gzip."""

    content_type: str
    body: bytes
    gzipped: bytes
    etag: str


def load_assets() -> Mapping[str, Asset]:
    """All files by name, `index.html` for `/docs` itself; read once at start.

    Raises FileNotFoundError if the package is not whole.
    """
    spec = find_spec("flask_swagger_ui")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package flask-swagger-ui is not installed: install scoregate[gateway]")
    here, bundle = Path(__file__).parent, Path(spec.origin).parent / "dist"
    paths = [here / name for name in _OWN] + [bundle / name for name in _SWAGGER_UI]
    return {path.name: _asset(path) for path in paths}


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Asset(_TYPES[path.suffix], body, gzip.compress(body, 6, mtime=0), etag)

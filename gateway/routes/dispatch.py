"""Finds the scoring routes by cutting the path. All else goes to Starlette's router, which tries one pattern after another."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class Dispatch:
    """`scores` by interface and verb, as `("v1", "score")`; `router` knows the same addresses, for all other methods."""

    def __init__(self, router: ASGIApp, scores: Mapping[tuple[str, str], ASGIApp]) -> None:
        self._router = router
        self._scores = scores

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """`/{interface}/models/{model}[/versions/{version}]/{verb}`. No coroutine of its own, to be resumed for nothing."""
        if (app := scope.get("scores")) is not None:  # found before, for a head that is known
            found: ASGIApp = app
            return found(scope, receive, send)
        parts: list[str] = scope["path"].split("/")
        score = self._scores.get((parts[1], parts[-1])) if len(parts) in {5, 7} else None
        if score is None or scope["method"] != "POST" or parts[2] != "models" or not parts[3]:
            return self._router(scope, receive, send)
        params = {"model": parts[3]}
        if len(parts) == 7:
            if parts[4] != "versions" or not parts[5]:
                return self._router(scope, receive, send)
            params["version"] = parts[5]
        scope["path_params"], scope["scores"] = params, score
        return score(scope, receive, send)

"""What tests and `./dev` ask of a running stand-in beyond what Entra ID would do: mint, rotate, go away."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import httpx

from devkit.entra.issue import Signing
from devkit.entra.state import State, read


class EntraAdmin:
    """The administrator of the stand-in that runs on a folder. A context manager, for its connection."""

    def __init__(self, folder: Path) -> None:
        self.state: State = read(folder)
        self._http = httpx.Client(
            base_url=f"{self.state.url}/admin",
            verify=ssl.create_default_context(cafile=self.state.ca_file),
            headers={"Authorization": f"Bearer {self.state.admin_secret}"},
            timeout=10,
            trust_env=False,
        )

    def __enter__(self) -> EntraAdmin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def mint(
        self,
        app: str = "all",
        *,
        version: Literal[1, 2] | None = None,
        user: bool = False,
        id_token: bool = False,
        claims: dict[str, Any] | None = None,
        header: dict[str, Any] | None = None,
        sign: Signing = "proper",
        nonce: str | None = None,
    ) -> str:
        """A token like the app's own, with `claims` and `header` laid over; a value of None takes one out."""
        asked = {
            "app": app,
            "version": version,
            "user": user,
            "id_token": id_token,
            "claims": claims,
            "header": header,
            "sign": sign,
            "nonce": nonce,
        }
        return str(self._post("mint", asked)["token"])

    def rotate(self, *, sign: bool = True, withdraw: bool = False) -> str:
        """Publish a new key and return its kid; see `SigningKeys.rotate`."""
        return str(self._post("rotate", {"sign": sign, "withdraw": withdraw})["kid"])

    def away(self, away: bool = True) -> None:
        """Answer 503 to everything public, or serve again."""
        self._post("away", {"away": away})

    def asked(self) -> dict[str, int]:
        """How often each address was asked so far: discovery, keys, token, …"""
        return {name: int(count) for name, count in self._post("asked", {}).items()}

    def _post(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.post(f"/{name}", json=body)
        answer.raise_for_status()
        return dict(answer.json())

"""The gateway without one of its guards, to measure what the guard costs. For benchmarks: no setting of the gateway leads here.

    python -m load_tests.bench.without [authentication] [limits] [validation] --like PID

Serves as `python -m gateway` does, on free ports of this machine, with the GATEWAY_* settings of the running gateway process
PID (or of this process), and announces itself with the same line. Without any name it is the whole gateway, started the same way.

* without authentication: the header is not looked at; everybody is one app that holds every role.
* without limits: nothing is charged, and Redis is not asked.
* without validation: a body that was seen before becomes the columns it became then; nothing of it is read.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

from gateway import server
from gateway.app import Parts
from gateway.core.caller import Caller
from gateway.core.contract import Contract
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.tokens import Steps
from gateway.core.contracts import Contracts
from gateway.core.limits import Limits
from gateway.settings import GatewaySettings
from gateway.shell.admit import Admission
from gateway.shell.authenticate import Authenticator
from gateway.shell.ticket import Ticket
from shared import logs
from shared.catalogue import VersionEntry
from shared.settings import read_or_exit
from shared.wire import Frame

GUARDS = ("authentication", "limits", "validation")
#: Bodies remembered where validation is off; a benchmark sends a few.
_MOST = 10_000


class _Every(frozenset[str]):
    def __contains__(self, role: object) -> bool:
        return True


class Anybody(Authenticator):
    """Everyone is one app that holds every role."""

    def __init__(self) -> None:
        nobody = "00000000-0000-0000-0000-000000000000"
        self._caller = Caller(nobody, nobody, "app", nobody, _Every(), frozenset(), "anybody", math.inf)

    def recall(self, digest: bytes) -> Caller | None:  # noqa: ARG002
        """Whatever the token was."""
        return self._caller

    async def authenticate(self, authorization: bytes | None) -> Caller:  # noqa: ARG002
        """Whatever the header says."""
        return self._caller


class Boundless(Admission):
    """Admits everything, and counts nothing."""

    def __init__(self) -> None:
        super().__init__(None)
        self._ticket = super().ask("nobody", Limits(), rows=1)

    def precheck(self, caller_key: str, limits: Limits) -> None:
        """Nobody is over a limit."""

    def ask(self, caller_key: str, limits: Limits, *, rows: int, calls: int = 1, lease_ms: int = 0) -> Ticket:  # noqa: ARG002
        """Everybody is in."""
        return self._ticket


class Remembering(Contract):
    """Reads each body once."""

    def __init__(self, entry: VersionEntry, max_rows: int) -> None:
        super().__init__(entry, max_rows)
        self._seen: dict[bytes, Any] = {}

    def parse_steps(self, body: bytes, clock: Any = None) -> Steps[Frame]:
        """The columns of a body like this one."""
        if (found := self._seen.get(body)) is not None:
            frame: Frame = found
            return frame
        frame = yield from super().parse_steps(body, clock)
        self._remember(body, frame)
        return frame

    def parse_v2_steps(self, body: bytes, header_length: int | None = None, clock: Any = None) -> Steps[OipRequest]:
        """The same for `/v2`."""
        if (found := self._seen.get(body)) is not None:
            request: OipRequest = found
            return request
        request = yield from super().parse_v2_steps(body, header_length, clock)
        self._remember(body, request)
        return request

    def _remember(self, body: bytes, read: Frame | OipRequest) -> None:
        if len(self._seen) < _MOST:
            self._seen[body] = read


class Unread(Contracts):
    """Contracts that read each body once."""

    def of(self, entry: VersionEntry, max_rows: int | None = None) -> Contract:
        """As `Contracts.of`."""
        rows = self._max_rows if max_rows is None else min(max_rows, self._max_rows)
        found = self._by_digest.get((entry.digest, rows))
        if found is None:
            found = self._by_digest[entry.digest, rows] = (entry, Remembering(entry, rows))
        return found[1]


def environment_of(pid: int) -> dict[str, str]:
    """The GATEWAY_* settings of a running process of this user."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (entry.decode().partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if name.startswith("GATEWAY_")}


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.bench.without", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("guards", nargs="*", choices=[[], *GUARDS], metavar="GUARD", help=", ".join(GUARDS))
    parser.add_argument("--like", type=int, metavar="PID", help="a running gateway process whose settings to take")
    asked = parser.parse_args()
    environ = dict(os.environ) if asked.like is None else environment_of(asked.like)
    environ |= {"GATEWAY_HOST": "127.0.0.1", "GATEWAY_PORT": "0", "GATEWAY_INTERNAL_PORT": "0", "GATEWAY_WORKERS": "1"}
    environ.pop("GATEWAY_REUSE_PORT", None)
    settings = read_or_exit(GatewaySettings, "GATEWAY_", environ)
    logs.configure("gateway", settings.log_format, settings.log_level)
    parts = Parts(
        authenticator=Anybody() if "authentication" in asked.guards else None,
        admission=Boundless() if "limits" in asked.guards else None,
        contracts=Unread(settings.max_rows) if "validation" in asked.guards else None,
    )
    server.run(settings, parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())

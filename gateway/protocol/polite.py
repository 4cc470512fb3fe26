"""A connection's transport as uvicorn uses it: how it is closed is the protocol's decision."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol


class Closes(Protocol):
    """What decides."""

    @property
    def closing(self) -> bool:
        """Whether nothing more may be written."""

    def close_politely(self) -> None:
        """What `close` means."""


class Polite(asyncio.Transport):
    """Passes on all but closing."""

    def __init__(self, raw: asyncio.Transport, protocol: Closes) -> None:
        super().__init__()
        self._raw = raw
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._raw.write(data)

    def close(self) -> None:
        self._protocol.close_politely()

    def is_closing(self) -> bool:
        return self._protocol.closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw.get_extra_info(name, default)

"""Kept connections to the scorer pods, by address: the newest idle one is taken, so what is not needed grows old and is closed.

Each carries one request at a time, so a late answer can never be taken for another's: a request that is given up closes its
connection. Nothing is sent twice here; whoever asks decides what becomes of a request that got no answer.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from functools import lru_cache
from urllib.parse import urlsplit

from shared.http_client import Connection, Reply

#: Shorter than the 75 s after which a scorer closes an idle connection: it is never just being closed when it is taken.
IDLE_S = 30.0
#: Of an answer. The scorer bounds what it takes; this only keeps one that has gone wrong from filling the gateway's memory.
MAX_ANSWER_BYTES = 1024 * 1024 * 1024


@lru_cache(maxsize=1024)
def authority(address: str) -> str:
    """`host:port` of an address, as the field Host has it."""
    return urlsplit(address).netloc


class Hop:
    """The connections of one gateway process. `sweep` every few seconds, `close` at the end."""

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[float, Connection]]] = {}
        self._tls: ssl.SSLContext | None = None

    async def connection(self, address: str, within_s: float) -> Connection:
        """One that nobody uses, or a new one. Raises TimeoutError, OSError. Give it back, or close it."""
        idle, now = self._idle.get(address), time.monotonic()
        while idle:
            since_s, connection = idle.pop()
            if connection.free and now - since_s < IDLE_S:
                return connection
            connection.close()
        parts = urlsplit(address)
        tls = None
        if parts.scheme == "https":
            tls = self._tls = self._tls or ssl.create_default_context()
        async with asyncio.timeout(within_s):
            return await Connection.to_host(
                parts.hostname or "", parts.port or (443 if tls else 80), MAX_ANSWER_BYTES, tls
            )

    def give_back(self, address: str, connection: Connection) -> None:
        """Its request has been answered, or was given up: then it is closed."""
        if connection.free:
            self._idle.setdefault(address, []).append((time.monotonic(), connection))
        else:
            connection.close()

    async def get(
        self, address: str, path: str, headers: dict[str, str], *, within_s: float, connect_s: float
    ) -> Reply:
        """One GET. Raises TimeoutError, OSError (LostError is one)."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"GET {path} HTTP/1.1\r\nHost: {authority(address)}\r\n{fields}\r\n".encode()
        async with asyncio.timeout(within_s):
            connection = await self.connection(address, connect_s)
            try:
                return await connection.ask(request)
            finally:
                self.give_back(address, connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        for address, idle in list(self._idle.items()):
            kept = []
            for since_s, connection in idle:
                if now - since_s < IDLE_S and connection.free:
                    kept.append((since_s, connection))
                else:
                    connection.close()
            if kept:
                self._idle[address] = kept
            else:
                del self._idle[address]

    def close(self) -> None:
        """Close what is idle; what is in use is its user's."""
        for idle in self._idle.values():
            for _, connection in idle:
                connection.close()
        self._idle.clear()

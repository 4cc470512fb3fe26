"""Who may call: the gateways' internal token, checked against a watched file of public keys.

A token that was good is remembered until it expires, in a bounded table that is emptied when the keys change; so Ed25519 is
paid once a minute and gateway. The file may be replaced at any time; one that cannot be read leaves the last keys in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog
from joserfc.jwk import OKPKey

from shared.internal_token import InternalTokenError, load_public_keys, verify

log = structlog.get_logger()
_MAX_REMEMBERED = 1024


class TokenCheck:
    """Checks bearer tokens. `refresh` about every second."""

    def __init__(self, file: Path) -> None:
        """Raises OSError or ValueError if the file has no usable key: a scorer without keys would refuse everyone."""
        self._file = file
        self._stamp = self._look()
        self._keys: Mapping[str, OKPKey] = load_public_keys(file.read_bytes())
        self._good: dict[str, float] = {}

    def check(self, authorization: str, now: float) -> None:
        """`now` in seconds since 1970. Raises InternalTokenError, with a reason that names no token."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InternalTokenError("a bearer token of the gateway is needed")
        until = self._good.get(token)
        if until is not None and now < until:
            return
        until = verify(token, self._keys, now=now)
        if len(self._good) >= _MAX_REMEMBERED:
            self._good = {known: end for known, end in self._good.items() if end > now}
            if len(self._good) >= _MAX_REMEMBERED:
                self._good.clear()
        self._good[token] = until

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            keys = load_public_keys(self._file.read_bytes())
        except (OSError, ValueError) as error:
            log.warning("scorer.keys.unreadable", error=str(error), effect="the last keys stay in force")
            return
        finally:
            self._stamp = stamp
        self._keys = keys
        self._good.clear()
        log.info("scorer.keys.changed", keys=len(keys))

    def _look(self) -> tuple[int, int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size

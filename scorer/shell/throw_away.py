"""The self-test's own worker, which no call ever reaches: forked from a version's zygote, asked, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from scorer.core.frames import join
from scorer.shell.processes import Death, Watched
from scorer.shell.worker import WorkerConnection, prediction
from scorer.shell.zygote import ZygoteError
from shared.http_client import LostError, Reply
from shared.wire import Frame


class ThrowAway:
    """A worker for the self-test. `close` kills it."""

    def __init__(self, folder: Path, known: set[ThrowAway], limit: Callable[[int], None]) -> None:
        self.folder = folder
        self._limit = limit
        self._known = known
        known.add(self)
        self.connection: WorkerConnection | None = None
        self.watched: Watched | None = None
        self.listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heard(self, word: str, rest: list[str]) -> None:
        """News from the zygote."""
        if word == "forked":
            with contextlib.suppress(OSError):
                self.watched = Watched(int(rest[0]), self._died)
                self._limit(self.watched.pid)
        elif not self.listening.done():
            self.listening.set_result(None)

    async def score(self, frame: Frame, timeout_s: float) -> Reply:
        """Predict one frame. Raises ZygoteError if it dies or takes too long."""
        assert self.connection is not None  # noqa: S101 - it listens
        try:
            async with asyncio.timeout(timeout_s):
                return await self.connection.ask(prediction(join(frame), frame.rows))
        except TimeoutError as error:
            raise ZygoteError(f"the example was not scored within {timeout_s:g} s") from error
        except LostError as error:
            raise ZygoteError("R crashed while it scored the example") from error

    def close(self) -> None:
        """Kill it."""
        if self.connection is not None:
            self.connection.close()
        if self.watched is not None:
            self.watched.kill()
        else:
            self._known.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _died(self, death: Death) -> None:
        self._known.discard(self)
        if not self.listening.done():
            self.listening.set_exception(OSError(f"it died ({death})"))
            self.listening.exception()

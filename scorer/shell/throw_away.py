"""The self-test's own worker, which no call ever reaches: forked from a version's zygote, asked, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any

from scorer.shell.process import WorkerLimits
from scorer.shell.processes import Death, Watched
from scorer.shell.worker import WorkerConnection, prediction
from scorer.shell.zygote import Zygote, ZygoteError
from shared.frames import join
from shared.http_client import LostError, Reply
from shared.wire import Frame


class ThrowAway:
    """Made by `forked`. `close` kills it."""

    def __init__(self, folder: Path, known: set[ThrowAway], limits: WorkerLimits) -> None:
        self.folder = folder
        self._limits = limits
        self._known = known
        known.add(self)
        self.connection: WorkerConnection | None = None
        self.watched: Watched | None = None
        self.listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def forked(
        cls, zygote: Zygote, number: int, limits: WorkerLimits, known: set[ThrowAway], timeout_s: float
    ) -> ThrowAway:
        """Fork the pod's `number`th. Raises ZygoteError if it does not come to listen.

        It is in `known` until its death was seen.
        """
        folder = zygote.folder / f"t{number}"
        order = -number  # workers are numbered from 1 on
        folder.mkdir(mode=0o700)
        test = cls(folder, known, limits)
        try:
            zygote.fork(order, folder, test.heard)
            async with asyncio.timeout(timeout_s):
                either: set[asyncio.Future[Any]] = {test.listening, zygote.gone}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                test.connection = await WorkerConnection.to_socket(folder / "s", limits.answer_bytes)
        except (TimeoutError, OSError) as error:
            test.close()
            raise ZygoteError("a fork of the zygote did not come to listen") from error
        except BaseException:
            test.close()
            raise
        finally:
            zygote.forget(order)
        return test

    def heard(self, word: str, rest: list[str]) -> None:
        """News from the zygote."""
        if word == "forked":
            with contextlib.suppress(OSError):
                self.watched = Watched(int(rest[0]), self._died)
                self._limits.set_on(self.watched.pid)
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

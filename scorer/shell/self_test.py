"""The self-test of a version at its load: does this R, on this machine, answer what the package says it answers?

The example is reproduced in a throw-away fork, then scored in pieces of several sizes; only then does the zygote warm itself up
with it. Says what it found; what is refused is raised.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from scorer.core import self_test
from scorer.core.manifest import Manifest
from scorer.shell.environment import is_reference_blas
from scorer.shell.throw_away import ThrowAway
from scorer.shell.worker import rows_of
from scorer.shell.zygote import Zygote
from shared.frames import cut, join
from shared.wire import Frame, tensor_specs

#: Calls with which a zygote warms up, and rows of the larger ones: what gateways send together.
_WARM_CALLS, _MORE_ROWS = 6, 64


class RefusedError(Exception):
    """The version is not served; the message is the reason that is reported."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The example was reproduced, `close` if not to the last bit; whether batches answer the same, and why not."""

    close: bool
    batchable: bool
    batchable_reason: str | None


async def prove(
    test: ThrowAway, zygote: Zygote, manifest: Manifest, example: Frame, expected: Frame, within_s: float
) -> Proof:
    """Ask the fork of `zygote`, each time for at most `within_s`, and close it. Raises RefusedError, ZygoteError, WireError."""
    asked = _Asked(test, manifest, within_s)
    try:
        answered = await asked.score(example)
        verdict = self_test.reproduces(manifest.signature.outputs, expected, answered)
        if not verdict.reproduced:
            raise RefusedError(f"self-test: {verdict.reason}")
        if not manifest.batchable:
            return Proof(verdict.close, batchable=False, batchable_reason=manifest.batchable_reason)
        reason = await _disagrees(asked, zygote.blas, example, answered)
        return Proof(verdict.close, batchable=reason is None, batchable_reason=reason)
    finally:
        test.close()


async def warm(
    zygote: Zygote, manifest: Manifest, example: Frame, *, batched: bool, predict_s: float, most_s: float
) -> None:
    """Have the zygote score its example, and what gateways send together. Raises ZygoteError, OSError."""
    more = self_test.plan(manifest.signature.inputs, example, _MORE_ROWS)[0] if batched else example
    files = zygote.folder / "example", zygote.folder / "more"
    for file, frame in zip(files, (example, more), strict=True):
        file.write_bytes(join(frame))
    # What takes longer here than a prediction may hangs, and is tried again in a new process.
    await zygote.warm((example.rows, files[0]), (more.rows, files[1]), min(most_s, _WARM_CALLS * predict_s))
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()


@dataclass(frozen=True, slots=True)
class _Asked:
    """The fork, and how it is asked."""

    test: ThrowAway
    manifest: Manifest
    within_s: float

    async def score(self, frame: Frame) -> Frame:
        """R's answer. Raises RefusedError with what R says where it cannot score it."""
        reply = await self.test.score(frame, self.within_s)
        if reply.status != 200:
            raise RefusedError(f"self-test: {reply.body.decode(errors='replace')[:500]}")
        return cut(tensor_specs(self.manifest.signature.outputs), rows_of(reply), reply.body)


async def _disagrees(asked: _Asked, blas: str, example: Frame, answered: Frame) -> str | None:
    """Why answers may depend on the batch; None if they do not."""
    if not is_reference_blas(blas):
        return f"R uses {blas or 'an unknown BLAS'}, whose answers may depend on the batch"
    signature = asked.manifest.signature
    for size in self_test.SIZES:
        answers = [await asked.score(piece) for piece in self_test.plan(signature.inputs, example, size)]
        if (reason := self_test.disagreement(signature.outputs, answered, size, answers)) is not None:
            return reason
    return None

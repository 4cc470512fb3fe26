"""An Open Inference Protocol v2 request once it is read: a frame, and what is asked of the answer.

As for `/v1` there are two ways to read one, which agree: `oip_fast`, by msgspec, for small requests of the usual shape, and
`oip_reader`, exact and in steps, which lists problems.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.wire import Frame

#: Most characters of a request's id.
MAX_ID = 1024


@dataclass(frozen=True, slots=True)
class Requested:
    """One output asked for: its place in the signature, and whether as binary."""

    index: int
    binary: bool


@dataclass(frozen=True, slots=True)
class OipRequest:
    """A request's rows, its id (None: it had none), and the outputs asked for in the order of the answer."""

    frame: Frame
    id: str | None
    outputs: tuple[Requested, ...]

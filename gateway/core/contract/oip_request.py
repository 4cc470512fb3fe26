"""An Open Inference Protocol v2 request once it is read: a frame, and what is asked of the answer.

As for `/v1` there are two ways to read one, which agree: `oip_fast`, by msgspec, for small requests of the usual shape, and
`oip_reader`, exact and in steps, which lists problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.core.contract.forms import Form
from gateway.core.contract.oip import form_for
from gateway.core.contract.oip_binary import converter
from shared.signature import Field
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


class Forms:
    """The forms of a contract's columns under each datatype, made when first asked for."""

    def __init__(self) -> None:
        self._converters: dict[tuple[str, str], Callable[[Any], Any]] = {}
        self._made: dict[tuple[str, str], tuple[Form, Callable[[bytes], Any], Callable[[bytes], Any]]] = {}

    def get(self, field: Field, datatype: str) -> tuple[Form, Callable[[bytes], Any], Callable[[bytes], Any]]:
        """The form, and what decodes its flat and its nested arrays."""
        key = field.name, datatype
        if (found := self._made.get(key)) is None:
            form = form_for(field, datatype)
            flat = msgspec.json.Decoder(form.list_type).decode
            nested = msgspec.json.Decoder(form.nested_type).decode
            found = self._made[key] = form, flat, nested
        return found

    def converter(self, field: Field, datatype: str) -> Callable[[Any], Any]:
        """What packs binary numbers of this datatype."""
        key = field.name, datatype
        if (found := self._converters.get(key)) is None:
            found = self._converters[key] = converter(field, datatype)
        return found

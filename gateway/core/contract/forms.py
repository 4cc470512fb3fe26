"""How one column's values come in JSON: a form per type, each with a fast way and an exact way that agree.

The fast way is msgspec's (`json_type` decodes, `pack` fills the frame's buffers, in C wherever possible) and says no more than
that something does not fit. The exact way (`check`, one value at a time) says what is wrong and what to do. Both give the same
buffers: tests/unit/gateway/test_contract_agree.py drives them against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar

import msgspec

from gateway.core.findings import echo
from shared.signature import Field

#: Most bytes of one text value, in UTF-8.
MAX_TEXT_BYTES = 1024 * 1024
MAX_INTEGER = 2**31 - 1

# Kinds of JSON value, as `gateway.core.contract.tokens` finds them.
STRING, NUMBER, BOOLEAN, NULL = "string", "number", "boolean", "null"
NOT_FINITE, OBJECT, ARRAY, LONG_STRING = "nan", "object", "array", "long"

#: One value of a column as `shared.wire.pack` takes it.
Value = float | int | bool | str | None
Buffers = tuple[bytes, ...]


class UnfitError(ValueError):
    """The fast way cannot take these values; the exact way will say why, or take them."""


class RefusedError(ValueError):
    """One value that the column cannot take: a code of `gateway.core.findings.CODES`, and a message."""

    def __init__(self, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(detail)


_double = msgspec.json.Decoder(float)
_NEGATIVE_ZERO = re.compile(rb"[\s\[:,]-0[\s,\]}]")
_TEXT_OR_NEGATIVE_ZERO = re.compile(rb'("(?:[^"\\]++|\\.)*+")|(?<=[\s\[:,])-0(?=[\s,\]}])', re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:u003([aA])|.)", re.DOTALL)
_LOOKS_NUMERIC = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_MISSING_WORDS = frozenset({"", "na", "nan", "n/a", "null", "none", "nil", "inf", "-inf", "infinity", "-infinity"})


def with_negative_zeros(text: bytes) -> bytes:
    """The JSON with each number `-0` written as `-0.0`: msgspec reads `-0` as 0, R and IEEE 754 as −0."""
    if b"-" not in text or b"-0" not in text or _NEGATIVE_ZERO.search(text) is None:
        return text
    return _TEXT_OR_NEGATIVE_ZERO.sub(_negative_zero, text)


def _negative_zero(match: re.Match[bytes]) -> bytes:
    return match[1] or b"-0.0"


def colons_in(text: bytes) -> int:
    """How many colons this JSON has, escaped ones included."""
    count = text.count(b":")
    if b"\\u003" in text:
        count += sum(1 for match in _ESCAPE.finditer(text) if match[1])
    return count


def double_of(token: bytes) -> float:
    """The double nearest to a JSON number; raises RefusedError for one beyond ±1.8e308."""
    if token == b"-0":
        return -0.0
    try:
        return _double.decode(token)
    except msgspec.ValidationError:
        raise RefusedError(
            "out_of_range", f"{number_text(token)} is beyond what a double can hold, ±1.797e308"
        ) from None


def number_text(token: bytes) -> str:
    """A number as it stands in the request, for a message: at most 40 characters of it."""
    return token[:40].decode("ascii", "replace") + ("…" if len(token) > 40 else "")


def describe(kind: str, value: Any) -> str:
    """A value as it may stand in a message after "got"."""
    match kind:
        case "string":
            return f"the text {echo(value)}"
        case "number":
            return f"the number {number_text(value)}"
        case "boolean":
            return "true" if value else "false"
        case "null":
            return "null"
        case "nan":
            return str(value, "ascii", "replace")
        case "object":
            return "an object"
        case "array":
            return "an array"
    return "a long text"


class Form:
    """One column's values in one JSON form. `numeric` ones go to doubles, where −0 matters."""

    #: What the column takes, for messages.
    takes: ClassVar[str] = ""
    numeric: ClassVar[bool] = False

    def __init__(self, field: Field) -> None:
        self.field = field
        self.nullable = field.nullable

    @property
    def may_hold_colons(self) -> bool:
        """Whether a value's JSON may contain a colon."""
        return False

    @property
    def json_type(self) -> Any:
        """The type msgspec decodes one value as."""
        return self._or_null(self._json_type())

    def _json_type(self) -> Any:
        raise NotImplementedError

    def _or_null(self, kind: Any) -> Any:
        return kind | None if self.nullable else kind

    @property
    def list_type(self) -> Any:
        """The type msgspec decodes an array of values as."""
        kind: Any = list
        return kind[self.json_type]

    @property
    def nested_type(self) -> Any:
        """The type msgspec decodes an array of arrays of one value as."""
        outer: Any = list
        inner: Any = tuple
        return outer[inner[self.json_type]]

    def pack(self, values: Sequence[Any]) -> Buffers:
        """The frame's buffers of decoded values; raises UnfitError where they need the exact way."""
        raise NotImplementedError

    def pack_texts(self, values: Sequence[str | None]) -> Buffers:
        """As `pack`, of values that came as text; for forms that are text."""
        return self.pack(values)

    def colons(self, values: Sequence[Any]) -> int:
        """How many colons these values hold; asked only where `may_hold_colons`."""
        raise NotImplementedError

    def check(self, kind: str, value: Any) -> Value:
        """The value in the form `shared.wire.pack` takes; raises RefusedError."""
        if kind == NULL:
            if self.nullable:
                return None
            raise RefusedError(
                "not_nullable", f"null is not taken here: the model cannot score a missing value; send {self.takes}"
            )
        if kind == LONG_STRING:
            raise RefusedError("text_too_long", f"a text may have at most {MAX_TEXT_BYTES} bytes in UTF-8")
        if kind == NOT_FINITE:
            hint = "send null for a missing value" if self.nullable else f"send {self.takes}"
            raise RefusedError("not_finite", f"{describe(kind, value)} is not JSON; {hint}")
        return self._check(kind, value)

    def _check(self, kind: str, value: Any) -> Value:
        raise NotImplementedError

    def _wrong_type(self, kind: str, value: Any) -> RefusedError:
        hint = ""
        if kind == STRING and self.takes.startswith(("a number", "a whole", "true")):
            if value.strip().lower() in _MISSING_WORDS:
                hint = (
                    "; send null for a missing value" if self.nullable else "; the model cannot score a missing value"
                )
            elif _LOOKS_NUMERIC.fullmatch(value) or value.lower() in ("true", "false"):
                hint = "; send it without the quotes"
        elif kind == ARRAY:
            hint = "; a single value is wanted here"
        return RefusedError("wrong_type", f"expected {self.takes}, got {describe(kind, value)}{hint}")


def text_from_escapes(raw: bytes) -> str:
    """The text between the quotes of a JSON string, half surrogates kept; raises UnicodeDecodeError for what is not UTF-8."""
    if b"\\" not in raw:
        return raw.decode()
    try:
        return str(msgspec.json.decode(b'"' + raw + b'"'))
    except msgspec.DecodeError:
        return str(json.loads('"' + raw.decode() + '"'))


def join(chunks: Sequence[Buffers]) -> Buffers:
    """One column's buffers from those of its parts, in order."""
    if len(chunks) == 1:
        return chunks[0]
    return tuple(map(b"".join, zip(*chunks, strict=True)))


def flatten(values: Sequence[tuple[Any]]) -> list[Any]:
    """The values of a tensor of shape [n,1]."""
    return list(chain.from_iterable(values))

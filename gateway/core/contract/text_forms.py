"""The forms of what comes as text: strings, a factor's labels, dates and date-times; in `/v1`, and as OIP's BYTES."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any, Literal

from gateway.core.contract.civil import days_of, parse_date, parse_datetime
from gateway.core.contract.forms import (
    MAX_TEXT_BYTES,
    STRING,
    Buffers,
    Form,
    RefusedError,
    UnfitError,
    Value,
)
from gateway.core.findings import echo, listing
from shared.signature import Field
from shared.wire import NA_INTEGER, NA_REAL


class TextForm(Form):
    """Any text without U+0000, up to `MAX_TEXT_BYTES`."""

    takes = "a text"

    @property
    def may_hold_colons(self) -> bool:
        """Any."""
        return True

    def _json_type(self) -> Any:
        return str

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Lengths and text apart, as the wire has them."""
        if self.nullable and None in values:
            encoded = [b"" if value is None else value.encode() for value in values]
            lengths = array("i", [NA_INTEGER if v is None else len(e) for v, e in zip(values, encoded, strict=True)])
        else:
            encoded = [value.encode() for value in values]
            lengths = array("i", map(len, encoded))
        text = b"".join(encoded)
        if b"\0" in text or (len(text) > MAX_TEXT_BYTES and max(lengths) > MAX_TEXT_BYTES):
            raise UnfitError
        return lengths.tobytes(), text

    def colons(self, values: Sequence[Any]) -> int:
        """Counted in all values together."""
        return "\0".join(filter(None, values)).count(":")

    def _check(self, kind: str, value: Any) -> Value:
        if kind != STRING:
            raise self._wrong_type(kind, value)
        return text_of(value)


def text_of(value: str) -> str:
    """The text, if R can hold it; raises RefusedError."""
    if "\0" in value:
        raise RefusedError("invalid_text", f"{echo(value)} holds U+0000, which R cannot; leave it out")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise RefusedError(
            "invalid_text", f"{echo(value)} holds half of a surrogate pair, which is no character"
        ) from None
    if size > MAX_TEXT_BYTES:
        raise RefusedError(
            "text_too_long", f"a text may have at most {MAX_TEXT_BYTES} bytes in UTF-8, this one has {size}"
        )
    return value


class LabelForm(Form):
    """One of a factor's levels, by its label."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._codes: dict[str | None, int] = {label: code for code, label in enumerate(field.levels, start=1)}
        self._codes[None] = NA_INTEGER
        self._suggested: dict[str, str | None] = {}
        self._colons: dict[str | None, int] = {label: label.count(":") for label in field.levels} | {None: 0}

    @property
    def takes(self) -> str:  # type: ignore[override]
        """The levels."""
        return (
            f"one of {listing(self.field.levels)}"
            if len(self.field.levels) > 1
            else f"the text {listing(self.field.levels)}"
        )

    @property
    def may_hold_colons(self) -> bool:
        """Where a level does."""
        return any(self._colons.values())

    def _json_type(self) -> Any:
        # Literals: no text is made, only found. A factor without levels takes no text, which `pack` sees to.
        return Literal[self.field.levels] if self.field.levels else str

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Codes."""
        try:
            return (array("i", map(self._codes.__getitem__, values)).tobytes(),)
        except KeyError:
            raise UnfitError from None

    def colons(self, values: Sequence[Any]) -> int:
        """By level."""
        return sum(map(self._colons.__getitem__, values))

    def _check(self, kind: str, value: Any) -> Value:
        if kind != STRING:
            raise self._wrong_type(kind, value)
        if value in self._codes:
            return str(value)
        close = self._suggest(value)
        hint = f"; did you mean {echo(close)}?" if close is not None else ""
        raise RefusedError("unknown_level", f"{echo(value)} is not a level; expected {self.takes}{hint}")

    def _suggest(self, label: str) -> str | None:
        """The level most likely meant; remembered, since the same label comes again and again."""
        if label not in self._suggested:
            if len(self._suggested) >= 100:
                self._suggested.clear()
            self._suggested[label[:100]] = closest(label, self.field.levels)
        return self._suggested.get(label)


def closest(text: str, names: Sequence[str]) -> str | None:
    """The name that was most likely meant; bounded in time by looking at no more than 200 names and 64 characters."""
    if len(text) > 64:
        return None
    folded = text.strip().casefold()
    for name in names[:1000]:
        if name.strip().casefold() == folded:
            return name
    found = get_close_matches(text, names[:200], n=1, cutoff=0.75)
    return found[0] if found else None


class DateForm(Form):
    """`YYYY-MM-DD`, a day of the calendar from year 1 to 9999."""

    takes = "a date as the text YYYY-MM-DD"

    def _json_type(self) -> Any:
        return date

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Days."""
        return (array("d", [NA_REAL if day is None else days_of(day) for day in values]).tobytes(),)

    def pack_texts(self, values: Sequence[str | None]) -> Buffers:
        """Days."""
        try:
            return (array("d", [NA_REAL if text is None else parse_date(text) for text in values]).tobytes(),)
        except ValueError:
            raise UnfitError from None

    def _check(self, kind: str, value: Any) -> Value:
        if kind != STRING:
            raise self._wrong_type(kind, value)
        try:
            return float(parse_date(value))
        except ValueError as error:
            raise RefusedError("invalid_date", f"{echo(value)} is not a date: {error}") from None


class DatetimeForm(Form):
    """RFC 3339 with an offset or Z."""

    takes = "a date-time as the text YYYY-MM-DDThh:mm:ssZ"

    @property
    def may_hold_colons(self) -> bool:
        """Two or three in each."""
        return True

    def _json_type(self) -> Any:
        return str

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Seconds."""
        try:
            return (array("d", [NA_REAL if text is None else parse_datetime(text) for text in values]).tobytes(),)
        except ValueError:
            raise UnfitError from None

    def colons(self, values: Sequence[Any]) -> int:
        """Counted in all values together."""
        return "".join(filter(None, values)).count(":")

    def _check(self, kind: str, value: Any) -> Value:
        if kind != STRING:
            raise self._wrong_type(kind, value)
        try:
            return parse_datetime(value)
        except ValueError as error:
            raise RefusedError("invalid_datetime", f"{echo(value)} is not a date-time: {error}") from None

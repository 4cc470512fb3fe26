"""How one column's values come in JSON: a form per type, each with a fast way and an exact way that agree.

The fast way is msgspec's (`json_type` decodes, `pack` fills the frame's buffers, in C wherever possible) and says no more than
that something does not fit. The exact way (`check`, one value at a time) says what is wrong and what to do. Both give the same
buffers: tests/unit/test_contract_forms.py drives them against each other.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from itertools import chain
from math import inf
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from gateway.core.contract.civil import days_of, parse_date, parse_datetime
from gateway.core.problems import echo, listing
from shared.signature import Field, Type
from shared.wire import NA_INTEGER, NA_REAL

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
    """One value that the column cannot take: a code of `gateway.core.problems.CODES`, and a message."""

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
        raise RefusedError("out_of_range", f"{_number(token)} is beyond what a double can hold, ±1.797e308") from None


def _number(token: bytes) -> str:
    return token[:40].decode("ascii", "replace") + ("…" if len(token) > 40 else "")


def describe(kind: str, value: Any) -> str:
    """A value as it may stand in a message after "got"."""
    match kind:
        case "string":
            return f"the text {echo(value)}"
        case "number":
            return f"the number {_number(value)}"
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
    """One column's values in one JSON form. `numeric` ones go to doubles, where −0 matters; `colons` ones may hold `:`."""

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
            hint = "; one value per row"
        return RefusedError("wrong_type", f"expected {self.takes}, got {describe(kind, value)}{hint}")


class NumberForm(Form):
    """Any JSON number as the nearest double: `double` columns, and dates and datetimes given as numbers."""

    takes = "a number"
    numeric = True

    def _json_type(self) -> Any:
        return float

    def pack(self, values: Sequence[Any]) -> Buffers:
        """NA for null."""
        if self.nullable and None in values:
            values = [NA_REAL if value is None else value for value in values]
        return (array("d", values).tobytes(),)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != NUMBER:
            raise self._wrong_type(kind, value)
        return double_of(value)


class SingleForm(NumberForm):
    """A number sent as FP32: rounded to single precision, as the sender's datatype says."""

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Through an array of singles."""
        missing: set[int] = set()
        if self.nullable and None in values:
            missing = {index for index, value in enumerate(values) if value is None}
            values = [0.0 if value is None else value for value in values]
        singles = array("f", values)
        if max(singles, default=0.0) == inf or min(singles, default=0.0) == -inf:
            raise UnfitError
        doubles = array("d", singles)
        for index in missing:
            doubles[index] = NA_REAL
        return (doubles.tobytes(),)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != NUMBER:
            raise self._wrong_type(kind, value)
        single = array("f", [double_of(value)])[0]
        if single in (inf, -inf):
            raise RefusedError("out_of_range", f"{_number(value)} is beyond what FP32 can hold, ±3.403e38")
        return single


class IntegerForm(Form):
    """A JSON number without a fraction (5 and 5.0 alike) between `low` and `high`; `sentinel` lets R's NA travel as −2³¹."""

    takes = "a whole number"

    def __init__(
        self, field: Field, low: int = -MAX_INTEGER, high: int = MAX_INTEGER, *, sentinel: bool = False
    ) -> None:
        super().__init__(field)
        self.low, self.high = low, high
        self.sentinel = sentinel and field.nullable

    def _json_type(self) -> Any:
        low = NA_INTEGER if self.sentinel else self.low
        return Annotated[int, msgspec.Meta(ge=low, le=self.high)] | float

    def pack(self, values: Sequence[Any]) -> Buffers:
        """A column of ints at C speed; one with floats value by value."""
        if self.nullable and None in values:
            values = [NA_INTEGER if value is None else value for value in values]
        try:
            packed = array("i", values)
        except TypeError:
            packed = array("i", [self._whole(value) for value in values])
        if self.sentinel and self.low > NA_INTEGER + 1 and any(v < self.low for v in set(packed) - {NA_INTEGER}):
            raise UnfitError
        return (packed.tobytes(),)

    def _whole(self, value: float) -> int:
        if isinstance(value, int):
            return int(value)
        if not value.is_integer() or not (self.low <= value <= self.high or (self.sentinel and value == NA_INTEGER)):
            raise UnfitError
        return int(value)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != NUMBER:
            raise self._wrong_type(kind, value)
        if b"." in value or b"e" in value or b"E" in value:
            number = double_of(value)
            if not number.is_integer():
                raise RefusedError("not_integral", f"expected {self.takes}, got {_number(value)}")
            whole = int(number)
        else:
            whole = int(value) if len(value) <= 20 else (self.low - 1 if value.startswith(b"-") else self.high + 1)
        if self.low <= whole <= self.high:
            return whole
        if whole == NA_INTEGER and self.sentinel:
            return None
        reason = "is R's missing integer; send null for it" if whole == NA_INTEGER and self.nullable else ""
        if not reason:
            reason = f"is outside {self.low} to {self.high}, the integers " + (
                "R has" if self.high == MAX_INTEGER else "of its datatype"
            )
        raise RefusedError("out_of_range", f"{_number(value)} {reason}")


class WideIntegerForm(NumberForm):
    """A `double` column sent as an integer datatype: whole, within the datatype, and exact as a double."""

    takes = "a whole number"

    def __init__(self, field: Field, low: int, high: int) -> None:
        super().__init__(field)
        self.low, self.high = low, high

    def _json_type(self) -> Any:
        return int | float

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Value by value."""
        return (array("d", [NA_REAL if v is None else self._exact(v) for v in values]).tobytes(),)

    def _exact(self, value: float) -> float:
        number = float(value) if self.low <= value <= self.high else inf
        if number == inf or number != value or not number.is_integer():
            raise UnfitError
        return number

    def _check(self, kind: str, value: Any) -> Value:
        number = super()._check(kind, value)
        if not number.is_integer():  # type: ignore[union-attr]
            raise RefusedError("not_integral", f"expected {self.takes}, got {_number(value)}")
        whole = int(value) if len(value) <= 20 and value.lstrip(b"-").isdigit() else int(number)  # type: ignore[arg-type]
        if not self.low <= whole <= self.high:
            raise RefusedError(
                "out_of_range", f"{_number(value)} is outside {self.low} to {self.high}, the integers of its datatype"
            )
        if whole != number:
            raise RefusedError(
                "out_of_range", f"{_number(value)} has no exact double; send FP64 and accept its rounding"
            )
        return number


class LogicalForm(Form):
    """true or false."""

    takes = "true or false"

    def _json_type(self) -> Any:
        return bool

    def pack(self, values: Sequence[Any]) -> Buffers:
        """1, 0 and NA."""
        if self.nullable and None in values:
            values = [NA_INTEGER if value is None else value for value in values]
        return (array("i", values).tobytes(),)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != BOOLEAN:
            raise self._wrong_type(kind, value)
        return bool(value)


class BitForm(IntegerForm):
    """A `logical` column sent as INT32: 0, 1, and −2³¹ for NA; in JSON also true and false, which mean the same."""

    takes = "true, false, or a whole number, 0 or 1"

    def __init__(self, field: Field) -> None:
        super().__init__(field, 0, 1, sentinel=True)

    def _json_type(self) -> Any:
        return bool | super()._json_type()

    def _check(self, kind: str, value: Any) -> Value:
        return int(value) if kind == BOOLEAN else super()._check(kind, value)


class CodeForm(IntegerForm):
    """A `factor` column sent as INT32: the 1-based code of the level, and −2³¹ for NA."""

    def __init__(self, field: Field) -> None:
        super().__init__(field, 1, len(field.levels), sentinel=True)
        self._label: dict[Value, Value] = {code: label for code, label in enumerate(field.levels, start=1)}  # noqa: C416
        self._label[None] = None

    @property
    def takes(self) -> str:  # type: ignore[override]
        """The codes there are."""
        return f"a whole number, the code of a level from 1 to {self.high}"

    def _check(self, kind: str, value: Any) -> Value:
        try:
            return self._label[super()._check(kind, value)]
        except RefusedError as error:
            if error.code != "out_of_range":
                raise
            raise RefusedError("unknown_level", f"{_number(value)} is not a code from 1 to {self.high}") from None


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


_FORMS: dict[Type, type[Form]] = {
    Type.DOUBLE: NumberForm,
    Type.INTEGER: IntegerForm,
    Type.LOGICAL: LogicalForm,
    Type.STRING: TextForm,
    Type.FACTOR: LabelForm,
    Type.DATE: DateForm,
    Type.DATETIME: DatetimeForm,
}


def form_of(field: Field) -> Form:
    """The form in which `/v1` takes a column."""
    return _FORMS[field.type](field)


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

"""Reads a `/v1` body of the usual shape by msgspec, and chunks of a large one's rows; `v1_reader` decides where this cannot.

Compiled once per contract: a struct of the model's columns. Says no more than that something does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from gateway.core.contract.forms import Buffers, Form, UnfitError, colons_in, with_negative_zeros
from gateway.core.contract.json_reader import decoded
from gateway.core.contract.number_forms import IntegerForm, NumberForm
from shared.wire import Frame

#: How `struct` packs a value whose form changes nothing about it.
_CODES: dict[type[Form], str] = {NumberForm: "d", IntegerForm: "i"}


class V1Fast:
    """The fast way of one contract. Its methods raise UnfitError where the exact way must decide, and what `refuse_rows` raises."""

    def __init__(self, forms: Sequence[Form], max_rows: int, refuse_rows: Callable[[], NoReturn]) -> None:
        self._forms = forms
        self._max_rows = max_rows
        self._refuse_rows = refuse_rows
        #: Decodes a JSON array of rows; None where a column's name cannot be a struct's (it holds a quote or backslash).
        self.row_list: Callable[[bytes], list[Any]] | None = None
        self._request: Callable[[bytes], Any] | None = None
        self._numeric = any(form.numeric for form in forms)
        self._colon_forms = tuple((i, form) for i, form in enumerate(forms) if form.may_hold_colons)
        self._keys = sum(1 + form.field.name.count(":") for form in forms)
        self._numbers, self._spans = _numbers(forms)
        names = {f"c{index}": form.field.name for index, form in enumerate(forms)}
        options: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False, "rename": names}
        try:
            row = msgspec.defstruct("Row", [(f"c{i}", form.json_type) for i, form in enumerate(forms)], **options)
            whole = msgspec.defstruct("Columns", [(f"c{i}", form.list_type) for i, form in enumerate(forms)], **options)
        except ValueError:
            return
        self.row_list = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
        request = msgspec.defstruct(
            "Request",
            [("rows", list[row] | UnsetType, UNSET), ("columns", whole | UnsetType, UNSET)],  # type: ignore[valid-type]
            forbid_unknown_fields=True,
            gc=False,
        )
        self._request = msgspec.json.Decoder(request).decode

    def whole(self, body: bytes) -> Frame:
        """The frame of a body."""
        if self._request is None:
            raise UnfitError
        text = with_negative_zeros(body) if self._numeric else body
        request = decoded(self._request, text)
        if (rows := request.rows) is not UNSET:
            if not rows or request.columns is not UNSET:
                raise UnfitError
            if len(rows) > self._max_rows:
                self._refuse_rows()
            if len(rows) == 1 and (buffers := self._one_row(astuple(rows[0]))) is not None:
                self._once((), text, 1 + self._keys)
                return Frame(1, buffers)
            columns: Sequence[Sequence[Any]] = list(zip(*map(astuple, rows), strict=True))
            self._once(columns, text, 1 + len(rows) * self._keys)
        elif request.columns is UNSET:
            raise UnfitError
        else:
            columns = astuple(request.columns)
            self._once(columns, text, 1 + self._keys)
        lengths = set(map(len, columns))
        if len(lengths) != 1 or 0 in lengths:
            raise UnfitError
        (count,) = lengths
        if count > self._max_rows:
            self._refuse_rows()
        return Frame(
            count, tuple([b for form, column in zip(self._forms, columns, strict=True) for b in form.pack(column)])
        )

    def rows(self, array: bytes, before: int) -> tuple[int, list[Buffers]]:
        """How many rows this JSON array holds, and their columns; `before`: rows of the request that came before it."""
        if self.row_list is None:
            raise UnfitError
        text = with_negative_zeros(array) if self._numeric else array
        rows = decoded(self.row_list, text)
        if before + len(rows) > self._max_rows:
            self._refuse_rows()
        columns = list(zip(*map(astuple, rows), strict=True))
        self._once(columns, text, len(rows) * self._keys)
        return len(rows), [form.pack(column) for form, column in zip(self._forms, columns, strict=True)]

    def _one_row(self, values: Sequence[Any]) -> Buffers | None:
        """The buffers of one row of plain numbers, packed at once; None where the columns have to be packed one by one."""
        if self._numbers is None:
            return None
        try:
            packed = self._numbers.pack(*values)
        except struct.error:  # a missing value, or an integer written as 5.0
            return None
        return tuple([packed[at:end] for at, end in self._spans])

    def _once(self, columns: Sequence[Sequence[Any]], text: bytes, colons: int) -> None:
        """No key stands twice, which msgspec does not see: then there is a colon that nothing explains.

        Every colon of a JSON text follows a key or stands inside a text, as it is or escaped: so all of them are counted.
        """
        for index, form in self._colon_forms:
            colons += form.colons(columns[index])
        if colons_in(text) != colons:
            raise UnfitError


def _numbers(forms: Sequence[Form]) -> tuple[struct.Struct | None, list[tuple[int, int]]]:
    """One row of plain numbers as C packs it, and where each column's value is; None where a column is anything else."""
    codes = [_CODES.get(type(form)) for form in forms]
    if None in codes or not codes:
        return None, []
    packer = struct.Struct("<" + "".join(code for code in codes if code))
    ends = list(accumulate((struct.calcsize(f"<{code}") for code in codes), initial=0))
    return packer, list(pairwise(ends))

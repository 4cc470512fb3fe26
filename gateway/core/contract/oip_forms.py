"""How a column's values come under each datatype of the Open Inference Protocol that it takes: in JSON a form, in binary a packer.

Which datatypes those are says `oip.ACCEPTED`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.core.contract.forms import MAX_INTEGER, Form
from gateway.core.contract.number_forms import (
    BitForm,
    CodeForm,
    IntegerForm,
    LogicalForm,
    NumberForm,
    SingleForm,
    WideIntegerForm,
)
from gateway.core.contract.oip_binary import BOUNDS, converter
from gateway.core.contract.text_forms import DateForm, DatetimeForm, LabelForm, TextForm
from shared.signature import Field, Type

_TEXTS = {Type.STRING: TextForm, Type.FACTOR: LabelForm, Type.DATE: DateForm, Type.DATETIME: DatetimeForm}


class OipForms:
    """The forms of a contract's columns under each datatype, made when first asked for."""

    def __init__(self) -> None:
        self._converters: dict[tuple[str, str], Callable[[Any], Any]] = {}
        self._made: dict[tuple[str, str], tuple[Form, Callable[[bytes], Any], Callable[[bytes], Any]]] = {}

    def get(self, field: Field, datatype: str) -> tuple[Form, Callable[[bytes], Any], Callable[[bytes], Any]]:
        """The form, and what decodes its flat and its nested arrays."""
        key = field.name, datatype
        if (found := self._made.get(key)) is None:
            form = _form_for(field, datatype)
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


def _form_for(field: Field, datatype: str) -> Form:
    """The form of a column's values in JSON under this datatype, which is one of those accepted."""
    if datatype == "BYTES":
        return _TEXTS[field.type](field)
    match field.type:
        case Type.DOUBLE if datatype == "FP32":
            return SingleForm(field)
        case Type.DOUBLE if datatype in BOUNDS:
            return WideIntegerForm(field, *BOUNDS[datatype])
        case Type.INTEGER:
            low, high = BOUNDS[datatype]
            return IntegerForm(field, max(low, -MAX_INTEGER), min(high, MAX_INTEGER), sentinel=datatype == "INT32")
        case Type.LOGICAL:
            return LogicalForm(field) if datatype == "BOOL" else BitForm(field)
        case Type.FACTOR:
            return CodeForm(field)
    return NumberForm(field)

"""What an Open Inference Protocol v2 request says: its members, how it describes its tensors, which outputs it asks for.

Of each tensor's `data` it notes only where it stands, since its datatype may stand after it: `oip_tensors` reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.contract.forms import NULL, STRING
from gateway.core.contract.json_reader import CHUNK_BYTES, JsonReader
from gateway.core.contract.oip_request import MAX_ID, Requested
from gateway.core.contract.small_value import small_value
from gateway.core.contract.tokens import Steps
from gateway.core.findings import StopLookingError, echo, listing, pointer

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Contract

_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb"(?>(?:[^\"\[\]]++|" + _TEXT + rb"){0,20000})"  # a turn takes a hundred bytes of memory
#: How far ahead an element's end is looked for.
_MOST_AHEAD = 2 * 1024 * 1024
_DATA = re.compile(rb"(?>(?:[^\"\[\]]++|" + _TEXT + rb"|\[" + _FLAT + rb"\])*)", re.DOTALL)
_META = frozenset({"model_name", "model_version"})
#: Parameters of Triton's by which an output would come in another form, or elsewhere.
_NOT_OFFERED = ("classification", "shared_memory_region")


@dataclass(slots=True)
class Found:
    """A tensor as the request describes it. `data_at`: where its JSON data begins, after the bracket."""

    index: int
    name: str = ""
    datatype: str = ""
    shape: tuple[int, ...] = ()
    data_at: int | None = None
    data_end: int = 0
    size: int | None = None
    binary_at: int = 0


class OipStructure:
    """What the JSON of one request says."""

    def __init__(self, contract: Contract, json: JsonReader) -> None:
        self.contract = contract
        self.json = json
        self.scan, self.findings = json.scan, json.findings
        self.id: str | None = None
        self._binary_output = False
        self._outputs_asked: Any = None

    def read(self) -> Steps[list[Found]]:
        """The tensors, as they are described; the members besides them are kept."""
        json, scan, findings = self.json, self.scan, self.findings
        tensors: list[Found] = []
        kind, value = scan.take()
        if kind != "{":
            yield from json.instead(kind, value, "", 'an object, {"inputs":[…]}')
            scan.end()
            return tensors
        seen: set[str] = set()
        kind, key = scan.take()
        while kind != "}":
            key = yield from json.key(kind, key)
            kind, value = scan.take()
            if key in seen:
                findings.add("duplicate_key", pointer(key), f"{echo(key)} is given twice")
                yield from scan.value(kind, value)
            elif key == "inputs" and kind == "[":
                tensors = yield from self._inputs()
            elif key in ("id", "outputs", "parameters"):
                yield from self._member(key, kind, value)
            elif key == "inputs":
                yield from json.instead(kind, value, "/inputs", "an array of tensors")
            else:
                if key not in _META:
                    detail = f"{echo(key)} is not taken here; a request has inputs, outputs, id and parameters"
                    findings.add("unknown_member", pointer(key), detail)
                yield from scan.value(kind, value)
            seen.add(key)
            if findings.tick():
                yield from findings.pause()
            kind, key = json.next_member()
        scan.end()
        if "inputs" not in seen:
            findings.add("missing_member", "/inputs", "give one tensor per column as inputs")
        return tensors

    def _member(self, key: str, kind: str, value: Any) -> Steps[None]:
        found = yield from small_value(self.scan, kind, value, (key,))
        if found is None:
            return
        if key == "id":
            if isinstance(found, str) and len(found) <= MAX_ID:
                if any("\ud800" <= character <= "\udfff" for character in found):
                    self.findings.add("invalid_text", "/id", f"{echo(found)} holds half of a surrogate pair")
                self.id = found
            else:
                self.findings.add("wrong_type", "/id", f"expected a text of at most {MAX_ID} characters")
        elif key == "outputs":
            self._outputs_asked = found
        elif not isinstance(found, dict):
            self.findings.add("wrong_type", "/parameters", "expected an object")
        else:
            self._binary_output = self._flag(found, "binary_data_output", "/parameters")

    def _flag(self, parameters: dict[str, Any], name: str, where: str, *, default: bool = False) -> bool:
        value = parameters.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.findings.add("wrong_type", f"{where}/{name}", "expected true or false")
            return default
        return value

    def _inputs(self) -> Steps[list[Found]]:
        json, scan, findings = self.json, self.scan, self.findings
        tensors: list[Found] = []
        if json.peek() == "]":
            scan.take()
            return tensors
        while True:
            kind, value = scan.take()
            found = Found(len(tensors))
            tensors.append(found)
            if found.index > 2 * len(self.contract.inputs) + 8:
                findings.add("unknown_column", "/inputs", "more tensors than the model has columns")
                raise StopLookingError
            if kind == "{":
                yield from self._tensor(found)
            else:
                yield from json.instead(kind, value, pointer("inputs", found.index), "an object, a tensor")
            if findings.tick():
                yield from findings.pause()
            if not json.next_element():
                return tensors

    def _tensor(self, found: Found) -> Steps[None]:
        json, scan, findings = self.json, self.scan, self.findings
        here = ("inputs", found.index)
        seen: set[str] = set()
        kind, key = scan.take()
        while kind != "}":
            key = yield from json.key(kind, key)
            kind, value = scan.take()
            if key in seen:
                findings.add("duplicate_key", pointer(*here, key), f"{echo(key)} is given twice")
                yield from scan.value(kind, value)
            elif key == "data" and kind == "[":
                found.data_at = scan.at
                yield from self._pass_over((*here, key))
                found.data_end = scan.at
            elif key in ("name", "datatype") and kind == STRING:
                setattr(found, key, value)
                if not value:
                    findings.add("wrong_type", pointer(*here, key), f"the tensor's {key} is empty")
            elif key in ("name", "datatype") or (key == "data" and kind != NULL):
                wanted = "an array" if key == "data" else "a text"
                yield from json.instead(kind, value, pointer(*here, key), wanted)
            elif key in ("shape", "parameters"):
                self._describes(found, key, (yield from small_value(scan, kind, value, (*here, key))))
            elif key != "data":
                detail = f"{echo(key)} is not taken here; a tensor has name, datatype, shape, data and parameters"
                findings.add("unknown_member", pointer(*here, key), detail)
                yield from scan.value(kind, value)
            seen.add(key)
            if findings.tick():
                yield from findings.pause()
            kind, key = json.next_member()
        for member in ("name", "datatype", "shape"):
            if member not in seen:
                findings.add("missing_member", pointer(*here, member), f"the tensor's {member} is not there")

    def _describes(self, found: Found, key: str, value: Any) -> None:
        """Take a tensor's shape or parameters."""
        where = pointer("inputs", found.index, key)
        if key == "shape":
            if isinstance(value, list) and all(type(n) is int for n in value):
                found.shape = tuple(value)
            return
        if value is None:
            return
        if not isinstance(value, dict):
            self.findings.add("wrong_type", where, "expected an object")
            return
        size = value.get("binary_data_size")
        if type(size) is int and size >= 0:
            found.size = size
        elif size is not None:
            self.findings.add("wrong_type", f"{where}/binary_data_size", "expected a number of bytes")

    def _pass_over(self, where: tuple[str | int, ...]) -> Steps[None]:
        """Go to the end of an array of scalars, or of arrays of them; what is in it is read later, and then strictly."""
        scan, body = self.scan, self.json.body
        start, size = scan.at, CHUNK_BYTES
        while size <= _MOST_AHEAD:
            match = _DATA.match(body, scan.at, min(len(body), scan.at + size))
            end = match.end() if match else scan.at
            if body[end : end + 1] == b"]":
                scan.at = end + 1
                return
            if end > scan.at:
                size = CHUNK_BYTES
            elif end + size >= len(body):
                break
            else:
                size *= 2
            scan.at = end
            yield from self.findings.pause()
        # Deeper than a tensor's data can be, or not JSON: token by token.
        if body[scan.at : scan.at + 1] == b"[":
            self.findings.add("wrong_shape", pointer(*where), "expected an array of values, or of arrays of one value")
        scan.at = start
        yield from scan.skip("[")

    # --- outputs asked for

    def outputs(self) -> Steps[tuple[Requested, ...]]:
        """The outputs asked for, or all of them. After `read`."""
        contract, findings = self.contract, self.findings
        asked = self._outputs_asked
        if not isinstance(asked, list):
            if asked is not None:
                findings.add("wrong_type", "/outputs", "expected an array of objects")
            asked = []
        chosen: dict[int, Requested] = {}
        for number, output in enumerate(asked):
            if findings.tick():
                yield from findings.pause()
            where = pointer("outputs", number)
            name = output.get("name") if isinstance(output, dict) else None
            if not isinstance(name, str):
                findings.add("wrong_type", where, 'expected an object with a name, as {"name":"prediction"}')
                continue
            index = contract.output_position.get(name)
            if index is None:
                detail = f"the model has no output {echo(name)}; it has {listing(contract.output_position)}"
                findings.add("unknown_column", f"{where}/name", detail)
                continue
            if index in chosen:
                findings.add("duplicate_key", f"{where}/name", f"{echo(name)} is asked for twice")
                continue
            parameters = output.get("parameters")
            if parameters is None:
                parameters = {}
            if not isinstance(parameters, dict):
                findings.add("wrong_type", f"{where}/parameters", "expected an object")
                continue
            for extension in _NOT_OFFERED:
                if parameters.get(extension):  # otherwise the client would look for its answer where none is
                    findings.add("unknown_member", f"{where}/parameters/{extension}", "this is not offered")
            binary = self._flag(parameters, "binary_data", f"{where}/parameters", default=self._binary_output)
            chosen[index] = Requested(index, binary)
        return tuple(chosen.values()) or tuple(Requested(i, self._binary_output) for i in range(len(contract.outputs)))

"""A small JSON value of any kind, whole and as Python has it: a shape, parameters, a list of outputs. In steps, as all reading.

What msgspec would do in one go does not say where a key stands twice. Never for data: that is read by `JsonReader.array`.
"""

from __future__ import annotations

from typing import Any

from gateway.core.contract.forms import LONG_STRING, NUMBER
from gateway.core.contract.tokens import Scanner, Steps
from gateway.core.findings import echo, pointer

#: Most bytes of one.
_MAX_SMALL = 64 * 1024


def small_value(scan: Scanner, kind: str, value: Any, where: tuple[str | int, ...]) -> Steps[Any]:
    """The value that the token just taken begins. Numbers come as int, where they are whole, or float."""
    start = scan.at - 1
    if kind not in ("{", "["):
        kind, value = yield from scan.value(kind, value)
        return value if kind != NUMBER else _number(value)
    yield from scan.skip(kind, _MAX_SMALL)
    return (yield from _tree(Scanner(scan.body[start : scan.at], scan.findings), where))


def _tree(scan: Scanner, where: tuple[str | int, ...]) -> Steps[Any]:
    """The value a small text holds; its depth was bounded when it was passed over."""
    kind, value = scan.take()
    if kind == "{":
        found: dict[str, Any] = {}
        kind, key = scan.take()
        while kind != "}":
            if kind == ",":
                kind, key = scan.take()
            if kind == LONG_STRING:
                _, key = yield from scan.rest_of_string()
            if key in found:
                scan.findings.add("duplicate_key", pointer(*where, key), f"{echo(key)} is given twice")
            scan.take()
            found[key] = yield from _tree(scan, (*where, key))
            kind, key = scan.take()
        return found
    if kind == "[":
        items: list[Any] = []
        at = scan.at
        kind, _ = scan.take()
        while kind != "]":
            if kind != ",":
                scan.at = at
            items.append((yield from _tree(scan, (*where, len(items)))))
            kind, _ = scan.take()
        return items
    if scan.findings.tick():
        yield from scan.findings.pause()
    if kind == LONG_STRING:
        kind, value = yield from scan.rest_of_string()
    return _number(value) if kind == NUMBER else value


def _number(token: bytes) -> int | float:
    if token.lstrip(b"-").isdigit() and len(token) < 20:
        return int(token)
    try:
        return float(token)
    except ValueError:
        return 0.0

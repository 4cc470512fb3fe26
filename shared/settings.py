"""Reads a settings class from the environment: every mistake at once, with the variable's name and what it takes.

A service has one frozen msgspec.Struct of settings, whose fields carry their documentation in `Annotated[T, Doc(...)]`; it is
the only reader of the environment there, and docs/reference/settings.md is made from it. A field named `max_rows` of a class
with prefix `GATEWAY_` is `GATEWAY_MAX_ROWS`. Broken rules between settings go to
`refuse`, from `__post_init__`. Secrets are given as files; a URL may hold a password too, so no value is ever printed or logged.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class Doc(msgspec.Struct, frozen=True):
    """What a setting is for, with its unit; `env` where the name does not follow from the field."""

    text: str
    env: str | None = None


class SettingsError(ValueError):
    """Settings that cannot be used; `mistakes` holds one line for each."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("; ".join(mistakes))


def refuse(mistakes: Iterable[str]) -> None:
    """For `__post_init__`: raises SettingsError with all rules that are broken, if any is; each names the variables it is about."""
    if found := list(mistakes):
        raise SettingsError(found)


def describe(cls: type[msgspec.Struct], prefix: str) -> list[tuple[str, str, str, str]]:
    """(variable, field, default as text or "required", documentation) for each setting, in order."""
    hints = get_type_hints(cls, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(cls):
        doc = next(a for a in get_args(hints[field.name])[1:] if isinstance(a, Doc))
        if field.default is not msgspec.NODEFAULT:
            default = _show(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            default = _show(field.default_factory())
        else:
            default = "required"
        rows.append((doc.env or prefix + field.name.upper(), field.name, default, doc.text))
    return rows


def read(cls: type[S], prefix: str, environ: Mapping[str, str]) -> S:
    """The settings; empty values count as absent. Raises SettingsError with every mistake found.

    Lists are comma-separated. A variable with the prefix that no setting has is a mistake: it is most often a typing error.
    What is wrong counts as its default, or as empty where it is required (a text or a list), and rules that name it say nothing.
    """
    hints = get_type_hints(cls, include_extras=True)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    known: set[str] = set()
    wrong: set[str] = set()
    for variable, name, default, doc in describe(cls, prefix):
        known.add(variable)
        kind = hints[name]
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        is_list = get_origin(bare) in (tuple, list)
        if default == "required":
            values[name] = () if is_list else ""
        text = environ.get(variable, "").strip()
        if not text:
            if default == "required":
                wrong.add(variable)
                mistakes.append(f"{variable} is required: {doc}")
            continue
        raw: Any = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
        try:
            values[name] = msgspec.convert(raw, kind, strict=False)
        except msgspec.ValidationError as error:
            wrong.add(variable)
            mistakes.append(f"{variable}: {error}: {doc}")
    mistakes += [_unknown(v, known) for v in sorted(environ) if v.startswith(prefix) and v not in known]
    try:
        settings = cls(**values)
    except SettingsError as error:
        mistakes += [broken for broken in error.mistakes if wrong.isdisjoint(re.findall(r"\w+", broken))]
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def read_or_exit(cls: type[S], prefix: str, environ: Mapping[str, str]) -> S:
    """As `read`; prints every mistake to stderr and exits with 2."""
    try:
        return read(cls, prefix, environ)
    except SettingsError as error:
        print(*(f"settings: {mistake}" for mistake in error.mistakes), sep="\n", file=sys.stderr)
        raise SystemExit(2) from error


def _unknown(variable: str, known: set[str]) -> str:
    close = difflib.get_close_matches(variable, known, 1, 0.8)
    return f"{variable} is not a setting" + (f"; did you mean {close[0]}?" if close else "")


def _show(value: object) -> str:
    if value is None or value == ():
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

"""Regular expressions mean the same on every Python that we run on: `re` before 3.11.5 has a defect (gh-106052)."""

from __future__ import annotations

import re

import pytest

from devkit.state import ROOT
from gateway.core.contract.chunks import _ELEMENTS, _ROWS
from gateway.core.contract.oip_structure import _DATA
from gateway.core.contract.tokens import Scanner
from gateway.core.findings import Findings
from shared.errors import MalformedRequestError

#: `(?:…)*+` and the like. Of a single character, as in `[0-9]*+`, there is no half-way; nor of what follows, the inside of a text.
_POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]*\})\+")
_SOUND = r'(?:[^"\\]++|\\.)*+'
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


def test_no_group_repeats_possessively() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for package in ("gateway", "scorer", "shared", "client", "devkit")
        for path in sorted((ROOT / package).rglob("*.py"))
        for match in _POSSESSIVE_GROUP.finditer(_COMMENT.sub("", path.read_text(encoding="utf-8")).replace(_SOUND, ""))
    ]
    assert not found


@pytest.mark.parametrize("text", [b'"a', b'"a\\', b'"a\\"', b'"\\\\\\"'])
def test_a_text_that_does_not_end_is_passed_over_by_nothing(text: bytes) -> None:
    assert _DATA.match(text).end() == 0
    assert _DATA.match(b"1,[" + text).end() == 2


def test_what_does_not_close_is_passed_over_by_nothing() -> None:
    assert _DATA.match(b"1,[2,[3]").end() == 2
    assert _ROWS.match(b'{"a":1},{"a":2} {').end() == 8
    assert _ELEMENTS.match(b'1,"a" 2,').end() == 2


@pytest.mark.parametrize("text", ["1.", "1e", "1.5e+", "-", "-1.", "01", "1.e5"])
def test_half_a_number_is_none(text: str) -> None:
    with pytest.raises(MalformedRequestError):
        Scanner(f"{text},".encode(), Findings(None)).take()


@pytest.mark.parametrize("text", [r'"\u{"', r'"\u12"', r'"\q"', '"\\'])
def test_half_an_escape_is_none(text: str) -> None:
    scanner = Scanner(f"{text},".encode(), Findings(None))
    with pytest.raises(MalformedRequestError):
        scanner.take()

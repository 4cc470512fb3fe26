"""The manifest: what it must say before anything of it is fetched or run."""

from __future__ import annotations

import json
import math
from array import array
from typing import Any

import pytest

from scorer.core.manifest import ManifestError, digest_of, example_frames, parse_manifest
from shared.signature import Type
from shared.wire import NA_INTEGER, unpack_frame

SHA = "a" * 64


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "format": "scoregate.model/1",
        "name": "boston",
        "version": "1.2",
        "files": {"model.rds": {"sha256": SHA, "size": 10}},
        "predict": {"method": "lm"},
        "signature": {
            "inputs": [
                {"name": "x", "type": "double", "nullable": True},
                {"name": "größe", "type": "integer"},
                {"name": "chas", "type": "factor", "levels": ["no", "yes"], "ordered": True},
                {"name": "on", "type": "logical"},
                {"name": "text", "type": "string"},
                {"name": "day", "type": "date"},
            ],
            "outputs": [{"name": "prediction", "type": "double"}],
            "kind": "vector",
        },
        "example": {
            "inputs": {
                "x": [0.1, None, "Inf"],
                "größe": [1, 2, None],
                "chas": ["yes", None, "no"],
                "on": [True, False, None],
                "text": ["", None, "é"],
                "day": [19000, -1, None],
            },
            "outputs": {"prediction": [1.5, "-Inf", None]},
        },
        **changes,
    }


def parse(content: dict[str, Any]) -> Any:
    return parse_manifest(json.dumps(content).encode(), "boston", "1.2")


def test_a_manifest_gives_its_signature_files_and_measurements() -> None:
    parsed = parse(manifest(measured={"fixed_ms": 1.5}, batchable=False, batchable_reason="ties"))
    assert [field.type for field in parsed.signature.inputs][:3] == [Type.DOUBLE, Type.INTEGER, Type.FACTOR]
    assert parsed.files["model.rds"].size == 10
    assert parsed.measured.fixed_ms == 1.5
    assert parsed.batchable_reason == "ties"


def test_the_example_becomes_frames_with_missing_and_infinite_values() -> None:
    parsed = parse(manifest())
    inputs, outputs = example_frames(parsed)
    columns = unpack_frame(parsed.signature.inputs, inputs)
    assert columns[0][0] == 0.1
    assert math.isnan(columns[0][1])  # type: ignore[arg-type]
    assert columns[0][2] == math.inf
    assert columns[1:5] == [[1, 2, None], ["yes", None, "no"], [True, False, None], ["", None, "é"]]
    assert columns[5][:2] == [19000.0, -1.0]
    assert list(array("i", bytes(inputs.buffers[1]))) == [1, 2, NA_INTEGER]
    assert outputs.rows == 3


def test_the_digest_is_of_the_bytes_not_of_the_meaning() -> None:
    assert digest_of(b"{}") != digest_of(b"{ }")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "scoregate.model/2"}, "format"),
        ({"name": "other"}, "names other 1.2"),
        ({"version": "1.3"}, "names boston 1.3"),
        ({"files": {}}, "no model.rds"),
        ({"files": {"model.rds": {"sha256": "x", "size": 1}}}, "sha256"),
        ({"files": {"model.rds": {"sha256": SHA, "size": 1}, "../up.R": {"sha256": SHA, "size": 1}}}, "../up.R"),
        ({"files": {"model.rds": {"sha256": SHA, "size": 1}, "a/b.R": {"sha256": SHA, "size": 1}}}, "a/b.R"),
        ({"signature": {"inputs": [], "outputs": []}}, "no output"),
        ({"signature": {"inputs": [], "outputs": [{"name": "__items", "type": "double"}]}}, "__items"),
        ({"signature": {"inputs": [], "outputs": [{"name": "a\nb", "type": "double"}]}}, "name of an output"),
        ({"signature": {"inputs": [], "outputs": [{"name": "p", "type": "factor"}]}}, "levels"),
        ({"signature": {"inputs": [], "outputs": [{"name": "p", "type": "double", "levels": ["a"]}]}}, "levels"),
        ({"signature": {"inputs": [], "outputs": [{"name": "p", "type": "factor", "levels": ["a", "a"]}]}}, "twice"),
        ({"signature": {"inputs": [], "outputs": [{"name": "p", "type": "double"}] * 2}}, "same name"),
        ({"signature": {"inputs": [], "outputs": [{"name": "p", "type": "complex"}]}}, "cannot be read"),
        ({"signature": {"inputs": [], "outputs": [{"name": "p", "type": "double"}], "kind": "cube"}}, "cube"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_what_is_wrong(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ManifestError, match=says.replace("(", "[(]")):
        parse(manifest(**changes))


def test_bytes_that_are_not_json_are_refused() -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        parse_manifest(b"\xff\xfe{", "boston", "1")


@pytest.mark.parametrize(
    ("model", "version"), [("Boston", "1"), ("b_c", "1"), ("", "1"), ("b", "one"), ("b", "1.2.3.4")]
)
def test_names_that_no_url_should_hold_are_refused(model: str, version: str) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(b"{}", model, version)


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ({"x": [1.0]}, {"prediction": [1.0]}, "not the signature's"),
        (None, {"prediction": [1.0]}, "3 rows of inputs and 1 of outputs"),
        (None, {"prediction": ["one", 2, 3]}, "'one'"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(inputs: Any, outputs: Any, says: str) -> None:
    example = manifest()["example"]
    content = manifest(example={"inputs": inputs or example["inputs"], "outputs": outputs})
    with pytest.raises(ManifestError, match=says):
        example_frames(parse(content))


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("größe", [1.5, 1, 1]),
        ("größe", [2**31, 1, 1]),
        ("chas", ["maybe", "no", "no"]),
        ("on", [1, 0, 1]),
        ("text", [1, "a", "b"]),
        ("text", ["a\0", "a", "b"]),
        ("x", [True, 1, 2]),
        ("x", [1, 2]),
    ],
)
def test_an_example_value_of_the_wrong_type_is_refused(column: str, cells: list[Any]) -> None:
    content = manifest()
    content["example"]["inputs"][column] = cells
    with pytest.raises(ManifestError):
        example_frames(parse(content))

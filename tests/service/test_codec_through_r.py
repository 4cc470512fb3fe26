"""Arbitrary signatures and rows through the gateway's codec, R and back: every value unchanged."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from devkit import r
from gateway.core.contract import compile_contract
from shared.signature import Field, Type
from shared.wire import Frame, split
from tests.unit.gateway.contract_cases import encode_v1, entry, parse, shown, tables


class Echo:
    """One R process that reads frames into data frames and writes them back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = Path(__file__).with_name("codec_echo.R")
        self.process = subprocess.Popen(
            ["Rscript", "--vanilla", str(script)],
            env=os.environ | r.environment() | {"LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def through(self, fields: list[Field], frame: Frame) -> bytes:
        """What R wrote for the frame."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        (self.folder / "fields.json").write_bytes(msgspec.json.encode(fields))
        (self.folder / "rows").write_text(f"{frame.rows}\n")
        (self.folder / "in").write_bytes(b"".join(frame.buffers))
        self.process.stdin.write(f"{self.folder}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "done"
        return (self.folder / "out").read_bytes()

    def close(self) -> None:
        """End it."""
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    running = Echo(tmp_path_factory.mktemp("echo"))
    yield running
    running.close()


def expected(field: Field, value: Any) -> Any:
    """A value as the answer shows it: what was sent, whole doubles as doubles."""
    value = shown(field, value)
    return float(value) if field.type is Type.DOUBLE and value is not None else value


def bits(value: Any) -> Any:
    return value.hex() if isinstance(value, float) else (type(value), value)


@given(case=tables())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_every_value_comes_back_as_it_was_sent(echo: Echo, case: tuple[list[Field], list[list[Any]]]) -> None:
    fields, columns = case
    contract = compile_contract(entry(fields, fields, kind="table"), 1000)
    rows = [{f.name: shown(f, v) for f, v in zip(fields, values, strict=True)} for values in zip(*columns, strict=True)]
    frame = parse(contract, json.dumps({"rows": rows}).encode())
    came_back = echo.through(fields, frame)
    assert came_back == b"".join(frame.buffers), "to the bit"
    sizes = [len(buffer) for buffer in frame.buffers]
    buffers, at = [], 0
    for size in sizes:
        buffers.append(came_back[at : at + size])
        at += size
    whole = Frame(frame.rows, tuple(buffers))
    # As the scorer does for each caller of a batch.
    answers = [
        prediction
        for one in split(contract.output_specs, whole, [1] * frame.rows)
        for prediction in json.loads(encode_v1(contract, one))["predictions"]
    ]
    for answer, *values in zip(answers, *columns, strict=True):
        wanted = {f.name: bits(expected(f, v)) for f, v in zip(fields, values, strict=True)}
        got = {
            f.name: bits(
                float(answer[f.name]) if f.type is Type.DOUBLE and answer[f.name] is not None else answer[f.name]
            )
            for f in fields
        }
        assert got == wanted

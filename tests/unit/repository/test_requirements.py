"""requirements/*.txt: what pyproject.toml asks for, pinned, with hashes, from no index that is named. `./dev lock` makes them."""

from __future__ import annotations

import re
import tomllib

import pytest

from devkit.requirements import EXTRAS
from devkit.state import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


@pytest.mark.parametrize("extra", [*EXTRAS, "dev"])
def test_every_dependency_is_pinned_with_hashes_and_no_index_is_named(extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==\S+.*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    extras = PROJECT["optional-dependencies"]
    chosen = [one for name in extras for one in extras[name]] if extra == "dev" else extras[extra]
    wanted = {_name(one) for one in (*PROJECT["dependencies"], *chosen)}
    assert wanted - {pin.lower() for pin in pins} == set(), "run ./dev lock"


@pytest.mark.parametrize("service", ["gateway", "scorer"])
def test_what_sends_traces_can_be_installed_beside_each_service(service: str) -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))

    mine, extra = pins(service), pins("otel")
    assert {name: mine[name] for name in mine.keys() & extra} == {name: extra[name] for name in mine.keys() & extra}

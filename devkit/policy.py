"""The policy a development gateway runs with: `devkit/policy.yaml`, and what `./dev up --rate` changes in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from devkit.state import ROOT

FILE = ROOT / "devkit" / "policy.yaml"
RATE = re.compile(r"[1-9]\d{0,8}/(second|minute|hour|day)")


def for_stack(folder: Path, rate: str | None) -> Path:
    """The file to start a gateway with: ours as it is, or a copy in `folder` that differs in its default rate."""
    if rate is None:
        return FILE
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    set_default_rate(document, rate)
    mine = folder / "policy.yaml"
    mine.write_text(
        f"# devkit/policy.yaml with --rate {rate}\n{yaml.safe_dump(document, sort_keys=False)}", encoding="utf-8"
    )
    return mine


def set_default_rate(document: dict[str, Any], rate: str) -> None:
    """Changes, in a policy as YAML gives it, the calls that a caller may make where no rule says otherwise."""
    document["defaults"]["rate"] = rate

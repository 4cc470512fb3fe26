"""What `./dev manifests` says: a table of rules by overlay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.table import Table

from devkit.manifests import alerts, build, schemas
from devkit.manifests.invariants import RULES


@dataclass(frozen=True, slots=True)
class Line:
    """A rule held against an overlay."""

    overlay: str
    rule: str
    what: str
    found: list[str] = field(default_factory=list)
    took_s: float = 0.0


def judge() -> Iterator[Line]:
    """Builds all, then one line after the other. Raises BuildError, ToolError, InstallError or MissingError where it cannot."""
    began = time.monotonic()
    overlays = build.build_all()
    yield Line(
        "all", "built", f"{len(overlays)} overlays, with those that take up the other components", took_s=_since(began)
    )
    began = time.monotonic()
    yield Line(
        "all",
        "alerts",
        "promtool takes the rules, and each alert speaks when its test says",
        alerts.judge(),
        _since(began),
    )
    for built in overlays:
        began = time.monotonic()
        found = schemas.judge(built.objects)
        what = f"every object is what Kubernetes {schemas.KUBERNETES} and the custom resources take"
        yield Line(built.name, "schemas", what, found, _since(began))
        for rule in RULES:
            began = time.monotonic()
            found = list(rule(built))
            yield Line(built.name, rule.__name__, (rule.__doc__ or "").strip(), found, _since(began))


def table(lines: list[Line]) -> Table:
    """A row for each rule, a column for each overlay; a number says how much is wrong."""
    overlays = list(dict.fromkeys(line.overlay for line in lines if line.overlay != "all"))
    shown = Table(box=None, pad_edge=False)
    shown.add_column("rule")
    for overlay in overlays:
        shown.add_column(overlay.replace("+", "\n+"), justify="center")
    for rule in dict.fromkeys(line.rule for line in lines):
        own = {line.overlay: line for line in lines if line.rule == rule}
        cells = [own.get(overlay, own.get("all")) for overlay in overlays]
        verdicts = ["" if cell is None else f"{len(cell.found)} WRONG" if cell.found else "ok" for cell in cells]
        shown.add_row(rule.replace("_", " "), *verdicts)
    return shown


def _since(began: float) -> float:
    return time.monotonic() - began

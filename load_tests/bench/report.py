"""A benchmark's result: tables and verdicts for a reader, JSON for a file under .dev/bench/results."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devkit.state import DEV
from load_tests.bench.verdicts import Verdict

RESULTS = DEV / "bench" / "results"


@dataclass
class Result:
    """What one benchmark found."""

    name: str
    tables: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether every bound is."""
        return all(verdict.met for verdict in self.verdicts)

    def text(self) -> str:
        """For a terminal."""
        parts = [f"{title}\n{table(rows)}" for title, rows in self.tables]
        return "\n\n".join([*parts, "\n".join(verdict.line() for verdict in self.verdicts)])

    def write(self, folder: Path = RESULTS) -> Path:
        """The file it was written to, named by benchmark and time."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}-{time.strftime('%Y%m%dT%H%M%S')}.json"
        content = {
            "benchmark": self.name,
            "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
            "tables": [{"title": title, "rows": rows} for title, rows in self.tables],
            "verdicts": [verdict.as_json() for verdict in self.verdicts],
        }
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return file


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under the names of their columns, numbers to three digits."""
    if not rows:
        return "(nothing)"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    shown = []
    for line in lines:
        first, *others = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        shown.append("  ".join([first.strip().ljust(widths[0]), *others]))
    return "\n".join(shown)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)

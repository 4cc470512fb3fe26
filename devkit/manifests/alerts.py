"""Prometheus' rules, by Prometheus' own tool: their syntax, and the tests that say when each alert speaks."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devkit.manifests import tools
from devkit.manifests.build import K8S


def judge(folder: Path = K8S / "monitoring") -> list[str]:
    """What promtool complains of. Raises MissingError where there is none and none can be installed."""
    found = []
    for asked in (("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")):
        done = subprocess.run(
            [tools.promtool(), *asked],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            found += [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return found

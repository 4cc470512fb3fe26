"""What the machine allows and what R is told: cores of the cgroup, and the scrubbed environment of every R process."""

from __future__ import annotations

import os
from pathlib import Path

from shared.r_environment import same_answers


def allowed_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole cores that affinity and the cgroup's quota (v2 or v1) allow, at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, min(cores, int(quota))) if quota else cores


def _quota(cgroup: Path) -> float | None:
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not (limit.isdigit() and period.isdigit() and int(period)):
        return None
    return int(limit) / int(period)


def is_reference_blas(path: str) -> bool:
    """Whether `extSoftVersion()["BLAS"]` is the reference one (Debian's, or the one R brings): no CPU-chosen kernels."""
    library = Path(path)
    return library.name.startswith("libRblas.") or (
        library.parent.name == "blas" and library.name.startswith("libblas.")
    )


def r_environment(r_libs: str, home: Path) -> dict[str, str]:
    """All that an R process sees of the environment: no credential of ours is among it."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        **same_answers(),
    }
    if r_libs:
        environment["R_LIBS"] = ":".join(str(Path(folder).absolute()) for folder in r_libs.split(":") if folder)
    return environment

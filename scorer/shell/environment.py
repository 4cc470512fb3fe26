"""What the machine allows and what R is told: cores of the cgroup, and the scrubbed environment of every R process."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_BLAS = Path(f"/usr/lib/{platform.machine()}-linux-gnu")
_R_LIB = "/usr/lib/R/lib"


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


def reference_blas(lib: Path = _BLAS) -> str | None:
    """R_LD_LIBRARY_PATH that makes R use the reference BLAS and LAPACK of Debian; None where they are not installed."""
    blas, lapack = lib / "blas", lib / "lapack"
    if (blas / "libblas.so.3").exists() and (lapack / "liblapack.so.3").exists():
        return f"{blas}:{lapack}:{_R_LIB}"
    return None


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
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",
        "OMP_THREAD_LIMIT": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    if r_libs:
        environment["R_LIBS"] = ":".join(str(Path(folder).absolute()) for folder in r_libs.split(":") if folder)
    if (path := reference_blas()) is not None:
        environment["R_LD_LIBRARY_PATH"] = path
    return environment

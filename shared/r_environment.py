"""The environment in which R answers the same to the last bit wherever it runs: the reference BLAS, one thread, UTC, UTF-8.

The scorer predicts in it, `scoregate` packages and verifies in it, `./dev` trains the examples in it. The R package's own fresh
process (scorer/r/R/fresh.R) and the scorer's image (scorer/Dockerfile) say the same in their languages.
"""

from __future__ import annotations

import platform
from pathlib import Path

_BLAS = Path(f"/usr/lib/{platform.machine()}-linux-gnu")
_R_LIB = "/usr/lib/R/lib"
_FIXED = {
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
}


def same_answers() -> dict[str, str]:
    """The variables; without one for the BLAS where the reference libraries are not installed."""
    path = reference_blas()
    return dict(_FIXED) if path is None else {**_FIXED, "R_LD_LIBRARY_PATH": path}


def reference_blas(lib: Path = _BLAS) -> str | None:
    """R_LD_LIBRARY_PATH that makes R use the reference BLAS and LAPACK of Debian; None where they are not installed."""
    blas, lapack = lib / "blas", lib / "lapack"
    if (blas / "libblas.so.3").exists() and (lapack / "liblapack.so.3").exists():
        return f"{blas}:{lapack}:{_R_LIB}"
    return None

"""The internal port: probes, metrics, and the pod as an operator wants to see it. No token; never published."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scorer.core.pool import Pool
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.versions import Versions
from scorer.shell.workers import Workers


def internal_routes(
    versions: Versions,
    workers: Workers,
    metrics: ScorerMetrics,
    look: Callable[[], None],
) -> list[Route]:
    """For probes and operators; asks nothing of anyone else."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        reasons = ["shutting down"] if versions.draining else versions.not_ready()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    async def metrics_text(_: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")

    async def status(_: Request) -> Response:
        return JSONResponse(describe(versions, workers))

    async def refresh(_: Request) -> Response:
        look()
        return JSONResponse({"looking": True}, status_code=202)

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics_text, methods=["GET"]),
        Route("/status", status, methods=["GET"]),
        Route("/refresh", refresh, methods=["POST"]),
    ]


def describe(versions: Versions, workers: Workers) -> dict[str, Any]:
    """The pod as an operator wants to see it: processes by id, versions by state and reason, the queue."""
    pool: Pool = workers.pool
    table = []
    for number, worker in sorted(pool.workers.items()):
        process = workers.processes.get(number)
        table.append({
            "pid": process.pid if process else None,
            "model": worker.key[0],
            "version": worker.key[1],
            "state": str(worker.state),
            "socket": str(process.socket) if process else None,
            "runs": worker.runs,
        })  # fmt: skip
    return {
        "pid": os.getpid(),
        "slots": pool.limits.slots,
        "busy": pool.busy,
        "waiting_rows": pool.waiting_rows,
        "open_calls": pool.open_calls,
        "workers": table,
        "zygotes": [
            {"pid": z.pid, "model": z.key[0], "version": z.key[1], "state": z.state, "guard": z.guard_pid}
            for z in sorted(workers.started, key=lambda zygote: (*zygote.key, zygote.pid))
        ],
        "versions": [
            {
                "model": v.model,
                "version": v.version,
                "state": str(v.state),
                "reason": v.reason,
                "batchable": v.batchable,
                "batchable_reason": v.batchable_reason,
                "close": v.close,
                "warnings": v.warnings,
                "digest": v.digest,
            }
            for _, v in sorted(versions.versions.items())
        ],
        "absent": versions.absent,
        "store_error": versions.store_error,
    }

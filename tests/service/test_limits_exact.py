"""Exactness across processes: each with its own client, all at once, on one real Redis and on a one-node cluster."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.service.limits_servers import needs_redis, running

_PROCESSES = 4
_CALLS_EACH = 100
#: Connects, says so, waits for the word, then makes all its calls at once.
_ONE_PROCESS = """
import asyncio, sys
from gateway.core.limits import Limits, Rate
from gateway.shell.admit import Admission
from gateway.shell.limits_redis import RedisCounterStore
from shared.errors import TooManyRequestsError

async def call(admission):
    try:
        await admission.admit("tenant/caller", Limits(calls=Rate(100, 3600, 100), rows=Rate(10**6, 60, 10**6)), rows=3)
    except TooManyRequestsError as error:
        assert 0 < error.retry_after_ms <= 36_000, error.retry_after_ms
        return False
    return True

async def main(url, calls):
    admission = Admission(RedisCounterStore(url), trip_timeout_s=5.0)
    await admission.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    passed = await asyncio.gather(*(call(admission) for _ in range(calls)))
    print(sum(passed), admission.shared.up, flush=True)
    await admission.aclose()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@needs_redis
@pytest.mark.parametrize("cluster", [False, True], ids=["single", "cluster"])
def test_of_400_calls_through_4_processes_exactly_100_pass(cluster: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder), cluster=cluster) as server:
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", _ONE_PROCESS, server.url, str(_CALLS_EACH)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(_PROCESSES)
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline().strip() == "ready"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            results = [process.communicate(timeout=30)[0].split() for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    assert [shared for _, shared in results] == ["True"] * _PROCESSES
    assert sum(int(passed) for passed, _ in results) == 100
    assert [process.returncode for process in processes] == [0] * _PROCESSES

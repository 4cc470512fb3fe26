"""What kills, stops and hostile neighbours cost: latency from the intended send time, failures, every answer compared.

    python -m load_tests.bench.robustness kills    [--seconds 60]    # a worker killed every second, then one stopped every 5 s
    python -m load_tests.bench.robustness hostile  [--seconds 5]     # a healthy model beside one that misbehaves
    python -m load_tests.bench.robustness poison   [--rounds 10]     # one bad row among 64 callers
    python -m load_tests.bench.robustness crashers [--seconds 20]    # callers whose rows crash R again and again, same version

Each starts a stack of its own, prints a table and ends with one line of JSON. Load is a share (`--share`) of what the same machine,
asked by the same generator, answered at most just before, so the generator's own work is in the capacity. Kills: segments of 10 s
without and with trouble in turn, so that other work on the machine falls on both, and the capacity is measured anew before each
pair. A pair is *spoilt*, and said to be, where the machine has become so slow meanwhile that the load was more than the share and
a tenth: its failures are counted apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from client.openloop import Gun, Report, Shot
from devkit import policy, r
from devkit.examples import rows_to_send
from shared.store_layout import manifest_key

ROOT = Path(__file__).resolve().parents[2]
HEALTHY, HOSTILE, DROPS = "boston-housing", "misbehaves", "drops-missing"
TRAINED = {
    HEALTHY: ROOT / "examples" / "models" / HEALTHY / "train.R",
    HOSTILE: ROOT / "tests" / "models" / "hostile" / HOSTILE / "train.R",
    DROPS: ROOT / "tests" / "models" / "hostile" / DROPS / "train.R",
}
PREDICT_S, GRACE_S = 2.0, 0.5
ACTS = (
    "error", "signal", "segfault", "quit", "quit_for_good", "loop", "loop_in_c", "leak", "stdout", "session",
    "connections", "disk", "children", "twin", "stop_self",
)  # fmt: skip
WORKERS = 2
SEGMENT_S = 10
#: What the callers of the misbehaving model do together: this many at once, over and over.
TROUBLE_AT_ONCE = 2
#: For what is asked for trouble again and again by one caller.
FORGIVES = {"GATEWAY_LOST_R_S": "3600"}
#: Apps of their own whose rows crash R, so often a second each.
CRASHERS, CRASHES_PER_S = ("all-v1", "user"), 10


def workers_of(internal_url: str, model: str) -> list[int]:
    """The workers of a model, those that do not listen yet left out."""
    with urllib.request.urlopen(f"{internal_url}/status", timeout=10) as answer:  # noqa: S310 - our own address
        workers = json.load(answer)["workers"]
    return [w["pid"] for w in workers if w["model"] == model and w["pid"] and w["state"] != "starting"]


class Kills:
    """Sends signals to a model's workers, each at most once, oldest first, and looks until as many as before are there."""

    def __init__(self, internal_url: str, model: str) -> None:
        self._internal_url = internal_url
        self._model = model
        self._hit: set[int] = set()
        self._back_s: list[float] = []
        self.missing = 0  # times that the count was not back after ten seconds

    @property
    def count(self) -> int:
        """Workers that were sent a signal."""
        return len(self._hit)

    def slowest(self) -> tuple[float, float]:
        """Seconds until the count was back: the median and the most."""
        return (statistics.median(self._back_s), max(self._back_s)) if self._back_s else (0.0, 0.0)

    async def _left(self) -> list[int]:
        pids = await asyncio.to_thread(workers_of, self._internal_url, self._model)
        return [pid for pid in pids if pid not in self._hit]

    @contextlib.asynccontextmanager
    async def every(self, seconds: float, number: signal.Signals) -> AsyncIterator[None]:
        """One signal every so many seconds for as long as the block lasts."""

        async def send() -> None:
            while True:
                await asyncio.sleep(seconds)
                if left := await self._left():
                    self._hit.add(left[0])
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(left[0], number)
                    await self._wait_for(len(left), seconds)

        task = asyncio.create_task(send())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _wait_for(self, count: int, within_s: float) -> None:
        began = time.perf_counter()
        while len(await self._left()) < count and time.perf_counter() - began < 0.8 * within_s:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        self._back_s.append(time.perf_counter() - began)

    async def back(self) -> None:
        """Wait until there is a worker again that was not hit; counts those times that there is none."""
        began = time.perf_counter()
        while not await self._left():
            if time.perf_counter() - began > 10:
                self.missing += 1
                return
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Target:
    """A running stack."""

    gateway_url: str
    internal_url: str
    headers: dict[str, str]
    store: Path
    name: str

    def manifest(self, model: str) -> dict[str, Any]:
        """What was packaged."""
        found: dict[str, Any] = json.loads((self.store / manifest_key(model, "1")).read_text())
        return found

    def gun(self, app: str | None = None) -> Gun:
        """Fires at its gateway, as the app of that name or as the one that may do everything."""
        if app is None:
            return Gun(self.gateway_url, self.headers)
        token = dev("token", "--name", self.name, "--app", app).strip()
        return Gun(self.gateway_url, self.headers | {"Authorization": f"Bearer {token}"})

    def healthy(self) -> list[Shot]:
        """One request for each row of the healthy model's example, with its answer."""
        manifest = self.manifest(HEALTHY)
        answers = manifest["example"]["outputs"]["prediction"]
        pairs = zip(rows_to_send(manifest), answers, strict=True)
        return [shot(HEALTHY, row, repr([answer])) for row, answer in pairs]


def shot(model: str, row: dict[str, Any], predictions: str | None) -> Shot:
    """A request of one row; right is the answer that Python writes so, or any at all for None."""

    def wrong(status: int, body: bytes) -> str | None:
        if predictions is None:
            return None
        if status != 200:
            return f"{status} {json.loads(body).get('code')}"
        got = repr(json.loads(body)["predictions"])
        return None if got == predictions else f"{got} instead of {predictions}"

    return Shot(f"/v1/models/{model}/score", json.dumps({"rows": [row]}).encode(), wrong)


def dev(*arguments: str, **environment: str) -> str:
    """`./dev`, as a user would."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "devkit", *arguments],
        cwd=ROOT, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout


@contextlib.contextmanager
def stack(models: Sequence[str], **settings: str) -> Iterator[Target]:
    """A stack of our own with these models, two workers and no limit that the load could reach."""
    r.install_library()
    name = f"bench-{os.getpid()}"
    env = os.environ | r.environment()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        for model in models:
            package = Path(folder) / model
            train = ["Rscript", "--vanilla", str(TRAINED[model]), str(package)]
            subprocess.run(train, env=env, check=True, capture_output=True)  # noqa: S603 - our own scripts
            publish = ["Rscript", "--vanilla", *r.publishing(package, store.as_uri())]
            subprocess.run(publish, env=env, check=True, capture_output=True)  # noqa: S603
        options = ("--detach", "--name", name, "--port", "0", "--store", store.as_uri())
        unlimited = Path(folder) / "policy.yaml"
        document = yaml.safe_load(policy.FILE.read_text(encoding="utf-8"))
        document["defaults"] |= {"rate": "100000000/minute", "concurrent": 100_000}
        unlimited.write_text(yaml.safe_dump(document), encoding="utf-8")
        settings["GATEWAY_POLICY_FILE"] = str(unlimited)
        try:
            dev("up", *options, "--scorer-workers", str(WORKERS), **settings)
            status = json.loads(dev("status", "--json", "--name", name))
            token = dev("token", "--name", name).strip()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            where = Path(unquote(urlsplit(status["store"]).path))
            yield Target(status["gateway_url"], status["scorer_internal_url"], headers, where, name)
        finally:
            dev("down", "--name", name, "--remove")


def settings(predict_s: float = PREDICT_S) -> dict[str, str]:
    """Times of the scorer under test."""
    return {
        "SCORER_MAX_PREDICT_S": str(predict_s),
        "SCORER_PREDICT_GRACE_S": str(GRACE_S),
        "SCORER_WORKER_FILE_MIB": "16",
    }


async def capacity(gun: Gun, shots: Sequence[Shot], *, floods: int = 3, seconds: float = 4.0) -> float:
    """Right answers a second of 64 callers who ask as fast as they are answered: the median of some floods, after a first."""
    await gun.flood(shots, callers=64, seconds=2)
    reports = [await gun.flood(shots, callers=64, seconds=seconds) for _ in range(floods)]
    return statistics.median(report.right / report.took_s for report in reports)


async def kills(target: Target, seconds: float, share: float) -> dict[str, Any]:
    """The load undisturbed, killed, undisturbed, stopped, and again, until each kind has lasted so long."""
    shots = target.healthy()
    result: dict[str, Any] = {"hang_grace_s": PREDICT_S + GRACE_S, "seconds": seconds}
    kinds = {"killed": (signal.SIGKILL, 1.0), "stopped": (signal.SIGSTOP, 5.0)}
    total = {name: Report() for name in ("undisturbed", *kinds)}
    hits = {name: Kills(target.internal_url, HEALTHY) for name in kinds}
    spoilt = {name: Report() for name in total}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}  # p99 without and with
    rounds = max(1, round(seconds / SEGMENT_S))
    async with target.gun() as gun:
        most = await capacity(gun, shots)
        rates = []
        for _ in range(rounds):
            for name, (number, every_s) in kinds.items():
                rates.append(rate := share * most)
                quiet = await gun.fire(shots, rate_per_s=rate, seconds=seconds / rounds / len(kinds))
                async with hits[name].every(every_s, number):
                    troubled = await gun.fire(shots, rate_per_s=rate, seconds=seconds / rounds)
                await hits[name].back()
                most = await capacity(gun, shots, floods=1)
                fits = rate <= (share + 0.1) * most
                for kind, report in (("undisturbed", quiet), (name, troubled)):
                    (total if fits else spoilt)[kind].extend(report)
                if fits:
                    pairs[name].append((round(quiet.percentile_ms(99), 1), round(troubled.percentile_ms(99), 1)))
        result["rates_per_s"] = [round(rate) for rate in rates]
    for name, report in total.items():
        result[name] = report.figures()
        if name in hits:
            times = [troubled_ms / quiet_ms for quiet_ms, troubled_ms in pairs[name]]
            result[name] |= {
                "p99_ms_before_and_in_each": pairs[name],
                "p99_times": round(statistics.median(times), 2) if times else None, "workers_hit": hits[name].count,
                "not_back": hits[name].missing, "back_ms": [round(1000 * s) for s in hits[name].slowest()],
            }  # fmt: skip
        result[f"{name}, spoilt"] = {"requests": spoilt[name].intended, "failures": dict(spoilt[name].failures)}
    return result


async def hostile(target: Target, seconds: float, share: float, acts: Sequence[str]) -> dict[str, Any]:
    """The healthy model's p50 and p99 beside each act, over those of a well-behaved neighbour as busy."""
    shots = target.healthy()
    result: dict[str, Any] = {"seconds": seconds}
    async with target.gun() as gun:
        most = result["capacity_per_s"] = round(await capacity(gun, shots), 1)
        rate = result["rate_per_s"] = round(share * most, 1)

        async def beside(act: str | None) -> dict[str, Any]:
            stop = asyncio.Event()

            async def trouble() -> int:
                count = 0
                while not stop.is_set():
                    await gun.pull(shot(HOSTILE, {"x": 1, "act": act}, None))
                    count += 1
                return count

            makers = [asyncio.create_task(trouble()) for _ in range(TROUBLE_AT_ONCE if act else 0)]
            report: Report = await gun.fire(shots, rate_per_s=rate, seconds=seconds)
            stop.set()
            return report.figures() | {"calls_of_the_other": sum(await asyncio.gather(*makers))}

        result["alone"] = await beside(None)
        # "none", the same neighbour well-behaved, again after every few acts: other work on the machine falls on both.
        quiet: list[dict[str, Any]] = []
        for place, act in enumerate(acts):
            if place % 4 == 0:
                quiet.append(await beside("none"))
            result[act] = await beside(act)
        quiet.append(await beside("none"))
        result["none"] = {name: statistics.median(q[name] for q in quiet) for name in ("p50_ms", "p99_ms", "per_s")}
        for act in acts:
            times = (f"{name}_times" for name in ("p50", "p99"))
            result[act] |= {
                name: round(result[act][name.replace("times", "ms")] / result["none"][name.replace("times", "ms")], 2)
                for name in times
            }
    return result


async def poison(target: Target, rounds: int) -> dict[str, Any]:
    """How long 64 callers wait with and without one bad row among theirs."""
    result: dict[str, Any] = {"rounds": rounds}
    async with target.gun() as gun:
        for act in ("none", "error", "signal"):
            took: list[float] = []
            right = 0
            for _ in range(rounds):
                held = [asyncio.create_task(gun.pull(shot(HOSTILE, {"x": 1, "act": "nap"}, None))) for _ in range(3)]
                await asyncio.sleep(0.1)
                rows = [{"x": n + 0.1, "act": act if n == 37 else "none"} for n in range(64)]
                began = time.perf_counter()
                calls = [gun.pull(shot(HOSTILE, row, repr([2 * (n + 0.1)]))) for n, row in enumerate(rows)]
                right += (await asyncio.gather(*calls)).count(None)
                took.append(time.perf_counter() - began)
                await asyncio.gather(*held)
            result[act] = {"right_of": [right, 64 * rounds], "median_ms": round(1000 * statistics.median(took), 1)}
    return result


async def crashers(target: Target, seconds: float, act: str) -> dict[str, Any]:
    """What 64 callers of a version get beside none, one and more whose rows crash its R, or do another `act`, again and again."""
    good = [shot(HOSTILE, {"x": n + 0.1, "act": "none"}, repr([2 * (n + 0.1)])) for n in range(64)]
    bad = [shot(HOSTILE, {"x": 1, "act": act}, repr([2]))]
    result: dict[str, Any] = {"seconds": seconds, "act": act, "per_s_of_each": CRASHES_PER_S}
    async with contextlib.AsyncExitStack() as guns:
        gun = await guns.enter_async_context(target.gun())
        others = [await guns.enter_async_context(target.gun(app)) for app in CRASHERS]
        await gun.flood(good, callers=64, seconds=2)
        for count in range(len(others) + 1):
            fire = [o.fire(bad, rate_per_s=CRASHES_PER_S, seconds=seconds) for o in others[:count]]
            report, *crashed = await asyncio.gather(gun.flood(good, callers=64, seconds=seconds), *fire)
            told = sum((one.failures for one in crashed), Counter[str]())
            result[f"beside {count}"] = report.figures() | {"the others": dict(told)}
    return result


def table(result: dict[str, Any]) -> str:
    """For a reader."""
    lines = [", ".join(f"{name} {value}" for name, value in result.items() if not isinstance(value, dict))]
    for name, figures in result.items():
        if isinstance(figures, dict):
            lines.append(f"{name:>14}  " + "  ".join(f"{key} {value}" for key, value in figures.items()))
    return "\n".join(lines)


def main() -> None:
    """Measure one of the four, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "hostile", "poison", "crashers"])
    parser.add_argument("--seconds", type=float, default=None, help="60 for kills, 5 for hostile, 20 for crashers")
    parser.add_argument("--share", type=float, default=None, help="of capacity; 0.8 for kills, 0.3 for hostile")
    parser.add_argument(
        "--act", action="append", choices=ACTS, help="hostile: only these; crashers: what, signal if none"
    )
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: its scorer ends with it
    if given.what == "kills":
        with stack([HEALTHY], **settings()) as target:
            result = asyncio.run(kills(target, given.seconds or 60, given.share or 0.8))
    elif given.what == "hostile":
        with stack([HEALTHY, HOSTILE], **settings(), **FORGIVES) as target:
            result = asyncio.run(hostile(target, given.seconds or 5, given.share or 0.3, given.act or ACTS))
    elif given.what == "crashers":
        with stack([HOSTILE]) as target:
            result = asyncio.run(crashers(target, given.seconds or 20, (given.act or ["signal"])[0]))
    else:
        with stack([HOSTILE], **settings(), **FORGIVES) as target:
            result = asyncio.run(poison(target, given.rounds))
    print(table(result))
    print(json.dumps({"benchmark": given.what, **result}))


if __name__ == "__main__":
    main()

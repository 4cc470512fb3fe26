"""What four workers hold of a large model after many calls, with workers forked anew as they grow; and what that costs.

    python -m load_tests.bench.memory held  --class lm --class glm [--requests 20000] [--workers 4] [--minutes 20]
    python -m load_tests.bench.memory forks --class lm [--forks 100]      # from the order to a worker that answers
    python -m load_tests.bench.memory p99   --class lm [--rounds 6]       # with and without forking anew, side by side

For each class a model of about 200 MB and a toy of it are trained and packaged at run time, and kept in `--cache`.

held: one-row runs to all workers at once, `--requests` for each; they are sent as items of large requests to a version that
may not batch, so the figure is R's and not the generator's. Printed: (PSS of the whole pod) - (the same with the toy), as a
multiple of the model's bytes, when ready, at most and at the end; how many workers were forked anew. The toy gets a tenth of
the requests, which can only make the difference larger. How far it is goes to stderr. With `--minutes` a slow class stops
then: `requests` says how many there were. With `--together 64` so many share a run, as requests that wait do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devkit import r
from devkit.status import family
from load_tests.bench.processes import pss_mib
from shared import internal_token
from shared.deadline import DEADLINE_HEADER, MAX_TIMEOUT_MS
from shared.messages import HEADER_LENGTH, encode_request
from shared.signature import Signature
from shared.store_layout import manifest_key
from shared.wire import merge, pack_frame, tensor_specs

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("ranger", "lm", "glm", "rpart", "gbm", "gam", "randomForest")
ITEMS = 10  # one-row items of a request: those of a slow class, too, have to be done within a minute
PROGRESS_S = 10.0
# At idle priority a request may wait for longer than its token lasts, than its deadline, or than the scorer keeps a connection:
# it is sent again.
TRIES, LATE = 5, {401, 504}


def pss_bytes(root: int) -> float:
    """PSS of a process and all that descend from it."""
    return sum(pss_mib(pid) for pid in family(root)) * 1024**2


def package(kind: str, size: str, cache: Path) -> Path:
    """A store with this model, trained, packaged and published if it is not in the cache; `bytes` beside it has its size."""
    store = cache / f"{kind}-{size}"
    if store.exists():
        return store
    env = os.environ | r.environment()
    print(f"training {kind}, {size} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="sg-") as name:
        script, folder, new = str(Path(__file__).with_suffix(".R")), Path(name) / "package", Path(name) / "store"
        out = run_r([script, kind, size, str(folder)], env)
        run_r(r.publishing(folder, new.as_uri()), env)
        (new / "bytes").write_text(out.split()[-1])
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copytree(new, store.with_suffix(".new"))
        store.with_suffix(".new").rename(store)
    return store


def run_r(arguments: list[str], env: dict[str, str]) -> str:
    """What it prints."""
    argv = ["/usr/bin/env", "Rscript", *arguments]
    return subprocess.run(argv, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


class Pod:
    """A scorer that is ready, and requests for its one model."""

    def __init__(
        self, process: subprocess.Popen[str], store: Path, key: Ed25519PrivateKey, log: Path, *, items: int = ITEMS
    ) -> None:
        assert process.stdout is not None  # noqa: S101 - PIPE
        listening = json.loads(process.stdout.readline())
        self.pid, self.log = process.pid, log
        self.url, self.internal_url = urlsplit(listening["url"]), listening["internal_url"]
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self._key = internal_token.load_private_key(key.private_bytes(*form))
        manifest = json.loads((store / manifest_key("bench", "1")).read_text())
        signature = msgspec.convert(manifest["signature"], Signature)
        inputs = manifest["example"]["inputs"]
        rows = len(next(iter(inputs.values())))
        specs = tensor_specs(signature.inputs)
        one = [pack_frame(signature.inputs, [[inputs[f.name][i]] for f in signature.inputs]) for i in range(rows)]
        self.request = [encode_request(specs, frame, [1]) for frame in one]
        many = [merge([one[(start + i) % rows] for i in range(items)]) for start in range(rows)]
        self.requests = [encode_request(specs, frame, [1] * items) for frame in many]

    def get(self, path: str) -> str:
        """Of the internal port."""
        with urllib.request.urlopen(self.internal_url + path, timeout=10) as answer:  # noqa: S310 - our own address
            text: str = answer.read().decode()
        return text

    def workers(self) -> list[dict[str, Any]]:
        """Those that listen."""
        return [w for w in json.loads(self.get("/status"))["workers"] if w["state"] not in {"starting", "ending"}]

    def renewed(self) -> int:
        """Workers forked anew so far."""
        ended = [line for line in self.get("/metrics").splitlines() if line.startswith("scorer_workers_ended_total{")]
        return round(sum(float(n.rpartition(" ")[2]) for n in ended if 'cause="grown"' in n or 'cause="worn"' in n))

    def fire(self, count: int, *, items: int = 1, until: float = math.inf) -> Iterator[float]:
        """So many requests after one another over one connection, none sent after `until`; milliseconds of each.

        Raises RuntimeError if one fails.
        """
        connection = http.client.HTTPConnection(str(self.url.hostname), self.url.port, timeout=600)
        headers, renew, said = {DEADLINE_HEADER: str(MAX_TIMEOUT_MS)}, 0.0, b""
        for number in range(count):
            if time.monotonic() >= until:
                break
            head, body = (self.requests if items > 1 else self.request)[number % len(self.request)]
            headers[HEADER_LENGTH] = str(head)
            began = time.perf_counter()
            for _ in range(TRIES):
                if time.monotonic() >= renew:
                    renew = time.monotonic() + 5
                    token = internal_token.issue(self._key, issuer="bench", now=time.time())
                    headers["Authorization"] = f"Bearer {token}"
                try:
                    connection.request("POST", "/v2/models/bench/versions/1/infer", body, headers)
                    answer = connection.getresponse()
                    said = answer.read()
                except ConnectionError:
                    connection.close()  # the next request opens it again
                    continue
                if answer.status not in LATE and b'"deadline_exceeded"' not in said:
                    break
                renew = 0.0
            else:
                raise RuntimeError(f"sent {TRIES} times in vain: {said[:300]!r}")
            took_ms = (time.perf_counter() - began) * 1000
            if answer.status != 200 or b'"errors"' in said:
                raise RuntimeError(f"{answer.status} {said[:300]!r}")
            yield took_ms
        connection.close()


@contextmanager
def pod(store: Path, settings: dict[str, str], *, batchable: bool = True, items: int = ITEMS) -> Iterator[Pod]:
    """A scorer that serves what is in this store; `items`: of its large requests."""
    key = Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with tempfile.TemporaryDirectory(prefix="sg-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "keys.pem").write_bytes(key.public_key().public_bytes(*form))
        if not batchable:
            store = unbatchable(store, folder / "store")
        env = os.environ | {
            "SCORER_STORE_URL": store.as_uri(), "SCORER_GATEWAY_KEYS_FILE": str(folder / "keys.pem"), "SCORER_PORT": "0",
            "SCORER_INTERNAL_PORT": "0", "SCORER_R_LIBS": str(r.LIBRARY.resolve()), "SCORER_MAX_PREDICT_S": "300",
        } | settings  # fmt: skip
        log = stack.enter_context((folder / "log").open("wb"))
        argv = [sys.executable, "-m", "scorer"]
        with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=log, text=True) as process:  # noqa: S603
            try:
                running = Pod(process, store, key, folder / "log", items=items)
                until = time.monotonic() + 180
                while not ready(running):
                    if time.monotonic() > until:
                        raise RuntimeError(f"the scorer does not become ready: {running.get('/readyz')}")
                    time.sleep(0.1)
                yield running
            finally:
                process.terminate()


def ready(running: Pod) -> bool:
    """Whether it serves."""
    try:
        return bool(running.get("/readyz"))
    except OSError:
        return False


def unbatchable(store: Path, copy: Path) -> Path:
    """The same store, but each item is a run of its own."""
    (copy / "models/bench/1").mkdir(parents=True)
    (copy / "blobs").symlink_to(store / "blobs")
    manifest = json.loads((store / manifest_key("bench", "1")).read_text())
    manifest |= {"batchable": False, "batchable_reason": "the benchmark wants one row in each run"}
    (copy / manifest_key("bench", "1")).write_text(json.dumps(manifest))
    return copy


@dataclass
class Held:
    """Of one pod under load, in bytes."""

    start: float = 0.0
    most: float = 0.0
    end: float = 0.0
    requests: int = 0
    renewed: int = 0
    seconds: float = 0.0
    went: list[float] = field(default_factory=list)


def hold(store: Path, requests: int, options: argparse.Namespace, settings: dict[str, str]) -> Held:
    """Serve what is in the store, fire at all workers, look at the whole pod every half second."""
    workers: int = options.workers
    items: int = options.together or ITEMS
    own = {"SCORER_WORKERS": str(workers)} | settings
    with pod(store, own, batchable=bool(options.together), items=items) as running:
        held = Held(start=pss_bytes(running.pid))
        wrong: list[BaseException] = []
        done = [0] * workers
        began = said = time.monotonic()
        until = began + 60 * options.minutes

        def fire(place: int) -> None:
            try:
                for _ in running.fire(math.ceil(requests / items), items=items, until=until):
                    done[place] += items
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=fire, args=[place]) for place in range(workers)]
        held.most = held.start
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(0.5)
            held.went.append(pss_bytes(running.pid))
            held.most = max(held.most, held.went[-1])
            if (now := time.monotonic()) - said >= PROGRESS_S:
                said = now
                print(
                    f"{store.name}: {sum(done):,} of {workers * requests:,} requests in {now - began:.0f} s; "
                    f"the pod holds {held.went[-1] / 1e6:.0f} MB, at most {held.most / 1e6:.0f}",
                    file=sys.stderr,
                    flush=True,
                )
        if wrong:
            raise wrong[0]
        held.seconds, held.requests = time.monotonic() - began, sum(done)
        last_look = time.monotonic() + 5
        while time.monotonic() < last_look:
            time.sleep(0.5)
        held.end, held.renewed = pss_bytes(running.pid), running.renewed()
    return held


def held_main(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What the pod holds."""
    settings = {"SCORER_REFORK_RUNS": options.refork_runs} | (
        {"SCORER_REFORK_SHARE": options.refork_share} if options.refork_share else {}
    )
    results = []
    for kind in options.classes or CLASSES:
        large = package(kind, "large", options.cache)
        toy = package(kind, "toy", options.cache)
        size = int((large / "bytes").read_text())
        small = hold(toy, max(ITEMS, options.requests // 10), options, settings)
        many = hold(large, options.requests, options, settings)
        result = {
            "class": kind, "model_mb": round(size / 1e6), "requests": many.requests,
            "to_a_run": options.together or 1,
            "ready": round((many.start - small.start) / size, 2), "at_most": round((many.most - small.most) / size, 2),
            "at_the_end": round((many.end - small.end) / size, 2), "forked_anew": many.renewed,
            "per_s": round(many.requests / many.seconds), "toy_mb": round(small.most / 1e6),
        }  # fmt: skip
        print("  ".join(f"{name} {value}" for name, value in result.items()), flush=True)
        if options.raw:
            print("  MB in each half second: " + " ".join(f"{count / 1e6:.0f}" for count in many.went), flush=True)
        results.append(result)
    return results


def forks_main(options: argparse.Namespace) -> list[dict[str, Any]]:
    """How long a worker takes: it is killed when it has answered, and its successor's time is in the scorer's log."""
    results = []
    for kind in options.classes or ["lm"]:
        with pod(package(kind, "large", options.cache), {"SCORER_WORKERS": "1"}) as running:
            for _ in range(options.forks):
                list(running.fire(1))
                [worker] = running.workers()
                os.kill(worker["pid"], signal.SIGKILL)
                until = time.monotonic() + 30
                while worker["pid"] in [w["pid"] for w in running.workers()] or not running.workers():
                    if time.monotonic() > until:
                        raise RuntimeError("no new worker came")
                    time.sleep(0.05)
            events = [json.loads(line) for line in running.log.read_text().splitlines()]
            took = sorted(1000 * e["took_s"] for e in events if e["event"] == "scorer.worker.ready")
        result = {
            "class": kind, "forks": len(took), "p50_ms": round(statistics.median(took), 1),
            "p90_ms": round(took[int(0.9 * len(took))], 1), "max_ms": round(took[-1], 1),
        }  # fmt: skip
        print("  ".join(f"{name} {value}" for name, value in result.items()), flush=True)
        results.append(result)
    return results


def p99_main(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Two pods, one that forks anew and one that never does, asked in turn by as many callers as workers."""
    results = []
    for kind in options.classes or ["lm"]:
        store = package(kind, "large", options.cache)
        own = {"SCORER_WORKERS": "2", "SCORER_REFORK_FLOOR_MIB": "1", "SCORER_REFORK_CHECK_S": "0.5"}
        took: dict[str, list[list[float]]] = {"anew": [], "never": []}
        with (
            pod(store, own | {"SCORER_REFORK_RUNS": "1000"}) as anew,
            pod(store, own | {"SCORER_REFORK_SHARE": "1000"}) as never,
        ):
            pods = {"anew": anew, "never": never}
            for running in pods.values():
                list(running.fire(500))
            for number in range(options.rounds):
                for name in sorted(pods, reverse=bool(number % 2)):
                    took[name].append(asyncio.run(segment(pods[name], options.seconds)))
            renewed = anew.renewed(), never.renewed()
        for (name, segments), count in zip(took.items(), renewed, strict=True):
            every = sorted(ms for one in segments for ms in one)
            p99s = [round(sorted(one)[int(0.99 * len(one))], 2) for one in segments]
            result = {
                "class": kind, "forked_anew": count, "requests": len(every), "p50_ms": round(statistics.median(every), 2),
                "p99_ms": round(every[int(0.99 * len(every))], 2), "p999_ms": round(every[int(0.999 * len(every))], 2),
                "p99_of_each_segment": p99s,
            }  # fmt: skip
            print(f"{name:>6}  " + "  ".join(f"{key} {value}" for key, value in result.items()), flush=True)
            results.append({"pod": name, **result})
    return results


async def segment(running: Pod, seconds: float) -> list[float]:
    """Two callers for so long; milliseconds of each request."""
    until = time.monotonic() + seconds

    def caller() -> list[float]:
        took: list[float] = []
        while time.monotonic() < until:
            took += running.fire(200)
        return took

    return [ms for one in await asyncio.gather(*(asyncio.to_thread(caller) for _ in range(2))) for ms in one]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["held", "forks", "p99"])
    parser.add_argument("--class", dest="classes", action="append", choices=CLASSES)
    parser.add_argument("--requests", type=int, default=20_000, help="held: per worker")
    parser.add_argument("--workers", type=int, default=4, help="held")
    parser.add_argument("--together", type=int, default=0, help="held: requests that share a run; one each by default")
    parser.add_argument("--refork-share", default="", help="held; 1000: workers are never forked anew for their memory")
    parser.add_argument("--refork-runs", default="0", help="held: forked anew after so many runs, whatever they hold")
    parser.add_argument("--minutes", type=float, default=math.inf, help="held: at most so many for each pod")
    parser.add_argument("--raw", action="store_true", help="held: the whole pod's PSS as it went")
    parser.add_argument("--forks", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=6, help="p99: segments of each pod")
    parser.add_argument("--seconds", type=float, default=10.0, help="p99: of a segment")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "scoregate-bench-models")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: its scorer ends with it
    r.install_library()
    mains = {"held": held_main, "forks": forks_main, "p99": p99_main}
    print(json.dumps({"benchmark": f"memory {options.what}", "results": mains[options.what](options)}))


if __name__ == "__main__":
    main()

"""A real scorer with real R for tests: model packages written by hand, a process to start, talk to and kill.

The packages are scripts (`score.R`) with a model that is NULL, so that no R is needed to make one, and each says in a few
lines of R what the test is about.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devkit import r
from shared import internal_token
from shared.messages import Answer, decode_response, encode_request
from shared.signature import Field, Signature, Type
from shared.wire import Frame, pack_frame, tensor_specs, unpack_frame
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]
#: What saveRDS(NULL, compress = FALSE) writes.
NULL_RDS = b"X\n\0\0\0\2\0\4\2\2\0\2\3\0\0\0\0\xfe"
Column = Sequence[float | int | bool | str | None]


@dataclass(frozen=True)
class Model:
    """A model version: its signature, `score.R`, and an example that it reproduces."""

    name: str
    signature: Signature
    code: str
    example: Mapping[str, Column]
    answers: Mapping[str, Column]
    version: str = "1"
    batchable: bool = True
    packages: Mapping[str, str] = field(default_factory=dict)

    def publish(self, store: Path) -> Path:
        """Write it into a file store, as `publish_model` does; the manifest's path."""
        files = {"model.rds": NULL_RDS, "score.R": self.code.encode()}
        blobs = store / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for data in files.values():
            (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        manifest = {
            "format": "scoregate.model/1",
            "name": self.name,
            "version": self.version,
            "created": "2026-11-22T15:00:00Z",
            "r_version": "4.2.2",
            "model_class": ["NULL"],
            "packages": dict(self.packages),
            "files": {n: {"sha256": hashlib.sha256(d).hexdigest(), "size": len(d)} for n, d in files.items()},
            "predict": {"method": "script", "options": {}},
            "signature": msgspec.to_builtins(self.signature),
            "batchable": self.batchable,
            "batchable_reason": None if self.batchable else "the test says so",
            "example": {"inputs": self.example, "outputs": self.answers},
        }
        folder = store / "models" / self.name / self.version
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / "new"
        temporary.write_text(json.dumps(manifest))
        return temporary.replace(folder / "manifest.json")


def vector(*inputs: Field) -> Signature:
    """A signature with one number to answer."""
    return Signature(inputs=inputs, outputs=(Field(name="prediction", type=Type.DOUBLE, nullable=True),))


class Scorer:
    """A running `python -m scorer`."""

    def __init__(
        self,
        folder: Path,
        store: Path | str,
        environment: Mapping[str, str] | None = None,
        user: int | None = None,
        **settings: str | int | float,
    ) -> None:
        """`user`: as whom it runs, which takes a root; ourselves if not given."""
        self.key = Ed25519PrivateKey.generate()
        self.keys_file = folder / "keys.pem"
        self.trust(self.key)
        run_dir = Path(os.path.realpath(folder)) / "run"
        self.run_dir = run_dir if len(str(run_dir)) < 60 else Path(f"/tmp/sgt-{os.getpid()}-{id(self):x}")
        self.log = folder / "log"
        whole = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SCORER_STORE_URL": store if isinstance(store, str) else store.as_uri(),
            "SCORER_GATEWAY_KEYS_FILE": str(self.keys_file),
            "SCORER_R_LIBS": str(r.LIBRARY.resolve()),
            "SCORER_RUN_DIR": str(self.run_dir),
            "SCORER_PORT": "0",
            "SCORER_INTERNAL_PORT": "0",
            "SCORER_POLL_S": "0.2",
            "SCORER_WORKERS": "2",
        } | {f"SCORER_{name.upper()}": str(value) for name, value in settings.items()}
        whole |= environment or {}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scorer"],
                env=whole,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        listening = json.loads(line)
        self.url: str = listening["url"]
        self.internal_url: str = listening["internal_url"]
        self.http = httpx.Client(timeout=60)

    def close(self) -> None:
        """End it, whatever state it is in."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        eventually(lambda: not self.processes(), within_s=5, what="its R has ended")
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def trust(self, *keys: Ed25519PrivateKey) -> None:
        """Make these the gateway's keys."""
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        temporary = self.keys_file.with_suffix(".new")
        temporary.write_bytes(b"".join(key.public_key().public_bytes(*form) for key in keys))
        temporary.replace(self.keys_file)

    def token(self, key: Ed25519PrivateKey | None = None, *, at: float | None = None) -> str:
        """A gateway's token."""
        pem = (key or self.key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return internal_token.issue(internal_token.load_private_key(pem), issuer="test", now=at or time.time())

    @property
    def headers(self) -> dict[str, str]:
        """What a gateway sends with each request."""
        return {"Authorization": f"Bearer {self.token()}"}

    def ready(self, within_s: float = 60) -> Scorer:
        """Wait until it is ready."""
        eventually(
            lambda: self.http.get(f"{self.internal_url}/readyz").status_code == 200,
            within_s=within_s,
            what=f"ready ({self.log})",
        )
        return self

    def settled(self, count: int, within_s: float = 20) -> Scorer:
        """Wait until it has so many versions, each served or refused."""

        def decided() -> bool:
            versions = self.status()["versions"]
            return len(versions) == count and all(v["state"] in {"ready", "unavailable"} for v in versions)

        eventually(decided, within_s=within_s, what=f"{count} versions are decided ({self.log})")
        return self

    def status(self) -> dict[str, Any]:
        """`GET /status`."""
        return self.http.get(f"{self.internal_url}/status").raise_for_status().json()

    def workers(self, model: str | None = None) -> list[dict[str, Any]]:
        """Its workers, of one model or all."""
        return [w for w in self.status()["workers"] if model in {None, w["model"]}]

    def version(self, model: str, version: str = "1") -> dict[str, Any]:
        """One version as /status shows it; empty if there is none."""
        return next((v for v in self.status()["versions"] if (v["model"], v["version"]) == (model, version)), {})

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over the series that have these labels."""
        total = 0.0
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        for line in self.http.get(f"{self.internal_url}/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(text in series for text in wanted):
                total += float(value)
        return total

    def processes(self) -> list[int]:
        """Every process of R that works for it, found by its run folder: zygotes and their forks."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    environment = (folder / "environ").read_bytes()
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if f"={self.run_dir}/".encode() in environment and state != "Z":
                    found.append(int(folder.name))
        return found

    def post(
        self, model: Model, columns: Mapping[str, Column], items: Sequence[int] | None = None, **headers: str
    ) -> httpx.Response:
        """One request as a gateway sends it; `items` are the sizes of its items (one item if not given)."""
        head, body = request(model, columns, items)
        return self.http.post(
            f"{self.url}/v2/models/{model.name}/versions/{model.version}/infer",
            content=body,
            headers=self.headers
            | {"Inference-Header-Content-Length": str(head)}
            | {name.replace("_", "-"): value for name, value in headers.items()},
        )

    def infer(
        self, model: Model, columns: Mapping[str, Column], items: Sequence[int] | None = None, **headers: str
    ) -> Answer:
        """As `post`, for an answer that must be one."""
        response = self.post(model, columns, items, **headers)
        assert response.status_code == 200, response.text
        length = int(response.headers["inference-header-content-length"])
        return decode_response(tensor_specs(model.signature.outputs), response.content, length)

    def predict(self, model: Model, **columns: Column) -> list[Any]:
        """The first output for these columns."""
        answer = self.infer(model, columns)
        assert not answer.errors, answer.errors
        return unpack_frame(model.signature.outputs, answer.frame)[0]


def request(model: Model, columns: Mapping[str, Column], items: Sequence[int] | None = None) -> tuple[int, bytes]:
    """The length of the header and the body."""
    inputs = model.signature.inputs
    frame: Frame = pack_frame(inputs, [columns[f.name] for f in inputs])
    return encode_request(tensor_specs(inputs), frame, items or [frame.rows])


@contextmanager
def scorer(
    folder: Path,
    *models: Model,
    url: str | None = None,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
    **settings: str | int | float,
) -> Iterator[Scorer]:
    """A scorer with these models in its store (`folder/store`, or another by `url`), not waited for."""
    store = folder / "store"
    if url is None:
        (store / "models").mkdir(parents=True, exist_ok=True)
    for model in models:
        model.publish(store)
    r.install_library()
    running = Scorer(folder, url or store, environment, user, **settings)
    try:
        yield running
    finally:
        running.close()

"""What an operator may set: the only reader of the environment in this service. Every mistake is reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from shared.settings import Doc, refuse
from shared.tracing_settings import (
    OtelCertificate,
    OtelEndpoint,
    OtelSampler,
    OtelSamplerRatio,
    OtelServiceName,
    endpoint_mistakes,
)

PREFIX = "SCORER_"
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
#: A pebibyte at most: in bytes, the kernel takes it as a limit.
MebibytesOrNone = Annotated[int, msgspec.Meta(ge=0, le=2**30)]
Mebibytes = Annotated[int, msgspec.Meta(ge=1, le=2**30)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
#: What obstore opens; whether it is there, the first look says.
_STORE = re.compile(r"file:///.+|memory:/.*|(az|azure|adl|abfss?|s3a?|gs|https?)://[^/].*")


class ScorerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one scorer pod."""

    store_url: Annotated[str, Doc("model store: file:///folder, or any URL obstore takes (az://, s3://, gs://)")]
    gateway_keys_file: Annotated[
        str,
        Doc("PEM file with the gateways' Ed25519 public keys, one or more; watched, so keys rotate without a restart"),
    ]
    host: Annotated[str, Doc("address of the data port, for gateways")] = "127.0.0.1"
    port: Annotated[Port, Doc("data port; 0 picks a free one")] = 8081
    internal_host: Annotated[str, Doc("address of the internal port: probes, metrics, status; no token")] = "127.0.0.1"
    internal_port: Annotated[Port, Doc("internal port; 0 picks a free one")] = 9091
    workers: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=512)],
        Doc("predictions at once in this pod; 0: the cores the cgroup allows"),
    ] = 0
    models: Annotated[tuple[str, ...], Doc("what to serve: name or name@version, comma-separated; empty: all")] = ()
    poll_s: Annotated[Seconds, Doc("seconds between two looks into the store")] = 10.0
    retract_s: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1_000_000)],
        Doc("seconds a retracted version still answers gateways, which have not noticed yet"),
    ] = 5.0
    trusted_keys: Annotated[
        str,
        Doc("PEM file with Ed25519 public keys: a version then needs a signature by one of them; empty: it needs none"),
    ] = ""
    cache_dir: Annotated[str, Doc("folder for verified files of the store; empty: in the run folder, for this run")] = (
        ""
    )
    run_dir: Annotated[
        str, Doc("folder for sockets and workers' files, at most 60 bytes long; empty: a new one in /tmp")
    ] = ""
    r_home: Annotated[str, Doc("folder with bin/R; empty: R from the PATH")] = ""
    r_libs: Annotated[str, Doc("R libraries searched first, colon-separated: where the scoregate package is")] = ""
    max_predict_s: Annotated[Seconds, Doc("seconds one prediction may take in R before its worker is killed")] = 30.0
    predict_grace_s: Annotated[Seconds, Doc("seconds on top of that until the kill")] = 2.0
    max_load_s: Annotated[Seconds, Doc("seconds a version may take to load, and again for its self-test")] = 120.0
    max_body_bytes: Annotated[Positive, Doc("bytes of one request; four times as many may one answer of R have")] = (
        64 * 1024 * 1024
    )
    held_bytes: Annotated[
        Positive, Doc("bytes of all requests that are being read, wait, run or are answered; beyond: 503")
    ] = 256 * 1024 * 1024
    queue_rows: Annotated[Positive, Doc("rows that may wait in this pod; beyond: 503")] = 200_000
    max_run_rows: Annotated[Positive, Doc("rows that waiting requests are merged to; one request may hold more")] = 4096
    large_rows: Annotated[
        Positive, Doc("rows of a request above which it is cut over several workers (batchable versions only)")
    ] = 4096
    large_piece_ms: Annotated[
        Positive, Doc("milliseconds one piece of such a request should take: how long others may have to wait for it")
    ] = 25
    large_share: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=1)],
        Doc("share of the workers that pieces may keep busy at once; at least 2 where there are 2"),
    ] = 0.5
    memory_mib: Annotated[
        MebibytesOrNone,
        Doc(
            "MiB this pod may hold; a version that does not fit is refused; 0: the cgroup's limit or the machine's memory"
        ),
    ] = 0
    refork_share: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1000)],
        Doc(
            "a worker is forked anew when its own memory has grown by this share of the loaded model, and what a call leaves"
        ),
    ] = 0.15
    refork_floor_mib: Annotated[Mebibytes, Doc("MiB that share is at least")] = 32
    refork_runs: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=2**53)],
        Doc("predictions after which a worker is forked anew; 0: no matter how many"),
    ] = 0
    refork_check_s: Annotated[Seconds, Doc("seconds between two looks at a worker's own memory")] = 2.0
    worker_start_s: Annotated[
        Seconds, Doc("seconds from the order to a worker that listens; a zygote that misses it twice is loaded anew")
    ] = 10.0
    worker_probe_s: Annotated[
        Seconds,
        Doc(
            "seconds until a worker is tried again of a version whose workers do not stay up; doubles, up to ten times"
        ),
    ] = 30.0
    worker_idle_s: Annotated[Seconds, Doc("seconds after which an idle worker beyond a version's first ends")] = 60.0
    ping_s: Annotated[Seconds, Doc("seconds between two pings of an idle worker, and for its answer")] = 5.0
    worker_headroom_mib: Annotated[
        MebibytesOrNone,
        Doc("MiB of address space a worker may take beyond its zygote's, then R says it cannot allocate; 0: no limit"),
    ] = 8192
    worker_file_mib: Annotated[Mebibytes, Doc("MiB of the largest file a worker may write")] = 1024
    drain_delay_s: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=300)],
        Doc(
            "seconds after SIGTERM in which the pod still serves and its catalogue tells gateways to go elsewhere;"
            " GATEWAY_CATALOGUE_POLL_S and 5 s more where others are to take over"
        ),
    ] = 0.0
    drain_s: Annotated[Seconds, Doc("seconds for requests in flight after that; one may last 60")] = 65.0
    log_format: Annotated[Literal["json", "console"], Doc("json or console")] = "json"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Doc("debug, info, warning or error")] = "info"
    pod_name: Annotated[str, Doc("name of this pod in the catalogue; empty: the host's name")] = ""
    otel_endpoint: OtelEndpoint = None
    otel_certificate: OtelCertificate = None
    otel_service_name: OtelServiceName = "scoregate-scorer"
    otel_sampler: OtelSampler = "parentbased_always_on"
    otel_sampler_ratio: OtelSamplerRatio = 1.0

    def __post_init__(self) -> None:
        refuse(self._mistakes())

    def _mistakes(self) -> Iterator[str]:
        yield from endpoint_mistakes(self.otel_endpoint)
        if not _STORE.fullmatch(self.store_url):
            yield f"{PREFIX}STORE_URL: not file:///folder, az://container, s3://bucket, gs://bucket or another that obstore takes"
        if self.held_bytes < self.max_body_bytes:
            yield f"{PREFIX}HELD_BYTES must be at least {PREFIX}MAX_BODY_BYTES: no request of that size could be taken"
        for wanted in self.models:
            name, at, version = wanted.partition("@")
            if not name or (at and not version):
                yield f"{PREFIX}MODELS: {wanted!r} is not name or name@version"
        run_dir = str(Path(self.run_dir).absolute()) if self.run_dir else ""
        if len(run_dir.encode()) > 60 or any(c in self.run_dir for c in "\t\n"):
            yield f"{PREFIX}RUN_DIR: at most 60 bytes with the folder it is in, without tabs: sockets have at most 107 in all"

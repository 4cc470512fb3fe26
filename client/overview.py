"""What `scoregate top` shows: two looks at the services' metrics, and what went on between them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from client.metrics import Samples


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that was said at one moment, by address; None for a process that did not answer."""

    at_s: float
    gateways: Mapping[str, Samples | None]
    scorers: Mapping[str, Samples | None]


class Pod(msgspec.Struct):
    """One scorer pod. Shares are of its slots; `answers` is false for one that did not."""

    address: str
    answers: bool = True
    slots: int = 0
    workers: dict[str, int] = msgspec.field(default_factory=dict)
    busy_share: float = 0.0
    waiting_rows: int = 0
    oldest_wait_ms: float = 0.0
    demand: float = 0.0
    memory_bytes: int = 0
    ended_badly: int = 0


class ModelFlow(msgspec.Struct):
    """One model, all of its versions. Means are over the time between the looks; NaN where nothing happened."""

    model: str
    requests_per_s: float
    failed_share: float
    rows_per_call: float
    items_per_run: float
    predict_ms: float
    latency_ms: float


class Overview(msgspec.Struct):
    """The whole. `saved` is how many requests shared one call of R's predict; `stages_ms` a mean by stage."""

    gateways: int
    gateways_away: int
    seconds: float
    requests_per_s: float
    failed_share: float
    refused_per_s: float
    in_flight: int
    waiting_rows: int
    limits_shared: bool | None
    saved: float
    stages_ms: dict[str, float]
    pods: list[Pod]
    models: list[ModelFlow]


#: Ends of workers that are nothing to look into.
ORDERLY = frozenset({"retired", "grown", "worn"})


@dataclass(frozen=True, slots=True)
class _Between:
    """What counters grew by between two looks at the same processes, then and now; one that began anew counts from 0."""

    processes: Sequence[tuple[Samples, Samples]]
    now: Samples
    seconds: float

    def grew(self, name: str, **labels: str) -> float:
        grown = 0.0
        for before, after in self.processes:
            now, then = after.sum(name, **labels), before.sum(name, **labels)
            grown += now - then if now >= then else now
        return grown

    def per_s(self, name: str, **labels: str) -> float:
        return self.grew(name, **labels) / self.seconds

    def mean(self, name: str, **labels: str) -> float:
        return _ratio(self.grew(f"{name}_sum", **labels), self.grew(f"{name}_count", **labels))


def overview(then: Look, now: Look) -> Overview:
    """What happened from `then` to `now`."""
    seconds = max(1e-3, now.at_s - then.at_s)
    gate = _between(then.gateways, now.gateways, seconds)
    inside = _between(then.scorers, now.scorers, seconds)
    by_status = {s: gate.grew("scoregate_requests_total", status=s) for s in _values(gate, "status")}
    requests = sum(by_status.values())
    shared = gate.now.values.get("scoregate_limiter_shared")
    stages = {stage: gate.mean("scoregate_stage_seconds", stage=stage) * 1000 for stage in _stages(gate.now)}
    return Overview(
        gateways=sum(one is not None for one in now.gateways.values()),
        gateways_away=sum(one is None for one in now.gateways.values()),
        seconds=seconds,
        requests_per_s=requests / seconds,
        failed_share=_share(sum(n for status, n in by_status.items() if status >= "5"), requests),
        refused_per_s=by_status.get("429", 0.0) / seconds,
        in_flight=int(gate.now.sum("scoregate_requests_in_flight")),
        waiting_rows=int(gate.now.sum("scoregate_waiting_rows")),
        limits_shared=None if shared is None else all(value for _, value in shared),
        saved=_saved(gate, inside),
        stages_ms={stage: mean for stage, mean in stages.items() if not math.isnan(mean)},
        pods=[_pod(address, then.scorers.get(address), said, seconds) for address, said in now.scorers.items()],
        models=_models(gate, inside),
    )


def _between(then: Mapping[str, Samples | None], now: Mapping[str, Samples | None], seconds: float) -> _Between:
    """What grew is of those that answered both times: what one did since it began is not what it did since the last look."""
    processes = [(was, said) for address, said in now.items() if said is not None and (was := then.get(address))]
    return _Between(processes, Samples.together(said for said in now.values() if said is not None), seconds)


def _saved(gate: _Between, inside: _Between) -> float:
    """Requests for each run of R: as the scorers have it, which merge again; as the gateways, where none was asked."""
    runs = inside.grew("scorer_run_items_count")
    if runs:
        return inside.grew("scorer_run_items_sum") / runs
    calls = gate.grew("scoregate_scorer_calls_total")
    return _ratio(calls + gate.grew("scoregate_r_calls_saved_total"), calls)


def _models(gate: _Between, inside: _Between) -> list[ModelFlow]:
    flows = []
    for model in sorted(set(gate.now.by("scoregate_requests_total", "model")) - {"unknown"}):
        requests = gate.grew("scoregate_requests_total", model=model)
        failed = sum(
            gate.grew("scoregate_requests_total", model=model, status=status)
            for status in _values(gate, "status")
            if status >= "5"
        )
        calls = gate.grew("scoregate_scorer_calls_total", model=model)
        flows.append(
            ModelFlow(
                model=model,
                requests_per_s=requests / gate.seconds,
                failed_share=_share(failed, requests),
                rows_per_call=gate.mean("scoregate_rows_per_call", model=model),
                items_per_run=_ratio(calls + gate.grew("scoregate_r_calls_saved_total", model=model), calls),
                predict_ms=1000 * inside.mean("scorer_predict_seconds", model=model),
                latency_ms=1000 * gate.mean("scoregate_request_seconds", model=model),
            )
        )
    return flows


def _pod(address: str, then: Samples | None, now: Samples | None, seconds: float) -> Pod:
    if now is None:
        return Pod(address, answers=False)
    between = _between({address: then}, {address: now}, seconds)
    slots = now.sum("scorer_slots")
    causes = now.by("scorer_workers_ended_total", "cause")
    return Pod(
        address=address,
        slots=int(slots),
        workers={state: int(n) for state, n in now.by("scorer_workers", "state").items() if n},
        busy_share=_share(between.per_s("scorer_busy_seconds_total"), slots),
        waiting_rows=int(now.sum("scorer_waiting_rows")),
        oldest_wait_ms=1000 * max((v for _, v in now.values.get("scorer_waiting_seconds", ())), default=0.0),
        demand=now.sum("scorer_demand"),
        memory_bytes=int(now.sum("scorer_process_pss_bytes")),
        ended_badly=int(sum(n for cause, n in causes.items() if cause not in ORDERLY)),
    )


def _values(between: _Between, label: str) -> Sequence[str]:
    return list(between.now.by("scoregate_requests_total", label))


def _stages(samples: Samples) -> list[str]:
    return list(samples.by("scoregate_stage_seconds_count", "stage"))


def _ratio(a: float, b: float) -> float:
    return a / b if b else math.nan


def _share(a: float, b: float) -> float:
    return a / b if b else 0.0

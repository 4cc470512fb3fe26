"""What the gateway counts: names, units and meanings are in docs/reference/metrics.md.

Labels are bounded: never a caller, a path or a version as it was sent.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.process_collector import ProcessCollector

from gateway.core.stages import Clock
from shared.metrics import Buckets, Counts, Settling

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: Answers that are kept to be counted when there is time for it.
MAX_UNSETTLED = 256
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536)


class Metrics:
    """One registry per process; `GET /metrics` on the internal port shows it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answered: list[tuple[str, int, str, Clock]] = []
        self.registry.register(Settling(self.settle))
        ProcessCollector(registry=self.registry)
        self.requests = Counts("scoregate_requests", "Scoring requests answered.", ("model", "status", "code"))
        self.registry.register(self.requests)
        self.stages = Buckets(
            "scoregate_stage_seconds", "Time in each stage of a scoring request.", ("stage",), bounds=_SECONDS
        )
        self.request_seconds = Buckets(
            "scoregate_request_seconds", "Time from a request's head to its answer.", ("model",), bounds=_SECONDS
        )
        self.registry.register(self.stages)
        self.registry.register(self.request_seconds)
        self.rows_per_call = Buckets(
            "scoregate_rows_per_call", "Rows in each call that a scorer answered.", ("model",), bounds=_ROWS
        )
        self.calls = Counts("scoregate_scorer_calls", "Calls that a scorer answered.", ("model",))
        self.saved = Counts("scoregate_r_calls_saved", "Requests that shared a call with an earlier one.", ("model",))
        for metric in (self.rows_per_call, self.calls, self.saved):
            self.registry.register(metric)
        self.in_flight = Gauge("scoregate_requests_in_flight", "Scoring requests being served.", registry=self.registry)
        self.connections = Gauge(
            "scoregate_connections", "Open connections on the public port.", registry=self.registry
        )
        self.demand = Gauge(
            "scoregate_demand", "Predicted worker-seconds that wait in this gateway.", ["model"], registry=self.registry
        )
        self.waiting_rows = Gauge("scoregate_waiting_rows", "Rows that wait for a slot.", registry=self.registry)
        self.authentications = Counter(
            "scoregate_authentication_failures",
            "Requests refused with 401, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.limiter_shared = Gauge(
            "scoregate_limiter_shared",
            "1 while limits are counted in Redis, 0 while in this process alone.",
            registry=self.registry,
        )
        self.keys_age = Gauge("scoregate_keys_age_seconds", "Age of Entra's signing keys.", registry=self.registry)

        self.limiter_trips = Buckets(
            "scoregate_limiter_trip_seconds", "One trip to Redis for all requests that wait.", bounds=_SECONDS
        )
        self.registry.register(self.limiter_trips)
        self.decisions = Counts(
            "scoregate_limit_decisions", "Requests admitted, or refused by which limit.", ("outcome",)
        )
        self.registry.register(self.decisions)
        self.heads_refused = Counter(
            "scoregate_heads_refused", "Requests refused for their head.", ["code"], registry=self.registry
        )

    # --- what the pipeline tells

    def answered(self, model: str, status: int, code: str, clock: Clock) -> None:
        """A scoring request is over; its clock has ended. It is counted by `settle`."""
        self._answered.append((model, status, code, clock))
        if len(self._answered) >= MAX_UNSETTLED:
            self.settle()

    def settle(self) -> None:
        """Counts what was answered: when there is time for it, and before anybody looks."""
        answered, self._answered = self._answered, []
        for model, status, code, clock in answered:
            self.requests.add((model, str(status), code))
            self.stages.observe_all(clock.spent_s)
            self.request_seconds.observe(model, clock.total_s)

    # --- what `gateway.shell.admit` tells

    def shared(self, up: bool) -> None:
        """Whether limits are counted in Redis now."""
        self.limiter_shared.set(1 if up else 0)

    def trip(self, took_s: float, requests: int) -> None:  # noqa: ARG002
        """One trip to Redis came back."""
        self.limiter_trips.observe((), took_s)

    def decided(self, outcome: str, *, shared: bool) -> None:  # noqa: ARG002
        """One request was admitted, or refused by a limit."""
        self.decisions.add(outcome)

    # --- what the forwarder tells

    def demands(self, by_version: Iterable[tuple[Hashable, float]]) -> None:
        """What waits now, by (model, version): shown by model."""
        self.demand.clear()
        for version, seconds in by_version:
            assert isinstance(version, tuple)  # noqa: S101
            self.demand.labels(version[0]).inc(seconds)

    def batch(self, model: str, rows: int, items: int) -> None:
        """A scorer answered a batch of `rows` rows, of which `items` requests need no other call."""
        self.rows_per_call.observe(model, rows)
        self.calls.add(model)
        self.saved.add(model, max(0, items - 1))

"""What `scoregate top` makes of two looks at the metrics."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from client.commands.top import screen
from client.metrics import Samples
from client.overview import Look, Overview, overview


def gateway(ok: int, failed: int, calls: int, saved: int, *, shared: int = 1) -> Samples:
    return Samples.parse(
        f"""
scoregate_requests_total{{model="m",status="200",code="ok"}} {ok}
scoregate_requests_total{{model="m",status="503",code="overloaded"}} {failed}
scoregate_requests_total{{model="unknown",status="401",code="unauthenticated"}} 3
scoregate_scorer_calls_total{{model="m"}} {calls}
scoregate_r_calls_saved_total{{model="m"}} {saved}
scoregate_stage_seconds_sum{{stage="wait"}} {0.001 * ok}
scoregate_stage_seconds_count{{stage="wait"}} {ok}
scoregate_request_seconds_sum{{model="m"}} {0.01 * ok}
scoregate_request_seconds_count{{model="m"}} {ok}
scoregate_requests_in_flight 7
scoregate_waiting_rows 5
scoregate_limiter_shared {shared}
"""
    )


def scorer(runs: int, items: int, busy_s: float) -> Samples:
    return Samples.parse(
        f"""
scorer_run_items_sum {items}
scorer_run_items_count {runs}
scorer_slots 2
scorer_busy_seconds_total {busy_s}
scorer_workers{{model="m",version="1",state="idle"}} 1
scorer_workers{{model="m",version="1",state="busy"}} 1
scorer_workers{{model="m",version="1",state="starting"}} 0
scorer_waiting_rows{{model="m",version="1"}} 4
scorer_waiting_seconds{{model="m",version="1"}} 0.25
scorer_demand 0.9
scorer_process_pss_bytes{{model="m",version="1",process="zygote"}} 1048576
scorer_workers_ended_total{{model="m",version="1",cause="retired"}} 5
scorer_workers_ended_total{{model="m",version="1",cause="died"}} 2
"""
    )


@pytest.fixture
def seen() -> Overview:
    return overview(
        Look(10.0, {"g": gateway(0, 0, 0, 0)}, {"s": scorer(10, 10, 1.0)}),
        Look(12.0, {"g": gateway(196, 4, 14, 182)}, {"s": scorer(24, 206, 4.0)}),
    )


def test_rates_and_means_are_those_between_the_looks(seen: Overview) -> None:
    assert seen.requests_per_s == 100
    assert seen.failed_share == 4 / 200
    assert seen.saved == 14
    assert seen.stages_ms == {"wait": pytest.approx(1.0)}
    (flow,) = seen.models
    assert (flow.model, flow.items_per_run, flow.latency_ms) == ("m", 14, pytest.approx(10))
    assert math.isnan(flow.predict_ms)


def test_a_pod_shows_its_workers_its_queue_and_only_deaths_out_of_order(seen: Overview) -> None:
    (pod,) = seen.pods
    assert pod.workers == {"idle": 1, "busy": 1}
    assert pod.busy_share == 0.75
    assert (pod.waiting_rows, pod.oldest_wait_ms, pod.memory_bytes, pod.ended_badly) == (4, 250, 2**20, 2)


def test_a_process_that_began_anew_counts_from_nothing() -> None:
    seen = overview(Look(0.0, {"g": gateway(1000, 0, 100, 900)}, {}), Look(1.0, {"g": gateway(50, 0, 10, 40)}, {}))
    assert seen.requests_per_s == 50
    assert seen.saved == 5


def test_one_that_does_not_answer_is_shown_and_counted_nowhere() -> None:
    both = {"g": gateway(10, 0, 1, 9), "h": gateway(10, 0, 1, 9)}
    seen = overview(Look(0.0, both, {"s": scorer(1, 1, 0)}), Look(1.0, both | {"h": None}, {"s": None}))
    assert (seen.gateways, seen.gateways_away, seen.requests_per_s) == (1, 1, 0)
    assert not seen.pods[0].answers


def test_one_that_did_not_answer_the_look_before_is_not_said_to_have_done_everything_since() -> None:
    then = Look(0.0, {"g": gateway(0, 0, 0, 0), "h": None}, {"s": None})
    now = Look(
        1.0, {"g": gateway(50, 0, 10, 40), "h": gateway(1_000_000, 0, 1, 0)}, {"s": scorer(9_000, 90_000, 3600.0)}
    )
    seen = overview(then, now)
    assert (seen.gateways, seen.in_flight, seen.requests_per_s, seen.saved) == (2, 14, 50, 5)
    assert (seen.pods[0].answers, seen.pods[0].busy_share) == (True, 0.0)


def test_limits_are_shared_only_if_every_gateway_says_so() -> None:
    look = Look(0.0, {"g": gateway(1, 0, 1, 0), "h": gateway(1, 0, 1, 0, shared=0)}, {})
    assert overview(look, look).limits_shared is False


def test_the_screen_fits_a_terminal_and_says_how_much_is_saved(seen: Overview) -> None:
    terminal = Console(width=100, record=True, file=io.StringIO())
    terminal.print(screen(seen))
    text = terminal.export_text()
    assert "R calls saved ×14.0" in text
    assert "1 idle 1 busy" in text
    assert max(map(len, text.splitlines())) <= 100


def test_text_that_is_no_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        Samples.parse("<html>not metrics</html>")


def test_a_process_that_began_anew_does_not_bring_back_what_the_others_did_before() -> None:
    seen = overview(
        Look(10.0, {"a": gateway(1_000_000, 0, 0, 0), "b": gateway(1_000_000, 0, 0, 0)}, {}),
        Look(12.0, {"a": gateway(1_000_100, 0, 0, 0), "b": gateway(100, 0, 0, 0)}, {}),
    )
    assert seen.requests_per_s == 100

"""A request of very many rows on real R workers: cut over them, put together in order, and its failures are an item's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.service.scorer_models import DOUBLE, HOSTILE
from tests.service.scorer_pod import scorer
from tests.support import eventually

PACED = replace(
    DOUBLE,
    name="paced",
    code="predict_model <- function(model, newdata) { Sys.sleep(nrow(newdata) * 20e-6); 2 * newdata$x }",
)


def test_a_large_request_runs_on_several_workers_and_comes_back_in_order(tmp_path: Path) -> None:
    with scorer(tmp_path, PACED, workers=2) as pod:
        pod.ready()
        rows = [float(i) for i in range(50_000)]
        for _ in range(2):
            assert pod.predict(PACED, x=rows) == [2 * x for x in rows]
        eventually(lambda: len([w for w in pod.workers() if w["runs"]]) == 2, what="both have worked")
        assert pod.metric("scorer_run_items_count") > 10


def test_small_requests_are_answered_while_a_large_one_runs(tmp_path: Path) -> None:
    with scorer(tmp_path, PACED, workers=2) as pod, ThreadPoolExecutor(1) as thread:
        pod.ready()
        rows = [float(i) for i in range(150_000)]
        pod.predict(PACED, x=rows[:50_000])
        large = thread.submit(pod.predict, PACED, x=rows)
        eventually(lambda: large.done() or pod.status()["waiting_rows"] > 50_000, what="it is in")
        small = 0
        while not large.done():
            assert pod.predict(PACED, x=[1.0]) == [2.0]
            small += 1
        assert small >= 3
        assert large.result() == [2 * x for x in rows]


@pytest.mark.parametrize(("act", "code"), [("error", "prediction_failed"), ("segfault", "worker_crashed")])
def test_a_row_that_fails_in_a_piece_fails_its_item_alone(tmp_path: Path, act: str, code: str) -> None:
    batchable = replace(HOSTILE, batchable=True)
    with scorer(tmp_path, batchable, workers=2, large_rows=100) as pod:
        pod.ready()
        acts = ["ok"] * 3000
        acts[1500] = act
        answer = pod.infer(batchable, {"x": [float(i) for i in range(3000)], "act": acts}, items=[1000, 1000, 1000])
        assert [(e.item, e.code) for e in answer.errors] == [(1, code)]
        assert answer.frame.rows == 2000

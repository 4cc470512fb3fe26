"""The memory of a pod with real R: what does not fit is refused by name, and a worker that grows is forked anew unnoticed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.service.scorer_models import DOUBLE, NUMBER
from tests.service.scorer_pod import Model, scorer, vector
from tests.support import eventually

MIB = 1024 * 1024

#: Keeps 8 MB of every call.
LEAK = Model(
    name="leak",
    signature=vector(NUMBER),
    code="""
kept <- list()
predict_model <- function(model, newdata) {
  if (nrow(newdata) == 1) kept[[length(kept) + 1]] <<- rnorm(1e6)
  2 * newdata$x
}
""",
    example={"x": [1.0, 2.0]},
    answers={"prediction": [2.0, 4.0]},
    batchable=False,
)


def measured(store: Path, model: Model, **figures: float) -> None:
    """Publish it with what packaging would have measured."""
    path = model.publish(store)
    manifest = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps(manifest | {"measured": figures}))


def test_a_version_that_does_not_fit_is_refused_with_the_numbers_before_r_starts_and_the_others_serve(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    giant = replace(DOUBLE, name="giant")
    measured(store, giant, load_bytes=1500 * MIB, peak_64_rows_bytes=200 * MIB)
    with scorer(tmp_path, DOUBLE, workers=2, memory_mib=1500) as pod:
        pod.ready()
        eventually(lambda: pod.version("giant").get("state") == "unavailable", what="it is refused")
        reason = pod.version("giant")["reason"]
        assert "memory: it needs 2020 MiB (1572 loaded + 2 x 224 of a worker)" in reason
        assert "1500 MiB are free" in reason
        assert "double 1" in reason or "supervisor" in reason
        assert not [z for z in pod.status()["zygotes"] if z["model"] == "giant"]
        assert pod.predict(DOUBLE, x=[2.0]) == [4.0]


def test_a_version_that_turns_out_larger_than_it_said_is_refused_once_it_is_loaded(tmp_path: Path) -> None:
    store = tmp_path / "store"
    liar = replace(DOUBLE, name="liar", code="ballast <- rnorm(6e7)\n" + DOUBLE.code)  # 480 MB
    measured(store, liar, load_bytes=MIB, peak_64_rows_bytes=0)
    with scorer(tmp_path, DOUBLE, workers=1, memory_mib=600) as pod:
        pod.ready()
        eventually(lambda: pod.version("liar").get("state") == "unavailable", what="it is refused", within_s=60)
        assert "memory: it needs" in pod.version("liar")["reason"]
        eventually(lambda: len(pod.status()["zygotes"]) == 1, what="its R has gone")
        assert pod.predict(DOUBLE, x=[2.0]) == [4.0]


def test_a_worker_that_has_grown_is_forked_anew_and_no_request_notices(tmp_path: Path) -> None:
    with scorer(tmp_path, LEAK, workers=1, refork_floor_mib=32, refork_check_s=0.1) as pod:
        pod.ready()
        [old] = [w["pid"] for w in pod.workers()]

        def replaced() -> bool:
            assert pod.predict(LEAK, x=[3.0]) == [6.0]
            return pod.metric("scorer_workers_ended_total", model="leak", cause="grown") >= 1

        eventually(replaced, within_s=30, what="the worker is replaced")
        assert old not in [w["pid"] for w in pod.workers()]
        assert pod.metric("scorer_workers_ended_total", model="leak", cause="died") == 0
        assert pod.metric("scorer_requests_total", model="leak", code="ok") == pod.metric("scorer_requests_total")


def test_a_worker_is_forked_anew_after_as_many_runs_as_the_operator_allows(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, workers=1, refork_runs=5) as pod:
        pod.ready()

        def replaced() -> bool:
            assert pod.predict(DOUBLE, x=[3.0]) == [6.0]
            return pod.metric("scorer_workers_ended_total", cause="worn") >= 1

        eventually(replaced, within_s=30, what="the worker is replaced")


def test_what_each_process_holds_and_what_is_asked_of_the_pod_are_metrics(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, workers=2) as pod:
        pod.ready()
        pod.predict(DOUBLE, x=[1.0])
        eventually(
            lambda: pod.metric("scorer_process_pss_bytes", process="zygote") > 5 * MIB, what="the zygote", within_s=15
        )
        eventually(lambda: pod.metric("scorer_process_private_bytes", process="0") > MIB, what="its worker")
        assert pod.metric("scorer_busy_seconds_total") > 0
        assert 0 <= pod.metric("scorer_demand") < 1

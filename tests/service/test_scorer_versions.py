"""What a pod makes of the versions in its store: served, refused with the reason, gone. Each test has a pod of its own."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

from tests.service.scorer_models import DOUBLE, SLOW
from tests.service.scorer_pod import Model, scorer
from tests.support import eventually


def test_versions_that_cannot_be_served_are_reported_by_name_and_the_rest_are_served(tmp_path: Path) -> None:
    store = tmp_path / "store"
    looks_around = replace(
        DOUBLE,
        name="looks-around",
        code="predict_model <- function(model, newdata) newdata$x - mean(newdata$x)",
        example={"x": [1.0, 2.0, 6.0]},
        answers={"prediction": [-2.0, -1.0, 3.0]},
    )
    close = replace(
        DOUBLE, name="close", code="predict_model <- function(model, newdata) newdata$x * (1 + 1e-12)",
        example={"x": [1.0]}, answers={"prediction": [1.0]},
    )  # fmt: skip
    broken = {
        "corrupt": "not the file that was published",
        "lost": "score.R is not in the store",
        "short": "bytes that were published",
        "no-package": "fortuneTeller 1.0",
        "no-code": "score.R defines no predict_model",
        "loading-fails": "no such luck",
        "loading-quits": "R ended",
        "crashes": "R crashed while it scored the example",
        "differs": "prediction in row 1 of the example was 7.0 when packaged and is 2.0 here",
        "fails": "self-test: cannot do it",
        "wrong-length": "values of prediction for",
    }
    models = {
        "no-package": replace(DOUBLE, packages={"fortuneTeller": "1.0"}),
        "no-code": replace(DOUBLE, code="x <- 1"),
        "loading-fails": replace(DOUBLE, code="stop('no such luck')"),
        "loading-quits": replace(DOUBLE, code="quit(status = 3)"),
        "crashes": replace(DOUBLE, code="predict_model <- function(model, newdata) tools::pskill(Sys.getpid(), 11L)"),
        "differs": replace(DOUBLE, example={"x": [1.0]}, answers={"prediction": [7.0]}),
        "fails": replace(DOUBLE, code="predict_model <- function(model, newdata) stop('cannot do it')"),
        "wrong-length": replace(DOUBLE, code="predict_model <- function(model, newdata) 1"),
    }
    for name in broken:
        code = f"# {name}\n{DOUBLE.code}"
        replace(models.get(name, replace(DOUBLE, code=code)), name=name).publish(store)
    for name, data in {"corrupt": b"predict_model <- quit#", "short": b"x"}.items():
        blob = blob_of(store, replace(DOUBLE, code=f"# {name}\n{DOUBLE.code}"))
        blob.write_bytes(data.ljust(blob.stat().st_size, b"#") if name == "corrupt" else data)
    blob_of(store, replace(DOUBLE, code=f"# lost\n{DOUBLE.code}")).unlink()
    (store / "models" / "unreadable" / "1").mkdir(parents=True)
    (store / "models" / "unreadable" / "1" / "manifest.json").write_text("{")
    (store / "models" / "Bad_Name" / "one").mkdir(parents=True)
    (store / "models" / "Bad_Name" / "one" / "manifest.json").write_text("{}")

    with scorer(tmp_path, DOUBLE, looks_around, close, poll_s=60) as pod:
        pod.settled(len(broken) + 5, within_s=120)
        pod.ready()
        for name, says in broken.items():
            version = pod.version(name)
            assert version["state"] == "unavailable", version
            assert says in version["reason"], version
        assert "cannot be read" in pod.version("unreadable")["reason"]
        assert "not a model name" in pod.version("Bad_Name", "one")["reason"]
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
        assert pod.version("looks-around")["batchable"] is False
        assert "pieces of 1" in pod.version("looks-around")["batchable_reason"]
        assert pod.version("close")["close"] is True
        assert pod.predict(looks_around, x=[1.0, 3.0]) == [-1.0, 1.0]
        response = pod.post(replace(DOUBLE, name="corrupt"), {"x": [1.0]})
        assert (response.status_code, response.json()["code"]) == (404, "version_not_here")


def blob_of(store: Path, model: Model) -> Path:
    """The stored file of a model's score.R."""
    return store / "blobs" / "sha256" / hashlib.sha256(model.code.encode()).hexdigest()


def test_versions_come_and_go_with_the_store_while_others_serve(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with scorer(tmp_path, poll_s=1) as pod:
        eventually(
            lambda: pod.http.get(f"{pod.internal_url}/readyz").json()["reasons"] == ["the store has no model"],
            what="it says why it is not ready",
        )
        DOUBLE.publish(store)
        pod.ready()
        triple = replace(DOUBLE, version="2", code="predict_model <- function(model, newdata) 3 * newdata$x",
                         example={"x": [1.0]}, answers={"prediction": [3.0]})  # fmt: skip
        triple.publish(store)
        eventually(lambda: pod.version("double", "2").get("state") == "ready", what="version 2 is there")
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
        assert pod.predict(triple, x=[1.0]) == [3.0]
        old = [w["pid"] for w in pod.workers() if w["version"] == "1"]

        shutil.rmtree(store / "models" / "double" / "1")
        assert pod.http.post(f"{pod.internal_url}/refresh").status_code == 202
        eventually(lambda: not pod.version("double", "1"), what="version 1 is gone")
        assert pod.post(DOUBLE, {"x": [1.0]}).status_code == 404
        eventually(lambda: not set(old) & set(pod.processes()), what="its R has ended")

        store.rename(tmp_path / "away")
        eventually(lambda: pod.status()["store_error"], what="the store is away")
        assert pod.predict(triple, x=[1.0]) == [3.0]
        assert pod.http.get(f"{pod.internal_url}/readyz").status_code == 200
        (tmp_path / "away").rename(store)
        eventually(lambda: pod.status()["store_error"] is None, what="the store is back")
        assert pod.predict(triple, x=[1.0]) == [3.0]


def test_only_the_chosen_models_are_served(tmp_path: Path) -> None:
    for version in ("1", "2"):
        replace(DOUBLE, version=version).publish(tmp_path / "store")
    with scorer(tmp_path, SLOW, models="double@2,other") as pod:
        pod.ready()
        assert [(v["model"], v["version"]) for v in pod.status()["versions"]] == [("double", "2")]
        assert pod.status()["absent"] == ["other"]


def test_the_cache_is_used_again_and_what_was_damaged_in_it_is_not(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with scorer(tmp_path, DOUBLE, cache_dir=str(cache)) as pod:
        pod.ready()
    shutil.rmtree(tmp_path / "store" / "blobs")
    with scorer(tmp_path, cache_dir=str(cache)) as pod:
        pod.ready()
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
    for path in [*cache.rglob("score.R"), *(cache / "blobs").iterdir()]:
        path.chmod(0o600)
        path.write_bytes(b"quit()")
    with scorer(tmp_path, cache_dir=str(cache)) as pod:
        eventually(lambda: pod.version("double").get("state") == "unavailable", what="it is refused")
        assert "not in the store" in pod.version("double")["reason"]
        DOUBLE.publish(tmp_path / "store")
        (tmp_path / "store" / "models" / "double" / "1" / "manifest.json").touch()
        pod.ready()


def test_without_r_each_version_says_so(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, r_home="/nowhere") as pod:
        eventually(lambda: "R cannot be started" in (pod.version("double").get("reason") or ""), what="it says why")


def test_a_version_that_is_hung_while_it_loads_is_given_up(tmp_path: Path) -> None:
    hangs = replace(DOUBLE, name="hangs", code="repeat {}")
    with scorer(tmp_path, DOUBLE, hangs, max_load_s=15) as pod:
        eventually(lambda: pod.version("double").get("state") == "ready", what="the other is served")
        eventually(lambda: pod.version("hangs").get("state") == "unavailable", within_s=40, what="it is given up")
        assert "did not load the model within 15 s" in pod.version("hangs")["reason"]

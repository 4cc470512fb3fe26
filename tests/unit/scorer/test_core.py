"""The small rules: states, cost, frames, catalogue, environment, settings."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.catalogue import render
from scorer.core.frames import cut, join
from scorer.core.manifest import parse_manifest
from scorer.core.readiness import Readiness, absent, settled, wanted
from scorer.core.states import VERSION_MOVES, WORKER_MOVES, IllegalMoveError, VersionState, WorkerState, move
from scorer.core.version import Version
from scorer.settings import PREFIX, ScorerSettings
from scorer.shell.environment import allowed_cores, is_reference_blas, r_environment, reference_blas
from shared.catalogue import Catalogue
from shared.cost import Cost
from shared.settings import SettingsError, describe, read
from shared.signature import Field, Type
from shared.wire import WireError, pack_frame, tensor_specs, unpack_frame

# --- states


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(VERSION_MOVES) == set(VersionState)
    assert set(WORKER_MOVES) == set(WorkerState)


def test_a_move_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(IllegalMoveError, match="busy to checked"):
        move(WORKER_MOVES, WorkerState.BUSY, WorkerState.CHECKED)


# --- cost


def test_the_cost_is_learned_from_runs_of_several_sizes() -> None:
    cost = Cost(fixed_s=1.0, row_s=1.0)
    for rows in [1, 64, 500, 2, 64, 1000] * 10:
        cost.learn(rows, 0.002 + 0.00001 * rows)
    assert cost.fixed_s == pytest.approx(0.002, rel=0.01)
    assert cost.row_s == pytest.approx(0.00001, rel=0.01)
    assert cost.predict_s(100, runs=2) == pytest.approx(0.005, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(1e-6, 100)), max_size=60))
def test_no_sequence_of_runs_makes_a_cost_negative_or_endless(runs: list[tuple[int, float]]) -> None:
    cost = Cost()
    for rows, took_s in runs:
        cost.learn(rows, took_s)
    assert 0 <= cost.predict_s(1) < 1e6
    assert 0 <= cost.predict_s(10_000) < 1e9


# --- frames

FIELDS = (
    Field(name="x", type=Type.DOUBLE),
    Field(name="s", type=Type.STRING),
    Field(name="n", type=Type.INTEGER),
)


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), st.integers(-(2**31) + 1, 2**31 - 1))))  # fmt: skip  # noqa: E501
def test_a_frame_survives_being_joined_and_cut(rows: list[tuple[float, str | None, int]]) -> None:
    frame = pack_frame(FIELDS, [[row[i] for row in rows] for i in range(3)])
    again = cut(tensor_specs(FIELDS), frame.rows, join(frame))
    assert unpack_frame(FIELDS, again) == unpack_frame(FIELDS, frame)


@given(st.binary(max_size=80), st.integers(0, 4))
def test_bytes_that_are_no_frame_are_refused_not_read(body: bytes, rows: int) -> None:
    try:
        frame = cut(tensor_specs(FIELDS), rows, body)
    except WireError:
        return
    assert join(frame) == body


# --- catalogue


def version(state: VersionState, name: str = "m") -> Version:
    return Version(name, "1", "tag", state=state)


def test_the_pod_is_ready_when_each_version_is_served_or_reported_and_one_is_served() -> None:
    ready, bad, loading = (version(s) for s in (VersionState.READY, VersionState.UNAVAILABLE, VersionState.LOADING))
    assert settled([ready, bad])
    assert not settled([ready, loading])
    loading.attempts = 1
    assert settled([ready, loading]), "it was reported and is tried again"
    assert not settled([bad])
    assert not settled([])


def test_a_pod_that_was_ready_stays_so_while_it_serves_anything() -> None:
    one, other = version(VersionState.READY), version(VersionState.LOADING, "n")
    readiness = Readiness()
    assert readiness.missing([one, other], ["o"], "away") == ["store: away", "n 1: loading", "o is not in the store"]
    assert readiness.missing([one], [], None) == []
    assert readiness.missing([one, other], ["o"], "away") == []
    assert readiness.missing([other], [], None) == ["n 1: loading"]
    assert readiness.missing([], [], None) == ["the store has no model"]


def test_the_etag_changes_with_the_catalogue_only() -> None:
    one = version(VersionState.READY)
    body, etag = render("pod", 2, {one.key: one})
    assert render("pod", 2, {one.key: one}) == (body, etag)
    one.state = VersionState.UNAVAILABLE
    one.reason = "why"
    changed, other = render("pod", 2, {one.key: one})
    assert other != etag
    [entry] = msgspec.json.decode(changed, type=Catalogue).versions
    assert (entry.state, entry.reason) == ("unavailable", "why")


def test_the_example_in_the_catalogue_has_integers_as_integers() -> None:
    signature = {"inputs": [{"name": "n", "type": "integer"}], "outputs": [{"name": "prediction", "type": "double"}]}
    manifest = {
        "format": "scoregate.model/1",
        "name": "m",
        "version": "1",
        "files": {"model.rds": {"sha256": "a" * 64, "size": 1}},
        "predict": {"method": "lm"},
        "signature": signature,
        "example": {"inputs": {"n": [1, None]}, "outputs": {"prediction": [0.5, "Inf"]}},
    }
    one = version(VersionState.READY)
    one.manifest = parse_manifest(json.dumps(manifest).encode(), "m", "1")
    body, _ = render("pod", 1, {one.key: one})
    example = json.loads(body)["versions"][0]["example"]
    assert json.dumps(example) == '{"inputs": {"n": [1, null]}, "outputs": {"prediction": [0.5, "Inf"]}}'


def test_a_version_that_leaves_is_not_in_the_catalogue() -> None:
    gone = version(VersionState.DRAINING)
    assert msgspec.json.decode(render("pod", 2, {gone.key: gone})[0], type=Catalogue).versions == ()


def test_models_are_chosen_by_name_or_by_version() -> None:
    assert wanted((), ("m", "1"))
    assert wanted(("m",), ("m", "2"))
    assert wanted(("m@2",), ("m", "2"))
    assert not wanted(("m@2", "n"), ("m", "1"))
    assert absent(("m@2", "n"), [("m", "1"), ("n", "1")]) == ["m@2"]


def test_what_may_pass_is_tried_again_after_longer_and_longer_pauses() -> None:
    one = version(VersionState.FETCHING)
    pauses = []
    for _ in range(3):
        one.refuse("away", 0.0, transient=True, first_pause_s=10)
        assert not one.may_retry("tag", 0.0)
        pauses.append(one.retry_at_s)
        one.become(VersionState.FETCHING)
    assert pauses == [9.0, 18.0, 36.0]
    one.refuse("corrupt", 0.0, transient=False, first_pause_s=10)
    assert not one.may_retry("tag", 1e9)
    assert one.may_retry("another tag", 0.0)


# --- environment


def test_cores_come_from_the_cgroup(tmp_path: Path) -> None:
    everything = allowed_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert allowed_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert allowed_cores(tmp_path) == everything
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert allowed_cores(tmp_path) == 1


def test_the_reference_blas_is_told_from_others() -> None:
    assert is_reference_blas("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0")
    assert is_reference_blas("/usr/local/lib/R/lib/libRblas.so")
    assert not is_reference_blas("/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblasp-r0.3.21.so")
    assert not is_reference_blas("")


def test_r_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "secret")
    environment = r_environment("/lib/r", tmp_path)
    assert "secret" not in environment.values()
    assert environment["TZ"] == "UTC"
    assert environment["OMP_THREAD_LIMIT"] == "1"
    assert environment["R_LIBS"] == "/lib/r"


def test_without_the_reference_libraries_none_are_pinned(tmp_path: Path) -> None:
    assert reference_blas(tmp_path) is None


# --- settings

NEEDED = {"SCORER_STORE_URL": "file:///m", "SCORER_GATEWAY_KEYS_FILE": "/k.pem"}


def test_settings_have_defaults_for_all_but_the_store_and_the_keys() -> None:
    settings = read(ScorerSettings, PREFIX, {**NEEDED, "SCORER_MODELS": "a, b@2", "SCORER_PORT": "0"})
    assert settings.models == ("a", "b@2")
    assert settings.port == 0
    assert {name for name, _, default, _ in describe(ScorerSettings, PREFIX) if default == "required"} == set(NEEDED)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SCORER_MODELS", "a@"),
        ("SCORER_HELD_BYTES", "1000"),
        ("SCORER_RUN_DIR", "/" + "x" * 90),
        ("SCORER_WORKERS", "-1"),
        ("SCORER_POLL_S", "0"),
        ("SCORER_POLL_S", "inf"),
        ("SCORER_RETRACT_S", "inf"),
        ("SCORER_REFORK_SHARE", "inf"),
        ("SCORER_MEMORY_MIB", "9999999999999999999999"),
        ("SCORER_WORKER_HEADROOM_MIB", "-1"),
        ("SCORER_WORKER_HEADROOM_MIB", "99999999999999999"),
        ("SCORER_WORKER_FILE_MIB", "9999999999999999999999"),
        ("SCORER_STORE_URL", "nope://x"),
        ("SCORER_STORE_URL", "models"),
        ("SCORER_STORE_URL", "file://models"),
        ("SCORER_STORE_URL", "az://"),
        ("SCORER_X", "1"),
    ],
)
def test_a_mistake_in_a_setting_names_it(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read(ScorerSettings, PREFIX, {**NEEDED, variable: value})


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/models",
        "az://models/scoregate",
        "abfss://c@a.dfs.core.windows.net/",
        "s3://b/p",
        "gs://b",
        "https://h/x",
    ],
)
def test_a_store_of_any_kind_that_obstore_opens_may_be_named(url: str) -> None:
    assert read(ScorerSettings, PREFIX, {**NEEDED, "SCORER_STORE_URL": url}).store_url == url


def test_all_mistakes_in_settings_are_told_at_once() -> None:
    wrong = {"MODELS": "a@,@1", "HELD_BYTES": "1000", "RUN_DIR": "/" + "x" * 90, "POLL_S": "0"}
    with pytest.raises(SettingsError) as caught:
        read(ScorerSettings, PREFIX, {**NEEDED, **{PREFIX + name: value for name, value in wrong.items()}})
    named = [mistake.removeprefix(PREFIX).partition(":")[0].split()[0] for mistake in caught.value.mistakes]
    assert named == ["POLL_S", "HELD_BYTES", "MODELS", "MODELS", "RUN_DIR"]

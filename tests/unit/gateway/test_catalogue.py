"""Which version serves when none is named, and what several pods' words add up to."""

from __future__ import annotations

import pytest

from gateway.core.catalogue import build_index
from shared.catalogue import Catalogue, VersionEntry, version_key
from shared.errors import NotFoundError, UnavailableError
from shared.signature import Field, Signature, Type

X = Field(name="x", type=Type.DOUBLE)
OUT = (Field(name="prediction", type=Type.DOUBLE),)


def entry(version: str, *, state: str = "ready", inputs: tuple[Field, ...] = (X,), **more: object) -> VersionEntry:
    signature = Signature(inputs=inputs, outputs=OUT)
    return VersionEntry(model="m", version=version, state=state, digest="d" + version, signature=signature, **more)  # type: ignore[arg-type]


def pod(*entries: VersionEntry) -> Catalogue:
    return Catalogue(pod="p", workers=2, versions=entries)


def test_the_highest_version_serves_by_number_not_by_text() -> None:
    assert build_index({"a": pod(entry("9"), entry("10"))}).models["m"].default == "10"


def test_a_version_that_not_every_pod_has_does_not_serve_yet() -> None:
    index = build_index({"a": pod(entry("1"), entry("2")), "b": pod(entry("1"))})
    assert index.models["m"].default == "1"
    assert index.find("m", "2").pods == {"a"}


def test_a_version_that_takes_less_than_its_predecessor_waits_to_be_promoted() -> None:
    wider = (X, Field(name="new", type=Type.DOUBLE))
    assert build_index({"a": pod(entry("1"), entry("2", inputs=wider))}).models["m"].default == "1"


def test_a_version_after_one_that_waits_is_held_against_the_one_that_serves() -> None:
    wider = (X, Field(name="new", type=Type.DOUBLE))
    index = build_index({"a": pod(entry("1"), entry("2", inputs=wider), entry("3"))})
    assert index.models["m"].default == "3"


def test_a_suffix_never_serves_by_default() -> None:
    index = build_index({"a": pod(entry("1"), entry("2-rc.1"))})
    assert index.models["m"].default == "1"
    assert index.find("m", "2-rc.1").ready


def test_a_version_that_no_pod_has_ready_is_unavailable_with_its_reason_and_not_absent() -> None:
    index = build_index({"a": pod(entry("1", state="unavailable", reason="digest of model.rds differs"))})
    with pytest.raises(UnavailableError, match="digest"):
        index.find("m", "1")
    with pytest.raises(UnavailableError):
        index.find("m")
    with pytest.raises(NotFoundError):
        index.find("m", "2")
    with pytest.raises(NotFoundError):
        index.find("other")


def test_a_version_that_one_pod_must_not_batch_is_batched_nowhere() -> None:
    index = build_index({"a": pod(entry("1")), "b": pod(entry("1", batchable=False, batchable_reason="BLAS"))})
    assert not index.find("m").entry.batchable


def test_the_manifest_that_more_pods_have_wins() -> None:
    other = VersionEntry(
        model="m", version="1", state="ready", digest="zz", signature=Signature(inputs=(X,), outputs=OUT)
    )
    index = build_index({"a": pod(entry("1")), "b": pod(entry("1")), "c": pod(other)})
    assert index.find("m").entry.digest == "d1"
    assert index.find("m").pods == {"a", "b"}


@pytest.mark.parametrize("version", ["", "1.2.3.4", "v1", "1-", "1.x", "-1", "1-a/b", "٣"])
def test_what_is_not_a_version_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"is not|suffix"):
        version_key(version)


@pytest.mark.parametrize("version", ["01", "1.02", "00", "1.0.00-rc"])
def test_a_leading_zero_is_refused_for_it_would_be_another_name_of_the_same_rank(version: str) -> None:
    with pytest.raises(ValueError, match="leading zero"):
        version_key(version)


def test_zero_itself_is_a_number() -> None:
    assert version_key("0") < version_key("0.1") < version_key("1.0.0-01")


def test_a_model_whose_only_version_is_unavailable_says_why_and_that_is_not_404() -> None:
    index = build_index({"a": pod(entry("1", state="unavailable", reason="its workers do not stay up"))})
    for version in (None, "1"):
        with pytest.raises(UnavailableError, match="its workers do not stay up"):
            index.find("m", version)


def test_a_pod_that_cannot_keep_the_newest_version_up_does_not_bring_an_older_one_back() -> None:
    before = build_index({"a": pod(entry("1"), entry("2")), "b": pod(entry("1"), entry("2"))})
    down = entry("2", state="unavailable")
    one_left = build_index({"a": pod(entry("1"), entry("2")), "b": pod(entry("1"), down)}, before)
    assert one_left.find("m").entry.version == "2"
    assert one_left.find("m").pods == {"a"}
    none_left = build_index({"a": pod(entry("1"), down), "b": pod(entry("1"), down)}, one_left)
    assert none_left.find("m").entry.version == "1"

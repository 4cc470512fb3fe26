"""What an operator promoted serves by default; what happens when the promoted version is late, gone or refused."""

from __future__ import annotations

import msgspec

from gateway.core.catalogue import Index, build_index
from scorer.core.catalogue import render
from scorer.core.states import VersionState
from scorer.core.version import Version
from shared.catalogue import Catalogue, Promotion, VersionEntry
from shared.signature import Field, Signature, Type

SIGNATURE = Signature(inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="p", type=Type.DOUBLE),))


def entry(version: str, state: str = "ready") -> VersionEntry:
    return VersionEntry(model="m", version=version, state=state, digest="d" + version, signature=SIGNATURE)


def pod(*versions: str | VersionEntry, promoted: str | None = None, at: float = 1.0) -> Catalogue:
    entries = tuple(entry(v) if isinstance(v, str) else v for v in versions)
    told = {} if promoted is None else {"m": Promotion(promoted, at)}
    return Catalogue(pod="p", workers=1, versions=entries, promoted=told)


def default(*pods: Catalogue, previous: Index | None = None) -> str | None:
    return build_index({str(n): one for n, one in enumerate(pods)}, previous).models["m"].default


def test_a_promoted_version_serves_though_a_higher_one_is_there() -> None:
    assert default(pod("1", "2")) == "2"
    assert default(pod("1", "2", promoted="1")) == "1"


def test_a_version_published_after_a_promotion_waits_for_its_own() -> None:
    before = build_index({"a": pod("1", "2", promoted="2")})
    assert default(pod("1", "2", "3", promoted="2"), previous=before) == "2"


def test_what_serves_goes_on_until_every_pod_has_the_promoted_version() -> None:
    before = build_index({"a": pod("1"), "b": pod("1")})
    half = build_index({"a": pod("1", "2", promoted="2"), "b": pod("1", promoted="2")}, before)
    assert half.models["m"].default == "1"
    assert default(pod("1", "2", promoted="2"), pod("1", "2", promoted="2"), previous=half) == "2"


def test_a_pod_that_has_just_started_does_not_bring_the_demoted_version_back() -> None:
    before = build_index({"a": pod("1", "2", promoted="1")})
    assert default(pod("1", "2", promoted="1"), pod("2"), previous=before) == "1"
    assert default(pod("1", "2", promoted="1"), pod(), previous=before) == "1"


def test_a_gateway_that_has_just_started_takes_the_promoted_version_where_any_pod_has_it() -> None:
    assert default(pod("1", "2", promoted="1"), pod("2", promoted="1")) == "1"


def test_a_promotion_to_a_version_that_is_gone_refused_or_has_a_suffix_falls_back_to_the_rule() -> None:
    before = build_index({"a": pod("1", "2", "3", promoted="3")})
    assert default(pod("1", "2", promoted="3"), previous=before) == "2"
    assert default(pod("1", "2", entry("3", "unavailable"), promoted="3"), previous=before) == "2"
    assert default(pod("1", "2", "3-rc", promoted="3-rc")) == "2"
    assert default(pod("1", "2", promoted="")) == "2"


def test_of_two_promotions_that_pods_tell_the_later_counts_for_every_gateway() -> None:
    assert default(pod("1", "2", promoted="2", at=5.0), pod("1", "2", promoted="1", at=9.0)) == "1"
    assert default(pod("1", "2", promoted="1", at=9.0), pod("1", "2", promoted="2", at=5.0)) == "1"


def test_a_scorer_tells_promotions_of_the_models_it_has_and_its_etag_follows() -> None:
    version = Version("m", "1", "tag", VersionState.UNAVAILABLE, reason="because")
    promoted = {"m": Promotion("1", 3.5), "elsewhere": Promotion("1", 3.5)}
    body, etag = render("p", 1, {version.key: version}, promoted)
    assert msgspec.json.decode(body, type=Catalogue).promoted == {"m": Promotion("1", 3.5)}
    assert etag != render("p", 1, {version.key: version})[1]

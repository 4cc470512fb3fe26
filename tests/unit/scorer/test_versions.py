"""A pod's versions: chosen, ready or not, tried again, and told to gateways."""

from __future__ import annotations

import json

import msgspec

from scorer.core.catalogue import render
from scorer.core.manifest import parse_manifest
from scorer.core.readiness import Readiness, absent, settled, wanted
from scorer.core.states import VersionState
from scorer.core.version import Version
from shared.catalogue import Catalogue


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

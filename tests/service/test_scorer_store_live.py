"""A running pod and its store: signatures, retractions, promotions, a store that is away, a cache that is deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from client.store import Store as Publisher
from client.store import sign_package
from shared.catalogue import Catalogue
from shared.signing import place
from tests.service.scorer_models import doubling
from tests.service.scorer_pod import Model, Scorer, scorer
from tests.support import eventually


def state(pod: Scorer, number: str) -> str | None:
    return pod.version("double", number).get("state")


def refused(pod: Scorer, number: str) -> str:
    """The reason, once it is refused."""
    eventually(lambda: state(pod, number) == "unavailable", what=f"{number} is refused ({pod.log})")
    return str(pod.version("double", number)["reason"])


def catalogue(pod: Scorer) -> Catalogue:
    answer = pod.http.get(f"{pod.url}/internal/catalogue", headers=pod.headers).raise_for_status()
    return msgspec.json.decode(answer.content, type=Catalogue)


# --- signatures


class Keys:
    """Two publishers' keys; the first is trusted."""

    def __init__(self, folder: Path) -> None:
        self.trusted, self.stranger = (self._make(folder / name) for name in ("trusted", "stranger"))
        self.file = folder / "trusted.pub"

    def _make(self, path: Path) -> Path:
        key = Ed25519PrivateKey.generate()
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.with_suffix(".pub").write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        return path


def packages(folder: Path, *models: Model) -> list[Path]:
    """Model packages, not published."""
    for model in models:
        model.publish(folder / "made")
    made = Publisher((folder / "made").as_uri())
    return [made.fetch(m.name, m.version, folder / f"package-{m.version}") for m in models]


def test_only_what_a_trusted_key_has_signed_is_served_and_the_rest_is_refused_by_name(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    store = Publisher((tmp_path / "store").as_uri())
    signed, unsigned, stranger, swapped = packages(tmp_path, *(doubling(n, int(n)) for n in "1234"))
    good = sign_package(signed, keys.trusted)
    sign_package(signed, keys.stranger)  # a second signature does no harm
    sign_package(stranger, keys.stranger)
    for folder in (signed, unsigned, stranger, swapped):
        published = store.publish(folder)
    forged = tmp_path / "store" / place(published.digest, good.key_id)
    forged.parent.mkdir(parents=True)
    forged.write_text(str(good))  # a trusted key's signature, of another version
    with scorer(tmp_path, trusted_keys=str(keys.file)) as pod:
        pod.ready()
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]
        assert "not signed, and SCORER_TRUSTED_KEYS asks for it" in refused(pod, "2")
        assert "signed only by key" in refused(pod, "3")
        assert "does not fit the manifest" in refused(pod, "4")
        sign_package(unsigned, keys.trusted)
        assert not store.publish(unsigned).created
        pod.http.post(f"{pod.internal_url}/refresh")
        eventually(lambda: state(pod, "2") == "ready", what="it is served once it is signed")


def test_signed_versions_are_served_from_the_cache_while_the_store_is_away_and_unsigned_ones_are_not(
    tmp_path: Path,
) -> None:
    keys = Keys(tmp_path)
    signed, unsigned = packages(tmp_path, doubling("1", 1), doubling("2", 2))
    sign_package(signed, keys.trusted)
    for folder in (signed, unsigned):
        Publisher((tmp_path / "store").as_uri()).publish(folder)
    cache = str(tmp_path / "cache")
    with scorer(tmp_path, cache_dir=cache) as pod:
        eventually(lambda: {state(pod, n) for n in "12"} == {"ready"}, what="both: no key is asked for")
    with scorer(tmp_path, cache_dir=cache, trusted_keys=str(keys.file)) as pod:
        pod.ready()
    url = (tmp_path / "store").as_uri()
    (tmp_path / "store").rename(tmp_path / "away")
    with scorer(tmp_path, cache_dir=cache, trusted_keys=str(keys.file), url=url) as pod:
        pod.ready()
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]
        assert state(pod, "2") == "unavailable"


# --- retracting and promoting


def test_a_retracted_version_answers_until_gateways_have_noticed_then_goes_and_may_come_back(tmp_path: Path) -> None:
    one, two = doubling("1", 1), doubling("2", 2)
    store = Publisher((tmp_path / "store").as_uri())
    with scorer(tmp_path, one, two, retract_s=1, cache_dir=str(tmp_path / "cache")) as pod:
        eventually(lambda: {state(pod, n) for n in "12"} == {"ready"}, what="both are there")
        before = {p: p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file()}
        store.retract("double", "2", "a mistake", "2026-11-22T15:00:00+00:00")
        eventually(lambda: [v.version for v in catalogue(pod).versions] == ["1"], what="gateways are told")
        assert pod.predict(two, x=[1.0]) == [2.0]  # they may not know yet
        eventually(lambda: not pod.version("double", "2"), what="it is gone")
        assert pod.post(two, {"x": [1.0]}).status_code == 404
        assert {p: p.read_bytes() for p in before} == before
        assert len(list((tmp_path / "cache" / "packages").iterdir())) == 1
        store.restore("double", "2")
        eventually(lambda: state(pod, "2") == "ready", what="it is back")
        assert pod.predict(two, x=[1.0]) == [2.0]
        for number in "12":
            store.retract("double", number, "", "")
        eventually(lambda: not catalogue(pod).versions, what="the last one is retracted, too")


def test_a_promotion_is_told_in_the_catalogue_and_the_last_writer_wins(tmp_path: Path) -> None:
    store = Publisher((tmp_path / "store").as_uri())
    with scorer(tmp_path, doubling("1", 1), doubling("2", 2)) as pod:
        eventually(lambda: {state(pod, n) for n in "12"} == {"ready"}, what="both are there")
        assert catalogue(pod).promoted == {}
        store.promote("double", "1")
        first = eventually(lambda: catalogue(pod).promoted.get("double"), what="it is told")
        assert first.version == "1"
        store.promote("double", "2")
        eventually(lambda: catalogue(pod).promoted["double"].version == "2", what="the later one")
        assert catalogue(pod).promoted["double"].at >= first.at
        store.promote("double", None)
        eventually(lambda: catalogue(pod).promoted == {}, what="none")


# --- a store that is away, a cache that is deleted


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Path]:
    """A store that was cached by a run before, and is not there."""
    with scorer(tmp_path, doubling("1", 1), cache_dir=str(tmp_path / "cache")) as pod:
        pod.ready()
    return (tmp_path / "store").rename(tmp_path / "away")


def test_a_pod_that_starts_while_the_store_is_away_serves_what_is_cached_and_catches_up(
    tmp_path: Path, away: Path
) -> None:
    with scorer(tmp_path, cache_dir=str(tmp_path / "cache"), url=(tmp_path / "store").as_uri()) as pod:
        pod.ready()
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]
        assert "filesystem root" in pod.status()["store_error"]
        doubling("2", 2).publish(away)
        away.rename(tmp_path / "store")
        eventually(lambda: state(pod, "2") == "ready", what="it caught up")
        assert pod.status()["store_error"] is None


def test_a_folder_that_is_empty_at_the_start_as_one_that_is_not_mounted_counts_as_away(
    tmp_path: Path, away: Path
) -> None:
    with scorer(tmp_path, cache_dir=str(tmp_path / "cache")) as pod:
        pod.ready()
        assert "no model at all any more" in pod.status()["store_error"]
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]


def test_the_cache_of_another_store_serves_nothing(tmp_path: Path, away: Path) -> None:
    with scorer(tmp_path, cache_dir=str(tmp_path / "cache"), url=(tmp_path / "other").as_uri()) as pod:
        eventually(lambda: "filesystem root" in pod.status()["store_error"], what="it says that the store is away")
        assert pod.http.get(f"{pod.internal_url}/readyz").status_code == 503


def test_deleting_the_cache_of_a_running_pod_harms_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with scorer(tmp_path, doubling("1", 1), cache_dir=str(cache)) as pod:
        pod.ready()
        shutil.rmtree(cache)
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]
        doubling("2", 2).publish(tmp_path / "store")
        eventually(lambda: state(pod, "2") == "ready", what="a new version is fetched")
        [zygote] = [z["pid"] for z in pod.status()["zygotes"] if z["version"] == "1"]
        os.kill(zygote, 9)
        eventually(
            lambda: [z for z in pod.status()["zygotes"] if (z["version"], z["state"]) == ("1", "alive") and z["pid"] != zygote],
            what="its zygote is loaded anew, from the store",
        )  # fmt: skip
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]

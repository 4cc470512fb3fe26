"""The store and its cache without R: what is fetched again, what survives damage, full disks, and an absent store."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from client.store import Store as Publisher
from client.store import sign_package
from devkit import r
from scorer.core.listing import Found
from scorer.core.manifest import digest_of, parse_manifest
from scorer.shell.cache import CacheError, CorruptError
from scorer.shell.store import Store, StoreError
from shared.signing import parse, place
from tests.service.scorer_models import DOUBLE
from tests.service.scorer_pod import ROOT
from tests.support import eventually


async def load(store: Store, item: Found) -> Path:
    """As the scorer does it."""
    data = await store.manifest(item)
    return await store.package(parse_manifest(data, item.model, item.version), data, digest_of(data))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    DOUBLE.publish(tmp_path / "store")
    return tmp_path / "store"


def package(folder: Path, version: str = "1", **files: bytes) -> Path:
    """A model package with these files, which no R will ever read."""
    published = folder / "made"
    replace(DOUBLE, version=version).publish(published)
    Publisher(published.as_uri()).fetch("double", version, folder / "package")
    manifest = json.loads((folder / "package" / "manifest.json").read_text())
    for name, data in files.items():
        (folder / "package" / name).write_bytes(data)
        manifest["files"][name] = {"sha256": digest_of(data), "size": len(data)}
    (folder / "package" / "manifest.json").write_text(json.dumps(manifest))
    return folder / "package"


# --- the cache


async def test_only_what_changed_is_fetched(published: Path, tmp_path: Path) -> None:
    store = Store(published.as_uri(), tmp_path / "cache")
    [one] = (await store.look()).found
    await load(store, one)
    shutil.rmtree(published / "blobs")
    new = replace(DOUBLE, version="2", code=DOUBLE.code + " + 0")
    new.publish(published)
    (published / "blobs" / "sha256" / digest_of(DOUBLE.code.encode())).unlink(missing_ok=True)
    null = next(p for p in (published / "blobs" / "sha256").iterdir() if p.stat().st_size < 20)
    null.unlink()  # model.rds is the same in both versions: it is not asked for again
    again = Store(published.as_uri(), tmp_path / "cache")
    folders = [await load(again, item) for item in (await again.look()).found]
    assert [(folder / "model.rds").stat().st_nlink for folder in folders] == [3, 3]  # the blob and two versions


async def test_a_manifest_that_has_not_changed_is_not_fetched_again(published: Path, tmp_path: Path) -> None:
    store = Store(published.as_uri(), tmp_path / "cache")
    [one] = (await store.look()).found
    await load(store, one)
    shutil.rmtree(published)
    await load(Store(published.as_uri(), tmp_path / "cache"), one)


@pytest.mark.parametrize("victim", ["model.rds", "score.R", "manifest.json", "folder", "cache", "blobs", "index"])
async def test_what_is_damaged_or_deleted_in_the_cache_is_fetched_again(
    published: Path, tmp_path: Path, victim: str
) -> None:
    cache = tmp_path / "cache"
    store = Store(published.as_uri(), cache)
    [one] = (await store.look()).found
    folder = await load(store, one)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    if victim in whole:
        (folder / victim).chmod(0o600)
        (folder / victim).write_bytes(b"quit()")
    elif victim == "index":
        (cache / "index.json").write_text("{")
    else:
        shutil.rmtree({"folder": folder, "cache": cache, "blobs": cache / "blobs"}[victim])
    for same in (store, Store(published.as_uri(), cache)):
        assert {path.name: path.read_bytes() for path in (await load(same, one)).iterdir()} == whole


async def test_the_folder_of_a_version_that_has_gone_meanwhile_goes_at_the_next_start(
    published: Path, tmp_path: Path
) -> None:
    replace(DOUBLE, version="2", code=DOUBLE.code + " + 0").publish(published)
    store = Store(published.as_uri(), tmp_path / "cache")
    one, two = [await load(store, item) for item in (await store.look()).found]
    shutil.rmtree(published / "models" / "double" / "2")
    again = Store(published.as_uri(), tmp_path / "cache")
    await again.look()
    again.cache.prune()
    assert one.exists()
    assert not two.exists()
    assert len(list((tmp_path / "cache" / "blobs").iterdir())) == 2


async def test_while_the_store_is_away_the_cache_says_what_it_has(published: Path, tmp_path: Path) -> None:
    store = Store(published.as_uri(), tmp_path / "cache")
    assert store.cache.listing() is None
    Publisher(published.as_uri()).promote("double", "1")
    [one] = (await store.look()).found
    await load(store, one)
    shutil.move(published, tmp_path / "away")
    again = Store(published.as_uri(), tmp_path / "cache")
    with pytest.raises(StoreError, match="filesystem root"):
        await again.look()
    cached = again.cache.listing()
    assert cached is not None
    assert cached.found == [one]
    assert cached.promoted["double"].version == "1"
    await load(again, one)
    assert Store((tmp_path / "other").as_uri(), tmp_path / "cache").cache.listing() is None


# --- damage in the store


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda blob: blob.unlink(), "score.R is not in the store"),
        (lambda blob: blob.write_bytes(b"x"), "score.R has 1 of the"),
        (lambda blob: blob.write_bytes(b"x" * 9999), "score.R is larger than"),
        (lambda blob: blob.write_bytes(blob.read_bytes()[::-1]), "score.R is not the file that was published"),
    ],
)
async def test_a_file_that_is_not_what_the_manifest_says_is_refused_by_name(
    published: Path, tmp_path: Path, damage: object, says: str
) -> None:
    blob = published / "blobs" / "sha256" / digest_of(DOUBLE.code.encode())
    whole = blob.read_bytes()
    damage(blob)  # type: ignore[operator]
    store = Store(published.as_uri(), tmp_path / "cache")
    [one] = (await store.look()).found
    with pytest.raises(CorruptError, match=says):
        await load(store, one)
    assert list((tmp_path / "cache" / "packages").iterdir()) == []
    assert [p.name for p in (tmp_path / "cache" / "blobs").iterdir() if p.name.startswith("tmp-")] == []
    blob.write_bytes(whole)
    await load(store, one)


async def test_nonsense_beside_the_models_is_no_model(published: Path, tmp_path: Path) -> None:
    for path in (
        "models/manifest.json",
        "models/double/2/manifest.json#1",
        "models/a/b/c/manifest.json",
        "models/x/promoted",
    ):
        (published / path).parent.mkdir(parents=True, exist_ok=True)
        (published / path).write_text("nonsense")
    listing = await Store(published.as_uri(), tmp_path / "cache").look()
    assert [(item.model, item.version) for item in listing.found] == [("double", "1")]
    assert listing.promoted["x"].version == ""


async def test_a_promotion_that_is_too_large_promotes_nothing_and_stops_no_other_model(
    published: Path, tmp_path: Path
) -> None:
    note = published / "models" / "x" / "promoted"
    note.parent.mkdir()
    note.write_text(json.dumps({"version": "1", "more": "x" * 100_000}))
    Publisher(published.as_uri()).promote("double", "1")
    store = Store(published.as_uri(), tmp_path / "cache")
    with capture_logs() as logs:
        for _ in range(2):
            listing = await store.look()
    assert [(item.model, item.version) for item in listing.found] == [("double", "1")]
    assert {model: promotion.version for model, promotion in listing.promoted.items()} == {"x": "", "double": "1"}
    assert [(line["event"], line["model"]) for line in logs] == [("scorer.store.promotion_unreadable", "x")]


# --- signatures


@pytest.mark.parametrize("junk", ["0", "large"])
async def test_what_others_put_beside_a_signature_hides_it_from_nobody(tmp_path: Path, junk: str) -> None:
    folder = package(tmp_path)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key").write_bytes(key)
    signed = sign_package(folder, tmp_path / "key")
    digest = Publisher((tmp_path / "store").as_uri()).publish(folder).digest
    places = tmp_path / "store" / place(digest, "")
    for number in range(40):
        (places / f"{junk}{number:02}").write_bytes(b"x" * (100_000 if junk == "large" else 10))
    store = Store((tmp_path / "store").as_uri(), tmp_path / "cache")
    assert (await store.signatures(digest, [signed.key_id, "f" * 16])).found == [signed]


async def test_a_trusted_keys_place_with_something_too_large_has_no_signature_and_strangers_are_named(
    tmp_path: Path,
) -> None:
    places = tmp_path / "store" / place("0" * 64, "")
    places.mkdir(parents=True)
    (places / ("a" * 16)).write_bytes(b"x" * 100_000)
    (places / ("b" * 16)).write_bytes(b"x")
    (places / "junk").write_bytes(b"x")
    store = Store((tmp_path / "store").as_uri(), tmp_path / "cache")
    signatures = await store.signatures("0" * 64, ["a" * 16])
    assert signatures.found == []
    assert signatures.strangers == ("a" * 16, "b" * 16)


# --- a full disk


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The kernel's own refusal, as a full disk gives it, for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_a_file_that_cannot_be_written_whole_is_named_and_never_served(tmp_path: Path) -> None:
    Publisher((tmp_path / "store").as_uri()).publish(package(tmp_path, **{"big.R": b"#" * 3_000_000}))
    store = Store((tmp_path / "store").as_uri(), tmp_path / "cache")
    [one] = (await store.look()).found
    with files_no_larger_than(1_500_000), pytest.raises(CacheError, match="File too large"):
        await load(store, one)
    assert list((tmp_path / "cache" / "packages").iterdir()) == []
    assert all(digest_of(p.read_bytes()) == p.name for p in (tmp_path / "cache" / "blobs").iterdir())
    await load(store, one)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_named_and_when_there_is_room_again_the_version_loads(
    small_disk: Path, tmp_path: Path
) -> None:
    Publisher((tmp_path / "store").as_uri()).publish(package(tmp_path, **{"big.R": b"#" * 700_000}))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 600_000)
    store = Store((tmp_path / "store").as_uri(), small_disk / "cache")
    [one] = (await store.look()).found
    with pytest.raises(CacheError, match="No space left on device"):
        await load(store, one)
    assert list((small_disk / "cache" / "packages").iterdir()) == []
    ballast.unlink()
    folder = await load(store, one)
    assert (folder / "big.R").stat().st_size == 700_000


# --- a disk that fails


async def test_a_cache_that_cannot_be_read_is_the_caches_failure(published: Path, tmp_path: Path) -> None:
    store = Store(published.as_uri(), tmp_path / "cache")
    [one] = (await store.look()).found
    folder = await load(store, one)
    (folder / "model.rds").unlink()
    (folder / "model.rds").mkdir()  # read(2) fails, for root too
    data = await store.manifest(one)
    with pytest.raises(CacheError, match="Is a directory"):
        await store.package(parse_manifest(data, one.model, one.version), data, digest_of(data))


# --- publishers


def publish_command(folder: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "client", "publish", str(folder), "--store", store.as_uri()]


def test_publishers_in_r_and_python_at_once_publish_one_version_whole(tmp_path: Path) -> None:
    r.install_library()
    environment = os.environ | r.environment() | {"PYTHONPATH": str(ROOT)}
    packages = [package(tmp_path / str(n), **{"more.R": b"# %d" % n}) for n in range(4)]
    store = tmp_path / "store"
    commands = [
        ["Rscript", "-e", f"scoregate::publish_model('{folder}', '{store.as_uri()}')"]
        if number % 2
        else publish_command(folder, store)
        for number, folder in enumerate(packages)
    ]
    running = [subprocess.Popen(c, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) for c in commands]
    said = [process.communicate(timeout=60)[1] for process in running]
    won = [number for number, process in enumerate(running) if process.returncode == 0]
    assert len(won) == 1, said
    lost = [text for number, text in enumerate(said) if number not in won]
    assert all("a published version never changes" in " ".join(text.split()) for text in lost), lost
    whole = Publisher(store.as_uri()).fetch("double", "1", tmp_path / "fetched")
    assert (whole / "manifest.json").read_bytes() == (packages[won[0]] / "manifest.json").read_bytes()


@pytest.mark.parametrize("language", ["python", "r"])
def test_a_publisher_that_is_killed_half_way_leaves_no_version_and_blocks_nobody(tmp_path: Path, language: str) -> None:
    r.install_library()
    folder = package(tmp_path, **{"big.R": os.urandom(200_000_000)})
    store = tmp_path / "store"
    (store / "blobs" / "sha256").mkdir(parents=True)
    code = f"scoregate::publish_model('{folder}', '{store.as_uri()}')"
    command = publish_command(folder, store) if language == "python" else ["Rscript", "-e", code]
    environment = os.environ | r.environment() | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    blob = digest_of((folder / "big.R").read_bytes())
    try:
        eventually(
            lambda: [p for p in (store / "blobs" / "sha256").iterdir() if p.name.startswith(blob)],
            every_s=0.001,
            what="it is writing",
        )
    finally:
        process.kill()
        process.wait()
    assert not (store / "models").exists()
    reader = Store(store.as_uri(), tmp_path / "cache")
    assert asyncio.run(reader.look()).found == []
    assert Publisher(store.as_uri()).publish(folder).created
    [one] = asyncio.run(reader.look()).found
    asyncio.run(load(reader, one))


def test_publishing_from_r_takes_the_signature_along_and_refuses_one_of_another_manifest(tmp_path: Path) -> None:
    r.install_library()
    folder = package(tmp_path)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key").write_bytes(key)
    signed = sign_package(folder, tmp_path / "key")
    raw = (folder / "manifest.json").read_bytes()

    def publish(store: Path) -> subprocess.CompletedProcess[str]:
        code = f"scoregate::publish_model('{folder}', '{store.as_uri()}')"
        environment = os.environ | r.environment()
        return subprocess.run(["Rscript", "-e", code], env=environment, capture_output=True, text=True, check=False)

    assert publish(tmp_path / "store").returncode == 0
    assert parse((tmp_path / "store" / place(digest_of(raw), signed.key_id)).read_text()) == [signed]
    (folder / "manifest.json").write_bytes(raw + b"\n")
    refused = publish(tmp_path / "other")
    assert refused.returncode != 0
    assert "not a signature of this manifest" in refused.stderr
    assert not (tmp_path / "other" / "models").exists()

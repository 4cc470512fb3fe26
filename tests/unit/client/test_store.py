"""Publishing: blobs by digest, the manifest last and only if absent, the same layout as R's publish_model()."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from client.store import PackageError, Store, StoreError, read_package


def make_package(folder: Path, *, version: str = "1", content: bytes = b"model", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.rds").write_bytes(content)
    manifest = {
        "format": "scoregate.model/1",
        "name": "m",
        "version": version,
        "files": {"model.rds": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}},
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture(params=["url", "path"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    folder = tmp_path / "a store"
    return Store(folder.as_uri() if request.param == "url" else str(folder))


def test_a_package_is_published_once_and_read_back_whole(store: Store, tmp_path: Path) -> None:
    package = make_package(tmp_path / "p")
    first = store.publish(package)
    assert (first.name, first.version, first.created, first.uploaded_bytes) == ("m", "1", True, 5)
    assert first.digest == hashlib.sha256((package / "manifest.json").read_bytes()).hexdigest()
    blob = hashlib.sha256(b"model").hexdigest()
    assert files(tmp_path / "a store") == [f"blobs/sha256/{blob}", "models/m/1/manifest.json"]
    again = store.publish(package)
    assert (again.created, again.uploaded_bytes) == (False, 0)
    fetched = store.fetch("m", "1", tmp_path / "fetched")
    assert files(fetched) == ["manifest.json", "model.rds"]
    assert (fetched / "manifest.json").read_bytes() == (package / "manifest.json").read_bytes()


def test_a_store_says_whether_its_folder_was_there_before(store: Store) -> None:
    assert store.is_new
    assert not Store(store.url).is_new


def test_a_published_version_never_changes(store: Store, tmp_path: Path) -> None:
    store.publish(make_package(tmp_path / "p"))
    before = (tmp_path / "a store/models/m/1/manifest.json").read_bytes()
    with pytest.raises(StoreError, match="a published version never changes; choose another"):
        store.publish(make_package(tmp_path / "q", content=b"another"))
    assert (tmp_path / "a store/models/m/1/manifest.json").read_bytes() == before


def test_of_many_publishers_of_one_version_one_wins(store: Store, tmp_path: Path) -> None:
    packages = [make_package(tmp_path / f"p{i}", content=f"model {i}".encode()) for i in range(8)]
    results: list[Any] = []

    def publish(package: Path) -> None:
        try:
            results.append(store.publish(package))
        except StoreError as error:
            results.append(error)

    threads = [threading.Thread(target=publish, args=(package,)) for package in packages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [r for r in results if not isinstance(r, StoreError)]
    assert len(winners) == 1
    assert hashlib.sha256((store.fetch("m", "1", tmp_path / "f") / "manifest.json").read_bytes()).hexdigest() == (
        winners[0].digest
    )


def test_versions_are_listed_by_number(store: Store, tmp_path: Path) -> None:
    for version in ("10", "9", "9.1", "10-rc"):
        store.publish(make_package(tmp_path / version, version=version))
    assert store.versions("m") == ["9", "9.1", "10", "10-rc"]
    assert store.versions("other") == []


def test_what_is_no_version_is_not_listed_as_one(store: Store, tmp_path: Path) -> None:
    store.publish(make_package(tmp_path / "1"))
    for name in ("01", "x"):
        manifest = tmp_path / "a store/models/m" / name / "manifest.json"
        manifest.parent.mkdir()
        manifest.write_text("{}")
    assert store.versions("m") == ["1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other/1"}, "format 'other/1' is not scoregate.model/1"),
        ({"version": "one"}, "'one' is not N"),
        ({"version": "01"}, "'01' has a number with a leading zero"),
        ({"version": "../../x"}, "is not N"),
        ({"name": "../up"}, "name"),
        ({"files": {"../model.rds": {"sha256": "00", "size": 1}}}, "outside its folder"),
        ({"files": {"gone.rds": {"sha256": "00", "size": 1}}}, "gone.rds cannot be read"),
        ({"files": {"model.rds": {"sha256": "00", "size": 5}}}, "is not the file that manifest.json names"),
        ({"files": []}, "Expected"),
    ],
)
def test_a_folder_that_is_no_package_says_why(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        read_package(make_package(tmp_path / "p", **changes))


def test_a_folder_without_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="is not a model package"):
        read_package(tmp_path)


def test_a_store_that_lacks_the_version_or_a_blob_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no complete m version 1"):
        store.fetch("m", "1", tmp_path / "f")
    store.publish(make_package(tmp_path / "p"))
    blob = tmp_path / "a store" / "blobs" / "sha256" / hashlib.sha256(b"model").hexdigest()
    blob.write_bytes(b"model but longer")
    with pytest.raises(PackageError, match="is not the file"):
        store.fetch("m", "1", tmp_path / "f")
    assert store.publish(tmp_path / "p").uploaded_bytes == 5  # a damaged blob of another size is put again
    blob.unlink()
    with pytest.raises(StoreError, match="has no complete m version 1"):
        store.fetch("m", "1", tmp_path / "g")


@pytest.mark.parametrize("url", ["nonsense://x", "s3://"])
def test_a_url_that_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="is not a store"):
        Store(url)


def test_a_store_in_azure_without_an_account_asks_for_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StoreError, match=r"which storage account\? Set AZURE_STORAGE_ACCOUNT_NAME"):
        Store("az://models/scoregate")

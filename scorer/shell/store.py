"""The model store through obstore, and the verified copies of it on this machine.

In the store `models/<name>/<version>/manifest.json` names files by digest, `blobs/sha256/<hex>` holds them. Here each version
becomes a folder `packages/<manifest's sha256>/` that appears at once, by a rename, after every digest was checked; files are
shared between versions by hard links. Nothing is trusted for being here: a package's files are checked again at each start.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import ObjectStore, from_url

from scorer.core.manifest import FileEntry, Manifest

_MANIFEST = re.compile(r"models/([^/]+)/([^/]+)/manifest\.json")
_MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_CHUNK = 1024 * 1024


class StoreError(Exception):
    """The store cannot be read just now; it is asked again at the next poll."""


class CorruptError(Exception):
    """What the store holds is not what the manifest says; the version is not served."""


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest in the store. `tag` changes when it does."""

    model: str
    version: str
    tag: str


class Store:
    """Reads model packages. Never writes to the store."""

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url
        self._store: ObjectStore | None = None
        self._blobs = cache / "blobs"
        self._packages = cache / "packages"
        for folder in (self._blobs, self._packages):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in folder.glob("tmp-*"):  # of a run that was killed
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    def _open(self) -> ObjectStore:
        if self._store is None:
            self._store = from_url(self._url)
        return self._store

    async def list(self) -> list[Found]:
        """Every manifest there is. Raises StoreError."""
        found: list[Found] = []
        try:
            async for batch in obstore.list(self._open(), prefix="models"):
                for entry in batch:
                    if (match := _MANIFEST.fullmatch(entry["path"])) is not None:
                        tag = f"{entry['e_tag']} {entry['last_modified'].isoformat()} {entry['size']}"
                        found.append(Found(match[1], match[2], tag))
        except FileNotFoundError:
            return []
        except Exception as error:
            raise StoreError(_first_line(error)) from error
        return sorted(found, key=lambda item: (item.model, item.version))

    async def manifest(self, model: str, version: str) -> bytes:
        """The manifest's bytes. Raises StoreError; CorruptError if it is larger than 16 MiB."""
        try:
            result = await obstore.get_async(self._open(), f"models/{model}/{version}/manifest.json")
            size = result.meta["size"]
            data = bytes(await result.bytes_async()) if size <= _MAX_MANIFEST_BYTES else b""
        except Exception as error:
            raise StoreError(_first_line(error)) from error
        if size > _MAX_MANIFEST_BYTES:
            raise CorruptError("manifest.json is larger than 16 MiB")
        return data

    async def package(self, manifest: Manifest, data: bytes, digest: str) -> Path:
        """The version's folder with every file verified. Raises StoreError, CorruptError."""
        folder = self._packages / digest
        if await asyncio.to_thread(_intact, folder, manifest):
            return folder
        try:
            blobs = {name: await self._blob(name, entry) for name, entry in manifest.files.items()}
            await asyncio.to_thread(_assemble, folder, blobs, data)
        except OSError as error:
            raise StoreError(f"the cache cannot be written: {error.strerror or error}") from error
        return folder

    async def _blob(self, name: str, entry: FileEntry) -> Path:
        path = self._blobs / entry.sha256
        if await asyncio.to_thread(_has_digest, path, entry.sha256):
            return path
        with _temporary_file(self._blobs) as (descriptor, temporary):
            digest = await self._download(name, entry, descriptor)
            if digest != entry.sha256:
                raise CorruptError(f"{name} is not the file that was published: its sha256 is {digest}")
            os.fchmod(descriptor, 0o400)
            temporary.rename(path)
        return path

    async def _download(self, name: str, entry: FileEntry, descriptor: int) -> str:
        sha, size = hashlib.sha256(), 0
        try:
            result = await obstore.get_async(self._open(), f"blobs/sha256/{entry.sha256}")
            async for chunk in result.stream(min_chunk_size=_CHUNK):
                data = bytes(chunk)
                size += len(data)
                if size > entry.size:
                    break
                await asyncio.to_thread(_absorb, descriptor, sha, data)
        except FileNotFoundError as error:
            raise CorruptError(f"{name} is not in the store") from error
        except OSError:
            raise
        except Exception as error:
            raise StoreError(_first_line(error)) from error
        if size > entry.size:
            raise CorruptError(f"{name} is larger than the {entry.size} bytes that were published")
        if size < entry.size:
            raise CorruptError(f"{name} has {size} of the {entry.size} bytes that were published")
        return sha.hexdigest()

    def forget(self, digest: str) -> None:
        """Remove a version's folder, and the files that only it had."""
        if digest:
            shutil.rmtree(self._packages / digest, ignore_errors=True)
        for blob in self._blobs.iterdir():
            with contextlib.suppress(OSError):
                if blob.stat().st_nlink == 1 and not blob.name.startswith("tmp-"):
                    blob.unlink()


@contextlib.contextmanager
def _temporary_file(folder: Path) -> Iterator[tuple[int, Path]]:
    """A file to fill and rename; it is removed unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix="tmp-", dir=folder)
    path = Path(name)
    try:
        yield descriptor, path
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _absorb(descriptor: int, sha: hashlib._Hash, data: bytes) -> None:
    sha.update(data)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _assemble(folder: Path, blobs: Mapping[str, Path], manifest: bytes) -> None:
    """A package's folder, which appears whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix="tmp-", dir=folder.parent))
    try:
        for name, blob in blobs.items():
            _link(blob, temporary / name)
        (temporary / "manifest.json").write_bytes(manifest)
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, with the same bytes
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link(blob: Path, path: Path) -> None:
    try:
        os.link(blob, path)
    except OSError:  # a file system without hard links
        shutil.copyfile(blob, path)


def _has_digest(path: Path, sha256: str) -> bool:
    """Whether the file is here and whole; one that is not is removed."""
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return True
    except FileNotFoundError:
        return False
    path.unlink(missing_ok=True)
    return False


def _intact(folder: Path, manifest: Manifest) -> bool:
    """Whether the folder is here with every file whole; one that is not is removed."""
    if all(_has_digest(folder / name, entry.sha256) for name, entry in manifest.files.items()):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

"""Verified copies of model versions on this machine.

Each version is a folder `packages/<manifest's sha256>/` that appears at once, by a rename, after every digest was checked; files
are shared between versions by hard links. Nothing is trusted for being here: all of it is checked again at each load.
`index.json` remembers what the store had, so that a pod that starts while the store is away serves what it has. Asks no store.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import obstore

from scorer.core.listing import Found, Listing
from scorer.core.manifest import FileEntry, Manifest, digest_of
from shared.catalogue import Promotion

#: The parts of a file of a version: its name, and what the manifest says of it.
Source = Callable[[str, FileEntry], AsyncIterator[obstore.Bytes]]


class CacheError(Exception):
    """The cache on this machine cannot be written; tried again later."""


class CorruptError(Exception):
    """What the store holds is not what the manifest says; the version is not served."""


class _Known(msgspec.Struct):
    """A version in the index: its manifest's tag and digest."""

    tag: str
    digest: str


class _Index(msgspec.Struct):
    """`index.json`: of which store, and what it had."""

    url: str
    versions: dict[str, _Known] = {}
    promoted: dict[str, Promotion] = {}


class Cache:
    """The folder with the copies, and the index of the store that they are of (`url`)."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._blobs = folder / "blobs"
        self._packages = folder / "packages"
        self._in_use: Counter[str] = Counter()  # blobs of packages that are being put together
        self._make_folders()
        for left in (*folder.glob("tmp-*"), *self._blobs.glob("tmp-*"), *self._packages.glob("tmp-*")):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        self._index = self._read_index()

    def _make_folders(self) -> None:
        for folder in (self._folder, self._blobs, self._packages):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    # the index

    @property
    def expects_models(self) -> bool:
        """Whether the store had any when it was seen last."""
        return bool(self._index.versions)

    def listing(self) -> Listing | None:
        """What the store had when this cache last saw it, as far as it is here; None if nothing is. For a start without it."""
        here = [
            Found(key.partition("/")[0], key.partition("/")[2], known.tag)
            for key, known in sorted(self._index.versions.items())
            if (self._packages / known.digest).is_dir()
        ]
        return Listing(here, promoted=self._index.promoted) if here else None

    def keep(self, listing: Listing) -> None:
        """This is what the store has now: forget what it does not have any more."""
        there = {f"{item.model}/{item.version}" for item in listing.found}
        gone = self._index.versions.keys() - there
        if not gone and listing.promoted == self._index.promoted:
            return
        for key in gone:
            del self._index.versions[key]
        self._index.promoted = dict(listing.promoted)
        self._write_index()

    def _read_index(self) -> _Index:
        try:
            index = msgspec.json.decode((self._folder / "index.json").read_bytes(), type=_Index)
        except (OSError, msgspec.MsgspecError):
            return _Index(self._url)
        return index if index.url == self._url else _Index(self._url)

    def _write_index(self) -> None:
        with contextlib.suppress(OSError):  # then the next start asks the store
            self._make_folders()
            _write_whole(self._folder / "index.json", msgspec.json.encode(self._index))

    # small things

    def manifest(self, item: Found) -> bytes | None:
        """The manifest's bytes, if the store's has not changed since."""
        known = self._index.versions.get(f"{item.model}/{item.version}")
        if known is None or known.tag != item.tag:
            return None
        try:
            data = (self._packages / known.digest / "manifest.json").read_bytes()
        except OSError:
            return None
        return data if digest_of(data) == known.digest else None

    def keep_manifest(self, item: Found, data: bytes) -> None:
        """The store's manifest of this version is this."""
        self._index.versions[f"{item.model}/{item.version}"] = _Known(item.tag, digest_of(data))
        self._write_index()

    def signatures(self, digest: str) -> list[str]:
        """Lines of signatures that were kept. Raises OSError if none were."""
        return (self._folder / "signatures" / digest).read_text().splitlines()

    def keep_signatures(self, digest: str, lines: Iterable[str]) -> None:
        """Keep these, of a manifest; where that fails, the store is asked the next time."""
        kept = self._folder / "signatures" / digest
        with contextlib.suppress(OSError):
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_whole(kept, "\n".join(lines).encode())

    # packages

    async def package(self, manifest: Manifest, data: bytes, digest: str, source: Source) -> Path:
        """The version's folder with every file verified; what is not here comes from `source`.

        Raises CacheError, CorruptError, and what `source` raises, which must not be an OSError.
        """
        folder = self._packages / digest
        needed = [entry.sha256 for entry in manifest.files.values()]
        self._in_use.update(needed)
        try:
            if await asyncio.to_thread(_intact, folder, manifest, data):
                return folder
            self._make_folders()
            blobs = {name: await self._blob(name, entry, source) for name, entry in manifest.files.items()}
            await asyncio.to_thread(_assemble, folder, blobs, data)
        except OSError as error:
            raise CacheError(error.strerror or str(error)) from error
        finally:
            self._in_use.subtract(needed)
            self._in_use += Counter()  # forget those that nobody needs
        return folder

    async def _blob(self, name: str, entry: FileEntry, source: Source) -> Path:
        path = self._blobs / entry.sha256
        if await asyncio.to_thread(_has_digest, path, entry.sha256):
            return path
        with _temporary_file(self._blobs) as (descriptor, temporary):
            sha = hashlib.sha256()
            async for part in source(name, entry):
                await asyncio.to_thread(_absorb, descriptor, sha, part)
            if (digest := sha.hexdigest()) != entry.sha256:
                raise CorruptError(f"{name} is not the file that was published: its sha256 is {digest}")
            os.fchmod(descriptor, 0o400)
            temporary.rename(path)
        return path

    def forget(self, digest: str) -> None:
        """Remove a version's folder, and the files that only it had."""
        if digest:
            shutil.rmtree(self._packages / digest, ignore_errors=True)
            (self._folder / "signatures" / digest).unlink(missing_ok=True)
        self._drop_unused_blobs()

    def _drop_unused_blobs(self) -> None:
        with contextlib.suppress(OSError):
            for blob in self._blobs.iterdir():
                if blob.stat().st_nlink == 1 and not blob.name.startswith("tmp-") and not self._in_use[blob.name]:
                    blob.unlink()

    def prune(self) -> None:
        """Remove folders of versions that are in the index no more. Only before anything is loaded: later, `forget` does it."""
        known = {known.digest for known in self._index.versions.values()}
        with contextlib.suppress(OSError):
            for folder in self._packages.iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)
        self._drop_unused_blobs()


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


def _absorb(descriptor: int, sha: hashlib._Hash, data: obstore.Bytes) -> None:
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
        for name in blobs:  # a copy is not the file that was checked
            if (temporary / name).stat().st_nlink == 1 and not _has_digest(temporary / name, blobs[name].name):
                raise OSError(errno.EIO, f"{name} could not be copied whole")  # noqa: TRY301 - one way out
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, with the same bytes
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_whole(path: Path, data: bytes) -> None:
    """A small file that appears whole, by a rename."""
    with _temporary_file(path.parent) as (descriptor, temporary):
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        temporary.rename(path)


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


def _intact(folder: Path, manifest: Manifest, data: bytes) -> bool:
    """Whether the folder is here with every file whole; one that is not is removed."""
    if _has_digest(folder / "manifest.json", digest_of(data)) and all(
        _has_digest(folder / name, entry.sha256) for name, entry in manifest.files.items()
    ):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False

"""The model store through obstore, and the verified copies of it on this machine.

In the store `models/<name>/<version>/manifest.json` names files by digest, `blobs/sha256/<hex>` holds them; `retracted` beside a
manifest takes its version back, `models/<name>/promoted` names the default. Here each version becomes a folder
`packages/<manifest's sha256>/` that appears at once, by a rename, after every digest was checked; files are shared between
versions by hard links. Nothing is trusted for being here: all of it is checked again at each load. `index.json` remembers what
the store had, so that a pod that starts while the store is away serves what it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import obstore
import structlog
from obstore.store import ObjectStore, from_url

from scorer.core.manifest import FileEntry, Manifest, digest_of
from shared.catalogue import Promotion
from shared.signing import Signed, SigningError, parse, place

log = structlog.get_logger()
_MANIFEST = re.compile(r"models/([^/]+)/([^/]+)/manifest\.json")
_RETRACTED = re.compile(r"models/([^/]+)/([^/]+)/retracted")
_PROMOTED = re.compile(r"models/([^/]+)/promoted")
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_MAX_NOTE_BYTES = 64 * 1024
_MAX_SIGNERS = 16
_CHUNK = 8 * 1024 * 1024
T = TypeVar("T")
#: One call's own patience; the next poll is the longer one. obstore's default of three minutes would hold up every other version.
_RETRY: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=15),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=3), "base": 2},
}


class StoreError(Exception):
    """The store cannot be read just now; it is asked again at the next poll."""


class CacheError(Exception):
    """The cache on this machine cannot be written; tried again later."""


class CorruptError(Exception):
    """What the store holds is not what the manifest says; the version is not served."""


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest in the store. `tag` changes when it does."""

    model: str
    version: str
    tag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What the store has: versions that are not retracted, those that are, and what was promoted, by model."""

    found: list[Found]
    retracted: frozenset[tuple[str, str]] = frozenset()
    promoted: Mapping[str, Promotion] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Signatures:
    """Of a manifest, by the keys that were asked for; without any, some others that have signed it, by id."""

    found: list[Signed]
    strangers: tuple[str, ...] = ()


class _Known(msgspec.Struct):
    """A version in the index: its manifest's tag and digest."""

    tag: str
    digest: str


class _Index(msgspec.Struct):
    """`index.json`: of which store, and what it had."""

    url: str
    versions: dict[str, _Known] = {}
    promoted: dict[str, Promotion] = {}


class _PromotedNote(msgspec.Struct):
    """`models/<name>/promoted`."""

    version: str


class Store:
    """Reads model packages. Never writes to the store."""

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url
        self._store: ObjectStore | None = None
        self._cache = cache
        self._blobs = cache / "blobs"
        self._packages = cache / "packages"
        self._in_use: Counter[str] = Counter()  # blobs of packages that are being put together
        self._promoted: dict[str, tuple[str, Promotion]] = {}  # by model, with the object's tag
        self._make_folders()
        for left in (*cache.glob("tmp-*"), *self._blobs.glob("tmp-*"), *self._packages.glob("tmp-*")):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        self._index = self._read_index()

    def _make_folders(self) -> None:
        for folder in (self._cache, self._blobs, self._packages):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _open(self) -> ObjectStore:
        if self._store is None:
            # Not client_options: they would replace what the environment says of the connection (AZURE_ALLOW_HTTP, a proxy).
            options = {} if self._url.startswith(("file:", "memory:")) else {"retry_config": _RETRY}
            self._store = from_url(self._url, **options)
        return self._store

    async def look(self) -> Listing:
        """Everything there is. Raises StoreError."""
        found: list[Found] = []
        retracted: set[tuple[str, str]] = set()
        promoted: dict[str, tuple[str, float]] = {}
        try:
            async for batch in obstore.list(self._open(), prefix="models"):
                for entry in batch:
                    path, changed = entry["path"], entry["last_modified"]
                    tag = f"{entry['e_tag']} {changed.isoformat()} {entry['size']}"
                    if (match := _MANIFEST.fullmatch(path)) is not None:
                        found.append(Found(match[1], match[2], tag))
                    elif (match := _RETRACTED.fullmatch(path)) is not None:
                        retracted.add((match[1], match[2]))
                    elif (match := _PROMOTED.fullmatch(path)) is not None:
                        promoted[match[1]] = (tag, changed.timestamp())
            await self._read_promotions(promoted)
        except FileNotFoundError as error:
            raise StoreError(f"there is no such folder or container: {_first_line(error)}") from error
        except Exception as error:
            raise StoreError(_first_line(error)) from error
        if not found and self._index.versions:  # a folder that is not mounted looks like that
            raise StoreError("it lists no model at all any more; nothing is retracted")
        there = [item for item in found if (item.model, item.version) not in retracted]
        chosen = {model: promotion for model, (_, promotion) in self._promoted.items()}
        self._keep_index(there, chosen)
        return Listing(sorted(there, key=lambda item: (item.model, item.version)), frozenset(retracted), chosen)

    async def _read_promotions(self, listed: Mapping[str, tuple[str, float]]) -> None:
        """Fetch those that changed. One that cannot be understood, or is too large, promotes nothing: the rule decides."""
        for model in self._promoted.keys() - listed.keys():
            del self._promoted[model]
        for model, (tag, at) in listed.items():
            if self._promoted.get(model, ("",))[0] == tag:
                continue
            with contextlib.suppress(FileNotFoundError):  # taken back since it was listed
                try:
                    data = await self._read(f"models/{model}/promoted", _MAX_NOTE_BYTES)
                    version = msgspec.json.decode(data, type=_PromotedNote).version
                except (CorruptError, msgspec.MsgspecError) as error:
                    log.warning("scorer.store.promotion_unreadable", model=model, error=str(error))
                    version = ""
                self._promoted[model] = (tag, Promotion(version, at))

    async def _read(self, path: str, most: int) -> bytes:
        result = await obstore.get_async(self._open(), path)
        if result.meta["size"] > most:
            raise CorruptError(f"{path} is larger than {most} bytes")
        return bytes(await result.bytes_async())

    def cached(self) -> Listing | None:
        """What the store had when this cache last saw it, as far as it is here; None if nothing is. For a start without it."""
        here = [
            Found(key.partition("/")[0], key.partition("/")[2], known.tag)
            for key, known in sorted(self._index.versions.items())
            if (self._packages / known.digest).is_dir()
        ]
        return Listing(here, promoted=self._index.promoted) if here else None

    async def manifest(self, item: Found) -> bytes:
        """The manifest's bytes: from here if the store's has not changed since, or if the store is away.

        Raises StoreError; CorruptError if it is larger than 16 MiB.
        """
        known = self._index.versions.get(f"{item.model}/{item.version}")
        if known is not None and known.tag == item.tag and (data := self._cached_manifest(known.digest)) is not None:
            return data
        try:
            data = await self._read(f"models/{item.model}/{item.version}/manifest.json", _MAX_MANIFEST_BYTES)
        except CorruptError:
            raise
        except Exception as error:
            raise StoreError(_first_line(error)) from error
        self._index.versions[f"{item.model}/{item.version}"] = _Known(item.tag, digest_of(data))
        self._write_index()
        return data

    def _cached_manifest(self, digest: str) -> bytes | None:
        try:
            data = (self._packages / digest / "manifest.json").read_bytes()
        except OSError:
            return None
        return data if digest_of(data) == digest else None

    async def signatures(self, digest: str, keys: Iterable[str]) -> Signatures:
        """What these keys have signed of this manifest; the cached ones while the store is away. Raises StoreError.

        Anyone who may write there may put anything there: only these keys' places are read, and what is not a signature is none.
        """
        kept = self._cache / "signatures" / digest
        try:
            read = [await self._note(place(digest, key)) for key in sorted(keys)]
            lines = [line for data in read for line in data.decode(errors="replace").splitlines()]
            strangers = () if lines else await self._signers(digest)  # fails where the whole store is not there
        except Exception as error:
            try:
                lines, strangers = kept.read_text().splitlines(), ()
            except OSError:
                raise StoreError(_first_line(error)) from error
        else:
            with contextlib.suppress(OSError):
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write_whole(kept, "\n".join(lines).encode())
        found: list[Signed] = []
        for line in lines:
            with contextlib.suppress(SigningError):
                found += parse(line)
        return Signatures(found, strangers)

    async def _note(self, path: str) -> bytes:
        """A small object; nothing if it is absent, or not small."""
        try:
            return await self._read(path, _MAX_NOTE_BYTES)
        except (FileNotFoundError, CorruptError):
            return b""

    async def _signers(self, digest: str) -> tuple[str, ...]:
        """The first few keys that have a place there, for a message."""
        async for batch in obstore.list(self._open(), prefix=f"signatures/{digest}", chunk_size=_MAX_SIGNERS):
            names = (entry["path"].rpartition("/")[2] for entry in batch)
            return tuple(sorted(filter(_KEY_ID.fullmatch, names)))
        return ()

    async def package(self, manifest: Manifest, data: bytes, digest: str) -> Path:
        """The version's folder with every file verified. Raises StoreError, CacheError, CorruptError."""
        folder = self._packages / digest
        needed = [entry.sha256 for entry in manifest.files.values()]
        self._in_use.update(needed)
        try:
            if await asyncio.to_thread(_intact, folder, manifest, data):
                return folder
            self._make_folders()
            blobs = {name: await self._blob(name, entry) for name, entry in manifest.files.items()}
            await asyncio.to_thread(_assemble, folder, blobs, data)
        except OSError as error:
            raise CacheError(error.strerror or str(error)) from error
        finally:
            self._in_use.subtract(needed)
            self._in_use += Counter()  # forget those that nobody needs
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
        sha = hashlib.sha256()
        path = f"blobs/sha256/{entry.sha256}"
        size = (await self._ask(name, lambda: obstore.head_async(self._open(), path)))["size"]
        if size > entry.size:
            raise CorruptError(f"{name} is larger than the {entry.size} bytes that were published")
        if size < entry.size:
            raise CorruptError(f"{name} has {size} of the {entry.size} bytes that were published")
        for start in range(0, size, _CHUNK):  # by ranges: obstore gives one request with its body 30 seconds
            part = await self._ask(name, functools.partial(self._range, path, start, min(start + _CHUNK, size)))
            await asyncio.to_thread(_absorb, descriptor, sha, part)
        return sha.hexdigest()

    async def _range(self, path: str, start: int, end: int) -> obstore.Bytes:
        return await obstore.get_range_async(self._open(), path, start=start, end=end)

    async def _ask(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The store's errors are StoreErrors, but for what is not there; an OSError from elsewhere is the cache's."""
        try:
            return await ask()
        except FileNotFoundError as error:
            raise CorruptError(f"{name} is not in the store") from error
        except Exception as error:
            raise StoreError(_first_line(error)) from error

    def forget(self, digest: str) -> None:
        """Remove a version's folder, and the files that only it had."""
        if digest:
            shutil.rmtree(self._packages / digest, ignore_errors=True)
            (self._cache / "signatures" / digest).unlink(missing_ok=True)
        self._drop_unused_blobs()

    def _drop_unused_blobs(self) -> None:
        with contextlib.suppress(OSError):
            for blob in self._blobs.iterdir():
                if blob.stat().st_nlink == 1 and not blob.name.startswith("tmp-") and not self._in_use[blob.name]:
                    blob.unlink()

    # the index

    def _read_index(self) -> _Index:
        try:
            index = msgspec.json.decode((self._cache / "index.json").read_bytes(), type=_Index)
        except (OSError, msgspec.MsgspecError):
            return _Index(self._url)
        return index if index.url == self._url else _Index(self._url)

    def _keep_index(self, found: Iterable[Found], promoted: dict[str, Promotion]) -> None:
        """Forget what the store does not have any more, and the folders of what nobody knows (of runs before this one)."""
        there = {f"{item.model}/{item.version}" for item in found}
        gone = self._index.versions.keys() - there
        if not gone and promoted == self._index.promoted:
            return
        for key in gone:
            del self._index.versions[key]
        self._index.promoted = promoted
        self._write_index()

    def prune(self) -> None:
        """Remove folders of versions that are in the index no more. Only before anything is loaded: later, `forget` does it."""
        known = {known.digest for known in self._index.versions.values()}
        with contextlib.suppress(OSError):
            for folder in self._packages.iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)
        self._drop_unused_blobs()

    def _write_index(self) -> None:
        with contextlib.suppress(OSError):  # then the next start asks the store
            self._make_folders()
            _write_whole(self._cache / "index.json", msgspec.json.encode(self._index))


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


def _first_line(error: Exception) -> str:
    """With the code that Azure and S3 give, which stands further down: ContainerNotFound, AuthenticationFailed."""
    text = str(error)
    line = (text.splitlines() or [type(error).__name__])[0].partition("<?xml")[0]
    code = _CODE.search(text)
    return line if code is None else f"{code[1]}: {line.rstrip(' :')}"

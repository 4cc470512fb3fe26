"""The model store, through obstore: what it lists, and small and large things fetched from it. Never writes to it.

What stands where, `shared.store_layout` says. What was fetched is kept in the cache (`cache.Cache`), which answers for a store
that is away.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import obstore
import structlog
from obstore.store import ObjectStore, from_url

from scorer.core.calls import Key
from scorer.core.listing import Found, Listing
from scorer.core.manifest import FileEntry, Manifest
from scorer.shell.cache import Cache, CorruptError
from shared.catalogue import Promotion
from shared.signing import Signed, SigningError, parse, place
from shared.store_errors import first_line
from shared.store_layout import MANIFEST, MODELS, PROMOTED, RETRACTED, Promoted, blob_key, manifest_key, promoted_key

log = structlog.get_logger()
_KEY_ID = re.compile(r"[0-9a-f]{16}")
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


@dataclass(frozen=True, slots=True)
class Signatures:
    """Of a manifest, by the keys that were asked for; without any, some others that have signed it, by id."""

    found: list[Signed]
    strangers: tuple[str, ...] = ()


class Store:
    """Reads model packages, through its cache."""

    def __init__(self, url: str, cache: Path) -> None:
        self.cache = Cache(url, cache)
        self._url = url
        self._store: ObjectStore | None = None
        self._promoted: dict[str, tuple[str, Promotion]] = {}  # by model, with the object's tag

    def _open(self) -> ObjectStore:
        if self._store is None:
            # Not client_options: they would replace what the environment says of the connection (AZURE_ALLOW_HTTP, a proxy).
            options = {} if self._url.startswith(("file:", "memory:")) else {"retry_config": _RETRY}
            self._store = from_url(self._url, **options)
        return self._store

    async def look(self) -> Listing:
        """Everything there is. Raises StoreError."""
        found: list[Found] = []
        retracted: set[Key] = set()
        promoted: dict[str, tuple[str, float]] = {}
        try:
            async for batch in obstore.list(self._open(), prefix=MODELS):
                for entry in batch:
                    path, changed = entry["path"], entry["last_modified"]
                    tag = f"{entry['e_tag']} {changed.isoformat()} {entry['size']}"
                    if (match := MANIFEST.fullmatch(path)) is not None:
                        found.append(Found(match[1], match[2], tag))
                    elif (match := RETRACTED.fullmatch(path)) is not None:
                        retracted.add((match[1], match[2]))
                    elif (match := PROMOTED.fullmatch(path)) is not None:
                        promoted[match[1]] = (tag, changed.timestamp())
            await self._read_promotions(promoted)
        except FileNotFoundError as error:
            raise StoreError(f"there is no such folder or container: {first_line(error)}") from error
        except Exception as error:
            raise StoreError(first_line(error)) from error
        if not found and self.cache.expects_models:  # a folder that is not mounted looks like that
            raise StoreError("it lists no model at all any more; nothing is retracted")
        there = [item for item in found if (item.model, item.version) not in retracted]
        chosen = {model: promotion for model, (_, promotion) in self._promoted.items()}
        there.sort(key=lambda item: (item.model, item.version))
        listing = Listing(there, frozenset(retracted), chosen)
        self.cache.keep(listing)
        return listing

    async def _read_promotions(self, listed: Mapping[str, tuple[str, float]]) -> None:
        """Fetch those that changed. One that cannot be understood, or is too large, promotes nothing: the rule decides."""
        for model in self._promoted.keys() - listed.keys():
            del self._promoted[model]
        for model, (tag, at) in listed.items():
            if self._promoted.get(model, ("",))[0] == tag:
                continue
            with contextlib.suppress(FileNotFoundError):  # taken back since it was listed
                try:
                    data = await self._read(promoted_key(model), _MAX_NOTE_BYTES)
                    version = msgspec.json.decode(data, type=Promoted).version
                except (CorruptError, msgspec.MsgspecError) as error:
                    log.warning("scorer.store.promotion_unreadable", model=model, error=str(error))
                    version = ""
                self._promoted[model] = (tag, Promotion(version, at))

    async def _read(self, path: str, most: int) -> bytes:
        result = await obstore.get_async(self._open(), path)
        if result.meta["size"] > most:
            raise CorruptError(f"{path} is larger than {most} bytes")
        return bytes(await result.bytes_async())

    async def manifest(self, item: Found) -> bytes:
        """The manifest's bytes: from the cache if the store's has not changed since, or if the store is away.

        Raises StoreError; CorruptError if it is larger than 16 MiB.
        """
        if (kept := self.cache.manifest(item)) is not None:
            return kept
        try:
            data = await self._read(manifest_key(item.model, item.version), _MAX_MANIFEST_BYTES)
        except CorruptError:
            raise
        except Exception as error:
            raise StoreError(first_line(error)) from error
        self.cache.keep_manifest(item, data)
        return data

    async def signatures(self, digest: str, keys: Iterable[str]) -> Signatures:
        """What these keys have signed of this manifest; the cached ones while the store is away. Raises StoreError.

        Anyone who may write there may put anything there: only these keys' places are read, and what is not a signature is none.
        """
        try:
            read = [await self._note(place(digest, key)) for key in sorted(keys)]
            lines = [line for data in read for line in data.decode(errors="replace").splitlines()]
            strangers = () if lines else await self._signers(digest)  # fails where the whole store is not there
        except Exception as error:
            try:
                lines, strangers = self.cache.signatures(digest), ()
            except OSError:
                raise StoreError(first_line(error)) from error
        else:
            self.cache.keep_signatures(digest, lines)
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
        async for batch in obstore.list(self._open(), prefix=place(digest, ""), chunk_size=_MAX_SIGNERS):
            names = (entry["path"].rpartition("/")[2] for entry in batch)
            return tuple(sorted(filter(_KEY_ID.fullmatch, names)))
        return ()

    async def package(self, manifest: Manifest, data: bytes, digest: str) -> Path:
        """The version's folder with every file verified. Raises StoreError, CacheError, CorruptError."""
        return await self.cache.package(manifest, data, digest, self._parts)

    async def _parts(self, name: str, entry: FileEntry) -> AsyncIterator[obstore.Bytes]:
        path = blob_key(entry.sha256)
        size = (await self._ask(name, lambda: obstore.head_async(self._open(), path)))["size"]
        if size > entry.size:
            raise CorruptError(f"{name} is larger than the {entry.size} bytes that were published")
        if size < entry.size:
            raise CorruptError(f"{name} has {size} of the {entry.size} bytes that were published")
        for start in range(0, size, _CHUNK):  # by ranges: obstore gives one request with its body 30 seconds
            yield await self._ask(name, functools.partial(self._range, path, start, min(start + _CHUNK, size)))

    async def _range(self, path: str, start: int, end: int) -> obstore.Bytes:
        return await obstore.get_range_async(self._open(), path, start=start, end=end)

    async def _ask(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The store's errors are StoreErrors, but for what is not there; an OSError from elsewhere is the cache's."""
        try:
            return await ask()
        except FileNotFoundError as error:
            raise CorruptError(f"{name} is not in the store") from error
        except Exception as error:
            raise StoreError(first_line(error)) from error

"""Publishing a model package to any store obstore knows (a folder, Azure Blob, S3, GCS), and fetching one back.

What stands where, `shared.store_layout` says. A failed or interrupted publish leaves blobs that nothing names, never half a
version. Publishing the same package again is not an error; publishing another one under a name and version that exist is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from client.errors import ClientError
from shared.catalogue import serves_by_default, version_key
from shared.signing import FILE as SIGNATURES
from shared.signing import Signed, SigningError, parse, place, sign
from shared.store_errors import first_line
from shared.store_layout import (
    FORMAT,
    MANIFEST,
    MODEL_NAME,
    MODELS,
    Promoted,
    blob_key,
    manifest_key,
    promoted_key,
    retracted_key,
)

_CHUNK = 8 * 1024 * 1024


class StoreError(ClientError):
    """The store could not be read or written, or holds something else under that name and version."""


class PackageError(ClientError):
    """The folder is not a model package, or a file is not the one its manifest names."""


class _File(msgspec.Struct):
    sha256: str
    size: int


class Manifest(msgspec.Struct):
    """What publishing needs to know of a manifest."""

    format: str
    name: str
    version: str
    files: dict[str, _File]


@dataclass(frozen=True, slots=True)
class Published:
    """What `publish` did. `created` is False if the store had this very version already. `digest` is the manifest's
    sha256, `signed_by` the ids of the keys whose signatures went with it, `promoted` the version that serves by
    default because someone promoted it (None: the highest that fits).
    """

    name: str
    version: str
    digest: str
    created: bool
    uploaded_bytes: int
    signed_by: tuple[str, ...] = ()
    promoted: str | None = None


def read_package(folder: Path) -> tuple[Manifest, bytes]:
    """The manifest and its bytes, every file checked against it. Raises PackageError that says what is wrong."""
    try:
        raw = (folder / "manifest.json").read_bytes()
    except OSError as error:
        raise PackageError(
            f"{folder} is not a model package: it has no manifest.json that can be read ({error.strerror})"
        ) from error
    manifest = parse_manifest(raw, str(folder / "manifest.json"))
    for name, file in manifest.files.items():
        path = _inside(folder, name)
        try:
            found = file_digest(path)
        except OSError as error:
            raise PackageError(f"{path} cannot be read: {error.strerror}") from error
        if found != (file.sha256, file.size):
            raise PackageError(f"{path} is not the file that manifest.json names; package the model again")
    return manifest, raw


def sign_package(folder: Path, key_file: Path) -> Signed:
    """Signs a package's manifest, after checking every file against it, and puts the signature beside it.

    Signatures by other keys stay if they fit this manifest. Raises PackageError, also for a key that cannot be used.
    """
    _, raw = read_package(folder)
    try:
        signed = sign(key_file.read_bytes(), raw)
    except OSError as error:
        raise PackageError(f"{key_file} cannot be read: {error.strerror}") from error
    except SigningError as error:
        raise PackageError(f"{key_file}: {error}") from error
    path = folder / SIGNATURES
    try:
        others = [one for one in parse(path.read_text("utf-8")) if one.key != signed.key and one.fits(raw)]
    except (OSError, ValueError):
        others = []
    new = path.with_name(path.name + ".new")
    new.write_text("".join(f"{one}\n" for one in (*others, signed)), "utf-8")
    new.replace(path)
    return signed


def read_signatures(folder: Path, manifest: bytes) -> list[Signed]:
    """The signatures beside a manifest; none if there is no such file. Raises PackageError if one does not fit."""
    path = folder / SIGNATURES
    try:
        signatures = parse(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: {error}") from error
    for signed in signatures:
        if not signed.fits(manifest):
            raise PackageError(
                f"{path}: the signature by {signed.key_id} is of another manifest; sign the package again"
            )
    return signatures


def parse_manifest(raw: bytes, where: str) -> Manifest:
    """Raises PackageError unless it is a manifest of this format."""
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
        version_key(manifest.version)
    except (msgspec.MsgspecError, ValueError) as error:
        raise PackageError(f"{where}: {error}") from error
    if not MODEL_NAME.fullmatch(manifest.name):
        raise PackageError(f"{where}: {manifest.name!r} is not a model name: small letters, digits and dashes")
    if manifest.format != FORMAT:
        raise PackageError(f"{where}: format {manifest.format!r} is not {FORMAT}")
    return manifest


def is_version(text: str) -> bool:
    """Whether a version may be called that."""
    try:
        version_key(text)
    except ValueError:
        return False
    return True


def file_digest(path: Path) -> tuple[str, int]:
    """sha256 in hex, and size."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def _inside(folder: Path, name: str) -> Path:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise PackageError(f"manifest.json names a file outside its folder: {name}")
    return folder / pure


class Store:
    """A model store by URL: `file:///…`, `az://container/…`, `s3://bucket/…`, `gs://bucket/…`; a bare path is a folder.

    Credentials are obstore's business (its environment variables, or a cloud's own identity).
    """

    def __init__(self, url: str, *, make: bool = True) -> None:
        """A local folder that is not there is made, unless `make` is false. Raises StoreError for a URL that is none."""
        try:
            import obstore  # noqa: PLC0415 - only these commands need it
            from obstore.store import from_url  # noqa: PLC0415
        except ImportError as error:
            raise StoreError("model stores need obstore: pip install obstore") from error
        self.url = url if "://" in url else Path(url).resolve().as_uri()
        self._obs = obstore
        options: dict[str, Any] = {"mkdir": True} if self.url.startswith("file:") else {}
        #: Whether it is a folder that was not there before: perhaps a path that nobody meant.
        self.is_new = bool(options) and not Path(unquote(urlsplit(self.url).path)).exists()
        if self.is_new and not make:
            raise StoreError(f"{url} is not there: is it spelt right?")
        try:
            self._store = from_url(self.url, **options)
        except (self._base_error, ValueError, OSError) as error:
            missing = url.startswith("az:") and "Account must be specified" in str(error)
            raise StoreError(
                f"{url}: which storage account? Set AZURE_STORAGE_ACCOUNT_NAME, and a credential"
                if missing
                else f"{url} is not a store: {first_line(error)}"
            ) from error

    @property
    def _base_error(self) -> type[Exception]:
        error: type[Exception] = self._obs.exceptions.BaseError
        return error

    def publish(self, folder: Path) -> Published:
        """Puts the files and signatures, then creates the manifest. Raises PackageError, or StoreError if the version
        exists with other content. Of a version that is there, signatures that it did not have are added.
        """
        manifest, raw = read_package(folder)
        signatures = read_signatures(folder, raw)
        digest = hashlib.sha256(raw).hexdigest()
        uploaded = 0
        try:
            for name, file in manifest.files.items():
                key = blob_key(file.sha256)
                if not self._has(key, file):
                    self._obs.put(self._store, key, _inside(folder, name))
                    uploaded += file.size
            for signed in signatures:
                self._obs.put(self._store, place(digest, signed.key_id), f"{signed}\n".encode())
            created = self._create(manifest_key(manifest.name, manifest.version), raw)
            promoted = self.promoted(manifest.name)
        except (self._base_error, OSError) as error:
            raise self._failed(error) from error
        keys = tuple(signed.key_id for signed in signatures)
        return Published(manifest.name, manifest.version, digest, created, uploaded, keys, promoted)

    def _failed(self, error: Exception) -> StoreError:
        if isinstance(error, FileNotFoundError):
            return StoreError(f"{self.url}: there is no such folder or container ({first_line(error)})")
        return StoreError(f"{self.url}: {first_line(error)}")

    def _has(self, key: str, file: _File) -> bool:
        """Whether it is there and whole: what a publisher before left damaged is put again."""
        try:
            if self._obs.head(self._store, key)["size"] != file.size:
                return False
            digest = hashlib.sha256()
            for chunk in self._chunks(key):
                digest.update(chunk)
        except (FileNotFoundError, self._obs.exceptions.NotFoundError):
            return False
        return digest.hexdigest() == file.sha256

    def _chunks(self, key: str) -> Iterator[Any]:
        """By ranges: obstore gives one request with its body 30 seconds."""
        size = self._obs.head(self._store, key)["size"]
        for start in range(0, size, _CHUNK):
            yield self._obs.get_range(self._store, key, start=start, end=min(start + _CHUNK, size))

    def _create(self, key: str, raw: bytes) -> bool:
        """True if this call created it, False if the very same bytes were there."""
        try:
            self._obs.put(self._store, key, raw, mode="create")
        except (FileExistsError, self._obs.exceptions.AlreadyExistsError) as error:
            if bytes(self._obs.get(self._store, key).bytes()) == raw:
                return False
            raise StoreError(
                f"{key} exists with other content: a published version never changes; choose another version"
            ) from error
        return True

    def versions(self, model: str) -> list[str]:
        """Published versions of a model, lowest first; what stands there under a name that no version has is none."""
        prefix = f"{MODELS}/{model}/"
        try:
            entries = [entry["path"] for chunk in self._obs.list(self._store, prefix=prefix) for entry in chunk]
        except self._base_error as error:
            raise StoreError(f"{self.url}: {first_line(error)}") from error
        found = [match[2] for match in map(MANIFEST.fullmatch, entries) if match]
        return sorted(filter(is_version, found), key=version_key)

    def state(self, model: str, version: str) -> str:
        """`published`, `retracted` or `absent`. Raises StoreError."""
        if not self._is_there(manifest_key(model, version)):
            return "absent"
        return "retracted" if self._is_there(retracted_key(model, version)) else "published"

    def _is_there(self, key: str) -> bool:
        try:
            self._obs.head(self._store, key)
        except (FileNotFoundError, self._obs.exceptions.NotFoundError):
            return False
        except (self._base_error, OSError) as error:
            raise self._failed(error) from error
        return True

    def promoted(self, model: str) -> str | None:
        """The version that was promoted last, or None. Raises StoreError."""
        try:
            raw = bytes(self._obs.get(self._store, promoted_key(model)).bytes())
            return msgspec.json.decode(raw, type=Promoted).version
        except (FileNotFoundError, self._obs.exceptions.NotFoundError, msgspec.MsgspecError):
            return None
        except (self._base_error, OSError) as error:
            raise self._failed(error) from error

    def promote(self, model: str, version: str | None) -> None:
        """This version serves by default from now on, whatever is published later; None: the rule decides again.

        Raises StoreError unless the version is published and not retracted.
        """
        if version is None:
            self._delete(promoted_key(model))
            return
        if not serves_by_default(version):
            raise StoreError(f"{version} has a suffix and never serves by default: publish it as a version without one")
        self._need(model, version, "published")
        self._put(promoted_key(model), Promoted(version))

    def retract(self, model: str, version: str, reason: str, at: str) -> None:
        """Scorers stop serving the version. Its manifest and files stay as they were published. Raises StoreError."""
        if self.state(model, version) == "absent":
            self._need(model, version, "published")
        self._put(retracted_key(model, version), {"at": at, "reason": reason})

    def restore(self, model: str, version: str) -> None:
        """Takes a retraction back. Raises StoreError unless the version is retracted."""
        self._need(model, version, "retracted")
        self._delete(retracted_key(model, version))

    def _need(self, model: str, version: str, state: str) -> None:
        found = self.state(model, version)
        if found == "absent":
            there = ", ".join(self.versions(model)) or "no version at all"
            raise StoreError(f"{self.url} has no {model} version {version}; it has {there}")
        if found != state:
            raise StoreError(f"{model} {version} is {found}" + (", not retracted" if state == "retracted" else ""))

    def _put(self, key: str, note: Mapping[str, str] | Promoted) -> None:
        try:
            self._obs.put(self._store, key, msgspec.json.encode(note))
        except (self._base_error, OSError) as error:
            raise self._failed(error) from error

    def _delete(self, key: str) -> None:
        try:
            self._obs.delete(self._store, key)
        except (FileNotFoundError, self._obs.exceptions.NotFoundError):
            return
        except (self._base_error, OSError) as error:
            raise self._failed(error) from error

    def fetch(self, model: str, version: str, folder: Path) -> Path:
        """The package as a folder, every file checked against the manifest. Raises StoreError or PackageError."""
        key = manifest_key(model, version)
        try:
            raw = bytes(self._obs.get(self._store, key).bytes())
            manifest = parse_manifest(raw, f"{self.url}/{key}")
            folder.mkdir(parents=True, exist_ok=True)
            for name, file in manifest.files.items():
                path = _inside(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as target:
                    for chunk in self._chunks(blob_key(file.sha256)):
                        target.write(chunk)
        except (FileNotFoundError, self._obs.exceptions.NotFoundError) as error:
            raise StoreError(f"{self.url} has no complete {model} version {version}") from error
        except self._base_error as error:
            raise StoreError(f"{self.url}: {first_line(error)}") from error
        (folder / "manifest.json").write_bytes(raw)
        read_package(folder)
        return folder


def describe(published: Published) -> Mapping[str, Any]:
    """As JSON for programs."""
    return msgspec.to_builtins(published)  # type: ignore[no-any-return]

"""Which versions there are, which pods have them, and which one serves when a request names none.

Pure: pods' catalogues in, an index out. `gateway.shell.pods` asks the pods; routes and the pipeline read the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.catalogue import Catalogue, VersionEntry, serves_by_default, version_key
from shared.errors import NotFoundError, UnavailableError


@dataclass(frozen=True, slots=True)
class Served:
    """One version as the pods report it; `pods` are those that have it ready."""

    entry: VersionEntry
    pods: frozenset[str]

    @property
    def ready(self) -> bool:
        """Whether any pod can score with it."""
        return bool(self.pods)


@dataclass(frozen=True, slots=True)
class Model:
    """A model's versions, newest first, and the one that serves by default (None while none may)."""

    name: str
    versions: Mapping[str, Served]
    default: str | None

    def why_not(self) -> str:
        """Why its newest version that could serve by default does not."""
        version = next((v for v in self.versions if serves_by_default(v)), next(iter(self.versions)))
        entry = self.versions[version].entry
        return f"version {version} is {entry.state}" + (f", {entry.reason}" if entry.reason else "")


def no_such_model(model: str) -> NotFoundError:
    """What is said of a model that there is not, and of one that the caller may not know of: nobody can tell which."""
    return NotFoundError(f"there is no model {model!r}: GET /v1/models lists those that you may score")


@dataclass(frozen=True, slots=True)
class Index:
    """Everything the pods serve or report, by model name in order."""

    models: Mapping[str, Model] = field(default_factory=dict)

    def find(self, model: str, version: str | None = None) -> Served:
        """The version asked for, or the default; raises NotFoundError, or UnavailableError where no pod has it ready."""
        found = self.models.get(model)
        if found is None:
            raise no_such_model(model)
        wanted = found.default if version is None else version
        if wanted is None:
            ready = any(served.ready for served in found.versions.values())
            why = "name one" if ready else found.why_not()
            raise UnavailableError(f"no version of {model!r} is ready to serve by default: {why}")
        served = found.versions.get(wanted)
        if served is None:
            raise NotFoundError(f"model {model!r} has no version {version!r}")
        if not served.ready:
            raise UnavailableError(
                f"version {wanted} of {model!r} is not ready: {served.entry.reason or served.entry.state}"
            )
        return served


def build_index(catalogues: Mapping[str, Catalogue], previous: Index | None = None) -> Index:
    """Merge what each pod (by its address) reports; `previous` is the index so far, for what serves while a promotion waits.

    Pods that report another manifest under the same version cannot both be right, since a published version never changes;
    the digest that more pods have wins, ties by its text, so that all gateways choose the same.
    """
    reports: dict[str, dict[str, dict[str, list[tuple[str, VersionEntry]]]]] = {}
    for pod, catalogue in catalogues.items():
        for entry in catalogue.versions:
            try:
                version_key(entry.version)
            except ValueError:
                continue
            by_digest = reports.setdefault(entry.model, {}).setdefault(entry.version, {})
            by_digest.setdefault(entry.digest, []).append((pod, entry))
    models = {}
    for name in sorted(reports):
        versions = {}
        for version in sorted(reports[name], key=version_key, reverse=True):
            same = max(reports[name][version].items(), key=lambda item: (len(item[1]), item[0]))[1]
            ready = [(pod, entry) for pod, entry in same if entry.state == "ready"]
            # The most careful pod speaks for all: a version that one pod must not batch is batched nowhere.
            entry = min((e for _, e in ready or same), key=lambda e: (e.batchable, not e.close))
            versions[version] = Served(entry, frozenset(pod for pod, _ in ready))
        before = previous.models.get(name) if previous is not None else None
        serving, promoted = before.default if before else None, _promotion(name, catalogues)
        default = promoted_version(versions, len(catalogues), promoted, serving)
        default = default or _not_back(versions, default_version(versions, len(catalogues)), serving)
        models[name] = Model(name, versions, default)
    return Index(models)


def _not_back(versions: Mapping[str, Served], default: str | None, serving: str | None) -> str | None:
    """The rule's choice, unless that is a step back from what serves and is still ready somewhere.

    A pod that cannot keep a version up, or has only just started, must not give all callers an older model's answers.
    """
    if serving is None or serving not in versions or not versions[serving].ready or not serves_by_default(serving):
        return default
    return serving if default is None or version_key(serving) > version_key(default) else default


def _promotion(model: str, catalogues: Mapping[str, Catalogue]) -> str | None:
    """The last one by the store's clock: pods look into the store at different times, and all gateways must agree."""
    found = [p for c in catalogues.values() if (p := c.promoted.get(model)) is not None]
    return max(found, key=lambda p: (p.at, p.version)).version if found else None


def promoted_version(
    versions: Mapping[str, Served], pods: int, promoted: str | None, serving: str | None
) -> str | None:
    """The promoted version once every pod has it ready; None if the rule is to decide.

    Until then, and while a pod that has just started does not have it yet, what serves goes on serving: falling back to the
    rule would for a moment bring the very version that was demoted. A promotion to a version that is gone or that no pod can
    serve is none, and so is one to a version with a suffix, which never serves by default.
    """
    chosen = versions.get(promoted or "")
    if promoted is None or chosen is None or not serves_by_default(promoted):
        return None
    if len(chosen.pods) == pods:
        return promoted
    if serving is not None and serving in versions and versions[serving].ready and chosen.entry.state != "unavailable":
        return serving
    return promoted if chosen.ready else None


def default_version(versions: Mapping[str, Served], pods: int) -> str | None:
    """The version that serves when none is named: the highest that every pod has and that takes all its predecessor took.

    Going up from the lowest, each version takes over if it may; one that may not waits to be promoted, and its successors
    are held against the one still serving. A version with a suffix never serves by default. While no version is on every
    pod (a pod that has just started has none), the best of those that are ready somewhere serves.
    """
    candidates = [v for v in sorted(versions, key=version_key) if serves_by_default(v) and versions[v].ready]
    everywhere = [v for v in candidates if len(versions[v].pods) == pods]
    default: str | None = None
    for version in everywhere or candidates:
        if default is None or versions[version].entry.signature.takes_all_that(versions[default].entry.signature):
            default = version
    return default

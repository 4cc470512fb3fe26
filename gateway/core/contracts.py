"""The compiled contracts of the versions that are served: one per manifest digest, made when first needed, dropped when gone."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.core.contract import Contract, compile_contract
from shared.catalogue import VersionEntry


class Contracts:
    """Bounded by what the catalogue holds: `keep` forgets the rest."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._by_digest: dict[tuple[str, int], tuple[VersionEntry, Contract]] = {}

    def of(self, entry: VersionEntry, max_rows: int | None = None) -> Contract:
        """The contract of this version, for at most `max_rows` rows (at most the gateway's own limit)."""
        rows = self._max_rows if max_rows is None else min(max_rows, self._max_rows)
        found = self._by_digest.get((entry.digest, rows))
        if found is not None and found[0] is entry:
            return found[1]
        # The digest covers the manifest, not what the pods found out about it (batchable no longer, or only close).
        contract = found[1] if found is not None and found[0] == entry else compile_contract(entry, rows)
        self._by_digest[entry.digest, rows] = (entry, contract)
        return contract

    def keep(self, entries: Iterable[VersionEntry]) -> None:
        """Forget contracts of versions that are not among these."""
        digests = {entry.digest for entry in entries}
        for key in [key for key in self._by_digest if key[0] not in digests]:
            del self._by_digest[key]

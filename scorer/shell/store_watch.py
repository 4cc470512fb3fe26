"""What the store has, look by look: a store that is away, or empty all of a sudden, is told from one that has changed."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from scorer.core.calls import Key
from scorer.core.listing import Listing
from scorer.shell.store import Store, StoreError

log = structlog.get_logger()


class StoreWatch:
    """Looks again and again. `error` is why the last look saw nothing; None if it saw the store."""

    def __init__(self, store: Store) -> None:
        self.error: str | None = "the store was not looked into yet"
        self._store = store
        self._seen = False

    async def look(self, served: Collection[Key]) -> Listing | None:
        """What the store has; None where that is not known, and then nothing changes for what is `served`.

        A pod that has nothing yet takes what its cache says the store had. `served` is read after the store has answered.
        """
        try:
            listing = await self._store.look()
            if not listing.found and not listing.retracted and served:  # a folder that is not mounted looks like that
                raise StoreError("it lists no model at all any more; nothing is retracted")  # noqa: TRY301 - one way out
        except StoreError as error:
            if self.error != str(error):
                log.warning("scorer.store.unreachable", error=str(error))
            self.error = str(error)
            cached = None if served else self._store.cache.listing()
            if cached is not None:
                log.warning("scorer.store.cached", versions=len(cached.found), effect="what is cached is served")
            return cached
        if not self._seen:
            self._seen = True
            if not served:
                self._store.cache.prune()
        self.error = None
        return listing

"""Which contract a model version has: of rows (`compiled`), or of a function's calls (`function`)."""

from __future__ import annotations

from gateway.core.contract.compiled import Contract
from gateway.core.contract.function import FunctionContract
from shared.catalogue import VersionEntry


def compile_contract(entry: VersionEntry, max_rows: int) -> Contract:
    """The contract of one model version; `max_rows` is the most rows of one request, or values of one input of a function.

    Takes a millisecond or a few.
    """
    kind = FunctionContract if entry.signature.is_function else Contract
    return kind(entry, max_rows)

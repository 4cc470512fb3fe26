"""What each error says about the version whose loading it ended."""

from __future__ import annotations

import pytest

from scorer.core.manifest import ManifestError
from scorer.core.memory import DoesNotFitError
from scorer.core.trust import UntrustedError
from scorer.shell.cache import CacheError, CorruptError
from scorer.shell.refusal import Refusal, refusal_of
from scorer.shell.self_test import RefusedError
from scorer.shell.store import StoreError
from scorer.shell.zygote import ZygoteError
from shared.wire import WireError


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (StoreError("no answer"), Refusal("the store cannot be read: no answer", transient=True)),
        (CacheError("disk full"), Refusal("the cache cannot be written: disk full", transient=True)),
        (UntrustedError("not signed"), Refusal("not signed", transient=True)),
        (DoesNotFitError("memory"), Refusal("memory", transient=True)),
        (ZygoteError("R ended"), Refusal("R ended", transient=True)),
        (OSError("no R"), Refusal("R cannot be started: no R", transient=True)),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception, refusal: Refusal) -> None:
    assert refusal_of(error) == refusal


def test_a_file_that_is_not_the_published_one_is_fetched_again_seldom() -> None:
    assert refusal_of(CorruptError("not that file")) == Refusal("not that file", transient=True, seldom=True)


@pytest.mark.parametrize(
    "error", [RefusedError("why"), ManifestError("why"), WireError("why"), ZygoteError("why", transient=False)]
)
def test_what_lies_in_the_package_is_not_tried_again(error: Exception) -> None:
    assert refusal_of(error) == Refusal("why")


def test_a_bug_says_nothing_about_the_version() -> None:
    assert refusal_of(KeyError("x")) is None

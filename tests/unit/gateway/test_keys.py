"""When keys are asked for and what is believed meanwhile, on a clock that only the test moves; and what a key set may hold."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from joserfc.jwk import ECKey, RSAKey

from gateway.core.key_ring import KeyRing, KeyTimes, Verdict
from gateway.shell.keys import EntraKeys, KeyFetchError, SigningKey, discovery_urls, entra_client, read_key_set
from shared.errors import UnavailableError

DAY = 24 * 3600.0


def ring(**keys: str) -> KeyRing[str]:
    made: KeyRing[str] = KeyRing()
    if keys:
        made.obtained(keys, 0)
    return made


def test_a_known_key_is_used_without_asking() -> None:
    assert ring(a="A").current("a", 1) == "A"
    assert ring(a="A").current("b", 1) is None


def test_an_unknown_kid_asks_once_and_then_not_for_thirty_seconds() -> None:
    keys = ring(a="A")
    assert keys.judge_missing(1) is Verdict.FETCH
    keys.obtained({"a": "A"}, 1.1)
    assert keys.judge_after_fetch(1.1) is Verdict.UNKNOWN
    assert keys.judge_missing(1.2) is Verdict.UNKNOWN
    assert keys.judge_missing(30.9) is Verdict.UNKNOWN
    assert keys.judge_missing(31.0) is Verdict.FETCH
    assert keys.judge_missing(31.0) is Verdict.UNKNOWN


def test_a_refresh_in_the_background_does_not_use_up_what_unknown_kids_may_ask() -> None:
    keys = ring(a="A")
    keys.obtained({"a": "A"}, 100)
    assert keys.judge_missing(101) is Verdict.FETCH


def test_a_kid_that_is_unknown_while_entra_is_away_may_be_new_so_it_is_nobodys_fault() -> None:
    keys = ring(a="A")
    assert keys.judge_missing(1) is Verdict.FETCH
    keys.failed(2)
    assert keys.judge_after_fetch(2) is Verdict.UNAVAILABLE
    assert keys.judge_missing(3) is Verdict.UNAVAILABLE
    keys.obtained({"a": "A"}, 4)
    assert keys.judge_missing(5) is Verdict.UNKNOWN


def test_before_the_first_keys_nothing_is_the_callers_fault() -> None:
    keys = ring()
    assert keys.judge_missing(0) is Verdict.FETCH
    keys.failed(0)
    assert keys.judge_after_fetch(0) is Verdict.UNAVAILABLE
    assert keys.judge_missing(0.5) is Verdict.UNAVAILABLE
    assert keys.judge_missing(1.0) is Verdict.FETCH


def test_an_outage_is_survived_for_a_day_and_no_longer() -> None:
    keys = ring(a="A")
    for hour in range(1, 24):
        keys.failed(hour * 3600)
    assert keys.current("a", DAY - 1) == "A"
    assert keys.current("a", DAY) is None
    assert keys.judge_missing(DAY) is Verdict.FETCH
    keys.failed(DAY)
    assert keys.judge_after_fetch(DAY) is Verdict.UNAVAILABLE
    keys.obtained({"a": "A"}, DAY + 5)
    assert keys.current("a", DAY + 6) == "A"


def test_failures_are_repeated_ever_more_slowly_and_success_returns_to_the_hour() -> None:
    keys = ring()
    assert keys.next_refresh_at(7) == 7
    waits = []
    now = 0.0
    for _ in range(8):
        keys.failed(now)
        waits.append(keys.next_refresh_at(now) - now)
        now = keys.next_refresh_at(now)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    keys.obtained({"a": "A"}, now)
    assert keys.next_refresh_at(now) == now + KeyTimes().refresh_s


def test_a_key_that_stays_is_the_same_object_and_one_that_changed_is_not() -> None:
    first, again, other = "A" * 300, "".join(["A"] * 300), "B"
    keys = ring(a=first, b=other, c="C")
    assert again is not first
    keys.obtained({"a": again, "b": "changed", "d": "D"}, 1)
    assert keys.keys["a"] is first
    assert keys.keys["b"] == "changed"
    assert set(keys.keys) == {"a", "b", "d"}


def test_the_wait_told_to_callers_is_until_asking_can_help() -> None:
    keys = ring()
    keys.failed(10)
    assert keys.retry_after_s(10.25) == 0.75
    assert keys.retry_after_s(100) == 0


class Asking(RuleBasedStateMachine):
    """Whatever happens in whatever order: unknown kids ask at most every 30 s, and no outage is called the caller's fault."""

    def __init__(self) -> None:
        super().__init__()
        self.ring: KeyRing[str] = KeyRing()
        self.now = 0.0
        self.asked_at: list[float] = []
        self.away = False

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(away=st.booleans())
    def entra(self, away: bool) -> None:
        self.away = away

    def fetch(self) -> None:
        if self.away:
            self.ring.failed(self.now)
        else:
            self.ring.obtained({"good": "K"}, self.now)

    @rule()
    def background(self) -> None:
        if self.ring.next_refresh_at(self.now) <= self.now:
            self.fetch()

    @rule()
    def an_unknown_kid_comes(self) -> None:
        usable = self.ring.usable(self.now)
        verdict = self.ring.judge_missing(self.now)
        if verdict is Verdict.FETCH:
            if usable:
                self.asked_at.append(self.now)
            self.fetch()
            verdict = self.ring.judge_after_fetch(self.now)
            assert verdict is (Verdict.UNAVAILABLE if self.away else Verdict.UNKNOWN)
        assert verdict is not Verdict.UNKNOWN or self.ring.usable(self.now)

    @invariant()
    def asks_are_apart(self) -> None:
        # Whether `now >= asked + 30` or `now - asked >= 30` is asked makes a difference in the last bits.
        assert all(
            later - earlier >= 30 - 1e-6 for earlier, later in zip(self.asked_at, self.asked_at[1:], strict=False)
        )

    @invariant()
    def known_keys_hold_for_a_day(self) -> None:
        if self.ring.obtained_at is not None:
            assert (self.ring.current("good", self.now) is not None) == (self.now - self.ring.obtained_at < DAY)


TestAsking = Asking.TestCase


class TestKeySet:
    rsa = RSAKey.generate_key(2048, private=False)

    def entry(self, **changes: object) -> dict[str, object]:
        public = self.rsa.as_dict(private=False)
        return {"kty": "RSA", "use": "sig", "kid": "k", "n": public["n"], "e": public["e"]} | changes

    def test_holds_rsa_signature_keys_by_kid(self) -> None:
        found = read_key_set({"keys": [self.entry(), self.entry(kid="l", alg="RS256")]})
        assert set(found) == {"k", "l"}
        assert found["k"].thumbprint == self.rsa.thumbprint()

    @pytest.mark.parametrize(
        "changes",
        [
            {"use": "enc"}, {"alg": "RS512"}, {"alg": "HS256"}, {"kty": "oct", "k": "c2VjcmV0"},
            {"kid": None}, {"kid": 3}, {"n": "!"}, {"n": 5}, {"e": ""}, {"e": 65537}, {"e": ["AQAB"]},
        ],
    )  # fmt: skip
    def test_passes_over_what_it_cannot_use(self, changes: dict[str, object]) -> None:
        assert read_key_set({"keys": [self.entry(**changes), "nonsense", None]}) == {}

    def test_passes_over_weak_and_other_keys(self) -> None:
        weak = self.entry(n=urlsafe_b64encode((1 << 1023 | 1).to_bytes(128)).rstrip(b"=").decode())
        curve = ECKey.generate_key("P-256", private=False).as_dict(private=False)
        assert read_key_set({"keys": [weak, {**curve, "kid": "c"}]}) == {}

    def test_takes_only_the_public_numbers_from_an_entry_that_says_more(self) -> None:
        private = RSAKey.generate_key(2048, private=True)
        found = read_key_set({"keys": [{**private.as_dict(private=True), "kid": "p"}]})
        assert not found["p"].key.is_private

    def test_must_be_a_key_set(self) -> None:
        with pytest.raises(KeyFetchError):
            read_key_set({"nothing": []})


async def test_keys_are_fetched_over_https_only() -> None:
    async with entra_client() as client:
        with pytest.raises(ValueError, match="https"):
            EntraKeys(["http://login.microsoftonline.com/x"], client)


def test_discovery_is_asked_per_tenant() -> None:
    assert discovery_urls("https://login.microsoftonline.com/", ["t1", "t2"]) == (
        "https://login.microsoftonline.com/t1/v2.0/.well-known/openid-configuration",
        "https://login.microsoftonline.com/t2/v2.0/.well-known/openid-configuration",
    )


class Site:
    """What stands at each address, for `httpx.MockTransport`: a status and a body."""

    def __init__(self, **pages: tuple[int, bytes]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        self.asked.append(name)
        status, body = self.pages[name]
        return httpx.Response(status, content=body, headers={"Location": "https://entra.example/keys"})


DISCOVERY = json.dumps({"jwks_uri": "https://entra.example/keys"}).encode()
KEYS = json.dumps({"keys": [TestKeySet().entry()]}).encode()


@asynccontextmanager
async def fetching(
    site: Site, urls: tuple[str, ...] = ("https://entra.example/discovery",)
) -> AsyncIterator[EntraKeys]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(site)) as client:
        yield EntraKeys(urls, client)


async def test_keys_are_found_by_way_of_discovery() -> None:
    site = Site(discovery=(200, DISCOVERY), keys=(200, KEYS))
    async with fetching(site) as keys:
        assert (await keys.find("k")).kid == "k"
        assert keys.current("k") is await keys.find("k")
    assert site.asked == ["discovery", "keys"]


async def test_tenants_that_share_a_key_set_have_it_fetched_once() -> None:
    site = Site(discovery=(200, DISCOVERY), discovery2=(200, DISCOVERY), keys=(200, KEYS))
    async with fetching(site, ("https://entra.example/discovery", "https://entra.example/discovery2")) as keys:
        assert await keys.find("k")
    assert sorted(site.asked) == ["discovery", "discovery2", "keys"]


@pytest.mark.parametrize(
    "pages",
    [
        {"discovery": (500, b"")},
        {"discovery": (302, b"")},
        {"discovery": (200, b"not json")},
        {"discovery": (200, b"[]")},
        {"discovery": (200, b"{}")},
        {"discovery": (200, b'{"jwks_uri": 7}')},
        {"discovery": (200, b'{"jwks_uri": ["https://entra.example/keys"]}')},
        {"discovery": (200, b'{"jwks_uri": "https://["}')},
        {"discovery": (200, b'{"jwks_uri": "http://entra.example/keys"}')},
        {"discovery": (200, b'{"jwks_uri": "file:///etc/passwd"}')},
        {"discovery": (200, DISCOVERY), "keys": (404, b"")},
        {"discovery": (200, DISCOVERY), "keys": (200, b'{"keys": []}')},
        {"discovery": (200, DISCOVERY), "keys": (200, b'{"keys": 7}')},
        {"discovery": (200, DISCOVERY), "keys": (200, b'"' + b"x" * 2 * 1024 * 1024 + b'"')},
    ],
)
async def test_whatever_entra_answers_wrongly_is_an_outage_and_never_the_callers_fault(
    pages: dict[str, tuple[int, bytes]],
) -> None:
    async with fetching(Site(**pages)) as keys:
        with pytest.raises(UnavailableError) as caught:
            await keys.find("k")
        assert caught.value.retry_after_ms is not None
        assert not keys.usable


async def test_refreshing_goes_on_after_an_answer_that_nobody_foresaw() -> None:
    site = Site(discovery=(200, b'{"jwks_uri": []}'), keys=(200, KEYS))
    failed, obtained = asyncio.Event(), asyncio.Event()
    async with httpx.AsyncClient(transport=httpx.MockTransport(site)) as client:
        times = KeyTimes(retry_first_s=0.01)
        urls = ("https://entra.example/discovery",)

        def on_fetch(outcome: str, *_: Any) -> None:
            (obtained if outcome == "ok" else failed).set()

        async with EntraKeys(urls, client, times=times, on_fetch=on_fetch) as keys, asyncio.timeout(5):
            await failed.wait()
            site.pages["discovery"] = (200, DISCOVERY)
            await obtained.wait()
            assert keys.usable


async def test_fifty_who_ask_at_once_cause_one_fetch_and_one_who_leaves_stops_nobody() -> None:
    site = Site(discovery=(200, DISCOVERY), keys=(200, KEYS))
    async with fetching(site) as keys:
        asking = [asyncio.create_task(keys.find("k")) for _ in range(50)]
        await asyncio.sleep(0)
        asking[0].cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(key, SigningKey) for key in found[1:])
    assert site.asked == ["discovery", "keys"]

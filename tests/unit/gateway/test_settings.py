"""Rules between the gateway's settings, and what it makes of those for Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.app import counter_store
from gateway.settings import GatewaySettings
from shared.settings import SettingsError


def settings(**changes: Any) -> GatewaySettings:
    least: dict[str, Any] = {
        "scorer_urls": ("http://scorer:8080",),
        "internal_key_file": "key.pem",
        "policy_file": "policy.yaml",
        "tenants": ("11111111-1111-4111-8111-111111111111",),
        "audiences": ("api://scoregate",),
    }
    return GatewaySettings(**least | changes)


def test_without_redis_there_is_no_shared_store() -> None:
    assert counter_store(settings()) is None


def test_a_password_file_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^GATEWAY_REDIS_PASSWORD_FILE: .*nowhere"):
        counter_store(settings(redis_url="redis://redis", redis_password_file=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        *(("scorer_urls", (url,)) for url in (
            "http://", "http://user:secret@scorer:8081", "http://scorer:8081/v2", "http://scorer?a=b", "scorer:8081",
        )),
        *(("redis_url", url) for url in ("foo", "unix://", "redis://", "redis://h/xx", "redis://h:port", "http://h")),
        *((name, rate) for name in ("failed_logins", "public_pages", "catalogue_reads") for rate in (
            "x", "0/minute", "5/fortnight", "1/second;2/minute", "",
        )),
        ("trusted_proxies", ("10.0.0.0/33",)),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_a_mistake_that_names_its_setting(setting: str, wrong: object) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{setting: wrong})
    [mistake] = caught.value.mistakes
    assert mistake.startswith(f"GATEWAY_{setting.upper()}")
    assert "secret" not in mistake


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis", "rediss://user:p%40ss@redis:6380/2?timeout=1", "redis+cluster://[::1]:7000", "unix:///run/redis.sock?db=1",
        "unix://:secret@/run/redis.sock",
    ],
)  # fmt: skip
def test_addresses_of_redis(url: str) -> None:
    assert settings(redis_url=url).redis_url == url


@pytest.mark.parametrize("url", [None, "redis://redis:6379"])
def test_a_ca_for_redis_without_tls_is_a_mistake(url: str | None) -> None:
    with pytest.raises(ValueError, match="GATEWAY_REDIS_CA_FILE"):
        settings(redis_url=url, redis_ca_file="ca.pem")


def test_all_broken_rules_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        settings(
            scorer_urls=("scorer", "http://scorer", "ftp://scorer"),
            authority="http://entra",
            redis_credentials="entra",
            redis_url="redis://user@redis",
            redis_ca_file="ca.pem",
            otel_endpoint="collector",
            tenants=(),
        )
    assert [mistake.split()[0].rstrip(":") for mistake in caught.value.mistakes] == [
        "GATEWAY_SCORER_URLS",
        "GATEWAY_SCORER_URLS",
        "GATEWAY_AUTHORITY",
        "GATEWAY_REDIS_CREDENTIALS=entra",
        "GATEWAY_REDIS_CREDENTIALS=entra",
        "GATEWAY_REDIS_CA_FILE",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "GATEWAY_TENANTS",
    ]
    assert caught.value.mistakes[4].endswith("no user or password in GATEWAY_REDIS_URL")


@pytest.mark.parametrize(
    "url", ["redis://user:secret@redis:6379/0", "rediss://:sec/ret?secret@redis:6379/0", "redis://redis:6379/0?password=secret"]
)  # fmt: skip
def test_a_password_in_the_address_of_redis_does_not_show(url: str) -> None:
    for shown in (repr(settings(redis_url=url)), str(list(settings(redis_url=url).__rich_repr__()))):
        assert "redis:6379/0" in shown
        assert "sec" not in shown


def test_all_else_shows_as_it_is() -> None:
    shown = repr(settings(redis_url="redis://redis:6379/0"))
    assert shown.startswith("GatewaySettings(host='127.0.0.1', port=8080, ")
    assert "redis_url='redis://redis:6379/0'" in shown
    assert "redis_url=None" in repr(settings())

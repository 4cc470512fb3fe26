"""Settings of the services that cannot be used, found before the examples are trained: the services say it only when they start."""

from __future__ import annotations

from collections.abc import Mapping

from devkit.entra.directory import TENANT
from gateway.settings import GatewaySettings
from scorer.settings import ScorerSettings
from shared import settings

#: What a stack sets itself, whatever the environment says: anything that will do.
_GATEWAY = {
    "GATEWAY_SCORER_URLS": "http://127.0.0.1:1",
    "GATEWAY_INTERNAL_KEY_FILE": "key",
    "GATEWAY_POLICY_FILE": "policy",
    "GATEWAY_TENANTS": TENANT,
    "GATEWAY_AUDIENCES": "audience",
}
_SCORER = {"SCORER_STORE_URL": "file:///store", "SCORER_GATEWAY_KEYS_FILE": "keys"}


def mistakes(environ: Mapping[str, str]) -> list[str]:
    """One line for each."""
    found: list[str] = []
    try:
        settings.read(GatewaySettings, "GATEWAY_", {**environ, **_GATEWAY})
    except settings.SettingsError as error:
        found += error.mistakes
    try:
        settings.read(ScorerSettings, "SCORER_", {**environ, **_SCORER})
    except settings.SettingsError as error:
        found += error.mistakes
    return found

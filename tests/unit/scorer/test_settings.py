"""The scorer's settings: defaults, and what is refused."""

from __future__ import annotations

import pytest

from scorer.settings import PREFIX, ScorerSettings
from shared.settings import SettingsError, describe, read

NEEDED = {"SCORER_STORE_URL": "file:///m", "SCORER_GATEWAY_KEYS_FILE": "/k.pem"}


def test_settings_have_defaults_for_all_but_the_store_and_the_keys() -> None:
    settings = read(ScorerSettings, PREFIX, {**NEEDED, "SCORER_MODELS": "a, b@2", "SCORER_PORT": "0"})
    assert settings.models == ("a", "b@2")
    assert settings.port == 0
    assert {name for name, _, default, _ in describe(ScorerSettings, PREFIX) if default == "required"} == set(NEEDED)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SCORER_MODELS", "a@"),
        ("SCORER_HELD_BYTES", "1000"),
        ("SCORER_RUN_DIR", "/" + "x" * 90),
        ("SCORER_WORKERS", "-1"),
        ("SCORER_POLL_S", "0"),
        ("SCORER_POLL_S", "inf"),
        ("SCORER_RETRACT_S", "inf"),
        ("SCORER_REFORK_SHARE", "inf"),
        ("SCORER_MEMORY_MIB", "9999999999999999999999"),
        ("SCORER_WORKER_HEADROOM_MIB", "-1"),
        ("SCORER_WORKER_HEADROOM_MIB", "99999999999999999"),
        ("SCORER_WORKER_FILE_MIB", "9999999999999999999999"),
        ("SCORER_STORE_URL", "nope://x"),
        ("SCORER_STORE_URL", "models"),
        ("SCORER_STORE_URL", "file://models"),
        ("SCORER_STORE_URL", "az://"),
        ("SCORER_X", "1"),
    ],
)
def test_a_mistake_in_a_setting_names_it(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read(ScorerSettings, PREFIX, {**NEEDED, variable: value})


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/models",
        "az://models/scoregate",
        "abfss://c@a.dfs.core.windows.net/",
        "s3://b/p",
        "gs://b",
        "https://h/x",
    ],
)
def test_a_store_of_any_kind_that_obstore_opens_may_be_named(url: str) -> None:
    assert read(ScorerSettings, PREFIX, {**NEEDED, "SCORER_STORE_URL": url}).store_url == url


def test_all_mistakes_in_settings_are_told_at_once() -> None:
    wrong = {"MODELS": "a@,@1", "HELD_BYTES": "1000", "RUN_DIR": "/" + "x" * 90, "POLL_S": "0"}
    with pytest.raises(SettingsError) as caught:
        read(ScorerSettings, PREFIX, {**NEEDED, **{PREFIX + name: value for name, value in wrong.items()}})
    named = [mistake.removeprefix(PREFIX).partition(":")[0].split()[0] for mistake in caught.value.mistakes]
    assert named == ["POLL_S", "HELD_BYTES", "MODELS", "MODELS", "RUN_DIR"]

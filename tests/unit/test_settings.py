"""Settings: every mistake at once, and none passed over."""

from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta, Struct

from shared.settings import Doc, SettingsError, describe, read, read_or_exit


class Some(Struct, frozen=True, kw_only=True):
    port: Annotated[Annotated[int, Meta(ge=0, le=65535)], Doc("The port.")] = 8080
    url: Annotated[str, Doc("The address.")]
    names: Annotated[tuple[str, ...], Doc("Names.")] = ()
    on: Annotated[bool, Doc("A switch.")] = False


def test_values_are_read_by_their_type() -> None:
    settings = read(Some, "S_", {"S_PORT": "0", "S_URL": "http://x", "S_NAMES": "a, b,", "S_ON": "true", "PATH": "/"})
    assert settings == Some(port=0, url="http://x", names=("a", "b"), on=True)


def test_every_mistake_is_named_at_once_with_what_the_setting_is_for() -> None:
    with pytest.raises(SettingsError) as caught:
        read(Some, "S_", {"S_PORT": "99999", "S_ON": "perhaps", "S_PROT": "1"})
    text = "\n".join(caught.value.mistakes)
    for expected in ("S_PORT", "S_ON", "S_URL is required: The address.", "S_PROT is not a setting"):
        assert expected in text
    assert len(caught.value.mistakes) == 4


def test_a_mistake_ends_the_process_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_or_exit(Some, "S_", {})
    assert caught.value.code == 2
    assert "settings: S_URL is required" in capsys.readouterr().err


def test_settings_describe_themselves() -> None:
    assert describe(Some, "S_")[0] == ("S_PORT", "port", "8080", "The port.")

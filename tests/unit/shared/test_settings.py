"""Settings: every mistake at once, and none passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from shared.settings import Doc, SettingsError, describe, read, read_or_exit, refuse


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


class Ruled(Struct, frozen=True, kw_only=True):
    low: Annotated[int, Doc("Least.")] = 1
    high: Annotated[int, Doc("Most.")] = 2
    names: Annotated[tuple[str, ...], Doc("Names.")]

    def __post_init__(self) -> None:
        refuse(self._mistakes())

    def _mistakes(self) -> Iterator[str]:
        if self.low > self.high:
            yield "R_LOW must not be above R_HIGH"
        if len(self.names) != 1:
            yield "R_NAMES must be one"


def test_rules_between_settings_are_told_all_at_once_and_with_all_else() -> None:
    broken = {"R_LOW": "3", "R_NAMES": "a,b"}
    with pytest.raises(SettingsError) as caught:
        read(Ruled, "R_", broken)
    assert caught.value.mistakes == ["R_LOW must not be above R_HIGH", "R_NAMES must be one"]
    with pytest.raises(SettingsError) as caught:
        read(Ruled, "R_", broken | {"R_NAMES": "", "R_HIGHER": "9"})
    assert caught.value.mistakes == [
        "R_NAMES is required: Names.",
        "R_HIGHER is not a setting; did you mean R_HIGH?",
        "R_LOW must not be above R_HIGH",
    ]


def test_a_rule_about_a_setting_that_is_wrong_anyway_says_nothing() -> None:
    with pytest.raises(SettingsError) as caught:
        read(Ruled, "R_", {"R_LOW": "3", "R_HIGH": "many", "R_NAMES": "a"})
    (mistake,) = caught.value.mistakes
    assert mistake.startswith("R_HIGH: ")


def test_a_mistake_ends_the_process_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_or_exit(Some, "S_", {})
    assert caught.value.code == 2
    assert "settings: S_URL is required" in capsys.readouterr().err


def test_settings_describe_themselves() -> None:
    assert describe(Some, "S_")[0] == ("S_PORT", "port", "8080", "The port.")

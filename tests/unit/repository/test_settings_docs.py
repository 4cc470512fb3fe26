"""docs/reference/settings.md says of each setting what the code says.

`python -m tests.unit.repository.test_settings_docs` writes it.
"""

from __future__ import annotations

import re

import pytest

from devkit.state import ROOT
from gateway.settings import GatewaySettings
from scorer.settings import ScorerSettings
from shared.settings import describe

PAGE = ROOT / "docs" / "reference" / "settings.md"
SERVICES = (("Gateway", "GATEWAY_", GatewaySettings), ("Scorer", "SCORER_", ScorerSettings))
INTRODUCTION = """\
# Settings

Each service reads its settings from the environment when it starts, and nothing else from there. Lists are separated by
commas; an empty variable counts as one that is not set. All mistakes are reported at once, a variable with the service's
prefix that is no setting among them, and the service ends with exit code 2. Secrets are given as files; `GATEWAY_REDIS_URL`
may hold a password, which is shown nowhere.

`./dev up` sets what connects the services; any other setting in its own environment reaches them, so
`GATEWAY_LOG_LEVEL=debug ./dev up` works.
"""


def page() -> str:
    """The whole page, made from the settings classes."""
    parts = [INTRODUCTION]
    for title, prefix, settings in SERVICES:
        rows = [
            f"| `{variable}` | {_cell(default)} | {doc} |" for variable, _, default, doc in describe(settings, prefix)
        ]
        parts += [f"\n## {title}\n\n| variable | default | what it is |\n|---|---|---|\n", "\n".join(rows), "\n"]
    return "".join(parts)


def _cell(default: str) -> str:
    return default if default in {"none", "required"} else f"`{default}`" if default else "empty"


def test_the_page_says_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it anew: python -m tests.unit.repository.test_settings_docs"
    )


@pytest.mark.parametrize(("title", "prefix", "settings"), SERVICES, ids=["gateway", "scorer"])
def test_no_other_page_names_a_setting_that_does_not_exist(title: str, prefix: str, settings: type) -> None:
    known = {variable for variable, *_ in describe(settings, prefix)}
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "k8s").rglob("*.md")]
    for text in (path.read_text(encoding="utf-8") for path in pages):
        assert set(re.findall(rf"\b{prefix}[A-Z][A-Z_]*[A-Z]\b", text)) - known == set()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

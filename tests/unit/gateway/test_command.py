"""`python -m gateway --check-policy`: a pipeline's question, answered without settings and without a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.command import main

GOOD = """
admit: {client_apps: any, kinds: [app]}
grants: [{role: Score.All, models: ["*"]}]
"""


def test_a_policy_that_can_be_used_is_told_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(GOOD)
    assert main(["--check-policy", str(tmp_path / "policy.yaml")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(
        "policy.yaml can be used: 1 grants; 0 callers and apps with limits of their own; 0 rules of models"
    )
    assert not said.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"admit: {client_app: any}\n", "policy.yaml:1: admit has no 'client_app'; did you mean client_apps?"),
        (b"", "the file is empty"),
        (
            b"""admit: {client_apps: [33333333-0000-4000-8000-000000000001]}
grants: [{role: r, models: ['*']}]
callers: [{client_app: 33333333-0000-4000-8000-000000000009, rate: 1/second}]
""",
            "policy.yaml:3: no token of 33333333-0000-4000-8000-000000000009 is taken",
        ),
        (b"\xff\xfe", "policy.yaml is not text in UTF-8"),
        (b"a: [", "policy.yaml:"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_exit_code_2(
    content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.yaml").write_bytes(content)
    assert main(["--check-policy", str(tmp_path / "policy.yaml")]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert not said.out


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check-policy", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read: No such file or directory" in capsys.readouterr().err

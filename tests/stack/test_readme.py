"""What the README and the tutorial say to type does what they say, to the last character of the answer."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from devkit import r
from devkit.launch import announcement
from devkit.state import Home
from tests.stack.stack import ROOT, Stack, rscript
from tests.support import eventually

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorials" / "first-model.md"
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Loading a model takes seconds, on a busy machine some more.
LOADED_WITHIN_S = 60.0


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block, in order."""
    return _FENCED.findall(page.read_text(encoding="utf-8"))


def shown(page: Path, command: str) -> tuple[str, str]:
    """The first block of a page that has `command`, and the block after it: what is typed, and what comes of it."""
    found = [text for _, text in blocks(page)]
    at = next(i for i, text in enumerate(found) if command in text)
    return found[at], found[at + 1].strip()


def pasted(command: str, stack: Stack) -> str:
    """What a shell answers to a command of a page, meant for this stack instead of the default one."""
    assert "http://127.0.0.1:8080/" in command
    assert "$(./dev token)" in command
    token = f"$({shlex.quote(sys.executable)} -m devkit token --name {stack.name})"
    command = command.replace("http://127.0.0.1:8080/", f"{stack.gateway_url}/").replace("$(./dev token)", token)
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_readmes_request_has_the_readmes_reply(stack: Stack) -> None:
    command, reply = shown(README, "curl ")
    assert pasted(command, stack) == reply


def test_the_readmes_request_is_the_one_that_up_prints(stack: Stack) -> None:
    home = Home(stack.name)
    state = home.read()
    assert state is not None
    command, _ = shown(README, "curl ")
    printed = announcement(home, state).replace(stack.gateway_url, "http://127.0.0.1:8080")
    assert printed.partition("\n\n")[2].replace(home.command("token"), "./dev token") == command.strip()


def test_the_tutorial_from_a_fitted_model_to_a_scored_row(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = new_stack()
    code = "\n".join(text for language, text in blocks(TUTORIAL) if language == "r")
    assert '".dev/dev/store"' in code
    script = tmp_path / "tutorial.R"
    script.write_text(f'setwd("{tmp_path}")\n' + code.replace(".dev/dev/store", str(stack.store)))
    rscript(script, env=os.environ | r.environment())
    command, reply = shown(TUTORIAL, "curl ")
    eventually(
        lambda: pasted(command, stack) == reply, within_s=LOADED_WITHIN_S, every_s=0.5, what="the tutorial's reply"
    )
    verify, said = shown(TUTORIAL, "scoregate verify ")
    assert "--stack dev" in verify
    verify = verify.replace(".venv/bin/scoregate", f"{shlex.quote(sys.executable)} -m client")
    verify = verify.replace("--stack dev", f"--stack {stack.name}").replace("rows.csv", str(tmp_path / "rows.csv"))
    done = subprocess.run(["sh", "-c", verify], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == said

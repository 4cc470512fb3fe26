"""The command line of `python -m gateway`: reads the settings, starts one process or several."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from pathlib import Path

from gateway import server
from gateway.core.policy_file import read_policy
from gateway.settings import PREFIX, GatewaySettings
from shared import logs
from shared.settings import describe, read_or_exit


def _settings_help() -> str:
    lines = ["settings are environment variables (default in brackets):", ""]
    for variable, _, default, doc in describe(GatewaySettings, PREFIX):
        lines.append(f"  {variable} [{default}]")
        lines += textwrap.wrap(doc, 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def _refused(why: str) -> int:
    print(f"gateway: {why}", file=sys.stderr)
    return 2


def _check_policy(file: str) -> int:
    path = Path(file)
    try:
        policy = read_policy(path.read_text(encoding="utf-8"), path.name)
    except UnicodeDecodeError:
        return _refused(f"{file} is not text in UTF-8")
    except OSError as error:
        return _refused(f"{file} cannot be read: {error.strerror}")
    except ValueError as error:
        return _refused(str(error))
    limited = len(policy.callers) + len(policy.client_apps)
    print(
        f"{path.name} can be used: {len(policy.grants)} grants; {limited} callers and apps with limits of their own;"
        f" {len(policy.models)} rules of models"
    )
    return 0


def main(arguments: list[str]) -> int:
    """Exit 0 after an orderly stop or for a policy that can be used, 2 for settings or files that cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="The scoregate gateway: identity, limits and contracts in front of the scorer.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--check-policy",
        metavar="FILE",
        help="start nothing, need no settings: say whether this policy can be used, or all that is wrong with it, with lines",
    )
    if (file := parser.parse_args(arguments).check_policy) is not None:
        return _check_policy(file)
    settings = read_or_exit(GatewaySettings, PREFIX, os.environ)
    logs.configure("gateway", settings.log_format, settings.log_level)
    try:
        if settings.workers > 1:
            return server.run_several(settings, os.environ)
        server.run(settings)
    except (OSError, ValueError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    return 0

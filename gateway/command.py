"""The command line of `python -m gateway`: reads the settings, starts one process or several."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap

from gateway import server
from gateway.settings import PREFIX, GatewaySettings
from shared import logs
from shared.settings import describe, read_or_exit


def _settings_help() -> str:
    lines = ["settings are environment variables (default in brackets):", ""]
    for variable, _, default, doc in describe(GatewaySettings, PREFIX):
        lines.append(f"  {variable} [{default}]")
        lines += textwrap.wrap(doc, 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Exit 0 after an orderly stop, 2 for settings or files that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="The scoregate gateway: identity, limits and contracts in front of the scorer.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
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

"""The command line of `python -m scorer`: reads the settings, runs the pod. `--help` lists every setting."""

from __future__ import annotations

import os
import sys

import uvloop

from scorer.app import serve
from scorer.settings import PREFIX, ScorerSettings
from shared import logs
from shared.settings import describe, read_or_exit

_ABOUT = """usage: python -m scorer [--help]

The internal scoring service: serves the model versions of a store from forked R workers, to gateways that hold the
internal token. Everything is set by the environment:
"""
_AFTER = """
When both ports listen, one line of JSON on stdout says where. Logs go to stderr.
Internal port: GET /healthz, /readyz (503 with reasons), /metrics, /status.
SIGTERM or SIGINT: serves for SCORER_DRAIN_DELAY_S while gateways hear that it goes, answers what is in flight, ends every R
process, exits 0. Mistakes in the settings: exit 2.
"""


def main(arguments: list[str]) -> int:
    """The exit code."""
    if arguments:
        print(_help())
        return 0 if arguments[0] in {"-h", "--help"} else 2
    settings = read_or_exit(ScorerSettings, PREFIX, os.environ)
    logs.configure("scorer", settings.log_format, settings.log_level)
    try:
        return uvloop.run(serve(settings))
    except (OSError, ValueError) as error:
        print(f"scorer: {error}", file=sys.stderr)
        return 2


def _help() -> str:
    rows = describe(ScorerSettings, PREFIX)
    width = max(len(name) for name, *_ in rows)
    lines = [f"  {name:<{width}}  {doc} [{default or 'empty'}]" for name, _, default, doc in rows]
    return "\n".join([_ABOUT, *lines, _AFTER])

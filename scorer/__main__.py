"""`python -m scorer`: what may take a second to import comes after the first handlers of signals."""

from __future__ import annotations

import sys

from shared.stop_signals import leave_at_once


def main() -> int:
    """The exit code of `scorer.command`."""
    leave_at_once()
    from scorer.command import main  # noqa: PLC0415

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

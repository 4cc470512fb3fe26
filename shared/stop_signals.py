"""What a signal to stop does before a service has begun to serve: it ends at once, with 0, for there is nothing to end in order.

Imports take a second. In it the system's own answer would be an exit code of 143, which reads as a failure; and the first process
of a container has none at all, so the signal would be lost and the container killed once its grace is over. Imports nothing that
takes time.
"""

from __future__ import annotations

import os
import signal


def leave_at_once() -> None:
    """From now on, until the service sets its own handlers. Not inherited by programs that this process starts."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))

"""One log per stack: every line of every service, in the order of arrival, and how it looks on a terminal.

In the file a line stands as the service wrote it, behind the service's name and a tab. The services write JSON; on a
terminal that becomes `12:03:04 gateway  warning  gateway.redis.away  took_ms=50`. Anything else is shown as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

#: The supervisor's own lines.
OWN = "dev"
SERVICES = ("gateway", "scorer", "redis", "entra", "examples", OWN)
_STYLES = {"debug": "dim", "info": "green", "warning": "yellow", "error": "bold red", "critical": "bold red"}
_SERVICE_STYLES = {"gateway": "cyan", "scorer": "magenta", "redis": "red", "entra": "blue", "examples": "yellow"}
#: Shown in front, below, or not at all.
_NO_FIELDS = ("timestamp", "level", "event", "service", "logger", "exception")


class Log:
    """The file of one stack. `echo` gets each line too: a stack in the foreground shows them."""

    def __init__(self, path: Path, echo: Callable[[str, str], None] | None = None) -> None:
        """Begins the file anew."""
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._echo = echo

    def line(self, service: str, text: str) -> None:
        """One line, without its newline."""
        self._file.write(f"{service}\t{text}\n")
        if self._echo:
            try:
                self._echo(service, text)
            except OSError:  # the terminal has gone; the stack has not
                self._echo = None

    def close(self) -> None:
        """Nothing may be written after it."""
        self._file.close()


def render(service: str, text: str) -> Text:
    """A line for people. What is not one of our JSON lines is shown as it came, without control characters."""
    event = _parse(text)
    head = Text(f"{service:<9}", style=_SERVICE_STYLES.get(service, ""))
    if event is None:
        return Text.assemble(" " * 9, head, " ", _plain(text))
    level = str(event.get("level", ""))
    clock = str(event.get("timestamp", ""))[11:19]
    fields = " ".join(
        f"{key}={_show(value)}" for key, value in event.items() if key not in _NO_FIELDS and value is not None
    )
    line = Text.assemble(
        (f"{clock:<8} ", "dim"),
        head,
        (f" {level:<8}", _STYLES.get(level, "")),
        _plain(event["event"]),
        (f"  {fields}", "dim"),
    )
    for below in str(event.get("exception") or "").splitlines():
        line.append(f"\n{' ' * 18}| {_plain(below)}")
    line.rstrip()
    return line


def read(
    path: Path, service: str | None = None, *, follow: Callable[[], bool] | None = None
) -> Iterator[tuple[str, str]]:
    """(service, line) from the beginning; then, as long as `follow()` holds, whatever is added. `scorer` is `scorer-2`, too."""
    with path.open(encoding="utf-8", errors="replace") as file:
        rest = ""
        while True:
            goes_on = follow is not None and follow()  # asked before reading, so that the last lines are not lost
            while chunk := file.readline():
                rest += chunk
                if not rest.endswith("\n"):
                    continue
                name, _, text = rest[:-1].partition("\t")
                rest = ""
                if service in (None, name, name.partition("-")[0]):
                    yield name, text
            if not goes_on:
                return
            time.sleep(0.1)


def _parse(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        event = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _show(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    plain = _plain(text)
    return f'"{plain}"' if " " in plain and not plain.startswith(("{", "[")) else plain


def _plain(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() or c == "\t" else " " for c in text)

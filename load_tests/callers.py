"""Who the users of a load test are: one credential for each caller, as each would be an app with its own registration.

One caller by the variables of the `scoregate` command (SCOREGATE_URL, SCOREGATE_TENANT, SCOREGATE_CLIENT_ID, …, or
SCOREGATE_STACK for a local stack). Several by `--callers`: names of a local stack's apps (`all,all-v1`), or a TOML file with
a `[[caller]]` table for each, whose keys are the variables' names without SCOREGATE_, in small letters:

    [[caller]]
    client_id = "…"
    client_secret_file = "/run/secrets/one"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from client.connection import VARIABLES, Connection, UsageError


def connections(environ: Mapping[str, str], callers: str, host: str | None) -> list[Connection]:
    """One connection for each caller, at least one. `host` goes before SCOREGATE_URL. Raises UsageError."""
    base = Connection.from_environment(environ)
    if host:
        base = replace(base, url=host)
    if not callers:
        return [base]
    if not callers.endswith(".toml"):
        if base.stack is None:
            raise UsageError("--callers with names is for a local stack; elsewhere it is a .toml file of callers")
        return [replace(base, app=name.strip()) for name in callers.split(",") if name.strip()]
    prefix = "SCOREGATE_"
    found = []
    for number, table in enumerate(_tables(Path(callers)), 1):
        unknown = sorted(table.keys() - VARIABLES.keys())
        if unknown:
            raise UsageError(f"{callers}: caller {number} has {', '.join(unknown)}; known are {', '.join(VARIABLES)}")
        own = {prefix + key.upper(): str(value) for key, value in table.items()}
        kept = {} if "client_id" in table or "token" in table else dict(environ)
        for shared in ("url", "tenant", "authority", "ca_file", "scope"):
            if (name := prefix + shared.upper()) in environ:
                kept[name] = environ[name]
        one = Connection.from_environment(kept | own)
        found.append(replace(one, url=host) if host else one)
    return found


def _tables(path: Path) -> list[dict[str, object]]:
    try:
        tables = tomllib.loads(path.read_text("utf-8")).get("caller")
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path} has no [[caller]] table")
    return tables

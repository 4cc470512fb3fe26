"""`scoregate token`: an access token for other tools."""

from __future__ import annotations

from client.commands.options import connected
from client.connection import Connection
from client.terminal import out


@connected
def token(connection: Connection) -> None:
    """Print an access token, got through MSAL, and nothing else.

    [dim]curl -H "Authorization: Bearer $(scoregate token)" $SCOREGATE_URL/v1/models[/dim]
    [dim]scoregate token --device        # log in once; later commands reuse it[/dim]
    """
    out(connection.credential().token())

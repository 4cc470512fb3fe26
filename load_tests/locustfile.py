"""Load on a gateway: users that score a model's own example rows and check every answer. See load_tests/README.md.

Who and where is said by the variables of the `scoregate` command (SCOREGATE_URL, SCOREGATE_TENANT, SCOREGATE_CLIENT_ID,
SCOREGATE_CLIENT_SECRET, …, or SCOREGATE_STACK for a local stack); what, by

    SCOREGATE_MODEL   the model; default boston-housing
    SCOREGATE_ROWS    rows of each request; default 1

Tokens come through MSAL, from one credential for all users, as one app would have. An answer is a failure unless its
predictions are the very ones that the server's own example promises for the rows sent.
"""

from __future__ import annotations

import math
import os
import random
import ssl
from typing import Any

import gevent  # type: ignore[import-untyped]
from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from client.connection import Connection
from client.credentials import Credential
from client.errors import ClientError
from client.models import Model

MODEL = os.environ.get("SCOREGATE_MODEL", "boston-housing")
ROWS = int(os.environ.get("SCOREGATE_ROWS", "1"))
#: Longest a user waits when told to; a limit that opens later is asked again before that.
MOST_PAUSE_S = 30.0


class Target:
    """What all users of this process share: the credential, the model, its rows and what they must be answered."""

    def __init__(self, connection: Connection) -> None:
        """Asks the gateway for the model. Raises ClientError, also where the model has no example to send."""
        self.url, self.trusted = connection.where()
        self.credential: Credential = connection.credential()
        with connection.client(self.credential) as client:
            self.model: Model = client.model(MODEL)
        self.rows: list[dict[str, Any]] = (self.model.example or {}).get("rows", [])
        self.answers: list[Any] = (self.model.example_answer or {}).get("predictions", [])
        if not self.rows or len(self.rows) != len(self.answers):
            raise ClientError(f"{MODEL} has no example with answers to compare with")

    def pick(self) -> tuple[list[dict[str, Any]], list[Any]]:
        """Some rows and what they are answered; all, in order, where answers depend on the other rows."""
        if not self.model.batchable:
            return self.rows, self.answers
        chosen = random.choices(range(len(self.rows)), k=ROWS)
        return [self.rows[i] for i in chosen], [self.answers[i] for i in chosen]

    def wrong(self, got: Any, expected: Any) -> bool:
        """Whether an answer is not the promised one: to the last bit, or within 1e-9 for a version that is `close`."""
        if isinstance(expected, list):
            return not isinstance(got, list) or len(got) != len(expected) or any(map(self.wrong, got, expected))
        if isinstance(expected, dict):
            return (
                not isinstance(got, dict)
                or got.keys() != expected.keys()
                or any(self.wrong(got[k], expected[k]) for k in got)
            )
        if isinstance(expected, float) and isinstance(got, (int, float)) and self.model.close:
            return not math.isclose(got, expected, rel_tol=1e-9)
        return bool(got != expected)


class Shared:
    """Set when the run is initialised."""

    target: Target


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Environment, **_: Any) -> None:
    """Once for each process, before any user."""
    Shared.target = Target(Connection.from_environment(os.environ))
    environment.host = Shared.target.url
    ScoringUser.host = Shared.target.url
    if isinstance(trusted := Shared.target.trusted, ssl.SSLContext):
        ScoringUser.ssl_context_factory = staticmethod(lambda: trusted)


class ScoringUser(FastHttpUser):
    """Scores as fast as it is answered; as many of these as there are to be requests at once."""

    wait_time = constant(0)
    insecure = False
    connection_timeout = 10.0
    network_timeout = 65.0

    @task
    def score(self) -> None:
        """One request, checked. After 429 or 503 it waits as told; a 429 is counted under a name of its own."""
        target = Shared.target
        rows, expected = target.pick()
        headers = {"Authorization": f"Bearer {target.credential.token()}"}
        path = f"/v1/models/{MODEL}/score"
        pause_s = 0.0
        with self.client.post(path, json={"rows": rows}, headers=headers, catch_response=True) as reply:
            if reply.status_code in {429, 503}:
                pause_s = min(float(reply.headers.get("Retry-After", 1)), MOST_PAUSE_S)
            if reply.status_code == 429:
                reply.request_meta["name"] = f"{path} (429)"
                reply.success()
            elif reply.status_code != 200:
                reply.failure(f"{reply.status_code} {(reply.text or '')[:200]}")
            elif target.wrong(reply.json().get("predictions"), expected):
                reply.failure("another answer than the example's")
        gevent.sleep(pause_s)

"""Load on a gateway: users that score models' own example rows and check every answer. See load_tests/README.md.

Where and as whom: `load_tests.callers`. Tokens come through MSAL, one credential for each caller, as an app would have it; users
are dealt out to callers and models in turn. An answer is a failure unless its predictions are the very ones that the server's
own example promises for the rows sent.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import ssl
import sys
from typing import Any

import gevent.event  # type: ignore[import-untyped]
import locust.stats
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import StatsEntry

from client.client import Client
from client.connection import Connection
from client.credentials import Credential
from client.errors import ClientError
from client.models import Model
from load_tests.callers import connections
from load_tests.thresholds import Outcome, Thresholds

#: Longest a user waits when told to; a limit that opens later is asked again before that.
MOST_PAUSE_S = 30.0
_REFUSED = " (429)"
#: A point in the report's charts each second: Locust's five leave out the steps of a short run.
locust.stats.HISTORY_STATS_INTERVAL_SEC = 1


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def options(parser: Any) -> None:
    """Beside Locust's own; in the web UI, too."""
    group = parser.add_argument_group("what is sent, and what must come of it")
    group.add_argument(
        "--model", env_var="SCOREGATE_MODEL", default="boston-housing", help="Models, with commas; users take turns"
    )
    group.add_argument("--rows", type=int, env_var="SCOREGATE_ROWS", default=1, help="Rows of each request")
    group.add_argument(
        "--callers", env_var="SCOREGATE_CALLERS", default="", help="A local stack's apps, with commas, or a .toml file"
    )
    group.add_argument(
        "--user-rate",
        type=float,
        default=0,
        help="Requests a second of each user, sooner or later; 0: the next as soon as the last is answered",
    )
    group.add_argument("--max-failures", type=float, default=0, help="Percent of requests that may fail")
    group.add_argument("--max-p95-ms", type=float, default=0, help="Longest 95th percentile; 0: any")
    group.add_argument("--min-requests", type=int, default=1, help="Fewest requests that must be served")


class Target:
    """One caller and one model: the credential, the rows and what they must be answered."""

    def __init__(self, credential: Credential, name: str, model: Model, rows: int, client: Client) -> None:
        """Raises ClientError where the model has no example to send.

        An answer that depends on the request's other rows is not in the example, which may be a part of what was packaged: it is
        asked for once, before there is load.
        """
        self.credential = credential
        self.model = model
        self.path = f"/v1/models/{name}/score"
        self.some = rows
        self.rows: list[dict[str, Any]] = (model.example or {}).get("rows", [])
        if model.batchable or not self.rows:
            self.answers: list[Any] = (model.example_answer or {}).get("predictions", [])
        else:
            self.answers = list(client.score(name, self.rows).predictions)
        if model.signature.is_function:
            raise ClientError(f"{name} is a function: load tests send rows of models")
        if not self.rows or len(self.rows) != len(self.answers):
            raise ClientError(f"{name} has no example with answers to compare with")

    def pick(self) -> tuple[list[dict[str, Any]], list[Any]]:
        """Some rows and what they are answered; all, in order, where answers depend on the other rows."""
        if not self.model.batchable:
            return self.rows, self.answers
        chosen = random.choices(range(len(self.rows)), k=self.some)
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


def targets(found: list[Connection], models: list[str], rows: int) -> list[Target]:
    """Every caller with every model. Raises ClientError, also for a model that a caller may not score."""
    made = []
    for connection in found:
        try:
            credential = connection.credential()
            with connection.client(credential) as client:
                made += [Target(credential, name, client.model(name), rows, client) for name in models]
        except ClientError as error:
            who = connection.app or connection.client_id
            raise ClientError(f"caller {who}: {error}" if len(found) > 1 and who else str(error)) from error
    return made


class Shared:
    """Set when the run is initialised, `ready` then: what the users of this process take turns at.

    A worker of a distributed run may be given users before that.
    """

    targets: itertools.cycle[Target]
    ready = gevent.event.Event()


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Environment, **_: Any) -> None:
    """Once for each process, before any user."""
    said: Any = environment.parsed_options
    try:
        found = connections(os.environ, said.callers, said.host)
        url, trusted = found[0].where()
        models = [name.strip() for name in said.model.split(",") if name.strip()]
        Shared.targets = itertools.cycle(targets(found, models, said.rows))
    except ClientError as error:
        print(f"load test: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    environment.host = ScoringUser.host = url.rstrip("/")
    if isinstance(trusted, ssl.SSLContext):
        ScoringUser.ssl_context_factory = staticmethod(lambda: trusted)
    Shared.ready.set()


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Environment, **_: Any) -> None:
    """Holds the run to its thresholds; what it did not keep is said, and fails it. Of a distributed run the master knows."""
    if isinstance(environment.runner, WorkerRunner):
        return
    said: Any = environment.parsed_options
    total = environment.stats.total
    served = StatsEntry(environment.stats, "served", "POST")
    for (name, _method), entry in environment.stats.entries.items():
        if not name.endswith(_REFUSED):
            served.extend(entry)
    p95 = served.get_response_time_percentile(0.95) if served.num_requests else None
    raised: Any = environment.runner.exceptions.values() if environment.runner is not None else ()
    errors = tuple(f"{one['msg']} ({one['count']} times)" for one in raised)
    outcome = Outcome(total.num_requests, total.num_failures, total.num_requests - served.num_requests, p95, errors)
    broken = Thresholds(said.max_failures, said.max_p95_ms, said.min_requests).broken(outcome)
    for line in [*broken, *filter(None, [outcome.note()])]:
        print(f"load test: {line}", file=sys.stderr)
    environment.process_exit_code = 1 if broken else 0


def predictions(text: str) -> Any:
    """Of an answer; None for one that is no answer of ours, as a proxy's page is."""
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said.get("predictions") if isinstance(said, dict) else None


def told_s(retry_after: str) -> float:
    """Seconds that an answer said to wait; one where it said none, or a date."""
    return float(retry_after) if retry_after.isdecimal() else 1.0


class ScoringUser(FastHttpUser):
    """One request at a time: as many of these as there are to be requests at once."""

    insecure = False
    connection_timeout = 10.0
    network_timeout = 65.0

    def on_start(self) -> None:
        """Takes its turn among callers and models; users of a rate start spread over one interval."""
        Shared.ready.wait()
        self.target = next(Shared.targets)
        rate = self.environment.parsed_options.user_rate
        if rate:
            gevent.sleep(random.random() / rate)
        self.next_s = gevent.get_hub().loop.now()

    def wait_time(self) -> float:
        """Until this user's next request is due; nothing where it has no rate of its own, or is behind."""
        rate = self.environment.parsed_options.user_rate
        if not rate:
            return 0.0
        now = gevent.get_hub().loop.now()
        self.next_s = max(self.next_s + 1 / rate, now)
        return float(self.next_s - now)

    @task
    def score(self) -> None:
        """One request, checked. After 429 or 503 it waits as told; a 429 is counted under a name of its own."""
        target = self.target
        rows, expected = target.pick()
        headers = {"Authorization": f"Bearer {target.credential.token()}"}
        pause_s = 0.0
        with self.client.post(target.path, json={"rows": rows}, headers=headers, catch_response=True) as reply:
            if reply.status_code in {429, 503}:
                pause_s = min(told_s(reply.headers.get("Retry-After", "")), MOST_PAUSE_S)
            if reply.status_code == 429:
                reply.request_meta["name"] = f"{target.path}{_REFUSED}"
                reply.success()
            elif reply.status_code != 200:
                reply.failure(f"{reply.status_code} {(reply.text or '')[:200]}")
            elif target.wrong(predictions(reply.text or ""), expected):
                reply.failure("another answer than the example's")
        gevent.sleep(pause_s)

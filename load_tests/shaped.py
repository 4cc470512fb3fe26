"""Locust's side of `load_tests.shapes`: a second locustfile, beside `locustfile.py`, for a run with a shape.

locust -f load_tests/locustfile.py,load_tests/shaped.py --headless --shape step --most-users 50 --shape-seconds 100
"""

from __future__ import annotations

from typing import Any

from locust import LoadTestShape, events

from load_tests.shapes import SHAPES


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def options(parser: Any) -> None:
    """What a shape needs to know."""
    group = parser.add_argument_group("the shape")
    group.add_argument("--shape", choices=sorted(SHAPES), default="steady", help="How the number of users goes")
    group.add_argument("--most-users", type=int, default=50, help="Users when there are most")
    group.add_argument("--shape-seconds", type=int, default=60, help="Length of the run")


class Shaped(LoadTestShape):
    """Asked about once a second. All new users come within a second."""

    def tick(self) -> tuple[int, float] | None:
        """Users and how many may come each second; None ends the run."""
        runner: Any = self.runner
        said = runner.environment.parsed_options
        at_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        users = SHAPES[said.shape].users(at_s, said.shape_seconds, said.most_users)
        return None if users is None else (users, max(users, 1))

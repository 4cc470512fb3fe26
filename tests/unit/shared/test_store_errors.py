"""What is said of a store's error is one line that names it."""

from __future__ import annotations

from shared.store_errors import first_line


def test_the_code_that_stands_further_down_comes_first() -> None:
    text = (
        "Client error with status 404 Not Found: <?xml version='1.0'?>\n<Error><Code>ContainerNotFound</Code></Error>"
    )
    assert first_line(OSError(text)) == "ContainerNotFound: Client error with status 404 Not Found"


def test_only_the_first_line_is_said_or_what_kind_of_error_it_is() -> None:
    assert first_line(OSError("no route to host\n\nDebug source: …")) == "no route to host"
    assert first_line(TimeoutError()) == "TimeoutError"

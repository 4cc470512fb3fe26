"""The Python client against a fake gateway on a real socket."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import pickle
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from client import (
    NO_RETRY,
    AsyncClient,
    Client,
    ColumnScores,
    ConnectionFailedError,
    DataError,
    ForbiddenError,
    InvalidDataError,
    Model,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    RefusedRequestError,
    ReplyError,
    RetryPolicy,
    ScoregateHTTPError,
    Scores,
    ServerError,
    StaticToken,
    TimedOutError,
    UnauthenticatedError,
    UnavailableError,
)
from tests.service.fake_gateway import EVERYTHING, TOKEN, FakeGateway, running
from tests.support import eventually

QUICK = RetryPolicy(attempts=4, total_s=5, first_pause_s=0.001)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with running(FakeGateway()) as fake:
        yield fake


class Blocking:
    """The async client behind the sync one's methods, so that every test below runs on both."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url, self._options = url, options

    def _run(self, call: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            async with AsyncClient(self._url, **self._options) as client:
                return await call(client)

        return asyncio.run(whole())

    def models(self) -> list[Model]:
        return self._run(lambda c: c.models())  # type: ignore[no-any-return]

    def model(self, *arguments: Any) -> Model:
        return self._run(lambda c: c.model(*arguments))  # type: ignore[no-any-return]

    def score(self, *arguments: Any, **named: Any) -> Scores:
        return self._run(lambda c: c.score(*arguments, **named))  # type: ignore[no-any-return]

    def score_binary(self, *arguments: Any, **named: Any) -> ColumnScores:
        return self._run(lambda c: c.score_binary(*arguments, **named))  # type: ignore[no-any-return]

    def close(self) -> None:
        pass


Make = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, gateway: FakeGateway) -> Iterator[Make]:
    made: list[Any] = []

    def build(**options: Any) -> Any:
        options = {"credential": StaticToken(TOKEN), "retry": QUICK, **options}
        made.append((Client if request.param == "sync" else Blocking)(gateway.url, **options))
        return made[-1]

    yield build
    for client in made:
        client.close()


class Renewing:
    """A credential whose first tokens have expired."""

    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)
        self.lock = threading.Lock()
        self.renewals = 0

    def token(self) -> str:
        return self.left[0]

    def renew(self, stale: str) -> str | None:
        with self.lock:
            if self.left[0] == stale and len(self.left) > 1:
                self.left.pop(0)
                self.renewals += 1
            return self.left[0] if self.left[0] != stale else None


def test_rows_columns_and_frames_give_the_same_predictions_in_order(make: Make) -> None:
    client = make()
    rows = [{"a": 1.5, "b": 2}, {"a": None, "b": 1}, {"a": -0.0, "b": 0}]
    expected = [3.5, None, 0.0]
    scored = client.score("adder", rows)
    assert (scored.model, scored.version, scored.predictions) == ("adder", "2", expected)
    assert len(scored) == 3
    assert client.score("adder", {"a": [1.5, math.nan, -0.0], "b": [2, 1, 0]}).predictions == expected

    class Frame:
        columns = ("a", "b")

        def __getitem__(self, name: str) -> list[Any]:
            columns: dict[str, list[Any]] = {"a": [1.5, math.nan, -0.0], "b": [2, 1, 0]}
            return columns[name]

    assert client.score("adder", Frame()).predictions == expected


def test_numpy_columns_are_taken_as_they_are(make: Make) -> None:
    numpy = pytest.importorskip("numpy")
    columns = {"a": numpy.array([0.1, math.nan]), "b": numpy.array([1, 2], dtype="int32")}
    assert make().score("adder", columns).predictions == [1.1, None]
    assert make().score("adder", [{"a": numpy.float64(0.1), "b": numpy.int64(1)}]).predictions == [1.1]
    assert make().score_binary("adder", columns).columns["prediction"][0] == 1.1


def test_a_version_that_is_named_is_the_one_that_scores(make: Make, gateway: FakeGateway) -> None:
    assert make().score("adder", [{"a": 1, "b": 1}], version="1").version == "1"
    assert gateway.paths == ["POST /v1/models/adder/versions/1/score"]


def test_a_url_may_end_where_paths_begin(gateway: FakeGateway) -> None:
    for end in ("/", "/v1", "/v1/"):
        with Client(gateway.url + end, credential=StaticToken(TOKEN)) as client:
            assert client.models()


def test_models_and_one_model_are_described_with_their_signature(make: Make) -> None:
    client = make()
    assert [(m.model, m.version, m.versions) for m in client.models()] == [
        ("adder", "2", ("2", "1")),
        ("everything", "1", ("1",)),
    ]
    model = client.model("everything")
    assert model.signature == EVERYTHING
    assert client.model("adder", "1").version == "1"


def test_binary_carries_every_type_and_what_json_cannot(make: Make, gateway: FakeGateway) -> None:
    rows = [
        {"x": math.inf, "n": 7, "on": True, "text": "é", "size": "M", "day": dt.date(1969, 12, 31), "at": None},
        {"x": 0.5, "n": None, "on": None, "text": None, "size": None, "day": None, "at": None},
        {"x": math.nan, "n": None, "on": None, "text": "é", "size": None, "day": None, "at": "2026-01-31T12:00:00.25Z"},
        {"x": -0.0, "n": -7, "on": False, "text": "|", "size": "NA", "day": "2026-01-31", "at": None},
    ]
    scored = make().score_binary("everything", rows)
    assert scored.columns["class"] == ["hi", "hi", "lo", "lo"]
    assert scored.columns["label"] == ["é|M|-1.0", None, "é|None|nan", "||NA|20484.0"]
    doubles = scored.columns["prob.lo"]
    assert list(doubles[:2]) == [math.inf, 0.5]
    assert math.isnan(doubles[2])
    assert math.copysign(1, doubles[3]) == -1.0
    assert (scored.model, scored.version, len(scored)) == ("everything", "1", 4)
    assert gateway.paths[-1] == "POST /v2/models/everything/versions/1/infer"


def test_many_rows_go_in_parts_and_come_back_in_order_with_few_at_once(make: Make, gateway: FakeGateway) -> None:
    columns = {"a": [i / 8 for i in range(1005)], "b": [0] * 1005}
    client = make(rows_per_request=50, concurrency=3)
    assert client.score("adder", columns).predictions == columns["a"]
    assert len(gateway.calls) == 21
    # the first part alone, to learn the version that the others are pinned to
    assert gateway.paths[:2] == ["POST /v1/models/adder/score", "POST /v1/models/adder/versions/2/score"]
    assert gateway.most_in_flight <= 3
    assert list(client.score_binary("adder", columns).columns["prediction"]) == columns["a"]


def test_parts_the_server_finds_too_large_are_halved(make: Make, gateway: FakeGateway) -> None:
    gateway.max_rows = 30
    columns = {"a": [float(i) for i in range(200)], "b": [0] * 200}
    client = make(rows_per_request=100)
    assert client.score("adder", columns).predictions == columns["a"]
    assert list(client.score_binary("adder", columns).columns["prediction"]) == columns["a"]


def test_one_row_that_is_too_large_is_an_error(make: Make, gateway: FakeGateway) -> None:
    gateway.max_rows = 0
    with pytest.raises(PayloadTooLargeError, match="at most 0 rows"):
        make().score("adder", [{"a": 1, "b": 1}, {"a": 1, "b": 2}])
    assert len(gateway.calls) == 2  # both, then the first alone


def test_an_error_in_one_part_is_the_error_of_the_call(make: Make, gateway: FakeGateway) -> None:
    columns = {"a": [1.0] * 100, "b": [0] * 100}
    gateway.refuse(status=422, code="prediction_failed", detail="R said no", only="/versions/")
    with pytest.raises(InvalidDataError, match="R said no"):
        make(rows_per_request=10).score("adder", columns)


def test_429_and_503_are_asked_again_after_the_exact_time(make: Make, gateway: FakeGateway) -> None:
    gateway.refuse(status=429, code="rate_limited", retry_after_ms=30)
    gateway.refuse(status=503, code="overloaded", retry_after_ms=5)
    assert make().score("adder", [{"a": 1, "b": 1}]).predictions == [2]
    assert len(gateway.calls) == 3


def test_retries_end_with_the_attempts(make: Make, gateway: FakeGateway) -> None:
    gateway.refuse(times=9, status=503, code="overloaded", detail="full")
    with pytest.raises(UnavailableError, match="503 overloaded: full"):
        make().score("adder", [{"a": 1, "b": 1}])
    assert len(gateway.calls) == QUICK.attempts


def test_a_wait_longer_than_the_call_has_time_for_is_not_begun(make: Make, gateway: FakeGateway) -> None:
    gateway.refuse(status=429, code="quota_exceeded", retry_after_ms=86_400_000)
    with pytest.raises(RateLimitedError) as caught:
        make().score("adder", [{"a": 1, "b": 1}])
    assert caught.value.retry_after_s == 86_400
    assert len(gateway.calls) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_request", RefusedRequestError),
        (403, "forbidden", ForbiddenError),
        (404, "not_found", NotFoundError),
        (415, "unsupported_media_type", RefusedRequestError),
        (422, "invalid_data", InvalidDataError),
        (500, "internal_error", ServerError),
        (502, "upstream_error", ServerError),
        (504, "deadline_exceeded", ServerError),
    ],
)
def test_what_is_final_is_asked_once(
    make: Make, gateway: FakeGateway, status: int, code: str, kind: type[ScoregateHTTPError]
) -> None:
    gateway.refuse(status=status, code=code, detail="no", retry_after_ms=1)
    with pytest.raises(kind) as caught:
        make().score("adder", [{"a": 1, "b": 1}])
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, code, "fake-1")
    assert len(gateway.calls) == 1


def test_problems_are_listed_and_survive_pickling(make: Make) -> None:
    with pytest.raises(InvalidDataError) as caught:
        make().score("adder", [{"a": 1, "b": 1, f"c{i}": 0} for i in range(9)])
    error = caught.value
    assert len(error.problems) == error.problems_total == 9
    assert str(error).splitlines() == [
        "422 invalid_data: the data does not fit the model's signature",
        *(f"  /rows/{i}/c{i}: the model has no such column" for i in range(5)),
        "  … and 4 more",
    ]
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - for process pools
    assert str(again) == str(error)
    assert again.problems == error.problems


def test_a_problem_of_a_later_part_names_the_row_of_the_table(make: Make) -> None:
    rows: list[dict[str, float]] = [{"a": 1, "b": 1} for _ in range(25)]
    rows[17]["c"] = 0
    with pytest.raises(InvalidDataError) as caught:
        make(rows_per_request=10).score("adder", rows)
    assert [problem["pointer"] for problem in caught.value.problems] == ["/rows/17/c"]


def test_an_expired_token_is_renewed_once_and_the_call_succeeds(make: Make, gateway: FakeGateway) -> None:
    gateway.expired = {"old"}
    credential = Renewing("old", TOKEN)
    assert make(credential=credential).score("adder", [{"a": 1, "b": 1}]).predictions == [2]
    assert credential.renewals == 1
    assert [call.headers["authorization"] for call in gateway.calls] == ["Bearer old", f"Bearer {TOKEN}"]


def test_a_second_expired_token_is_the_callers_problem(make: Make, gateway: FakeGateway) -> None:
    gateway.expired = {"old", "older"}
    with pytest.raises(UnauthenticatedError, match="TokenExpired"):
        make(credential=Renewing("older", "old", TOKEN)).score("adder", [{"a": 1, "b": 1}])
    assert len(gateway.calls) == 2


def test_a_static_token_that_expired_is_an_error_at_once(make: Make, gateway: FakeGateway) -> None:
    gateway.expired = {"old"}
    with pytest.raises(UnauthenticatedError, match="TokenExpired"):
        make(credential=StaticToken("old")).models()
    assert len(gateway.calls) == 1


def test_a_token_that_is_wrong_is_not_renewed(make: Make, gateway: FakeGateway) -> None:
    credential = Renewing("wrong", TOKEN)
    with pytest.raises(UnauthenticatedError, match="TokenSignatureInvalid"):
        make(credential=credential).models()
    assert credential.renewals == 0


def test_an_expired_token_is_renewed_under_v2_too_where_the_body_has_no_code(make: Make, gateway: FakeGateway) -> None:
    client = make(credential=(credential := Renewing("old", TOKEN)))
    gateway.expired = {"old"}
    gateway.tokens.add("old")
    described = client.model("adder")
    assert described.version == "2"
    gateway.tokens.remove("old")
    assert list(client.score_binary("adder", {"a": [1.0], "b": [1]}).columns["prediction"]) == [2.0]
    assert credential.renewals == 1


def test_the_timeout_is_told_to_the_server(make: Make, gateway: FakeGateway) -> None:
    make().score("adder", [{"a": 1, "b": 1}], timeout_s=1.25)
    assert gateway.calls[0].headers["x-request-timeout-ms"] == "1250"
    make().score("adder", [{"a": 1, "b": 1}])
    assert "x-request-timeout-ms" not in gateway.calls[1].headers
    with pytest.raises(ValueError, match=r"from 0\.05 to 60"):
        make().score("adder", [{"a": 1, "b": 1}], timeout_s=61)


def test_a_server_that_never_answers_times_out(
    make: Make, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.client.NETWORK_MARGIN_S", 0.0)
    gateway.refuse(hang=True)
    with pytest.raises(TimedOutError, match=r"did not answer POST .* within 0\.05 s"):
        make().score("adder", [{"a": 1, "b": 1}], timeout_s=0.05)
    assert len(gateway.calls) == 1


def test_nobody_listening_is_tried_again_and_then_said(make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        client = Client(url, credential=StaticToken("t"), retry=QUICK)
        with client, pytest.raises(ConnectionFailedError, match="cannot connect to http://127"):
            client.models()


@contextmanager
def scripted(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request on each connection, writes the next of these and closes; what it read is listed."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join(10)


EMPTY_LIST = b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{"models":[]}'


def test_a_connection_closed_without_a_word_is_tried_again() -> None:
    with scripted(b"", EMPTY_LIST) as (url, asked), Client(url, credential=StaticToken("t"), retry=QUICK) as client:
        assert client.models() == []
        assert len(asked) == 2


def test_an_answer_cut_off_in_the_middle_is_not_asked_for_again() -> None:
    with scripted(EMPTY_LIST[:-5]) as (url, asked), Client(url, credential=StaticToken("t"), retry=QUICK) as client:
        with pytest.raises(ConnectionFailedError, match=r"the connection to http://127\.0\.0\.1:\d+ broke"):
            client.models()
        assert len(asked) == 1


def test_a_token_as_text_is_told_what_to_be_wrapped_in() -> None:
    with pytest.raises(TypeError, match=r"give StaticToken\(token\)") as caught:
        Client("https://example.com", credential="secret")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_no_token_goes_over_plain_http_to_another_machine() -> None:
    for url in ("http://example.com", "http://10.0.0.1:8080", "http://localhost.example.com"):
        with pytest.raises(ValueError, match="in the clear"):
            Client(url, credential=StaticToken("t"))
    for url in ("http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1", "https://example.com"):
        Client(url, credential=StaticToken("t")).close()
    Client("http://gateway", credential=StaticToken("t"), allow_plain_http=True).close()
    for url in ("example.com", "ftp://example.com", "https://", "https://me:secret@example.com"):
        with pytest.raises(ValueError, match=r"not an http|name or password") as caught:
            Client(url, credential=StaticToken("t"))
        assert "secret" not in str(caught.value)


def test_an_answer_of_something_else_is_no_answer(make: Make, gateway: FakeGateway) -> None:
    gateway.refuse(status=200, body=b"<html>welcome to the proxy</html>")
    with pytest.raises(ReplyError, match="welcome to the proxy"):
        make().models()
    gateway.refuse(status=502, body=b"<html>bad gateway</html>")
    with pytest.raises(ServerError, match="502 http_502: <html>bad gateway"):
        make(retry=NO_RETRY).models()


def test_an_answer_with_another_number_of_rows_is_refused(make: Make, gateway: FakeGateway) -> None:
    gateway.refuse(status=200, body=b'{"model":"adder","version":"2","predictions":[1]}')
    with pytest.raises(ReplyError, match="1 predictions for 2 rows"):
        make().score("adder", [{"a": 1, "b": 1}] * 2)


def test_rows_that_cannot_be_sent_are_refused_here(make: Make, gateway: FakeGateway) -> None:
    client = make()
    for data, message in (
        ([{"a": math.inf, "b": 1}], "column a, row 0: JSON has no infinity"),
        ([{"a": object(), "b": 1}], "object is not a number"),
        ([("a", 1)], "row 0 is a tuple"),
        ({"a": 1.0}, "column a is one value of type float: give a list"),
        ("a,b", "give rows"),
        ([{"a": dt.datetime(2026, 1, 1)}], "needs a time zone"),  # noqa: DTZ001
    ):
        with pytest.raises(DataError, match=message):
            client.score("adder", data)
    assert gateway.calls == []


def test_binary_names_the_column_that_does_not_fit(make: Make) -> None:
    client = make()
    good: dict[str, Any] = {"x": 1.0, "n": 1, "on": True, "text": "", "size": "S", "day": None, "at": None}
    for change, message in (
        ({"n": 2**31}, "column n"),
        ({"n": 1.5}, "column n: 1.5 is not one of R's whole numbers"),
        ({"on": 1}, "column on: 1 is not true or false"),
        ({"size": "L"}, "column size: 'L' is not one of its levels"),
        ({"text": 1}, "column text: 1 is not text"),
        ({"x": "1"}, "column x: '1' is text"),
        ({"day": "31.1.2026"}, "column day"),
    ):
        with pytest.raises(DataError, match=message):
            client.score_binary("everything", [good | change])
    with pytest.raises(DataError, match="row 0: missing at; unknown z"):
        client.score_binary("everything", [{k: v for k, v in good.items() if k != "at"} | {"z": 1}])


def test_a_shared_client_serves_many_threads(gateway: FakeGateway) -> None:
    answers: dict[int, Any] = {}
    with Client(gateway.url, credential=StaticToken(TOKEN)) as client:

        def ask(number: int) -> None:
            answers[number] = client.score("adder", [{"a": number, "b": 0}]).predictions

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {n: [n] for n in range(24)}


async def test_a_cancelled_call_leaves_nothing_running(gateway: FakeGateway) -> None:
    gateway.refuse(hang=True, only="/versions/")
    async with AsyncClient(gateway.url, credential=StaticToken(TOKEN), rows_per_request=1) as client:
        call = asyncio.ensure_future(client.score("adder", [{"a": 1, "b": 1}] * 4))
        await asyncio.to_thread(eventually, lambda: len(gateway.calls) >= 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert [t for t in asyncio.all_tasks() if t is not asyncio.current_task()] == []

"""The client's pure rules: when to ask again, what an error says, how a call goes on, how rows are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.conversation import Call, Conversation, NeedToken, Send, Unanswered, Wait, converse
from client.errors import ConnectionFailedError, RateLimitedError, ReplyError, ScoregateHTTPError, UnavailableError
from client.models import Model, Scores, model_of
from client.parts import join, ranges
from client.replies import Reply, error_of
from client.retry import NO_RETRY, RetryPolicy

OK = Reply(200, {}, b"{}")


def refusal(status: int, body: bytes = b"{}", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@given(
    attempt=st.integers(1, 10),
    asked_s=st.none() | st.floats(0, 1000),
    spent_s=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    policy=st.builds(RetryPolicy, st.integers(1, 10), st.floats(0, 1000), st.floats(0.001, 10)),
)
def test_a_wait_is_never_shorter_than_asked_and_never_ends_too_late(
    attempt: int, asked_s: float | None, spent_s: float, jitter: float, policy: RetryPolicy
) -> None:
    pause = policy.pause_after_s(attempt, asked_s, spent_s, jitter)
    if pause is None:
        base = policy.first_pause_s * 2 ** (attempt - 1) if asked_s is None else asked_s
        assert attempt >= policy.attempts or spent_s + base > policy.total_s
    else:
        assert attempt < policy.attempts
        assert spent_s + pause <= policy.total_s
        assert asked_s is None or asked_s <= pause <= asked_s * 1.1


def test_no_retry_gives_up_at_once() -> None:
    assert NO_RETRY.pause_after_s(1, 0.0, 0.0, 0.0) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 415, 422, 431, 500, 502, 504])
def test_only_429_and_503_are_asked_again(status: int) -> None:
    policy = RetryPolicy()
    assert policy.pause_for(error_of(refusal(status, retry_after="1")), 1, 0, 0) is None
    assert policy.pause_for(error_of(refusal(503, retry_after="1")), 1, 0, 0) == 1
    assert policy.pause_for(error_of(refusal(429, b'{"retry_after_ms": 1500}', retry_after="2")), 1, 0, 0) == 1.5


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), (" 3 ", 3.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("", None)]
)
def test_retry_after_is_read_as_whole_seconds_only(header: str, seconds: float | None) -> None:
    assert error_of(refusal(429, retry_after=header)).retry_after_s == seconds


def test_an_error_says_what_and_where_and_shows_no_more_than_five_problems() -> None:
    body = (
        b'{"code":"invalid_data","detail":"does not fit","request_id":"r1","problems_total":250,'
        b'"problems":[{"pointer":"/rows/0/a","detail":"a number"},{"detail":"everything"},{"code":"odd"},{},{},{}]}'
    )
    error = error_of(refusal(422, body))
    assert str(error).splitlines() == [
        "422 invalid_data: does not fit",
        "  /rows/0/a: a number",
        "  everything",
        "  odd",
        "  {}",
        "  {}",
        "  … and 245 more",
    ]
    assert repr(error) == "InvalidDataError(422 invalid_data, request_id='r1')"


def test_an_error_of_oip_has_the_challenges_code() -> None:
    reply = refusal(401, b'{"error":"expired"}', www_authenticate='Bearer realm="x", error="invalid_token"')
    assert str(error_of(reply)) == "401 invalid_token: expired"


@given(st.binary(max_size=300), st.integers(400, 599))
def test_any_body_of_a_refusal_makes_an_error_that_can_be_shown(body: bytes, status: int) -> None:
    error = error_of(refusal(status, body))
    assert str(error).startswith(str(status))
    assert len(str(error)) < 1000


def drive(conversation: Conversation, *answers: object) -> list[object]:
    """The steps of a conversation that is given these answers; the last is its result or its error."""
    steps: list[object] = []
    answer = None
    for following in (*answers, None):
        try:
            step = conversation.send(answer)  # type: ignore[arg-type]
        except StopIteration as done:
            return [*steps, done.value]
        except (ScoregateHTTPError, ConnectionFailedError) as error:
            return [*steps, error]
        steps.append(step)
        answer = following
    raise AssertionError(f"it goes on: {steps}")


def talk(policy: RetryPolicy = RetryPolicy(), times: tuple[float, ...] = ()) -> Conversation:  # noqa: B008
    moments = iter((0.0, *times))
    return converse(Call("GET", "/"), policy, clock=lambda: next(moments), jitter=lambda: 0.0)


def kinds(steps: list[object]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_a_call_that_succeeds_is_a_token_and_a_request() -> None:
    assert kinds(drive(talk(), "t", OK)) == ["NeedToken", "Send", "Reply"]


def test_a_refusal_that_may_pass_is_waited_out() -> None:
    steps = drive(talk(times=(1.0, 2.0)), "t", refusal(429, b'{"retry_after_ms":250}'), None, refusal(503), None, OK)
    assert kinds(steps) == ["NeedToken", "Send", "Wait", "Send", "Wait", "Send", "Reply"]
    assert [step.seconds for step in steps if isinstance(step, Wait)] == [0.25, 0.4]


def test_time_spent_counts_against_the_next_wait() -> None:
    steps = drive(talk(RetryPolicy(total_s=10), times=(9.5,)), "t", refusal(503, b'{"retry_after_ms":1000}'))
    assert isinstance(steps[-1], UnavailableError)


def test_an_expired_token_is_renewed_at_once_and_not_counted() -> None:
    expired = refusal(401, b'{"code":"TokenExpired"}')
    steps = drive(talk(NO_RETRY), "old", expired, "new", OK)
    assert kinds(steps) == ["NeedToken", "Send", "NeedToken", "Send", "Reply"]
    assert isinstance(steps[2], NeedToken)
    assert steps[2].stale == "old"
    assert isinstance(steps[3], Send)
    assert steps[3].token == "new"


def test_a_connection_never_made_is_tried_again() -> None:
    failure = Unanswered(ConnectionFailedError("refused"))
    assert kinds(drive(talk(times=(0.1,)), "t", failure, None, OK))[-3:] == ["Wait", "Send", "Reply"]
    steps = drive(talk(NO_RETRY, times=(0.1,)), "t", failure)
    assert steps[-1] is failure.error


def test_steps_show_neither_token_nor_rows() -> None:
    step = Send(Call("POST", "/", b"secret-row"), "secret-token")
    assert "secret" not in repr(step) + repr(NeedToken("secret-token"))


@given(st.integers(0, 500), st.integers(1, 100))
def test_ranges_cover_every_row_once_in_order(rows: int, at_most: int) -> None:
    found = ranges(rows, at_most)
    assert [i for start, stop in found for i in range(start, stop)] == list(range(rows))
    assert all(stop - start <= at_most for start, stop in found)
    assert len(found) == max(1, -(-rows // at_most))


def test_parts_of_different_versions_are_refused() -> None:
    with pytest.raises(ReplyError, match="1, 2"):
        join([Scores("m", "1", [1.0]), Scores("m", "2", [2.0])])


def test_a_model_is_read_with_what_is_there_and_what_is_new_left_out() -> None:
    body = (
        b'{"model":"m","version":"1","novelty":[1],"signature":{"kind":"vector","inputs":[{"name":"d","type":"date",'
        b'"nullable":true,"json":"text","seen":["2020-01-01",null]}],"outputs":[{"name":"prediction","type":"double"}]},'
        b'"example":{"request":{"rows":[{"d":null}]}}}'
    )
    with pytest.raises(ReplyError, match=r"signature\.inputs"):
        model_of(Reply(200, {}, body))
    model: Model = model_of(Reply(200, {}, body.replace(b",null]", b',"2021-01-01"]')))
    assert model.signature.inputs[0].range == ("2020-01-01", "2021-01-01")
    assert model.example == {"rows": [{"d": None}]}
    assert model.example_answer is None


def test_a_429_says_how_long() -> None:
    error = error_of(refusal(429, b'{"code":"rate_limited","retry_after_ms":90000}'))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == 90

"""Which pod gets a batch, and when a lost one may be tried again."""

from __future__ import annotations

import pytest
from joserfc.jwk import OKPKey

from gateway.core.pods import RETRY_MOST, Pods
from gateway.shell import pods as shell
from gateway.shell.pods import PodClient
from shared import internal_token


def pods(*names: str) -> Pods:
    found = Pods()
    found.keep(names)
    return found


def test_the_least_loaded_pod_that_has_the_version_is_chosen() -> None:
    p = pods("a", "b", "c")
    p.started(p.by_address["b"], 10)
    assert p.choose(frozenset("bc"), 0) is p.by_address["c"]
    p.started(p.by_address["c"], 50)
    assert p.choose(frozenset("bc"), 0) is p.by_address["b"]
    assert p.choose(frozenset(), 0) is None


def test_a_pod_with_more_workers_takes_more() -> None:
    p = pods("a", "b")
    p.by_address["b"].workers = 4
    for address in "ab":
        p.started(p.by_address[address], 10)
    assert p.choose(frozenset("ab"), 0) is p.by_address["b"]


def test_a_pod_that_gave_no_answer_comes_last_until_its_time_is_over_or_it_answers() -> None:
    p = pods("a", "b", "c")
    p.failed(p.by_address["a"], now=0)
    p.started(p.by_address["b"], 1000)
    p.started(p.by_address["c"], 1000)
    assert p.choose(frozenset("ab"), 0.5) is p.by_address["b"]
    p.answered(p.by_address["a"])
    assert p.choose(frozenset("ab"), 0.5) is p.by_address["a"]


def test_where_more_than_half_gave_no_answer_the_one_that_answers_is_chosen() -> None:
    p = pods("a", "b", "c")
    p.failed(p.by_address["a"], now=0)
    p.failed(p.by_address["b"], now=0)
    p.started(p.by_address["c"], 1000)
    assert p.choose(frozenset("abc"), 0.5) is p.by_address["c"]


def test_where_no_pod_answers_they_share_what_there_is() -> None:
    p = pods("a", "b")
    for address in "ab":
        p.failed(p.by_address[address], now=0)
    p.started(p.by_address["a"], 1)
    assert p.choose(frozenset("ab"), 0.5) is p.by_address["b"]


def test_equally_loaded_pods_take_turns() -> None:
    p = pods("a", "b", "c")
    chosen = [p.choose(frozenset("abc"), 0) for _ in range(300)]
    assert {pod.address: chosen.count(pod) for pod in p.by_address.values()} == {"a": 100, "b": 100, "c": 100}


def test_a_lost_pod_is_avoided() -> None:
    p = pods("a", "b")
    assert p.choose(frozenset("ab"), 0, avoid=frozenset("a")) is p.by_address["b"]
    assert p.choose(frozenset("a"), 0, avoid=frozenset("a")) is None
    assert p.has_other(frozenset("ab"), frozenset("a"))
    assert not p.has_other(frozenset("a"), frozenset("a"))
    assert not p.has_other(frozenset("x"), frozenset("a"))


def test_retries_are_at_most_a_tenth_of_requests_once_the_savings_are_spent() -> None:
    p = pods("a")
    assert sum(p.spend_retry() for _ in range(2000)) == RETRY_MOST
    for _ in range(100):
        p.earn_retry()
    assert 9 <= sum(p.spend_retry() for _ in range(1000)) <= 10


def test_a_pod_shows_its_state_to_an_operator() -> None:
    p = pods("http://10.0.0.1:8081")
    assert repr(p.by_address["http://10.0.0.1:8081"]) == "<Pod http://10.0.0.1:8081 workers=1 batches=0 failures=0>"


def test_a_token_is_of_now_also_when_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    key = OKPKey.generate_key("Ed25519", private=True)
    known = {key.thumbprint(): key}
    client = PodClient([], key, name="test", poll_s=1, on_change=lambda: None)
    tokens = []
    for now in (10_000.0, 10_029.0, 10_031.0, 6_000.0, 6_001.0, 20_000.0):
        monkeypatch.setattr(shell.time, "time", lambda now=now: now)
        tokens.append(client._bearer().removeprefix("Bearer "))
        assert internal_token.verify(tokens[-1], known, now=now) > now
    assert tokens[0] == tokens[1]
    assert tokens[3] == tokens[4]
    assert len(set(tokens)) == 4

"""The policy: who may score what and how much of it, and a file whose every mistake is told at once."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.entra import directory
from gateway.core.caller import Caller
from gateway.core.limits import Limits, Quota, Rate
from gateway.core.policy import Policy, matches
from gateway.core.policy_file import PolicyError, parse_quota, parse_rate, read_policy
from shared.errors import ForbiddenError, NotFoundError

TENANT = "11111111-1111-4111-8111-111111111111"
APP = "33333333-0000-4000-8000-000000000001"
OTHER_APP = "33333333-0000-4000-8000-000000000002"
OID = "44444444-0000-4000-8000-000000000001"

POLICY = """
admit:
  kinds: [app, user]
  client_apps: any
grants:
  - role: Models.Score.All
    models: ["*"]
  - role: Models.Score.{model}
    models: ["*"]
  - role: Credit
    models: [credit-*, secret]
    rate: 10/minute
  - scope: Models.Score
    models: ["*"]
  - role: Analyst
    scope: Models.Read
    models: [boston-housing]
defaults:
  rate: 100/hour
  burst: 20
  rows: 1000 per minute
  concurrent: 4
  quota: 5000 rows/day
callers:
  - caller: 11111111-1111-4111-8111-111111111111/44444444-0000-4000-8000-00000000000A
    name: nightly
    rate: 7/second
    quota: unlimited
  - client_app: 33333333-0000-4000-8000-000000000002
    rate: 3/second
    concurrent: 9
models:
  "*":
    timeout_ms: 2000
  credit-*:
    coalesce: off
  credit-card:
    coalesce: own
    max_rows: 10
  secret:
    visible: granted
"""


def app(*roles: str, **changes: Any) -> Caller:
    own = {
        "tenant": TENANT,
        "subject": OID,
        "kind": "app",
        "client_app": APP,
        "roles": frozenset(roles),
        "scopes": frozenset(),
        "name": "app",
        "expires_at_s": 0.0,
    }
    return Caller(**(own | changes))


def user(*scopes: str, roles: tuple[str, ...] = ()) -> Caller:
    return app(*roles, kind="user", scopes=frozenset(scopes))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(POLICY)


class TestAuthorise:
    @pytest.mark.parametrize(
        ("caller", "model"),
        [
            (app("Models.Score.All"), "boston-housing"),
            (app("Models.Score.boston-housing"), "boston-housing"),
            (app("Credit"), "credit-card"),
            (app("Credit"), "secret"),
            (user("Models.Score"), "boston-housing"),
            (user("other", "Models.Score"), "secret"),
            (user("Models.Read", roles=("Analyst",)), "boston-housing"),
        ],
    )
    def test_a_grant_that_is_held_allows(self, policy: Policy, caller: Caller, model: str) -> None:
        assert policy.authorise(caller, model, known=True).limits == policy.limits_of(caller)

    @pytest.mark.parametrize(
        ("caller", "model", "said"),
        [
            (app(), "boston-housing", "role Models.Score.All or role Models.Score.boston-housing or role Analyst."),
            (app("other"), "credit-card", "role Models.Score.All or role Models.Score.credit-card or role Credit."),
            (app("Models.Score.iris"), "iris-2", "role Models.Score.All or role Models.Score.iris-2."),
            (app("models.score.all"), "iris", "role Models.Score.All or role Models.Score.iris."),
            (user("other"), "boston-housing", "scope Models.Score or scope Models.Read and role Analyst."),
            (user("Models.Read"), "boston-housing", "scope Models.Score or role Analyst."),
            (user("Models.Read"), "iris", "scope Models.Score."),
        ],
    )
    def test_without_one_the_missing_role_or_scope_is_named(
        self, policy: Policy, caller: Caller, model: str, said: str
    ) -> None:
        with pytest.raises(ForbiddenError) as caught:
            policy.authorise(caller, model, known=True)
        assert caught.value.detail == f"To score {model!r} your token must have {said}"
        assert 'error="insufficient_scope"' in caught.value.headers["WWW-Authenticate"]

    def test_a_users_role_alone_allows_nothing(self, policy: Policy) -> None:
        with pytest.raises(ForbiddenError):
            policy.authorise(user("other", roles=("Models.Score.All",)), "iris", known=True)

    def test_a_missing_scope_is_in_the_challenge(self, policy: Policy) -> None:
        with pytest.raises(ForbiddenError) as caught:
            policy.authorise(user("other"), "iris", known=True)
        assert caught.value.headers["WWW-Authenticate"].endswith(', scope="Models.Score"')

    def test_a_hidden_model_and_one_that_does_not_exist_cannot_be_told_apart(self, policy: Policy) -> None:
        for caller in (app("Models.Score.iris"), app()):
            answers = []
            for model, known in (("secret", True), ("absent", False)):
                with pytest.raises((NotFoundError, ForbiddenError)) as caught:
                    policy.authorise(caller, model, known=known)
                answers.append((caught.value.status, caught.value.detail.replace(model, "?"), caught.value.headers))
            assert answers[0] == answers[1]
            assert answers[0][0] == (404 if caller.roles else 403)

    def test_a_model_that_does_not_exist_is_404_to_who_may_score_all(self, policy: Policy) -> None:
        with pytest.raises(NotFoundError):
            policy.authorise(app("Models.Score.All"), "absent", known=False)

    def test_lists_hold_only_what_the_caller_may_score(self, policy: Policy) -> None:
        models = ["boston-housing", "credit-card", "iris", "secret"]
        assert policy.listed(app("Credit", "Models.Score.iris"), models) == ["credit-card", "iris", "secret"]
        assert policy.listed(app("Models.Score.All"), models) == models
        assert policy.listed(app(), models) == []

    @pytest.mark.parametrize("role", ["Models.Score.", "Models.Score.*", "Models.Score.{model}", "*"])
    def test_a_role_is_text_and_never_a_pattern(self, policy: Policy, role: str) -> None:
        with pytest.raises((ForbiddenError, NotFoundError)):
            policy.authorise(app(role), "iris", known=True)


class TestLimits:
    def test_the_defaults_are_for_everyone(self, policy: Policy) -> None:
        assert policy.limits_of(app("Models.Score.All")) == Limits(
            calls=Rate(100, 3600, 20), rows=Rate(1000, 60, 1000), concurrent=4, quota=Quota(5000, 86400, "rows")
        )

    def test_a_grants_limits_are_its_holders_whatever_model_they_ask_for(self, policy: Policy) -> None:
        assert policy.authorise(app("Credit", "Models.Score.iris"), "iris", known=True).limits.calls == Rate(10, 60, 10)

    def test_the_most_specific_statement_wins_field_by_field(self, policy: Policy) -> None:
        both = app("Credit", subject="44444444-0000-4000-8000-00000000000a", client_app=OTHER_APP)
        assert policy.limits_of(both) == Limits(
            calls=Rate(7, 1, 7), rows=Rate(1000, 60, 1000), concurrent=9, quota=None
        )

    def test_a_client_apps_limits_hold_for_each_of_its_callers(self, policy: Policy) -> None:
        assert policy.limits_of(app(client_app=OTHER_APP)).calls == Rate(3, 1, 3)

    @pytest.mark.parametrize(
        ("text", "rate"),
        [
            ("100/hour", Rate(100, 3600, 100)),
            ("5 per second", Rate(5, 1, 5)),
            ("1_000/day", Rate(1000, 86400, 1000)),
            ("10/15 minutes", Rate(10, 900, 10)),
            (" 10 / minute ", Rate(10, 60, 10)),
            ("10/minutes", Rate(10, 60, 10)),
        ],
    )
    def test_rates_are_written_as_people_write_them(self, text: str, rate: Rate) -> None:
        assert parse_rate(text) == rate

    @pytest.mark.parametrize(
        "text", ["", "0/minute", "-1/minute", "1.5/minute", "5", "5/fortnight", "5/0 minutes", "٣/minute", "1e3/day"]
    )
    def test_what_is_no_rate_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a rate"):
            parse_rate(text)

    def test_quotas_say_what_they_count(self) -> None:
        assert parse_quota("100 calls/day") == Quota(100, 86400, "calls")
        assert parse_quota("1 row per 30 days") == Quota(1, 30 * 86400, "rows")
        with pytest.raises(ValueError, match="is not a quota"):
            parse_quota("100/day")


class TestModels:
    def test_the_most_specific_name_wins_and_takes_the_rest_from_all(self, policy: Policy) -> None:
        assert (policy.rules_of("iris").coalesce, policy.rules_of("iris").timeout_ms) == ("shared", 2000)
        assert (policy.rules_of("credit-x").coalesce, policy.rules_of("credit-x").timeout_ms) == ("off", 2000)
        card = policy.rules_of("credit-card")
        assert (card.coalesce, card.timeout_ms, card.max_rows, card.visible) == ("own", 2000, 10, "all")

    @pytest.mark.parametrize(
        ("pattern", "model", "expected"),
        [
            ("*", "a", True), ("a", "a", True), ("a", "ab", False), ("a*", "a", True), ("a*", "ba", False), ("*b", "ab", True),
            ("a*a", "a", False), ("a*a", "aa", True), ("a*b*c", "axbxc", True), ("a*b*c", "acb", False), ("a*b*b", "ab", False),
            ("a*b*b", "abb", True), ("*a*", "bab", True), ("**", "x", True),
        ],
    )  # fmt: skip
    def test_patterns(self, pattern: str, model: str, expected: bool) -> None:
        assert matches(pattern, model) is expected

    @given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
    def test_patterns_mean_what_fnmatch_means(self, pattern: str, model: str) -> None:
        assert matches(pattern, model) is fnmatch.fnmatchcase(model, pattern)


class TestFile:
    def test_the_one_for_laptops_is_whole_and_knows_the_directory(self) -> None:
        file = Path(directory.__file__).parent.parent / "policy.yaml"
        policy = read_policy(file.read_text(encoding="utf-8"), file.name)
        allowed = {known.client_id for known in directory.APPS.values() if known.name != "disallowed"}
        assert policy.admission.client_apps == allowed
        for caller, model, may in (
            (app(directory.ROLE_ALL), "iris-species", True),
            (app("Models.Score.boston-housing"), "boston-housing", True),
            (app("Models.Score.boston-housing"), "iris-species", False),
            (app(), "boston-housing", False),
            (user(directory.SCOPE), "boston-housing", True),
        ):
            assert policy.may_score(caller, model) is may

    def test_every_mistake_is_told_at_once_with_its_line(self) -> None:
        text = """\
admit:
  kinds: [app, robot]
  client_apps: [abc]
grants:
  - rolle: X
    models: []
  - role: a b
    models: [Upper]
  - role: "{version}"
    models: ["*"]
defaults:
  rate: 5/fortnight
  burst: 0
  rows_burst: 3
  quota: 10/day
  rat: 1
callers:
  - caller: someone
    rate: 1/day
  - caller: 11111111-1111-4111-8111-111111111111/44444444-0000-4000-8000-000000000001
  - name: nobody
models:
  m: {coalesce: of, timeout_ms: 10, max_rows: none, visible: nobody}
  m: {}
  n: 3
default: {}
"""
        assert mistakes(text) == [
            "policy.yaml:2: 'robot' is not one of app, user",
            "policy.yaml:3: 'abc' is not an app's id (a GUID)",
            "policy.yaml:5: a grant has no 'rolle'; did you mean role?",
            "policy.yaml:5: a grant needs a role, a scope, or both",
            "policy.yaml:6: models is an empty list",
            "policy.yaml:7: 'a b' is not a role's or scope's value (no spaces, at most 120 characters)",
            "policy.yaml:8: 'Upper' is not a model's name or a pattern with *",
            "policy.yaml:9: '{version}': the only placeholder is {model}",
            "policy.yaml:12: '5/fortnight' is not a rate: write N/second, N/minute, N/hour or N/day",
            "policy.yaml:13: '0' is not a whole number from 1 up",
            "policy.yaml:14: rows_burst needs a rows beside it",
            "policy.yaml:15: '10/day' is not a quota: write N calls/day, N rows/hour or N rows/30 days",
            "policy.yaml:16: defaults has no 'rat'; did you mean rate?",
            "policy.yaml:18: a caller is written tenant/object id, both GUIDs",
            "policy.yaml:20: this entry states no limit",
            "policy.yaml:21: an entry of callers names either a caller (tenant/object id) or a client_app",
            "policy.yaml:23: 'of' is not one of shared, own, off",
            "policy.yaml:23: 'nobody' is not one of all, granted",
            "policy.yaml:23: '10' is not a whole number from 50 to 60000",
            "policy.yaml:23: 'none' is not a whole number from 1 up",
            "policy.yaml:24: 'm' is already given in line 23",
            "policy.yaml:25: models.n must be keys with values",
            "policy.yaml:26: the policy has no 'default'; did you mean defaults?",
        ]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "policy.yaml:1: the file is empty; it must have admit and grants"),
            ("admit: [", "policy.yaml:1: "),
            ("a: b\n c: d", "policy.yaml:2: mapping values are not allowed here"),
            ("- a", "policy.yaml:1: the policy must be keys with values"),
            ("grants:\n  - role: r\n    models: '*'", 'policy.yaml:3: models must be a list, as in ["*"]'),
            ("a: &a\n  b: *a\nadmit: !!python/object:os.system {}", "policy.yaml:1: "),
            ("[" * 5000, "policy.yaml:1: nested too deeply"),
            ("a: \x00", "policy.yaml:1: "),
        ],
    )
    def test_what_is_no_policy_is_refused(self, text: str, said: str) -> None:
        assert any(mistake.startswith(said) for mistake in mistakes(text))

    @pytest.mark.parametrize("number", ["1__0", "1_", "1_0__0", "1٣", "1" * 16, "1_0" * 6])
    def test_a_number_that_is_none_is_a_mistake_with_its_line(self, number: str) -> None:
        least = "admit: {client_apps: any}\ngrants:\n  - {role: R, models: [m]}\ndefaults:\n"
        assert mistakes(f"{least}  concurrent: {number}\n  rate: {number}/day\n  quota: {number} rows/day\n") == [
            f"policy.yaml:5: {number!r} is not a whole number from 1 up",
            f"policy.yaml:6: '{number}/day' is not a rate: write N/second, N/minute, N/hour or N/day",
            f"policy.yaml:7: '{number} rows/day' is not a quota: write N calls/day, N rows/hour or N rows/30 days",
        ]
        assert read_policy(f"{least}  concurrent: 1_000_000\n").defaults.concurrent == 1_000_000

    def test_what_can_never_take_effect_is_a_mistake(self) -> None:
        head = "admit: {kinds: [app], client_apps: any}\ngrants:\n"
        assert mistakes(head + "  - {scope: A, models: ['*']}") == [
            "policy.yaml:3: nobody can hold this grant: a scope alone is for users, and kinds has no user"
        ]

    def test_the_word_off_is_off_also_where_a_tool_wrote_false(self) -> None:
        head = "admit: {client_apps: any}\ngrants: [{role: A, models: ['*']}]\nmodels: {'*': {coalesce: %s}}"
        assert read_policy(head % "off").rules_of("m").coalesce == "off"
        assert read_policy(head % "false").rules_of("m").coalesce == "off"

    @given(st.text(max_size=100))
    def test_any_text_gives_mistakes_and_nothing_else(self, text: str) -> None:
        mistakes(text)


def mistakes(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        read_policy(text, "policy.yaml")
    return caught.value.mistakes

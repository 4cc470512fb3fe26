"""The rules of a token, on claims as Entra ID writes them, without keys or a clock."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.claims import CHINA_ISSUERS, TokenAdmission, TokenRules, check_header, identify, refuse
from shared.errors import UnauthenticatedError

NOW = 1_800_000_000.0
TENANT = "11111111-1111-4111-8111-111111111111"
OTHER = "99999999-9999-4999-8999-999999999999"
API = "22222222-2222-4222-8222-222222222222"
APP = "33333333-0000-4000-8000-000000000001"
OID = "44444444-0000-4000-8000-000000000001"
USER = "55555555-0000-4000-8000-000000000001"
AUTHORITY = "https://login.microsoftonline.com"

RULES = TokenRules.of(authority=AUTHORITY, tenants=(TENANT,), audiences=("api://scoregate", API))


def app_token(version: int = 2, **changes: Any) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "aud": "api://scoregate" if version == 1 else API,
        "iss": f"https://sts.windows.net/{TENANT}/" if version == 1 else f"{AUTHORITY}/{TENANT}/v2.0",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 3600,
        ("appid" if version == 1 else "azp"): APP,
        "oid": OID,
        "sub": OID,
        "tid": TENANT,
        "roles": ["Models.Score.All"],
        "ver": f"{version}.0",
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def user_token(version: int = 2, **changes: Any) -> dict[str, Any]:
    own = {
        "oid": USER,
        "sub": "pairwise",
        "scp": "Models.Score other",
        "roles": None,
        "preferred_username": "ada@example.com",
    }
    return app_token(version, **(own | changes))


def reason(claims: dict[str, Any], rules: TokenRules = RULES, now: float = NOW) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        identify(claims, rules, now)
    assert caught.value.status == 401
    return caught.value.reason


@pytest.mark.parametrize("version", [1, 2])
def test_an_apps_own_token_is_the_app(version: int) -> None:
    caller = identify(app_token(version), RULES, NOW)
    assert (caller.key, caller.kind, caller.client_app) == (f"{TENANT}/{OID}", "app", APP)
    assert (caller.roles, caller.scopes) == ({"Models.Score.All"}, frozenset())
    assert (caller.name, caller.expires_at_s) == (APP, NOW + 3600)


@pytest.mark.parametrize("version", [1, 2])
def test_a_users_token_is_the_user_through_an_app(version: int) -> None:
    caller = identify(user_token(version, roles=["Analyst"]), RULES, NOW)
    assert (caller.key, caller.kind, caller.client_app) == (f"{TENANT}/{USER}", "user", APP)
    assert (caller.roles, caller.scopes) == ({"Analyst"}, {"Models.Score", "other"})
    assert caller.name == "ada@example.com"


def test_ids_are_compared_in_lower_case_so_one_caller_has_one_key() -> None:
    assert identify(app_token(oid=OID.upper(), azp=APP.upper()), RULES, NOW).key == f"{TENANT}/{OID}"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aud": "api://other"}, "TokenAudienceNotAllowed"),
        ({"aud": ["api://scoregate", "api://other"]}, "TokenAudienceNotAllowed"),
        ({"aud": ["api://scoregate"]}, "TokenAudienceNotAllowed"),
        ({"aud": "api://scoregate/"}, "TokenAudienceNotAllowed"),
        ({"aud": None}, "TokenClaimNotFound"),
        ({"iss": "https://evil.example/"}, "TokenIssuerNotAllowed"),
        ({"iss": f"https://sts.windows.net/{OTHER}/"}, "TokenIssuerNotAllowed"),
        ({"iss": f"{AUTHORITY}/{OTHER}/v2.0"}, "TokenIssuerNotAllowed"),
        ({"iss": f"https://sts.windows.net/{TENANT}"}, "TokenIssuerNotAllowed"),
        ({"iss": f"{AUTHORITY}/{TENANT}/v2.0/"}, "TokenIssuerNotAllowed"),
        ({"iss": "https://sts.windows.net/{tid}/"}, "TokenIssuerNotAllowed"),
        ({"iss": None}, "TokenClaimNotFound"),
        ({"iss": 7}, "JwtInvalid"),
        ({"tid": OTHER}, "TokenIssuerNotAllowed"),
        ({"tid": OTHER, "iss": f"https://sts.windows.net/{OTHER}/"}, "TokenIssuerNotAllowed"),
        ({"tid": None}, "TokenClaimNotFound"),
        ({"tid": "common"}, "TokenClaimValueNotAllowed"),
        ({"exp": NOW - 60}, "TokenExpired"),
        ({"exp": None}, "TokenClaimNotFound"),
        ({"exp": "tomorrow"}, "JwtInvalid"),
        ({"exp": True}, "JwtInvalid"),
        ({"exp": float("nan")}, "JwtInvalid"),
        ({"exp": float("inf")}, "JwtInvalid"),
        ({"exp": 10**400}, "JwtInvalid"),
        ({"nbf": -(10**400)}, "JwtInvalid"),
        ({"nbf": NOW + 61}, "TokenNotYetValid"),
        ({"iat": NOW + 61}, "TokenNotYetValid"),
        ({"nbf": []}, "JwtInvalid"),
        ({"oid": None}, "TokenClaimNotFound"),
        ({"oid": "a/b"}, "TokenClaimValueNotAllowed"),
        ({"azp": None, "appid": None}, "TokenClaimNotFound"),
        ({"azp": APP, "appid": OTHER}, "TokenClaimValueNotAllowed"),
        ({"roles": "Models.Score.All"}, "JwtInvalid"),
        ({"roles": [1]}, "JwtInvalid"),
        ({"scp": ["Models.Score"]}, "JwtInvalid"),
    ],
)
def test_what_is_not_for_us_is_refused_with_its_reason(version: int, changes: dict[str, Any], expected: str) -> None:
    assert reason(app_token(version, **changes)) == expected


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_clocks_may_differ_by_a_minute(claim: str) -> None:
    moment = NOW - 59 if claim == "exp" else NOW + 60
    assert identify(app_token(**{claim: moment}), RULES, NOW).subject == OID


class TestIdTokens:
    """An ID token says who signed in; it is no permission, not even where its audience is this very API."""

    def test_for_another_app_has_the_wrong_audience(self) -> None:
        assert reason({"aud": APP, **self.claims()}) == "TokenAudienceNotAllowed"

    def test_for_this_apis_own_client_id_names_no_client_app(self) -> None:
        assert reason({"aud": API, **self.claims()}) == "TokenClaimNotFound"

    def test_is_refused_even_with_roles_and_a_client_app(self) -> None:
        assert reason({"aud": API, **self.claims(), "roles": ["Models.Score.All"], "azp": APP}) == "TokenClaimNotFound"

    @pytest.mark.parametrize("mark", ["nonce", "at_hash", "c_hash"])
    def test_is_known_by_what_only_it_carries(self, mark: str) -> None:
        assert reason(app_token(**{mark: "x"})) == "JwtInvalid"
        assert reason(user_token(**{mark: "x"})) == "JwtInvalid"

    def claims(self) -> dict[str, Any]:
        wanted = ("iss", "iat", "nbf", "exp", "tid", "oid", "sub")
        return {name: value for name, value in user_token().items() if name in wanted}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (app_token(idtyp="app", sub="other"), None),
        (app_token(idtyp="user"), "TokenClaimNotFound"),
        (app_token(idtyp="device"), "TokenClaimNotFound"),
        (app_token(sub="other"), "TokenClaimNotFound"),
        (app_token(sub=None), "TokenClaimNotFound"),
        (app_token(roles=None), None),  # an app without a role: refused later, by authorise
        (user_token(idtyp="user"), None),
        (user_token(idtyp="app"), "TokenClaimValueNotAllowed"),
        (user_token(scp=""), "TokenClaimNotFound"),
        (user_token(scp="   "), "TokenClaimNotFound"),
    ],
)
def test_apps_and_users_are_told_apart(claims: dict[str, Any], expected: str | None) -> None:
    if expected is None:
        identify(claims, RULES, NOW)
    else:
        assert reason(claims) == expected


class TestAdmission:
    def test_kinds(self) -> None:
        only_apps = self.rules(TokenAdmission(kinds=frozenset({"app"})))
        assert identify(app_token(), only_apps, NOW).kind == "app"
        assert reason(user_token(), only_apps) == "TokenClaimValueNotAllowed"

    @pytest.mark.parametrize("version", [1, 2])
    def test_client_apps(self, version: int) -> None:
        rules = self.rules(TokenAdmission(client_apps=frozenset({APP})))
        identify(app_token(version), rules, NOW)
        identify(user_token(version), rules, NOW)
        other = {"appid" if version == 1 else "azp": OTHER}
        assert reason(app_token(version, **other), rules) == "TokenClaimValueNotAllowed"

    @pytest.mark.parametrize(
        ("value", "expected"),
        [("0", None), (0, None), (["1", "0"], None), ("1", "TokenClaimValueNotAllowed"), (None, "TokenClaimNotFound")],
    )
    def test_required_claims(self, value: Any, expected: str | None) -> None:
        rules = self.rules(TokenAdmission(claims={"acct": frozenset({"0"})}))
        if expected is None:
            identify(app_token(acct=value), rules, NOW)
        else:
            assert reason(app_token(acct=value), rules) == expected

    def rules(self, admission: TokenAdmission) -> TokenRules:
        return TokenRules.of(
            authority=AUTHORITY, tenants=(TENANT,), audiences=(API, "api://scoregate"), admission=admission
        )


@pytest.mark.parametrize(
    "algorithm",
    [None, "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "ES256", "EdDSA",
     "rs256", "RS256 ", ["RS256"], {"RS256": 1}, 256, True],
)  # fmt: skip
def test_every_algorithm_but_one_in_one_spelling_is_refused(algorithm: object) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        check_header({"alg": algorithm, "kid": "k"})
    assert caught.value.reason == "TokenSignatureInvalid"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit"])
@pytest.mark.parametrize("value", ["https://evil.example", {}, [], None, False])
def test_a_header_that_brings_its_own_key_is_refused_whatever_it_holds(name: str, value: object) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        check_header({"alg": "RS256", "kid": "k", name: value})
    assert caught.value.reason == "JwtInvalid"


@pytest.mark.parametrize("kid", [None, "", 7, ["k"], "k" * 257])
def test_a_header_must_name_its_key(kid: object) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        check_header({"alg": "RS256", "kid": kid})
    assert caught.value.reason == "TokenSignatureKeyNotFound"


def test_other_header_parameters_are_ignored() -> None:
    assert check_header({"alg": "RS256", "kid": "k", "typ": "JWT", "x5t": "k", "nonce": "n"}) == "k"


def test_no_token_gets_a_challenge_without_an_error_and_a_bad_one_with() -> None:
    assert refuse("TokenNotPresent", "Send one.").headers == {"WWW-Authenticate": 'Bearer realm="scoregate"'}
    challenge = refuse("TokenExpired", "Get a new one.").headers["WWW-Authenticate"]
    assert challenge == (
        'Bearer realm="scoregate", error="invalid_token", error_description="The access token has expired"'
    )


class TestRulesFromSettings:
    def test_name_every_mistake(self) -> None:
        with pytest.raises(ValueError, match="tenant 'common'") as caught:
            TokenRules.of(
                authority="https://a", tenants=("common",), audiences=(), issuers=("http://x/", "https://y/{tid}")
            )
        assert str(caught.value).split("; ") == [
            "tenant 'common' is not a GUID",
            "issuer 'http://x/' has no {tid}",
            "issuer 'http://x/' is not https",
            "no audience is given",
        ]

    def test_know_the_clouds(self) -> None:
        rules = TokenRules.of(
            authority="https://login.partner.microsoftonline.cn/", tenants=(TENANT,), audiences=(API,)
        )
        assert rules.issuers[0] == CHINA_ISSUERS[0]
        assert rules.issuers[1] == "https://login.partner.microsoftonline.cn/{tid}/v2.0"


VALUES = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            [],
            {},
            [[]],
            ["a"],
            [1],
            {"a": None},
            "",
            " ",
            "a b",
            "\x00",
            "\u2028",
            "x" * 100,
            TENANT,
            OTHER,
            API,
        ]
    ),
    st.integers(),
    st.floats(),
)


@given(
    st.dictionaries(st.sampled_from([*user_token(), "roles", "appid", "idtyp", "nonce"]), VALUES, max_size=4),
    st.booleans(),
)
def test_whatever_claims_hold_the_answer_is_a_caller_or_a_401(changes: dict[str, Any], user: bool) -> None:
    token = user_token() if user else app_token()
    try:
        caller = identify(token | changes, RULES, NOW)
    except UnauthenticatedError:
        return
    assert caller.tenant == TENANT
    assert caller.key.count("/") == 1
    assert caller.name.isprintable()

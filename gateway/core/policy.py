"""`authorise`: what a caller may score, and within which limits. Pure; `gateway.core.policy_file` reads it from YAML.

A **grant** ties a role or a scope to models. An app holds a grant by its application role. A user holds it by the
delegated scope, and by the role too where the grant names both; a grant that names only a role is for apps, because a
user's role says nothing of what the app in between was allowed.

Refusals: a caller who holds no grant gets 403 for any model. Others get 403 for a model that exists and is listed to
all, with the role or scope that is missing, and 404 for one that does not exist or whose policy hides it (`visible:
granted`): those two cannot be told apart.

Limits belong to a caller, not to a model, since they are counted per caller. The most specific statement wins, field by
field: the caller's own entry, its client app's entry, the first grant it holds that states limits, the defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from gateway.core.caller import Caller
from gateway.core.catalogue import no_such_model
from gateway.core.claims import REALM, TokenAdmission
from gateway.core.limits import Limits, Quota, Rate
from shared.errors import ForbiddenError

Coalesce = Literal["shared", "own", "off"]
Visible = Literal["all", "granted"]

#: In a grant's role or scope: stands for the name of the model that is asked for.
MODEL_PLACEHOLDER = "{model}"


@dataclass(frozen=True, slots=True)
class ModelRules:
    """How one model is served. `None` leaves it to the gateway's own default."""

    coalesce: Coalesce = "shared"
    timeout_ms: int | None = None
    max_rows: int | None = None
    visible: Visible = "all"


@dataclass(frozen=True, slots=True)
class LimitSet:
    """Limits as stated in one place; `stated` are the fields of Limits that it states, the others are inherited."""

    limits: Limits = field(default_factory=Limits)
    stated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GrantRule:
    """`models` are names or patterns with `*`. A role, a scope or both are given; either may hold `{model}`."""

    models: tuple[str, ...]
    role: str | None = None
    scope: str | None = None
    limits: LimitSet = field(default_factory=LimitSet)

    def covers(self, model: str) -> bool:
        """Whether the grant is about this model."""
        return any(matches(pattern, model) for pattern in self.models)

    def held_by(self, caller: Caller, model: str) -> bool:
        """Whether the caller's token has what the grant asks for, for this model."""
        return not self.missing(caller, model)

    def held_for_any(self, caller: Caller) -> bool:
        """Whether there is a model name for which the caller holds it."""
        if caller.kind == "app":
            return self.role is not None and _any_fits(self.role, caller.roles)
        if self.scope is None or not _any_fits(self.scope, caller.scopes):
            return False
        return self.role is None or _any_fits(self.role, caller.roles)

    def missing(self, caller: Caller, model: str) -> tuple[str, ...]:
        """What the token lacks, as `role X` or `scope Y`; empty if the caller holds the grant, `-` if it never can."""
        if caller.kind == "app":
            if self.role is None:
                return ("-",)
            return _lacking("role", self.role, caller.roles, model)
        if self.scope is None:
            return ("-",)
        lacking = _lacking("scope", self.scope, caller.scopes, model)
        return lacking if self.role is None else lacking + _lacking("role", self.role, caller.roles, model)


@dataclass(frozen=True, slots=True)
class Grant:
    """What `authorise` allows: this caller's limits and this model's rules."""

    limits: Limits
    rules: ModelRules


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything a policy file says. Made once, by `policy_file.read_policy`; tests may make it by hand."""

    admission: TokenAdmission = field(default_factory=TokenAdmission)
    grants: tuple[GrantRule, ...] = ()
    defaults: Limits = field(default_factory=Limits)
    #: By `tid/oid` and by client app id, both lower case.
    callers: Mapping[str, LimitSet] = field(default_factory=dict)
    client_apps: Mapping[str, LimitSet] = field(default_factory=dict)
    #: By name or pattern; of those that match, the most specific is asked first (see `specificity`).
    models: Mapping[str, ModelRules] = field(default_factory=dict)

    def authorise(self, caller: Caller, model: str, *, known: bool) -> Grant:
        """The grant; `known` says whether the model exists. Raises ForbiddenError or NotFoundError (see the module)."""
        if self.may_score(caller, model):
            if not known:
                raise no_such_model(model)
            return Grant(limits=self.limits_of(caller), rules=self.rules_of(model))
        hidden = not known or self.rules_of(model).visible == "granted"
        if not any(grant.held_for_any(caller) for grant in self.grants):
            raise self._forbidden(caller, model, hidden=hidden)
        if hidden:
            raise no_such_model(model)
        raise self._forbidden(caller, model, hidden=False)

    def may_score(self, caller: Caller, model: str) -> bool:
        """Whether any grant of the caller covers the model, which need not exist."""
        return any(grant.covers(model) and grant.held_by(caller, model) for grant in self.grants)

    def listed(self, caller: Caller, models: Iterable[str]) -> list[str]:
        """Of these models, those the caller may score, in the order given: all that a list may hold."""
        return [model for model in models if self.may_score(caller, model)]

    def rules_of(self, model: str) -> ModelRules:
        """The model's rules, or those of the most specific pattern, or the defaults."""
        if found := self.models.get(model):
            return found
        patterns = [pattern for pattern in self.models if matches(pattern, model)]
        return self.models[max(patterns, key=specificity)] if patterns else _DEFAULT_RULES

    def limits_of(self, caller: Caller) -> Limits:
        """The caller's limits: the same whatever model is asked for."""
        limits = self.defaults
        for stated in (  # from the least specific on, each over the last
            next((grant.limits for grant in self.grants if grant.limits.stated and grant.held_for_any(caller)), None),
            self.client_apps.get(caller.client_app),
            self.callers.get(caller.key),
        ):
            if stated is not None:
                limits = replace(limits, **{name: getattr(stated.limits, name) for name in stated.stated})
        return limits

    def _forbidden(self, caller: Caller, model: str, *, hidden: bool) -> ForbiddenError:
        """403 that names what would do; of a hidden model only what is the same for every name."""
        options = [
            missing
            for grant in self.grants
            if ("*" in grant.models if hidden else grant.covers(model))
            and "-" not in (missing := grant.missing(caller, model))
        ]
        if not options:
            return _insufficient(f"No {_permission(caller)} allows {_who(caller)} to score {model!r}.", ())
        wanted = " or ".join(dict.fromkeys(" and ".join(option) for option in options))
        scopes = [part.removeprefix("scope ") for part in options[0] if part.startswith("scope ")]
        return _insufficient(f"To score {model!r} your token must have {wanted}.", scopes)


_DEFAULT_RULES = ModelRules()


def matches(pattern: str, model: str) -> bool:
    """Whether a name or a pattern, in which `*` stands for any characters, is about this model."""
    if "*" not in pattern:
        return pattern == model
    first, *middle, last = pattern.split("*")
    if len(model) < len(first) + len(last) or not (model.startswith(first) and model.endswith(last)):
        return False
    at = len(first)
    for part in middle:
        found = model.find(part, at, len(model) - len(last))
        if found < 0:
            return False
        at = found + len(part)
    return True


def specificity(pattern: str) -> tuple[bool, int, str]:
    """Sort key: exact names above patterns, longer patterns above shorter ones, ties by text."""
    return ("*" not in pattern, len(pattern.replace("*", "")), pattern)


def _lacking(what: str, template: str, held: frozenset[str], model: str) -> tuple[str, ...]:
    wanted = template.replace(MODEL_PLACEHOLDER, model)
    return () if wanted in held else (f"{what} {wanted}",)


def _any_fits(template: str, held: frozenset[str]) -> bool:
    return any(matches(template.replace(MODEL_PLACEHOLDER, "*"), permission) for permission in held)


def _permission(caller: Caller) -> str:
    return "role" if caller.kind == "app" else "scope"


def _who(caller: Caller) -> str:
    return "an app" if caller.kind == "app" else "a user"


def _insufficient(detail: str, scopes: Iterable[str]) -> ForbiddenError:
    """With RFC 6750's challenge (section 3.1). Scopes are named only if they fit the header's grammar."""
    challenge = f'Bearer realm="{REALM}", error="insufficient_scope"'
    wanted = " ".join(scopes)
    if wanted and all(c == " " or (c.isascii() and c.isprintable() and c not in '"\\') for c in wanted):
        challenge += f', scope="{wanted}"'
    return ForbiddenError(detail, headers={"WWW-Authenticate": challenge})


__all__ = [
    "Coalesce",
    "Grant",
    "GrantRule",
    "LimitSet",
    "Limits",
    "ModelRules",
    "Policy",
    "Quota",
    "Rate",
    "Visible",
    "matches",
    "specificity",
]

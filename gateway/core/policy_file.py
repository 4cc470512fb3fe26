"""Reads the policy file: YAML in, a Policy out, or every mistake at once, each with its line.

Walks PyYAML's nodes instead of values, because nodes know their lines and their text (`off` is the word, not a
boolean). Unknown keys are mistakes, and so is whatever could never take effect: a policy that reads well and does
nothing is worse than one that is refused. The file's grammar is shown by `devkit/policy.yaml` and described in
docs/reference/policy.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import yaml

from gateway.core.caller import Kind
from gateway.core.claims import TokenAdmission
from gateway.core.gcra import scale
from gateway.core.limits import Limits, Quota, Rate
from gateway.core.policy import (
    MODEL_PLACEHOLDER,
    Coalesce,
    GrantRule,
    LimitSet,
    ModelRules,
    Policy,
    Visible,
    specificity,
)
from shared.deadline import MAX_TIMEOUT_MS, MIN_TIMEOUT_MS

T = TypeVar("T")

#: Seconds. A month or a year has no fixed length, so a quota for one is written as `30 days`.
PERIODS: Mapping[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
#: At most 15 characters, with `_` between digits only, as `int` reads it.
_NUMBER = r"(?=\w{1,15}\b)[1-9][0-9]*(?:_[0-9]+)*"
_PERIOD = r"(?:/|\s+per\s+)\s*(?:([1-9][0-9]{0,3})\s+)?(second|minute|hour|day)s?"
_RATE = re.compile(rf"({_NUMBER})\s*{_PERIOD}")
_QUOTA = re.compile(rf"({_NUMBER})\s+(call|row)s?\s*{_PERIOD}")
_COUNT = re.compile(_NUMBER)
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_MODEL = re.compile(r"[a-z0-9*][a-z0-9*-]{0,62}")
_PERMISSION = re.compile(r"[!-~]{1,120}")  # Entra: the value of an app role or a scope has no spaces
_APP = "an app's id (a GUID)"
_UNLIMITED = "unlimited"
_LIMIT_KEYS = ("rate", "burst", "rows", "rows_burst", "concurrent", "quota")
_NO = ("off", "no", "false")


class PolicyError(ValueError):
    """The policy file cannot be used; `mistakes` holds one line for each mistake, in the file's order."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


def parse_rate(text: str, burst: int | None = None) -> Rate:
    """`N/second|minute|hour|day`, `N per minute`, `N/15 minutes`; the burst is N unless given. Raises ValueError."""
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a rate: write N/second, N/minute, N/hour or N/day")
    amount = int(found[1])
    return Rate(amount=amount, period_s=_period_s(found[2], found[3]), burst=burst or amount)


def parse_quota(text: str) -> Quota:
    """`N calls/day`, `N rows per 30 days`. Raises ValueError."""
    found = _QUOTA.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a quota: write N calls/day, N rows/hour or N rows/30 days")
    counts: Literal["calls", "rows"] = "calls" if found[2] == "call" else "rows"
    return Quota(amount=int(found[1]), window_s=_period_s(found[3], found[4]), counts=counts)


def _period_s(count: str | None, unit: str) -> int:
    return int(count or 1) * PERIODS[unit]


def read_policy(text: str, name: str = "policy") -> Policy:
    """The policy; `name` stands before each mistake's line number. Raises PolicyError."""
    reader = _Reader()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "this is not YAML"
        raise PolicyError([f"{name}:{mark.line + 1 if mark else 1}: {problem}"]) from error
    except RecursionError as error:
        raise PolicyError([f"{name}:1: nested too deeply"]) from error
    if root is None:
        raise PolicyError([f"{name}:1: the file is empty; it must have admit and grants"])
    policy = reader.policy(root)
    if reader.mistakes:
        raise PolicyError([f"{name}:{line}: {text}" for line, text in sorted(reader.mistakes, key=lambda m: m[0])])
    return policy


@dataclass(slots=True)
class _Reader:
    """Collects mistakes and goes on with a harmless value, so that the rest of the file is read as well."""

    mistakes: list[tuple[int, str]] = field(default_factory=list)
    #: The line of the key whose pair is being looked at.
    key_line: int = 0

    # --- sections

    def policy(self, root: yaml.Node) -> Policy:
        keys = self.mapping(root, "the policy", ("admit", "grants", "defaults", "callers", "models"))
        admission = self.admission(keys["admit"]) if "admit" in keys else None
        if admission is None:
            self.wrong(root, "admit is missing: it says whose tokens are taken")
            admission = TokenAdmission()
        grants = self.grants(keys["grants"], admission) if "grants" in keys else ()
        if "grants" not in keys:
            self.wrong(root, "grants is missing: it says which role or scope may score which models")
        callers, client_apps = self.callers(keys["callers"], admission) if "callers" in keys else ({}, {})
        defaults = LimitSet()
        if "defaults" in keys:
            defaults = self.limits(self.mapping(keys["defaults"], "defaults", _LIMIT_KEYS))
        return Policy(
            admission=admission,
            grants=grants,
            defaults=defaults.limits,
            callers=callers,
            client_apps=client_apps,
            models=self.models(keys["models"]) if "models" in keys else {},
        )

    def admission(self, node: yaml.Node) -> TokenAdmission:
        keys = self.mapping(node, "admit", ("kinds", "client_apps", "claims"))
        kinds = frozenset[Kind](get_args(Kind))
        if "kinds" in keys:
            chosen = (self.choice(n, get_args(Kind)) for n in self.items(keys["kinds"], "kinds"))
            kinds = frozenset(kind for kind in chosen if kind)
        apps: frozenset[str] | None = None
        if "client_apps" not in keys:
            self.wrong(node, "client_apps is missing: list the apps' ids, or write any for every app of the tenants")
        elif not self.is_word(keys["client_apps"], "any"):
            nodes = self.items(keys["client_apps"], "client_apps")
            apps = frozenset(app.lower() for n in nodes if (app := self.matching(n, _GUID, _APP)))
        claims: dict[str, frozenset[str]] = {}
        if "claims" in keys:
            for claim, value in self.pairs(keys["claims"], "claims"):
                nodes = self.items(value, claim) if isinstance(value, yaml.SequenceNode) else [value]
                claims[claim] = frozenset(text for n in nodes if (text := self.text(n)))
        return TokenAdmission(kinds=kinds, client_apps=apps, claims=claims)

    def grants(self, node: yaml.Node, admission: TokenAdmission) -> tuple[GrantRule, ...]:
        found = []
        for item in self.items(node, "grants"):
            keys = self.mapping(item, "a grant", ("role", "scope", "models", *_LIMIT_KEYS))
            role = self.permission(keys["role"]) if "role" in keys else None
            scope = self.permission(keys["scope"]) if "scope" in keys else None
            if "role" not in keys and "scope" not in keys:
                self.wrong(item, "a grant needs a role, a scope, or both")
            elif "scope" not in keys and "app" not in admission.kinds:
                self.wrong(item, "nobody can hold this grant: a role alone is for apps, and kinds has no app")
            elif "role" not in keys and "user" not in admission.kinds:
                self.wrong(item, "nobody can hold this grant: a scope alone is for users, and kinds has no user")
            if "models" not in keys:
                self.wrong(item, 'models is missing: list names or patterns, or write ["*"] for all')
            models = tuple(
                model
                for n in (self.items(keys["models"], "models") if "models" in keys else ())
                if (model := self.matching(n, _MODEL, "a model's name or a pattern with *"))
            )
            found.append(GrantRule(models=models, role=role, scope=scope, limits=self.limits(keys)))
        return tuple(found)

    def callers(self, node: yaml.Node, admission: TokenAdmission) -> tuple[dict[str, LimitSet], dict[str, LimitSet]]:
        callers: dict[str, LimitSet] = {}
        apps: dict[str, LimitSet] = {}
        for item in self.items(node, "callers"):
            keys = self.mapping(item, "a caller", ("caller", "client_app", "name", *_LIMIT_KEYS))
            if ("caller" in keys) == ("client_app" in keys):
                self.wrong(item, "an entry of callers names either a caller (tenant/object id) or a client_app")
                continue
            limits = self.limits(keys)
            if not limits.stated:
                self.wrong(item, "this entry states no limit")
            if "caller" in keys:
                self.caller(keys["caller"], limits, callers)
            elif app := self.matching(keys["client_app"], _GUID, _APP):
                self.put(keys["client_app"], app.lower(), limits, apps)
                if admission.client_apps is not None and app.lower() not in admission.client_apps:
                    self.wrong(keys["client_app"], f"no token of {app} is taken: it is not among admit's client_apps")
        return callers, apps

    def caller(self, node: yaml.Node, limits: LimitSet, into: dict[str, LimitSet]) -> None:
        tenant, _, subject = (self.text(node) or "").partition("/")
        if _GUID.fullmatch(tenant) and _GUID.fullmatch(subject):
            self.put(node, f"{tenant}/{subject}".lower(), limits, into)
        else:
            self.wrong(node, "a caller is written tenant/object id, both GUIDs")

    def models(self, node: yaml.Node) -> dict[str, ModelRules]:
        """Each entry takes what it leaves out from `*`. The most specific comes first."""
        stated: dict[str, dict[str, Any]] = {}
        for name, value in self.pairs(node, "models"):
            if not _MODEL.fullmatch(name):
                self.wrong(value, f"{name!r} is not a model's name or a pattern with *")
            keys = self.mapping(value, f"models.{name}", ("coalesce", "timeout_ms", "max_rows", "visible"))
            fields: dict[str, Any] = {}
            if "coalesce" in keys:
                fields["coalesce"] = self.choice(keys["coalesce"], get_args(Coalesce)) or "shared"
            if "visible" in keys:
                fields["visible"] = self.choice(keys["visible"], get_args(Visible)) or "all"
            if "timeout_ms" in keys:
                fields["timeout_ms"] = self.count(keys["timeout_ms"], MIN_TIMEOUT_MS, MAX_TIMEOUT_MS)
            if "max_rows" in keys:
                fields["max_rows"] = self.count(keys["max_rows"], 1, None)
            stated[name] = fields
        everywhere = stated.get("*", {})
        return {
            name: ModelRules(**(everywhere | stated[name])) for name in sorted(stated, key=specificity, reverse=True)
        }

    def limits(self, keys: Mapping[str, yaml.Node]) -> LimitSet:
        stated = {
            name
            for name, key in (("calls", "rate"), ("rows", "rows"), ("concurrent", "concurrent"), ("quota", "quota"))
            if key in keys
        }
        return LimitSet(
            Limits(
                calls=self.rate(keys, "rate", "burst"),
                rows=self.rate(keys, "rows", "rows_burst"),
                concurrent=self.limit(keys, "concurrent", lambda node: self.count(node, 1, None)),
                quota=self.limit(keys, "quota", lambda node: self.parsed(node, parse_quota)),
            ),
            frozenset(stated),
        )

    def rate(self, keys: Mapping[str, yaml.Node], key: str, burst_key: str) -> Rate | None:
        burst = self.count(keys[burst_key], 1, None) if burst_key in keys else None
        if burst_key in keys and (key not in keys or self.is_word(keys[key], _UNLIMITED)):
            self.wrong(keys[burst_key], f"{burst_key} needs a {key} beside it")

        def read(text: str) -> Rate:
            rate = parse_rate(text, burst)
            scale(rate)  # one that cannot be counted exactly is a mistake here, not an error at its first request
            return rate

        return self.limit(keys, key, lambda node: self.parsed(node, read))

    def limit(self, keys: Mapping[str, yaml.Node], key: str, read: Callable[[yaml.Node], T | None]) -> T | None:
        return None if key not in keys or self.is_word(keys[key], _UNLIMITED) else read(keys[key])

    # --- values

    def permission(self, node: yaml.Node) -> str | None:
        text = self.matching(node, _PERMISSION, "a role's or scope's value (no spaces, at most 120 characters)")
        if text and re.search(r"[{}]", text.replace(MODEL_PLACEHOLDER, "")):
            self.wrong(node, f"{text!r}: the only placeholder is {MODEL_PLACEHOLDER}")
        return text

    def choice(self, node: yaml.Node, words: tuple[Any, ...]) -> Any:
        text = self.text(node)
        if text in words:
            return text
        if "off" in words and text is not None and text.lower() in _NO:
            return "off"  # YAML 1.1 reads the bare word as false, and tools that rewrite the file write it so
        if text is not None:
            self.wrong(node, f"{text!r} is not one of {', '.join(words)}")
        return None

    def count(self, node: yaml.Node, least: int, most: int | None) -> int | None:
        text = self.text(node)
        if text is None:
            return None
        if _COUNT.fullmatch(text) and least <= int(text) and (most is None or int(text) <= most):
            return int(text)
        upper = f" to {most}" if most is not None else " up"
        self.wrong(node, f"{text!r} is not a whole number from {least}{upper}")
        return None

    def parsed(self, node: yaml.Node, parse: Callable[[str], T]) -> T | None:
        text = self.text(node)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.wrong(node, str(error))
            return None

    def matching(self, node: yaml.Node, pattern: re.Pattern[str], what: str) -> str | None:
        text = self.text(node)
        if text is None or pattern.fullmatch(text):
            return text
        self.wrong(node, f"{text!r} is not {what}")
        return None

    def text(self, node: yaml.Node) -> str | None:
        """A scalar as it is written; quoted or not makes no difference."""
        if isinstance(node, yaml.ScalarNode) and node.value:
            return str(node.value)
        self.wrong(node, "a single value is wanted here")
        return None

    def is_word(self, node: yaml.Node, word: str) -> bool:
        return isinstance(node, yaml.ScalarNode) and node.value == word

    # --- structure

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            one = isinstance(node, yaml.ScalarNode) and _PERMISSION.fullmatch(node.value)
            self.wrong(node, f"{what} must be a list" + (f', as in ["{node.value}"]' if one else ""))
            return []
        if not node.value:
            self.wrong(node, f"{what} is an empty list")
        return list(node.value)

    def mapping(self, node: yaml.Node, what: str, known: tuple[str, ...]) -> dict[str, yaml.Node]:
        found = {}
        for key, value in self.pairs(node, what):
            if key in known:
                found[key] = value
            else:
                self.wrong(value, f"{what} has no {key!r}{_meant(key, known)}", line=self.key_line)
        return found

    def pairs(self, node: yaml.Node, what: str) -> Iterator[tuple[str, yaml.Node]]:
        """Keys and values; only keys that are words and come once."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{what} must be keys with values")
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            self.key_line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, f"a key of {what} must be a word")
            elif key.value in seen:
                self.wrong(key, f"{key.value!r} is already given in line {seen[key.value]}")
            else:
                seen[key.value] = self.key_line
                yield key.value, value

    def put(self, node: yaml.Node, key: str, limits: LimitSet, into: dict[str, LimitSet]) -> None:
        if key in into:
            self.wrong(node, f"{key} is already given")
        into[key] = limits

    def wrong(self, node: yaml.Node, text: str, *, line: int | None = None) -> None:
        self.mistakes.append((node.start_mark.line + 1 if line is None else line, text))


def _meant(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; it knows {', '.join(known)}"

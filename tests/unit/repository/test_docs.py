"""The docs say what there is: links lead somewhere, and every error, metric and key of the policy is described, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pytest
import typer.main
from prometheus_client import CollectorRegistry

import devkit.cli
from devkit.state import ROOT
from gateway.core.admission import _REASONS
from gateway.core.claims import Reason
from gateway.core.findings import CODES
from gateway.core.policy_file import read_policy
from gateway.metrics import Metrics
from scorer.core.effects import Cause
from scorer.core.limits import PoolLimits
from scorer.core.pool import Pool
from scorer.shell.metrics import ScorerMetrics
from shared import errors

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
#: Everything that is written for readers; each of these starts from the README or the index of the docs.
PAGES = sorted([
    *ROOT.glob("*.md"),
    *DOCS.rglob("*.md"),
    *(ROOT / "k8s").rglob("README.md"),
    *(ROOT / "load_tests").rglob("README.md"),
    *(ROOT / "examples").rglob("README.md"),
])  # fmt: skip
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Files of this repository that a page links, with the part of the page after `#`."""
    for target in _LINK.findall(_FENCED.sub("", text_of(page))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, part = unquote(target).partition("#")
        yield ((page.parent / path).resolve() if path else page), part


def anchors(page: Path) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ +(.*)$", _FENCED.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).strip().replace(" ", "-") for h in headings}


def rows(page: str) -> list[list[str]]:
    """Every row of every table of a page in docs/reference, as its cells."""
    lines = text_of(REFERENCE / page).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- links and pages


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, part in links(page):
        assert path.exists(), f"{page.name} links {path}"
        assert ROOT in path.parents, f"{page.name} links out of the repository: {path}"
        if part:
            assert part in anchors(path), f"{page.name} links #{part} of {path.name}, which has {sorted(anchors(path))}"


def test_every_page_is_found_from_the_index() -> None:
    index = DOCS / "README.md"
    listed = {path for path, _ in links(index)}
    missing = [ids(page) for page in DOCS.rglob("*.md") if page != index and page not in listed]
    assert missing == [], "docs/README.md does not list them"
    assert index in {path for path, _ in links(ROOT / "README.md")}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_dev_command_of_a_page_exists_with_its_options(page: Path) -> None:
    commands = typer.main.get_command(devkit.cli.app).commands  # type: ignore[attr-defined]
    shown = "\n".join(code for language, code in _FENCED.findall(text_of(page)) if language in {"", "sh"})
    inline = re.findall(r"`(?:\w+=\S+ )?(\./dev [^`]*)`", text_of(page))
    for line in [*re.findall(r"\./dev [^\n)|#]*", shown), *inline]:
        name, *words = line.removeprefix("./dev ").split()
        if name.startswith("-"):
            continue
        assert name in commands, line
        known = {option for parameter in commands[name].params for option in parameter.opts} | {"--help", "-h"}
        given = {word.split("=")[0].rstrip('",.') for word in words if word.startswith("-")}
        if name != "test":  # which hands pytest its own
            assert given <= known, line


def test_the_readme_begins_with_starting_a_stack_and_asking_it() -> None:
    commands = [code for language, code in _FENCED.findall(text_of(ROOT / "README.md")) if language == ""]
    asked = [code for code in commands if code.startswith(("./dev up", "curl "))]
    assert [code.split()[0] for code in asked] == ["./dev", "curl"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_no_line_is_too_long_to_read_in_an_editor(page: Path) -> None:
    prose = _FENCED.sub("", text_of(page))
    assert [line for line in prose.splitlines() if len(line) > 400 and not line.startswith("|")] == []


# --- errors


def error_classes() -> list[type[errors.ScoregateError]]:
    found = [errors.ScoregateError]
    for cls in found:
        found += cls.__subclasses__()
    return found


def test_every_class_of_error_is_in_the_reference_with_its_status() -> None:
    page = text_of(REFERENCE / "errors.md")
    table = {(row[0], row[1]) for row in rows("errors.md") if len(row) > 1}
    for cls in error_classes():
        if cls is errors.UnauthenticatedError:  # its code is always a reason; the table says both
            assert re.search(r"^\| 401 \| .*`unauthenticated`", page, re.MULTILINE)
        elif issubclass(cls, errors.VersionNotHereError | errors.OverdueError):  # between the services
            assert f"`{cls.code}` ({cls.status})" in page
        else:
            assert (str(cls.status), f"`{cls.code}`") in table, cls


def test_every_reason_that_is_raised_is_in_the_reference() -> None:
    documented = {cell.strip("`") for row in rows("errors.md") for cell in row[:2]}
    raised = set(get_args(Reason)) | set(_REASONS.values()) | reasons_in_the_code()
    assert {"identity_unavailable", "address_limited", "rows_over_limit", "too_many_rows"} <= raised
    assert raised - documented == set()


def test_the_reference_names_no_code_that_does_not_exist() -> None:
    known = {cls.code for cls in error_classes()}
    known |= set(get_args(Reason)) | set(_REASONS.values()) | reasons_in_the_code()
    coded = [cell for row in rows("errors.md") for cell in row[:2] if re.fullmatch(r"`\w+`", cell)]
    codes = {cell.strip("`") for cell in coded}
    assert codes - known - {"code", "type", "detail", "request_id", "retry_after_ms"} == set()


def reasons_in_the_code() -> set[str]:
    """Every literal `reason=` of an error that the gateway raises."""
    found = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error")):
                continue
            values = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            found |= {value.value for value in values if isinstance(value, ast.Constant)}
    return {str(reason) for reason in found}


def test_every_code_of_a_problem_is_in_the_reference_with_its_meaning() -> None:
    table = {row[0].strip("`"): row[1] for row in rows("requests.md") if len(row) == 2}
    assert {code: table.get(code) for code in CODES} == CODES


# --- models


def test_every_member_of_a_models_description_is_in_the_reference() -> None:
    page = text_of(REFERENCE / "requests.md")
    table = page[page.index("## Models") : page.index("## Functions")]
    forms = {"model_form", "column_form"}
    source = ast.parse(text_of(ROOT / "gateway" / "core" / "contract" / "catalogue_form.py"))
    members: set[str] = set()
    for function in (node for node in source.body if isinstance(node, ast.FunctionDef) and node.name in forms):
        for node in ast.walk(function):
            keys = node.keys if isinstance(node, ast.Dict) else [node.slice] if isinstance(node, ast.Subscript) else []
            members |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    assert {"seen", "state", "unavailable", "response"} <= members
    assert members - set(re.findall(r"`(\w+)`", table)) == set()


# --- the R package


def test_every_function_and_argument_of_the_r_package_is_in_the_reference_and_no_other() -> None:
    sources = "\n".join(text_of(path) for path in sorted((ROOT / "scorer" / "r" / "R").glob("*.R")))
    exported = re.findall(r"^export\((\w+)\)", text_of(ROOT / "scorer" / "r" / "NAMESPACE"), re.MULTILINE)
    page = text_of(REFERENCE / "r.md")
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert sorted(name for heading in headings for name in heading.split(", ")) == sorted(exported)
    told: dict[str, set[str]] = {}
    for heading in headings:
        section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        for row in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
            first, _, rest = row.partition(" | ")
            names = re.findall(r"`(\w+)`", first)
            if "," in heading:  # a function in each row, its arguments beside it
                told[names[0]] = {name for name in re.findall(r"`(\w+)`", rest) if name != "TRUE"}
            else:
                told.setdefault(heading, set()).update(names)
    for name in exported:
        found = re.search(rf"^{name} <- function\((.*?)\) {{$", sources, re.MULTILINE | re.DOTALL)
        assert found is not None, name
        bare = re.sub(r'list\(\)|"[^"]*"', "", found[1])
        assert told[name] == {one.split("=")[0].strip() for one in bare.split(",")}, name


# --- metrics


def described(registry: CollectorRegistry) -> dict[str, str]:
    """What a registry exports, by the name to ask Prometheus for, with its kind; not those of the process."""
    found = {}
    for family in registry.collect():
        if not family.name.startswith("process_"):
            found[f"{family.name}_total" if family.type == "counter" else family.name] = family.type
    return found


def metrics() -> dict[str, str]:
    scorer = ScorerMetrics()
    scorer.watch(Pool(PoolLimits(slots=1)), lambda: 0.0)
    scorer.watch_memory(list)
    return described(Metrics().registry) | described(scorer.registry)


def test_every_metric_is_in_the_reference_with_its_kind_and_no_other() -> None:
    table = {row[0].strip("`"): row for row in rows("metrics.md") if re.match(r"`(scoregate|scorer)_", row[0])}
    assert {name: row[1] for name, row in table.items()} == metrics()
    for name, row in table.items():
        assert len(row) == 5, name
        assert row[3], f"{name} has no unit"
        assert row[4], f"{name} has no meaning"


def test_every_cause_of_a_workers_end_is_in_the_reference() -> None:
    [row] = [row for row in rows("metrics.md") if row[0] == "`scorer_workers_ended_total`"]
    assert set(Cause) <= set(re.findall(r"`(\w+)`", row[4]))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_no_page_names_a_metric_that_does_not_exist(page: Path) -> None:
    known = metrics()
    for name in re.findall(r"`((?:scoregate|scorer)_[a-z_]+)", text_of(page)):
        if name not in {"scoregate_r", "scoregate_refused"}:  # the platform's name in /v2, the class of an error in R
            assert name in known, name


# --- the policy


def policy_keys() -> set[str]:
    """Every key that the reader knows: the tuples that it hands to `mapping`."""
    source = ast.parse(text_of(ROOT / "gateway" / "core" / "policy_file.py"))
    limit_keys: set[str] = set()
    found: set[str] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_LIMIT_KEYS":
            limit_keys = set(ast.literal_eval(node.value))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "mapping":
            known = node.args[2]
            if isinstance(known, ast.Tuple):
                found |= {str(item.value) for item in known.elts if isinstance(item, ast.Constant)}
    assert limit_keys
    assert {"client_apps", "grants", "coalesce"} <= found
    return found | limit_keys


def test_every_key_of_the_policy_is_in_the_reference_and_no_other() -> None:
    page = text_of(REFERENCE / "policy.md")
    in_tables = {row[0].strip("`") for row in rows("policy.md") if re.fullmatch(r"`\w+`", row[0])}
    headings = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    sections = {"admit", "grants", "defaults", "callers", "models"}
    assert sections <= headings
    assert in_tables | sections == policy_keys()


@pytest.mark.parametrize("page", [REFERENCE / "policy.md", DOCS / "how-to" / "write-the-policy.md"], ids=ids)
def test_the_policies_shown_are_policies(page: Path) -> None:
    blocks = [code for language, code in _FENCED.findall(text_of(page)) if language == "yaml"]
    whole = next(block for block in blocks if block.startswith("admit:"))
    parts = [block for block in blocks if not block.startswith("admit:")]
    assert read_policy("\n".join([whole, *parts])).grants


# --- alerts


def test_every_alert_is_where_operators_look_and_no_other() -> None:
    page = text_of(DOCS / "how-to" / "find-out-why.md")
    table = page[page.index("| alert | look at |") : page.index("## Logs")]
    described = re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:] if line))
    alerts = re.findall(r"- alert: (\w+)", text_of(ROOT / "k8s" / "monitoring" / "rules.yaml"))
    assert sorted(described) == sorted(alerts)


# --- events


def events(service: str) -> set[str]:
    """The dotted names that a service gives to a log, and those that both have from `shared`."""
    found = set()
    for path in [*(ROOT / service).rglob("*.py"), *(ROOT / "shared").rglob("*.py")]:
        for node in ast.walk(ast.parse(text_of(path))):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            caller, name = ast.unparse(node.func), ast.unparse(node.args[0]).strip("f'\"").replace("{service}", service)
            if caller in {"event", "level"} or caller.startswith("log."):
                assert re.fullmatch(rf"{service}(\.[a-z_]+)+", name), f"{path}:{node.lineno}: {name} is no event's name"
                found.add(name)
    return found


def test_every_event_is_described_where_operators_look_and_no_other() -> None:
    page = text_of(DOCS / "how-to" / "find-out-why.md")
    table = page[page.index("| event | means |") :]
    described = re.findall(r"`([a-z_.]+)`", "\n".join(line.split("|")[1] for line in table.splitlines()[2:]))
    assert sorted(described) == sorted(events("gateway") | events("scorer"))

"""The OpenAPI document, the catalogue's forms and the docs page."""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from starlette.routing import Router

from devkit.state import ROOT
from gateway import VERSION
from gateway.core.catalogue import Index, build_index
from gateway.core.contract import compile_contract
from gateway.core.contract.catalogue_form import example_request, example_response, model_form
from gateway.core.contract.oip import v2_server_metadata
from gateway.core.openapi import openapi_document
from gateway.docs_page import HEADERS, load_assets
from gateway.routes.docs import docs_routes
from shared.catalogue import Catalogue, VersionEntry
from shared.signature import Field, Type
from tests.unit.gateway.contract_cases import FIELDS, entry, parse

EXAMPLE = {
    "inputs": {
        "age": ["Inf", 41.5, 2],
        "kids": [1, 2, None],
        "owner": [True, True, False],
        "job": ["clerk", "a:b", None],
        "note:1": ["", "Inf", None],
        "born": [0, 4806, -1],
        "seen": [0, 1709204400.25, None],
    },
    "outputs": {"class": ["no", "yes", None], "prob.yes": [0.5, 0.9, None]},
}
OUTPUTS = (
    Field(name="class", type=Type.FACTOR, levels=("no", "yes"), nullable=True),
    Field(name="prob.yes", type=Type.DOUBLE, nullable=True),
)


@pytest.fixture
def version() -> VersionEntry:
    return entry(outputs=OUTPUTS, kind="table", name="credit", example=EXAMPLE, description="Pays back?")


@pytest.fixture
def index(version: VersionEntry) -> Index:
    simple = entry([Field(name="x", type=Type.DOUBLE, range=(1.5, 9.0))], name="simple")
    waiting = entry([Field(name="x", type=Type.DOUBLE)], name="waiting")
    waiting = msgspec.structs.replace(waiting, state="unavailable", reason="digest differs")
    return build_index({"p": Catalogue(pod="p", workers=1, versions=(version, simple, waiting))})


@pytest.fixture
def document(index: Index) -> dict[str, Any]:
    made = openapi_document(index.models.values(), token_url="https://login/token", scope="api://scoregate/.default")
    read: dict[str, Any] = json.loads(msgspec.json.encode(made))
    return read


def test_the_example_can_be_sent_as_it_stands(version: VersionEntry) -> None:
    request = example_request(version)
    assert request is not None
    # The first row has an infinity, which JSON cannot carry; rows without missing values come first.
    assert [row["age"] for row in request["rows"]] == [41.5, 2]
    assert request["rows"][0]["born"] == "1983-02-28"
    assert request["rows"][0]["note:1"] == "Inf"
    assert parse(compile_contract(version, 10), json.dumps(request).encode()).rows == 2
    assert example_response(version) == {
        "model": "credit",
        "version": "1",
        "predictions": [{"class": "yes", "prob.yes": 0.9}, {"class": None, "prob.yes": None}],
    }


def test_a_model_without_an_example_is_described_all_the_same() -> None:
    bare = entry(name="bare")
    assert example_request(bare) is None
    assert example_response(bare) is None
    assert openapi_document(build_index({"p": Catalogue(pod="p", workers=1, versions=(bare,))}).models.values())


def test_a_model_is_shown_with_types_levels_and_ranges(index: Index) -> None:
    form = json.loads(msgspec.json.encode(model_form(index.models["credit"])))
    assert form["model"] == "credit"
    job = form["signature"]["inputs"][3]
    assert (job["type"], job["levels"], job["nullable"]) == ("factor", ["clerk", "a:b", "none"], True)
    assert form["example"]["request"]["rows"]
    assert model_form(index.models["simple"])["signature"]["inputs"][0]["seen"] == [1.5, 9.0]
    assert model_form(index.models["waiting"])["unavailable"] == {"1": "digest differs"}


def test_there_is_one_path_for_each_version_that_can_be_scored(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    scored = [path for path in document["paths"] if path.endswith("/score")]
    assert sorted(scored) == [
        "/v1/models/credit/score",
        "/v1/models/credit/versions/1/score",
        "/v1/models/simple/score",
        "/v1/models/simple/versions/1/score",
    ]
    identities = re.findall(r'"operationId": "([^"]+)"', json.dumps(document))
    assert len(identities) == len(set(identities)) == 4


def test_the_schema_says_what_the_contract_takes(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/models/credit/score"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    row = body["schema"]["oneOf"][0]["properties"]["rows"]["items"]
    assert row["required"] == [field.name for field in FIELDS]
    assert row["additionalProperties"] is False
    assert row["properties"]["kids"]["type"] == ["integer", "null"]
    assert row["properties"]["job"]["enum"] == ["clerk", "a:b", "none", None]
    assert row["properties"]["born"] == {"type": "string", "format": "date", "description": "R: date"}
    assert set(body["examples"]) == {"rows", "columns"}
    assert {"200", "401", "403", "408", "422", "429", "500", "504"} <= set(operation["responses"])
    simple = document["paths"]["/v1/models/simple/score"]["post"]
    item = simple["requestBody"]["content"]["application/json"]["schema"]["oneOf"][0]["properties"]["rows"]["items"]
    assert item["properties"]["x"]["description"] == "R: double; seen 1.5 to 9.0"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    for secured in document["security"]:
        assert set(secured) <= set(document["components"]["securitySchemes"])


def test_the_version_that_answers_name_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = {openapi_document([])["info"]["version"], v2_server_metadata()["version"]}
    assert said == {VERSION} == {project["version"]}


def test_the_docs_page_is_whole_and_loads_nothing_from_elsewhere() -> None:
    assets = load_assets()
    page = assets["index.html"].body.decode()
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {name.removeprefix("docs/") for name in named if name.startswith("docs/")} == set(assets) - {"index.html"}
    assert all(name.startswith(("docs/", "data:,")) for name in named)
    for name in ("index.html", "docs.js", "docs.css"):
        assert b"http:" not in assets[name].body
        assert b"https:" not in assets[name].body
    assert re.search(r"<script(?![^>]* src=)", page) is None
    assert " on" not in re.sub(r">[^<]*<", "><", page)
    for asset in assets.values():
        assert gzip.decompress(asset.gzipped) == asset.body
    policy = HEADERS["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "connect-src 'self'" in policy


def test_the_docs_page_keeps_the_token_to_itself() -> None:
    script = load_assets()["docs.js"].body.decode()
    for leak in ("localStorage", "sessionStorage", "cookie", "location.hash", "location.search", "eval", "innerHTML"):
        assert leak not in script


@pytest.mark.parametrize(("accepted", "packed"), [("br, gzip;q=0.5", True), ("gzip;q=0", False), ("", False)])
async def test_the_docs_page_is_gzip_for_those_who_take_it(accepted: str, packed: bool) -> None:
    settings = SimpleNamespace(authority="https://entra", tenants=("t",), audiences=("api://a",))
    entry_of: Any = SimpleNamespace(settings=settings, edge=SimpleNamespace(page=lambda endpoint: endpoint))
    transport = httpx.ASGITransport(Router(docs_routes(entry_of)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        answer = await http.get("/docs", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
    assert answer.content == load_assets()["index.html"].body

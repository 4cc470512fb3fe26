"""The contract of a model version: requests to packed columns (`validate` in the flow), packed columns to answers.

Compiled from the signature, pure, and never asked by whom or for which pod. Each request is read in one of two ways that agree:
fast, by msgspec, which says no more than that something does not fit; and exact, value by value, which lists the problems.
What is large is read and written in generators that pause every few milliseconds.

* the contract: `compile` chooses `compiled` (a model of rows) or `function` (calls, which have a reader of their own there)
* `/v1`: `v1_fast`, `v1_reader` (exact), `answers`
* Open Inference Protocol: `oip` (datatypes, metadata), `oip_request` (what a request is once it is read), `oip_fast`; exact:
  `oip_reader`, which goes through `oip_structure` and `oip_tensors`; `oip_forms`, `oip_binary`, `oip_answer`
* one column's values in JSON: `forms`, `number_forms`, `text_forms`, `civil` (dates)
* JSON itself: `tokens`, `json_reader` (arrays of values, in chunks), `chunks`, `small_value`
* `catalogue_form`: what `/v1/models` says of a version

A new type of column is a member of `shared.signature.Type`, packed by `shared.wire`. Here it needs a form, in
`compiled._FORMS`; its datatypes, in `oip.ACCEPTED` and `oip_forms`, and in `oip_binary._CONVERT` if they are numbers; and how it is
shown (`answers.shown`, `oip_answer.binary_part`, `catalogue_form`, `gateway.core.openapi`). With its values in `numbers` of
tests/unit/contract_cases.py, the tests that hold both ways against each other draw it.

A new form of request is a fast and an exact reader beside these, a pair of methods of `Contract` (`parse_…_steps`,
`write_…_steps`), and a form in `gateway.routes`. An exact reader holds a `JsonReader`, and asks the contract for what models
and functions say differently.
"""

from gateway.core.contract.compile import compile_contract
from gateway.core.contract.compiled import Contract
from gateway.core.contract.oip import v2_model_metadata, v2_repository_index, v2_server_metadata
from gateway.core.contract.oip_request import OipRequest

__all__ = [
    "Contract",
    "OipRequest",
    "compile_contract",
    "v2_model_metadata",
    "v2_repository_index",
    "v2_server_metadata",
]

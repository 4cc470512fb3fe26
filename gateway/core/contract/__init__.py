"""The contract of a model version: requests to packed columns, packed columns to answers. Pure; see `compiled`."""

from gateway.core.contract.answers import encode_v1_steps
from gateway.core.contract.compile import compile_contract
from gateway.core.contract.compiled import STEP_BYTES, Contract
from gateway.core.contract.oip import v2_model_metadata, v2_repository_index, v2_server_metadata
from gateway.core.contract.oip_answer import encode_v2_steps
from gateway.core.contract.oip_request import OipRequest

__all__ = [
    "STEP_BYTES",
    "Contract",
    "OipRequest",
    "compile_contract",
    "encode_v1_steps",
    "encode_v2_steps",
    "v2_model_metadata",
    "v2_repository_index",
    "v2_server_metadata",
]

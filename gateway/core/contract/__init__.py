"""The contract of a model version: requests to packed columns, packed columns to answers. Pure; see `compiled`."""

from gateway.core.contract.answers import encode_v1_steps
from gateway.core.contract.compiled import STEP_BYTES, Contract, compile_contract, encode_v1, finish

__all__ = ["STEP_BYTES", "Contract", "compile_contract", "encode_v1", "encode_v1_steps", "finish"]

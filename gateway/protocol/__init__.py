"""`protect`: how the gateway speaks HTTP on its public port. `connection` is the protocol; the others are its parts."""

from gateway.protocol.connection import MAX_PIPELINED, Door, ProtectProtocol
from gateway.protocol.head import MAX_FIELDS, MAX_HEAD_BYTES
from gateway.protocol.refusal import new_request_id

__all__ = ["MAX_FIELDS", "MAX_HEAD_BYTES", "MAX_PIPELINED", "Door", "ProtectProtocol", "new_request_id"]

"""Python client of a scoregate gateway, and the `scoregate` command.

>>> from client import Client, ClientSecret
"""

from client.client import AsyncClient, Client
from client.credentials import ClientCertificate, ClientSecret, Credential, DeviceCode, StaticToken
from client.errors import (
    ClientError,
    ConnectionFailedError,
    CredentialError,
    DataError,
    DeadlineExceededError,
    ForbiddenError,
    InvalidDataError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    RefusedRequestError,
    ReplyError,
    ScoregateHTTPError,
    ServerError,
    TimedOutError,
    UnauthenticatedError,
    UnavailableError,
)
from client.models import ColumnScores, Model, Outputs, Scores
from client.retry import NO_RETRY, RetryPolicy

__all__ = [
    "NO_RETRY",
    "AsyncClient",
    "Client",
    "ClientCertificate",
    "ClientError",
    "ClientSecret",
    "ColumnScores",
    "ConnectionFailedError",
    "Credential",
    "CredentialError",
    "DataError",
    "DeadlineExceededError",
    "DeviceCode",
    "ForbiddenError",
    "InvalidDataError",
    "Model",
    "NotFoundError",
    "Outputs",
    "PayloadTooLargeError",
    "RateLimitedError",
    "RefusedRequestError",
    "ReplyError",
    "RetryPolicy",
    "ScoregateHTTPError",
    "Scores",
    "ServerError",
    "StaticToken",
    "TimedOutError",
    "UnauthenticatedError",
    "UnavailableError",
]

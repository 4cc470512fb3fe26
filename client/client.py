"""`Client` and `AsyncClient`: the gateway's interface as typed methods, which carry out `conversation`'s steps.

A large table is cut into requests that go out a few at a time and is put together in order; every part is scored by
the version that scored the first. A part the server finds too large (413) is halved until it fits.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from client import oip, parts
from client.calls import call_body, outputs_of
from client.conversation import NETWORK_MARGIN_S, Answer, Call, Conversation, NeedToken, Send, Unanswered, converse
from client.credentials import Credential
from client.errors import ConnectionFailedError, DataError, PayloadTooLargeError, TimedOutError
from client.models import ColumnScores, Model, Outputs, Scores, model_of, models_of
from client.replies import Reply
from client.retry import RetryPolicy
from client.rows import Data, require_json, table_of
from client.trace import trace_headers
from shared.deadline import CLIENT_TIMEOUT_HEADER, MAX_TIMEOUT_MS, MIN_TIMEOUT_MS

T = TypeVar("T")
#: Where no time is given: the server's own default applies, which is never more than this.
DEFAULT_TIMEOUT_S = MAX_TIMEOUT_MS / 1000
CONNECT_TIMEOUT_S = 10.0
#: Idle connections are let go before the gateway's own 75 s, so that it does not close one that is just being used.
KEEP_ALIVE_S = 30.0
USER_AGENT = "scoregate-python"


class _Base:
    """What both clients are made of: where, as whom, how patiently; and the calls as data."""

    def __init__(
        self,
        url: str,
        *,
        credential: Credential,
        verify: str | Path | bool | ssl.SSLContext = True,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        rows_per_request: int = parts.ROWS_PER_REQUEST,
        concurrency: int = 4,
        allow_plain_http: bool = False,
    ) -> None:
        """Makes no request.

        `url` is the gateway's, without a path. `verify` is a CA file to trust instead of the system's, an SSLContext, or
        False for no check. A table goes in requests of at most `rows_per_request` rows, of which one call has at most
        `concurrency` under way. Tokens go over TLS or to this machine only: ValueError for a plain-http URL of another
        host, unless `allow_plain_http`.
        """
        if isinstance(credential, str):
            raise TypeError("credential is a text: for an access token got elsewhere give StaticToken(token)")
        split = urlsplit(url)
        if split.scheme not in {"http", "https"} or not split.hostname:
            raise ValueError(f"not an http(s) URL: {url!r}")
        if split.username or split.password:
            raise ValueError("the URL holds a name or password; the gateway takes tokens only")
        if split.scheme == "http" and not _is_loopback(split.hostname) and not allow_plain_http:
            raise ValueError(
                f"{url} would send the token in the clear; use https, or allow_plain_http inside a network you trust"
            )
        if rows_per_request < 1 or concurrency < 1:
            raise ValueError("rows_per_request and concurrency are at least 1")
        self.url = url.rstrip("/").removesuffix("/v1")  # as some write it: paths are added here
        self._credential = credential
        self._retry = retry
        self._rows_per_request = rows_per_request
        self._concurrency = concurrency
        self._http_options: dict[str, Any] = {
            "base_url": self.url,
            "verify": ssl_context(verify),
            "headers": {"user-agent": USER_AGENT},
            "trust_env": not _is_loopback(split.hostname),
            "limits": httpx.Limits(max_keepalive_connections=max(20, concurrency), keepalive_expiry=KEEP_ALIVE_S),
        }
        self._connect()

    def _connect(self) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, credential={self._credential!r})"

    def _converse(self, call: Call) -> Conversation:
        return converse(call, self._retry, clock=time.monotonic)


def ssl_context(verify: str | Path | bool | ssl.SSLContext) -> ssl.SSLContext | bool:
    """What httpx takes: a CA file becomes a context that trusts it alone. Raises ValueError for a file that is none."""
    if isinstance(verify, (bool, ssl.SSLContext)):
        return verify
    try:
        return ssl.create_default_context(cafile=str(verify))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{verify} cannot be used as a CA file: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# --- the calls, as data


def _model_path(name: str, version: str | None, *, root: str = "/v1/models") -> str:
    path = f"{root}/{quote(name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def _get(path: str) -> Call:
    return Call("GET", path)


def _timeouts(timeout_s: float | None) -> tuple[dict[str, str], float]:
    """The header that tells the server, and how long to wait here. Raises ValueError outside 0.05 … 60 s."""
    if timeout_s is None:
        return {}, DEFAULT_TIMEOUT_S + NETWORK_MARGIN_S
    milliseconds = round(timeout_s * 1000)
    if not MIN_TIMEOUT_MS <= milliseconds <= MAX_TIMEOUT_MS:
        raise ValueError(f"timeout_s must be from {MIN_TIMEOUT_MS / 1000} to {MAX_TIMEOUT_MS / 1000:.0f}")
    return {CLIENT_TIMEOUT_HEADER: str(milliseconds)}, timeout_s + NETWORK_MARGIN_S


def _score_call(name: str, version: str | None, body: bytes, timeout_s: float | None) -> Call:
    headers, wait_s = _timeouts(timeout_s)
    headers["content-type"] = "application/json"
    return Call("POST", _model_path(name, version) + "/score", body, headers, wait_s)


def _columns_for(described: Model, data: Data) -> dict[str, list[Any]]:
    if described.signature.is_function:
        raise DataError(
            f"{described.model} is a function and takes inputs, not rows: use call({described.model!r}, {{…}})"
        )
    return table_of(data).as_columns(field.name for field in described.signature.inputs)


def _infer_call(model: Model, columns: Mapping[str, list[Any]], start: int, stop: int, timeout_s: float | None) -> Call:
    headers, wait_s = _timeouts(timeout_s)
    head_length, body = oip.encode_request(model.signature, columns, start, stop)
    headers |= {"content-type": "application/octet-stream", oip.HEADER_LENGTH: str(head_length)}
    return Call("POST", _model_path(model.model, model.version, root="/v2/models") + "/infer", body, headers, wait_s)


class Client(_Base):
    """The blocking client. Safe to share between threads; a context manager that closes its connections.

    >>> credential = ClientSecret("my-tenant", "my-client-id", secret, "api://scoregate/.default")   # doctest: +SKIP
    >>> with Client("https://scoring.example.com", credential=credential) as client:                 # doctest: +SKIP
    ...     client.score("boston-housing", [{"crim": 0.00632, …}]).predictions
    [25.3]
    """

    def _connect(self) -> None:
        self._http = httpx.Client(**self._http_options)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        self._http.close()

    def models(self) -> list[Model]:
        """Every model this credential may score, each as the version that serves by default."""
        return models_of(self._do(_get("/v1/models")))

    def model(self, name: str, version: str | None = None) -> Model:
        """One model's signature and more; without a version, of the one that serves by default."""
        return model_of(self._do(_get(_model_path(name, version))))

    def score(self, model: str, data: Data, version: str | None = None, timeout_s: float | None = None) -> Scores:
        """R's predictions for rows (a list of dicts), columns (a dict of lists) or a data frame, in their order.

        `timeout_s` (0.05 … 60) is the server's deadline for each request; retries are not counted in it. Raises a
        ClientError.
        """
        table = require_json(table_of(data))

        def one(start: int, stop: int, pinned: str | None) -> Scores:
            reply = self._do(_score_call(model, pinned, table.part(start, stop).body(), timeout_s))
            return parts.scores_of(reply, stop - start)

        return parts.join(self._parts(len(table), version, one, lambda scores: scores.version))

    def call(
        self, model: str, inputs: Mapping[str, Any], version: str | None = None, timeout_s: float | None = None
    ) -> Outputs:
        """What an R function answers to these inputs: a list is a vector, anything else a single value.

        `timeout_s` as in `score`. Raises a ClientError.

        >>> client.call("loan-schedule", {"principal": 1000, "rate": [0.05], "years": 1, …})["payment"]  # doctest: +SKIP
        """
        return outputs_of(self._do(_score_call(model, version, call_body(inputs), timeout_s)))

    def score_binary(
        self, model: str, data: Data, version: str | None = None, timeout_s: float | None = None
    ) -> ColumnScores:
        """The same as binary tensors (Open Inference Protocol v2): for large tables, NaN and infinity; answers as
        columns.
        """
        described = self.model(model, version)
        columns = _columns_for(described, data)
        rows = len(next(iter(columns.values()), []))

        def one(start: int, stop: int, pinned: str | None) -> ColumnScores:  # noqa: ARG001 - pinned by `described`
            return oip.read_reply(
                self._do(_infer_call(described, columns, start, stop, timeout_s)), described, stop - start
            )

        return parts.join_columns(self._parts(rows, described.version, one, lambda scores: scores.version))

    def _parts(
        self, rows: int, version: str | None, one: Callable[[int, int, str | None], T], version_of: Callable[[T], str]
    ) -> list[T]:
        ranges = parts.ranges(rows, self._rows_per_request)

        def fitting(start: int, stop: int, pinned: str | None) -> list[T]:
            try:
                with parts.rows_from(start):
                    return [one(start, stop, pinned)]
            except PayloadTooLargeError:
                if stop - start <= 1:
                    raise
                middle = (start + stop) // 2
                left = fitting(start, middle, pinned)
                return left + fitting(middle, stop, pinned or version_of(left[0]))

        done = fitting(*ranges[0], version)
        if len(ranges) == 1:
            return done
        pinned = version or version_of(done[0])
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="scoregate") as pool:
            futures = [pool.submit(copy_context().run, fitting, start, stop, pinned) for start, stop in ranges[1:]]
            try:
                for future in futures:
                    done += future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return done

    def _do(self, call: Call) -> Reply:
        conversation = self._converse(call)
        answer: Answer = None
        while True:
            try:
                step = conversation.send(answer)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if isinstance(step, NeedToken):
                answer = self._credential.token() if step.stale is None else self._credential.renew(step.stale)
            elif isinstance(step, Send):
                answer = self._send(step)
            else:
                time.sleep(step.seconds)
                answer = None

    def _send(self, step: Send) -> Reply | Unanswered:
        call = step.call
        try:
            response = self._http.request(
                call.method,
                call.path,
                content=call.body or None,
                headers={**call.headers, **trace_headers(), "authorization": f"Bearer {step.token}"},
                timeout=_httpx_timeout(call),
            )
        except httpx.TransportError as error:
            return _no_answer_of(self.url, call, error)
        return Reply(response.status_code, response.headers, response.content)


class AsyncClient(_Base):
    """The same for asyncio. Tokens are fetched in a thread, since MSAL blocks; cancelling a call ends its requests."""

    def _connect(self) -> None:
        self._http = httpx.AsyncClient(**self._http_options)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections; may be called twice."""
        await self._http.aclose()

    async def models(self) -> list[Model]:
        """Every model this credential may score, each as the version that serves by default."""
        return models_of(await self._do(_get("/v1/models")))

    async def model(self, name: str, version: str | None = None) -> Model:
        """One model's signature and more; without a version, of the one that serves by default."""
        return model_of(await self._do(_get(_model_path(name, version))))

    async def score(self, model: str, data: Data, version: str | None = None, timeout_s: float | None = None) -> Scores:
        """As `Client.score`."""
        table = require_json(table_of(data))

        async def one(start: int, stop: int, pinned: str | None) -> Scores:
            reply = await self._do(_score_call(model, pinned, table.part(start, stop).body(), timeout_s))
            return parts.scores_of(reply, stop - start)

        return parts.join(await self._parts(len(table), version, one, lambda scores: scores.version))

    async def call(
        self, model: str, inputs: Mapping[str, Any], version: str | None = None, timeout_s: float | None = None
    ) -> Outputs:
        """As `Client.call`."""
        return outputs_of(await self._do(_score_call(model, version, call_body(inputs), timeout_s)))

    async def score_binary(
        self, model: str, data: Data, version: str | None = None, timeout_s: float | None = None
    ) -> ColumnScores:
        """As `Client.score_binary`."""
        described = await self.model(model, version)
        columns = _columns_for(described, data)
        rows = len(next(iter(columns.values()), []))

        async def one(start: int, stop: int, pinned: str | None) -> ColumnScores:  # noqa: ARG001 - pinned by `described`
            reply = await self._do(_infer_call(described, columns, start, stop, timeout_s))
            return oip.read_reply(reply, described, stop - start)

        return parts.join_columns(await self._parts(rows, described.version, one, lambda scores: scores.version))

    async def _parts(
        self,
        rows: int,
        version: str | None,
        one: Callable[[int, int, str | None], Awaitable[T]],
        version_of: Callable[[T], str],
    ) -> list[T]:
        ranges = parts.ranges(rows, self._rows_per_request)
        slots = asyncio.Semaphore(self._concurrency)

        async def fitting(start: int, stop: int, pinned: str | None) -> list[T]:
            try:
                async with slots:
                    with parts.rows_from(start):
                        return [await one(start, stop, pinned)]
            except PayloadTooLargeError:
                if stop - start <= 1:
                    raise
            middle = (start + stop) // 2
            left = await fitting(start, middle, pinned)
            return left + await fitting(middle, stop, pinned or version_of(left[0]))

        done = await fitting(*ranges[0], version)
        if len(ranges) == 1:
            return done
        pinned = version or version_of(done[0])
        tasks = [asyncio.ensure_future(fitting(start, stop, pinned)) for start, stop in ranges[1:]]
        try:
            for found in await asyncio.gather(*tasks):
                done += found
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        return done

    async def _do(self, call: Call) -> Reply:
        conversation = self._converse(call)
        answer: Answer = None
        while True:
            try:
                step = conversation.send(answer)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if isinstance(step, NeedToken):
                if step.stale is None:
                    answer = await asyncio.to_thread(self._credential.token)
                else:
                    answer = await asyncio.to_thread(self._credential.renew, step.stale)
            elif isinstance(step, Send):
                answer = await self._send(step)
            else:
                await asyncio.sleep(step.seconds)
                answer = None

    async def _send(self, step: Send) -> Reply | Unanswered:
        call = step.call
        try:
            async with asyncio.timeout(call.timeout_s + CONNECT_TIMEOUT_S):
                response = await self._http.request(
                    call.method,
                    call.path,
                    content=call.body or None,
                    headers={**call.headers, **trace_headers(), "authorization": f"Bearer {step.token}"},
                    timeout=_httpx_timeout(call),
                )
        except httpx.TransportError as error:
            return _no_answer_of(self.url, call, error)
        except TimeoutError as error:
            raise TimedOutError(_no_answer(self.url, call)) from error
        return Reply(response.status_code, response.headers, response.content)


def _httpx_timeout(call: Call) -> httpx.Timeout:
    return httpx.Timeout(call.timeout_s, connect=CONNECT_TIMEOUT_S)


def _no_answer(url: str, call: Call) -> str:
    return f"{url} did not answer {call.method} {call.path} within {call.timeout_s:g} s"


def _no_answer_of(url: str, call: Call, error: httpx.TransportError) -> Unanswered:
    """What may be tried again; raises for what the server may be working on, or has answered in part."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        failure = ConnectionFailedError(f"cannot connect to {url}: {str(error) or 'no answer'}")
        failure.__cause__ = error
        return Unanswered(failure)
    if isinstance(error, httpx.RemoteProtocolError) and "without sending a response" in str(error):
        failure = ConnectionFailedError(f"{url} closed the connection without an answer")
        failure.__cause__ = error
        return Unanswered(failure)
    if isinstance(error, httpx.TimeoutException):
        raise TimedOutError(_no_answer(url, call)) from error
    raise ConnectionFailedError(f"the connection to {url} broke: {str(error) or type(error).__name__}") from error

"""One Prometheus server: queries in, typed answers out.

POST with a form body, because URLs of long queries get cut by proxies. ``Accept-Encoding: identity``, because inside a cluster
compressing costs both sides more than it saves. ``partial_response=false``, so that Thanos says "error" instead of leaving series out
silently (others ignore it). No retries: the next tick is the retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from autoscaler.adapters.prometheus.answers import Answer, Data, decode
from autoscaler.adapters.prometheus.credentials import Access
from autoscaler.adapters.prometheus.problems import (
    AnswerTooLarge,
    HttpStatus,
    PrometheusRefused,
    QueryTimeout,
    Unparsable,
    Unreachable,
)

MAX_BYTES: Final = 256 * 1024 * 1024
CHUNK_BYTES: Final = 1 << 20


class AccessSource(Protocol):
    """Where the client takes headers and TLS from, before every request."""

    async def access(self, timeout_s: float) -> Access:
        """Raises CredentialsUnusable."""


class PrometheusClient:
    """Queries to one server.

    url: up to but without ``/api/v1``. concurrency: requests at a time; the rest wait (their deadline runs). max_bytes: of one answer.
    queries: how many requests were sent so far. warnings: the last ones that the server gave, for logs.
    """

    def __init__(self, url: str, access: AccessSource, *, concurrency: int = 8, max_bytes: int = MAX_BYTES) -> None:
        self.url = url.rstrip("/")
        self._access = access
        self._max_bytes = max_bytes
        self._concurrency = concurrency
        self._free = asyncio.Semaphore(concurrency)
        self._session: ClientSession | None = None
        self.queries = 0
        self.warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"PrometheusClient({self.url})"

    async def query(self, promql: str, at_s: float, deadline_s: float) -> Data:
        """The value of `promql` at `at_s` (Unix seconds), within `deadline_s` seconds. Raises a QueryFailed."""
        return await self._post("query", {"query": promql, "time": f"{at_s:.3f}"}, deadline_s)

    async def query_range(self, promql: str, start_s: float, end_s: float, step_s: float, deadline_s: float) -> Data:
        """The values of `promql` at start, start + step, … ≤ end (Unix seconds), within `deadline_s` seconds. Raises a QueryFailed."""
        form = {"query": promql, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:.3f}"}
        return await self._post("query_range", form, deadline_s)

    async def close(self) -> None:
        """Ends all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, path: str, form: Mapping[str, str], deadline_s: float) -> Data:
        # The server gives up with us: a query nobody waits for any more must not slow the next one.
        form = {**form, "timeout": f"{max(deadline_s, 0.001) * 1000:.0f}ms", "partial_response": "false"}
        try:
            async with asyncio.timeout(deadline_s), self._free:
                access = await self._access.access(deadline_s)
                status, body = await self._send(f"{self.url}/api/v1/{path}", form, access)
        except TimeoutError:
            raise QueryTimeout(f"{self.url} gave no answer within {deadline_s:.3g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not chained, and only the type and the operating system's words: aiohttp's errors carry the request with its headers.
            raise Unreachable(f"{self.url}: {_safe_words(error)}") from None
        return self._data(status, body)

    async def _send(self, url: str, form: Mapping[str, str], access: Access) -> tuple[int, bytes]:
        session = self._open_session()
        self.queries += 1
        headers = {"Accept-Encoding": "identity", **access.revealed_headers()}
        async with session.post(
            url, data=form, headers=headers, ssl=access.tls, server_hostname=access.server_name, allow_redirects=False
        ) as response:
            declared = response.content_length
            if declared is not None and declared > self._max_bytes:
                response.close()
                raise AnswerTooLarge(f"{self.url} answers with {declared} bytes; at most {self._max_bytes} are read")
            body = bytearray()
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                body += chunk
                if len(body) > self._max_bytes:
                    response.close()
                    raise AnswerTooLarge(f"{self.url} answers with more than {self._max_bytes} bytes; reading stopped there")
            return response.status, bytes(body)

    def _data(self, status: int, body: bytes) -> Data:
        if status != 200:
            self._refuse(status, body)
        answer = decode(body)
        if answer.status != "success":
            raise PrometheusRefused(_refusal(self.url, answer), answer.error_type, status)
        if answer.data is None:
            raise Unparsable(f"{self.url}: the answer says success but holds no data")
        self.warnings = (*answer.warnings, *answer.infos)
        return answer.data

    def _refuse(self, status: int, body: bytes) -> None:
        try:
            answer = decode(body)
        except Unparsable:
            raise HttpStatus(f"{self.url} answers with HTTP status {status}", status) from None
        if answer.status != "error":
            raise HttpStatus(f"{self.url} answers with HTTP status {status}", status)
        raise PrometheusRefused(_refusal(self.url, answer), answer.error_type, status)

    def _open_session(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=self._concurrency, ttl_dns_cache=30),
                # Our own deadline covers everything; aiohttp's five minutes would only confuse.
                timeout=ClientTimeout(total=None),
                cookie_jar=DummyCookieJar(),
                read_bufsize=CHUNK_BYTES,
                trust_env=False,
            )
        return self._session


def _refusal(url: str, answer: Answer) -> str:
    return f"{url} refuses the query ({answer.error_type or 'no type given'}): {answer.error[:500] or 'no reason given'}"


def _safe_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"TLS failed ({type(error).__name__}: {getattr(error.os_error, 'verify_message', '') or error.os_error.strerror or ''})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or type(error.os_error).__name__})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return {
        "ServerDisconnectedError": "the server closed the connection before it answered",
        "ClientPayloadError": "the answer was cut off",
        "InvalidURL": "the URL is not one",
    }.get(type(error).__name__, type(error).__name__)
